"""Keys that are fetched, kept, renewed, and used while their issuer is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flight_server import errors
from flight_server.auth import issuer_keys as module
from flight_server.auth.issuer_keys import REFETCH_SECONDS_MIN, IssuerKeys
from flight_server.auth.key_sets import KeySet
from flight_server.auth.keys import Key
from tests.auth import forging
from tests.clocks import StandingClock
from tests.servers import wait_until

FIRST = Key.of_pair(forging.ed_key(1).public_key(), kid="first")
SECOND = Key.of_pair(forging.ed_key(2).public_key(), kid="second")
FRESH, OFFLINE = 100.0, 1000.0


class Source:
    """Where keys come from, or not; ``gate`` holds a fetch up until it is set."""

    def __init__(self, *keys: Key) -> None:
        self.keys: tuple[Key, ...] | Exception = keys
        self.fetches = 0
        self.gate = threading.Event()
        self.gate.set()

    def load(self) -> KeySet:
        self.fetches += 1
        self.gate.wait(30)
        if isinstance(self.keys, Exception):
            raise self.keys
        return {(key.kid, key.algorithm): key for key in self.keys}


AWAY = errors.Unavailable("it is away")


def make(source: Source, clock: StandingClock, *, offline: float = OFFLINE) -> IssuerKeys:
    return IssuerKeys(
        "company", source.load, seconds_max=FRESH, offline_seconds_max=offline, clock=clock
    )


def find(keys: IssuerKeys, kid: str) -> Key:
    return keys.find(kid, "EdDSA")


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(errors.Unauthenticated):
        yield


@contextmanager
def unavailable() -> Iterator[None]:
    with pytest.raises(errors.Unavailable) as caught:
        yield
    assert caught.value.retry_after_seconds


def settled(keys: IssuerKeys) -> None:
    wait_until(lambda: not keys._is_fetching)


def test_keys_are_fetched_once_while_they_are_fresh() -> None:
    source, clock = Source(FIRST), StandingClock()
    keys = make(source, clock)
    for _ in range(99):
        assert find(keys, "first") is FIRST
        clock.advance(1)
    assert source.fetches == 1


def test_another_algorithm_is_another_key() -> None:
    keys = make(Source(FIRST), StandingClock())
    with refused():
        keys.find("first", "RS256")
    with refused():
        keys.find(None, "EdDSA")


def test_old_keys_are_renewed_before_they_are_used() -> None:
    source, clock = Source(FIRST), StandingClock()
    keys = make(source, clock)
    find(keys, "first")
    source.keys = (SECOND,)
    clock.advance(FRESH)
    with refused():
        find(keys, "first")
    assert find(keys, "second") is SECOND
    assert source.fetches == 2


def test_the_same_key_stays_the_same_object() -> None:
    source, clock = Source(FIRST), StandingClock()
    keys = make(source, clock)
    find(keys, "first")
    source.keys = (Key.of_pair(forging.ed_key(1).public_key(), kid="first"),)
    clock.advance(FRESH)
    assert find(keys, "first") is FIRST


def test_an_issuer_that_is_away_is_asked_again_now_and_then_and_nobody_waits() -> None:
    source, clock = Source(FIRST), StandingClock()
    keys = make(source, clock)
    find(keys, "first")
    source.keys = AWAY
    clock.advance(FRESH)
    for _ in range(5):
        for _ in range(10):
            assert find(keys, "first") is FIRST
        settled(keys)
        clock.advance(REFETCH_SECONDS_MIN)
    assert source.fetches == 6
    clock.advance(OFFLINE - FRESH - 5 * REFETCH_SECONDS_MIN)
    with unavailable():
        find(keys, "first")
    source.keys = (FIRST, SECOND)
    with unavailable():  # asked a moment ago
        find(keys, "first")
    clock.advance(REFETCH_SECONDS_MIN)
    assert find(keys, "first") is FIRST


def test_no_time_offline_means_none() -> None:
    source, clock = Source(FIRST), StandingClock()
    keys = make(source, clock, offline=0)
    find(keys, "first")
    source.keys = AWAY
    clock.advance(FRESH - 1)
    find(keys, "first")
    clock.advance(1)
    with unavailable():
        find(keys, "first")


def test_without_any_keys_nothing_can_be_told() -> None:
    source, clock = Source(), StandingClock()
    source.keys = AWAY
    keys = make(source, clock)
    for _ in range(10):
        with unavailable():
            find(keys, "first")
    assert source.fetches == 1
    source.keys = (FIRST,)
    clock.advance(REFETCH_SECONDS_MIN)
    find(keys, "first")


def test_a_fault_of_our_own_does_not_end_the_fetching(caplog: pytest.LogCaptureFixture) -> None:
    source, clock = Source(), StandingClock()
    source.keys = ZeroDivisionError()
    keys = make(source, clock)
    with caplog.at_level(logging.WARNING), unavailable():
        find(keys, "first")
    assert "company" in caplog.text
    source.keys = (FIRST,)
    clock.advance(REFETCH_SECONDS_MIN)
    find(keys, "first")


def test_who_has_a_known_key_does_not_wait_for_an_issuer_that_hangs() -> None:
    source, clock = Source(FIRST), StandingClock()
    keys = make(source, clock)
    find(keys, "first")
    source.gate.clear()
    clock.advance(FRESH)
    starter = threading.Thread(target=find, args=(keys, "first"))
    starter.start()
    wait_until(lambda: source.fetches == 2)
    start = time.monotonic()
    assert find(keys, "first") is FIRST
    assert time.monotonic() - start < 1
    source.gate.set()
    starter.join()


def test_waiting_is_bounded_in_time_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS_MAX", 0.2)
    monkeypatch.setattr(module, "WAITING_MAX", 4)
    source, clock = Source(FIRST), StandingClock()
    source.gate.clear()
    keys, ends = make(source, clock), []

    def call() -> None:
        with pytest.raises(errors.Unavailable) as caught:
            find(keys, "first")
        ends.append(caught.value.message)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("too many wait" in each for each in ends) == 16
    assert source.fetches == 1
    source.gate.set()
    settled(keys)
    assert find(keys, "first") is FIRST


def test_fetching_ahead_does_not_wait() -> None:
    source = Source(FIRST)
    source.gate.clear()
    keys = make(source, StandingClock())
    keys.prefetch()
    source.gate.set()
    settled(keys)
    find(keys, "first")
    assert source.fetches == 1
