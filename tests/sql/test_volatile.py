from __future__ import annotations

import pytest

from flight_server.sql.volatile import names_volatile


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
