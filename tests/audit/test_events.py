from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.audit.columns import SCHEMA, parse
from flight_server.audit.events import (
    GENESIS_HASH,
    HASHED_COLUMNS,
    RECORD_BYTES_MAX,
    Event,
    Outcome,
    encode,
    hash_of,
    line_of,
)
from flight_server.errors import InvalidRequest
from tests.audit.logs import TIME, as_hashed, event

ANY_TEXT = st.text(st.characters(codec=None), max_size=30)
TEXT = st.none() | ANY_TEXT
NUMBER = st.none() | st.integers(0, 2**63 - 1)
SECONDS = st.none() | st.floats(0, 1e12)
DETAIL = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | ANY_TEXT
EVENTS = st.builds(
    Event,
    timestamp=st.datetimes(
        datetime(1970, 1, 2),  # noqa: DTZ001  the strategy adds the zone
        datetime(2200, 1, 1),  # noqa: DTZ001  likewise
        timezones=st.just(UTC),
    ),
    action=ANY_TEXT,
    outcome=st.sampled_from(Outcome),
    request_id=ANY_TEXT,
    user_id=TEXT,
    username=TEXT,
    session_id=TEXT,
    resource=TEXT,
    purpose=TEXT,
    details=st.dictionaries(ANY_TEXT, DETAIL, max_size=3),
    row_count=NUMBER,
    byte_count=NUMBER,
    engine_ms=SECONDS,
    duration_ms=SECONDS,
    table_versions=st.dictionaries(ANY_TEXT, NUMBER, max_size=3),
    policy_version=TEXT,
    ip_address=TEXT,
    user_agent=TEXT,
)


def encoded(subject: Event) -> bytes:
    return encode(subject, sequence=1, audit_id="a", prev_hash=GENESIS_HASH)


def test_the_canonical_form_is_what_the_documentation_says() -> None:
    subject = Event(
        timestamp=datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))),
        action="query.run",
        outcome=Outcome.SUCCESS,
        request_id="r",
        username="Zoë",
        details={"b": 1, "a": "x"},
        duration_ms=1.25,
        table_versions={"lake.s.t": 3},
    )
    expected = (
        '{"action":"query.run","audit_id":"a","byte_count":null,"date_partition":"2026-02-28",'
        '"details":"{\\"b\\":1,\\"a\\":\\"x\\"}","duration_ms":1.25,"engine_ms":null,'
        '"ip_address":null,"outcome":"success","policy_version":null,"prev_hash":"'
        + "0"
        * 64
        + '","purpose":null,"request_id":"r","resource":null,"row_count":null,"sequence":1,'
        '"session_id":null,"table_versions":"{\\"lake.s.t\\":3}",'
        '"timestamp":"2026-02-28T23:30:00.000000Z","user_agent":null,"user_id":null,'
        '"username":"Zo\\u00eb"}'
    )
    assert encoded(subject).decode() == expected
    assert hash_of(encoded(subject)) == hashlib.sha256(expected.encode()).hexdigest()


def test_the_columns_are_those_of_the_table() -> None:
    assert {*HASHED_COLUMNS, "hash"} == set(SCHEMA.names)
    assert list(HASHED_COLUMNS) == sorted(HASHED_COLUMNS)


@given(EVENTS)
def test_what_the_table_holds_gives_the_same_hash(subject: Event) -> None:
    content = encoded(subject)
    line = line_of(content, hash_of(content))
    assert b"\0" not in line
    assert line.count(b"\n") == 1
    rows: list[dict[str, Any]] = parse(line).to_pylist()
    assert len(rows) == 1
    again = json.dumps(as_hashed(rows[0]), separators=(",", ":")).encode()
    assert hash_of(again) == rows[0]["hash"] == hash_of(content)


@given(EVENTS)
def test_an_event_survives_the_spool(subject: Event) -> None:
    again = Event.from_json(json.loads(json.dumps(subject.to_json())))
    assert encoded(again) == encoded(subject)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_agent": "🎈" * 100_000},
        {"details": {str(n): "🎈" * 4000 for n in range(100)}},
        {"table_versions": {f"lake.s.t{n}": n for n in range(100_000)}},
        dict.fromkeys(("action", "resource", "user_id", "username", "purpose"), "\0" * 5000),
    ],
)
def test_no_record_is_longer_than_it_may_be(fields: dict[str, Any]) -> None:
    content = encoded(event(**fields))
    assert len(content) <= RECORD_BYTES_MAX
    assert parse(line_of(content, hash_of(content))).num_rows == 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {**event().to_json(), "outcome": "perhaps"},
        {**event().to_json(), "timestamp": "yesterday"},
        {**event().to_json(), "action": 5},
        {**event().to_json(), "details": "none"},
        {**event().to_json(), "row_count": "many"},
    ],
)
def test_what_is_no_event(value: object) -> None:
    with pytest.raises(InvalidRequest):
        Event.from_json(value)


def test_a_time_is_kept_to_the_microsecond_in_utc() -> None:
    content = json.loads(encoded(event(at=TIME.replace(microsecond=7))))
    assert content["timestamp"] == "2026-03-01T12:00:00.000007Z"
    assert content["date_partition"] == "2026-03-01"
