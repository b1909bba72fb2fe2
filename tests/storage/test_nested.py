"""NULL where fields that are NOT NULL lie below."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.storage.fit import Fitter

_KINDS: list[Any] = [
    *(pa.int8(), pa.int32(), pa.float64(), pa.decimal128(5, 2), pa.bool_(), pa.date32()),
    *(pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.string(), pa.binary()),
    *(pa.list_(pa.int32()), pa.map_(pa.string(), pa.int32())),
    pa.struct([pa.field("d", pa.int32(), nullable=False)]),
]
_STRUCT = pa.struct([pa.field(f"f{i}", kind, nullable=False) for i, kind in enumerate(_KINDS)])
_SOME = {f"f{i}": value for i, value in enumerate([1, 2, 0.5, 1, True, 3, 4, 5, "a", b"b"])}
_SOME |= {"f10": [1], "f11": [("k", 1)], "f12": {"d": 1}}
_INSIDE: dict[str, tuple[Any, list[Any]]] = {
    "struct": (_STRUCT, [None, _SOME, None]),
    "nothing but NULL": (_STRUCT, [None, None]),
    "list": (pa.list_(_STRUCT), [[None, _SOME], None, [], [None]]),
    "map": (pa.map_(pa.string(), _STRUCT), [[("k", None), ("l", _SOME)], None, [("m", None)]]),
    "struct in struct": (
        pa.struct([pa.field("inner", _STRUCT, nullable=False)]),
        [None, {"inner": _SOME}],
    ),
}


@pytest.mark.parametrize(("kind", "values"), _INSIDE.values(), ids=_INSIDE.keys())
def test_a_null_struct_may_have_fields_that_are_not_null(kind: Any, values: list[Any]) -> None:
    schema = pa.schema([pa.field("v", kind)])
    whole = pa.RecordBatch.from_arrays([pa.array([*values, *values], kind)], schema=schema)
    for batch in (whole, whole[1:], whole[len(values) : len(values) + 1]):
        made = Fitter(schema, schema, by_name=True, rounds=False).fit(batch)
        made.validate(full=True)
        file = io.BytesIO()
        pq.write_table(pa.Table.from_batches([made]), file)
        assert pq.read_table(file).to_pylist() == batch.to_pylist()
