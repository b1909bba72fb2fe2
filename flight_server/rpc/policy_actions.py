"""The actions that ask about the rules: who sees what and why, and how it came to be so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from flight_server import errors
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, json_time
from flight_server.service.periods import period
from flight_server.service.policy_questions import Asked
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.sql.names import parse_time


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text).time
    except errors.InvalidRequest as error:
        raise errors.InvalidRequest(f"'at': {error.message}", code="invalid_time") from None


def _explain(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    asked = Asked(
        values["table"],
        user=values.get("user"),
        purpose=values.get("purpose"),
        at=_moment(values.get("at")),
        version=values.get("version"),
    )
    yield use_cases.questions.explain(request, asked)


def _diff(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield use_cases.questions.differences(request, values["from"], values.get("to")).as_json()


def _versions(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    asked = period(values.get("from"), values.get("to"))
    for each in use_cases.questions.versions(request, asked):
        yield {"version": each.version, "since": json_time(each.since)}


_POINT = "A version as the audit log has it, or a moment"

POLICY_ACTIONS: Mapping[str, Shape] = {
    "policy.explain": Shape(
        "Explain what somebody sees of a table and why, now or then",
        Who.AUDITOR,
        _explain,
        {
            "table": Field(str, "The table or view"),
            "user": Field(str, "A user's name or id; none is oneself", is_required=False),
            "purpose": Field(str, "The purpose that a session states", is_required=False),
            "at": Field(str, "The moment; none is now", is_required=False),
            "version": Field(
                str, "The version of the rules, as the audit log has it", is_required=False
            ),
        },
        '{"user", "table", "at", "policy_version", "allowed", "reason", "columns",'
        ' "rows_filtered", "purpose", "consent", "group_rows_min", "summary"}, and for those who'
        ' look after the rules "user_id", "role", "custom_roles", "attributes", "grants",'
        ' "filters", "masks", "labels", "views", "columns_hidden", "tombstones",'
        ' "settings_are_known"',
        effect=Effect.READ,
    ),
    "policy.diff": Shape(
        "Compare the rules of two versions or moments",
        Who.ONLY_AUDITOR,
        _diff,
        {
            "from": Field(str, _POINT),
            "to": Field(str, f"{_POINT}; none is now", is_required=False),
        },
        '{"from", "to", "changes", "settings_differ", "summary"}',
        effect=Effect.READ,
    ),
    "policy.versions": Shape(
        "List the versions of the rules, newest first",
        Who.ONLY_AUDITOR,
        _versions,
        {
            "from": Field(str, "The first moment: a date or a time", is_required=False),
            "to": Field(str, "The last one: a date (to its end) or a time", is_required=False),
        },
        'for each {"version", "since"}',
        effect=Effect.READ,
    ),
}
