"""`lakeflight policy rotate-key`: on the folder, with or without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from flight_server.storage.hash_keys import HASH_KEY_FILE
from tests.cli.test_cli import Run


def test_another_key_takes_the_place_of_the_old_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(capsys, monkeypatch)
    monkeypatch.setenv("LAKEFLIGHT_STORAGE__PRIMARY", str(tmp_path))
    keys = set()
    for _ in range(3):
        done = run("policy", "rotate-key")
        assert (done.out, done.code) == ("hashes have another key now\n", 0)
        (path,) = tmp_path.rglob(HASH_KEY_FILE)
        assert path.stat().st_mode & 0o777 == 0o600
        keys.add(path.read_text())
    assert len(keys) == 3
    assert not any(key.strip() in done.out for key in keys)
