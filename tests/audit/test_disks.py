"""An audit log whose disk is full, or fails, and comes back."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flight_server.audit.log import AuditLog
from flight_server.errors import Unavailable
from tests.audit.logs import (
    SMALL_SEGMENT_BYTES,
    abandoned,
    column_of,
    event,
    fill,
    opened,
    unopened,
    verified,
)
from tests.faults.disks import mounted, no_space_left
from tests.servers import wait_until

DISK_BYTES = 4 * 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "lakeflight-test", at=folder):
        yield folder


def is_taken(log: AuditLog, numbers: list[int]) -> bool:
    try:
        numbers.append(log.append(event()))
        log.wait(numbers[-1])
    except Unavailable:
        return False
    return True


def fill_up(log: AuditLog) -> list[int]:
    """Append until the log takes no more."""
    numbers: list[int] = []

    def append_for_ever() -> None:
        while len(numbers) < 10_000:
            numbers.append(log.append(event()))

    with pytest.raises(Unavailable) as caught:
        append_for_ever()
    assert caught.value.code == "audit_unavailable"
    return numbers


def test_a_full_disk_takes_records_until_the_segments_are_used_up(small: Path) -> None:
    with opened(small / "audit") as log:
        first = fill(log, 5)
        log.flush()
        wait_until(lambda: len(list((small / "audit/journal").iterdir())) == 2, what="a segment")
        with no_space_left(small):
            numbers = fill_up(log)
            log.wait(numbers[-1])  # what was taken is durable all the same
            assert not log.is_available()
            with pytest.raises(Unavailable):
                log.flush()
        assert len(numbers) > SMALL_SEGMENT_BYTES // 900  # and in the segment ahead
        wait_until(lambda: is_taken(log, numbers), what="a log that is writable again")
        assert [*first, *numbers] == list(range(1, len(numbers) + 6))
        wait_until(log.is_available, what="a log that says so")
        log.flush()
        assert log.verify().is_intact
        assert column_of(small / "audit", "sequence") == [*first, *numbers]


def test_a_log_starts_on_a_full_disk_and_heals(small: Path) -> None:
    log = unopened(small / "audit")
    log.start()
    fill(log, 5)
    abandoned(log)
    for path in sorted((small / "audit/journal").iterdir())[1:]:
        path.unlink()
    with no_space_left(small):
        log = unopened(small / "audit")
        log.start()
        with pytest.raises(Unavailable):
            log.append(event())
        assert log.verify().records == 5
    numbers: list[int] = []
    wait_until(lambda: is_taken(log, numbers), what="a log that is writable again")
    assert numbers == [6]
    log.close()
    assert verified(small / "audit").is_intact


def failing(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Return a call of the system that fails so often, and then no more."""
    left = [times]
    lock = threading.Lock()

    def call(*arguments: object) -> Any:
        with lock:
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(errno.EIO, "Input/output error")
        return function(*arguments)

    return call


@pytest.mark.parametrize("times", [1, 3])
def test_a_sync_that_fails_is_not_repeated_on_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    with opened(tmp_path) as log:
        log.wait(fill(log, 5)[-1])
        lost = fill(log, 5)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(os.fdatasync, times))
            with pytest.raises(Unavailable):
                log.wait(lost[-1])
            numbers: list[int] = []
            wait_until(lambda: is_taken(log, numbers), what="a log that is writable again")
        assert numbers[-1] == 10 + len(numbers)
        segments = sorted((tmp_path / "journal").iterdir())
        assert b'"sequence":6,' in segments[1].read_bytes()  # repeated where it is durable
        assert verified(tmp_path).is_intact
        log.flush()
        assert log.verify().is_intact
    assert column_of(tmp_path, "sequence") == list(range(1, 11 + len(numbers)))


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_write_that_fails_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_flushed: bool
) -> None:
    log = unopened(tmp_path)
    log.start()
    fill(log, 100)  # more than a segment
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(os.pwrite, 1))
        with pytest.raises(Unavailable):
            log.append(event(action="never"))
        numbers: list[int] = []
        wait_until(lambda: is_taken(log, numbers), what="a log that is writable again")
    assert numbers[0] == 101
    if is_flushed:
        log.flush()
    abandoned(log)
    assert verified(tmp_path).is_intact
    with opened(tmp_path):
        pass
    assert column_of(tmp_path, "sequence") == list(range(1, 101 + len(numbers)))
    assert "never" not in column_of(tmp_path, "action")


def test_records_of_before_a_failure_are_there_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = unopened(tmp_path)
    log.start()
    log.wait(fill(log, 5)[-1])
    lost = fill(log, 5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(os.fdatasync, 1_000_000))
        with pytest.raises(Unavailable):
            log.wait(lost[-1])
        with pytest.raises(Unavailable):
            log.append(event())
        assert not log.is_available()
        abandoned(log)
    assert verified(tmp_path).is_intact
    with opened(tmp_path) as log:
        assert log.append(event()) == 11
        log.flush()
        assert log.verify().is_intact
