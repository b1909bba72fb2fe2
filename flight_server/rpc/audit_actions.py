"""The actions of the audit log: add an entry, read what was done, count it, check the chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flight_server.audit.heads import SignedHead
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, json_time
from flight_server.service.log_entries import LogEntry, log_entry
from flight_server.service.periods import period
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.usage import ACTIVITY_DEFAULT, OUTCOMES, Asked, Bill


def _entry(values: Values) -> LogEntry:
    return log_entry(values["action"], values.get("resource"), values.get("details"))


def _check_entry(values: Values) -> None:
    """Refuse what must not be on record before the call itself is."""
    _entry(values)


def _log(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield {
        "action": use_cases.usage.log(request, _entry(values)),
        "request_id": request.request_id,
    }


def _activity(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    asked = Asked(
        period(values.get("from"), values.get("to")),
        user=values.get("user"),
        action=values.get("action"),
        outcome=values.get("outcome"),
        limit=values.get("limit", ACTIVITY_DEFAULT),
    )
    for row in use_cases.usage.activity(request, asked):
        yield as_json(row)


def _billing(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    asked = period(values["from"], values["to"])
    for bill in use_cases.usage.bills(request, asked, values.get("user")):
        yield bill_as_json(bill)


def _verify(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    head = values.get("head")
    signed = None if head is None else SignedHead.from_json(head)
    verdict = use_cases.usage.verify(request, signed)
    yield verdict_as_json(verdict.to_json())


def _head(use_cases: UseCases, request: Request, _: Values) -> Iterator[Values]:
    yield use_cases.usage.head(request).to_json()


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON has it."""
    return {
        name: json_time(value) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def bill_as_json(bill: Bill) -> dict[str, Any]:
    """Return what a user used on a day as JSON has it."""
    return {
        "day": bill.day.isoformat(),
        "user_id": bill.user_id,
        "username": bill.username,
        "actions": dict(bill.actions),
        "action_count": bill.action_count,
        "queries": bill.actions.get("query", 0),
        "refused": bill.refused,
        "rows": bill.rows,
        "bytes": bill.bytes,
        "engine_seconds": round(bill.engine_seconds, 6),
    }


def verdict_as_json(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a verification has found; ``first_bad`` names the first record that is wrong."""
    answer = {
        "ok": verdict["is_intact"],
        "records": verdict["records"],
        "hash": verdict["hash"],
        "message": verdict["message"],
    }
    if not verdict["is_intact"]:
        names = ("fault", "sequence", "audit_id", "trusted_sequence")
        answer["first_bad"] = {name: verdict[name] for name in names}
    return answer


_FROM = "The first moment: a date (from its beginning) or a time"
_TO = "The last one: a date (to its end) or a time"
_USER = Field(str, "A user's name or id; none is everybody, or oneself", is_required=False)

AUDIT_ACTIONS: Mapping[str, Shape] = {
    "audit.log": Shape(
        "Put an entry of one's own on record; its action gets the prefix app.",
        Who.SELF,
        _log,
        {
            "action": Field(str, "What was done, such as report.print"),
            "resource": Field(str, "To what", is_required=False),
            "details": Field(dict, "Texts, numbers and flags by name", is_required=False),
        },
        '{"action", "request_id"}',
        check=_check_entry,
    ),
    "audit.activity": Shape(
        "Read what was done, newest first",
        Who.AUDITOR,
        _activity,
        {
            "user": _USER,
            "from": Field(str, _FROM, is_required=False),
            "to": Field(str, _TO, is_required=False),
            "action": Field(str, "Only this action", is_required=False),
            "outcome": Field(
                str, "Only this; none is all but intent", is_required=False, choices=OUTCOMES
            ),
            "limit": Field(int, "How many at most, 1 to 1000; 100", is_required=False),
        },
        'for each {"timestamp", "audit_id", "sequence", "user_id", "username", "session_id",'
        ' "action", "resource", "purpose", "outcome", "details", "row_count", "byte_count",'
        ' "engine_ms", "duration_ms", "table_versions", "policy_version", "request_id",'
        ' "ip_address", "user_agent"}',
        effect=Effect.READ,
    ),
    "audit.billing_summary": Shape(
        "Count actions, rows, bytes and engine time by day and user",
        Who.AUDITOR,
        _billing,
        {"from": Field(str, _FROM), "to": Field(str, _TO), "user": _USER},
        'for each day and user {"day", "user_id", "username", "actions", "action_count",'
        ' "queries", "refused", "rows", "bytes", "engine_seconds"}',
        effect=Effect.READ,
    ),
    "audit.verify": Shape(
        "Check the hash chain of the whole log, and that it holds what a head was signed for",
        Who.ONLY_AUDITOR,
        _verify,
        {"head": Field(dict, "What audit.head answered earlier", is_required=False)},
        '{"ok", "records", "hash", "message", "first_bad"?}',
        effect=Effect.READ,
    ),
    "audit.head": Shape(
        "Sign the end of the log, to be kept elsewhere",
        Who.ONLY_AUDITOR,
        _head,
        answer='{"sequence", "hash", "timestamp", "key_id", "public_key", "signature"}',
        effect=Effect.READ,
    ),
}
