"""What the pool of workers keeps: its limits, who waits for a worker, until when one is lent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from flight_server.engine.process import WorkerProcess


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The limits of the pool; ``ops.settings`` documents each of them but ``cores``.

    More workers than ``cores`` do not compute faster; they are for queries whose readers are slow.
    """

    cores: int
    count_min: int
    count_max: int
    concurrent_queries_max: int
    queue_length_max: int
    queue_seconds_max: float
    query_seconds_max: float
    queries_max: int
    growth_bytes_max: int
    start_seconds_max: float
    cancel_grace_seconds_max: float
    batch_bytes_max: int
    spill_directory: Path | None = None


@dataclass(frozen=True, slots=True)
class PoolCensus:
    """How many workers there are of each kind, and how many queries wait for one."""

    idle: int
    busy: int
    starting: int
    waiting: int


class Waiter:
    """A query in the queue; ``worker`` is set before ``ready``."""

    __slots__ = ("ready", "since", "worker")

    def __init__(self, since: float) -> None:
        self.since = since
        self.ready = threading.Event()
        self.worker: WorkerProcess | None = None


@dataclass(frozen=True, slots=True)
class Loan:
    """When a worker was lent, and until when."""

    since: float
    deadline: float
