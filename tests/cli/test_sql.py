"""``lakeflight sql`` without a terminal: formats, files, exit codes, and the real server."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.cli import run
from tests.client.foreign import ForeignServer
from tests.servers import ADMIN_PASSWORD, Server


@pytest.fixture(scope="module")
def foreign() -> Iterator[ForeignServer]:
    with ForeignServer() as started:
        yield started


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.delenv("LAKEFLIGHT_PASSWORD", raising=False)


def test_a_table_with_its_count(foreign: ForeignServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", foreign.uri, "-c", "three", "--max-rows", "2"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].split() == ["n", "│", "text"]
    assert lines[2:4] == ["0 │ NULL", "1 │ row 1\\x1b[31m"]
    assert lines[4].startswith("(first 2 rows, more follow, ")
    assert shown.err == ""


def test_csv_and_json_on_standard_output(
    foreign: ForeignServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["sql", foreign.uri, "-c", "three", "--format", "csv"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ['"n","text"', "0,"]
    assert len(lines) == 31
    assert run(["sql", foreign.uri, "-c", "three", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert rows[1] == {"n": 1, "text": "row 1\x1b[31m"}


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "arrow"])
def test_an_export(
    foreign: ForeignServer, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / f"out.{suffix}"
    assert run(["sql", foreign.uri, "-c", "three", "--output", str(target)]) == 0
    assert "wrote 30 rows" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [target]
    if suffix == "parquet":
        assert pq.read_table(target).num_rows == 30
    if suffix == "arrow":
        assert pa.ipc.open_file(target.read_bytes()).read_all().num_rows == 30
    before = target.read_bytes()
    assert run(["sql", foreign.uri, "-c", "three", "-o", str(target)]) == 1
    assert "--force" in capsys.readouterr().err
    assert target.read_bytes() == before
    assert run(["sql", foreign.uri, "-c", "three", "-o", str(target), "--force"]) == 0


def test_a_failed_export_leaves_nothing(foreign: ForeignServer, tmp_path: Path) -> None:
    assert run(["sql", foreign.uri, "-c", "breaks", "-o", str(tmp_path / "out.csv")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_script_stops_at_its_first_error(
    foreign: ForeignServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.sql"
    script.write_text("three;\n-- a; comment\n;described; three")
    assert run(["sql", foreign.uri, "-f", str(script)]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("(30 rows") == 1
    assert shown.err == "error: there is no table a.b.c (table_not_found)\n"


def test_statements_come_from_standard_input(
    foreign: ForeignServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("three;\nthree\n"))
    assert run(["sql", foreign.uri]) == 0
    assert capsys.readouterr().out.count("(30 rows") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", ""],
        ["-c", "-- nothing"],
        ["-c", "three", "-f", "x.sql"],
        ["-f", "/nowhere/x.sql"],
        ["-c", "three", "--format", "xml"],
        ["-c", "three", "--format", "parquet"],
        ["-c", "three", "--output", "x.unknown"],
        ["-c", "three; three", "--output", "x.csv"],
        ["-c", "three", "--max-rows", "0"],
        ["-c", "three", "--user", "ada"],
        ["--password-stdin"],
    ],
)
def test_wrong_usage_is_exit_code_two(
    foreign: ForeignServer, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sql", foreign.uri, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "grpc://127.0.0.1:1", "-c", "x", "--user", "a", "--password", "b"]) == 1
    assert capsys.readouterr().err.startswith("error: nobody answers at 127.0.0.1:1")
    assert run(["sql", "http://x", "-c", "x"]) == 2


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "--help"]) == 0
    assert "lakeflight sql -c 'SELECT * FROM tpch.nation'" in capsys.readouterr().out


def test_a_real_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAKEFLIGHT_PASSWORD", ADMIN_PASSWORD)
    assert run(["sql", server.uri, "-c", "SELECT 1 AS one, NULL AS nothing"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["one │ nothing", "────┼────────", "  1 │ NULL"]
    assert run(["sql", server.uri, "-c", "SELECT * FROM no_such_table"]) == 1
    assert capsys.readouterr().err.endswith("(table_not_found)\n")


def test_a_password_from_standard_input(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ADMIN_PASSWORD}\n"))
    assert run(["sql", server.uri, "--password-stdin", "-c", "SELECT 1"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
    assert run(["sql", server.uri, "--password-stdin", "-c", "SELECT 1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "wrong\n" not in error
