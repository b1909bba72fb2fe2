"""Hostile statements by every way over the wire, begun before the rules were put and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_server.protocol import commands
from tests.leaks.attack import NO_ANSWER
from tests.leaks.cases import GOVERNED, LEFT, Case
from tests.leaks.kinds import CASES
from tests.leaks.searching import Outcome, leaked
from tests.leaks.serving import Clients, asked, bound, read, serving
from tests.leaks.shapes import SHAPES, filled, with_parameters
from tests.leaks.world import STATES, World

# Of the shapes on each case, one in so many, another one for each case.
_EVERY = 21
pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Begun:
    """What was begun of a statement before there were rules."""

    ticket: fl.Ticket | None
    handle: bytes | None


class Attacked:
    """A served lakehouse in which statements were begun before the rules were put."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.begun: dict[str, Begun] = {}
        for case in CASES.values():
            client = clients.of(case.who.purpose)
            for shape in chosen(case):
                sql = self.sql(case, shape, GOVERNED)
                asked(client, sql)  # so that there is a result to keep
                self.begun[sql] = _begin(client, sql)
        self._left: dict[tuple[bool, str], Outcome] = {}
        self.unruly = len(clients.tap.received())
        clients.world.put()

    def left(self, case: Case, shape: str, state: str, *, is_fenced: bool) -> Outcome:
        """Return what comes of what is left of the table of a case."""
        sql = self.sql(case, shape, LEFT, state=state)
        if (is_fenced, sql) not in self._left:
            client = self.clients.fenced if is_fenced else self.clients.of(case.who.purpose)
            self._left[is_fenced, sql] = asked(client, sql)
        return self._left[is_fenced, sql]

    def sql(self, case: Case, shape: str, schema: str, *, state: str = "newest") -> str:
        """Return a statement on the first target of a case."""
        name = self.clients.world.name(case, state, schema)
        return filled(shape, f"primary.{schema}.{name}", case.targets[0])


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with serving(World(tmp_path_factory.mktemp("served"), CASES)) as clients:
        yield Attacked(clients)


def chosen(case: Case) -> tuple[str, ...]:
    """Return the shapes for a case, without those whose table has a name of its own."""
    first = list(CASES).index(case.name) % _EVERY
    return SHAPES[first::_EVERY]


def _begin(client: Any, sql: str) -> Begun:
    ticket = handle = None
    try:
        ticket = client.info(sql).endpoints[0].ticket
        handle = client.prepare(sql).prepared_statement_handle
    except fl.FlightError:
        pass  # it fails for everybody
    return Begun(ticket, handle)


def compare(
    attacked: Attacked, case: Case, governed: Callable[[str], Outcome], *, state: str = "newest"
) -> list[str]:
    """Ask a statement of each shape, and say which answers are not those of what is left."""
    bad = []
    client, fenced = attacked.clients.of(case.who.purpose), attacked.clients.fenced
    for shape in chosen(case):
        sql = attacked.sql(case, shape, GOVERNED, state=state)
        got = governed(sql)
        left = attacked.sql(case, shape, LEFT, state=state)
        if not got.is_clean():
            bad.append(f"LEAKS: {sql}")
        elif not _is_like(got, asked(client, left)) and not _is_like(got, asked(fenced, left)):
            bad.append(
                f"differs: {sql}\n   {got.said!r:.300}\n   {asked(client, left).said!r:.300}"
            )
    return bad


def _is_like(got: Outcome, left: Outcome) -> bool:
    return got.said == left.said[: len(got.said)] and got.said[0] not in NO_ANSWER


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("state", STATES)
def test_queries_and_what_was_kept_of_them(attacked: Attacked, name: str, state: str) -> None:
    case = CASES[name]
    client = attacked.clients.of(case.who.purpose)
    for _ in range(2 if state == "newest" else 1):  # the second answer may be a kept one
        assert not compare(attacked, case, lambda sql: asked(client, sql), state=state)


@pytest.mark.parametrize("name", CASES)
def test_tickets_from_before_the_rules(attacked: Attacked, name: str) -> None:
    case = CASES[name]
    client = attacked.clients.of(case.who.purpose)

    def use(sql: str) -> Outcome:
        ticket = attacked.begun[sql].ticket
        got = asked(client, sql) if ticket is None else read(client, ticket)
        is_ended = case.rules.views and got.said[0] == "conflict"
        return asked(client, sql) if is_ended else got

    assert not compare(attacked, case, use)


@pytest.mark.parametrize("name", CASES)
def test_prepared_statements_from_before_the_rules(attacked: Attacked, name: str) -> None:
    case = CASES[name]
    client = attacked.clients.of(case.who.purpose)

    def use(sql: str) -> Outcome:
        handle = attacked.begun[sql].handle
        return asked(client, sql if handle is None else commands.PreparedStatementQuery(handle))

    assert not compare(attacked, case, use)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].who.purpose is None])
