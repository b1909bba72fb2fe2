from __future__ import annotations

import pytest
from datafusion import SessionConfig, SessionContext

from flight_server.protocol import dialect
from flight_server.protocol import flight_sql_pb2 as pb

# How each type of SqlSupportsConvert is written in this dialect; None when CAST has no name for it.
SPELLED = {
    "BIGINT": "BIGINT",
    "BINARY": None,
    "BIT": "BOOLEAN",
    "CHAR": "CHAR",
    "DATE": "DATE",
    "DECIMAL": "DECIMAL(20,4)",
    "FLOAT": "FLOAT",
    "INTEGER": "INTEGER",
    "INTERVAL_DAY_TIME": "INTERVAL",
    "INTERVAL_YEAR_MONTH": "INTERVAL",
    "LONGVARBINARY": None,
    "LONGVARCHAR": "TEXT",
    "NUMERIC": "NUMERIC(20,4)",
    "REAL": "REAL",
    "SMALLINT": "SMALLINT",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP",
    "TINYINT": "TINYINT",
    "VARBINARY": None,
    "VARCHAR": "VARCHAR",
}


@pytest.fixture(scope="module")
def session() -> SessionContext:
    return SessionContext(SessionConfig().with_information_schema(True))


def test_each_function_exists_in_one_list(session: SessionContext) -> None:
    query = "SELECT DISTINCT routine_name FROM information_schema.routines"
    known = set(session.sql(query).to_pydict()["routine_name"])
    lists = (
        dialect.NUMERIC_FUNCTIONS,
        dialect.STRING_FUNCTIONS,
        dialect.DATETIME_FUNCTIONS,
        dialect.SYSTEM_FUNCTIONS,
    )
    names = [name for functions in lists for name in functions]
    assert set(names) <= known
    assert len(names) == len(set(names))


def test_the_table_of_casts_is_complete() -> None:
    names = {name.removeprefix("SQL_CONVERT_") for name in pb.SqlSupportsConvert.keys()}  # noqa: SIM118  # an enum, no dict
    assert set(dialect.CASTS) == set(SPELLED) == names


@pytest.mark.parametrize("source", sorted(dialect.CASTS))
def test_exactly_these_casts_work(session: SessionContext, source: str) -> None:
    value = f"CAST(NULL AS {SPELLED[source] or 'BYTEA'})"
    rows = f"(SELECT {value} AS x FROM (VALUES (1), (2)) AS v)"
    working = set()
    for target, spelled in SPELLED.items():
        try:
            session.sql(f"SELECT CAST(x AS {spelled or target}) FROM {rows}").collect()  # constants
        except Exception:  # noqa: BLE001  # DataFusion raises plain Exception
            continue
        working.add(target)
    assert working == set(dialect.CASTS[source])
