"""The bounded memory."""

from __future__ import annotations

from flight_server.storage.recent import Recent


def test_the_least_recently_used_goes_first() -> None:
    recent = Recent[str, int](lambda value: value, entries_max=2, weight_max=100)
    recent.put("a", 1)
    recent.put("b", 1)
    assert recent.get("a") == 1
    recent.put("c", 1)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 1)


def test_weight_counts_and_the_newest_stays() -> None:
    recent = Recent[str, int](lambda value: value, entries_max=10, weight_max=10)
    recent.put("a", 6)
    recent.put("b", 6)
    assert (recent.get("a"), recent.get("b")) == (None, 6)
    recent.put("b", 3)
    recent.put("c", 7)
    assert (recent.get("b"), recent.get("c")) == (3, 7)
    recent.put("d", 99)
    assert (len(recent), recent.get("d")) == (1, 99)


def test_the_first_to_ask_makes_it() -> None:
    recent = Recent[str, int](lambda value: 0, entries_max=2, weight_max=2)
    assert recent.get_or_make("a", lambda: 1) == 1
    assert recent.get_or_make("a", lambda: 2) == 1
