from __future__ import annotations

from collections.abc import Iterator

import pytest

from flight_server.telemetry.tracing import Tracing
from tests.telemetry.receiver import Receiver, attributes, receiving

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OFFSET = 1_000_000.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver


def tracing() -> Tracing:
    return Tracing(version="1.0", offset=lambda: OFFSET)


def test_a_trace_and_its_children_arrive_under_the_callers_span(receiver: Receiver) -> None:
    traces = tracing()
    trace = traces.start("call", start=5.0, parent={"traceparent": PARENT}, attributes={"a": "b"})
    assert trace is not None
    assert trace.trace_id == TRACE
    child = trace.child("queue", start=5.1, end=5.2, attributes={"process.pid": 7})
    child.child("planning", start=5.1, end=5.15, attributes={})
    trace.describe({"rows": 3})
    trace.end(6.0, error="internal")
    traces.close()
    (call,) = receiver.named("call")
    assert call.trace_id.hex() == TRACE
    assert call.parent_span_id.hex() == "b7ad6b7169203331"
    assert attributes(call) == {"a": "b", "rows": 3}
    assert (call.status.code, call.status.message) == (2, "internal")
    assert call.start_time_unix_nano == int((5.0 + OFFSET) * 1e9)
    assert call.end_time_unix_nano == int((6.0 + OFFSET) * 1e9)
    queue = receiver.below(call)["queue"]
    assert attributes(queue) == {"process.pid": 7}
    assert "planning" in receiver.below(queue)
    assert receiver.resources[0]["service.name"] == "lakeflight"


def test_the_environment_names_the_service(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "lake-of-sales")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=sesame")
    traces = tracing()
    trace = traces.start("call", start=1.0, parent={}, attributes={})
    assert trace is not None
    trace.end(2.0)
    traces.close()
    assert receiver.resources[0]["service.name"] == "lake-of-sales"
    assert receiver.resources[0]["deployment.environment.name"] == "test"
    assert receiver.headers[0]["api-key"] == "sesame"


def test_what_the_sampler_leaves_out_is_no_trace(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    traces = tracing()
    assert traces.start("call", start=1.0, parent={}, attributes={}) is None
    # Who calls has decided otherwise, and the parent counts.
    kept = traces.start("call", start=1.0, parent={"traceparent": PARENT}, attributes={})
    assert kept is not None
    unsampled = {"traceparent": PARENT[:-1] + "0"}
    assert traces.start("call", start=1.0, parent=unsampled, attributes={}) is None
    traces.close()


@pytest.mark.parametrize(
    "header", ["", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-" + PARENT[3:], "a" * 10_000]
)
def test_a_broken_parent_is_none(receiver: Receiver, header: str) -> None:
    traces = tracing()
    trace = traces.start("call", start=1.0, parent={"traceparent": header}, attributes={})
    assert trace is not None
    trace.end(2.0)
    traces.close()
    assert receiver.named("call")[0].parent_span_id == b""


def test_a_collector_that_is_away_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as gone:
        pass
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    traces = tracing()
    trace = traces.start("call", start=1.0, parent={}, attributes={})
    assert trace is not None
    trace.end(2.0)
    traces.close()
