"""The tables of docs/sql.md, each row run against a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_manager as adbc
import pyarrow as pa
import pytest

from flight_server.sql.column_types import arrow_type
from flight_server.sql.grammar import read_command
from tests.lakehouse import write
from tests.servers import Server, running

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(.+?)` \|", re.MULTILINE)


def rows(heading: str) -> list[str]:
    """Return the statements in the first column of the table below a heading."""
    section = PAGE.split(f"# {heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    found = _ROW.findall(table[0])
    assert len(found) == table[0].count("\n") - 2, "a row does not start with a statement"
    return found


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("documented")
    for name in ("t", "u"):
        write(directory / name, pa.table({"a": [1, 2, 3], "b": ["x", "y", None]}))
    with running(directory) as server:
        yield server


def run(server: Server, sql: str) -> Any:
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


@pytest.mark.parametrize("sql", rows("Works") + rows("Rewritten"))
def test_what_works_works(sql: str, documented: Server) -> None:
    table = run(documented, sql)
    assert table.num_columns > 0
    is_empty = "constraint" in sql or "key_column" in sql or "1 = 0" in sql
    assert (table.num_rows == 0) is is_empty


@pytest.mark.parametrize("sql", rows("Refused"))
def test_what_is_refused_says_so(sql: str, documented: Server) -> None:
    with pytest.raises(adbc.Error) as caught:
        run(documented, sql)
    assert caught.value.status_code in (
        adbc.AdbcStatusCode.NOT_IMPLEMENTED,
        adbc.AdbcStatusCode.INVALID_ARGUMENT,
        adbc.AdbcStatusCode.NOT_FOUND,
    )
    table = run(documented, "SELECT count(*) AS n FROM t")
    assert table.column("n").to_pylist() == [3]


def test_rewritten_values_are_those_of_the_session(documented: Server) -> None:
    table = run(documented, "SELECT current_catalog, current_schema, current_user")
    expected = {"current_catalog": "primary", "current_schema": "public", "current_user": "admin"}
    assert table.to_pylist() == [expected]


@pytest.mark.parametrize("sql", rows("Statements that change something"))
def test_what_changes_something_is_read(sql: str) -> None:
    assert read_command(sql, bucket="primary", schema="public") is not None


def test_documented_types_are_types() -> None:
    section = PAGE.split("Columns are declared by the names", 1)[1].split("\n\n", 2)[1]
    names = re.findall(r"`([^`]+)`", section)
    assert len(names) > 20
    for name in names:
        declared = re.sub(r"\bp, s\b", "12, 2", name)
        arrow_type(re.sub(r"\b[TKV]\b", "INT", declared))
