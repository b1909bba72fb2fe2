"""The actions that hide rows by their keys, and let them be seen again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, json_time
from flight_server.service.keyed_tombstones import VALUES_MAX, Outcome, Tombstone
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.tombstones import PAGE_KEYS, PAGE_KEYS_MAX


def _add(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield from _answers(
        use_cases.tombstones.add(
            request,
            values["table"],
            column=values["row_key_column"],
            values=values["row_key_values"],
            actor=values.get("actor"),
            reason=values["reason"],
        )
    )


def _remove(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield from _answers(
        use_cases.tombstones.remove(
            request, values["table"], values["row_key_values"], reason=values.get("reason")
        )
    )


def _answers(outcomes: Iterable[Outcome]) -> Iterator[Values]:
    for each in outcomes:
        answer = {"row_key_value": each.value, "status": each.status.value}
        yield answer if each.message is None else {**answer, "message": each.message}


def _list(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    page = use_cases.tombstones.list(
        request, values["table"], limit=values.get("limit"), token=values.get("page_token")
    )
    answer: dict[str, object] = {"table": str(page.table), "count": page.count}
    if page.tombstones is not None:
        answer["row_key_column"] = page.key_column
        answer["tombstones"] = list(map(_shown, page.tombstones))
        answer["next_page_token"] = None if page.next_after is None else str(page.next_after)
    yield answer


def _shown(tombstone: Tombstone) -> dict[str, object]:
    return {
        "row_key_value": tombstone.value,
        "actor": tombstone.actor,
        "reason": tombstone.reason,
        "added_at": json_time(tombstone.added_at),
        "final": tombstone.is_final,
    }


_TABLE = Field(str, "The table, named as in SQL")
_VALUES = Field(list, f"The keys of the rows, at most {VALUES_MAX}, in the type of the column")
_STATUS = '"status", "message"?}'

TOMBSTONE_ACTIONS: Mapping[str, Shape] = {
    "tombstone.add": Shape(
        "Hide rows of a table by their keys, from everybody and in all versions",
        Who.WRITE,
        _add,
        {
            "table": _TABLE,
            "row_key_column": Field(str, "The column of the keys, one for each table"),
            "row_key_values": _VALUES,
            "actor": Field(str, "Who asked for it; the caller", is_required=False),
            "reason": Field(str, "Why"),
        },
        'for each value in its place {"row_key_value", ' + _STATUS,
    ),
    "tombstone.remove": Shape(
        "Let rows be seen again that were hidden by their keys",
        Who.WRITE,
        _remove,
        {
            "table": _TABLE,
            "row_key_values": _VALUES,
            "reason": Field(str, "Why", is_required=False),
        },
        'for each value in its place {"row_key_value", ' + _STATUS,
    ),
    "tombstone.list": Shape(
        "Count the keys that hide rows of a table; list them for those who may know them",
        Who.READ,
        _list,
        {
            "table": _TABLE,
            "limit": Field(
                int, f"How many: {PAGE_KEYS}, or up to {PAGE_KEYS_MAX}", is_required=False
            ),
            "page_token": Field(str, "Where the page before ended", is_required=False),
        },
        '{"table", "count", "row_key_column"?, "tombstones"?, "next_page_token"?}, each tombstone'
        ' {"row_key_value", "actor", "reason", "added_at", "final"}',
        effect=Effect.READ,
    ),
}
