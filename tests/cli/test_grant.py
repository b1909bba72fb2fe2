"""`lakeflight grant`: on the folder, with or without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.audit.spool import waiting
from tests.cli.test_cli import Run
from tests.lakehouse import write

USER = "one fine pass\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    run = Run(capsys, monkeypatch)
    monkeypatch.setenv("LAKEFLIGHT_STORAGE__PRIMARY", str(tmp_path))
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_TIME_COST", "1")
    assert run("user", "add", "alice", "--password-stdin", typed=USER).code == 0
    return run


def test_grants_are_added_listed_and_removed(run: Run) -> None:
    nothing = run("grant", "list")
    assert (nothing.out, nothing.code) == ("", 0)
    assert "only administrators" in nothing.err
    added = run("grant", "add", "read", "primary.sales", "--user", "alice").out
    assert added.startswith("added allow read on primary.sales to user alice, id ")
    again = run("grant", "add", "read", "primary.sales", "--user", "alice").out
    assert again == added.replace("added", "kept", 1)
    denied = run("grant", "add", "write", 'primary.sales."a.b"', "--role", "trader", "--deny").out
    assert denied.startswith('added deny write on primary.sales."a.b" to role trader, id ')
    head, *rows = run("grant", "list").out.splitlines()
    assert head.split() == ["effect", "privilege", "resource", "to", "created", "by", "id"]
    assert [row.split()[0] for row in rows] == ["allow", "deny"]
    (found,) = json.loads(run("grant", "list", "--user", "alice", "--format", "json").out)
    assert found["to"] == {"user": "alice"}
    assert found["created_at"].endswith("Z")
    assert found["created_by"] is None
    assert run("grant", "remove", found["grant_id"]).out == (
        "removed allow read on primary.sales to user alice\n"
    )
    gone = run("grant", "remove", "write", 'primary.sales."a.b"', "--role", "trader", "--deny")
    assert gone.out == 'removed deny write on primary.sales."a.b" to role trader\n'
    assert run("grant", "list", "--role", "trader").err == "no such grants\n"


def test_grants_of_the_settings_are_listed_and_stay(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants = [{"privilege": "read", "resource": "primary", "role": "registered"}]
    monkeypatch.setenv("LAKEFLIGHT_GRANTS", json.dumps(grants))
    assert "in the settings" in run("grant", "list", "--resource", "primary.sales").out
    refused = run("grant", "remove", "read", "primary", "--role", "registered")
    assert refused.code == 1
    assert "in the settings" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["add", "read", "primary"], 2, "to one user or to one role"),
        (["add", "fly", "primary", "--user", "alice"], 2, "the privilege is one of read"),
        (["add", "read", "primary", "--user", "bob"], 1, "there is no user 'bob'"),
        (["add", "read", "nowhere", "--user", "alice"], 1, "there are primary, system"),
        (["add", "read", "a..b", "--user", "alice"], 2, "a resource is bucket"),
        (["add", "read", "primary", "--role", "pending"], 2, "may do nothing"),
        (["remove", "x"], 1, "there is no such grant"),
        (["remove", "x", "--user", "alice"], 2, "alone"),
        (["list", "--resource", "a..b"], 2, "a resource is bucket"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    run: Run, arguments: list[str], code: int, text: str
) -> None:
    outcome = run("grant", *arguments)
    assert outcome.code == code
    assert outcome.err.startswith("error: ")
    assert text in outcome.err
    assert outcome.err.count("\n") == 1


def test_changes_are_on_record(run: Run, tmp_path: Path) -> None:
    run("grant", "add", "read", "primary.sales", "--user", "alice")
    run("grant", "remove", "read", "primary.sales", "--user", "alice")
    run("grant", "remove", "none")
    events = [each.event for each in waiting(tmp_path / ".lakeflight" / "audit")]
    assert [(e.action, e.resource, str(e.outcome)) for e in events if "grant" in e.action] == [
        ("grant.add", "primary.sales", "intent"),
        ("grant.add", "primary.sales", "success"),
        ("grant.remove", "primary.sales", "intent"),
        ("grant.remove", "primary.sales", "success"),
        ("grant.remove", "none", "intent"),
        ("grant.remove", "none", "refused"),
    ]
    assert {e.details["user"] for e in events if e.action == "grant.add"} == {"alice"}


def test_grants_may_be_on_columns_and_for_purposes(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "sales" / "t", pa.table({"id": [1], "note": ["x"]}))
    some = ("read", "primary.sales.t", "--user", "alice", "--column", "note", "--column", "id")
    added = run("grant", "add", *some).out
    assert added.startswith("added allow read on primary.sales.t (id, note) to user alice, id ")
    again = run("grant", "add", *some[:-4], "--column", "id", "--column", "note").out
    assert again == added.replace("added", "kept", 1)
    for_research = ("read", "primary.sales", "--role", "trader", "--purpose", "research")
    assert run("grant", "add", *for_research).out.startswith(
        "added allow read on primary.sales for research to role trader, id "
    )
    found = json.loads(run("grant", "list", "--format", "json").out)
    assert [(each["columns"], each["purposes"]) for each in found] == [
        (["id", "note"], None),
        (None, ["research"]),
    ]
    whole = ("read", "primary.sales.t", "--user", "alice")
    assert run("grant", "remove", *whole).code == 1  # it says something else
    assert run("grant", "remove", *some).code == 0
    assert run("grant", "remove", *for_research).code == 0


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (("read", "primary.sales.t", "--user", "alice", "--column", "none"), "no column"),
        (("write", "primary.sales.t", "--user", "alice", "--column", "id"), "only read"),
        (("read", "primary.sales", "--user", "alice", "--column", "id"), "one table"),
        (("read", "primary.sales", "--user", "alice", "--purpose", "fun"), "purposes are"),
    ],
)
def test_what_such_grants_cannot_say(
    run: Run, tmp_path: Path, line: tuple[str, ...], word: str
) -> None:
    write(tmp_path / "sales" / "t", pa.table({"id": [1]}))
    refused = run("grant", "add", *line)
    assert refused.code in (1, 2)
    assert word in refused.err
