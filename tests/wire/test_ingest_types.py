"""Arrow's own types go in by load and come back as they were, or as the documented plain type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_server.storage.delta_types import type_words
from tests.servers import Server, running
from tests.wire.kinds import same
from tests.wire.loading import ingest, load
from tests.wire.raw import RawClient, error_code
from tests.zoo import Specimen, specimens

REPOSITORY = Path(__file__).parents[2]
HELD = [each for each in specimens() if each.held is not None]
REFUSED = [each for each in specimens() if each.held is None]
# The official driver (1.11) cannot write list views that are parts of longer ones.
BY_ADBC = [each for each in HELD if "list_view" not in each.name]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over a folder of its own with the schema ``sales``."""
    directory = tmp_path_factory.mktemp("loads")
    with running(directory) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA sales")
        yield server


@pytest.fixture(scope="module")
def client(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


@pytest.fixture(scope="module")
def cursor(own: Server) -> Iterator[flightsql.Cursor]:
    with own.connect() as connection, connection.cursor() as cursor:
        yield cursor


def _batches(specimen: Specimen) -> list[pa.RecordBatch]:
    """Return a specimen whole, out of the middle of something longer, empty, and once more."""
    array = specimen.array
    longer = pa.concat_arrays([array[-1:], array, array[:1]])
    parts = [array, longer[1 : len(array)], array[:0], array]
    return [pa.RecordBatch.from_arrays([part], names=[specimen.column]) for part in parts]


def _expected(specimen: Specimen) -> pa.Table:
    held = specimen.held
    assert held is not None
    chunks: Any = pa.chunked_array([held, held[: len(held) - 1], held])
    return pa.table({specimen.column: chunks})


def _plain_names(table: pa.Table) -> pa.Table:
    """Give the elements of lists the name that a table gives them."""
    schema = pa.schema([pa.field(field.name, _renamed(field.type)) for field in table.schema])
    return pa.table(table.columns, schema=schema) if schema == table.schema else table.cast(schema)


def _renamed(kind: Any) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", _renamed(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(each.name, _renamed(each.type)) for each in kind.fields])
    if pa.types.is_map(kind):
        return pa.map_(_renamed(kind.key_type), _renamed(kind.item_type))
    plain: pa.DataType = kind
    return plain


def _names(cases: list[Specimen]) -> list[str]:
    return [each.name for each in cases]


@pytest.mark.parametrize("specimen", HELD, ids=_names(HELD))
def test_every_kind_comes_back(client: RawClient, specimen: Specimen) -> None:
    batches = _batches(specimen)
    expected = _plain_names(_expected(specimen))
    target = ingest("raw_" + specimen.column)
    assert load(client, target, batches) == expected.num_rows
    found = _plain_names(client.fetch(f'SELECT * FROM sales."raw_{specimen.column}"'))
    assert same(found, expected)


@pytest.mark.parametrize("specimen", BY_ADBC, ids=_names(BY_ADBC))
def test_every_kind_comes_back_by_the_official_driver(
    cursor: flightsql.Cursor, specimen: Specimen
) -> None:
    batches = _batches(specimen)
    expected = _plain_names(_expected(specimen))
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches))
    name = f"adbc_{specimen.column}"
    assert cursor.adbc_ingest(name, reader, mode="create", db_schema_name="sales") >= 0
    cursor.execute(f'SELECT * FROM sales."{name}"')
    assert same(_plain_names(cursor.fetch_arrow_table()), expected)


@pytest.mark.parametrize("specimen", HELD, ids=_names(HELD))
def test_every_kind_may_come_without_rows(client: RawClient, specimen: Specimen) -> None:
    expected = _plain_names(_expected(specimen))[:0]
    schema = _batches(specimen)[0].schema
    name = f"empty_{specimen.column}"
    assert load(client, ingest(name), [], schema=schema) == 0
    assert _plain_names(client.fetch(f'SELECT * FROM sales."{name}"')).schema == expected.schema


@pytest.mark.parametrize("specimen", REFUSED, ids=_names(REFUSED))
def test_what_a_table_cannot_hold_is_refused_and_named(
    own: Server, client: RawClient, specimen: Specimen
) -> None:
    name = f"refused_{specimen.column}"
    with pytest.raises(fl.FlightError, match=f'"{specimen.column}') as caught:
        load(client, ingest(name), _batches(specimen))
    assert error_code(caught.value) == "schema_mismatch"
    assert not (own.directory / "sales" / name).exists()


def test_the_documented_table_is_what_was_tested() -> None:
    documented = (REPOSITORY / "docs" / "tables.md").read_text(encoding="utf-8")
    for line in _documented():
        assert line in documented, "docs/tables.md lacks this line"


def _documented() -> list[str]:
    """Return the table of docs/tables.md: what a new table holds for each type of a load."""
    kinds: dict[str, list[str]] = {}
    for each in specimens():
        name = _family(each)
        names = kinds.setdefault(_held_as(each), [])
        if " of " not in each.name and name not in names:
            names.append(name)
    return [f"| {', '.join(names)} | {held} |" for held, names in kinds.items()]


def _family(specimen: Specimen) -> str:
    """Return the name of a type without what its specimens differ in."""
    name = re.split(r"[\[<(]", specimen.name)[0]
    if name == "timestamp":
        return "timestamp without zone" if "local" in specimen.name else "timestamp with any zone"
    if name.startswith("decimal"):
        return name if specimen.held is not None else f"{name} beyond 38 digits"
    return name


def _held_as(specimen: Specimen) -> str:
    if specimen.held is None:
        return "refused"
    if specimen.name.startswith(("dictionary", "run_end_encoded")):
        return "the type of its values"
    if specimen.name.startswith("decimal"):
        return "`DECIMAL` with as many digits and places"
    return f"`{type_words(specimen.held.type)}`"
