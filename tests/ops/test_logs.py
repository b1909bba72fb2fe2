from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flight_server.ops import logs
from flight_server.ops.sections import LogFormat, LogLevel, LogSettings
from flight_server.telemetry import current
from flight_server.telemetry.current import CurrentCall

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.fixture
def start() -> Iterator[Callable[..., io.StringIO]]:
    root = logging.getLogger()
    before = (root.level, root.handlers[:], logging.getLogger("flight_server").level)

    current.enter(None)  # what other tests have left to this thread

    def configure(form: str = "text", level: str = "INFO", **more: Any) -> io.StringIO:
        stream = io.StringIO()
        settings = LogSettings(level=LogLevel(level), format=LogFormat(form))
        logs.configure(settings, stream=stream, **more)
        return stream

    yield configure
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.getLogger("flight_server").setLevel(before[2])


@pytest.mark.parametrize(
    "text",
    [
        f"authorization: Bearer {JWT}",
        "authorization: Basic YWRtaW46aHVudGVyMi1odW50ZXIy",
        f"token {JWT}",
        f"basic eyJ: {JWT.rsplit('.', 1)[0]}.",
        "lfp_hunter2hunter2",
        "lfr_hunter2hunter2",
        'password="hunter2 with spaces"',
        "'password': 'hunter2'",
        '{"password": "hunter2\\"hunter2"}',
        "db_password=hunter2",
        "LAKEFLIGHT_ADMIN__PASSWORD=hunter2",
        "aws_secret_access_key = hunter2",
        "s3://key:hunter2@host/x",
        "$argon2id$v=19$m=8,t=1,p=1$aHVudGVyMg$aHVudGVyMg",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    shown = logs.redact(f"before {text} after")
    for secret in ("hunter2", "aHVudGVyMg", "YWRtaW46", JWT[-12:], JWT[:20]):
        assert secret not in shown
    assert "before" in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    ["12 tokens left", "limit=auth.hashing_concurrent_max", "basic.py line 3", "SELECT 1"],
)
def test_innocent_text_is_left_alone(text: str) -> None:
    assert logs.redact(text) == text


def test_text_is_one_line_with_fields(start: Callable[..., io.StringIO]) -> None:
    stream = start()
    logging.getLogger("flight_server.x").info(
        "asked by %s", "a\n2026 ERROR forged\x1b[0m", extra={"request_id": "r1", "password": "pw"}
    )
    (line,) = stream.getvalue().splitlines()
    assert "INFO flight_server.x asked by a\\n2026 ERROR forged\\x1b[0m request_id=r1" in line
    assert line.endswith("password=***")


def test_json_is_one_object_a_line(start: Callable[..., io.StringIO]) -> None:
    stream = start("json")
    try:
        raise ValueError(f"Bearer {JWT}")
    except ValueError:
        logging.getLogger("flight_server").exception("failed", extra={"request_id": "r1", "n": 3})
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["request_id"], entry["n"]) == ("ERROR", "r1", 3)
    assert entry["time"].endswith("Z")
    assert "ValueError" in entry["traceback"]
    assert JWT not in stream.getvalue()


def test_configured_secrets_are_hidden_wherever_they_stand(
    start: Callable[..., io.StringIO],
) -> None:
    stream = start(secrets=("open sesame", "x"))
    logging.getLogger("flight_server").warning("it said: open sesame, xyz")
    assert stream.getvalue().rstrip().endswith("it said: ***, xyz")


def test_the_last_configuration_counts(start: Callable[..., io.StringIO]) -> None:
    first, second = start(), start(level="WARNING")
    logging.getLogger("flight_server").info("no")
    logging.getLogger("flight_server").warning("yes")
    logging.getLogger("elsewhere").info("no")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_a_record_of_a_call_says_which(start: Callable[..., io.StringIO]) -> None:
    stream = start("json")
    current.enter(CurrentCall("r7"))
    logging.getLogger("flight_server").info("during")
    logging.getLogger("flight_server").info("told", extra={"request_id": "r8"})
    current.enter(None)
    logging.getLogger("flight_server").info("after")
    during, told, after = map(json.loads, stream.getvalue().splitlines())
    assert during["request_id"] == "r7"
    assert told["request_id"] == "r8"
    assert "request_id" not in after
