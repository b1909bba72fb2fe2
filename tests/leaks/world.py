"""The tables of all cases in one lakehouse, before the rules of all of them were put, and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_server.catalog.rule_rows import filter_row, label_row, mask_row, view_row
from flight_server.clock import SystemClock
from flight_server.engine.base import BatchLimits, Pin, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import LakeflightError
from flight_server.service.governed import build, open_rulebook
from flight_server.service.keyed_tombstones import Hiding, KeyedTombstones
from flight_server.storage.key_sets import KeyEvent, KeyEvents
from flight_server.storage.key_states import KEY_TYPE
from flight_server.storage.locations import locate_all
from policies.names import Principal, Privilege, TableRef
from policies.rules import NULLED, Audience, ColumnMask, ColumnPath, Grant, RowFilter, SafeView
from tests.lakehouse import write
from tests.leaks import searching
from tests.leaks.cases import BUCKET, FENCED, GOVERNED, LEFT, ME, Case, Shown, nothing
from tests.leaks.rows import SCHEMA
from tests.leaks.searching import Outcome

STATES = ("newest", "by_version", "by_time")
# The table without its tombstones, for those who may see them.
RAW = "raw"


class World:
    """A lakehouse in a folder and an engine over it, in this process.

    There are no rules yet until they are ``put``; ``pins`` are the states of tables by name, as
    they were opened before that.
    """

    def __init__(self, folder: Path, cases: Mapping[str, Case]) -> None:
        self.folder, self.system = folder / "lake", folder / "system"
        self.folder.mkdir()
        self.system.mkdir()
        buckets = locate_all({BUCKET: self.folder, "system": self.system})
        self._clock = SystemClock()
        self.rules = open_rulebook((), buckets, self._clock)
        narrowing = self.rules.narrowing
        assert narrowing is not None
        self._narrowing = narrowing
        governed = build(buckets, self.rules.book, self._clock, narrowing=narrowing)
        assert governed.keys is not None
        self.tables, self._keys = governed.tables, governed.keys
        self.engine = LocalEngine(self.tables, BatchLimits(), EngineOptions(target_partitions=2))
        self._names: dict[tuple[str, str], tuple[str, ...]] = {}
        self.pins: dict[str, tuple[Pin, ...]] = {}
        self.cases = tuple(cases.values())
        for case in self.cases:
            self._store(GOVERNED, case, case.ref.table, case.stored())
        self._open()

    def put(self) -> None:
        """Put the rules of all cases, and store what they leave of each table."""
        self._put()
        for case in self.cases:
            pseudonyms = self._pseudonyms(case) if case.hashes else {}
            self._store(LEFT, case, case.asked_ref.table, case.left(pseudonyms))

    def name(self, case: Case, state: str, schema: str = GOVERNED) -> str:
        """Return the name of a state of a table in statements."""
        return self._names[schema, case.name][(*STATES, RAW).index(state)]

    def ask(
        self,
        sql: str,
        who: Principal,
        *,
        schema: str = GOVERNED,
        pins: tuple[Pin, ...] = (),
        parameters: bytes = b"",
    ) -> Outcome:
        """Run a query on what is governed, or on what is left in the other schema."""
        query = Query(sql, who, BUCKET, schema, pins, parameters)
        try:
            found, batches = self.engine.stream(query, is_cancelled=_never)
            return searching.of_rows(found, list(batches))
        except LakeflightError as error:
            return searching.of_error(error)

    def _store(self, schema: str, case: Case, table: str, versions: list[pa.Table]) -> None:
        path = self.folder / schema / table
        for rows in versions:
            write(path, rows)
        written = (path / "_delta_log" / f"{0:020}.json").stat().st_mtime_ns
        name = case.asked_ref.table
        names = (name, f'"{name}@v0"', f'"{name}@{_time(-(-written // 1_000_000))}"')
        self._names[schema, case.name] = (*names, f'"__raw__{name}"')

    def _open(self) -> None:
        """Let everybody read everything, and open it so."""
        grants = [Grant(Privilege.READ, (BUCKET, LEFT), user=who.username) for who in (ME, FENCED)]
        for case in self.cases:
            ref = case.asked_ref
            grants.append(Grant(Privilege.READ, (BUCKET, GOVERNED, ref.table), user=ME.username))
        grants += [
            Grant(Privilege.READ_RAW, (BUCKET, schema), user=who.username)
            for schema in (GOVERNED, LEFT)
            for who in (ME, FENCED)
        ]
        for grant in grants:
            self.rules.add(grant, created_by=None)
        self._put_views(view for case in self.cases for view in case.views_before())
        for case in self.cases:
            for name in self._names[GOVERNED, case.name][: len(STATES)]:
                query = Query(f"SELECT * FROM {name}", ME, BUCKET, GOVERNED)
                self.pins[name] = self.engine.describe(query, is_cancelled=_never).pins

    def _put(self) -> None:
        """Put the rules of all cases."""
        all_rules = [case.rules for case in self.cases]
        made: dict[str, Any] = {"created_at": self._clock.now(), "created_by": None}
        fences = [RowFilter("all", _left(case), "id > -1", _ONLY_FENCED) for case in self.cases]
        # What is NULL in each row already, so that the engine knows it as well.
        nulls = [
            ColumnMask("_".join(path), _left(case), path, NULLED, _ONLY_FENCED)
            for case in self.cases
            for path, shown in case.shows.items()
            if shown is nothing
        ]
        filters = [*fences, *(each for rules in all_rules for each in rules.filters)]
        masks = [*nulls, *(each for rules in all_rules for each in rules.masks)]
        labels = [each for rules in all_rules for each in rules.labels]
        self._narrowing.filters.change(lambda _: [filter_row(each, **made) for each in filters])
        self._narrowing.masks.change(lambda _: [mask_row(each, **made) for each in masks])
        self._narrowing.labels.change(lambda _: [label_row(each, **made) for each in labels])
        self._put_views(view for rules in all_rules for view in rules.views)
        for case in self.cases:
            self._put_grants(case)
            self._put_keys(case)

    def _put_views(self, views: Iterable[SafeView]) -> None:
        made: dict[str, Any] = {"created_at": self._clock.now(), "created_by": None}
        rows = [view_row(view, _shown_schema(view), **made) for view in views]
        self._narrowing.views.change(lambda _: rows)

    def _put_grants(self, case: Case) -> None:
        for grant in case.rules.grants:
            self.rules.add(grant, created_by=None)
        if not case.is_open:
            resource = (BUCKET, GOVERNED, case.asked_ref.table)
            self.rules.remove(Grant(Privilege.READ, resource, user=ME.username))

    def _put_keys(self, case: Case) -> None:
        if case.rules.tombstones is not None:
            column, values = case.rules.tombstones
            KeyedTombstones(self._keys.tombstones).add(
                Hiding(case.ref, SCHEMA), column, list(values), actor=None, reason="asked for"
            )
        if case.rules.consents:
            agreed = pa.array(case.rules.consents, KEY_TYPE)
            purpose = case.who.purpose
            assert purpose is not None
            self._keys.consents.add([KeyEvents(purpose, KeyEvent.ADDED, agreed)])

    def _pseudonyms(self, case: Case) -> dict[ColumnPath, Shown]:
        """Return what the server shows for each value, which must tell nothing of it."""
        query = Query(f"SELECT * FROM {case.asked_ref.table} ORDER BY id", ME, BUCKET, GOVERNED)
        schema, batches = self.engine.stream(query, is_cancelled=_never)
        shown = pa.Table.from_batches(list(batches), schema)
        stored = pa.concat_tables(case.stored())
        found: dict[ColumnPath, Shown] = {}
        for name in case.hashes:
            pairs = set(zip(stored[name].to_pylist(), shown[name].to_pylist(), strict=True))
            values = dict(pairs)
            assert len(pairs) == len(values) == len(set(values.values()))
            assert all((value is None) == (name is None) for value, name in pairs)
            assert not [value for value in values if value is not None and values[value] == value]
            found[(name,)] = values.__getitem__
        return found


_ONLY_FENCED = Audience(user=FENCED.username)


def _left(case: Case) -> TableRef:
    return replace(case.asked_ref, schema=LEFT)


def _shown_schema(view: SafeView) -> bytes:
    return pa.schema([SCHEMA.field(name) for name, _ in view.columns]).serialize().to_pybytes()


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def _never() -> bool:
    return False
