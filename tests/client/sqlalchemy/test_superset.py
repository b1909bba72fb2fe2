"""What the engine spec for Superset puts into SQL runs, and its patterns know the server's errors.

Superset itself needs a SQLAlchemy and a pyarrow of its own: a stand-in takes its place here.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine.url import make_url

from tests.servers import Server

SPEC = Path(__file__).parents[3] / "docs" / "superset" / "lakeflight_superset.py"
# A Thursday.
MOMENT = datetime(2026, 2, 12, 13, 47, 52, tzinfo=UTC)
STARTS = {
    None: "2026-02-12T13:47:52",
    "PT1S": "2026-02-12T13:47:52",
    "PT5S": "2026-02-12T13:47:50",
    "PT30S": "2026-02-12T13:47:30",
    "PT1M": "2026-02-12T13:47:00",
    "PT5M": "2026-02-12T13:45:00",
    "PT10M": "2026-02-12T13:40:00",
    "PT15M": "2026-02-12T13:45:00",
    "PT30M": "2026-02-12T13:30:00",
    "PT0.5H": "2026-02-12T13:30:00",
    "PT1H": "2026-02-12T13:00:00",
    "PT6H": "2026-02-12T12:00:00",
    "P1D": "2026-02-12T00:00:00",
    "P1W": "2026-02-09T00:00:00",
    "1969-12-28T00:00:00Z/P1W": "2026-02-08T00:00:00",
    "1969-12-29T00:00:00Z/P1W": "2026-02-09T00:00:00",
    "P1W/1970-01-03T00:00:00Z": "2026-02-14T00:00:00",
    "P1W/1970-01-04T00:00:00Z": "2026-02-15T00:00:00",
    "P1M": "2026-02-01T00:00:00",
    "P3M": "2026-01-01T00:00:00",
    "P0.25Y": "2026-01-01T00:00:00",
    "P1Y": "2026-01-01T00:00:00",
}
COLUMNS = {
    "plain": "TIMESTAMP '2026-02-12 13:47:52'",
    "zoned": "CAST('2026-02-12T13:47:52Z' AS TIMESTAMP WITH TIME ZONE)",
}


class Kinds(Enum):
    """Stands in for Superset's enumerations."""

    CONNECTION_ACCESS_DENIED_ERROR = "access"
    CONNECTION_HOST_DOWN_ERROR = "down"
    CONNECTION_UNKNOWN_DATABASE_ERROR = "bucket"
    SCHEMA_DOES_NOT_EXIST_ERROR = "schema"
    TABLE_DOES_NOT_EXIST_ERROR = "table"
    COLUMN_DOES_NOT_EXIST_ERROR = "column"
    SYNTAX_ERROR = "syntax"
    NUMERIC = 0
    STRING = 1


class Mixin:
    """Stands in for Superset's parameters in a form."""


class Base:
    """Stands in for Superset's base class."""

    @classmethod
    def get_sqla_column_type(cls, target_type: str) -> Any:
        return {"DATE": sa.Date(), "TIMESTAMP": sa.TIMESTAMP()}.get(target_type)


