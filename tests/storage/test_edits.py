from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.storage import system
from flight_server.storage.durable import write_once
from flight_server.storage.edits import Change, Edit, Row, Rows, Waiting, apply
from flight_server.storage.system import SystemTable
from tests.storage.test_system import open_table, put, remove, stored


def row(name: str, count: int) -> Row:
    return {"name": name, "count": count, "tags": None, "at": None}


def plain(rows: Sequence[Row]) -> dict[str, Row]:
    return {str(each["name"]): each for each in rows}


class Slow:
    """Holds the first commit of a table until it is released, so that others have to wait."""

    def __init__(self, table: SystemTable, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real: Callable[[Path, bytes], bool] = write_once
        self.may_go_on = threading.Event()
        self.has_begun = threading.Event()
        self.table = table
        monkeypatch.setattr(system, "write_once", self._write_once)

    def _write_once(self, path: Path, content: bytes) -> bool:
        self.has_begun.set()
        assert self.may_go_on.wait(30)
        return self._real(path, content)

    def together(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        """Run a first change and, while it is held, these; return what each of them ended in."""
        ends: list[object] = [None] * len(calls)

        def run(number: int) -> None:
            try:
                ends[number] = calls[number]()
            except errors.LakeflightError as error:
                ends[number] = error

        first = threading.Thread(target=put, args=(self.table, "first", 0))
        first.start()
        assert self.has_begun.wait(30)
        others = []
        for number in range(len(calls)):
            others.append(threading.Thread(target=run, args=(number,)))
            others[-1].start()
            while len(self.table._queue) <= number:
                assert others[-1].is_alive()
        self.may_go_on.set()
        for thread in (first, *others):
            thread.join(30)
        return ends


def test_those_who_wait_share_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_table(tmp_path)
    slow = Slow(table, monkeypatch)
    ends = slow.together([lambda n=n: put(table, f"n{n}", n) for n in range(50)])  # type: ignore[misc]  # a default binds the number
    assert not any(ends)
    assert table.snapshot().version == 1
    assert stored(tmp_path) == {"first": 0, **{f"n{n}": n for n in range(50)}}
    assert open_table(tmp_path).snapshot().rows == table.snapshot().rows


def test_each_sees_what_those_before_it_did_and_has_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table(tmp_path)

    def claim(rows: Rows) -> list[Row]:
        if "a" in rows:
            raise errors.AlreadyExists("taken")
        return [row("a", 1)]

    def damaged(_: Rows) -> list[Row]:
        return [{**row("b", 0), "count": "no number"}]

    def count(rows: Rows) -> list[Row]:
        return [{**rows["a"], "count": rows["a"]["count"] + 1}]

    slow = Slow(table, monkeypatch)
    calls: list[Callable[[], object]] = [
        lambda: table.change(claim).version,
        lambda: table.change(claim).version,
        lambda: table.change(count).version,
        lambda: table.change(lambda rows: []).version,
        lambda: table.change(count).version,
        lambda: remove(table, "first"),
    ]
    won, lost, *rest = slow.together(calls)
    assert won == 1
    assert isinstance(lost, errors.AlreadyExists)
    assert rest == [1, 1, 1, 1]
    assert stored(tmp_path) == {"a": 3}
    with pytest.raises(Exception, match="number"):
        table.change(damaged)
    assert stored(tmp_path) == {"a": 3}


def test_all_hear_of_it_when_their_commit_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table(tmp_path)
    put(table, "first", 0)
    slow = Slow(table, monkeypatch)

    def full(path: Path, content: bytes) -> bool:
        raise OSError(28, "no space")

    def fill(rows: Rows) -> list[Row]:
        slow._real = full
        return [row("a", 1)]

    ends = slow.together([lambda: table.change(fill), lambda: put(table, "b", 1)])
    assert [type(end) for end in ends] == [errors.Unavailable] * 2
    assert ends[0] is not ends[1]
    assert stored(tmp_path) == {"first": 0}
    monkeypatch.undo()
    put(table, "b", 2)
    assert stored(tmp_path) == {"first": 0, "b": 2}


def test_an_interrupt_ends_all_that_wait_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table(tmp_path)
    waiting: list[Waiting[system.Snapshot]] = [
        Waiting(lambda rows: [row("a", 1)]),
        Waiting(lambda rows: [row("b", 1)]),
    ]

    def interrupt(path: Path, content: bytes) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(system, "write_once", interrupt)
    with pytest.raises(KeyboardInterrupt):
        table._work_off(waiting)
    for each in waiting:
        with pytest.raises(errors.Unavailable):
            each.outcome()


NAMES = st.sampled_from("abc")
PUTS = st.lists(st.builds(row, NAMES, st.integers(0, 9)), max_size=2)
CHANGES = st.none() | PUTS | st.builds(Change, put=PUTS, remove=st.frozensets(NAMES))


@given(st.lists(CHANGES), st.dictionaries(NAMES, st.integers(0, 9)))
def test_together_is_one_after_the_other(
    changes: list[Sequence[Row] | Change | None], start: dict[str, int]
) -> None:
    def edit_of(change: Sequence[Row] | Change | None) -> Edit:
        def edit(_: Rows) -> Sequence[Row] | Change:
            if change is None:
                raise errors.Conflict("refused")
            return change

        return edit

    rows = {name: row(name, count) for name, count in start.items()}
    waiting: list[Waiting[int]] = [Waiting(edit_of(change)) for change in changes]
    together = apply(waiting, rows, read=plain)
    alone = dict(rows)
    for each in waiting:
        after = apply([each], alone, read=plain)
        alone = alone if after is None else dict(after)
        each.succeed(1)
    assert (rows if together is None else together) == alone
    for each, change in zip(waiting, changes, strict=True):
        if change is None:
            with pytest.raises(errors.Conflict):
                each.outcome()
        else:
            assert each.outcome() == 1


def _write_until_killed(root: Path, acknowledged: Connection) -> None:
    table = open_table(root)
    lock = threading.Lock()

    def write(thread: int) -> None:
        for number in range(10_000):
            name = f"{thread}-{number}"
            put(table, name, number)
            if number % 5 == 4:
                remove(table, f"{thread}-{number - 1}")
            with lock:
                acknowledged.send(name)

    for thread in range(8):
        threading.Thread(target=write, args=(thread,)).start()


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for turn in range(8):
        root = tmp_path / str(turn)
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_write_until_killed, args=(root, theirs))
        process.start()
        theirs.close()
        names = [ours.recv() for _ in range(40 + 7 * turn)]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with suppress(EOFError):
            while True:
                names.append(ours.recv())
        kept = {name for name in names if int(name.partition("-")[2]) % 5 != 3}
        rows = open_table(root).snapshot().rows
        assert kept <= rows.keys()
        assert open_table(root).snapshot().version < len(names)
        put(open_table(root), "afterwards", 1)
        assert "afterwards" in stored(root)
