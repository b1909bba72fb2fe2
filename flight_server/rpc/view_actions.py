"""The actions of AI-safe views: what each shows of what, and how it looks to somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, json_time
from flight_server.rpc.redactions import REDACTION_USAGE, read_redaction, redaction_json
from flight_server.service.previews import ROWS_DEFAULT, ROWS_MAX, Eyes
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.safe_views import Shown, Wording
from flight_server.storage.delta_types import type_words
from policies.words import path_words


def _put(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    wording = Wording(
        values["name"],
        values["base"],
        values["columns"],
        row_filter=values.get("row_filter"),
        redactions={
            path: read_redaction(f"redactions[{path!r}]", each)
            for path, each in values.get("redactions", {}).items()
        },
        description=values.get("description"),
        tags=values.get("tags", ()),
    )
    view, is_new = use_cases.views.put(request, wording)
    yield {"name": str(view.ref), "created": is_new}


def _get(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield _answer(use_cases.views.get(request, values["name"]))


def _list(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    found = use_cases.views.list(request, base=values.get("base"), tag=values.get("tag"))
    yield from map(_answer, found)


def _drop(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    ref, was_there = use_cases.views.drop(
        request, values["name"], if_exists=values.get("if_exists", False)
    )
    yield {"name": str(ref), "dropped": was_there}


def _preview(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    eyes = Eyes(values.get("user"), values.get("role"), values.get("purpose"))
    limit = values.get("limit", ROWS_DEFAULT)
    yield from use_cases.previews.preview(request, values["name"], eyes, limit=limit)


def _rotate_key(use_cases: UseCases, _request: Request, _values: Values) -> Iterator[Values]:
    use_cases.rotate_hash_key()
    yield {"rotated": True}


def _answer(shown: Shown) -> Values:
    view, schema = shown.view.rule, shown.view.arrow_schema
    answer: dict[str, Any] = {
        "name": str(view.ref),
        "columns": [name for name, _ in view.columns],
        "column_types": [type_words(column.type) for column in schema],
        "description": view.description,
        "tags": list(view.tags),
    }
    if shown.is_open:
        answer |= {
            "base": str(view.base),
            "row_filter": view.row_filter,
            "redactions": {
                path_words(path): redaction_json(each) for path, each in view.redactions
            },
            "created_at": json_time(shown.view.created_at),
            "created_by": shown.view.created_by,
        }
    return answer


_NAME = Field(str, "The view, named as in SQL")
_ANSWER = (
    '{"name", "columns", "column_types", "description", "tags"}, and for those who manage it'
    ' "base", "row_filter", "redactions", "created_at", "created_by"'
)

VIEW_ACTIONS: Mapping[str, Shape] = {
    "view.put": Shape(
        "Make an AI-safe view, or put another one in its place",
        Who.MANAGE,
        _put,
        {
            "name": _NAME,
            "base": Field(str, "The table or the other safe view that it is made of"),
            "columns": Field(list, "The columns that it shows, in their order", elements=str),
            "row_filter": Field(str, "An SQL condition that its rows meet", is_required=False),
            "redactions": Field(
                dict, f"By column or field, each {REDACTION_USAGE}", is_required=False
            ),
            "description": Field(str, "What it is for", is_required=False),
            "tags": Field(list, "Words to find it by", is_required=False, elements=str),
        },
        '{"name", "created"}',
    ),
    "view.get": Shape(
        "Describe an AI-safe view",
        Who.READ,
        _get,
        {"name": _NAME},
        _ANSWER,
        effect=Effect.READ,
    ),
    "view.list": Shape(
        "List the AI-safe views that one may see",
        Who.READ,
        _list,
        {
            "base": Field(str, "Only those made of it, which one manages", is_required=False),
            "tag": Field(str, "Only those with this tag", is_required=False),
        },
        f"for each {_ANSWER}",
        effect=Effect.READ,
    ),
    "view.drop": Shape(
        "Remove an AI-safe view",
        Who.MANAGE,
        _drop,
        {"name": _NAME, "if_exists": Field(bool, "None need be there", is_required=False)},
        '{"name", "dropped"}',
    ),
    "view.preview": Shape(
        "Show rows of an AI-safe view as somebody would see them",
        Who.MANAGE,
        _preview,
        {
            "name": _NAME,
            "user": Field(str, "Whose eyes; or else", is_required=False),
            "role": Field(str, "those of a base or custom role", is_required=False),
            "purpose": Field(str, "What they read it for", is_required=False),
            "limit": Field(int, f"How many rows, {ROWS_MAX} at most", is_required=False),
        },
        "for each row its values by column",
        effect=Effect.READ,
    ),
    "view.rotate_key": Shape(
        "Make another key for the hashes of all views and masks",
        Who.ADMIN,
        _rotate_key,
        {},
        '{"rotated"}',
    ),
}
