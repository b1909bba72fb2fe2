from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flight_server.sql.volatile import names_volatile, settled


@pytest.mark.parametrize(
    "text",
    ["random() < 0.5", "a = UUID()", 'b + "random" ()', "{fn rand()} > 1", "gen_random_uuid()"],
)
def test_functions_of_chance(text: str) -> None:
    assert names_volatile(text)


@pytest.mark.parametrize(
    "text", ["a = 1", "random > 1", "t.uuid = 'x'", "'random()'", "a /* rand() */", "now() > a", ""]
)
def test_what_is_settled(text: str) -> None:
    assert not names_volatile(text)


NOW = datetime(2026, 11, 21, 9, 0, 0, 5, tzinfo=UTC)


def test_the_time_is_written_in_the_place_of_what_asks_for_it() -> None:
    text = settled("DELETE FROM t WHERE at < now() AND day = current_date -- now()", NOW)
    assert text == (
        "DELETE FROM t WHERE at < arrow_cast('2026-11-21T09:00:00.000005+00:00',"
        " 'Timestamp(Nanosecond, Some(\"+00:00\"))') AND day = DATE '2026-11-21' -- now()"
    )
    assert "current_timestamp" not in settled("UPDATE t SET a = current_timestamp()", NOW)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET now = 1",
        "DELETE FROM t WHERE t.current_date = 'now()'",
        'DELETE FROM t WHERE "now"() > 1',
        "SELECT 1 AS today",
    ],
)
def test_names_that_only_look_like_the_time_stay(text: str) -> None:
    assert settled(text, NOW) == text
