"""The tables of all cases in one lakehouse, under the rules of one case at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from flight_server.catalog.registry import Registry
from flight_server.clock import SystemClock
from flight_server.engine.base import BatchLimits, KeyFilter, Pin, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import LakeflightError
from flight_server.service.browse import Browser
from flight_server.service.governed import GovernedTables
from flight_server.service.narrowing import Narrower
from flight_server.service.opening import Opener
from flight_server.storage.locations import locate_all
from policies.book import PolicyBook
from policies.names import Principal, TableRef
from policies.rules import ColumnPath
from tests.lakehouse import write
from tests.leaks import searching
from tests.leaks.cases import BUCKET, SCHEMA_NAME, Case, Shown
from tests.leaks.searching import Outcome

_SECRET = b"a key that is for nobody to know"
NO_BOOK = PolicyBook("none")


class Keys:
    """The keys of the case that is in force."""

    def __init__(self) -> None:
        self.case: Case | None = None

    def tombstones(
        self, ref: TableRef, schema: pa.Schema, paths: frozenset[str]
    ) -> KeyFilter | None:
        """Return the first keys of the case, for its own table alone."""
        if self.case is None or ref != self.case.ref or not self.case.keys:
            return None
        return self.case.keys[0]

    def key_column(self, ref: TableRef) -> str | None:
        """Return the column of the first keys of the case."""
        if self.case is None or ref != self.case.ref or not self.case.keys:
            return None
        return self.case.keys[0].column

    def consented(self, purpose: str, column: pa.Field[pa.DataType]) -> KeyFilter:
        """Return who agreed in the case."""
        assert self.case is not None
        assert self.case.consented is not None
        return self.case.consented


@dataclass(frozen=True, slots=True)
class Names:
    """What a table is called in statements: its newest state, its first one, and that by time."""

    newest: str
    by_version: str
    by_time: str


class World:
    """A lakehouse in a folder and an engine over it, in this process."""

    def __init__(self, folder: Path, cases: Mapping[str, Case]) -> None:
        self.folder = folder
        self.book = NO_BOOK
        self.keys = Keys()
        self._names: dict[tuple[str, str], Names] = {}
        (folder / "p").mkdir()
        opener = Opener(SystemClock())
        registry = Registry(locate_all({BUCKET: folder / "p"}))
        browser = Browser(registry, opener, lambda: self.book)
        narrower = Narrower(lambda: self.book, hidden=self.keys, secret=lambda: _SECRET)
        self.tables = GovernedTables(browser, opener, registry, narrower=narrower)
        self.engine = LocalEngine(self.tables, BatchLimits(), EngineOptions(target_partitions=2))
        for case in cases.values():
            self._write(case)

    def put(self, case: Case, *, before: bool = False) -> None:
        """Put the rules of a case in the place of all others, or what there was before them."""
        self.book = case.book_before() if before else case.book()
        self.keys.case = None if before else case

    def names(self, case: Case, kind: str) -> Names:
        """Return the names of the governed table or view of a case, or of what is left of it."""
        return self._names[case.name, "r" if kind == "r" else "g"]

    def describe(self, sql: str, who: Principal) -> tuple[Pin, ...]:
        """Plan a query and return the states that it was planned on."""
        return self.engine.describe(_query(sql, who), is_cancelled=_never).pins

    def ask(
        self,
        sql: str,
        who: Principal,
        *names: str,
        pins: tuple[Pin, ...] = (),
        parameters: bytes = b"",
    ) -> Outcome:
        """Run a query; ``names`` are those of its table, which its errors may name."""
        query = _query(sql, who, pins=pins, parameters=parameters)
        try:
            schema, batches = self.engine.stream(query, is_cancelled=_never)
            return searching.of_rows(schema, list(batches), *names)
        except LakeflightError as error:
            return searching.of_error(error, *names)

    def rows(self, sql: str, who: Principal) -> pa.Table:
        """Run a query that succeeds."""
        schema, batches = self.engine.stream(_query(sql, who), is_cancelled=_never)
        return pa.Table.from_batches(list(batches), schema)

    def _write(self, case: Case) -> None:
        self._store(case, "g", case.stored())
        pseudonyms = self._pseudonyms(case) if case.hashes else {}
        self._store(case, "r", case.left(pseudonyms))

    def _pseudonyms(self, case: Case) -> dict[ColumnPath, Shown]:
        """Return what the server shows for each value, which must tell nothing of it."""
        self.put(case)
        sql = f"SELECT * FROM {case.asked}_{case.name} ORDER BY id"
        shown, stored = self.rows(sql, case.who), pa.concat_tables(case.stored())
        found: dict[ColumnPath, Shown] = {}
        for name in case.hashes:
            pairs = set(zip(stored[name].to_pylist(), shown[name].to_pylist(), strict=True))
            values = dict(pairs)
            assert len(pairs) == len(values) == len(set(values.values()))
            assert all((value is None) == (name is None) for value, name in pairs)
            assert not [value for value in values if value is not None and values[value] == value]
            found[(name,)] = values.__getitem__
        return found

    def _store(self, case: Case, kind: str, versions: list[pa.Table]) -> None:
        path = self.folder / "p" / SCHEMA_NAME / f"{kind}_{case.name}"
        for rows in versions:
            write(path, rows)
        history = DeltaTable(str(path)).history()
        first = min(entry["timestamp"] for entry in history)
        name = f"{kind if kind == 'r' else case.asked}_{case.name}"
        at = _time(first)
        self._names[case.name, kind] = Names(name, f'"{name}@v0"', f'"{name}@{at}"')


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def _query(
    sql: str, who: Principal, *, pins: tuple[Pin, ...] = (), parameters: bytes = b""
) -> Query:
    return Query(sql, who, BUCKET, SCHEMA_NAME, pins, parameters)


def _never() -> bool:
    return False
