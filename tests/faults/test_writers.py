"""Many writers of one table at the same time, here and in another program: nobody loses anything.

``LAKEFLIGHT_TEST_WRITER_SECONDS`` says for how long.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests.faults.ledger import BATCH_ROWS, ROWS, Entry, Ledger, check_whole, rows_of
from tests.servers import Server, running

SECONDS = float(os.environ.get("LAKEFLIGHT_TEST_WRITER_SECONDS", "8"))
SEED = int(os.environ.get("LAKEFLIGHT_TEST_SEED", "1"))
APPENDERS = 4
FOREIGN_BATCHES = 1_000_000
PER_BATCH = """
    SELECT batch, count(*) AS c, count(DISTINCT id) AS ids, min(size) AS size, max(size) AS sizes,
           min(n) AS n, max(n) AS ns
    FROM w.t GROUP BY batch
"""

Work = Callable[[flightsql.Connection, random.Random], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA w")
            cursor.execute(
                "CREATE TABLE w.t"
                " (id BIGINT NOT NULL, batch BIGINT NOT NULL, size BIGINT NOT NULL, n BIGINT)"
            )
        yield server


@dataclass
class Sessions:
    """Threads with a session each, all busy with one table until the time is over."""

    server: Server
    ledger: Ledger
    until: float
    failures: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    foreign: dict[int, Entry] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def start(self, name: str, work: Work) -> None:
        """Have a session do this work again and again."""

        def run() -> None:
            chance = random.Random(f"{SEED}.{name}")
            try:
                with closing(self.server.connect()) as connection:
                    while time.monotonic() < self.until and not self.failures:
                        work(connection, chance)
            except Exception as error:  # noqa: BLE001  the test looks at it
                self.failures.append(f"{name}: {error!r}")

        thread = threading.Thread(target=run, name=name)
        self.threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for all of them; nobody may have met an error."""
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), f"{thread.name} hangs"
        assert self.failures == [], f"seed={SEED}"

    def append(self, connection: flightsql.Connection, chance: random.Random) -> None:
        """Append a batch: one row or some by INSERT, or many by a load of several batches."""
        batch = next(self.numbers)
        kind = chance.choice(["insert", "values", "select", "load"])
        with connection.cursor() as cursor:
            size = 1
            if kind == "insert":
                cursor.execute(f"INSERT INTO w.t VALUES ({batch * BATCH_ROWS}, {batch}, 1, 0)")
            elif kind == "values":
                size = chance.randint(2, 20)
                rows = rows_of(batch, size).to_pylist()
                values = ", ".join(str(tuple(row.values())) for row in rows)
                cursor.execute(f"INSERT INTO w.t VALUES {values}")
            elif kind == "select":
                size, first = chance.randint(2, 500), batch * BATCH_ROWS
                cursor.execute(
                    f"INSERT INTO w.t SELECT value, {batch} AS b, {size} AS s, 0 AS n"
                    f" FROM generate_series({first}, {first + size - 1})"
                )
            else:
                size = chance.randint(2, 500)
                table = pa.Table.from_batches([rows_of(batch, size)])
                reader = pa.RecordBatchReader.from_batches(ROWS, table.to_batches(100))
                assert cursor.adbc_ingest("t", reader, mode="append", db_schema_name="w") == size
            assert kind == "load" or cursor.rowcount == size, f"{kind} of batch {batch}"
        self.ledger.put(batch, Entry(size))
        self.ledger.count(kind)

    def update(self, connection: flightsql.Connection, chance: random.Random) -> None:
        """Give some batches another n."""
        chosen = self.ledger.take(chance, chance.randint(1, 5))
        if not chosen:
            return
        n = next(self.numbers)
        changed = self._change(connection, f"UPDATE w.t SET n = {n}", chosen)
        assert changed == sum(entry.size for entry in chosen.values()), f"update of {chosen}"
        for batch, entry in chosen.items():
            self.ledger.put(batch, Entry(entry.size, n))
        self.ledger.count("update")

    def delete(self, connection: flightsql.Connection, chance: random.Random) -> None:
        """Delete a batch or two."""
        chosen = self.ledger.take(chance, chance.randint(1, 2))
        if not chosen:
            return
        changed = self._change(connection, "DELETE FROM w.t", chosen)
        assert changed == sum(entry.size for entry in chosen.values()), f"delete of {chosen}"
        self.ledger.count("delete")

    def _change(self, connection: flightsql.Connection, what: str, chosen: dict[int, Entry]) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"{what} WHERE batch IN ({', '.join(map(str, chosen))})")
            return int(cursor.rowcount)

    def optimize(self, connection: flightsql.Connection, chance: random.Random) -> None:
        """Write small files again as larger ones, or all in an order."""
        with connection.cursor() as cursor:
            cursor.execute(f"OPTIMIZE w.t{chance.choice(['', '', ' ZORDER BY (batch)'])}")
        self.ledger.count("optimize")

    def vacuum(self, connection: flightsql.Connection, chance: random.Random) -> None:
        """Remove what the newest version does not need; then write a little."""
        with connection.cursor() as cursor:
            cursor.execute("VACUUM w.t RETAIN 0 HOURS")
        self.ledger.count("vacuum")
        for _ in range(5):
            self.append(connection, chance)

    def read(self, connection: flightsql.Connection, _: random.Random) -> None:
        """Look at everything: batches are whole, and what was acknowledged before is there."""
        before = self.ledger.snapshot()
        with connection.cursor() as cursor:
            cursor.execute(PER_BATCH)
            found = {row["batch"]: row for row in cursor.fetch_arrow_table().to_pylist()}
        for batch, row in found.items():
            is_whole = row["c"] == row["ids"] == row["size"] == row["sizes"]
            assert is_whole, f"a reader saw a part of batch {batch}: {row}"
            assert row["n"] == row["ns"], f"a reader saw half an update of batch {batch}: {row}"
        after = self.ledger.snapshot()
        # Some may have been taken out, or changed, while the query ran.
        for batch in set(before) & set(after) - set(found):
            raise AssertionError(f"batch {batch} was acknowledged, and a reader did not see it")
        self.ledger.count("read")


