"""Builds the gateway from the settings, starts and stops it.

Concrete classes meet only here and in ``worker``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flight_server import errors
from flight_server.assembly import Roots, build_use_cases
from flight_server.audit.log import AuditLog, LogOptions, audit_folder
from flight_server.auth.keys import KeyRing, load_keys
from flight_server.auth.refresh import RefreshTokens
from flight_server.auth.stores import Stores
from flight_server.auth.throttle import Throttle
from flight_server.auth.tokens import Tokens
from flight_server.clock import Clock, SystemClock
from flight_server.engine.base import BatchLimits
from flight_server.engine.pool import PoolOptions, WorkerPool
from flight_server.engine.remote import RemoteEngine
from flight_server.entropy import Entropy
from flight_server.ops.accounts import open_stores, session_rules
from flight_server.ops.counting import Counting, open_counting
from flight_server.ops.monitoring import Monitoring, Watched, limit_names
from flight_server.ops.sections import cores
from flight_server.ops.settings import Settings, WhenUnwritable
from flight_server.ops.signing import key_sources, open_external
from flight_server.ops.tracing import open_traces
from flight_server.parts import Parts, buckets, log_path
from flight_server.protocol.tickets import Sealer, derive_key
from flight_server.rpc.border import InFlight
from flight_server.rpc.middleware import CallerMiddlewareFactory
from flight_server.rpc.server import LakehouseServer, Tls, UseCases
from flight_server.service import governed
from flight_server.service.auditing import AuditOptions, Auditor
from flight_server.service.guard import Guard
from flight_server.service.observing import Observing, Traces
from flight_server.service.own_bucket import make_rule_tables
from flight_server.service.recording import Recorder
from flight_server.service.sessions import Sessions
from flight_server.service.signin import SignIn
from flight_server.service.standing import AccountStanding
from flight_server.storage.roots import StateLock
from flight_server.telemetry.meters import Meters
from policies.decide import SYSTEM_BUCKET


@dataclass(frozen=True, slots=True)
class _Serving:
    """What there is only while calls are answered."""

    server: LakehouseServer
    sessions: Sessions
    counting: Counting
    guard: Guard


class Gateway:
    """One running server.

    ``start`` returns once calls are answered; ``stop`` drains. ``first_password`` is the
    administrator's, when this start made that user with a random one; it is not kept anywhere else.
    """

    def __init__(self, settings: Settings, *, environment: Mapping[str, str]) -> None:
        self._state: StateLock | None = None
        if settings.storage.read_only:  # others are alone by the locks of their buckets
            self._state = StateLock(settings.storage.state_paths)
            settings = settings.with_state(self._state.folder)
        self._settings = settings
        self._environment = environment
        self._clock: Clock = SystemClock()
        self._meters = Meters()
        self._monitoring = Monitoring(settings.telemetry, self._meters)
        self._random_bytes = Entropy()
        self._in_flight = InFlight()
        self._pool = WorkerPool(
            _pool_options(settings),
            _worker_configuration(settings),
            environment=environment,
            clock=self._clock,
            meters=self._meters,
        )
        self._engine = RemoteEngine(
            self._pool,
            self._clock,
            result_cache_bytes_max=settings.limits.result_cache_bytes_max,
            meters=self._meters,
        )
        self._traces: Traces | None = None
        self._audit = AuditLog(
            audit_folder(settings.storage.state_path),
            clock=self._clock,
            random_bytes=os.urandom,
            options=_log_options(settings),
        )
        self._roots = Roots()
        self._serving: _Serving | None = None
        self.first_password: str | None = None

    @property
    def uri(self) -> str:
        """Where clients connect. Raises Unavailable before ``start``."""
        if self._serving is None:
            raise errors.Unavailable("the server has not started")
        settings = self._settings.server
        scheme = "grpc" if settings.tls_certificate is None else "grpc+tls"
        return f"{scheme}://{_host(settings.host)}:{self._serving.server.port}"

    def start(self) -> None:
        """Open the users, start the workers, take over the audit log, then answer calls.

        Raises InvalidRequest for settings that cannot work, Unavailable when the port is taken or
        storage is away.
        """
        settings = self._settings
        _claim_port(settings.server.host, settings.server.port)
        self._monitoring.start()
        self._traces = open_traces(self._environment, self._clock)
        ring = load_keys(key_sources(settings), random_bytes=os.urandom)
        self._roots.take(settings)
        stores = open_stores(settings, self._clock)
        self.first_password = stores.users.bootstrap(
            None if settings.admin.password is None else settings.admin.password.get_secret_value()
        )
        if SYSTEM_BUCKET not in self._roots.read_only:
            make_rule_tables(settings.storage.system_path, self._clock)
        self._pool.start()
        try:
            # Its lock would be shared with workers that are forked later: they start from a
            # template that is there by now.
            self._audit.start()
            self._serving = self._serve(ring, stores)
        except errors.LakeflightError:
            self._pool.close()
            raise
        except OSError:
            self._pool.close()
            raise errors.Unavailable(f"the address {self._address()} cannot be used") from None

    def stop(self) -> bool:
        """Refuse new calls, wait for the running ones, end the workers.

        False when calls were cut off.
        """
        finished = self._in_flight.drain(self._settings.server.drain_seconds_max)
        serving = self._serving
        if serving is not None:
            serving.guard.stop()
            serving.sessions.close_all()
        self._pool.close()
        if finished:  # what was cut off may still write; the locks then end with the process
            self._audit.close()
            self._roots.close()
            if self._state is not None:
                self._state.close()
            if serving is not None:
                serving.counting.close()
        if self._traces is not None:
            self._traces.close()
        self._monitoring.close()
        return finished

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers, for measuring."""
        return self._pool.worker_pids()

    def _serve(self, ring: KeyRing, stores: Stores) -> _Serving:
        settings = self._settings
        sealer = Sealer(
            [derive_key(secret, "tickets") for secret in ring.secrets],
            random_bytes=self._random_bytes,
        )
        counting = self._open_counting(ring.secrets[0])
        signin = self._build_signin(ring, stores, sealer, throttle=counting.throttle)
        located = buckets(settings)
        rulebook = governed.open_rulebook(
            settings.policy_book().grants,
            located,
            self._clock,
            group_rows_min=settings.policies.group_rows_min,
        )
        parts = Parts(
            settings,
            self._engine,
            sealer,
            self._clock,
            self._random_bytes,
            self._roots.read_only,
            rulebook,
            counting.limits,
            standing=AccountStanding(stores.users, signin.still, stating=rulebook),
            audit=self._audit,
            stores=stores,
            signin=signin,
            meters=self._meters,
        )
        built = build_use_cases(parts)
        use_cases = built.use_cases
        recorder = self._recorder(rulebook.version)
        server = LakehouseServer(
            self._address(),
            use_cases,
            callers=CallerMiddlewareFactory(
                signin,
                recorder,
                random_bytes=self._random_bytes,
                is_draining=lambda: self._in_flight.is_draining,
                address_header=settings.server.address_header,
            ),
            in_flight=self._in_flight,
            recorder=recorder,
            tls=_tls(settings),
        )
        self._monitoring.watch(self._watched(use_cases))
        built.guard.start()
        return _Serving(server, use_cases.sessions, counting, built.guard)

    def _watched(self, use_cases: UseCases) -> Watched:
        roots = [location.root for location in buckets(self._settings).values()]
        return Watched(
            self._pool,
            self._engine.results,
            use_cases.sessions,
            use_cases.own.running,
            in_flight=self._in_flight,
            audit=self._audit,
            # A bucket may not be there yet.
            folders=tuple(root for root in roots if root.is_dir()),
        )

    def _build_signin(
        self, ring: KeyRing, stores: Stores, sealer: Sealer, *, throttle: Throttle
    ) -> SignIn:
        auth = self._settings.auth
        tokens = Tokens(
            ring.keys,
            auth.issuer,
            audience=auth.audience,
            life_seconds=auth.token_seconds_max,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        return SignIn(
            stores,
            tokens,
            refresh=RefreshTokens(sealer, clock=self._clock),
            rules=session_rules(self._settings),
            throttle=throttle,
            clock=self._clock,
            random_bytes=self._random_bytes,
            external=open_external(self._settings, stores.users, self._clock),
        )

    def _open_counting(self, secret: bytes) -> Counting:
        return open_counting(self._settings, secret, self._clock)

    def _recorder(self, policy_version: Callable[[], str]) -> Recorder:
        audit = self._settings.audit
        options = AuditOptions(
            reads_without_record=audit.reads_when_unwritable is WhenUnwritable.ALLOW,
            reads_wait_for_disk=audit.reads_wait_for_disk,
        )
        auditor = Auditor(self._audit, self._clock, policy_version=policy_version, options=options)
        return Observing(
            auditor,
            self._meters,
            clock=self._clock,
            traces=self._traces,
            limits=limit_names(),
            log_calls=self._settings.log.calls,
        )

    def _address(self) -> str:
        settings = self._settings.server
        scheme = "grpc+tcp" if settings.tls_certificate is None else "grpc+tls"
        return f"{scheme}://{_host(settings.host)}:{settings.port}"


def _log_options(settings: Settings) -> LogOptions:
    audit = settings.audit
    return LogOptions(
        flush_seconds_max=audit.flush_seconds_max,
        segment_bytes_max=audit.segment_bytes_max,
        compact_files_min=audit.compact_files_min,
    )


def _worker_configuration(settings: Settings) -> dict[str, Any]:
    limits, workers = settings.limits, settings.workers
    return {
        "tables": governed.tables_configuration(
            buckets(settings).values(),
            settings.policy_book().grants,
            group_rows_min=settings.policies.group_rows_min,
            log_path=log_path(settings),
        ),
        "file_bytes_target": settings.storage.file_bytes_target,
        "batches": asdict(
            BatchLimits(
                batch_bytes_target=limits.batch_bytes_target,
                batch_bytes_max=limits.batch_bytes_max,
                result_bytes_max=limits.result_bytes_max,
            )
        ),
        "target_partitions": workers.target_partitions,
        "memory_bytes_max": workers.memory_bytes_max,
        "spill_bytes_max": workers.spill_bytes_max,
    }


def _pool_options(settings: Settings) -> PoolOptions:
    limits, workers = settings.limits, settings.workers
    return PoolOptions(
        cores=cores(),
        count_min=workers.count_min,
        count_max=workers.count_max,
        concurrent_queries_max=limits.concurrent_queries_max or workers.count_max,
        queue_length_max=limits.queue_length_max,
        queue_seconds_max=limits.queue_seconds_max,
        query_seconds_max=limits.query_seconds_max,
        queries_max=workers.queries_max,
        growth_bytes_max=workers.growth_bytes_max,
        start_seconds_max=workers.start_seconds_max,
        cancel_grace_seconds_max=workers.cancel_grace_seconds_max,
        batch_bytes_max=limits.batch_bytes_max,
        spill_directory=workers.spill_directory,
    )


def _tls(settings: Settings) -> Tls | None:
    server = settings.server
    if server.tls_certificate is None or server.tls_key is None:
        return None
    authorities = server.tls_client_authorities
    return Tls(
        certificate=_pem(server.tls_certificate),
        key=_pem(server.tls_key),
        client_authorities=None if authorities is None else _pem(authorities),
    )


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.InvalidRequest(
            f"{path}: {error.strerror or 'cannot be read'}", code="invalid_settings"
        ) from None


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _claim_port(host: str, port: int) -> None:
    """Raise Unavailable when somebody listens there.

    GRPC would silently share the port with them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise errors.Unavailable(
                f"cannot listen on {host}:{port}: {error.strerror or 'address not usable'}"
            ) from None
