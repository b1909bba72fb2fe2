"""How a server stops: it refuses what is new, lets finish what runs, and goes in time."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.flight as fl
import pytest

from tests.faults.background import Bare
from tests.faults.processes import busy_worker
from tests.faults.test_ends import EXPORT, QUERIES
from tests.rpc.plain import Caller, action
from tests.servers import Server, running, wait_until

SLOW = "SELECT count(*) AS n FROM generate_series(1, 400000000)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_finishes_and_what_is_new_is_refused(
    lakehouse: Path, number: signal.Signals
) -> None:
    with running(
        lakehouse, read_only=True, environment={"LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "30"}
    ) as server:
        caller = Caller.connect(server)
        query = Bare(server, SLOW)
        busy_worker(server)
        server.process.send_signal(number)
        wait_until(lambda: caller.call("ListActions").status != "OK", what="a refusal")
        for method, body in (("ListActions", b""), ("DoAction", action("BeginTransaction", b""))):
            refusal = caller.call(method, body)
            assert (refusal.status, refusal.code) == ("UNAVAILABLE", "unavailable")
            assert refusal.error["retry_after_seconds"] > 0
        assert query.result() == [{"n": 400_000_000}]
        assert server.process.wait(10) == 0
        caller.close()


def test_a_driver_that_is_done_may_say_so_while_the_server_stops(lakehouse: Path) -> None:
    with running(
        lakehouse, read_only=True, environment={"LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "30"}
    ) as server:
        caller = Caller.connect(server)
        other = Bare(server, SLOW)
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]
            busy_worker(server)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: caller.call("ListActions").status != "OK", what="a refusal")
        assert other.result() == [{"n": 400_000_000}]
        caller.close()


def test_a_stalled_reader_does_not_hold_it_up(lakehouse: Path) -> None:
    with running(
        lakehouse, read_only=True, environment={"LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "0.5"}
    ) as server:
        stalled = Bare(server, EXPORT, stalls=True)
        stalled.join()
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - start < 4
        stalled.close()


def test_a_query_beyond_the_grace_is_cut_off_with_a_clean_error(lakehouse: Path) -> None:
    with running(
        lakehouse, read_only=True, environment={"LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "0.2"}
    ) as server:
        query = Bare(server, QUERIES["aggregation"])
        busy_worker(server)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(fl.FlightUnavailableError) as caught:
            query.result()
        assert server.process.wait(10) == 0
        assert "Traceback" not in str(caught.value)


def test_who_asks_twice_does_not_wait(lakehouse: Path) -> None:
    with running(
        lakehouse, read_only=True, environment={"LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "60"}
    ) as server:
        query = Bare(server, QUERIES["aggregation"])
        busy_worker(server)
        workers = server.worker_pids()
        server.process.send_signal(signal.SIGTERM)
        caller = fl.FlightClient(server.uri)
        wait_until(lambda: _refuses(caller), what="a refusal")
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 128 + signal.SIGTERM
        assert time.monotonic() - start < 2
        wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers))
        with pytest.raises(fl.FlightError):
            query.result()
        caller.close()


def _refuses(client: fl.FlightClient) -> bool:
    try:
        list(client.list_actions())
    except fl.FlightUnavailableError:
        return True
    except fl.FlightUnauthenticatedError:
        pass
    return False


def test_a_port_in_use_is_one_clear_line(lakehouse: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "flight_server", "serve", str(lakehouse), "--port", port],
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stdout == b""
    (line,) = ended.stderr.decode().splitlines()
    assert line == f"error: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_port_that_another_server_holds_is_refused_too(server: Server, lakehouse: Path) -> None:
    port = server.uri.rpartition(":")[2]
    ended = subprocess.run(
        [sys.executable, "-m", "flight_server", "serve", str(lakehouse), "--port", port],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert b"Address already in use" in ended.stderr
