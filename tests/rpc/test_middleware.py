"""What marks a connection: cookies of all spellings, tokens, and the peer."""

from __future__ import annotations

import pytest

from flight_server.rpc.middleware import Marks, _cookie

COOKIE = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "headers",
    [
        [f"lakeflight_session={COOKIE}"],
        [f'lakeflight_session="{COOKIE}"'],
        [f'$Version=1; lakeflight_session="{COOKIE}";$Path="/"'],
        [f"other=1; lakeflight_session={COOKIE}; more=2"],
        ["other=1", f"lakeflight_session={COOKIE}"],
        [f"lakeflight_session=; lakeflight_session={COOKIE}"],
    ],
)
def test_our_cookie_is_found(headers: list[str | bytes]) -> None:
    assert _cookie({"cookie": headers}) == COOKIE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "lakeflight_session=",
        "lakeflight_session=short",
        f"lakeflight_session={COOKIE}0",
        f"lakeflight_session={COOKIE.upper()}",
        f"my_lakeflight_session={COOKIE}",
        f"other={COOKIE}",
    ],
)
def test_anything_else_is_no_cookie_of_ours(header: str) -> None:
    assert _cookie({"cookie": [header]}) is None
    assert _cookie({}) is None


def test_the_order_of_the_marks() -> None:
    assert Marks("c", None, "t", None).keys("u", "p") == (("cookie", "u", "c"),)
    assert Marks(None, "n", "t", None).keys("u", "p") == (("token", "u", "t"),)
    assert Marks(None, "n", None, "f").keys("u", "p") == (
        ("peer", "u", "p"),
        ("cookie", "u", "n"),
        ("token", "u", "f"),
    )
