"""Traces by OpenTelemetry, sent off by OTLP over HTTP; needs the extra ``otel``.

The standard environment variables steer it, and the SDK reads them itself: endpoint and headers,
sampler, batches, the name of the service. Whether it is on at all is decided by ``ops.tracing``.
A call that is not sampled has no trace, and nothing more is done for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flight_server.telemetry.current import Attribute

_NANOSECONDS = 1_000_000_000
# A collector that is away must not hold up the end of the server.
_FLUSH_SECONDS_MAX = 2.0


class OpenTelemetryTrace:
    """Implements ``telemetry.current.Trace``. ``offset`` turns monotonic seconds into the time."""

    __slots__ = ("_offset", "_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span, *, offset: float) -> None:
        self._tracer = tracer
        self._span = span
        self._offset = offset

    @property
    def trace_id(self) -> str:
        """The id of the whole trace in 32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def child(
        self, name: str, *, start: float, end: float, attributes: Mapping[str, Attribute]
    ) -> OpenTelemetryTrace:
        """Add a span that is over already below this one, and return it."""
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(self._span),
            attributes=attributes,
            start_time=self._time(start),
        )
        span.end(self._time(end))
        return OpenTelemetryTrace(self._tracer, span, offset=self._offset)

    def describe(self, attributes: Mapping[str, Attribute]) -> None:
        """Say more of what it is."""
        self._span.set_attributes(attributes)

    def end(self, at: float, *, error: str | None = None) -> None:
        """Send it off; ``error`` names what the server failed by."""
        if error is not None:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, error))
        self._span.end(self._time(at))

    def _time(self, monotonic: float) -> int:
        return int((monotonic + self._offset) * _NANOSECONDS)


class Tracing:
    """Starts the traces of a server. ``offset`` says what to add to monotonic seconds now."""

    def __init__(self, *, version: str, offset: Callable[[], float]) -> None:
        # What the environment says of the service wins over what we call ourselves.
        ours = Resource({"service.name": "lakeflight", "service.version": version})
        resource = Resource.get_empty().merge(ours).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("lakeflight", version)
        self._propagator = TraceContextTextMapPropagator()
        self._offset = offset

    def start(
        self,
        name: str,
        *,
        start: float,
        parent: Mapping[str, str],
        attributes: Mapping[str, Attribute],
    ) -> OpenTelemetryTrace | None:
        """Return the trace of a call that starts now; None when it is not sampled.

        ``parent`` are the W3C headers that came with the call; what is wrong in them is ignored.
        """
        offset = self._offset()
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract(dict(parent)),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
            start_time=int((start + offset) * _NANOSECONDS),
        )
        if not span.is_recording():
            return None
        return OpenTelemetryTrace(self._tracer, span, offset=offset)

    def close(self) -> None:
        """Send off what is left, for a moment; safe to call again."""
        # The library's own time limits do not cover a collector that never answers.
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_FLUSH_SECONDS_MAX)
