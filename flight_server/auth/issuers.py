"""Tokens of other systems: who they say is calling, once that is proven.

An issuer's word counts for identity, and for what its administrators gave a user as far as the
settings translate it; everything else about the account is this server's own.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flight_server.auth.account_rules import sound_attribute
from flight_server.auth.fetching import check_url, fetch, is_local
from flight_server.auth.issuer_keys import IssuerKeys
from flight_server.auth.key_sets import KID_CHARACTERS_MAX, KeySet, discover
from flight_server.auth.keys import Key
from flight_server.auth.sessions import EXTERNAL_PREFIX
from flight_server.auth.signed import SignedText, refuse
from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, Unauthenticated
from policies.names import Role

VERIFIED_TOKENS_MAX = 10_000
CLAIM_CHARACTERS_MAX = 255
# Longer than any token lives; times beyond are mistakes.
TOKEN_SECONDS_MAX = 10 * 366 * 86_400
# Thumbprints of certificates are hints like the key id; everything else in a header, above all keys
# and places of keys, is refused.
_HEADER_NAMES = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
# The token's own id: of OpenID Connect, and of Entra ID.
_TOKEN_ID_CLAIMS = ("jti", "uti")
# From the least to the most that they allow.
_BASE_ROLES = (Role.PENDING, Role.GUEST, Role.REGISTERED, Role.TRADER, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class IssuerRules:
    """What is accepted of one issuer, and what its claims mean here."""

    name: str
    issuer: str
    audience: str
    jwks_uri: str | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    username_claim: str = "preferred_username"
    email_claim: str = "email"
    roles_claim: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    default_role: str = "pending"
    tier_claim: str | None = None
    default_tier: str = "free"
    tiers: frozenset[str] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict)
    keys_seconds_max: int = 3600
    keys_offline_seconds_max: int = 86_400


@dataclass(frozen=True, slots=True)
class Vouched:
    """What an issuer says of a user, in this server's words; the email only if it may be true.

    ``attributes`` are pairs of name and value, by name.
    """

    role: str
    custom_roles: tuple[str, ...]
    tier: str
    email: str | None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalClaims:
    """What a verified token of another system says; times are seconds since 1970.

    ``external_id`` is whose it is, over all issuers; ``username`` is what they would like to be
    called, in any characters. ``has_session`` tells whether the issuer named the session, which
    then has other tokens too.
    """

    external_id: str
    session_id: str
    token_id: str
    has_session: bool
    username: str
    vouched: Vouched
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Issuer:
    rules: IssuerRules
    keys: IssuerKeys


@dataclass(frozen=True, slots=True)
class _Proven:
    """A token that was verified, and the key that its proof rests on."""

    claims: ExternalClaims
    issuer: _Issuer
    kid: str | None
    key: Key


class Issuers:
    """Verifies the tokens of all configured issuers; safe to use from many threads."""

    def __init__(self, rules: Iterable[IssuerRules], *, clock: Clock) -> None:
        self._clock = clock
        self._issuers: dict[str, _Issuer] = {}
        for each in rules:
            if each.issuer in self._issuers:
                other = self._issuers[each.issuer].rules.name
                raise InvalidRequest(
                    f"issuers.{each.name}: has the same issuer as issuers.{other}",
                    code="invalid_settings",
                )
            self._issuers[each.issuer] = _Issuer(each, _keys_of(each, clock))
        self._verified: OrderedDict[str, _Proven] = OrderedDict()
        self._lock = threading.Lock()

    def prefetch(self) -> None:
        """Start to fetch the keys of all issuers."""
        for issuer in self._issuers.values():
            issuer.keys.prefetch()

    def verify(self, text: str) -> ExternalClaims | None:
        """Return what a token says once it is proven; None when it is of no configured issuer.

        Raises Unauthenticated, with the code token_expired for a genuine one whose time is over,
        and Unavailable when the keys of its issuer cannot be had.
        """
        proven = self._verified.get(text)
        if proven is None or not self._still_holds(proven):
            fresh = self._prove(text)
            if fresh is None:
                return None
            proven = fresh
        self._remember(text, proven)
        if self._clock.now().timestamp() >= proven.claims.expires_at:
            with self._lock:
                self._verified.pop(text, None)
            raise Unauthenticated("the token has expired", code="token_expired")
        return proven.claims

    def _still_holds(self, proven: _Proven) -> bool:
        """Whether the issuer still has the very key; raises as ``verify`` when it has not."""
        found = proven.issuer.keys.find(proven.kid, proven.key.algorithm)
        return found is proven.key

    def _remember(self, text: str, proven: _Proven) -> None:
        with self._lock:
            self._verified[text] = proven
            self._verified.move_to_end(text)
            while len(self._verified) > VERIFIED_TOKENS_MAX:
                self._verified.popitem(last=False)

    def _prove(self, text: str) -> _Proven | None:
        signed = SignedText.read(text)
        named = signed.payload.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None:
            return None
        rules = issuer.rules
        kid, algorithm = _checked_header(signed.header, rules.algorithms)
        key = issuer.keys.find(kid, algorithm)
        signed.prove(key)
        signed.check_parties(rules.issuer, rules.audience)
        claims = _claims(signed, rules, self._clock.now().timestamp())
        return _Proven(claims, issuer, kid, key)


def published_keys(rules: IssuerRules) -> KeySet:
    """Fetch the keys of an issuer that can be used by these rules.

    Raises InvalidRequest (``invalid_settings``) for places that cannot be asked safely, Unavailable
    when they do not answer as they should.
    """
    _check_places(rules)
    return discover(
        rules.issuer,
        rules.algorithms,
        jwks_uri=rules.jwks_uri,
        fetch=functools.partial(fetch, local=is_local(rules.issuer)),
    )


def _check_places(rules: IssuerRules) -> None:
    try:
        check_url(rules.issuer, local=True)
        if rules.jwks_uri is not None:
            check_url(rules.jwks_uri, local=is_local(rules.issuer))
    except InvalidRequest as error:
        raise InvalidRequest(
            f"issuers.{rules.name}: {error.message}", code="invalid_settings"
        ) from None


def _keys_of(rules: IssuerRules, clock: Clock) -> IssuerKeys:
    _check_places(rules)
    return IssuerKeys(
        rules.name,
        functools.partial(published_keys, rules),
        seconds_max=rules.keys_seconds_max,
        offline_seconds_max=rules.keys_offline_seconds_max,
        clock=clock,
    )


def _checked_header(
    header: Mapping[str, Any], algorithms: tuple[str, ...]
) -> tuple[str | None, str]:
    """Return the key id and the algorithm that a header names, or refuse it."""
    kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
    if not header.keys() <= _HEADER_NAMES or algorithm not in algorithms:
        refuse()
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        refuse()
    if "kid" in header and (not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARACTERS_MAX):
        refuse()
    return kid, str(algorithm)


def _claims(signed: SignedText, rules: IssuerRules, now: float) -> ExternalClaims:
    subject = signed.text("sub")
    if len(subject) > CLAIM_CHARACTERS_MAX:
        refuse()
    issued_at, expires_at = signed.times(now)
    if expires_at > now + TOKEN_SECONDS_MAX:
        refuse()
    session = _short_text(signed.payload.get("sid"))
    names = (_short_text(signed.payload.get(name)) for name in _TOKEN_ID_CLAIMS)
    # Without an id the token is known by what was signed; the signature itself may have several
    # spellings that are all genuine.
    token = next(filter(None, names), None) or hashlib.sha256(signed.message).hexdigest()
    token_id = external_id_of(rules.issuer, "jti", token)
    return ExternalClaims(
        external_id=f"{rules.issuer} {subject}",
        session_id=token_id if session is None else external_id_of(rules.issuer, "sid", session),
        token_id=token_id,
        has_session=session is not None,
        username=_short_text(claim(signed.payload, rules.username_claim)) or subject,
        vouched=_vouched(signed.payload, rules),
        issued_at=issued_at,
        expires_at=expires_at,
    )


def external_id_of(issuer: str, kind: str, value: str) -> str:
    """Return the id that stands here for a session (``sid``) or a token (``jti``) of an issuer."""
    text = f"{issuer}\n{kind}\n{value}"
    return EXTERNAL_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:32]


def claim(payload: Mapping[str, Any], name: str) -> object:
    """Return the claim of that name; where there is none, dots lead into objects."""
    if name in payload:
        return payload[name]
    found: object = payload
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _vouched(payload: Mapping[str, Any], rules: IssuerRules) -> Vouched:
    named = None if rules.roles_claim is None else claim(payload, rules.roles_claim)
    listed = named if isinstance(named, list) else [named]
    mapped = {rules.roles[each] for each in listed if isinstance(each, str) and each in rules.roles}
    base = [role for role in _BASE_ROLES if role in mapped]
    tier = None if rules.tier_claim is None else claim(payload, rules.tier_claim)
    said = {name: sound_attribute(claim(payload, held)) for name, held in rules.attributes.items()}
    is_unproven = payload.get("email_verified", True) is False
    email = None if is_unproven else _short_text(claim(payload, rules.email_claim))
    return Vouched(
        role=str(base[-1]) if base else rules.default_role,
        custom_roles=tuple(sorted(mapped - set(_BASE_ROLES))),
        tier=tier if isinstance(tier, str) and tier in rules.tiers else rules.default_tier,
        email=email,
        attributes=tuple(sorted((name, text) for name, text in said.items() if text is not None)),
    )


def _short_text(value: object) -> str | None:
    """Return a claim that is text of a usual length; None for anything else."""
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= CLAIM_CHARACTERS_MAX:
        return value
    return None
