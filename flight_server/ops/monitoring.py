"""What monitoring is told: whether the server lives, whether it is ready, and all its numbers."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from flight_server.engine.cache import ResultCache
from flight_server.engine.pool import WorkerPool
from flight_server.ops.endpoint import Answer, Endpoint
from flight_server.ops.identity import AuthSettings, TierSettings
from flight_server.ops.readiness import Readiness, State, are_readable
from flight_server.ops.sections import LimitSettings, ServerSettings, WorkerSettings
from flight_server.ops.watching import TelemetrySettings
from flight_server.rpc.border import InFlight
from flight_server.service.running import Kind as RunKind
from flight_server.service.running import Running
from flight_server.service.sessions import Sessions
from flight_server.telemetry.exposition import Exposition
from flight_server.telemetry.instruments import Instrument, Kind, Labels, Reading, one
from flight_server.telemetry.meters import Meters

_log = logging.getLogger(__name__)

_LIBRARIES = ("datafusion", "deltalake", "pyarrow")


class Lag(Protocol):
    """How far the audit table is behind the audit log."""

    @property
    def records(self) -> int:
        """Records that are in the log alone."""
        ...

    @property
    def seconds(self) -> float:
        """How long the oldest of them waits."""
        ...


class Audit(Protocol):
    """What is asked of the audit log."""

    def lag(self) -> Lag:
        """Return how far the table is behind."""
        ...

    def is_available(self) -> bool:
        """Whether a record would be taken now."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a running server that monitoring looks at; ``folders`` are those it reads."""

    pool: WorkerPool
    results: ResultCache
    sessions: Sessions
    running: Running
    in_flight: InFlight
    audit: Audit
    folders: tuple[Path, ...]


class Monitoring:
    """The endpoint of one server, from before it starts until it ends.

    Until it has something to ``watch``, the server lives and is not ready. Without a port nothing
    of this exists.
    """

    def __init__(self, settings: TelemetrySettings, meters: Meters) -> None:
        self._settings = settings
        self._meters = meters
        self._readiness = Readiness({"server": lambda: False})
        self._exposition: Exposition | None = None
        self._endpoint: Endpoint | None = None
        self._rendering = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self.url: str | None = None

    def start(self) -> None:
        """Begin to answer. Raises Unavailable when the address cannot be used."""
        if self._settings.port is None:
            return
        routes = {"/healthz": _alive, "/readyz": self._ready, "/metrics": self._metrics}
        self._exposition = Exposition(self._meters, versions=_versions())
        self._endpoint = Endpoint(self._settings.host, self._settings.port, routes)
        self.url = self._endpoint.start()
        _log.info("monitoring on %s", self.url)

    def watch(self, watched: Watched) -> None:
        """Look at the parts of the server, which answers calls from now on."""
        if self._endpoint is None:
            return
        before, self._readiness = self._readiness, Readiness(checks(watched))
        before.close()
        self._exposition = Exposition(
            instruments(self._meters, watched, lambda: self._readiness.last), versions=_versions()
        )

    def close(self) -> None:
        """Stop answering."""
        if self._endpoint is not None:
            self._endpoint.close()
        self._readiness.close()
        self._rendering.shutdown(wait=False, cancel_futures=True)

    async def _ready(self, _accept: str) -> Answer:
        readiness = self._readiness
        await readiness.ask()
        status = HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps({"ready": readiness.is_ready, "parts": readiness.last}) + "\n"
        return Answer(body.encode(), "application/json", status)

    async def _metrics(self, accept: str) -> Answer:
        assert self._exposition is not None  # noqa: S101  made before anybody can ask
        await self._readiness.ask()
        body, content_type = await asyncio.get_running_loop().run_in_executor(
            self._rendering, self._exposition.render, accept
        )
        return Answer(body, content_type)


async def _alive(_accept: str) -> Answer:
    return Answer(b"ok\n")


def limit_names() -> frozenset[str]:
    """Return the names of all settings that limit something."""
    sections = (AuthSettings, LimitSettings, ServerSettings, TierSettings, WorkerSettings)
    return frozenset(
        name for section in sections for name in section.model_fields if name.endswith("_max")
    )


