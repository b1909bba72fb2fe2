from __future__ import annotations

import threading

import pytest

from flight_server.clock import SystemClock
from flight_server.errors import LimitExceeded
from flight_server.storage.turns import Turns


@pytest.fixture
def turns() -> Turns:
    return Turns(SystemClock())


def test_writers_and_one_rewrite_go_side_by_side(turns: Turns) -> None:
    with (
        turns.writing("t", seconds_max=0),
        turns.rewriting("t", seconds_max=0),
        turns.writing("t", seconds_max=0),
        turns.rewriting("other", seconds_max=0),
        pytest.raises(LimitExceeded, match="turn_seconds_max=0"),
        turns.rewriting("t", seconds_max=0),
    ):
        pass
    with turns.rewriting("t", seconds_max=0):
        pass


def test_a_vacuum_is_alone_with_its_table(turns: Turns) -> None:
    with turns.writing("t", seconds_max=0):
        with pytest.raises(LimitExceeded), turns.vacuuming("t", seconds_max=0.01):
            pass
        with turns.vacuuming("other", seconds_max=0):
            pass
    with turns.vacuuming("t", seconds_max=0):
        for turn in (turns.writing, turns.rewriting, turns.vacuuming):
            with pytest.raises(LimitExceeded), turn("t", seconds_max=0.01):
                pass
    with turns.writing("t", seconds_max=0):
        pass


def test_a_failure_ends_the_turn(turns: Turns) -> None:
    with pytest.raises(ZeroDivisionError), turns.vacuuming("t", seconds_max=0):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), turns.rewriting("t", seconds_max=0):
        raise ZeroDivisionError
    with turns.vacuuming("t", seconds_max=0):
        pass


def test_who_waits_gets_the_turn_when_it_ends(turns: Turns) -> None:
    got: list[int] = []

    def rewrite(number: int) -> None:
        with turns.rewriting("t", seconds_max=10):
            got.append(number)

    threads = [threading.Thread(target=rewrite, args=(n,)) for n in range(4)]
    with turns.rewriting("t", seconds_max=0):
        for thread in threads:
            thread.start()
        assert got == []
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 1, 2, 3]
