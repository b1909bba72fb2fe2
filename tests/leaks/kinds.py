"""The cases: one for each kind of rule, and some for several at once."""

from __future__ import annotations

import pyarrow as pa

from policies.purposes import DataPart
from policies.rules import ColumnMask, Effect, Redaction, RedactionKind, SafeView
from tests.leaks import cases
from tests.leaks.cases import CODE, EMAIL, NULL, RESEARCHER, ROWS_HIDDEN, Case, Rules, ref_of
from tests.leaks.rows import SCHEMA, Hiding

_WITHOUT = ("email", "code", "tags")
_KEPT = tuple(name for name in SCHEMA.names if name not in _WITHOUT)
_COLUMNS_HIDDEN = Hiding(columns=frozenset(_WITHOUT))
_ABSENT = (("email", "nought"), ("word", "code"))
_MASKED_ENDS = Redaction(RedactionKind.MASK, keep_prefix=3, keep_suffix=2)
_NOTE, _ZIP, _LEVEL = ("place", "deep", "note"), ("place", "zip"), ("place", "deep", "level")
_BOTH = Hiding(rows=True, columns=frozenset({"email", "code", "place.zip"}))


def _view(name: str, **parts: object) -> SafeView:
    chosen = {"columns": cases.view_columns(*_WITHOUT), **parts}
    return SafeView(ref_of(name, "v"), ref_of(name), **chosen)  # type: ignore[arg-type]  # by name


def _rows() -> list[Case]:
    name = "filter"
    return [
        Case("tomb_text", ROWS_HIDDEN, Rules(tombstones=("key", cases.HIDDEN_KEYS))),
        Case("tomb_number", ROWS_HIDDEN, Rules(tombstones=("id", cases.HIDDEN_IDS))),
        Case(name, ROWS_HIDDEN, Rules(cases.filters(name, "owner = 'me'"))),
        Case(
            "filters",
            ROWS_HIDDEN,
            Rules(
                cases.filters(
                    "filters",
                    "owner IN (current_user, 'x')",
                    "attribute('side') = owner",
                    "id > -1",
                )
            ),
        ),
        Case(
            "research",
            Hiding(rows=True, columns=frozenset({"email", "host"})),
            Rules(
                labels=cases.labels(
                    "research",
                    key=DataPart.USER_ID,
                    email=DataPart.DEVICE_INFO,
                    host=DataPart.SOURCE_IP,
                ),
                consents=tuple(f"K-{number:04}" for number in cases.SEEN_IDS),
            ),
            shows={("key",): cases.nothing, EMAIL: cases.nothing, ("host",): cases.network},
            targets=(("word", "nought"), ("email", "code"), ("host", "id")),
            who=RESEARCHER,
            keeps_keyless=False,
        ),
        Case(
            "groups",
            # A value of any one row would be one too many.
            Hiding(rows=True, columns=frozenset({"word", "email", "code", "place", "tags"})),
            Rules(
                labels=cases.labels("groups", key=DataPart.USER_ID, word=DataPart.DATA_CONTENT),
                consents=tuple(f"K-{number:04}" for number in cases.SEEN_IDS),
            ),
            shows={("key",): cases.nothing},
            targets=(("word", "nought"), ("grp", "code"), ("email", "id")),
            who=cases.ANALYST,
            is_grouped=True,
        ),
    ]


