"""Clients that each write their own part of shared tables, and know what must be in it.

A lane does one step after the other, each with an idempotency key. When the server goes away in the
middle of a step, the lane's part is as before it or as after it, never in between; the lane then
does the same step again, with the same key, before it goes on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
from adbc_driver_manager import Error
from deltalake import DeltaTable

from tests.servers import Server

KEY_OPTION = "adbc.flight.sql.rpc.call_header.x-lakehouse-idempotency-key"
SCHEMA = "k"
ROWS_KEPT_MAX = 2000
COLUMNS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False),
    pa.field("lane", pa.int64(), nullable=False),
    pa.field("note", pa.string()),
]
ROWS = pa.schema(COLUMNS)
LANE_ROWS = 10_000_000

Read = Callable[[str], pa.Table]
Run = Callable[[flightsql.Cursor], int]


@dataclass(frozen=True, slots=True)
class State:
    """One lane's part of the tables; numbers that are there twice are twice in ``rows``."""

    rows: tuple[int, ...] = ()
    count: int = 0
    slots: tuple[tuple[int, int], ...] = ()
    own: tuple[int, int] | None = None
    made: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One statement: what it does, how many rows it answers, and what the state is after it."""

    kind: str
    key: str
    run: Run
    rows: int
    after: State


def set_up(server: Server, lanes: Iterable[int]) -> None:
    """Make the tables that all lanes share."""
    with server.connect() as connection, connection.cursor() as cursor:
        for sql in (
            f"CREATE SCHEMA {SCHEMA}",
            f"CREATE TABLE {SCHEMA}.rows (id BIGINT NOT NULL, lane BIGINT NOT NULL, note VARCHAR)",
            f"CREATE TABLE {SCHEMA}.counters (lane BIGINT NOT NULL, n BIGINT)",
            f"CREATE TABLE {SCHEMA}.slots (lane BIGINT NOT NULL, slot BIGINT, n BIGINT)",
        ):
            cursor.execute(sql)
        for lane in lanes:
            cursor.execute(f"INSERT INTO {SCHEMA}.counters VALUES ({lane}, 0)")


def observed(read: Read, tables: Iterable[str], lane: int) -> State:
    """Return what one lane's part is; ``tables`` are those that are there."""

    def of_lane(table: str) -> list[dict[str, Any]]:
        return [row for row in read(table).to_pylist() if row["lane"] == lane]

    counts = [row["n"] for row in of_lane("counters")]
    assert len(counts) == 1, f"lane {lane} has the counters {counts}"
    names = set(tables)
    return State(
        rows=tuple(sorted(row["id"] for row in of_lane("rows"))),
        count=counts[0],
        slots=tuple(sorted((row["slot"], row["n"]) for row in of_lane("slots"))),
        own=_own(read(f"own_{lane}")) if f"own_{lane}" in names else None,
        made=tuple(
            sorted(
                (name, read(name).num_rows) for name in names if name.startswith(f"made_{lane}_")
            )
        ),
    )


def _own(table: pa.Table) -> tuple[int, int]:
    turns: set[Any] = set(table.column("turn").to_pylist())
    assert len(turns) == 1, f"a replaced table is a mixture of the turns {turns}"
    return turns.pop(), table.num_rows


def tables_on_disk(root: Path) -> list[str]:
    """Return the names of the tables of the schema, as the disk has them."""
    return [path.parent.name for path in (root / SCHEMA).glob("[!_.]*/_delta_log")]


def from_disk(root: Path) -> Read:
    """Return a reader of tables that goes past the server, each table read once."""
    known: dict[str, pa.Table] = {}

    def read(name: str) -> pa.Table:
        if name not in known:
            known[name] = DeltaTable(str(root / SCHEMA / name)).to_pyarrow_table()
        return known[name]

    return read


def from_server(cursor: flightsql.Cursor) -> Read:
    """Return a reader of tables that asks the server, for each table once."""
    known: dict[str, pa.Table] = {}

    def read(name: str) -> pa.Table:
        if name not in known:
            cursor.execute(f"SELECT * FROM {SCHEMA}.{name}")
            known[name] = cursor.fetch_arrow_table()
        return known[name]

    return read


