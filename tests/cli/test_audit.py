"""`lakeflight audit`: on a folder at rest, beside a running log, and on one that was bent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flight_server.audit.events import Event
from flight_server.audit.events import Outcome as How
from flight_server.audit.log import AuditLog
from tests.auth.test_users import open_users
from tests.cli.test_cli import Outcome, Run
from tests.clocks import StandingClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class House:
    """A lakehouse with a log that runs, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / ".lakeflight"
        self.state.mkdir(parents=True)
        users = open_users(self.state)
        self.bob = users.add("bob", "quite another horse", role="registered")
        self.ann = users.add("ann", "quite another horse", role="registered")
        self.log = AuditLog(self.state / "audit", clock=StandingClock(), random_bytes=os.urandom)
        self.log.start()
        self._running: AuditLog | None = self.log

    def close(self) -> None:
        """Stop the log, if it runs."""
        log, self._running = self._running, None
        if log is not None:
            log.close()

    def record(self, number: int, *, user: str = "bob", action: str = "query") -> None:
        who = {"bob": self.bob, "ann": self.ann}[user]
        event = Event(
            NOON + timedelta(seconds=number), action, How.INTENT, f"r{number}",
            user_id=who.user_id, username=user, resource="primary.public.t",
        )  # fmt: skip
        self.log.append(event)
        over = replace(
            event, outcome=How.SUCCESS, row_count=number, byte_count=10, engine_ms=1000.0
        )
        self.log.wait(self.log.append(over))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(capsys, monkeypatch)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "lake")
    yield made
    made.close()


def ids(outcome: Outcome) -> list[object]:
    return [row["request_id"] for row in lines(outcome.out)]


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_flushed_and_what_is_not(house: House, run: Run) -> None:
    here = ("--dir", house.folder, "--format", "json")
    for number in (1, 2):
        house.record(number)
    unflushed = lines(run("audit", "activity", *here).out)
    assert [row["request_id"] for row in unflushed] == ["r2", "r1"]
    house.log.flush()
    assert lines(run("audit", "activity", *here).out) == unflushed
    house.record(3, action="table.append")
    house.record(4, user="ann")
    outcome = run("audit", "activity", *here)
    assert (outcome.code, outcome.err) == (0, "")
    assert ids(outcome) == ["r4", "r3", "r2", "r1"]
    assert ids(run("audit", "activity", *here, "--limit", "3")) == ["r4", "r3", "r2"]
    own = run("audit", "activity", *here, "--user", "bob", "--action", "query")
    assert ids(own) == ["r2", "r1"]
    late = ("--outcome", "intent", "--from", "2026-03-01T12:00:03Z")
    assert ids(run("audit", "activity", *here, *late)) == ["r4", "r3"]


def test_bills_of_both(house: House, run: Run) -> None:
    here = ("--dir", house.folder, "--format", "json")
    days = ("--from", "2026-03-01", "--to", "2026-03-01")
    house.record(1)
    house.record(2)
    house.log.flush()
    house.record(3, action="table.append")
    house.record(4, user="ann")
    ann, bob = lines(run("audit", "billing", *here, *days).out)
    assert (ann["username"], ann["queries"]) == ("ann", 1)
    assert bob["actions"] == {"query": 2, "table.append": 1}
    assert (bob["rows"], bob["bytes"], bob["engine_seconds"]) == (6, 30, 3.0)
    (only,) = lines(run("audit", "billing", *here, *days, "--user", house.ann.user_id).out)
    assert only == ann


def test_tables_for_people(house: House, run: Run) -> None:
    house.record(1, action="x\x1b[2Jy")
    outcome = run("audit", "activity", "--dir", house.folder)
    head, row = outcome.out.splitlines()
    assert head.split()[:3] == ["timestamp", "username", "action"]
    assert "bob" in row
    assert "\x1b" not in outcome.out
    outcome = run(
        "audit", "billing", "--dir", house.folder, "--from", "2026-03-01", "--to", "2026-03-02"
    )
    assert outcome.out.splitlines()[1].split()[:2] == ["2026-03-01", "bob"]


def test_the_chain_is_checked_offline(house: House, run: Run, tmp_path: Path) -> None:
    here = ("--dir", house.folder)
    house.record(1)
    house.log.flush()
    kept = tmp_path / "head.json"
    kept.write_text(run("audit", "head", *here).out, encoding="utf-8")
    house.record(2)
    for extra in ((), ("--head", kept), ("--head", "-")):
        outcome = run("audit", "verify", *here, *extra, typed=kept.read_text(encoding="utf-8"))
        assert (outcome.code, outcome.err) == (0, "")
        assert lines(outcome.out)[0]["ok"] is True
    house.close()
    (line,) = lines(run("audit", "verify", *here, "--head", kept).out)
    assert (line["ok"], line["records"]) == (True, 4)
    # Whoever puts back an older log, and has its key, cannot make the kept head of it.
    forged = {**json.loads(kept.read_text(encoding="utf-8")), "sequence": 9}
    kept.write_text(json.dumps(forged), encoding="utf-8")
    outcome = run("audit", "verify", *here, "--head", kept)
    assert outcome.code == 1
    assert lines(outcome.out)[0]["ok"] is False


def test_a_record_that_was_changed_is_named(house: House, run: Run) -> None:
    for number in range(5):
        house.record(number)
    house.close()
    (path,) = (house.state / "audit/audit_log").glob("*/*.parquet")
    path.unlink()
    outcome = run("audit", "verify", "--dir", house.folder)
    assert outcome.code == 1
    (line,) = lines(outcome.out)
    assert line["ok"] is False
    bad = line["first_bad"]
    assert isinstance(bad, dict)
    assert bad["sequence"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["activity", "--limit", "0"], 2, "'limit' is a number from 1 to 1000"),
        (["activity", "--outcome", "great"], 2, "'outcome' is one of"),
        (["activity", "--from", "soon"], 2, "'from': a point in time"),
        (["activity", "--from", "2026-03-02", "--to", "2026-03-01"], 2, "turned round"),
        (["activity", "--user", "nobody"], 1, "there is no user"),
        (["billing", "--from", "2026-03-01"], 2, "Missing option"),
        (["billing", "--from", "2026-03-01", "--to", "9999-12-31"], 2, "not between the years"),
        (["verify", "--head", "/nowhere.json"], 2, "No such file"),
    ],
)
def test_what_cannot_be(
    house: House,
    run: Run,
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    outcome = run("audit", *arguments, "--dir", house.folder)
    assert (outcome.code, outcome.out) == (code, "")
    assert text in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sequence": "x"}', "\xff\x00"])
def test_a_file_that_is_no_head(house: House, run: Run, tmp_path: Path, content: str) -> None:
    kept = tmp_path / "head.json"
    kept.write_text(content, encoding="latin-1")
    outcome = run("audit", "verify", "--dir", house.folder, "--head", kept)
    assert outcome.code == 2
    assert "no signed head" in outcome.err


def test_without_a_log(run: Run, tmp_path: Path) -> None:
    for command in (["verify"], ["head"], ["activity"]):
        outcome = run("audit", *command, "--dir", tmp_path)
        assert outcome.code == 1
        assert "no audit log yet" in outcome.err
    assert run("audit", "verify", "--dir", tmp_path / "gone").code == 2


@pytest.mark.parametrize("command", ["verify", "head", "activity", "billing"])
def test_every_command_has_examples(run: Run, command: str) -> None:
    outcome = run("audit", command, "--help")
    assert outcome.code == 0
    assert f"    lakeflight audit {command}" in outcome.out
