"""Cuts the power after every sync of an audit log: what was waited for is there."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from flight_server.audit.log import spool
from tests.audit.logs import event, fill, opened, verified
from tests.faults.power import Disk


class Cuts:
    """A folder whose power is cut after every sync, by whatever thread."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, copy: Path) -> None:
        self._folder, self.copy = folder, copy
        self._lock = threading.Lock()
        self._disk = Disk(patch)
        patch.setattr(os, "fdatasync", os.fsync)
        self._disk.at_sync = self.cut
        self.acknowledged = 0
        self.count = 0
        self.faults: list[str] = []

    def cut(self) -> None:
        with self._lock:
            acknowledged = self.acknowledged
            self.count += 1
            shutil.rmtree(self.copy, ignore_errors=True)
            folder = self._disk.after_a_power_cut(self._folder, self.copy) / "audit"
            if not (folder / "head.json").exists():
                if acknowledged:
                    self.faults.append("the log is gone")
                return
            verdict = verified(folder)
            if not verdict.is_intact or verdict.records < acknowledged:
                self.faults.append(f"{acknowledged} were acknowledged: {verdict}")


def test_what_was_waited_for_survives_a_power_cut_at_any_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    cuts = Cuts(monkeypatch, folder, tmp_path / "copy")
    for _ in range(2):
        with opened(folder / "audit", compact_files_min=3) as log:
            for step in range(8):
                last = fill(log, 30)[-1]
                log.wait(last)
                cuts.acknowledged = last
                if step % 2:
                    log.flush()
                if step == 5:
                    spool(folder / "audit", event())
                    log.compact()
    assert not cuts.faults, cuts.faults[0]
    assert cuts.count > 100
    monkeypatch.undo()
    with opened(cuts.copy / "audit") as log:
        assert fill(log, 1)[0] > cuts.acknowledged
        log.flush()
        assert log.verify().is_intact