def checks(watched: Watched) -> dict[str, Callable[[], bool]]:
    """Return what has to be true for the server to answer calls, by part."""

    def has_workers() -> bool:
        census = watched.pool.census()
        return census.idle + census.busy > 0

    return {
        "audit": watched.audit.is_available,
        "server": lambda: not watched.in_flight.is_draining,
        "storage": lambda: are_readable(list(watched.folders)),
        "workers": has_workers,
    }


def instruments(
    meters: Meters, watched: Watched, readiness: Callable[[], Mapping[str, State]]
) -> list[Instrument]:
    """Return everything that is told of a running server, in the order of ``/metrics``."""

    def ready() -> Iterable[tuple[Labels, float]]:
        return [((part,), float(state is State.READY)) for part, state in readiness().items()]

    return [
        Reading("lakeflight_ready", "Whether a part of the server is ready.", ready, ("part",)),
        *meters,
        *_work(watched),
        *_workers(watched.pool),
        *_cache(watched.results),
        *_audit(watched.audit),
    ]


def _work(watched: Watched) -> list[Instrument]:
    def running() -> Iterable[tuple[Labels, float]]:
        kinds = Counter(run.kind for run in watched.running.runs())
        return [((kind.value,), kinds[kind]) for kind in RunKind]

    return [
        Reading(
            "lakeflight_calls_in_flight",
            "Calls that run now, streams included.",
            one(lambda: watched.in_flight.running),
        ),
        Reading(
            "lakeflight_running",
            "What runs now, by what is done; it can be listed and cancelled.",
            running,
            ("kind",),
        ),
        Reading(
            "lakeflight_sessions",
            "Connections with options or temporary tables of their own.",
            one(lambda: watched.sessions.count),
        ),
    ]


def _workers(pool: WorkerPool) -> list[Instrument]:
    def by_state() -> Iterable[tuple[Labels, float]]:
        census = pool.census()
        return [
            (("busy",), census.busy),
            (("idle",), census.idle),
            (("starting",), census.starting),
        ]

    return [
        Reading(
            "lakeflight_queue_length",
            "Queries that wait for a worker.",
            one(lambda: pool.census().waiting),
        ),
        Reading(
            "lakeflight_queue_length_max",
            "Queries that may wait; see limits.queue_length_max.",
            one(lambda: pool.options.queue_length_max),
        ),
        Reading("lakeflight_workers", "Worker processes by what they do.", by_state, ("state",)),
        Reading(
            "lakeflight_workers_max",
            "Worker processes that there may be; see workers.count_max.",
            one(lambda: pool.options.count_max),
        ),
        Reading(
            "lakeflight_workers_resident_bytes",
            "Resident memory of all workers; what they share counts for each.",
            one(pool.resident_bytes),
        ),
    ]


def _cache(results: ResultCache) -> list[Instrument]:
    return [
        Reading(
            "lakeflight_result_cache_hits_total",
            "Results that were answered without a worker.",
            one(lambda: results.hits),
            kind=Kind.COUNTER,
        ),
        Reading(
            "lakeflight_result_cache_misses_total",
            "Results that a worker had to compute.",
            one(lambda: results.misses),
            kind=Kind.COUNTER,
        ),
        Reading(
            "lakeflight_result_cache_bytes",
            "Size of the results that are kept.",
            one(lambda: results.bytes),
        ),
        Reading(
            "lakeflight_result_cache_bytes_max",
            "Size that they may have; see limits.result_cache_bytes_max.",
            one(lambda: results.bytes_max),
        ),
    ]


def _audit(audit: Audit) -> list[Instrument]:
    return [
        Reading(
            "lakeflight_audit_available",
            "Whether the audit log takes records; without, calls are refused.",
            one(lambda: float(audit.is_available())),
        ),
        Reading(
            "lakeflight_audit_lag_records",
            "Records of the audit log that are not in its table yet.",
            one(lambda: audit.lag().records),
        ),
        Reading(
            "lakeflight_audit_lag_seconds",
            "How long the oldest of them waits.",
            one(lambda: audit.lag().seconds),
        ),
    ]


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"version": version("lakeflight"), "python": platform.python_version(), **libraries}
