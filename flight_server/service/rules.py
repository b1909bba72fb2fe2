"""Rules that narrow what a table or an AI-safe view shows: put, listed and dropped.

They hold from the next call on, in every session and process, and stay with the name of their
table: a table that takes the name of a dropped one is narrowed as that one was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from flight_server.auth.users import User
from flight_server.catalog import rule_rows
from flight_server.catalog.resources import read_resource
from flight_server.catalog.rule_table import RuleTable
from flight_server.catalog.rulebook import Narrowing, Rulebook
from flight_server.engine.redaction_types import check_redaction
from flight_server.errors import InvalidRequest, LimitExceeded, NotFound, Unavailable, Unsupported
from flight_server.service.request import Request
from flight_server.service.shapes import Shapes
from flight_server.storage.edits import Change
from flight_server.storage.system import Row, Rows
from policies.names import Role, TableRef
from policies.purposes import DataPart
from policies.records import AUDIT_ANALYST, AUDITOR
from policies.rules import Audience, ColumnMask, ColumnPath, Label, Redaction, RowFilter

RULES_MAX = 10_000
# All of them are in the plan of each query of their table.
RULES_PER_TABLE_MAX = 1_000
RULE_NOT_FOUND = "rule_not_found"
ROLE_NOT_FOUND = "role_not_found"
_TABLE_PARTS = 3
_NAME = re.compile(r"\w[\w .-]{0,127}")
Rule = TypeVar("Rule", RowFilter, ColumnMask, Label)


@dataclass(frozen=True, slots=True)
class To:
    """Whom a rule is for, as somebody writes it; see ``policies.rules.Audience``."""

    user: str | None = None
    role: str | None = None
    except_roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored(Generic[Rule]):
    """A rule, and who made it when; ``created_by`` is None for the command line."""

    rule: Rule
    created_at: datetime
    created_by: str | None = None


class Users(Protocol):
    """Where accounts are looked up."""

    def find(self, username: str) -> User | None:
        """Return the user of that name, or None."""
        ...

    def list(self) -> tuple[User, ...]:
        """Return all users."""
        ...


class Permits(Protocol):
    """Decides who may make rules, and asks the engine what a condition is."""

    def named(self, request: Request, table: str) -> TableRef:
        """Return the table that a name means to a request."""
        ...

    def check(self, request: Request, ref: TableRef) -> None:
        """Raise what a caller is to hear who may not make rules on a table or view."""
        ...

    def check_still(self, request: Request, ref: TableRef) -> None:
        """Raise when a caller who might make rules may not any more."""
        ...

    def check_redaction(self, request: Request, ref: TableRef, redaction: Redaction) -> None:
        """Raise PermissionDenied for a hash in a domain that is somebody else's."""
        ...

    def may_manage(self, request: Request, ref: TableRef) -> bool:
        """Whether somebody may make rules on a table or view."""
        ...

    def denied(self, request: Request, ref: TableRef) -> frozenset[str]:
        """Return columns of a table or view that do not exist for a caller."""
        ...

    def check_condition(
        self, request: Request, text: str, ref: TableRef, *, schema: pa.Schema
    ) -> None:
        """Raise InvalidRequest, with a place, unless a text is a condition over these columns."""
        ...


