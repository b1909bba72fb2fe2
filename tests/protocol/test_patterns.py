from __future__ import annotations

from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flight_server.protocol.patterns import equals, like

ALPHABET = st.text("ab%_\\\n.*[", max_size=8)


def naive(pattern: str, text: str) -> bool:
    """The definition, by recursion."""
    if not pattern:
        return not text
    first, rest = pattern[0], pattern[1:]
    if first == "%":
        return any(naive(rest, text[start:]) for start in range(len(text) + 1))
    if first == "_":
        return bool(text) and naive(rest, text[1:])
    if first == "\\" and rest:
        first, rest = rest[0], rest[1:]
    return text[:1] == first and naive(rest, text[1:])


@given(ALPHABET, ALPHABET)
@example("%a%b%", "ab")
@example("\\", "\\")
@example("a\\%", "a%")
@example("", "")
def test_it_agrees_with_the_definition(pattern: str, text: str) -> None:
    assert like(pattern)(text) == naive(pattern, text)


@given(st.text(max_size=6))
def test_a_text_with_its_wildcards_escaped_matches_itself(text: str) -> None:
    escaped = "".join(f"\\{character}" if character in "%_\\" else character for character in text)
    assert like(escaped)(text)
    assert like("%")(text)
    assert like(None)(text)
    assert like("_" * len(text))(text)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("orders", "orders", True),
        ("orders", "ORDERS", False),
        ("a.c", "abc", False),
        ("a%", "a\nb", True),
        ("a_b", "a\nb", True),
        ("", None, True),
        ("", "public", False),
        ("%", None, True),
        (None, None, True),
        ("ü_", "üß", True),
    ],
)
def test_cases(pattern: str | None, name: str | None, *, expected: bool) -> None:
    assert like(pattern)(name) is expected


def test_catalogs_are_compared_whole() -> None:
    assert equals(None)("a")
    assert equals("a")("a")
    assert not equals("%")("a")
    assert equals("")(None)
    assert not equals("")("a")


def test_no_pattern_is_slow() -> None:
    start = process_time()
    assert not like("%a" * 400 + "%b")("a" * 4_000)
    assert not like("%" + "_a" * 500 + "%b")("a" * 4_000)
    assert not like("SELECT '%_x'\n" * 100_000)("orders")
    assert like("%" * 100_000 + "s")("orders")
    assert process_time() - start < 2
