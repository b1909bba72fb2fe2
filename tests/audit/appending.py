"""A process that forks writers of an audit log to be killed: ``python -m tests.audit.appending``.

Its arguments are the folder of the log and a file of witnesses. It reads lines
``SEED;MICROSECONDS`` and answers each with ``done`` when the writer of that seed was killed, about
that time after it had begun, or, where the seed is even, after a first flush. A writer witnesses
each record once its append was acknowledged; a line is one write of the system, so that it is
there whole or not at all.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
from pathlib import Path

from flight_server.audit.events import Event, Outcome
from flight_server.audit.log import AuditLog, LogOptions, spool
from flight_server.clock import SystemClock
from tests.faults.forking import fork_and_kill

OPTIONS = LogOptions(flush_seconds_max=0.02, segment_bytes_max=64 * 1024, compact_files_min=3)
LANES = 3


class Writer:
    """Appends in several threads until it is killed; flushing and joining goes on behind."""

    def __init__(self, folder: Path, witnesses: int, seed: int) -> None:
        self._folder, self._witnesses, self._seed = folder, witnesses, seed
        self._log = AuditLog(folder, clock=SystemClock(), random_bytes=os.urandom, options=OPTIONS)

    def event(self, request_id: str, outcome: Outcome, size: int) -> Event:
        return Event(
            SystemClock().now(), "query.run", outcome, request_id, details={"text": "x" * size}
        )

    def witness(self, *words: object) -> None:
        os.write(self._witnesses, (" ".join(map(str, words)) + "\n").encode())

    def append_for_ever(self, lane: int) -> None:
        chance = random.Random(self._seed * 10 + lane)
        for step in range(1_000_000):
            request_id = f"{self._seed}.{lane}.{step}"
            size = chance.randint(0, 1500)
            for outcome in (Outcome.INTENT, Outcome.SUCCESS):
                sequence = self._log.append(self.event(request_id, outcome, size))
                if chance.random() < 0.5:
                    self._log.wait(sequence)
                self.witness(sequence, request_id, outcome)

    def run(self, started: int) -> None:
        """Hand something over by the spool, take over from the last writer, and append."""
        for step in range(3):
            request_id = f"{self._seed}.s.{step}"
            spool(self._folder, self.event(request_id, Outcome.SUCCESS, 10))
            self.witness(0, request_id, Outcome.SUCCESS)
        is_early = self._seed % 2  # half of them may be killed while they still take over
        if is_early:
            os.write(started, b"x")
        self._log.start()
        for lane in range(LANES - 1):
            threading.Thread(target=self.append_for_ever, args=(lane,), daemon=True).start()
        if not is_early:
            self._log.flush()
            os.write(started, b"x")
        self.append_for_ever(LANES - 1)


def warm_up() -> None:
    """Load whatever is loaded at first use: once here, not in each fork."""
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder), -1, 0)
        writer._log.start()
        writer._log.append(writer.event("r", Outcome.SUCCESS, 1))
        writer._log.flush()
        writer._log.verify()
        writer._log.close()


def main() -> None:
    """Fork and kill writers as told."""
    warm_up()
    folder, witness_path = Path(sys.argv[1]), Path(sys.argv[2])
    witnesses = os.open(witness_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    fork_and_kill(lambda seed, started, _: Writer(folder, witnesses, seed).run(started), witnesses)


if __name__ == "__main__":
    main()
