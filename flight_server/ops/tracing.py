"""Whether traces are sent, and where to: decided by the standard variables of OpenTelemetry."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from flight_server.clock import Clock

if TYPE_CHECKING:
    from flight_server.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)

PROTOCOL = "http/protobuf"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces: it names where to, and nothing says no."""
    has_endpoint = any(environment.get(name) for name in _ENDPOINTS)
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    return has_endpoint and not is_disabled and exporter.strip() == "otlp"


def open_traces(environment: Mapping[str, str], clock: Clock) -> Tracing | None:
    """Return what sends traces, None when nobody asked for it or it cannot be done.

    A server without traces serves as well, so what is wrong is a warning in the log.
    """
    if not is_wanted(environment):
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        _log.warning("no traces are sent: OTLP is spoken over %s only, not %s", PROTOCOL, protocol)
        return None
    try:
        from flight_server.telemetry.tracing import Tracing  # noqa: PLC0415  only with the extra
    except ImportError:
        _log.warning("no traces are sent: install the extra, pip install 'lakeflight[otel]'")
        return None
    try:
        tracing = Tracing(
            version=version("lakeflight"),
            offset=lambda: clock.now().timestamp() - clock.monotonic(),
        )
    except Exception:  # noqa: BLE001  whatever the variables hold, the server itself must start
        _log.exception("no traces are sent: the variables of OpenTelemetry cannot be used")
        return None
    _log.info("traces are sent by OTLP")
    return tracing
