from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from flight_server.storage.marks import ChangeMark
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import GRANTS, TOKENS, TableSpec
from tests.clocks import StandingClock


def mark(path: Path) -> ChangeMark:
    return ChangeMark(path, random_bytes=os.urandom)


def test_everybody_sees_that_something_changed(tmp_path: Path) -> None:
    here, there = mark(tmp_path / "m"), mark(tmp_path / "m")
    assert here.value() is None
    here.change()
    first = there.value()
    assert first is not None
    assert here.value() == first
    there.change()
    assert here.value() == there.value() != first
    process = multiprocessing.get_context("spawn").Process(target=mark(tmp_path / "m").change)
    second = here.value()
    process.start()
    process.join()
    assert here.value() == there.value() != second


def test_a_file_that_cannot_be_used_is_no_mark(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    broken = mark(tmp_path / "m")
    broken.change()
    assert broken.value() is None
    nowhere = mark(tmp_path / "none" / "m")
    nowhere.change()
    assert nowhere.value() is None
    (tmp_path / "short").write_bytes(b"x")
    short = mark(tmp_path / "short")
    assert short.value() is None
    short.change()
    assert short.value() is not None


def grant(name: str) -> dict[str, object]:
    moment = StandingClock().now()
    return {
        "grant_id": name,
        "privilege": "read",
        "resource": "primary",
        "effect": "allow",
        "created_at": moment,
    }


def table(root: Path, spec: TableSpec = GRANTS) -> SystemTable:
    return SystemTable(root, spec, clock=StandingClock(), random_bytes=os.urandom)


def test_a_table_is_read_again_only_when_something_changed(tmp_path: Path) -> None:
    """The clock stands still: only the mark can tell."""
    writer, reader, other = table(tmp_path), table(tmp_path), table(tmp_path, TOKENS)
    writer.change(lambda _: [grant("a")])
    first = reader.snapshot()
    assert set(first.rows) == {"a"}
    assert reader.snapshot() is reader.snapshot() is first
    writer.change(lambda _: [grant("b")])
    assert set(reader.snapshot().rows) == {"a", "b"}
    assert other.snapshot().version == -1
    other.change(lambda _: [])
    assert set(reader.snapshot().rows) == {"a", "b"}


def test_without_a_mark_the_disk_is_asked(tmp_path: Path) -> None:
    writer, reader = table(tmp_path), table(tmp_path)
    (tmp_path / ".changed").mkdir()
    for name in ("a", "b", "c"):
        writer.change(lambda _, name=name: [grant(name)])  # type: ignore[misc]
        assert name in reader.snapshot().rows