def test_values_that_are_bound_by_the_driver(attacked: Attacked, name: str) -> None:
    case, driver = CASES[name], attacked.clients.driver
    bad = []
    for shape in chosen(case):
        found = []
        for schema in (GOVERNED, LEFT):
            table = f"primary.{schema}.{attacked.clients.world.name(case, 'newest', schema)}"
            sql, values = with_parameters(shape, table, case.targets[0])
            found.append(bound(driver, sql, values))
        governed, left = found
        fenced = attacked.left(case, shape, "newest", is_fenced=True)
        if not governed.is_clean() or not (
            governed.said == left.said or _is_like(governed, fenced)
        ):
            bad.append(f"{shape}\n   {governed.said!r:.300}\n   {left.said!r:.300}")
    assert not bad


@pytest.mark.parametrize("name", ["tomb_text", "filter", "mask_stars", "deny", "stack", "over"])
def test_views_over_what_is_governed(attacked: Attacked, name: str) -> None:
    case, clients = CASES[name], attacked.clients
    named = {schema: f"primary.{schema}.{case.asked_ref.table}_seen" for schema in (GOVERNED, LEFT)}
    for schema, view in named.items():
        base = f"primary.{schema}.{case.asked_ref.table}"
        clients.admin.info(
            f"CREATE VIEW {view} AS SELECT *, upper(grp) AS u FROM {base} WHERE id < 55"
        )
        clients.admin.call("grant.add", privilege="read", resource=view, to={"user": "me"})
    for shape in chosen(case):
        statements = [filled(shape, view, case.targets[0]) for view in named.values()]
        got, left = (asked(clients.me, sql) for sql in statements)
        assert got.is_clean(), statements[0]
        fenced = asked(clients.fenced, statements[1])
        assert _is_like(got, left) or _is_like(got, fenced), statements[0]


@pytest.mark.parametrize("name", CASES)
def test_plans_tell_nothing(attacked: Attacked, name: str) -> None:
    case = CASES[name]
    clients = [attacked.clients.of(case.who.purpose)]
    if not case.rules.grants and case.who.purpose is None:
        clients.append(attacked.clients.admin)  # whom the other rules are for as well
    for number, shape in enumerate(chosen(case)):
        how = ("EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE")[number % 3]
        sql = f"{how} {attacked.sql(case, shape, GOVERNED)}"
        assert not [client for client in clients if not asked(client, sql).is_clean()], sql


_METADATA = (
    (
        "SELECT column_name, data_type, is_nullable FROM primary.information_schema.columns"
        " WHERE table_schema = '{s}' AND table_name = '{t}' ORDER BY ordinal_position"
    ),
    (
        "SELECT table_name FROM primary.information_schema.tables"
        " WHERE table_schema = '{s}' AND table_name LIKE '%{t}'"
    ),
    "SHOW COLUMNS FROM primary.{s}.{t}",
    "DESCRIBE primary.{s}.{t}",
)


@pytest.mark.parametrize("name", CASES)
def test_metadata_is_that_of_what_is_left(attacked: Attacked, name: str) -> None:
    case = CASES[name]
    client, table = attacked.clients.of(case.who.purpose), case.asked_ref.table
    for text in _METADATA:
        got, left = (asked(client, text.format(s=s, t=table)) for s in (GOVERNED, LEFT))
        assert got.is_clean()
        assert got.said[1] == left.said[1], text
    found = []
    for schema in (GOVERNED, LEFT):
        command = commands.GetTables(
            catalog="primary",
            db_schema_filter_pattern=schema,
            table_name_filter_pattern=table,
            include_schema=True,
        )
        (row,) = client.fetch(command).to_pylist()
        found.append(pa.ipc.read_schema(pa.py_buffer(row["table_schema"])))
        if not case.is_grouped:
            names = client.schema(f"SELECT * FROM primary.{schema}.{table}").names
            assert names == list(case.columns)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", CASES)
def test_the_history_of_a_table_counts_nothing_that_is_hidden(
    attacked: Attacked, name: str
) -> None:
    case = CASES[name]
    client, table = attacked.clients.of(case.who.purpose), f"primary.main.{case.asked_ref.table}"
    assert asked(client, f"DESCRIBE HISTORY {table}").is_clean()
    if case.asked == "g":
        rows = [version["rows"] for version in client.call("table.history", table=table)]
        sees_all = case.rules.tombstones is not None and case.name != "stack"
        assert rows == ([20, 40] if sees_all else [None, None])


def test_no_byte_that_the_server_sent_tells_anything(attacked: Attacked) -> None:
    for case in CASES.values():
        for shape in ("SELECT * FROM {t}", "SELECT id FROM {t} WHERE CAST({c} AS INT) / {n} = 7"):
            asked(attacked.clients.of(case.who.purpose), attacked.sql(case, shape, GOVERNED))
    received = attacked.clients.tap.received()
    assert leaked(received[: attacked.unruly]), "before there were rules, everything was told"
    assert len(received) > attacked.unruly
    assert not leaked(received[attacked.unruly :])
