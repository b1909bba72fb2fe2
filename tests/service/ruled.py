"""A lakehouse in a folder with stored rules and accounts, opened as the server opens it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from flight_server.auth.former import FormerUsers
from flight_server.auth.user import User, as_row
from flight_server.catalog import rule_rows
from flight_server.catalog.editions import Editions
from flight_server.clock import SystemClock
from flight_server.engine.base import BatchLimits, Query
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.service.explaining import Explainer, Question
from flight_server.service.governed import build
from flight_server.service.own_bucket import open_rulebook
from flight_server.storage.locations import locate_all
from flight_server.storage.system import Change, Row, SystemTable
from flight_server.storage.system_tables import (
    FILTERS,
    GRANTS,
    LABELS,
    MASKS,
    SAFE_VIEWS,
    USERS,
    TableSpec,
)
from policies.names import Principal, Role, TableRef
from policies.rules import ColumnMask, Grant, Label, RowFilter, SafeView

Rule = Grant | RowFilter | ColumnMask | Label | SafeView


class RuledLake:
    """A bucket ``primary``, accounts, and rules that are stored as the server stores them."""

    def __init__(self, root: Path, *fixed: Grant) -> None:
        self.root = root
        self.system = root / "_system"
        self.clock = SystemClock()
        root.mkdir(exist_ok=True)
        located = locate_all({"primary": root, "system": self.system})
        self.rules = open_rulebook(fixed, located, self.clock)
        self.governed = build(located, self.rules.book, self.clock, narrowing=self.rules.narrowing)
        self.editions = Editions(self.system, fixed)
        self.keys = self.governed.keys
        assert self.keys is not None
        self.explainer = Explainer(
            self.editions,
            FormerUsers(self.system),
            self.governed.registry,
            opener=self.governed.opener,
            clock=self.clock,
            stores=self.keys,
        )
        self._tables: dict[str, SystemTable] = {}
        self._engine = LocalEngine(
            self.governed.tables, BatchLimits(), EngineOptions(target_partitions=1)
        )

    def system_table(self, spec: TableSpec) -> SystemTable:
        """Return a table of the server's own."""
        if spec.name not in self._tables:
            self._tables[spec.name] = SystemTable(
                self.system, spec, clock=self.clock, random_bytes=os.urandom
            )
        return self._tables[spec.name]

    def table(self, ref: TableRef, rows: pa.Table) -> None:
        """Append rows to a table, which gets the columns that it lacks."""
        path = self.root / ref.schema / ref.table
        write_deltalake(str(path), rows, mode="append", schema_mode="merge")

    def user(self, username: str, **columns: Any) -> User:
        """Put an account, whose id is its name backwards."""
        now = self.clock.now()
        user = User(
            user_id=username[::-1],
            username=username,
            email=None,
            password_hash="secret-hash",
            role=Role.REGISTERED,
            custom_roles=(),
            subscription_tier="free",
            is_active=True,
            created_at=now,
            updated_at=now,
        )
        user = replace(user, **columns)
        self.system_table(USERS).change(lambda _: [as_row(user)])
        return user

    def put(self, *rules: Rule, by: str | None = "root") -> None:
        """Store rules."""
        for rule in rules:
            if isinstance(rule, Grant):
                self.rules.add(rule, created_by=by)
            else:
                spec, row = self._row(rule, by)
                self.system_table(spec).change(_putting(row))

    def drop(self, *rules: Rule) -> None:
        """Remove rules."""
        for rule in rules:
            if isinstance(rule, Grant):
                self.rules.remove(rule)
                continue
            spec, row = self._row(rule, None)
            gone = frozenset({str(row[spec.key])})
            self.system_table(spec).change(lambda _, gone=gone: Change(remove=gone))  # type: ignore[misc]  # mypy cannot infer it with a default

    def replace_all(self, rules: Iterable[Rule]) -> None:
        """Have these rules and no others."""
        for spec in (GRANTS, FILTERS, MASKS, LABELS, SAFE_VIEWS):
            table = self.system_table(spec)
            gone = frozenset(table.snapshot().rows)
            if gone:
                table.change(lambda _, gone=gone: Change(remove=gone))  # type: ignore[misc]  # as above
        self.put(*rules)

    def moment(self) -> datetime:
        """Return a moment after all that was done and before all that is done next."""
        now = self.clock.now()
        while self.clock.now() < now + timedelta(milliseconds=3):
            pass
        return now + timedelta(milliseconds=1)

    def ask(self, principal: Principal, sql: str) -> pa.Table:
        """Run a query as somebody."""
        query = Query(sql, principal, "primary", "hr")
        schema, batches = self._engine.stream(query, is_cancelled=lambda: False)
        return pa.Table.from_batches(list(batches), schema=schema)

    def question(self, ref: TableRef, user: str, **columns: Any) -> Question:
        """Return a question."""
        return Question(ref, user, **columns)

    def _row(self, rule: Rule, by: str | None) -> tuple[TableSpec, Row]:
        now = self.clock.now()
        if isinstance(rule, RowFilter):
            return FILTERS, rule_rows.filter_row(rule, created_at=now, created_by=by)
        if isinstance(rule, ColumnMask):
            return MASKS, rule_rows.mask_row(rule, created_at=now, created_by=by)
        if isinstance(rule, Label):
            return LABELS, rule_rows.label_row(rule, created_at=now, created_by=by)
        assert isinstance(rule, SafeView)
        schema = pa.schema([pa.field(name, pa.string()) for name, _ in rule.columns])
        made = schema.serialize().to_pybytes()
        return SAFE_VIEWS, rule_rows.view_row(rule, made, created_at=now, created_by=by)


def _putting(row: Row) -> Callable[[Any], list[Row]]:
    return lambda _: [row]
