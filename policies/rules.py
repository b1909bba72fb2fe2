"""The rules as frozen values; what they mean together is decided in ``decide`` and ``lens``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from policies.names import Principal, Privilege, TableRef
from policies.purposes import DataPart

# ``bucket``, ``bucket.schema`` or ``bucket.schema.table``, as its parts.
Resource = tuple[str, ...]
# A column, and then the fields of structs that lead to a part of it.
ColumnPath = tuple[str, ...]


class Effect(StrEnum):
    """Whether a matching grant opens or closes."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege on one resource, to one user or to one role.

    ``resource`` is ``bucket``, ``bucket.schema`` or ``bucket.schema.table``; it covers everything
    below it. Exactly one of ``user`` (a user name) and ``role`` (a base or custom role) is set; a
    grant with neither matches nobody. With ``user_id`` it is to that very account, and not to a
    later one of the same name. With ``columns`` it speaks of those columns of one table alone; with
    ``purposes`` it holds only in sessions that state one of them, which it lets them state.
    """

    privilege: Privilege
    resource: Resource
    user: str | None = None
    role: str | None = None
    effect: Effect = Effect.ALLOW
    user_id: str | None = None
    columns: tuple[str, ...] | None = None
    purposes: frozenset[str] | None = None

    def is_for(self, principal: Principal) -> bool:
        """Whether this grant speaks of that principal."""
        if self.user is not None:
            is_account = self.user_id in (None, principal.user_id)
            return self.role is None and self.user == principal.username and is_account
        return self.role is not None and principal.has_role(self.role)

    def holds(self, principal: Principal) -> bool:
        """Whether it holds for what the session of that principal is for."""
        return self.purposes is None or principal.purpose in self.purposes

    def covers(self, ref: TableRef) -> bool:
        """Whether that table lies in the resource."""
        names = (ref.bucket, ref.schema, ref.table)
        return bool(self.resource) and names[: len(self.resource)] == self.resource


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a rule narrows: one user, one role, or with neither everybody, administrators too.

    Those who have one of ``except_roles`` are not meant.
    """

    user: str | None = None
    role: str | None = None
    user_id: str | None = None
    except_roles: frozenset[str] = field(default_factory=frozenset)

    def includes(self, principal: Principal) -> bool:
        """Whether the rule is for that principal."""
        if any(principal.has_role(role) for role in self.except_roles):
            return False
        if self.user is not None and self.user != principal.username:
            return False
        if self.user_id is not None and self.user_id != principal.user_id:
            return False
        return self.role is None or principal.has_role(self.role)


class RedactionKind(StrEnum):
    """How a value is kept from those who may see that there is one.

    ``hash`` is a keyed pseudonym, ``mask`` a fixed number of stars with or without what is kept at
    its ends, ``generalise`` a coarser value.
    """

    NULL = "null"
    HASH = "hash"
    MASK = "mask"
    GENERALISE = "generalise"


@dataclass(frozen=True, slots=True)
class Redaction:
    """What takes the place of a value; its type stays that of the column.

    ``keep_prefix`` and ``keep_suffix`` are code points that a mask shows, of values at least twice
    as long as both together. Equal values hash equally within one ``domain``, and differently in
    another. ``to`` is what a value is generalised to, such as ``month``.
    """

    kind: RedactionKind
    keep_prefix: int = 0
    keep_suffix: int = 0
    domain: str | None = None
    to: str | None = None


NULLED = Redaction(RedactionKind.NULL)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Those whom it is for see only the rows of a table for which ``condition`` is true.

    ``condition`` is SQL over the columns of the table, checked when it was put.
    """

    name: str
    table: TableRef
    condition: str
    to: Audience = Audience()


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """Those whom it is for see a column, or a field within it, only redacted."""

    name: str
    table: TableRef
    column: ColumnPath
    redaction: Redaction
    to: Audience = Audience()


@dataclass(frozen=True, slots=True)
class Label:
    """What a column tells of a person; what a purpose hides is decided by that (``purposes``)."""

    table: TableRef
    column: str
    part: DataPart


@dataclass(frozen=True, slots=True)
class SafeView:
    """Some columns and rows of a table or of another such view, redacted, under a name of its own.

    Who may read the view needs no right to its base. ``columns`` are those of the base that it
    shows, in their order, each with the type that it had when the view was put, as text: a base
    that no longer has them so shows nothing. ``redactions`` are by column or field within one.
    """

    ref: TableRef
    base: TableRef
    columns: tuple[tuple[str, str], ...]
    row_filter: str | None = None
    redactions: tuple[tuple[ColumnPath, Redaction], ...] = ()
    description: str | None = None
    tags: tuple[str, ...] = ()
