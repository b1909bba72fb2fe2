"""``lakeflight demo``: made, served, and every printed line works."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flight_server.cli import run
from flight_server.cli.demo import DEMO_PASSWORD, recipes, shown_password
from flight_server.client import Connection, connect
from flight_server.demo import is_complete
from flight_server.ops.settings import load

SCALE = ["--scale", "0.001"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Return the URI of a served demo and what its command printed."""
    directory = tmp_path_factory.mktemp("served")
    process = subprocess.Popen(
        [sys.executable, "-m", "flight_server", "demo", str(directory), *SCALE, "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("ready ")
        uri = ready.split()[1]
        expected = recipes(uri, password=DEMO_PASSWORD)
        yield uri, "".join(process.stdout.readline() for _ in expected.splitlines())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def connection(served: tuple[str, str]) -> Iterator[Connection]:
    with connect(served[0], user="admin", password=DEMO_PASSWORD) as opened:
        yield opened


def ask(connection: Connection, sql: str) -> list[dict[str, object]]:
    return [row for batch in connection.execute(sql) for row in batch.to_pylist()]


def test_it_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["demo", str(tmp_path / "lake"), *SCALE, "--no-serve"]
    assert run(command) == 0
    assert "made the sample lakehouse" in capsys.readouterr().err
    assert is_complete(tmp_path / "lake")
    assert run(command) == 0
    assert "found the sample lakehouse" in capsys.readouterr().err
    assert run([*command, "--scale", "0.002"]) == 1
    assert "--force" in capsys.readouterr().err


def test_tables_and_their_rows(connection: Connection) -> None:
    counts = {
        name: ask(connection, f"SELECT count(*) AS n FROM {name}")[0]["n"]
        for name in (
            "tpch.lineitem",
            "primary.tpch.nation",
            "staffing.candidates",
            "staffing.placements",
            "files.cities",
            "files.targets",
        )
    }
    assert counts == {
        "tpch.lineitem": 6_005,
        "primary.tpch.nation": 25,
        "staffing.candidates": 1_000,
        "staffing.placements": 10_000,
        "files.cities": 54,
        "files.targets": 216,
    }


def test_history_can_be_read(connection: Connection) -> None:
    counts = [
        ask(connection, f"SELECT count(*) AS n FROM staffing.candidates VERSION AS OF {version}")
        for version in range(4)
    ]
    assert [rows[0]["n"] for rows in counts] == [900, 900, 1_000, 1_000]


def test_only_the_samples_schemas_are_seen(connection: Connection) -> None:
    seen = {name for catalog, name in connection.schemas() if catalog == "primary"}
    # ``public`` can be written, and has nothing in it.
    assert seen == {"tpch", "staffing", "files", "information_schema", "public"}


def test_the_printed_python_runs(served: tuple[str, str]) -> None:
    uri, printed = served
    assert uri in printed
    blocks = re.findall(r"^  (\w[\w, ]*?)   +(.*(?:\n {17}.*)*)", printed, re.MULTILINE)
    lines = {name: re.sub(r"\n {17}", "\n", body) for name, body in blocks}
    assert set(lines) == {"command line", "Python, ADBC", "pandas", "polars", "DuckDB", "JDBC"}
    code = [lines[name] for name in ("Python, ADBC", "pandas", "polars", "DuckDB")]
    program = "\n".join([*code, "cursor.close()", "conn.close()", "print('all ran')"])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("all ran\n"), done.stderr


def test_the_printed_statements_run(served: tuple[str, str], connection: Connection) -> None:
    for label in ("Time travel", "Plain files"):
        match = re.search(rf"^{label}: +(.*)$", served[1], re.MULTILINE)
        assert match
        assert ask(connection, match[1])


def test_a_password_of_ones_own_is_not_printed() -> None:
    settings = load(None, {"admin.password": "my own secret"}, environ={})
    assert shown_password(settings) == "YOUR-ADMIN-PASSWORD"