def _masks() -> list[Case]:
    both = Hiding(columns=frozenset({"email", "code"}))
    return [
        Case(
            "mask_null",
            both,
            Rules(masks=cases.masks("mask_null", a=(EMAIL, NULL), b=(CODE, NULL))),
            shows={EMAIL: cases.nothing, CODE: cases.nothing},
            targets=(("email", "code"),),
        ),
        Case(
            "mask_hash",
            both,
            Rules(masks=cases.masks("mask_hash", a=(EMAIL, cases.HASHED), b=(CODE, cases.HASHED))),
            targets=(("email", "code"),),
            hashes=("email", "code"),
        ),
        Case(
            "mask_stars",
            Hiding(columns=frozenset({"email", "word"})),
            Rules(masks=_starred()),
            shows={EMAIL: cases.starred(3, 2), ("word",): cases.starred(0, 0)},
            targets=(("email", "nought"), ("word", "code")),
        ),
        Case(
            "mask_coarse",
            Hiding(columns=frozenset({"host"})),
            Rules(
                masks=cases.masks(
                    "mask_coarse",
                    a=(("host",), cases.generalised("network")),
                    b=(CODE, cases.generalised("1000")),
                    c=(("day",), cases.generalised("month")),
                    d=(("seen",), cases.generalised("day")),
                    e=(("price",), cases.generalised("10")),
                    f=(("score",), cases.generalised("2")),
                )
            ),
            shows={
                ("host",): cases.network,
                CODE: cases.bucket(1000),
                ("day",): cases.rounded("month", pa.date32()),
                ("seen",): cases.rounded("day", pa.timestamp("us", tz="UTC")),
                ("price",): cases.bucket(10),
                ("score",): cases.bucket(2),
            },
            targets=(("host", "code"), ("day", "price")),
        ),
        Case(
            "mask_leaf",
            Hiding(columns=frozenset({"place.zip", "place.note", "place.level"})),
            Rules(
                masks=cases.masks(
                    "mask_leaf", a=(_ZIP, NULL), b=(_NOTE, cases.MASKED), c=(_LEVEL, NULL)
                )
            ),
            shows={_ZIP: cases.nothing, _NOTE: cases.starred(0, 0), _LEVEL: cases.nothing},
            targets=(("place['zip']", "place['deep']['level']"), ("place['deep']['note']", "id")),
        ),
        Case(
            "mask_nested",
            Hiding(columns=frozenset({"place", "tags", "place.level"})),
            Rules(masks=cases.masks("mask_nested", a=(("place",), NULL), b=(("tags",), NULL))),
            shows={("place",): cases.nothing, ("tags",): cases.nothing},
            targets=(("place['zip']", "place['deep']['level']"), ("tags[1]", "nought")),
        ),
    ]


def _starred() -> tuple[ColumnMask, ...]:
    return cases.masks("mask_stars", a=(EMAIL, _MASKED_ENDS), b=(("word",), cases.MASKED))


def _columns() -> list[Case]:
    shown = {"columns": _KEPT, "targets": _ABSENT}
    allow = cases.column_grants("columns", _KEPT, effect=Effect.ALLOW)
    deny = cases.column_grants("deny", _WITHOUT, effect=Effect.DENY)
    return [
        Case("columns", _COLUMNS_HIDDEN, Rules(grants=allow), is_open=False, **shown),  # type: ignore[arg-type]  # by name
        Case("deny", _COLUMNS_HIDDEN, Rules(grants=deny), **shown),  # type: ignore[arg-type]  # by name
    ]


def _views() -> list[Case]:
    masked = {"redactions": ((("word",), cases.MASKED),), "row_filter": "owner = 'me'"}
    hidden = Hiding(rows=True, columns=frozenset({*_WITHOUT, "word"}))
    ends = cases.masks("over", a=(("word",), cases.MASKED))
    over = SafeView(
        ref_of("over", "w"),
        ref_of("over", "v"),
        cases.view_columns(*_WITHOUT, "host"),
        redactions=((_ZIP, NULL),),
    )
    return [
        Case(
            "view",
            hidden,
            Rules(views=(_view("view", **masked),)),
            shows={("word",): cases.starred(0, 0)},
            columns=_KEPT,
            targets=(("word", "nought"), ("email", "nought"), ("place['zip']", "nought")),
            asked="v",
        ),
        Case(
            "over",
            Hiding(rows=True, columns=frozenset({*_WITHOUT, "word", "place.zip", "host"})),
            Rules(views=(_view("over", row_filter="owner = 'me'"), over), masks=ends),
            shows={("word",): cases.starred(0, 0), _ZIP: cases.nothing},
            columns=tuple(name for name in _KEPT if name != "host"),
            targets=(("word", "nought"), ("place['zip']", "nought"), ("host", "nought")),
            asked="w",
        ),
        Case(
            "stack",
            _BOTH,
            Rules(
                cases.filters("stack", "id <> 1"),
                _stack_masks(),
                tombstones=("key", cases.HIDDEN_KEYS),
            ),
            shows={EMAIL: cases.nothing, CODE: cases.nothing, _ZIP: cases.starred(0, 0)},
            targets=(("place['zip']", "code"), ("word", "nought"), ("email", "nought")),
        ),
    ]


def _stack_masks() -> tuple[ColumnMask, ...]:
    return cases.masks(
        "stack",
        a=(EMAIL, cases.HASHED),
        b=(EMAIL, cases.MASKED),  # two that differ leave nothing
        c=(CODE, NULL),
        d=(_ZIP, cases.MASKED),
    )


CASES = {case.name: case for case in (*_rows(), *_masks(), *_columns(), *_views())}
