"""Traces from a client through the gateway into a worker, received by a real receiver of OTLP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import children, wait_until
from tests.telemetry.receiver import Receiver, attributes, receiving
from tests.wire.monitored import Monitored, monitored
from tests.wire.raw import RawClient, refused

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SECRET = "open-sesame"
_SERVICE = "arrow.flight.protocol.FlightService/"


@dataclass(frozen=True, slots=True)
class Traced:
    """A server and who receives its traces."""

    watched: Monitored
    receiver: Receiver

    def of(self, trace: str, method: str) -> Span:
        """Return the span of the only call of a method in a trace, once it has come."""

        def found() -> list[Span]:
            return [
                span
                for span in self.receiver.named(_SERVICE + method)
                if span.trace_id.hex() == trace
            ]

        wait_until(found, what=f"the span of {method}")
        (span,) = found()
        return span


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with receiving() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={SECRET}",
            "OTEL_SERVICE_NAME": "lake",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with monitored(tmp_path_factory.mktemp("traced"), environment) as watched:
            yield Traced(watched, receiver)


def client(traced: Traced, trace: str, flags: str = "01") -> RawClient:
    return RawClient.connect(traced.watched.server, traceparent=f"00-{trace}-{PARENT}-{flags}")


def test_a_query_is_seen_from_the_client_to_the_worker(traced: Traced) -> None:
    with client(traced, TRACE) as raw:
        sql = "SELECT sum(value) AS s, 'my secret' AS t FROM generate_series(1, 300000)"
        assert raw.fetch(sql).num_rows == 1
    described, fetched = traced.of(TRACE, "GetFlightInfo"), traced.of(TRACE, "DoGet")
    for call, work in ((described, "worker describe"), (fetched, "worker stream")):
        assert call.parent_span_id.hex() == PARENT
        assert call.kind == Span.SPAN_KIND_SERVER
        shown = attributes(call)
        assert shown["rpc.system"] == "grpc"
        assert len(shown["lakeflight.request_id"]) == 16
        assert shown["db.query.text"].startswith("SELECT sum(value) AS s, ? AS t FROM generate")
        assert "my secret" not in str(shown)
        parts = traced.receiver.below(call)
        assert set(parts) == {"queue", work}
        worker = parts[work]
        steps = traced.receiver.below(worker)
        pid = attributes(worker)["process.pid"]
        assert pid in traced.watched.server.worker_pids()
        assert attributes(worker)["lakeflight.engine_seconds"] > 0
        assert set(steps) == {"planning", "execution"}
        for step in steps.values():
            assert attributes(step)["process.pid"] == pid
            assert worker.start_time_unix_nano <= step.start_time_unix_nano
            assert step.end_time_unix_nano <= worker.end_time_unix_nano
        assert call.start_time_unix_nano <= parts["queue"].start_time_unix_nano
        assert worker.end_time_unix_nano <= call.end_time_unix_nano
    assert attributes(fetched)["lakeflight.rows"] == 1
    assert traced.receiver.resources[0]["service.name"] == "lake"


def test_what_is_refused_is_seen_as_that(traced: Traced) -> None:
    trace = "a" * 32
    with client(traced, trace) as raw:
        assert refused(lambda: raw.fetch("SELECT * FROM nowhere")) == "table_not_found"
    span = traced.of(trace, "GetFlightInfo")
    assert attributes(span)["error.type"] == "table_not_found"
    assert span.status.code == 0  # the server did what it should


def test_what_the_client_does_not_sample_is_not_sent(traced: Traced) -> None:
    silent, loud = "b" * 32, "c" * 32
    with client(traced, silent, "00") as raw:
        raw.fetch("SELECT 1 AS silent")
    with client(traced, loud) as raw:
        raw.fetch("SELECT 1 AS loud")
    traced.of(loud, "DoGet")
    assert not [span for span in traced.receiver.spans if span.trace_id.hex() == silent]


def test_broken_headers_break_nothing(traced: Traced) -> None:
    for header in ("x", "00-zz-zz-01", "-" * 5000):
        with RawClient.connect(traced.watched.server, traceparent=header) as raw:
            assert raw.fetch("SELECT 1").num_rows == 1


def test_records_name_the_trace(traced: Traced) -> None:
    trace = "d" * 32
    with client(traced, trace) as raw:
        raw.fetch("SELECT 1 AS logged")
    wait_until(lambda: [each for each in traced.watched.records() if each.get("trace_id") == trace])


def test_workers_do_not_get_the_secret_of_the_receiver(traced: Traced) -> None:
    traced.watched.server.fetch("SELECT 1")
    wait_until(lambda: traced.receiver.headers)
    assert traced.receiver.headers[0]["api-key"] == SECRET
    server = traced.watched.server
    for pid in (*children(server.process.pid), *server.worker_pids()):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert SECRET.encode() not in environment
        assert b"OTEL" not in environment
    assert SECRET not in server.errors()


def test_a_receiver_that_is_away_slows_nothing(tmp_path: Path) -> None:
    with receiving() as gone:
        pass
    with monitored(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": gone.url}) as watched:
        assert watched.server.fetch("SELECT 1 AS x").num_rows == 1
    assert watched.server.process.returncode == 0
