"""pandas over a connection of the ADBC driver."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.clients.cases import Program, Site
from tests.clients.programs.adbc_connect import connect, fetch, refusal
from tests.wire import kinds

PROGRAM = Program(("pandas", "adbc-driver-flightsql"))
PROGRAM.cannot("parameters", "pandas passes no parameters to ADBC")
PROGRAM.cannot("DDL/DML", "pandas has no calls for it beyond those of its ingest")
PROGRAM.cannot("cancel", "has no call for it")


def _read(site: Site, sql: str, **options: Any) -> Any:
    import pandas as pd  # noqa: PLC0415  only its own process has it

    with connect(site) as connection:
        return pd.read_sql(sql, connection, **options)


@PROGRAM.case("connect")
def reads_over_a_connection(site: Site) -> None:
    assert _read(site, "SELECT 1 AS one").to_dict("records") == [{"one": 1}]


@PROGRAM.case("browse")
def knows_which_tables_there_are(site: Site) -> None:
    from pandas.io import sql  # noqa: PLC0415  as above

    with connect(site) as connection:
        database: Any = sql.pandasSQL_builder(connection)  # type: ignore[attr-defined]  # not in the stubs
        assert database.has_table("orders", schema="sales")
        assert not database.has_table("nowhere", schema="sales")
        assert not database.has_table("orders", schema="files")


@PROGRAM.case("browse")
def reads_a_table_by_name(site: Site) -> None:
    import pandas as pd  # noqa: PLC0415  as above

    with connect(site) as connection:
        # pandas drops the schema that it is given here: the table is in the default one.
        frame = pd.read_sql_table("events", connection)
    assert sorted(frame["id"]) == [1, 2, 3]


@PROGRAM.case("query")
def reads_queries(site: Site) -> None:
    frame = _read(site, "SELECT order_id, amount, note FROM sales.orders WHERE order_id <= 3")
    assert sorted(frame["order_id"]) == [1, 2, 3]
    assert frame["amount"].sum() == Decimal("0.75")
    assert frame["note"].isna().sum() == 2
    assert len(_read(site, "SELECT * FROM sales.empty")) == 0


@PROGRAM.case("query")
def reads_text_with_the_signs_of_patterns(site: Site) -> None:
    # pandas asks for a table of that name first, with the text as a pattern.
    sql = "SELECT count(*) AS n FROM sales.orders\nWHERE customer LIKE 'c_st%' AND '\\_''\"' <> ''"
    assert _read(site, sql)["n"].tolist() == [10_000]


@PROGRAM.case("query")
def shows_errors_as_they_are(site: Site) -> None:
    assert "nowhere" in refusal(lambda: _read(site, "SELECT * FROM sales.nowhere"))


def _frame(rows: int = 3) -> Any:
    import pandas as pd  # noqa: PLC0415  as above

    names = [f"name {n}" if n % 2 else None for n in range(rows)]
    return pd.DataFrame({"id": range(rows), "name": names, "half": [n / 2 for n in range(rows)]})


def _to_sql(site: Site, frame: Any, name: str, if_exists: str) -> int:
    with connect(site) as connection:
        count: int = frame.to_sql(
            name, connection, schema=site.schema, if_exists=if_exists, index=False
        )
        return count


@PROGRAM.case("ingest", "ingest")
def writes_a_frame(site: Site) -> None:
    assert _to_sql(site, _frame(), "frame", "fail") == 3
    found = fetch(site, f"SELECT * FROM {site.schema}.frame ORDER BY id").to_pydict()
    assert found == {"id": [0, 1, 2], "name": [None, "name 1", None], "half": [0.0, 0.5, 1.0]}
    with pytest.raises(ValueError, match="frame"):  # pandas asks before it writes
        _to_sql(site, _frame(), "frame", "fail")


@PROGRAM.case("ingest", "ingest")
def appends_to_a_table(site: Site) -> None:
    assert _to_sql(site, _frame(5), "appended", "append") == 5
    assert _to_sql(site, _frame(5), "appended", "append") == 5
    assert fetch(site, f"SELECT count(*) FROM {site.schema}.appended").column(0)[0].as_py() == 10


@PROGRAM.case("ingest", "ingest", "ddl")
def replaces_a_table(site: Site) -> None:
    assert _to_sql(site, _frame(5), "replaced", "replace") == 5
    assert _to_sql(site, _frame(2)[["id"]], "replaced", "replace") == 2  # DROP TABLE, then ingest
    found = fetch(site, f"SELECT * FROM {site.schema}.replaced")
    assert found.column_names == ["id"]
    assert found.num_rows == 2


@PROGRAM.case("types")
def reads_every_type(site: Site) -> None:
    import pyarrow as pa  # noqa: PLC0415  as above

    sql = "SELECT * FROM types.every ORDER BY row"
    frame = _read(site, sql, dtype_backend="pyarrow")
    found = pa.Table.from_pandas(frame, schema=kinds.SCHEMA, preserve_index=False)
    assert kinds.same(found.replace_schema_metadata(), kinds.every_kind())


if __name__ == "__main__":
    PROGRAM.main()
