"""The actions of rules that narrow tables and safe views: row filters, column masks, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flight_server import errors
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, checked, json_time
from flight_server.rpc.redactions import REDACTION_USAGE, read_redaction, redaction_json
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.rules import Stored, To
from policies.purposes import DataPart
from policies.rules import Audience, ColumnMask, ColumnPath, Label, RowFilter

_TO: Mapping[str, Field] = {
    "user": Field(str, "The name of a user", is_required=False),
    "role": Field(str, "A base or custom role", is_required=False),
}
_TO_USAGE = '{"user"} or {"role"}'


def _to(name: str, values: Values) -> To:
    """Return whom a rule is for: one user, one role, or without either everybody."""
    to: dict[str, Any] = {}
    if "to" in values:
        to = checked(f"'to' of {name}", values["to"], _TO, usage=_TO_USAGE)
        if len(to) != 1:
            raise errors.InvalidRequest(f"'to' of {name} is {_TO_USAGE}")
    return To(**to, except_roles=tuple(values.get("except_roles", ())))


def _put_filter(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    rules = use_cases.rules
    stored, is_new = rules.put_filter(
        request,
        rules.named(request, values["table"]),
        name=values["name"],
        condition=values["filter"],
        to=_to("filter.put", values),
    )
    yield {**_filter(stored), "created": is_new}


def _put_mask(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    rules = use_cases.rules
    stored, is_new = rules.put_mask(
        request,
        rules.named(request, values["table"]),
        name=values["name"],
        column=_path(values),
        redaction=read_redaction("'redaction'", values["redaction"]),
        to=_to("mask.put", values),
    )
    yield {**_mask(stored), "created": is_new}


def _path(values: Values) -> ColumnPath:
    """Return the column, and the fields of structs that lead to a part of it."""
    if ("column" in values) is ("path" in values):
        raise errors.InvalidRequest("mask.put needs either 'column' or 'path'")
    return tuple(values["path"] if "path" in values else values["column"].split("."))


def _put_label(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    rules = use_cases.rules
    stored, is_new = rules.put_label(
        request,
        rules.named(request, values["table"]),
        column=values["column"],
        part=values["label"],
    )
    yield {**_label(stored), "created": is_new}


def _list_filters(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    rules = use_cases.rules
    table = rules.named(request, values["table"]) if "table" in values else None
    yield from map(_filter, rules.filters(request, table))


def _list_masks(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    rules = use_cases.rules
    table = rules.named(request, values["table"]) if "table" in values else None
    yield from map(_mask, rules.masks(request, table))


def _list_labels(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    rules = use_cases.rules
    table = rules.named(request, values["table"]) if "table" in values else None
    yield from map(_label, rules.labels(request, table))


def _drop_filter(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    table = use_cases.rules.named(request, values["table"])
    use_cases.rules.drop_filter(request, table, values["name"])
    yield {"name": values["name"], "table": str(table), "dropped": True}


def _drop_mask(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    table = use_cases.rules.named(request, values["table"])
    use_cases.rules.drop_mask(request, table, values["name"])
    yield {"name": values["name"], "table": str(table), "dropped": True}


def _drop_label(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    table, column, part = (
        use_cases.rules.named(request, values["table"]),
        values["column"],
        values["label"],
    )
    use_cases.rules.drop_label(request, table, column=column, part=part)
    yield {"table": str(table), "column": column, "label": part, "dropped": True}


def _filter(stored: Stored[RowFilter]) -> Values:
    rule = stored.rule
    return {
        "name": rule.name,
        "table": str(rule.table),
        "filter": rule.condition,
        **_whom(rule.to),
        **_made(stored),
    }


def _mask(stored: Stored[ColumnMask]) -> Values:
    rule = stored.rule
    return {
        "name": rule.name,
        "table": str(rule.table),
        "path": list(rule.column),
        "redaction": redaction_json(rule.redaction),
        **_whom(rule.to),
        **_made(stored),
    }


def _label(stored: Stored[Label]) -> Values:
    rule = stored.rule
    return {
        "table": str(rule.table),
        "column": rule.column,
        "label": rule.part.value,
        **_made(stored),
    }


def _whom(to: Audience) -> Values:
    user = None if to.user is None else {"user": to.user}
    role = None if to.role is None else {"role": to.role}
    return {"to": user or role, "except_roles": sorted(to.except_roles)}


def _made(stored: Stored[Any]) -> Values:
    return {"created_at": json_time(stored.created_at), "created_by": stored.created_by}


_TABLE = Field(str, "The table or safe view, named as in SQL")
_ONLY = Field(str, "Only those of this table or safe view", is_required=False)
_NAME = Field(str, "The name of the rule, one of its kind on its table")
_WHOM: Mapping[str, Field] = {
    "to": Field(dict, f"Whom it is for, {_TO_USAGE}; everybody without", is_required=False),
    "except_roles": Field(list, "Roles that are not meant", is_required=False, elements=str),
}
_LABELS = tuple(DataPart)
_MADE = '"created_at", "created_by"'
_FILTER = f'"name", "table", "filter", "to", "except_roles", {_MADE}'
_MASK = f'"name", "table", "path", "redaction", "to", "except_roles", {_MADE}'
_LABEL = f'"table", "column", "label", {_MADE}'

RULE_ACTIONS: Mapping[str, Shape] = {
    "filter.put": Shape(
        "Let somebody see only rows that meet a condition",
        Who.MANAGE,
        _put_filter,
        {
            "name": _NAME,
            "table": _TABLE,
            "filter": Field(str, "An SQL condition over the columns, and over who asks"),
            **_WHOM,
        },
        "{" + _FILTER + ', "created"}',
    ),
    "filter.list": Shape(
        "List the row filters of tables that one manages",
        Who.MANAGE,
        _list_filters,
        {"table": _ONLY},
        "for each {" + _FILTER + "}",
        effect=Effect.READ,
    ),
    "filter.drop": Shape(
        "Remove a row filter",
        Who.MANAGE,
        _drop_filter,
        {"name": _NAME, "table": _TABLE},
        '{"name", "table", "dropped"}',
    ),
    "mask.put": Shape(
        "Let somebody see a column, or a field in it, only redacted",
        Who.MANAGE,
        _put_mask,
        {
            "name": _NAME,
            "table": _TABLE,
            "column": Field(str, "The column; dots lead into structs", is_required=False),
            "path": Field(list, "The same as a list of names", is_required=False, elements=str),
            "redaction": Field(dict, f"What takes its place, {REDACTION_USAGE}"),
            **_WHOM,
        },
        "{" + _MASK + ', "created"}',
    ),
    "mask.list": Shape(
        "List the column masks of tables that one manages",
        Who.MANAGE,
        _list_masks,
        {"table": _ONLY},
        "for each {" + _MASK + "}",
        effect=Effect.READ,
    ),
    "mask.drop": Shape(
        "Remove a column mask",
        Who.MANAGE,
        _drop_mask,
        {"name": _NAME, "table": _TABLE},
        '{"name", "table", "dropped"}',
    ),
    "label.put": Shape(
        "Say what a column tells of a person; what a purpose hides goes by that",
        Who.MANAGE,
        _put_label,
        {
            "table": _TABLE,
            "column": Field(str, "The column"),
            "label": Field(str, "What it tells", choices=_LABELS),
        },
        "{" + _LABEL + ', "created"}',
    ),
    "label.list": Shape(
        "List the labels of tables that one manages",
        Who.MANAGE,
        _list_labels,
        {"table": _ONLY},
        "for each {" + _LABEL + "}",
        effect=Effect.READ,
    ),
    "label.drop": Shape(
        "Remove a label",
        Who.MANAGE,
        _drop_label,
        {
            "table": _TABLE,
            "column": Field(str, "The column"),
            "label": Field(str, "As given", choices=_LABELS),
        },
        '{"table", "column", "label", "dropped"}',
    ),
}
