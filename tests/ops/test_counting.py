"""What is opened to count: the tiers of the settings, and files that one server has."""

from __future__ import annotations

from pathlib import Path

import pytest

from flight_server.errors import LimitExceeded, Unauthenticated
from flight_server.ops.counting import open_counting
from flight_server.ops.settings import Settings, load
from flight_server.service.limits import Step
from tests.clocks import StandingClock

SECRET = b"s" * 32


def settings_of(folder: Path, **more: object) -> Settings:
    return load(None, {"storage.primary": str(folder), **more}, environ={})


def test_tiers_are_those_of_the_settings(tmp_path: Path) -> None:
    tiers = {"free": {"requests_per_minute_max": 2}, "own": {"queries_per_day_max": 1}}
    counting = open_counting(settings_of(tmp_path, tiers=tiers), SECRET, StandingClock())
    for _ in range(2):
        counting.limits.request("a", "free", step=Step.WHOLE)
    with pytest.raises(LimitExceeded, match="requests_per_minute_max=2"):
        counting.limits.request("a", "free", step=Step.WHOLE)
    for _ in range(20):
        counting.limits.request("b", "own", step=Step.WHOLE)
    counting.limits.enter("b", "own").leave()
    with pytest.raises(LimitExceeded, match="queries_per_day_max=1"):
        counting.limits.enter("b", "own")
    counting.close()


def test_rules_of_failed_sign_ins_are_those_of_the_settings(tmp_path: Path) -> None:
    more = {"auth.failures_max": 1, "auth.failures_per_address_max": 2}
    counting = open_counting(settings_of(tmp_path, **more), SECRET, StandingClock())
    for name in ("a", "b"):
        with pytest.raises(Unauthenticated), counting.throttle.attempt(name, "192.0.2.1"):
            raise Unauthenticated("wrong")
    for name, setting in (("a", "failures_max"), ("c", "failures_per_address_max")):
        with (
            pytest.raises(LimitExceeded, match=f"limit=auth.{setting}$"),
            counting.throttle.attempt(name, "192.0.2.1"),
        ):
            pass
    counting.close()


def test_the_files_are_in_the_state_folder_and_of_one_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path / "lake", **{"storage.state": str(tmp_path / "state")})
    first = open_counting(settings, SECRET, StandingClock())
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["counters", "failures"]
    assert not caplog.records
    second = open_counting(settings, SECRET, StandingClock())
    assert len(caplog.records) == 2
    for counting in (first, second):
        for _ in range(10):
            counting.limits.request("a", "free", step=Step.WHOLE)
        counting.close()
    caplog.clear()
    third = open_counting(settings, SECRET, StandingClock())
    assert not caplog.records
    with pytest.raises(LimitExceeded):
        third.limits.request("a", "free", step=Step.WHOLE)
    third.close()
