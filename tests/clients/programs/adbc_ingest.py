"""Bulk ingest through ADBC; the driver has it from 1.11 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tests.clients.cases import Program, Site
from tests.clients.programs.adbc_connect import connect, fetch, refusal
from tests.wire import kinds

DATA = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})


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
    empty = DATA.slice(0, 0).combine_chunks().to_batches() or [
        pa.record_batch([pa.array([], f.type) for f in DATA.schema], schema=DATA.schema)
    ]
    ingest(site, "nothing", empty[0])
    assert _count(site, "nothing") == 0


def ingests_every_type(site: Site) -> None:
    ingest(site, "ingested_types", kinds.every_kind())
    found = fetch(site, f"SELECT * FROM {site.schema}.ingested_types ORDER BY row")
    assert kinds.same(found, kinds.every_kind())


def ingests_arrow_types_that_delta_has_no_word_for(site: Site) -> None:
    text = ["a", None, "a"]
    given: dict[str, tuple[pa.Array[Any], Any]] = {
        "large": (pa.array(text, pa.large_string()), text),
        "views": (pa.array(text, pa.string_view()), text),
        "dictionary": (pa.array(text).dictionary_encode(), text),
        "large_binary": (pa.array([b"a", None, b"c"], pa.large_binary()), [b"a", None, b"c"]),
        "fixed_binary": (pa.array([b"ab", None, b"cd"], pa.binary(2)), [b"ab", None, b"cd"]),
        "large_list": (pa.array([[1], None, []], pa.large_list(pa.int64())), [[1], None, []]),
        "unsigned": (pa.array([1, None, 200], pa.uint8()), [1, None, 200]),
        "half": (pa.array([0.5, None, 2.0], pa.float16()), [0.5, None, 2.0]),
    }
    ingest(site, "arrow_types", pa.table({name: array for name, (array, _) in given.items()}))
    found = fetch(site, f"SELECT * FROM {site.schema}.arrow_types").to_pydict()
    assert found == {name: values for name, (_, values) in given.items()}


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
        ingests_arrow_types_that_delta_has_no_word_for,
        is_told_which_column_does_not_fit,
    )
    for function in cases:
        program.case("ingest", "ingest")(function)
    program.case("ingest", "ingest", "temporary")(keeps_a_temporary_table_to_itself)
