"""The key of all hashes: one at a time, the same for all, seen at once, never open to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flight_server.errors import Unavailable
from flight_server.storage.hash_keys import HASH_KEY_BYTES, HASH_KEY_FILE, HashKey, no_key


def open_key(folder: Path) -> HashKey:
    return HashKey(folder, random_bytes=os.urandom)


def test_it_is_made_once_and_is_the_same_for_all(tmp_path: Path) -> None:
    folder = tmp_path / "system"
    first = open_key(folder).current()
    assert len(first) == HASH_KEY_BYTES
    assert open_key(folder).current() == first
    assert (folder / HASH_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_another_key_is_used_at_the_next_look_everywhere(tmp_path: Path) -> None:
    here, there = open_key(tmp_path), open_key(tmp_path)
    seen = {here.current(), there.current()}
    assert len(seen) == 1
    for _ in range(3):
        here.rotate()
        now = there.current()
        assert now == here.current() == there.current()
        assert now not in seen
        seen.add(now)
    assert (tmp_path / HASH_KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [HASH_KEY_FILE]


@pytest.mark.parametrize("content", ["", "no key", "00" * 31, "00" * 33, "é" * 32])
def test_a_damaged_key_hashes_nothing(tmp_path: Path, content: str) -> None:
    key = open_key(tmp_path)
    key.current()
    (tmp_path / HASH_KEY_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(Unavailable, match="is damaged"):
        key.current()
    key.rotate()
    assert len(key.current()) == HASH_KEY_BYTES


def test_a_key_that_others_may_read_is_none(tmp_path: Path) -> None:
    key = open_key(tmp_path)
    key.current()
    (tmp_path / HASH_KEY_FILE).chmod(0o644)
    with pytest.raises(Unavailable, match="open to others"):
        key.current()


def test_a_key_that_goes_while_it_is_used_is_not_made_anew(tmp_path: Path) -> None:
    key = open_key(tmp_path)
    key.current()
    (tmp_path / HASH_KEY_FILE).unlink()
    with pytest.raises(Unavailable, match="is gone"):
        key.current()


def test_where_none_can_be_kept_nothing_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        open_key(tmp_path / "file").current()
    with pytest.raises(Unavailable):
        open_key(tmp_path / "file").rotate()
    with pytest.raises(Unavailable):
        no_key()
