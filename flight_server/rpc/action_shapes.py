"""What one of this server's own actions looks like: its fields, its caller, its handler."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from flight_server import errors
from flight_server.service.accounts import Accounts
from flight_server.service.consents import Consents
from flight_server.service.grants import Grants
from flight_server.service.policy_questions import PolicyQuestions
from flight_server.service.previews import Previews
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.rules import Rules
from flight_server.service.running import Running
from flight_server.service.safe_views import ViewRules
from flight_server.service.table_changes import TableChanges
from flight_server.service.table_upkeep import TableUpkeep
from flight_server.service.tombstones import Tombstones
from flight_server.service.usage import Usage


class Who(StrEnum):
    """Who may call an action; handlers narrow it to what the caller may touch."""

    ANYONE = "anyone"
    SELF = "self / admin"
    AUDITOR = "self / auditor"
    ONLY_AUDITOR = "auditor"
    READ = "read"
    WRITE = "write"
    MAINTAIN = "maintain"
    MANAGE = "manage"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body. ``kind`` is the JSON type: text, number, flag, list or object.

    ``elements`` is that of what a list holds, None for anything; ``choices`` are the texts that
    are allowed, none for all.
    """

    kind: type[str | int | float | bool | list[Any] | dict[str, Any]]
    description: str
    is_required: bool = True
    elements: type[str | dict[str, Any]] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UseCases:
    """What handlers call."""

    running: Running
    tables: TableChanges
    upkeep: TableUpkeep
    accounts: Accounts
    usage: Usage
    grants: Grants
    rules: Rules
    views: ViewRules
    previews: Previews
    rotate_hash_key: Callable[[], None]
    questions: PolicyQuestions
    tombstones: Tombstones
    consents: Consents


Values = Mapping[str, Any]
Handler = Callable[[UseCases, Request, Values], Iterable[Values]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What an action does, who may call it, what it takes, and what it answers.

    ``check`` raises for a body that must not even be on record.
    """

    description: str
    who: Who
    handler: Handler
    fields: Mapping[str, Field] = field(default_factory=dict)
    answer: str = "{}"
    effect: Effect = Effect.CHANGE
    check: Callable[[Values], None] | None = None

    def usage(self) -> str:
        """Return the body as a template: ``{"query_id", "reason"?}``."""
        names = (
            f'"{name}"' if shape.is_required else f'"{name}"?'
            for name, shape in self.fields.items()
        )
        return "{" + ", ".join(names) + "}"


def checked(
    name: str, values: Mapping[str, Any], fields: Mapping[str, Field], *, usage: str
) -> dict[str, Any]:
    """Return the values without those that are null; ``name`` is what has these fields.

    Raises InvalidRequest for fields that are missing, unknown or of another type.
    """
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise errors.InvalidRequest(f"{name} has no field {unknown[0]!r}; its body is {usage}")
    given = {key: value for key, value in values.items() if value is not None}
    for field_name, expected in fields.items():
        if field_name not in given:
            if expected.is_required:
                raise errors.InvalidRequest(f"{name} needs the field {field_name!r}")
        elif not _fits(given[field_name], expected):
            raise errors.InvalidRequest(
                f"the field {field_name!r} of {name} is {_described(expected)}"
            )
    return given


_WORDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "a flag, true or false",
    list: "a list",
    dict: "an object",
}


def _described(expected: Field) -> str:
    if expected.choices:
        return "one of " + ", ".join(f'"{choice}"' for choice in expected.choices)
    words = _WORDS[expected.kind]
    return (
        words
        if expected.elements is None
        else f"{words}, of which each is {_WORDS[expected.elements]}"
    )


def _fits(value: object, expected: Field) -> bool:
    if not _is_of(value, expected.kind):
        return False
    if expected.choices and value not in expected.choices:
        return False
    elements = expected.elements
    if isinstance(value, list) and elements is not None:
        return all(isinstance(each, elements) for each in value)
    return True


def _is_of(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


def json_time(moment: datetime) -> str:
    """Return a moment as JSON has it: RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
