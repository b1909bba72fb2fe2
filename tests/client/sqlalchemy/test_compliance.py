"""SQLAlchemy's own suite passes, but for what the requirements close with a reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.testing.requirements import SuiteRequirements

from tests.client.sqlalchemy.compliance.requirements import CLOSED, OPEN
from tests.lakehouse import build_lakehouse
from tests.servers import ADMIN_PASSWORD, running

FOLDER = Path(__file__).parent / "compliance"
ROOT = Path(__file__).parents[3]
PASSED_MIN = 680
PAGE = ROOT / "docs" / "sqlalchemy.md"
# What SQLAlchemy says where the requirements give no reason.
NO_REASON = "marked as skip"
_DOCUMENTED = re.compile(r"SQLAlchemy ([\d.]+): (\d+) passed, (\d+) skipped, none failed")
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_suite_of_sqlalchemy(tmp_path: Path) -> None:
    build_lakehouse(tmp_path)
    with running(tmp_path) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            for schema in ("main", "test_schema", "test_schema_2"):
                cursor.executescript(f"CREATE SCHEMA {schema}")
        host = server.uri.partition("://")[2]
        password = ADMIN_PASSWORD.replace(" ", "%20")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-c",
                str(FOLDER / "setup.cfg"),
                str(FOLDER / "suite.py"),
                "--dburi",
                f"lakeflight://admin:{password}@{host}/primary/main",
                "--maxfail=50",
                "-q",
                "-rs",
                "--tb=short",
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    last = done.stdout.rstrip().rpartition("\n")[2]
    counts = {what: int(number) for number, what in _COUNTS.findall(last)}
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert counts["passed"] >= PASSED_MIN, last
    assert NO_REASON not in done.stdout
    documented = _DOCUMENTED.search(PAGE.read_text(encoding="utf-8"))
    assert documented is not None
    if documented[1] == sqlalchemy.__version__:
        assert documented.groups()[1:] == (str(counts["passed"]), str(counts["skipped"]))


def test_nothing_is_both_open_and_closed() -> None:
    assert not OPEN & CLOSED.keys()


def test_requirements_are_those_of_sqlalchemy() -> None:
    unknown = [name for name in (*OPEN, *CLOSED) if not hasattr(SuiteRequirements, name)]
    assert not unknown, sqlalchemy.__version__
