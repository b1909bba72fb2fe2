"""Kills the server at random moments while clients write; they do again what was not acknowledged.

``LAKEFLIGHT_TEST_KILLS`` and ``LAKEFLIGHT_TEST_SEED`` choose how often, and which steps and
moments.
"""

from __future__ import annotations

import os
import random
import select
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pytest
from adbc_driver_manager import Error
from deltalake import DeltaTable

from flight_server.storage.creation import DROPPED_PREFIX, STAGING_PREFIX
from tests.faults.lanes import (
    SCHEMA,
    Keeper,
    Lane,
    Read,
    State,
    from_disk,
    from_server,
    observed,
    set_up,
    tables_of,
    tables_on_disk,
)
from tests.faults.processes import family, works_no_more
from tests.servers import Server, launch, running, wait_until

KILLS = int(os.environ.get("LAKEFLIGHT_TEST_KILLS", "25"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))
LANES = 4
SECONDS_MAX = 0.6
STARTS_KILLED = 0.08
KINDS = {"insert", "many", "load", "select", "update", "delete", "merge"} | {
    *("replace", "reload", "make", "drop"),
    *("optimize", "zorder", "vacuum"),
}


@dataclass
class Clients:
    """The lanes' threads over one life of a server."""

    server: Server
    lanes: Sequence[Lane]
    failures: list[BaseException] = field(default_factory=list)
    stops: bool = False

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=self._run, args=(lane,)) for lane in self.lanes]
        for thread in self._threads:
            thread.start()

    def _run(self, lane: Lane) -> None:
        connection: flightsql.Connection | None = None
        try:
            connection = self.server.connect()
            while not self.stops:
                lane.advance(connection)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            # Whatever a client is told while its server dies, the step stays unacknowledged.
            if not (self.stops and isinstance(error, Error)):
                self.failures.append(error)
        finally:
            if connection is not None:
                connection.close()

    def join(self) -> None:
        """Wait for all threads; raise what went wrong while the server was alive."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"seed={SEED}: a client hangs"
        if self.failures:
            raise self.failures[0]


@dataclass
class Checks:
    """Compares what is there with what the lanes know, and counts what was found."""

    lanes: Sequence[Lane]
    found: Counter[str] = field(default_factory=Counter)

    def check(self, read: Read, tables: Iterable[str], *, when: str) -> None:
        names = list(tables)
        for lane in self.lanes:
            state = observed(read, names, lane.number)
            pending = lane.pending
            if state == lane.state:
                continue
            assert pending is not None, _difference(state, lane.state, lane, when)
            assert state == pending.after, _difference(state, pending.after, lane, when)
            self.found[pending.kind] += 1


def _difference(found: State, expected: State, lane: Lane, when: str) -> str:
    step = "nothing" if lane.pending is None else f"{lane.pending.kind} {lane.pending.key}"
    lines = [f"seed={SEED} {when}: the part of lane {lane.number}, with {step} under way"]
    if found.rows != expected.rows:
        here, there = Counter(found.rows), Counter(expected.rows)
        lines.append(
            f"rows too many: {sorted((here - there).elements())[:20]},"
            f" missing: {sorted((there - here).elements())[:20]}"
        )
    lines += [
        f"{name}: {getattr(found, name)}, not {getattr(expected, name)}"
        for name in ("count", "slots", "own", "made")
        if getattr(found, name) != getattr(expected, name)
    ]
    return "\n".join(lines)


def left_overs(root: Path) -> list[str]:
    """Return the hidden folders of tables that were begun or dropped."""
    folders = [path for path in (*root.iterdir(), *(root / SCHEMA).iterdir()) if path.is_dir()]
    return [path.name for path in folders if path.name.startswith((STAGING_PREFIX, DROPPED_PREFIX))]


def rest(seconds: float) -> None:
    select.select([], [], [], seconds)


def kill_a_start(root: Path, *, after: float) -> None:
    """Start a server and kill it, most often before it is ready."""
    with tempfile.TemporaryFile() as log:
        process = launch(root, log=log)
        rest(after)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def live_and_die(server: Server, root: Path, checks: Checks, *, seconds: float) -> None:
    """Check what a fresh server shows, let the clients write, and kill the server."""
    assert left_overs(root) == []
    with server.connect() as connection, connection.cursor() as cursor:
        checks.check(from_server(cursor), tables_of(cursor), when="after the start")
    clients = Clients(server, checks.lanes)
    rest(seconds)
    processes = family(server)
    clients.stops = True
    server.process.kill()
    server.process.wait()
    clients.join()
    wait_until(
        lambda: all(map(works_no_more, processes)), seconds_max=1.5, what="the end of the workers"
    )
    assert "Traceback" not in server.errors(), server.errors()


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * KILLS)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_there_or_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    lanes = [Lane(number, seed=SEED) for number in range(LANES)]
    everybody = [*lanes, Keeper(LANES, seed=SEED)]
    with running(tmp_path) as server:
        set_up(server, [lane.number for lane in everybody])
    checks = Checks(everybody)
    for number in range(KILLS):
        if chance.random() < STARTS_KILLED:
            kill_a_start(tmp_path, after=chance.uniform(0.2, 1.2))
        seconds = chance.uniform(0, SECONDS_MAX)
        with running(tmp_path) as server:
            live_and_die(server, tmp_path, checks, seconds=seconds)
        checks.check(from_disk(tmp_path), tables_on_disk(tmp_path), when=f"after kill {number}")
    with running(tmp_path) as server:
        finish(server, checks)
    assert left_overs(tmp_path) == []
    assert orphans(tmp_path) == []
    report(everybody, checks)


def finish(server: Server, checks: Checks) -> None:
    """Do what is still open, and have all tables looked after once more."""
    with server.connect() as connection, connection.cursor() as cursor:
        for lane in checks.lanes:
            while lane.pending is not None:
                lane.advance(connection)
        names = tables_of(cursor)
        checks.check(from_server(cursor), names, when="at the end")
        for name in names:
            cursor.execute(f"OPTIMIZE {SCHEMA}.{name}")
            cursor.execute(f"VACUUM {SCHEMA}.{name} RETAIN 0 HOURS")
        checks.check(from_server(cursor), names, when="after the last VACUUM")


def orphans(root: Path) -> list[str]:
    """Return the data files that no table refers to."""
    found: list[str] = []
    for name in tables_on_disk(root):
        path = root / SCHEMA / name
        active = {Path(uri).name for uri in DeltaTable(str(path)).file_uris()}
        found += [each.name for each in path.glob("*.parquet") if each.name not in active]
    return found


def report(lanes: Sequence[Lane], checks: Checks) -> None:
    """Check that the run has tried everything, as far as it was long enough."""
    done = sum((lane.done for lane in lanes), Counter[str]())
    print(f"\nacknowledged: {dict(done)}\nfound made without an answer: {dict(checks.found)}")
    assert sum(done.values()) > KILLS
    if KILLS >= 25:
        assert set(done) == KINDS