def check_content(server: Server, ledger: Ledger) -> None:
    """Compare the table, as the server and as the Delta library see it, with what was answered."""
    expected = ledger.snapshot()
    assert check_whole(server.fetch("SELECT * FROM w.t")) == expected
    disk: Any = DeltaTable(str(server.directory / "w" / "t")).to_pyarrow_table()
    assert check_whole(disk) == expected
    rows = sum(entry.size for entry in expected.values())
    assert server.fetch("SELECT count(*) AS c FROM w.t").to_pylist() == [{"c": rows}]
    print(f"\n{rows} rows in {len(expected)} batches; {dict(ledger.done)}")


@pytest.mark.slow
@pytest.mark.timeout(180 + 2 * SECONDS)
def test_writers_of_all_kinds_do_not_get_into_each_others_way(server: Server) -> None:
    ledger = Ledger()
    sessions = Sessions(server, ledger, until=time.monotonic() + SECONDS)
    for number in range(APPENDERS):
        sessions.start(f"appender {number}", sessions.append)
    for name in ("update", "delete", "optimize", "read"):
        sessions.start(name, getattr(sessions, name))
    sessions.join()
    check_content(server, ledger)
    assert min(ledger.done[kind] for kind in ("update", "delete", "optimize", "read")) > 0
    assert "Traceback" not in server.errors(), server.errors()


@pytest.mark.slow
@pytest.mark.timeout(180 + 2 * SECONDS)
def test_writers_wait_while_old_files_are_removed(server: Server) -> None:
    ledger = Ledger()
    sessions = Sessions(server, ledger, until=time.monotonic() + SECONDS / 2)
    for number in range(2):
        sessions.start(f"appender {number}", sessions.append)
    for name in ("update", "delete", "optimize", "vacuum"):
        sessions.start(name, getattr(sessions, name))
    sessions.join()
    check_content(server, ledger)
    assert min(ledger.done[kind] for kind in ("update", "delete", "optimize", "vacuum")) > 0
    assert "Traceback" not in server.errors(), server.errors()


@pytest.mark.slow
@pytest.mark.timeout(180 + 2 * SECONDS)
def test_writers_beside_another_program(server: Server) -> None:
    ledger = Ledger()
    seconds = SECONDS / 2
    foreign = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.faults.foreign"),
            *(str(server.directory / "w" / "t"), str(seconds), str(FOREIGN_BATCHES)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with foreign:
        sessions = Sessions(server, ledger, until=time.monotonic() + seconds)
        for number in range(2):
            sessions.start(f"appender {number}", sessions.append)
        for name in ("update", "delete", "optimize", "read"):
            sessions.start(name, getattr(sessions, name))
        assert foreign.stdout is not None
        for line in foreign.stdout:
            what, batch, size = line.split()
            ledger.count(f"foreign {what}")
            if what == "added":
                sessions.foreign[int(batch)] = Entry(int(size))
            else:
                del sessions.foreign[int(batch)]
        assert foreign.wait(60) == 0
        sessions.join()
    ledger.entries.update(sessions.foreign)
    check_content(server, ledger)
    assert ledger.done["foreign added"] > 0