class Rules:
    """The use cases; safe to use from many threads.

    Without a request it is somebody on the machine of the server, who may do everything but what
    needs an engine. All raise NotFound and PermissionDenied as ``permits`` says, Unavailable.
    """

    def __init__(
        self,
        rulebook: Rulebook,
        users: Users,
        *,
        shapes: Shapes,
        permits: Permits | None = None,
    ) -> None:
        self._rulebook = rulebook
        self._users = users
        self._shapes = shapes
        self._permits = permits

    def named(self, request: Request | None, table: str) -> TableRef:
        """Return the table that a name means; without a request it is a full one.

        Raises InvalidRequest, NotFound.
        """
        if request is not None and self._permits is not None:
            return self._permits.named(request, table)
        resource = read_resource(table)
        if len(resource) != _TABLE_PARTS:
            raise InvalidRequest("a table is named bucket.schema.table")
        return TableRef(*resource)

    def put_filter(
        self, request: Request, ref: TableRef, *, name: str, condition: str, to: To
    ) -> tuple[Stored[RowFilter], bool]:
        """Let those whom it is for see only rows of which the condition is true, durable.

        One of this name is replaced. Returns it, and whether it is new. Raises InvalidRequest with
        the place of what is wrong in the condition, NotFound (``table_not_found``,
        ``user_not_found``, ``role_not_found``), LimitExceeded.
        """
        if self._permits is None:
            raise Unsupported("a filter is tried by a running server: use the action filter.put")
        table = self._narrowing().filters
        schema = self._schema(request, ref)
        check_name(name)
        rule = RowFilter(name, ref, condition, self._audience(to))
        self._permits.check_condition(request, condition, ref, schema=schema)
        return self._put(table, rule, rule_rows.filter_row, request)

    def put_mask(
        self,
        request: Request | None,
        ref: TableRef,
        *,
        name: str,
        column: ColumnPath,
        redaction: Redaction,
        to: To,
    ) -> tuple[Stored[ColumnMask], bool]:
        """Let those whom it is for see a column, or a field in it, only redacted, durable.

        One of this name is replaced. Returns it, and whether it is new. Raises InvalidRequest for a
        redaction that does not fit, NotFound (``column_not_found``), and as ``put_filter`` does.
        """
        table = self._narrowing().masks
        schema = self._schema(request, ref)
        check_name(name)
        kind = _column(schema, ref, column[0] if column else "").type
        check_redaction(kind, column, redaction)
        if request is not None and self._permits is not None:
            self._permits.check_redaction(request, ref, redaction)
        rule = ColumnMask(name, ref, column, redaction, self._audience(to))
        return self._put(table, rule, rule_rows.mask_row, request)

    def put_label(
        self, request: Request | None, ref: TableRef, *, column: str, part: str
    ) -> tuple[Stored[Label], bool]:
        """Say what a column tells of a person, durable; what a purpose hides is decided by that."""
        table = self._narrowing().labels
        schema = self._schema(request, ref)
        if part not in set(DataPart):
            raise InvalidRequest(f"the label is one of {', '.join(DataPart)}")
        _column(schema, ref, column)
        return self._put(table, Label(ref, column, DataPart(part)), rule_rows.label_row, request)

    def filters(
        self, request: Request | None, ref: TableRef | None = None
    ) -> list[Stored[RowFilter]]:
        """Return the row filters, of one table or of all that the caller may manage."""
        return self._listed(self._narrowing().filters, request, ref)

    def masks(
        self, request: Request | None, ref: TableRef | None = None
    ) -> list[Stored[ColumnMask]]:
        """Return the column masks, likewise."""
        return self._listed(self._narrowing().masks, request, ref)

    def labels(self, request: Request | None, ref: TableRef | None = None) -> list[Stored[Label]]:
        """Return the labels, likewise."""
        return self._listed(self._narrowing().labels, request, ref)

    def drop_filter(self, request: Request | None, ref: TableRef, name: str) -> None:
        """Forget a row filter, durable, also one that cannot be read.

        Raises NotFound (``rule_not_found``).
        """
        self._drop(self._narrowing().filters, request, ref, name)

    def drop_mask(self, request: Request | None, ref: TableRef, name: str) -> None:
        """Forget a column mask, likewise."""
        self._drop(self._narrowing().masks, request, ref, name)

    def drop_label(self, request: Request | None, ref: TableRef, *, column: str, part: str) -> None:
        """Forget a label, likewise."""
        self._drop(self._narrowing().labels, request, ref, column, part)

    def _narrowing(self) -> Narrowing:
        if self._rulebook.narrowing is None:
            raise Unavailable("this server keeps no rules: it has no folder of its own")
        return self._rulebook.narrowing

    def _may(self, request: Request | None, ref: TableRef) -> None:
        if request is not None and self._permits is not None:
            self._permits.check(request, ref)

    def _still(self, request: Request | None, ref: TableRef) -> None:
        if request is not None and self._permits is not None:
            self._permits.check_still(request, ref)

    def _schema(self, request: Request | None, ref: TableRef) -> pa.Schema:
        """Return what the rule is to fit, for somebody who may make it."""
        self._may(request, ref)
        schema = self._shapes.narrowable(ref)
        if schema is None:
            raise NotFound(f"the table {ref} does not exist", code="table_not_found")
        if request is None or self._permits is None:
            return schema
        denied = self._permits.denied(request, ref)
        return pa.schema([each for each in schema if each.name not in denied])

    def _audience(self, to: To) -> Audience:
        for role in (to.role, *to.except_roles):
            if role is not None:
                self._check_role(role)
        user_id = None
        if to.user is not None:
            user = self._users.find(to.user)
            if user is None:
                raise NotFound(f"there is no user {to.user!r}", code="user_not_found")
            user_id = user.user_id
        return Audience(to.user, to.role, user_id, frozenset(to.except_roles))

    def _check_role(self, role: str) -> None:
        """Raise NotFound for a role that nobody has and no grant is to: a slip of the pen."""
        if role in (*Role, AUDITOR, AUDIT_ANALYST):
            return
        if any(grant.role == role for grant in self._rulebook.book().grants):
            return
        if not any(role in user.custom_roles for user in self._users.list()):
            raise NotFound(
                f"there is no role {role!r}: no user has it, and no grant is to it",
                code=ROLE_NOT_FOUND,
            )

    def _put(
        self,
        table: RuleTable[Rule],
        rule: Rule,
        row_of: Callable[..., dict[str, Any]],
        request: Request | None,
    ) -> tuple[Stored[Rule], bool]:
        made_by = None if request is None else request.principal.username
        stored = Stored(rule, table.clock.now(), made_by)
        row = row_of(rule, created_at=stored.created_at, created_by=stored.created_by)
        key = row["label" if isinstance(rule, Label) else "rule"]
        is_new = True

        def edit(rows: Rows) -> list[Row]:
            nonlocal is_new
            is_new = key not in rows
            if is_new and len(rows) >= RULES_MAX:
                raise LimitExceeded(
                    f"there are as many rules of this kind as there may be: rules_max={RULES_MAX}"
                )
            around = rule_rows.rule_key(rule.table, "")
            if is_new and sum(each.startswith(around) for each in rows) >= RULES_PER_TABLE_MAX:
                raise LimitExceeded(
                    f"there are as many rules of this kind on {rule.table} as there may be:"
                    f" rules_per_table_max={RULES_PER_TABLE_MAX}"
                )
            self._still(request, rule.table)  # trying it may have taken a while
            return [row]

        table.change(edit)
        return stored, is_new

    def _listed(
        self, table: RuleTable[Rule], request: Request | None, ref: TableRef | None
    ) -> list[Stored[Rule]]:
        if ref is not None:
            self._may(request, ref)
        read = table.read()
        found = [
            Stored(rule, row["created_at"], row["created_by"])
            for key, rule in read.rules.items()
            if rule.table == ref or (ref is None and self._manages(request, rule.table))
            for row in (read.snapshot.rows[key],)
        ]
        return sorted(found, key=lambda each: (each.rule.table, each.created_at))

    def _manages(self, request: Request | None, ref: TableRef) -> bool:
        if request is None or self._permits is None:
            return True
        return self._permits.may_manage(request, ref)

    def _drop(
        self, table: RuleTable[Rule], request: Request | None, ref: TableRef, *names: str
    ) -> None:
        self._may(request, ref)
        key = rule_rows.rule_key(ref, *names)

        def edit(rows: Rows) -> Change:
            if key not in rows:
                raise NotFound(f"{ref} has no such rule", code=RULE_NOT_FOUND)
            return Change(remove=frozenset({key}))

        table.change(edit)


def check_name(name: str) -> None:
    """Raise InvalidRequest for what no rule may be called."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "the name of a rule has letters, digits, _, -, dots and spaces, 128 at most, and"
            " begins with a letter, a digit or _"
        )


def _column(schema: pa.Schema, ref: TableRef, name: str) -> pa.Field[Any]:
    if name not in schema.names:
        raise NotFound(f"{ref} has no column {name!r}", code="column_not_found")
    return schema.field(name)
