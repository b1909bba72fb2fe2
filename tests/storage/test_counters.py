"""Counters: equal to a dictionary, and to themselves after a kill, a restart, a damage."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.clock import SystemClock
from flight_server.storage.counters import (
    LIFE_MILLISECONDS_MAX,
    PROBES,
    Change,
    Counters,
    Rule,
    open_counters,
)
from tests.clocks import StandingClock
from tests.faults.disks import mounted

KEY = b"k" * 32
WIDTH, SLOTS = 3, 256
HOUR = 3_600_000


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@contextmanager
def opened(
    path: Path | None, clock: StandingClock, *, key: bytes = KEY, slots: int = SLOTS
) -> Iterator[Counters]:
    counters = Counters(path, key=key, width=WIDTH, slots=slots, clock=clock)
    try:
        yield counters
    finally:
        counters.close()


def added(index: int, *, until: int) -> Rule:
    """Return the rule that counts one more at an index."""
    return lambda values: (((index, values[index] + 1),), until)


def count(counters: Counters, name: str, *, times: int = 1, life: int = HOUR) -> None:
    for _ in range(times):
        now = counters.now()
        counters.change(name, added(0, until=now + life), now=now)


def values_of(counters: Counters, name: str) -> list[int]:
    seen: list[int] = []

    def look(values: Sequence[int]) -> None:
        seen.extend(values)

    counters.change(name, look, now=counters.now())
    return seen


# What is done: a name, an index and for how many seconds it matters; seconds that pass; or None,
# the file is closed and opened again.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.integers(0, WIDTH - 1), st.sampled_from([1, 9, 60])),
        st.sampled_from([1, 5, 30]),
        st.none(),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_it_is_a_dictionary_that_forgets_what_is_over(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int] | int | None]
) -> None:
    clock = StandingClock()
    path = tmp_path_factory.mktemp("counters") / "counters"
    model: dict[str, tuple[list[int], int]] = {}
    counters = Counters(path, key=KEY, width=WIDTH, slots=SLOTS, clock=clock)
    try:
        for step in steps:
            if step is None:
                counters.close()
                counters = Counters(path, key=KEY, width=WIDTH, slots=SLOTS, clock=clock)
            elif isinstance(step, int):
                clock.advance(step)
            else:
                name, index, seconds = step
                now = counters.now()
                counters.change(name, added(index, until=now + seconds * 1000), now=now)
                values, until = model.get(name, ([0] * WIDTH, 0))
                values = list(values) if now < until else [0] * WIDTH
                values[index] += 1
                model[name] = values, max(now + seconds * 1000, until if now < until else 0)
            for name in "abc":
                values, until = model.get(name, ([], 0))
                expected = values if counters.now() < until else [0] * WIDTH
                assert values_of(counters, name) == expected
    finally:
        counters.close()


def test_a_rule_that_fails_or_declines_changes_nothing(clock: StandingClock) -> None:
    def failing(values: Sequence[int]) -> Change:
        raise LookupError

    with opened(None, clock) as counters:
        count(counters, "a", times=2)
        with pytest.raises(LookupError):
            counters.change("a", failing, now=counters.now())
        counters.change("a", lambda _: None, now=counters.now())
        assert values_of(counters, "a") == [2, 0, 0]


def test_a_full_table_evicts_what_is_over_first(clock: StandingClock) -> None:
    # As many slots as there are places for one name: every name can be in each.
    with opened(None, clock, slots=PROBES) as counters:
        for number in range(PROBES):
            count(counters, f"n{number}", life=HOUR if number else 1000)
        clock.advance(2)
        count(counters, "new")
        assert counters.evicted == 0
        assert values_of(counters, "n0") == [0, 0, 0]
        assert all(values_of(counters, f"n{number}")[0] for number in range(1, PROBES))
        count(counters, "n5", life=HOUR // 2)  # of no effect: it mattered for longer
        count(counters, "soon", life=2 * HOUR)
        assert counters.evicted == 1
        assert values_of(counters, "new") == [1, 0, 0] or values_of(counters, "n5") == [2, 0, 0]


def test_counts_are_exact_far_below_capacity(tmp_path: Path, clock: StandingClock) -> None:
    with opened(tmp_path / "c", clock, slots=4096) as counters:
        for number in range(2000):
            count(counters, f"user {number}", times=1 + number % 3)
        assert counters.evicted == 0
        for number in range(2000):
            assert values_of(counters, f"user {number}")[0] == 1 + number % 3


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_many_threads_lose_no_count(clock: StandingClock) -> None:
    with opened(None, clock) as counters:
        threads = [
            threading.Thread(target=count, args=(counters, f"n{number % 3}"), kwargs={"times": 500})
            for number in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [values_of(counters, f"n{number}")[0] for number in range(3)] == [1000] * 3


def test_a_value_that_lies_too_far_ahead_is_over(tmp_path: Path, clock: StandingClock) -> None:
    with opened(tmp_path / "c", clock) as counters:
        count(counters, "a", life=LIFE_MILLISECONDS_MAX)
        assert values_of(counters, "a") == [1, 0, 0]
    clock.advance(-1)  # the clock was wrong, and was set back
    with opened(tmp_path / "c", clock) as counters:
        assert values_of(counters, "a") == [0, 0, 0]


def test_no_name_is_in_the_file(tmp_path: Path, clock: StandingClock) -> None:
    with opened(tmp_path / "c", clock) as counters:
        count(counters, "alexandra")
    content = (tmp_path / "c").read_bytes()
    assert b"alexandra" not in content
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(9)
        file.write(b"\xff")


def _foreign(path: Path) -> None:
    path.write_bytes(b"something else\n" * 1000)


@pytest.mark.parametrize("damage", [_cut, _damage_header, _foreign])
def test_a_damaged_file_is_started_anew(
    tmp_path: Path,
    clock: StandingClock,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "c"
    with opened(path, clock) as counters:
        count(counters, "a")
    damage(path)
    with caplog.at_level(logging.WARNING), opened(path, clock) as counters:
        assert values_of(counters, "a") == [0, 0, 0]
        count(counters, "a", times=3)
    assert "damaged" in caplog.text
    assert str(tmp_path) not in caplog.text
    with opened(path, clock) as counters:
        assert values_of(counters, "a") == [3, 0, 0]


def test_another_key_starts_anew(tmp_path: Path, clock: StandingClock) -> None:
    with opened(tmp_path / "c", clock) as counters:
        count(counters, "a")
    with opened(tmp_path / "c", clock, key=b"other" * 5) as counters:
        assert values_of(counters, "a") == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(junk=st.binary(min_size=1, max_size=400), at=st.integers(0, SLOTS * 48 - 400))
def test_damaged_slots_hold_nothing_up(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    clock = StandingClock()
    path = tmp_path_factory.mktemp("counters") / "counters"
    with opened(path, clock):
        pass
    with path.open("r+b") as file:
        file.seek(4096 + at)
        file.write(junk)
    with opened(path, clock) as counters:
        for number in range(20):
            count(counters, f"n{number}", times=2)
        assert all(values_of(counters, f"n{number}")[0] == 2 for number in range(20))


def test_one_process_has_the_file_and_others_count_in_memory(
    tmp_path: Path, clock: StandingClock, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "c", clock) as counters:
        count(counters, "a")
        with pytest.raises(BlockingIOError), opened(tmp_path / "c", clock):
            pass
        beside = open_counters(tmp_path / "c", key=KEY, width=WIDTH, slots=SLOTS, clock=clock)
        count(beside, "a", times=5)
        assert values_of(beside, "a") == [5, 0, 0]
        assert values_of(counters, "a") == [1, 0, 0]
        beside.close()
    assert "storage.state" in caplog.text
    with opened(tmp_path / "c", clock) as counters:
        assert values_of(counters, "a") == [1, 0, 0]


def test_a_folder_that_cannot_be_written_is_counted_in_memory(
    tmp_path: Path, clock: StandingClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "counters"
    counters = open_counters(path, key=KEY, width=WIDTH, slots=SLOTS, clock=clock)
    count(counters, "a")
    assert values_of(counters, "a") == [1, 0, 0]
    assert "in memory only" in caplog.text
    counters.close()


def test_the_space_is_taken_ahead(tmp_path: Path, clock: StandingClock) -> None:
    path = tmp_path / "c"
    with opened(path, clock, slots=4096):
        assert path.stat().st_blocks * 512 >= path.stat().st_size
    # A copy may leave out what is empty.
    content = path.read_bytes()
    path.unlink()
    with path.open("wb") as file:
        file.truncate(len(content))
        file.write(content[:4096])
    assert path.stat().st_blocks * 512 < path.stat().st_size
    with opened(path, clock, slots=4096):
        assert path.stat().st_blocks * 512 >= path.stat().st_size


def test_a_full_disk_is_noticed_when_the_file_is_made(tmp_path: Path, clock: StandingClock) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=1m", "lakeflight-test", at=folder):
        with opened(folder / "c", clock) as counters:
            with suppress(OSError):
                (folder / "filler").write_bytes(bytes(2_000_000))
            for number in range(SLOTS // 2):
                count(counters, f"n{number}")
        other = open_counters(folder / "o", key=KEY, width=WIDTH, slots=9999, clock=clock)
        count(other, "a")
        assert values_of(other, "a") == [1, 0, 0]
        other.close()


COUNTING = """
import sys
from pathlib import Path
from flight_server.clock import SystemClock
from flight_server.storage.counters import Counters

counters = Counters(Path(sys.argv[1]), key=b"k" * 32, width=3, slots=256, clock=SystemClock())
for number in range(10**9):
    name, now = f"n{number % 7}", counters.now()
    counters.change(name, lambda v: (((1, v[1] + 1),), now + 3_600_000), now=now)
    print(number, flush=True)
"""


def test_a_killed_process_loses_no_count(tmp_path: Path) -> None:
    path = tmp_path / "c"
    counted = 0
    for number in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(200 + 50 * number):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            seen = 200 + 50 * number + len(process.stdout.read().split())
        assert process.returncode == -signal.SIGKILL
        counters = Counters(path, key=KEY, width=WIDTH, slots=SLOTS, clock=SystemClock())
        kept = sum(values_of(counters, f"n{n}")[1] for n in range(7))
        counters.close()
        # The last may be counted and not told of; all that was told of is counted.
        assert counted + seen <= kept <= counted + seen + 1
        counted = kept
