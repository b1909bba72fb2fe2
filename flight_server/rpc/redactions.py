"""Redactions as JSON, for all actions that take or show them."""

from __future__ import annotations

from collections.abc import Mapping

from flight_server.errors import InvalidRequest
from flight_server.rpc.action_shapes import Field, Values, checked
from policies.rules import Redaction, RedactionKind

REDACTION_USAGE = '{"kind", "keep_prefix"?, "keep_suffix"?, "domain"?, "to"?}'
_REDACTION: Mapping[str, Field] = {
    "kind": Field(str, "How", choices=tuple(RedactionKind)),
    "keep_prefix": Field(int, "Characters that a mask shows at the start", is_required=False),
    "keep_suffix": Field(int, "and at the end", is_required=False),
    "domain": Field(str, "Equal values hash equally within it", is_required=False),
    "to": Field(str, "What a value is generalised to", is_required=False),
}
# What each kind takes beside its name.
_TAKES: Mapping[RedactionKind, frozenset[str]] = {
    RedactionKind.NULL: frozenset(),
    RedactionKind.HASH: frozenset({"domain"}),
    RedactionKind.MASK: frozenset({"keep_prefix", "keep_suffix"}),
    RedactionKind.GENERALISE: frozenset({"to"}),
}
_DOMAIN_CHARACTERS_MAX = 256


def read_redaction(place: str, values: object) -> Redaction:
    """Read a redaction; ``place`` says where it stands. Raises InvalidRequest."""
    if not isinstance(values, dict):
        raise InvalidRequest(f"{place} is an object, {REDACTION_USAGE}")
    found = checked(place, values, _REDACTION, usage=REDACTION_USAGE)
    kind = RedactionKind(found.pop("kind"))
    unfit = sorted(found.keys() - _TAKES[kind])
    if unfit:
        raise InvalidRequest(f"{place}: {unfit[0]!r} means nothing to the kind {kind}")
    domain = found.get("domain")
    if domain is not None and not (
        0 < len(domain) <= _DOMAIN_CHARACTERS_MAX and domain.isprintable()
    ):
        raise InvalidRequest(
            f"{place}: 'domain' is 1 to {_DOMAIN_CHARACTERS_MAX} printable characters"
        )
    if kind is RedactionKind.GENERALISE and "to" not in found:
        raise InvalidRequest(f"{place}: the kind {kind} needs 'to'")
    return Redaction(kind, **found)


def redaction_json(redaction: Redaction) -> Values:
    """Return a redaction as it is put, without what it does not say."""
    said = {name: getattr(redaction, name) or None for name in _TAKES[redaction.kind]}
    given = {name: value for name, value in sorted(said.items()) if value is not None}
    return {"kind": redaction.kind.value, **given}
