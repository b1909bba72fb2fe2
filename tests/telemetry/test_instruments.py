from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from flight_server.telemetry.instruments import OTHER, SERIES_MAX, Counts, Times


def test_counts_add_up_by_label() -> None:
    counts = Counts("x_total", "", ("a",))
    counts.add(("one",))
    counts.add(("one",), 2)
    counts.add(("two",), 0.5)
    assert counts.samples() == {("one",): 3, ("two",): 0.5}


def test_a_counter_without_labels_starts_at_zero() -> None:
    assert Counts("x_total", "").samples() == {(): 0}
    assert Times("x", "").samples()[()].total == 0


def test_series_are_bounded() -> None:
    counts, times = Counts("x_total", "", ("a",)), Times("x", "", ("a",))
    for i in range(SERIES_MAX + 50):
        counts.add((str(i),))
        times.observe(1.0, (str(i),))
    assert len(counts.samples()) == len(times.samples()) == SERIES_MAX + 1
    assert counts.samples()[(OTHER,)] == 50
    assert sum(times.samples()[(OTHER,)].counts) == 50


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_histogram_puts_each_duration_below_its_bound(seconds: list[float]) -> None:
    times = Times("x", "", bounds=(0.1, 1.0, 10.0))
    for each in seconds:
        times.observe(each)
    seen = times.samples()[()]
    assert sum(seen.counts) == len(seconds)
    so_far = 0
    for bound, count in zip(times.bounds, seen.counts, strict=False):
        so_far += count
        assert so_far == sum(each <= bound for each in seconds)


def test_many_threads_lose_nothing() -> None:
    counts, times = Counts("x_total", "", ("a",)), Times("x", "")

    def work() -> None:
        for _ in range(2000):
            counts.add(("a",))
            times.observe(0.5)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.samples() == {("a",): 16_000}
    assert sum(times.samples()[()].counts) == 16_000
