"""Bulk ingest through ADBC; the driver has it from 1.11 on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from tests.clients import zoo
from tests.clients.cases import Program, Site
from tests.clients.programs.adbc_connect import connect, fetch, refusal
from tests.wire import kinds

DATA = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})
# Without any batch the driver sends nothing at all.
NO_ROWS = DATA.to_batches()[0].slice(0, 0)


def ingest(site: Site, table: str, data: Any, mode: str = "create", **options: Any) -> int:
    """Load data into a table of the site's schema; the count that the driver reports."""
    with connect(site) as connection, connection.cursor() as cursor:
        options.setdefault("db_schema_name", site.schema)
        count: int = cursor.adbc_ingest(table, data, mode=mode, **options)
        return count


def _count(site: Site, table: str) -> int:
    count: int = fetch(site, f"SELECT count(*) FROM {site.schema}.{table}").column(0)[0].as_py()
    return count


def ingests_in_each_mode(site: Site) -> None:
    assert ingest(site, "modes", DATA, "create") == 3
    assert fetch(site, f"SELECT * FROM {site.schema}.modes ORDER BY id").equals(DATA)
    text = refusal(lambda: ingest(site, "modes", DATA, "create"))
    assert "modes" in text
    assert ingest(site, "modes", DATA, "append") == 3
    assert ingest(site, "modes", DATA, "create_append") == 3
    assert _count(site, "modes") == 9
    assert ingest(site, "modes", DATA.select(["id"]), "replace") == 3
    assert fetch(site, f"SELECT * FROM {site.schema}.modes").column_names == ["id"]
    refusal(lambda: ingest(site, "never_made", DATA, "append"))
    assert ingest(site, "made_now", DATA, "create_append") == 3
    assert ingest(site, "made_replaced", DATA, "replace") == 3


def ingests_by_catalog_and_schema(site: Site) -> None:
    assert ingest(site, "placed", DATA, catalog_name="primary") == 3
    assert _count(site, "placed") == 3
    refusal(lambda: ingest(site, "placed", DATA, catalog_name="nowhere"))


def ingests_a_stream_of_batches(site: Site) -> None:
    schema = pa.table({"n": pa.array([], pa.int64()), "text": pa.array([], pa.string())}).schema

    def batches() -> Any:
        for start in range(0, 500_000, 10_000):
            numbers = pa.array(range(start, start + 10_000), pa.int64())
            yield pa.record_batch([numbers, numbers.cast(pa.string())], schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    assert ingest(site, "streamed", reader) == 500_000
    answer = fetch(site, f"SELECT count(*), sum(n), max(text) FROM {site.schema}.streamed")
    assert answer.to_pylist() == [
        {
            "count(*)": 500_000,
            **dict(zip(answer.column_names[1:], (124999750000, "99999"), strict=True)),
        }
    ]


def ingests_nothing(site: Site) -> None:
    ingest(site, "nothing", NO_ROWS)
    assert _count(site, "nothing") == 0


def ingests_every_type(site: Site) -> None:
    ingest(site, "ingested_types", kinds.every_kind())
    found = fetch(site, f"SELECT * FROM {site.schema}.ingested_types ORDER BY row")
    assert kinds.same(found, kinds.every_kind())


def ingests_every_arrow_type(site: Site) -> None:
    sent = zoo.held()
    assert ingest(site, "zoo", sent) == sent.num_rows
    found = fetch(site, f"SELECT * FROM {site.schema}.zoo")
    types = dict(zip(found.column_names, found.schema.types, strict=True))
    assert types == {name: kind for name, (_, kind) in zoo.HELD.items()}
    wrong = [
        f"{name}: {found.column(name).to_pylist()}"
        for name, (array, _) in zoo.HELD.items()
        if found.column(name).to_pylist() != array.to_pylist()
    ]
    assert not wrong, "\n".join(wrong)
    ingest(site, "uuids", pa.table({"id": zoo.UUIDS}))
    texts = fetch(site, f"SELECT id FROM {site.schema}.uuids").column("id").to_pylist()
    assert texts == zoo.UUID_TEXTS


def is_told_which_types_no_table_holds(site: Site) -> None:
    for name, (array, word) in zoo.REFUSED.items():
        data = pa.table({"fine": range(len(array)), "at_fault": array})
        text = refusal(partial(ingest, site, f"no_{name}", data))
        assert "at_fault" in text, text
        assert word in text, text
        refusal(partial(fetch, site, f"SELECT * FROM {site.schema}.no_{name}"))


def is_told_of_names_that_cannot_be(site: Site) -> None:
    for name in ("../out", "a/b", "..", ".", "_delta_log", "a\nb"):
        refusal(partial(ingest, site, name, DATA))
        refusal(partial(ingest, site, "fine", DATA, db_schema_name=name))
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    assert "id" in refusal(partial(ingest, site, "twice", twice))


def ingests_once_by_its_key(site: Site) -> None:
    ingest(site, "keyed", NO_ROWS)
    key = {"adbc.flight.sql.rpc.call_header.x-lakehouse-idempotency-key": "one load"}
    for _ in range(2):
        with connect(site, **key) as connection, connection.cursor() as cursor:
            count = cursor.adbc_ingest("keyed", DATA, mode="append", db_schema_name=site.schema)
            assert count == 3
    assert _count(site, "keyed") == 3


def is_told_which_column_does_not_fit(site: Site) -> None:
    ingest(site, "fitted", DATA)
    wrong = pa.table({"id": ["x"], "name": ["y"]})
    text = refusal(lambda: ingest(site, "fitted", wrong, "append"))
    assert "id" in text, text
    extra = DATA.append_column("extra", pa.array([1, 2, 3]))
    text = refusal(lambda: ingest(site, "fitted", extra, "append"))
    assert "extra" in text, text
    assert _count(site, "fitted") == 3


def keeps_a_temporary_table_to_itself(site: Site) -> None:
    with connect(site) as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("passing", DATA, mode="create", temporary=True) == 3
        cursor.execute("SELECT count(*) FROM passing")
        assert cursor.fetchall() == [(3,)]
        refusal(lambda: fetch(site, "SELECT * FROM passing"))
    refusal(lambda: fetch(site, "SELECT * FROM passing"))


def add_to(program: Program) -> None:
    """Add the cases of this module."""
    cases: tuple[Callable[[Site], None], ...] = (
        ingests_in_each_mode,
        ingests_by_catalog_and_schema,
        ingests_a_stream_of_batches,
        ingests_nothing,
        ingests_every_type,
        ingests_every_arrow_type,
        is_told_which_types_no_table_holds,
        is_told_of_names_that_cannot_be,
        ingests_once_by_its_key,
        is_told_which_column_does_not_fit,
    )
    for function in cases:
        program.case("ingest", "ingest")(function)
    program.case("ingest", "ingest", "temporary")(keeps_a_temporary_table_to_itself)
