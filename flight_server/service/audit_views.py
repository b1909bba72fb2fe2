"""The server's own views of the audit log: what they are called, what they show, and to whom.

``activity`` and ``audit_view`` show records behind a fence: to each user their own, or to analysts
what the purpose of each access leaves of it. The others count them: they are ordinary views over
``activity``, read with the caller's rights.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from flight_server.audit.columns import SCHEMA
from flight_server.catalog.views import View
from flight_server.engine.base import FencedScan, RowScan, TableScan
from flight_server.sql.names import literal, quoted
from flight_server.sql.networks import network
from policies.names import Principal, TableRef
from policies.purposes import (
    COLUMNS,
    OTHERWISE,
    RESOURCE,
    RESOURCE_IS_DATA,
    Part,
    Treatment,
    purposes_with,
)
from policies.records import (
    ACTIVITY,
    ALL_USER_ACTIONS,
    AUDIT_LOG,
    AUDIT_VIEW,
    BILLING_SUMMARY,
    USER_ACTIONS,
    reads_everybody,
)

_TEXT, _COUNT, _SECONDS = pa.string(), pa.int64(), pa.float64()
_DAY, _TIME = pa.date32(), pa.timestamp("us", tz="UTC")

# The columns of the log; what is stored is compared with them by a test.
# The views that show records; the others count what these show.
FENCED = frozenset({ACTIVITY, AUDIT_VIEW})
# An intent is followed by an outcome, at the latest when the server starts again.
_OVER = "outcome <> 'intent'"
# What the records of a call that was let in and is over come to. Intents are no calls of their own.
MEASURES: Mapping[str, tuple[str, pa.DataType]] = {
    "rows": ("CAST(coalesce(sum(row_count), 0) AS BIGINT)", _COUNT),
    "bytes": ("CAST(coalesce(sum(byte_count), 0) AS BIGINT)", _COUNT),
    "engine_seconds": ("coalesce(sum(engine_ms), 0) / 1000", _SECONDS),
}
_SHOWN = (
    *("timestamp", "audit_id", "user_id", "username", "session_id", "action", "resource"),
    *("purpose", "outcome", "details", "row_count", "byte_count", "engine_ms", "duration_ms"),
    *("table_versions", "policy_version", "request_id", "ip_address", "user_agent"),
)


def fenced(ref: TableRef, principal: Principal, source: TableScan) -> FencedScan:
    """Return what somebody may see of the log, ``source``, through a view of ``FENCED``."""
    if ref == AUDIT_VIEW:
        return FencedScan(source, _OVER, _redacted_columns())
    return FencedScan(source, _whose(principal), _activity_columns())


def nothing() -> RowScan:
    """Return the log before the first record is in it."""
    return RowScan(SCHEMA.empty_table())


def _whose(principal: Principal) -> str:
    if reads_everybody(principal):
        return _OVER
    return f"{_OVER} AND user_id = {literal(principal.user_id)}"


def _activity_columns() -> tuple[tuple[str, str], ...]:
    return (("day", "CAST(date_partition AS DATE)"), *((name, quoted(name)) for name in _SHOWN))


def _redacted_columns() -> tuple[tuple[str, str], ...]:
    """Return the columns for analysts.

    A text that is not shown becomes an empty one first and NULL then: a NULL that is made of a text
    directly leaves its bytes in the result, where a client finds them.
    """
    told = {column: part for part, columns in COLUMNS.items() for column in columns}
    shown = {column: _shown(column, part) for column, part in told.items()}
    shown[RESOURCE] = _shown(RESOURCE, Part.USER, unless=_is_about_data())
    columns = (
        (name, f"nullif({shown[name]}, '')" if name in shown else quoted(name)) for name in _SHOWN
    )
    return (("day", "CAST(date_partition AS DATE)"), *columns)


def _shown(column: str, part: Part, *, unless: str | None = None) -> str:
    """Return the SQL of a column as the purpose of its record lets it be seen, empty for nothing.

    Where ``unless`` is true it is shown as it is.
    """
    ways = {
        Treatment.KEPT: quoted(column),
        Treatment.NETWORK: network(quoted(column)),
        Treatment.DROPPED: "''",
    }
    branches = [] if unless is None else [f"WHEN {unless} THEN {quoted(column)}"]
    for treatment, way in ways.items():
        if purposes := purposes_with(part, treatment):
            named = ", ".join(map(literal, purposes))
            branches.append(f"WHEN purpose IN ({named}) THEN {way}")
    return f"CASE {' '.join(branches)} ELSE {ways[OTHERWISE.of(part)]} END"


def _is_about_data() -> str:
    return " OR ".join(
        f"starts_with(action, {literal(start)})"
        if start.endswith(".")
        else f"action = {literal(start)}"
        for start in RESOURCE_IS_DATA
    )


def _view(
    ref: TableRef, definition: str, columns: Mapping[str, pa.DataType], *, comment: str
) -> View:
    return View(
        ref=ref,
        definition=definition,
        bucket=ref.bucket,
        schema=ref.schema,
        columns=(),
        arrow_schema=pa.schema(columns),
        comment=comment,
        owner_id="",
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
    )


def _records(
    ref: TableRef, columns: tuple[tuple[str, str], ...], *, condition: str, comment: str
) -> View:
    """Return a view of records; its text says what its fenced scan does."""
    items = ",\n  ".join(f"{text} AS {quoted(name)}" for name, text in columns)
    types = {"day": _DAY, **{name: SCHEMA.field(name).type for name in _SHOWN}}
    text = f"SELECT\n  {items}\nFROM {AUDIT_LOG}\nWHERE {condition}"
    return _view(ref, text, types, comment=comment)


def _counts(
    ref: TableRef, key: Mapping[str, pa.DataType], counts: Mapping[str, str], *, comment: str
) -> View:
    """Return a view that counts the records of ``activity`` by day, user and ``key``."""
    groups = ["day", "user_id", *key]
    measured = {**counts, **{name: text for name, (text, _) in MEASURES.items()}}
    chosen = ["day", "user_id", "max(username) AS username", *key]
    chosen += [f"{text} AS {quoted(name)}" for name, text in measured.items()]
    chosen.append('max("timestamp") AS last_at')
    source = f"FROM {ACTIVITY} WHERE user_id IS NOT NULL GROUP BY"
    text = " ".join(("SELECT", ", ".join(chosen), source, ", ".join(groups)))
    types: dict[str, pa.DataType] = {"day": _DAY, "user_id": _TEXT, "username": _TEXT, **key}
    types |= dict.fromkeys(counts, _COUNT)
    types |= {name: kind for name, (_, kind) in MEASURES.items()}
    return _view(ref, text, {**types, "last_at": _TIME}, comment=comment)


def _views() -> dict[TableRef, View]:
    user_actions = _counts(
        USER_ACTIONS,
        {"action": _TEXT},
        {
            "calls": "count(*)",
            "succeeded": "count(*) FILTER (WHERE outcome = 'success')",
            "refused": "count(*) FILTER (WHERE outcome = 'refused')",
        },
        comment="How often each user did what on each day; your own, everybody's for auditors",
    )
    views = (
        _records(
            ACTIVITY,
            _activity_columns(),
            condition=_OVER,
            comment="Each call that is over; your own, everybody's for auditors",
        ),
        user_actions,
        _counts(
            BILLING_SUMMARY,
            {},
            {
                "actions": "count(*) FILTER (WHERE outcome <> 'refused')",
                "queries": "count(*) FILTER (WHERE outcome <> 'refused' AND action = 'query')",
                "refused": "count(*) FILTER (WHERE outcome = 'refused')",
            },
            comment="What each user used on each day; your own, everybody's for auditors",
        ),
        _records(
            AUDIT_VIEW,
            _redacted_columns(),
            condition=_OVER,
            comment="Each call that is over, as its purpose lets analysts see it",
        ),
        _view(
            ALL_USER_ACTIONS,
            " ".join(("SELECT * FROM", str(USER_ACTIONS))),
            {field.name: field.type for field in user_actions.arrow_schema},
            comment="The same as system.usage.user_actions",
        ),
    )
    return {view.ref: view for view in views}


AUDIT_VIEWS: Mapping[TableRef, View] = _views()
