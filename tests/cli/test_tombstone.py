"""`lakeflight tombstone`: on the folder, with or without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flight_server.audit.spool import waiting
from tests.cli.test_cli import Run
from tests.lakehouse import orders_table, write
from tests.servers import running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    write(tmp_path / "sales" / "orders", orders_table(10))
    monkeypatch.setenv("LAKEFLIGHT_STORAGE__PRIMARY", str(tmp_path))
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_TIME_COST", "1")
    run = Run(capsys, monkeypatch)
    assert run("user", "add", "alice", "--password-stdin", typed="one fine pass\n").code == 0
    return run


def test_keys_are_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    nothing = run("tombstone", "list", "sales.orders")
    assert (nothing.out, nothing.err) == ("", "no tombstones\n")
    words = ("--key", "order_id", "--reason", "asked to be forgotten")
    added = run("tombstone", "add", "sales.orders", "1", "2", "1", *words, "--actor", "dpo")
    assert (added.out, added.code) == ("added 2, already 1\n", 0)
    refused = run("tombstone", "add", "sales.orders", "471199", "x", *words)
    assert (refused.out, refused.code) == ("added 1, refused 1\n", 1)
    assert refused.err.startswith("value 2: ")
    found = json.loads(run("tombstone", "list", "sales.orders", "--format", "json").out)
    assert [each["row_key_value"] for each in found] == [1, 2, 471199]
    assert (found[0]["actor"], found[0]["reason"]) == ("dpo", "asked to be forgotten")
    listed = run("tombstone", "list", "sales.orders", "--limit", "1")
    assert listed.err == "and 2 more\n"
    gone = run("tombstone", "remove", "primary.sales.orders", "2", "7")
    assert gone.out == "absent 1, removed 1\n"
    spooled = "".join(str(each) for each in waiting(tmp_path / ".lakeflight" / "audit"))
    assert "tombstone.add" in spooled
    assert "471199" not in spooled


def test_a_file_of_keys_and_a_server_that_runs(run: Run, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("1\n2\r\n\n9\n", encoding="utf-8")
    words = ("--key", "order_id", "--reason", "gone")
    with running(tmp_path) as server:
        sql = "SELECT count(*) AS n FROM sales.orders"
        assert server.fetch(sql).to_pylist() == [{"n": 10}]
        added = run("tombstone", "add", "sales.orders", "--file", str(keys), *words)
        assert (added.out, added.code) == ("added 3\n", 0)
        assert server.fetch(sql).to_pylist() == [{"n": 7}]
        assert run("tombstone", "remove", "sales.orders", "--file", str(keys)).out == "removed 3\n"
        assert server.fetch(sql).to_pylist() == [{"n": 10}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "sales.orders", "--key", "order_id", "--reason", "r"), "--file"),
        (("add", "sales.none", "1", "--key", "order_id", "--reason", "r"), "does not exist"),
        (("add", "sales.orders", "1", "--key", "none", "--reason", "r"), "no column"),
        (("add", "sales.orders", "1", "--key", "order_id", "--reason", " "), "reason"),
        (("remove", "sales.orders", "--file", "/nowhere/at/all"), "cannot be read"),
        (("list", "system.auth.users"), "no tombstones"),
        (("list", "a b c"), "name"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: tuple[str, ...], message: str) -> None:
    refused = run("tombstone", *arguments)
    assert refused.code in (1, 2)
    assert message in refused.err
