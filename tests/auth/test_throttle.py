"""Failed sign-ins: who must wait, for how long, and that nobody is kept out by others for good."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.auth.throttle import WIDTH, Throttle, ThrottleRules
from flight_server.errors import LimitExceeded, Unauthenticated, Unavailable
from flight_server.storage.counters import Counters
from tests.clocks import StandingClock
from tests.servers import wait_until

KEY = b"k" * 32
RULES = ThrottleRules(failures_max=3, failures_per_address_max=10, failure_seconds_max=100)
HOME, AWAY, BAD = "192.0.2.1", "198.51.100.7", "203.0.113.9"


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def throttle_of(
    clock: StandingClock, path: Path | None = None, rules: ThrottleRules = RULES
) -> Throttle:
    counters = Counters(path, key=KEY, width=WIDTH, slots=256, clock=clock)
    return Throttle(counters, rules, clock=clock)


@pytest.fixture
def throttle(clock: StandingClock) -> Throttle:
    return throttle_of(clock)


def guess(throttle: Throttle, name: str = "ada", address: str | None = None) -> float:
    """Guess wrong; return for how many seconds the guess was refused, 0 when it was looked at."""
    try:
        with throttle.attempt(name, address):
            raise Unauthenticated("wrong")
    except Unauthenticated:
        return 0.0
    except LimitExceeded as error:
        return error.retry_after_seconds or -1.0


def know(throttle: Throttle, name: str = "ada", address: str | None = None) -> float:
    """Sign in with the right password; return as ``guess`` does."""
    try:
        with throttle.attempt(name, address):
            return 0.0
    except LimitExceeded as error:
        return error.retry_after_seconds or -1.0


def test_waits_double_up_to_their_bound(throttle: Throttle, clock: StandingClock) -> None:
    assert [guess(throttle) for _ in range(3)] == [0, 0, 0]
    waits = []
    for _ in range(9):
        wait = guess(throttle)
        waits.append(wait)
        clock.advance(wait - 0.001)
        assert guess(throttle) == 0.001  # and this costs nothing
        clock.advance(0.001)
        if wait < RULES.failure_seconds_max:
            assert guess(throttle) == 0
        else:
            break
    assert waits == [1, 2, 4, 8, 16, 32, 64, 100]
    # No failure for so long: all are forgotten.
    assert [guess(throttle) for _ in range(4)] == [0, 0, 0, 1]


def test_the_answer_names_the_setting_and_nothing_else(throttle: Throttle) -> None:
    for _ in range(3):
        guess(throttle, "ada")
    with pytest.raises(LimitExceeded) as caught, throttle.attempt("ADA", None):
        pass
    assert caught.value.message == (
        "too many failed sign-ins: the next one may be tried in 1 seconds; limit=auth.failures_max"
    )
    assert guess(throttle, "bob") == 0


def test_failures_are_forgotten(throttle: Throttle, clock: StandingClock) -> None:
    guess(throttle)
    guess(throttle)
    clock.advance(100)
    assert [guess(throttle) for _ in range(4)] == [0, 0, 0, 1]


def test_a_success_clears_the_account(throttle: Throttle, clock: StandingClock) -> None:
    for _ in range(3):
        guess(throttle)
    clock.advance(1)
    assert know(throttle) == 0
    assert [guess(throttle) for _ in range(4)] == [0, 0, 0, 1]


def test_other_errors_count_for_nothing(throttle: Throttle, clock: StandingClock) -> None:
    for _ in range(3):
        guess(throttle)
    clock.advance(1.5)
    for _ in range(20):
        with pytest.raises(Unavailable), throttle.attempt("ada", HOME):
            raise Unavailable("away")
    assert guess(throttle) == 0
    assert guess(throttle) == 2


def test_an_address_waits_whatever_the_names(throttle: Throttle, clock: StandingClock) -> None:
    assert [guess(throttle, f"n{number}", BAD) for number in range(10)] == [0] * 10
    assert guess(throttle, "another", BAD) == 1
    assert guess(throttle, "another", HOME) == 0
    clock.advance(1)
    # A success, with an account of one's own, clears the account alone.
    assert know(throttle, "mallory", BAD) == 0
    assert guess(throttle, "another", BAD) == 0
    assert guess(throttle, "another", BAD) == 2


def test_the_count_of_a_refused_lane_costs_the_other_nothing(throttle: Throttle) -> None:
    for _ in range(3):
        guess(throttle, "ada", BAD)
    for _ in range(50):
        assert guess(throttle, "ada", BAD) == 1
    assert [guess(throttle, f"n{number}", BAD) for number in range(7)] == [0] * 7
    assert guess(throttle, "n7", BAD) == 1


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("no address", "no address", True),
    ],
)
def test_an_address_is_that_of_a_subscriber(
    throttle: Throttle, one: str, other: str, are_same: bool
) -> None:
    for number in range(10):
        guess(throttle, f"n{number}", one)
    assert bool(guess(throttle, "n", other)) is are_same


def test_nobody_is_kept_out_of_where_they_signed_in_before(
    throttle: Throttle, clock: StandingClock
) -> None:
    assert know(throttle, "ada", HOME) == 0
    for _ in range(60):
        wait = guess(throttle, "ada", BAD)
        clock.advance(wait)
        for number in range(3):
            guess(throttle, f"n{number}", HOME)
        assert know(throttle, "ada", HOME) == 0
    while guess(throttle, "ada") == 0:
        pass
    assert know(throttle, "ada", AWAY) > 0
    # It is a count of its own, not none; and what is right at home does not help who is elsewhere.
    assert [guess(throttle, "ada", HOME) for _ in range(4)] == [0, 0, 0, 1]


def test_a_known_address_is_forgotten(throttle: Throttle, clock: StandingClock) -> None:
    know(throttle, "ada", HOME)
    clock.advance(30 * 86_400)
    for _ in range(3):
        guess(throttle, "ada")
    assert know(throttle, "ada", HOME) == 1


def test_counts_survive_a_restart_and_a_kill(tmp_path: Path, clock: StandingClock) -> None:
    first = throttle_of(clock, tmp_path / "c")
    know(first, "eve", HOME)
    guess(first)
    guess(first)
    # An attempt whose outcome nobody learned counts as failed.
    cut_off = first.attempt("ada", None)
    cut_off.__enter__()
    first._counters.close()
    again = throttle_of(clock, tmp_path / "c")
    assert guess(again) == 1
    for _ in range(4):
        guess(again, "eve")
    assert know(again, "eve", HOME) == 0
    again._counters.close()
    with suppress(ValueError):  # the file is closed
        cut_off.__exit__(None, None, None)


def test_a_hundred_guesses_at_once_are_three_tries(clock: StandingClock) -> None:
    throttle = throttle_of(clock)
    tried: list[int] = []
    refused: list[float] = []
    start = threading.Barrier(101)

    def one() -> None:
        start.wait()
        try:
            with throttle.attempt("ada", BAD):
                tried.append(1)
                raise Unauthenticated("wrong")
        except Unauthenticated:
            pass
        except LimitExceeded as error:
            refused.append(error.retry_after_seconds or 0)

    threads = [threading.Thread(target=one) for _ in range(100)]
    for thread in threads:
        thread.start()
    start.wait()
    for thread in threads:
        thread.join()
    assert len(tried) == 3
    assert refused == [1.0] * 97


def test_a_hundred_sign_ins_at_once_that_are_right_are_all_let_in(clock: StandingClock) -> None:
    throttle = throttle_of(clock)
    at_once: list[int] = []
    inside = [0]
    lock = threading.Lock()
    outcomes: list[float] = []

    def one() -> None:
        try:
            with throttle.attempt("ada", HOME):
                with lock:
                    inside[0] += 1
                    at_once.append(inside[0])
                with lock:
                    inside[0] -= 1
            outcomes.append(0)
        except LimitExceeded:
            outcomes.append(1)

    threads = [threading.Thread(target=one) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [0] * 100
    assert max(at_once) <= 3
    assert throttle._pending == {}


class Attempt:
    """An attempt in a thread of its own, which ends when it is told to."""

    def __init__(self, throttle: Throttle, outcome: BaseException | None = None) -> None:
        self.is_in, self._end = threading.Event(), threading.Event()
        self.refused: LimitExceeded | None = None
        self._throttle, self._outcome = throttle, outcome
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._throttle.attempt("ada", None):
                self.is_in.set()
                assert self._end.wait(10)
                if self._outcome is not None:
                    raise self._outcome
        except Unauthenticated:
            pass
        except LimitExceeded as error:
            self.refused = error

    def end(self) -> None:
        self._end.set()
        self._thread.join()


def waiting(throttle: Throttle, count: int) -> bool:
    with throttle._settled:
        return len(throttle._settled._waiters) == count  # type: ignore[attr-defined]  # no public way


def test_what_becomes_of_the_first_decides_about_those_that_wait(throttle: Throttle) -> None:
    first = [Attempt(throttle), *(Attempt(throttle, Unauthenticated("wrong")) for _ in range(2))]
    assert all(attempt.is_in.wait(10) for attempt in first)
    later = [Attempt(throttle) for _ in range(3)]
    wait_until(lambda: waiting(throttle, 3), what="three that wait")
    assert not any(attempt.is_in.is_set() for attempt in later)
    first[0].end()  # it was right: the account's count is that of the two that are on their way
    wait_until(lambda: waiting(throttle, 2), what="one that was let in")
    assert sum(attempt.is_in.is_set() for attempt in later) == 1
    first[1].end()
    first[2].end()
    for attempt in sorted(later, key=lambda attempt: not attempt.is_in.is_set()):
        attempt.end()
    assert [attempt.refused for attempt in later] == [None] * 3


def test_those_that_wait_are_refused_when_the_others_were_wrong(throttle: Throttle) -> None:
    first = [Attempt(throttle, Unauthenticated("wrong")) for _ in range(3)]
    assert all(attempt.is_in.wait(10) for attempt in first)
    later = Attempt(throttle)
    wait_until(lambda: waiting(throttle, 1), what="one that waits")
    for attempt in first:
        attempt.end()
    later.end()
    assert later.refused is not None
    assert later.refused.retry_after_seconds == 1.0


def test_who_waits_too_long_for_others_is_refused(clock: StandingClock) -> None:
    impatient = ThrottleRules(failures_max=1, wait_seconds_max=0.05)
    throttle = throttle_of(clock, rules=impatient)
    with throttle.attempt("ada", None):
        with pytest.raises(LimitExceeded) as caught, throttle.attempt("ada", None):
            pass
        assert caught.value.retry_after_seconds == 1.0
    assert know(throttle) == 0


@given(
    events=st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0, 3.0, 40.0, 120.0])), max_size=80
    )
)
def test_guesses_are_bounded_in_any_time(events: list[tuple[bool, float]]) -> None:
    clock = StandingClock()
    throttle = throttle_of(clock)
    tries: list[float] = []
    for is_right, pause in events:
        clock.advance(pause)
        if is_right and not tries:
            know(throttle)
        elif guess(throttle) == 0:
            tries.append(clock.monotonic())
    for first in range(len(tries) - 4):
        # The fifth of any five tries in a row came after a wait, if none was forgotten.
        gaps = [
            late - early for early, late in zip(tries[first:], tries[first + 1 :], strict=False)
        ]
        if max(gaps[:4]) < RULES.failure_seconds_max:
            assert tries[first + 4] - tries[first] >= 1


def test_damage_keeps_nobody_waiting_for_long(clock: StandingClock, throttle: Throttle) -> None:
    now = throttle._counters.now()
    for word in (2**64 - 1, (now + 10**9) << 16 | 50, now << 16 | 65_535):
        throttle._counters.change("account ada", lambda _, w=word: (((0, w),), now + 1), now=now)  # type: ignore[misc]  # bound now
        assert 0 <= guess(throttle) <= RULES.failure_seconds_max