def tables_of(cursor: flightsql.Cursor) -> list[str]:
    """Return the names of the tables of the schema, as the server has them."""
    cursor.execute(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{SCHEMA}'"
    )
    return [str(name) for (name,) in cursor.fetchall()]


class Lane:
    """One client. ``pending`` is the step that was begun and not acknowledged."""

    def __init__(self, number: int, *, seed: int) -> None:
        self.number = number
        self.state = State()
        self.pending: Step | None = None
        self.done: Counter[str] = Counter()
        self._seed = seed
        self._chance = random.Random(f"{seed}.{number}")
        self._steps = 0
        self._next_id = number * LANE_ROWS

    def advance(self, connection: flightsql.Connection) -> None:
        """Do one step, the unacknowledged one first."""
        if self.pending is None:
            self._steps += 1
            self.pending = self._choose(f"{self._seed}.{self.number}.{self._steps}")
        step = self.pending
        with cursor_of(connection) as cursor:
            cursor.adbc_statement.set_options(**{KEY_OPTION: step.key})
            rows = step.run(cursor)
        assert step.rows in (rows, -1), f"{step.kind} answered {rows} rows, not {step.rows}"
        self.state, self.pending = step.after, None
        self.done[step.kind] += 1

    def _choose(self, key: str) -> Step:
        kinds: dict[str, Callable[[str], Step]] = {
            "insert": self._insert,
            "many": self._many,
            "load": self._load,
            "select": self._select,
            "update": self._update,
            "delete": self._delete,
            "merge": self._merge,
            "replace": self._replace,
            "reload": self._reload,
            "make": self._make,
        }
        kind = self._chance.choice([*kinds, "insert", "load"])
        if len(self.state.rows) > ROWS_KEPT_MAX:
            kind = "delete"
        elif kind == "make" and self.state.made:
            return self._drop(key)
        return kinds[kind](key)

    def _ids(self, count: int) -> tuple[int, ...]:
        first = self._next_id
        self._next_id += count
        return tuple(range(first, first + count))

    def _with_rows(self, ids: tuple[int, ...]) -> State:
        return replace(self.state, rows=tuple(sorted((*self.state.rows, *ids))))

    def _insert(self, key: str) -> Step:
        ids = self._ids(1)
        sql = f"INSERT INTO {SCHEMA}.rows VALUES ({ids[0]}, {self.number}, 'one')"
        return Step("insert", key, _statement(sql), 1, self._with_rows(ids))

    def _many(self, key: str) -> Step:
        ids = self._ids(self._chance.randint(2, 30))

        def run(cursor: flightsql.Cursor) -> int:
            rows = [(each, self.number, "many") for each in ids]
            cursor.executemany(f"INSERT INTO {SCHEMA}.rows VALUES (?, ?, ?)", rows)
            return int(cursor.rowcount)

        return Step("many", key, run, len(ids), self._with_rows(ids))

    def _load(self, key: str) -> Step:
        sizes = [self._chance.randint(1, 100) for _ in range(self._chance.randint(1, 6))]
        ids = self._ids(sum(sizes))

        def run(cursor: flightsql.Cursor) -> int:
            table = pa.table(
                {"id": ids, "lane": [self.number] * len(ids), "note": ["load"] * len(ids)},
                schema=ROWS,
            )
            batches = table.to_batches(max_chunksize=max(sizes))
            reader = pa.RecordBatchReader.from_batches(ROWS, batches)
            return int(cursor.adbc_ingest("rows", reader, mode="append", db_schema_name=SCHEMA))

        return Step("load", key, run, len(ids), self._with_rows(ids))

    def _select(self, key: str) -> Step:
        ids = self._ids(self._chance.randint(1, 300))
        sql = (
            f"INSERT INTO {SCHEMA}.rows SELECT value, {self.number}, 'select'"
            f" FROM generate_series({ids[0]}, {ids[-1]})"
        )
        return Step("select", key, _statement(sql), len(ids), self._with_rows(ids))

    def _update(self, key: str) -> Step:
        sql = f"UPDATE {SCHEMA}.counters SET n = n + 1 WHERE lane = {self.number}"
        after = replace(self.state, count=self.state.count + 1)
        return Step("update", key, _statement(sql), 1, after)

    def _delete(self, key: str) -> Step:
        rows = self.state.rows
        bound = rows[self._chance.randrange(len(rows) // 2, len(rows))] if rows else 0
        kept = tuple(each for each in rows if each > bound)
        sql = f"DELETE FROM {SCHEMA}.rows WHERE lane = {self.number} AND id <= {bound}"
        after = replace(self.state, rows=kept)
        return Step("delete", key, _statement(sql), len(rows) - len(kept), after)

    def _merge(self, key: str) -> Step:
        chosen = sorted(self._chance.sample(range(8), 3))
        slots = dict(self.state.slots)
        slots.update({slot: slots.get(slot, 0) + 1 for slot in chosen})
        values = ", ".join(f"({self.number}, {slot})" for slot in chosen)
        sql = (
            f"MERGE INTO {SCHEMA}.slots t USING (SELECT column1 AS lane, column2 AS slot FROM"
            f" (VALUES {values})) s ON t.lane = s.lane AND t.slot = s.slot"
            " WHEN MATCHED THEN UPDATE SET n = t.n + 1"
            " WHEN NOT MATCHED THEN INSERT (lane, slot, n) VALUES (s.lane, s.slot, 1)"
        )
        after = replace(self.state, slots=tuple(sorted(slots.items())))
        return Step("merge", key, _statement(sql), len(chosen), after)

    def _turn(self) -> tuple[int, int]:
        before = 0 if self.state.own is None else self.state.own[0]
        return before + 1, self._chance.randint(1, 200)

    def _replace(self, key: str) -> Step:
        turn, rows = self._turn()
        sql = (
            f"CREATE OR REPLACE TABLE {SCHEMA}.own_{self.number} AS"
            f" SELECT CAST({turn} AS BIGINT) AS turn FROM generate_series(1, {rows})"
        )
        after = replace(self.state, own=(turn, rows))
        return Step("replace", key, _statement(sql), -1, after)

    def _reload(self, key: str) -> Step:
        turn, rows = self._turn()

        def run(cursor: flightsql.Cursor) -> int:
            table = pa.table({"turn": pa.array([turn] * rows, pa.int64())})
            return int(
                cursor.adbc_ingest(
                    f"own_{self.number}", table, mode="replace", db_schema_name=SCHEMA
                )
            )

        return Step("reload", key, run, rows, replace(self.state, own=(turn, rows)))

    def _make(self, key: str) -> Step:
        name, rows = f"made_{self.number}_{self._steps}", self._chance.randint(1, 3000)
        sql = f"CREATE TABLE {SCHEMA}.{name} AS SELECT value AS id FROM generate_series(1, {rows})"
        after = replace(self.state, made=((name, rows),))
        return Step("make", key, _statement(sql), -1, after)

    def _drop(self, key: str) -> Step:
        ((name, _),) = self.state.made
        sql = f"DROP TABLE IF EXISTS {SCHEMA}.{name}"
        return Step("drop", key, _statement(sql), -1, replace(self.state, made=()))


class Keeper(Lane):
    """Keeps the shared tables in shape beside the others; it changes nobody's rows."""

    def _choose(self, key: str) -> Step:
        table = self._chance.choice(["rows", "counters", "slots"])
        kind, sql = self._chance.choice(
            [
                ("optimize", f"OPTIMIZE {SCHEMA}.{table}"),
                ("optimize", f"OPTIMIZE {SCHEMA}.{table}"),
                ("zorder", f"OPTIMIZE {SCHEMA}.{table} ZORDER BY (lane)"),
                ("vacuum", f"VACUUM {SCHEMA}.{table} RETAIN 0 HOURS"),
            ]
        )
        return Step(kind, key, _statement(sql), -1, self.state)


@contextmanager
def cursor_of(connection: flightsql.Connection) -> Iterator[flightsql.Cursor]:
    """Return a cursor that can be closed when its server is gone.

    The driver tells the server of the end of a prepared statement; where that fails it takes its
    cursor for open, and stumbles when it closes it once more.
    """
    cursor = connection.cursor()
    try:
        yield cursor
    finally:
        try:
            cursor.close()
        except Error:
            cursor._closed = True


def _statement(sql: str) -> Run:
    def run(cursor: flightsql.Cursor) -> int:
        cursor.execute(sql)
        return int(cursor.rowcount)

    return run
