"""`lakeflight policy`: on the folder, with or without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from tests.cli.test_cli import Run
from tests.cli.test_grant import run
from tests.lakehouse import write

__all__ = ["run"]  # the fixture


@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Run:
    write(tmp_path / "sales" / "orders", pa.table({"id": [1, 2], "note": ["a", "b"]}))
    assert run("grant", "add", "read", "primary.sales", "--user", "alice").code == 0
    return run


def test_it_explains_in_sentences_and_as_json(filled: Run) -> None:
    asked = ("policy", "explain", "primary.sales.orders", "--user", "alice")
    lines = filled(*asked).out.splitlines()
    assert lines[0].startswith(
        "alice may read primary.sales.orders: read on primary.sales to the user alice is granted"
    )
    assert "by the command line" in lines[0]
    assert "2 of 2 columns are shown as they are." in lines
    answer = json.loads(filled(*asked, "--format", "json").out)
    assert answer["allowed"]
    assert [each["name"] for each in answer["columns"]] == ["id", "note"]
    assert answer["grants"][0]["created_by"] is None
    # Short names as in SQL, and earlier versions.
    version = answer["policy_version"]
    again = filled("policy", "explain", "sales.orders", "--user", "alice", "--version", version)
    assert again.out.splitlines()[0] == lines[0]


def test_it_compares_and_lists_versions(filled: Run) -> None:
    first, *_ = filled("policy", "versions").out.splitlines()[1:]
    version = first.split()[-1]
    assert filled("grant", "remove", "read", "primary.sales", "--user", "alice").code == 0
    text = filled("policy", "diff", version).out
    assert text.startswith("Removed read on primary.sales to the user alice (made by the command")
    answer = json.loads(filled("policy", "diff", version, "--format", "json").out)
    assert [each["change"] for each in answer["changes"]] == ["removed"]
    listed = json.loads(filled("policy", "versions", "--format", "json").out)
    assert [each["version"] for each in listed][-1] == version
    assert len(listed) == 2
    assert filled("policy", "diff", "2026-01-01", "2026-01-02").out.startswith("No stored rule")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["explain", "primary.sales.orders", "--user", "bob"], 1, "no user of this name"),
        (["explain", "a.b.c.d", "--user", "alice"], 2, ""),
        (["explain", "sales.orders", "--user", "alice", "--version", "x"], 2, "such as g4"),
        (["explain", "sales.orders", "--user", "alice", "--at", "x"], 2, "a point in time"),
        (["explain", "sales.orders", "--user", "alice", "--at", "2199-01-01"], 2, "future"),
        (["explain", "sales.orders", "--user", "alice", "--purpose", "fun"], 2, "no such purpose"),
        (["diff", "g9-f-m-l-v-s00"], 1, "has no version 9"),
        (["diff", "yesterday"], 2, "a point in time"),
        (["versions", "--from", "2026-02-01", "--to", "2026-01-01"], 2, "turned round"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    filled: Run, arguments: list[str], code: int, text: str
) -> None:
    outcome = filled("policy", *arguments)
    assert outcome.code == code, outcome
    assert text in outcome.err
    assert len(outcome.err.splitlines()) == 1
