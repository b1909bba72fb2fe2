from __future__ import annotations

import json
import logging

import pytest

from flight_server.engine.worker_log import RECORDS_MAX, LogBuffer, relay


def record(text: str, name: str = "flight_server.storage.log") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, text, None, None)


def test_what_a_worker_logs_is_logged_by_the_gateway(caplog: pytest.LogCaptureFixture) -> None:
    buffer = LogBuffer()
    buffer.handle(record("a 100% odd file"))
    (payload,) = buffer.take()
    assert buffer.take() == []
    relay(payload, pid=7)
    (relayed,) = caplog.records
    assert (relayed.name, relayed.levelname) == ("flight_server.storage.log", "WARNING")
    assert relayed.getMessage() == "a 100% odd file"
    assert relayed.__dict__["worker_pid"] == 7


def test_the_traceback_comes_along() -> None:
    buffer = LogBuffer()
    try:
        raise ValueError("why")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
        buffer.handle(made)
    assert "ValueError: why" in json.loads(buffer.take()[0])[2]


def test_there_is_an_end_to_it() -> None:
    buffer = LogBuffer()
    for number in range(RECORDS_MAX + 5):
        buffer.handle(record(f"{number} " + "x" * 100_000))
    kept = buffer.take()
    assert len(kept) == RECORDS_MAX
    assert json.loads(kept[0])[2].startswith("5 ")
    assert max(map(len, kept)) < 10_000
