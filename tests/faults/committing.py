"""A process that forks writers to be killed: ``python -m tests.faults.committing TABLE JOURNAL``.

It reads lines ``SEED;MICROSECONDS;…`` and answers each with ``done`` when the writer of that seed
was killed, about that time after it began its first change. A writer notes in the journal
what it is about to do and what was acknowledged; a line is one write of the system, so that it is
there whole or not at all.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.clock import SystemClock
from flight_server.errors import Conflict
from flight_server.storage.changes import Author, Change
from flight_server.storage.commits import Commits
from flight_server.storage.delta_actions import ActiveFile
from tests.faults.forking import fork_and_kill
from tests.storage.writing import data_file

ROWS = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("n", pa.int64())])
NAME = "t"
FILES_REWRITTEN_MAX = 12


class Writer:
    """Appends, updates, deletes and joins files until it is killed."""

    def __init__(self, path: Path, journal: int, seed: int, *, started: int) -> None:
        self._path, self._journal, self._seed = path, journal, seed
        self._started, self._has_begun = started, False
        self._commits = Commits(SystemClock(), random_bytes=os.urandom)

    def note(self, *words: object) -> None:
        os.write(self._journal, (" ".join(map(str, words)) + "\n").encode())
        if not self._has_begun:
            self._has_begun = True
            os.write(self._started, b"x")

    def commit(self, operation: str, **kinds: object) -> None:
        author = Author("u", "u", str(self._seed))
        change = Change(operation, author, **kinds)  # type: ignore[arg-type]  # fields by name
        self._commits.commit(self._path, change, name=NAME)

    def append(self, ids: list[int], key: str) -> None:
        """Append a batch, each id with n = 0."""
        rows = pa.table({"id": ids, "n": [0] * len(ids)}, schema=ROWS)
        self.note("begin", "append", key, *ids)
        file = data_file(self._path, rows)
        self.commit("WRITE", adds=(file,), rows=len(ids), idempotency_key=key)
        self.note("end", "append", key, *ids)

    def append_for_ever(self, lane: int) -> None:
        chance = random.Random(self._seed * 10 + lane)
        for step in range(100_000):
            first = (self._seed * 10 + lane) * 1_000_000 + step * 10
            self.append(
                list(range(first, first + chance.randint(1, 9))), f"{self._seed}.{lane}.{step}"
            )

    def rewrite_for_ever(self) -> None:
        chance = random.Random(self._seed)
        for step in range(100_000):
            kind = chance.choice(["update", "delete", "join"])
            head = self._commits.head(self._path, name=NAME, with_files=True)
            files = sorted(head.files or (), key=lambda file: file.size)[:FILES_REWRITTEN_MAX]
            self.rewrite(kind, f"{self._seed}.w.{step}", files, read_version=head.version)

    def rewrite(self, kind: str, key: str, files: list[ActiveFile], *, read_version: int) -> None:
        tables = [pq.read_table(self._path / file.key, schema=ROWS) for file in files]
        rows = [] if not tables else pa.concat_tables(tables).to_pylist()
        chosen = {row["id"] for row in rows if row["id"] % (3 if kind == "update" else 7) == 0}
        if kind == "join":
            chosen = set()
        kept = [
            {"id": row["id"], "n": row["n"] + (row["id"] in chosen)}
            for row in rows
            if kind != "delete" or row["id"] not in chosen
        ]
        self.note("begin", kind, key, *chosen)
        new = data_file(self._path, pa.Table.from_pylist(kept, schema=ROWS))
        try:
            self.commit(
                kind.upper(),
                adds=(new,),
                removes=tuple(file.path for file in files),
                data_change=kind != "join",
                read_version=read_version,
                idempotency_key=key,
            )
        except Conflict:
            self.note("failed", kind, key)
            raise  # the only rewriter of the table meets no conflict
        self.note("end", kind, key, *chosen)

    def run(self, again: list[str]) -> None:
        """Repeat what the last writer may not have finished, then write."""
        for line in again:
            key, *ids = line.split()
            self.append([int(each) for each in ids], key)
        work = [
            threading.Thread(target=self.append_for_ever, args=(lane,), daemon=True)
            for lane in range(2)
        ]
        for each in work:
            each.start()
        self.rewrite_for_ever()


def main() -> None:
    """Fork and kill writers as told."""
    # Arrow looks for pandas when it is first handed Python values: once here, not in each fork.
    pa.table({"id": [1], "n": [1]}, schema=ROWS)
    path, journal_path = Path(sys.argv[1]), Path(sys.argv[2])
    journal = os.open(journal_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    fork_and_kill(
        lambda seed, started, again: Writer(path, journal, seed, started=started).run(again),
        journal,
    )


if __name__ == "__main__":
    main()
