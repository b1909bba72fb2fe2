"""Damaged Arrow streams and damaged messages: one clean error each, and the same process goes on.

``LAKEFLIGHT_TEST_MUTATIONS`` is the number of cases of each kind, ``LAKEFLIGHT_TEST_SEED`` another
seed; the number of a case and its seed replay it alone (``_stream_case``, ``_message_case``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from flight_server.protocol import actions, commands
from flight_server.protocol.flight import (
    CancelFlightInfo,
    FlightInfo,
    GetSessionOptions,
    SetSessionOptions,
)
from tests.faults.mutations import (
    Message,
    damaged,
    damaged_stream,
    encoded,
    streams,
    without_known_crash,
)
from tests.lakehouse import ORDERS_ROWS, build_lakehouse
from tests.rpc.plain import Caller, Ending, action, descriptor, flight_data, path_descriptor, ticket
from tests.rpc.test_garbage import STATUS_OF as STATUS_OF_GARBAGE
from tests.servers import Server, running
from tests.wire.raw import RawClient

COUNT = int(os.environ.get("LAKEFLIGHT_TEST_MUTATIONS", "1500"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "20260801"))
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
STATUS_OF = {
    **STATUS_OF_GARBAGE,
    "schema_mismatch": "INVALID_ARGUMENT",
    "already_exists": "INVALID_ARGUMENT",
    "table_exists": "INVALID_ARGUMENT",
    "schema_exists": "INVALID_ARGUMENT",
    "schema_not_found": "NOT_FOUND",
    "limit_exceeded": "UNAVAILABLE",
}
# What Arrow answers to no message of Flight, or no schema, before anything of ours runs.
_REFUSED_BY_ARROW = {"INTERNAL", "INVALID_ARGUMENT", "UNIMPLEMENTED", "UNKNOWN", "NOT_FOUND"}
_NEVER_TOLD = re.compile(r"Traceback|\.py\b|\.cc\b|\.rs\b|/tmp|site-packages|0x[0-9a-f]{6,}")
_MESSAGE_CHARACTERS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Victim:
    """A server, what damaged messages are sent with, and what they are made of."""

    server: Server
    caller: Caller
    handles: tuple[bytes, bytes]
    tickets: tuple[bytes, ...]
    token: str
    sources: tuple[list[Message], ...]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    directory = tmp_path_factory.mktemp("mutations")
    build_lakehouse(directory)
    with running(directory) as server, RawClient.connect(server) as client:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE sales.bound (id BIGINT)")
            cursor.execute("CREATE TABLE sales.kept (n BIGINT, text VARCHAR)")
        handles = (
            client.prepare("SELECT ? AS a, ? AS b").prepared_statement_handle,
            client.prepare("INSERT INTO sales.bound VALUES (?)").prepared_statement_handle,
        )
        infos = [client.info(sql) for sql in ("SELECT 1", "SELECT * FROM sales.orders LIMIT 3")]
        tickets = tuple(info.endpoints[0].ticket.ticket for info in infos)
        caller = Caller.connect(server)
        token = (caller.authorization or "").removeprefix("Bearer ")
        yield Victim(server, caller, handles, tickets, token, tuple(streams()))
        caller.close()


def test_damaged_arrow_streams(victim: Victim) -> None:
    _run(victim, _stream_case)


def test_damaged_messages(victim: Victim) -> None:
    _run(victim, _message_case)


def _headless() -> tuple[bytes, bytes, bytes, bytes]:
    """Return a stream whose rows, behind a dictionary, come after a message without a header."""
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", "b"]))
    schema, dictionary, rows = (
        flight_data(b"", each.header, each.body)
        for each in encoded(pa.table({"words": words}), rows=2)
    )
    return schema, dictionary, b"", rows


def test_who_may_write_nothing_cannot_send_a_dictionary(victim: Victim) -> None:
    schema, *rest = _headless()
    options = commands.TableDefinitionOptions(commands.TableNotExist.CREATE)
    query, update = victim.handles
    for command in (
        commands.PreparedStatementQuery(query),
        commands.PreparedStatementUpdate(update),
        commands.StatementIngest(options, "words", temporary=True),
    ):
        stream = [flight_data(_described(command)) + schema, *rest]
        assert victim.caller.call("DoPut", stream).status == "UNIMPLEMENTED"
    assert victim.server.process.poll() is None


@pytest.mark.xfail(strict=True, reason="Arrow reads address zero: see without_known_crash")
def test_a_message_without_header_after_a_dictionary(tmp_path: Path) -> None:
    schema, *rest = _headless()
    options = commands.TableDefinitionOptions(commands.TableNotExist.CREATE)
    target = _described(commands.StatementIngest(options, "words"))
    with running(tmp_path) as server:
        caller = Caller.connect(server)
        ending = caller.call("DoPut", [flight_data(target) + schema, *rest])
        caller.close()
        assert ending.status != "UNAVAILABLE"
        assert server.fetch("SELECT 1 AS n").num_rows == 1


Case = Callable[[Victim, Random], tuple[str, bytes | Sequence[bytes]]]


def _run(victim: Victim, case: Case) -> None:
    process = victim.server.process
    for number in range(COUNT):
        method, body = case(victim, Random(f"{SEED}:{number}"))
        ending = victim.caller.call(method, body)
        replay = f"{case.__name__} {number} of seed {SEED}: {method} {ending}"
        assert process.poll() is None, f"the server died of {replay}"
        _assert_clean(ending, replay)
        if number % 50 == 0:
            held = _memory_bytes(process.pid)
            assert held < MEMORY_BYTES_MAX, f"{held} bytes after {replay}"
    rows = victim.server.fetch("SELECT count(*) AS n FROM sales.orders").to_pylist()
    assert rows == [{"n": ORDERS_ROWS}]
    assert process.poll() is None
    _assert_whole(victim.server)


def _assert_clean(ending: Ending, replay: str) -> None:
    """Fail unless a call was served, or ended in one error that tells nothing of the server."""
    if ending.status == "OK":
        return
    told = ending.everything()
    assert not _NEVER_TOLD.search(told), replay
    assert len(told) < _MESSAGE_CHARACTERS_MAX, replay
    if ending.code is None:
        assert ending.status in _REFUSED_BY_ARROW, replay
        return
    assert ending.status == STATUS_OF.get(ending.code), replay
    assert all(char.isprintable() for char in ending.error["message"]), replay


def _assert_whole(server: Server) -> None:
    """Fail unless every table can be read to its end, and nothing else lies about."""
    for log in sorted(server.directory.rglob("_delta_log")):
        folder = log.parent
        if any(part.startswith(("_", ".")) for part in folder.relative_to(server.directory).parts):
            continue
        table = DeltaTable(folder)
        rows = table.to_pyarrow_table().num_rows
        schema, name = folder.parent.name, folder.name
        if folder.parent == server.directory:
            schema = "public"
        query = f'SELECT count(*) AS n FROM "{schema}"."{name}"'
        assert server.fetch(query).to_pylist() == [{"n": rows}], folder
        known = {Path(uri).name for uri in _files_of_all_versions(log)}
        lying = {path.name for path in folder.rglob("*.parquet") if log not in path.parents}
        assert lying <= known, folder
    assert not list(server.directory.rglob("_new-*"))


def _files_of_all_versions(log: Path) -> set[str]:
    text = "".join(path.read_text() for path in sorted(log.glob("*.json")))
    return set(re.findall(r'"path":"([^"]*)"', text))


def _memory_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kib) * 1024


# What the cases are.


def _stream_case(victim: Victim, random: Random) -> tuple[str, list[bytes]]:
    stream = without_known_crash(damaged_stream(random.choice(victim.sources), random))
    target = _put_target(victim, random)
    sent = [flight_data(b"", message.header, message.body) for message in stream]
    first = sent[0] if sent else b""
    return "DoPut", [flight_data(target) + first, *sent[1:]]


def _put_target(victim: Victim, random: Random) -> bytes:
    kind = random.randrange(8)
    if kind == 0:
        return path_descriptor(b"primary", b"sales", random.choice((b"kept", b"bound")))
    if kind == 1:
        return _described(commands.PreparedStatementQuery(victim.handles[0]))
    if kind == 2:
        return _described(commands.PreparedStatementUpdate(victim.handles[1]))
    return _described(_ingest(random))


def _ingest(random: Random) -> commands.StatementIngest:
    if_exists = random.choices(list(commands.TableExists), (1, 1, 2, 8))[0]
    options = commands.TableDefinitionOptions(commands.TableNotExist.CREATE, if_exists)
    table = f"m{random.randrange(20)}"
    if random.random() < 0.1:
        return commands.StatementIngest(options, table, temporary=True)
    return commands.StatementIngest(options, table, "sales", "primary")


def _described(command: commands.Command) -> bytes:
    return descriptor(commands.encode_command(command))


def _message_case(victim: Victim, random: Random) -> tuple[str, bytes]:
    method, make, wrap = random.choice(_MESSAGES)
    inner = make(victim, random)
    if random.random() < 0.7:  # damage inside of an envelope that is sound
        return method, wrap(_several(inner, random))
    return method, _several(wrap(inner), random)


def _several(data: bytes, random: Random) -> bytes:
    for _ in range(random.randint(1, 3)):
        data = damaged(data, random)
    return data


def _command(victim: Victim, random: Random) -> bytes:
    return commands.encode_command(random.choice(_COMMANDS)(victim, random))


def _action_body(victim: Victim, random: Random) -> bytes:
    """Return the body of any action; it may go to another one."""
    return actions.encode_action(random.choice(_ACTIONS)(victim))[1]


_SQL = (
    *("SELECT * FROM sales.orders WHERE order_id < 5", "INSERT INTO sales.kept VALUES (1, 'x')"),
    *("CREATE TABLE sales.made (a INT)", "DROP TABLE IF EXISTS sales.made", "SHOW TABLES"),
    *("UPDATE sales.kept SET n = 2 WHERE text = 'x'", "SET query_tag = 'a'", "BEGIN", "SELECT ?"),
)
_COMMANDS: Sequence[Callable[[Victim, Random], Any]] = (
    lambda v, r: commands.StatementQuery(r.choice(_SQL)),
    lambda v, r: commands.StatementUpdate(r.choice(_SQL), r.choice((None, b"", b"tx"))),
    lambda v, r: commands.PreparedStatementQuery(r.choice(v.handles)),
    lambda v, r: commands.PreparedStatementUpdate(r.choice(v.handles)),
    lambda v, r: _ingest(r),
    lambda v, r: commands.GetTables("primary", "sales", "%", ("TABLE",), include_schema=True),
    lambda v, r: commands.GetDbSchemas("primary", "s%"),
    lambda v, r: commands.GetSqlInfo((0, 8, 500)),
    lambda v, r: commands.GetXdbcTypeInfo(4),
    lambda v, r: commands.GetPrimaryKeys("primary", "sales", "orders"),
    lambda v, r: commands.GetCrossReference(None, None, "a", None, None, "b"),
    lambda v, r: commands.StatementSubstraitPlan(commands.SubstraitPlan(b"plan", "1"), None),
)
_ACTIONS: Sequence[Callable[[Victim], Any]] = (
    lambda v: actions.CreatePreparedStatement("SELECT ? FROM sales.orders"),
    lambda v: actions.CreatePreparedStatement("INSERT INTO sales.kept VALUES (?, ?)"),
    lambda v: actions.ClosePreparedStatement(v.handles[0]),
    lambda v: actions.BeginTransaction(),
    lambda v: actions.CancelQuery(b"info"),
    lambda v: CancelFlightInfo(FlightInfo(b"", None, ())),
    lambda v: SetSessionOptions({"query_tag": "x", "schema": "sales"}),
    lambda v: GetSessionOptions(),
)
_ACTION_NAMES = [*actions.ACTIONS, "query.list", "query.cancel", "no.such.action"]
_MESSAGES: Sequence[tuple[str, Callable[[Victim, Random], bytes], Callable[[bytes], bytes]]] = (
    ("GetFlightInfo", _command, descriptor),
    ("GetSchema", _command, descriptor),
    ("DoPut", _command, lambda data: flight_data(descriptor(data))),
    ("DoExchange", _command, lambda data: flight_data(descriptor(data))),
    ("DoGet", lambda v, r: r.choice(v.tickets), ticket),
    ("DoGet", _command, ticket),
    *(("DoAction", _action_body, partial(action, name)) for name in sorted(_ACTION_NAMES)),
)
