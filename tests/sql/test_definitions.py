"""Statements about tables, schemas, views, upkeep and the session."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.sql.commands import (
    AddColumns,
    AlterTable,
    Column,
    Command,
    CreateSchema,
    CreateTable,
    CreateView,
    DropColumns,
    DropSchema,
    DropTable,
    DropView,
    IfThere,
    Optimize,
    RenameColumn,
    RenameTable,
    Restore,
    SetOption,
    Use,
    Vacuum,
)
from flight_server.sql.grammar import read_command
from flight_server.sql.names import AsOf
from policies.names import TableRef

T = TableRef("b", "s", "t")
A = Column("a", "INT")


def read(sql: str) -> Command | None:
    return read_command(sql, bucket="b", schema="s")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE t (a INT)", CreateTable(T, (A,))),
        ("CREATE TABLE IF NOT EXISTS t (a INT)", CreateTable(T, (A,), if_there=IfThere.KEEP)),
        ("CREATE OR REPLACE TABLE t (a INT)", CreateTable(T, (A,), if_there=IfThere.REPLACE)),
        ("CREATE TEMP TABLE t AS SELECT 1", CreateTable(T, source="SELECT 1", temporary=True)),
        (
            "CREATE LOCAL TEMPORARY TABLE t (a INT) ON COMMIT PRESERVE ROWS",
            CreateTable(T, (A,), temporary=True),
        ),
        ("CREATE TABLE t AS (SELECT 1 AS a)", CreateTable(T, source="(SELECT 1 AS a)")),
        ("CREATE TABLE t (SELECT 1)", CreateTable(T, source="(SELECT 1)")),
        ("CREATE TABLE t USING delta AS VALUES (1)", CreateTable(T, source="VALUES (1)")),
        (
            "CREATE TABLE t AS WITH x AS (SELECT 1) SELECT * FROM x WITH DATA",
            CreateTable(T, source="WITH x AS (SELECT 1) SELECT * FROM x"),
        ),
        ("CREATE TABLE t (a INT) AS SELECT 1", CreateTable(T, (A,), "SELECT 1")),
        ("CREATE TABLE t (a INT) WITH (format = 'delta')", CreateTable(T, (A,))),
        (
            (
                "CREATE TABLE t (a INT, b MAP<STRING, ARRAY<INT>> NOT NULL COMMENT 'it''s', \"C d\""
                " DECIMAL(12, 2) NULL, e DOUBLE PRECISION, f TIMESTAMP WITH TIME ZONE NOT NULL)"
                " USING DELTA PARTITIONED BY (e, a) COMMENT = 'c'"
            ),
            CreateTable(
                T,
                (
                    A,
                    Column("b", "MAP<STRING, ARRAY<INT>>", nullable=False, comment="it's"),
                    Column("C d", "DECIMAL(12, 2)"),
                    Column("e", "DOUBLE PRECISION"),
                    Column("f", "TIMESTAMP WITH TIME ZONE", nullable=False),
                ),
                partition_by=("e", "a"),
                comment="c",
            ),
        ),
        (
            "CREATE TABLE t (key INT, check INT)",
            CreateTable(T, (Column("key", "INT"), Column("check", "INT"))),
        ),
        ("DROP TABLE t", DropTable(T)),
        ("DROP TABLE IF EXISTS x.y.z CASCADE", DropTable(TableRef("x", "y", "z"), if_exists=True)),
        ("DROP VIEW IF EXISTS t RESTRICT", DropView(T, if_exists=True)),
        ("DROP SCHEMA q", DropSchema("b", "q")),
        ("DROP SCHEMA IF EXISTS x.q CASCADE", DropSchema("x", "q", if_exists=True, cascade=True)),
        ("CREATE SCHEMA q", CreateSchema("b", "q")),
        ("CREATE SCHEMA IF NOT EXISTS x.q", CreateSchema("x", "q", if_not_exists=True)),
        ("CREATE VIEW t AS SELECT 1 -- x", CreateView(T, "SELECT 1")),
        (
            "CREATE OR REPLACE VIEW t (a, b) COMMENT 'c' AS TABLE u;",
            CreateView(T, "TABLE u", ("a", "b"), "c", IfThere.REPLACE),
        ),
        (
            "CREATE VIEW IF NOT EXISTS t AS (SELECT 1)",
            CreateView(T, "(SELECT 1)", if_there=IfThere.KEEP),
        ),
        ("ALTER TABLE t ADD a INT", AlterTable(T, AddColumns((A,)))),
        (
            "ALTER TABLE IF EXISTS t ADD COLUMN IF NOT EXISTS a INT",
            AlterTable(T, AddColumns((A,), if_not_exists=True), if_exists=True),
        ),
        (
            "ALTER TABLE t ADD COLUMNS (a INT, b TEXT COMMENT 'x')",
            AlterTable(T, AddColumns((A, Column("b", "TEXT", comment="x")))),
        ),
        (
            "ALTER TABLE t ADD COLUMN a INT, ADD COLUMN b TEXT",
            AlterTable(T, AddColumns((A, Column("b", "TEXT")))),
        ),
        ("ALTER TABLE t RENAME COLUMN a TO b", AlterTable(T, RenameColumn("a", "b"))),
        ("ALTER TABLE t RENAME a TO b", AlterTable(T, RenameColumn("a", "b"))),
        (
            "ALTER TABLE x.y.t RENAME TO u",
            AlterTable(TableRef("x", "y", "t"), RenameTable(TableRef("x", "y", "u"))),
        ),
        ("ALTER TABLE t RENAME TO q.u", AlterTable(T, RenameTable(TableRef("b", "q", "u")))),
        (
            "ALTER TABLE t DROP COLUMN IF EXISTS a",
            AlterTable(T, DropColumns(("a",), if_exists=True)),
        ),
        ("ALTER TABLE t DROP COLUMNS (a, b)", AlterTable(T, DropColumns(("a", "b")))),
        ("ALTER TABLE t DROP a, DROP COLUMN b CASCADE", AlterTable(T, DropColumns(("a", "b")))),
        ("RESTORE TABLE t TO VERSION AS OF 3", Restore(T, AsOf(version=3))),
        (
            "RESTORE t TO TIMESTAMP AS OF '2026-02-01'",
            Restore(T, AsOf(time=datetime(2026, 2, 1, tzinfo=UTC))),
        ),
        ("OPTIMIZE t", Optimize(T)),
        ('OPTIMIZE t ZORDER BY (a, "B")', Optimize(T, ("a", "B"))),
        ("OPTIMIZE t ZORDER BY a, b", Optimize(T, ("a", "b"))),
        ("VACUUM t", Vacuum(T)),
        ("VACUUM t RETAIN 0.5 HOURS DRY RUN", Vacuum(T, 0.5, dry_run=True)),
        ("VACUUM t DRY RUN", Vacuum(T, dry_run=True)),
        ("USE x", Use("x", None, is_either=True)),
        ("USE x.y", Use("x", "y")),
        ("USE schema.y", Use("schema", "y")),
        ("USE CATALOG x", Use("x", None)),
        ("USE SCHEMA y", Use(None, "y")),
        ('USE DATABASE "X"', Use("X", None)),
        ("SET SCHEMA 'y'", Use(None, "y")),
        ("SET CATALOG x", Use("x", None)),
        ("SET schema = 'y'", SetOption("schema", "y")),
        ("SET search_path TO y", SetOption("schema", "y")),
        ("SET SESSION query_tag = 'a''b'", SetOption("query_tag", "a'b")),
        ("SET query_timeout_seconds TO 30", SetOption("query_timeout_seconds", 30)),
        ("SET query_timeout_seconds = -1.5", SetOption("query_timeout_seconds", -1.5)),
        ("SET x.y = on", SetOption("x.y", value=True)),
        ("SET x = DEFAULT", SetOption("x", None)),
        ("RESET x", SetOption("x", None)),
    ],
)
def test_statements(sql: str, expected: Command) -> None:
    assert read(sql) == expected


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TABLE t (a INT PRIMARY KEY)", "NOT NULL is the one constraint"),
        ("CREATE TABLE t (a INT, PRIMARY KEY (a))", "NOT NULL is the one constraint"),
        ("CREATE TABLE t (a INT, CONSTRAINT c UNIQUE (a))", "NOT NULL is the one constraint"),
        ("CREATE TABLE t (a INT REFERENCES u)", "NOT NULL is the one constraint"),
        ("CREATE TABLE t (a INT CHECK (a > 1))", "NOT NULL is the one constraint"),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES u)", "NOT NULL is the one constraint"),
        ("CREATE TABLE t (a INT DEFAULT 1)", "no defaults"),
        ("CREATE TABLE t (a INT GENERATED ALWAYS AS IDENTITY)", "no defaults"),
        ("CREATE TABLE t (a INT AUTO_INCREMENT)", "no defaults"),
        ("CREATE TABLE t LIKE u", "AS SELECT"),
        ("CREATE TABLE t (LIKE u)", "AS SELECT"),
        ("CREATE TABLE t CLONE u", "AS SELECT"),
        ("CREATE TABLE t (a INT) USING parquet", "Delta"),
        ("CREATE TABLE t (a INT) LOCATION '/x'", "names no files"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/x'", "names no files"),
        ("CREATE TABLE t (a INT) TBLPROPERTIES ('x' = 'y')", "no properties"),
        ("CREATE TABLE t (a INT) CLUSTER BY (a)", "ZORDER"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (day(a))", "not by functions"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (b INT)", "among the others"),
        ("CREATE TABLE t AS SELECT 1 WITH NO DATA", "LIMIT 0"),
        ("CREATE TEMP TABLE t (a INT) ON COMMIT DROP", "session ends"),
        ("CREATE UNIQUE INDEX i ON t (a)", "ZORDER"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE TABLE"),
        ("CREATE TEMP VIEW v AS SELECT 1", "temporary views"),
        ("CREATE DATABASE d", "CREATE SCHEMA"),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", "functions"),
        ("CREATE SCHEMA s AUTHORIZATION x", "rights"),
        ("DROP TABLE t, u", "a statement for each"),
        ("DROP DATABASE d", "DROP SCHEMA"),
        ("DROP INDEX i", "no indexes"),
        ("ALTER TABLE t ALTER COLUMN a TYPE INT", "OR REPLACE TABLE"),
        ("ALTER TABLE t SET TBLPROPERTIES ('x' = 'y')", "no properties"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 1)", "NOT NULL"),
        ("ALTER TABLE t ADD COLUMN a INT FIRST", "behind the others"),
        ("ALTER TABLE t ADD COLUMN a.b INT", "whole column"),
        ("ALTER TABLE t ADD a INT, DROP b", "a statement for each"),
        ("ALTER VIEW v RENAME TO w", "CREATE OR REPLACE VIEW"),
        ("OPTIMIZE t WHERE a = 1", "whole table"),
        ("VACUUM FULL t", "VACUUM t"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "committed by itself"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "committed by itself"),
        ("SET LOCAL x = 1", "committed by itself"),
        ("SET TIME ZONE 'UTC'", "UTC always"),
        ("SET NAMES 'utf8'", "UTF-8 always"),
        ("SET ROLE x", "rights"),
        ("SET search_path = a, b", "one value"),
        ("RESET ALL", "by its name"),
    ],
)
def test_what_is_not_done_says_what_to_use(sql: str, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        read(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t",
        "CREATE TABLE t ()",
        "CREATE TABLE t (a)",
        "CREATE TABLE t (a INT, a TEXT)",
        "CREATE TABLE t (a INT) PARTITIONED BY (b)",
        "CREATE TABLE t (a INT) PARTITIONED BY (a)",
        "CREATE TABLE t (a INT) nonsense",
        "CREATE TABLE t (a ARRAY<INT)",
        "CREATE OR REPLACE TABLE IF NOT EXISTS t (a INT)",
        'CREATE TABLE "t@v3" (a INT)',
        "CREATE TABLE t AS INSERT INTO u SELECT 1",
        "CREATE VIEW v",
        "CREATE VIEW v AS DELETE FROM t",
        "CREATE VIEW v AS SELECT ?",
        "CREATE VIEW v AS SELECT $1",
        "CREATE VIEW v (a, a) AS SELECT 1, 2",
        "CREATE SCHEMA a.b.c",
        "CREATE nonsense",
        "DROP",
        "DROP TABLE t u",
        "ALTER TABLE t",
        "ALTER TABLE t ADD COLUMN",
        'ALTER TABLE t RENAME TO "u@v1"',
        "ALTER TABLE t RENAME COLUMN a b",
        "RESTORE t",
        "RESTORE t TO VERSION AS OF x",
        "RESTORE t TO TIMESTAMP AS OF 3",
        "OPTIMIZE",
        "OPTIMIZE t ZORDER BY (a, a)",
        "VACUUM",
        "VACUUM t RETAIN HOURS",
        "VACUUM t RETAIN -1 HOURS",
        "VACUUM t RETAIN 1 DAYS",
        "USE",
        "USE a.b.c",
        "SET",
        "SET x",
        "SET x =",
        "SET x = (1)",
        "RESET",
    ],
)
def test_what_cannot_be_read_says_where(sql: str) -> None:
    with pytest.raises(InvalidRequest, match=r"line=1 column=\d+$"):
        read(sql)
