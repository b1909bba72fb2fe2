from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from flight_server.ops import readiness
from flight_server.ops.readiness import Readiness, State, are_readable


def asked(checks: dict[str, Callable[[], bool]]) -> Readiness:
    made = Readiness(checks)
    asyncio.run(made.ask())
    made.close()
    return made


def fails() -> bool:
    raise OSError("/secret/path")


def test_all_parts_have_to_be_ready() -> None:
    assert asked({"a": lambda: True, "b": lambda: True}).is_ready
    made = asked({"b": lambda: False, "a": lambda: True, "c": fails})
    assert not made.is_ready
    assert made.last == {"a": State.READY, "b": State.NOT_READY, "c": State.NOT_READY}


def test_nothing_is_ready_before_it_was_asked() -> None:
    assert not Readiness({"a": lambda: True}).is_ready


def test_a_part_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "ANSWER_SECONDS_MAX", 0.1)
    back = threading.Event()

    def hangs() -> bool:
        return back.wait(30)

    made = Readiness({"storage": hangs, "workers": lambda: True})

    async def several() -> None:
        for _ in range(3):
            await made.ask()

    before = threading.active_count()
    asyncio.run(several())
    assert made.last == {"storage": State.NO_ANSWER, "workers": State.READY}
    assert threading.active_count() <= before + 2
    back.set()
    asyncio.run(made.ask())
    assert made.is_ready
    made.close()


def test_folders_are_readable_or_not(tmp_path: Path) -> None:
    assert are_readable([tmp_path, tmp_path])
    assert not are_readable([tmp_path, tmp_path / "gone"])
    (tmp_path / "file").touch()
    assert not are_readable([tmp_path / "file"])
