from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest
from flight_server.sql.names import (
    VERSION_MAX,
    AsOf,
    parse_time,
    parse_version,
    parse_versioned_name,
    versioned_name,
)

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-01T12:00:00Z",
        "2026-02-01 12:00:00",
        "2026-02-01T12:00",
        "2026-02-01t12:00:00z",
        "2026-02-01T13:00:00+01:00",
        "2026-02-01 07:30:00.000-04:30",
        "2026-02-01T12:00:00.000000000Z",
        " 2026-02-01T12:00:00+00 ",
    ],
)
def test_one_moment_in_many_spellings(text: str) -> None:
    assert parse_time(text) == AsOf(time=NOON)


def test_a_date_is_its_midnight() -> None:
    assert parse_time("2026-02-01") == AsOf(time=NOON - timedelta(hours=12))


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026", "2026-13-01", "2026-02-30", "20260201", "2026-02-01T25:00", "9999999"],
)
def test_no_moments(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_time(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "²", "9" * 30, str(VERSION_MAX + 1)])
def test_no_versions(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_version(text)


@given(st.text(min_size=1), st.integers(0, VERSION_MAX))
def test_a_versioned_name_is_read_back(name: str, version: int) -> None:
    as_of = AsOf(version=version)
    assert parse_versioned_name(versioned_name(name, as_of)) == (name, as_of)


@given(st.text(min_size=1), st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001  hypothesis wants naive bounds
def test_a_name_at_a_time_is_read_back(name: str, moment: datetime) -> None:
    as_of = AsOf(time=moment.replace(tzinfo=UTC))
    assert parse_versioned_name(versioned_name(name, as_of)) == (name, as_of)


@pytest.mark.parametrize("name", ["t", "t@", "t@v", "@v5", "user@example", "t@5", "a@version"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert parse_versioned_name(name) == (name, None)


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        parse_versioned_name("t@2026-02-31")
