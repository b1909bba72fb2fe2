"""Pieces of SQL that come by themselves: one expression or one name, and nothing behind it."""

from __future__ import annotations

import pytest

from flight_server.errors import LakeflightError
from flight_server.sql.fragments import check_condition, check_value, read_table
from flight_server.sql.names import DEFAULT
from policies.names import TableRef


@pytest.mark.parametrize(
    "text",
    [
        "id = 1",
        "id IN (SELECT id FROM other ORDER BY id LIMIT 3) AND name <> ';'",
        "CASE WHEN a THEN b ELSE c END IS DISTINCT FROM d -- why",
        "TRUE",
        "name = 'it''s' /* LIMIT 1 */ OR \"order\" = 2",
    ],
)
def test_one_condition(text: str) -> None:
    check_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  -- nothing",
        "id = 1; DROP TABLE t",
        "id = 1;",
        "id = 1) OR (1 = 1",
        "(id = 1",
        "id = 1 LIMIT 1",
        "id = 1 ORDER BY id",
        "id = 1 RETURNING *",
        "id = 1, 2",
        "id = ?",
        "id = $1",
        "id = $2",
        "id = :name",
        "name = 'open",
        "id = 1 /* open",
        'id = "open',
        "id = [1}",
        "id = 1\0",
    ],
)
def test_no_single_condition(text: str) -> None:
    with pytest.raises(LakeflightError):
        check_condition(text)


@pytest.mark.parametrize("text", ["n + 1 WHERE TRUE", "n, other = 2", "n FROM other", "n = $1"])
def test_no_single_value(text: str) -> None:
    with pytest.raises(LakeflightError):
        check_value(text)


def test_names_of_tables() -> None:
    assert read_table("t") == TableRef(DEFAULT, DEFAULT, "t")
    assert read_table('B."s.x"."T"') == TableRef("b", "s.x", "T")
    assert read_table(" s . t -- why") == TableRef(DEFAULT, "s", "t")
    for wrong in ("", "a.b.c.d", "t WHERE 1 = 1", "t; u", '"t@v5"', '"t@history"', "(t)", "t AS u"):
        with pytest.raises(LakeflightError):
            read_table(wrong)