@pytest.fixture(scope="module")
def spec() -> Iterator[Any]:
    stands: dict[str, dict[str, Any]] = {
        "superset": {},
        "superset.db_engine_specs": {},
        "superset.db_engine_specs.base": {"BaseEngineSpec": Base, "BasicParametersMixin": Mixin},
        "superset.errors": {"SupersetErrorType": Kinds},
        "superset.utils": {},
        "superset.utils.core": {"GenericDataType": Kinds},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, members in stands.items():
            module = ModuleType(name)
            vars(module).update(members)
            patch.setitem(sys.modules, name, module)
        found = importlib.util.spec_from_file_location("lakeflight_superset", SPEC)
        assert found is not None
        assert found.loader is not None
        loaded = importlib.util.module_from_spec(found)
        found.loader.exec_module(loaded)
        yield loaded.LakeflightEngineSpec


def test_every_grain_is_expected_here(spec: Any) -> None:
    assert set(spec._time_grain_expressions) == set(STARTS)


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_time_grains(spec: Any, server: Server, column: str) -> None:
    grains = spec._time_grain_expressions
    said = ", ".join(
        f"{expression.format(col='t')} AS g{number}"
        for number, expression in enumerate(grains.values())
    )
    (row,) = server.fetch(f"SELECT {said} FROM (SELECT {column} AS t)").to_pylist()
    starts = {
        grain: row[f"g{number}"].replace(tzinfo=None).isoformat()
        for number, grain in enumerate(grains)
    }
    assert starts == STARTS


def test_time_grains_of_dates(spec: Any, server: Server) -> None:
    for expression in spec._time_grain_expressions.values():
        said = expression.format(col="ordered_on")
        sql = f"SELECT {said} AS g, count(*) AS n FROM sales.orders GROUP BY 1 ORDER BY 1"
        assert sum(server.fetch(sql)["n"].to_pylist()) == 10_000


def test_epochs(spec: Any, server: Server) -> None:
    seconds = int(MOMENT.timestamp())
    table = server.fetch(
        f"SELECT {spec.epoch_to_dttm().format(col=seconds)} AS s,"
        f" {spec.epoch_ms_to_dttm().format(col=seconds * 1000 + 5)} AS ms"
    )
    assert table["s"][0].cast(pa.timestamp("us")).as_py() == MOMENT.replace(tzinfo=None)
    assert table["ms"][0].cast(pa.timestamp("us")).as_py() == MOMENT.replace(
        tzinfo=None, microsecond=5000
    )


def test_literals_of_moments(spec: Any, server: Server) -> None:
    for kind in ("DATE", "TIMESTAMP"):
        literal = spec.convert_dttm(kind, datetime.fromisoformat("2026-01-28T00:00:00"))
        found = server.fetch(
            f"SELECT count(*) AS n FROM sales.orders WHERE ordered_on >= {literal}"
        )
        assert found["n"].to_pylist() == [357]
    assert spec.convert_dttm("VARCHAR", MOMENT) is None


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT nope FROM sales.orders", Kinds.COLUMN_DOES_NOT_EXIST_ERROR),
        ("SELECT * FROM sales.nope", Kinds.TABLE_DOES_NOT_EXIST_ERROR),
        ("SELECT * FROM nope.sales.orders", Kinds.CONNECTION_UNKNOWN_DATABASE_ERROR),
        ("SELEC 1", Kinds.SYNTAX_ERROR),
        ("SELECT 1 FROM", Kinds.SYNTAX_ERROR),
    ],
)
def test_errors_are_known(spec: Any, server: Server, sql: str, kind: Kinds) -> None:
    with pytest.raises(Exception) as caught:
        server.fetch(sql)
    kinds = [
        found
        for pattern, (_, found, _) in spec.custom_errors.items()
        if pattern.search(str(caught.value))
    ]
    assert kinds[:1] == [kind], str(caught.value)


def test_a_wrong_password_is_known(spec: Any, server: Server) -> None:
    with pytest.raises(Exception) as caught:
        server.connect(password="wrong")
    kinds = [
        found for p, (_, found, _) in spec.custom_errors.items() if p.search(str(caught.value))
    ]
    assert kinds[:1] == [Kinds.CONNECTION_ACCESS_DENIED_ERROR]


@pytest.mark.parametrize(
    ("path", "catalog", "schema", "changed"),
    [
        ("/", None, None, "primary"),
        ("/b/s", None, None, "b/s"),
        ("/b/s", None, "other", "b/other"),
        ("/b/s", "c", None, "c"),
        ("/b/s", "c", "t", "c/t"),
    ],
)
def test_another_catalog_and_schema(
    spec: Any, path: str, catalog: str | None, schema: str | None, changed: str
) -> None:
    url, arguments = spec.adjust_engine_params(
        make_url(f"lakeflight://h{path}"), {}, catalog=catalog, schema=schema
    )
    assert url.database == changed
    assert arguments == {}


def test_names_in_the_url(spec: Any) -> None:
    url = make_url("lakeflight://h/b/s")
    assert spec.get_schema_from_engine_params(url, {}) == "s"
    assert spec.get_default_catalog(SimpleNamespace(url_object=url)) == "b"
    assert spec.get_schema_from_engine_params(make_url("lakeflight://h"), {}) is None


@pytest.mark.parametrize(
    ("code", "name"),
    [(pa.int64(), "BIGINT"), (pa.decimal128(9, 2), "DECIMAL(9, 2)"), ("text", "TEXT"), (7, None)],
)
def test_types_of_columns(spec: Any, code: object, name: str | None) -> None:
    assert spec.get_datatype(code) == name
