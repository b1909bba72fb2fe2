from __future__ import annotations

import logging
import sys

import pytest

from flight_server.clock import SystemClock
from flight_server.ops.tracing import is_wanted, open_traces

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_environment_decides(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) is wanted


def test_nothing_is_opened_when_nobody_asks() -> None:
    assert open_traces({}, SystemClock()) is None


def test_a_missing_extra_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "flight_server.telemetry.tracing", None)
    with caplog.at_level(logging.WARNING):
        assert open_traces(ENDPOINT, SystemClock()) is None
    assert "lakeflight[otel]" in caplog.text


def test_another_protocol_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened = open_traces({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, SystemClock())
    assert opened is None
    assert "http/protobuf only" in caplog.text
