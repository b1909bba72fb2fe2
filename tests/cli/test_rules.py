"""`lakeflight filter`, `mask` and `label`: on the folder, with or without a server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.audit.spool import waiting
from flight_server.catalog.rule_rows import filter_row, mask_row
from flight_server.clock import SystemClock
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import FILTERS, MASKS, TableSpec
from policies.names import TableRef
from policies.rules import NULLED, Audience, ColumnMask, RowFilter
from tests.cli.test_cli import Run
from tests.lakehouse import write

PEOPLE = "primary.hr.people"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    run = Run(capsys, monkeypatch)
    monkeypatch.setenv("LAKEFLIGHT_STORAGE__PRIMARY", str(tmp_path))
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_TIME_COST", "1")
    table = pa.table({"id": [1], "name": ["Ann"], "at": [{"zip": "0150"}]})
    write(tmp_path / "hr" / "people", table)
    assert run("user", "add", "alice", "--password-stdin", typed="one fine pass\n").code == 0
    return run


def put_row(folder: Path, spec: TableSpec, row: Mapping[str, object]) -> None:
    """Put a rule as a server does, or a later one that knows more."""
    root = folder / ".lakeflight"
    table = SystemTable(root, spec, clock=SystemClock(), random_bytes=os.urandom)
    table.change(lambda _: [row])


def test_masks_are_put_listed_and_dropped(run: Run, tmp_path: Path) -> None:
    assert run("mask", "list").err == "no column masks\n"
    added = run("mask", "put", PEOPLE, "zip", "at.zip", "mask", "--keep-prefix", "1")
    assert added.out == f"added the mask zip of {PEOPLE}, for everybody\n"
    again = run(
        *("mask", "put", PEOPLE, "zip", "at.zip", "null"),
        *("--user", "alice", "--except-role", "admin"),
    )
    assert again.out == f"replaced the mask zip of {PEOPLE}, for user alice but admin\n"
    (found,) = json.loads(run("mask", "list", "--table", PEOPLE, "--format", "json").out)
    assert found["path"] == ["at", "zip"]
    assert found["redaction"] == {"kind": "null"}
    assert (found["to"], found["except_roles"]) == ({"user": "alice"}, ["admin"])
    head, row = run("mask", "list").out.splitlines()
    assert head.split() == ["table", "name", "column", "shown", "for", "by"]
    assert row.split()[:3] == [PEOPLE, "zip", "at.zip"]
    assert run("mask", "drop", PEOPLE, "zip").out == f"dropped the mask zip of {PEOPLE}\n"
    assert run("mask", "drop", PEOPLE, "zip").code == 1
    events = [each.event for each in waiting(tmp_path / ".lakeflight" / "audit")]
    assert [(e.action, e.resource, str(e.outcome)) for e in events if "mask" in e.action] == [
        ("mask.put", PEOPLE, "intent"),
        ("mask.put", PEOPLE, "success"),
        ("mask.put", PEOPLE, "intent"),
        ("mask.put", PEOPLE, "success"),
        ("mask.drop", PEOPLE, "intent"),
        ("mask.drop", PEOPLE, "success"),
        ("mask.drop", PEOPLE, "intent"),
        ("mask.drop", PEOPLE, "refused"),
    ]


def test_labels_are_put_listed_and_dropped(run: Run) -> None:
    put = ("label", "put", PEOPLE, "name", "user_id")
    assert run(*put).out.startswith("added")
    assert run(*put).out.startswith("kept")
    (found,) = json.loads(run("label", "list", "--format", "json").out)
    assert (found["table"], found["column"], found["label"]) == (PEOPLE, "name", "user_id")
    assert run("label", "drop", PEOPLE, "name", "user_id").code == 0
    assert run("label", "list").err == "no labels\n"


TABLE = TableRef("primary", "hr", "people")
NOW = datetime.now(UTC)


def test_filters_are_listed_and_dropped(run: Run, tmp_path: Path) -> None:
    rule = RowFilter("f", TABLE, "id > 1", Audience(role="trader"))
    put_row(tmp_path, FILTERS, filter_row(rule, created_at=NOW, created_by="admin"))
    (found,) = json.loads(run("filter", "list", "--format", "json").out)
    assert (found["name"], found["filter"], found["created_by"]) == ("f", "id > 1", "admin")
    assert "role trader" in run("filter", "list", "--table", PEOPLE).out
    assert run("filter", "drop", PEOPLE, "f").out == f"dropped the row filter f of {PEOPLE}\n"
    assert run("filter", "drop", PEOPLE, "f").code == 1


def test_a_rule_that_cannot_be_read_can_be_dropped(run: Run, tmp_path: Path) -> None:
    row = mask_row(ColumnMask("m", TABLE, ("name",), NULLED), created_at=NOW, created_by=None)
    put_row(tmp_path, MASKS, row | {"kind": "blur"})
    assert "cannot be read" in run("mask", "list").err
    assert run("mask", "drop", PEOPLE, "m").code == 0
    assert run("mask", "list").code == 0


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (("mask", "put", PEOPLE, "m", "none", "null"), "no column"),
        (("mask", "put", PEOPLE, "m", "id", "mask"), "no text"),
        (("mask", "put", PEOPLE, "m", "name", "blur"), "one of"),
        (("mask", "put", PEOPLE, "m", "name", "null", "--to", "day"), "means nothing"),
        (("mask", "put", PEOPLE, "m", "name", "null", "--role", "nobodys"), "no role"),
        (("mask", "put", PEOPLE, "m", "name", "null", "--user", "bob"), "no user"),
        (
            ("mask", "put", PEOPLE, "m", "name", "null", "--user", "alice", "--role", "admin"),
            "one user",
        ),
        (("mask", "put", "hr.people", "m", "name", "null"), "bucket.schema.table"),
        (("mask", "put", "primary.hr.none", "m", "name", "null"), "does not exist"),
        (("mask", "put", "system.auth.users", "m", "email", "null"), "own tables"),
        (("label", "put", PEOPLE, "name", "secret"), "one of"),
        (("label", "put", PEOPLE, "none", "user_id"), "no column"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run: Run, line: tuple[str, ...], word: str) -> None:
    refused = run(*line)
    assert refused.code in (1, 2)
    assert word in refused.err
    assert refused.err.count("\n") == 1
