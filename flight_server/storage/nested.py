"""Takes lists, maps and structs apart and puts them together again."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


def offsets_of(lists: Any) -> Any:
    """Return the offsets of lists into their flattened elements, hidden ones left out."""
    lengths = pc.fill_null(pc.list_value_length(lists).cast(pa.int64()), 0)
    ends = pc.cumulative_sum(lengths).cast(pa.int32())
    return pa.concat_arrays([pa.array([0], pa.int32()), ends])


def entries_of(kind: Any) -> pa.DataType:
    """Return the list type that the values of a map type can be seen as."""
    return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))


def mask_of(values: Any) -> Any:
    """Return which values are NULL, None when there are none."""
    return values.is_null() if values.null_count else None


def filled(values: Any) -> Any:
    """Return the same values, with something in each field that is NOT NULL of a NULL struct.

    Nobody can see it. The writer of Parquet takes a NULL there for one that must not be.
    """
    kind: Any = values.type
    if pt.is_struct(kind):
        parts = [filled(values.field(place)) for place in range(kind.num_fields)]
        parts = [
            part if child.nullable or not part.null_count else _without_nulls(part)
            for child, part in zip(kind.fields, parts, strict=True)
        ]
        return pa.StructArray.from_arrays(parts, fields=list(kind.fields), mask=mask_of(values))
    if pt.is_map(kind):
        lists = values.cast(entries_of(kind))
        key, item = map(filled, lists.flatten().flatten())
        map_type: Any = kind
        made: Any = pa.MapArray.from_arrays(
            offsets_of(lists), key, item, type=map_type, mask=mask_of(values)
        )
        return made
    if pt.is_list(kind):
        return pa.ListArray.from_arrays(
            offsets_of(values), filled(values.flatten()), type=kind, mask=mask_of(values)
        )
    return values


def _without_nulls(values: Any) -> Any:
    """Put the first value that there is, or one that is nothing, where there is none."""
    valid = values.is_valid()
    place = pc.index(valid, pa.scalar(True)).as_py()  # noqa: FBT003 - what is looked for
    if place < 0:
        return pa.repeat(pa.array([_nothing(values.type)], values.type)[0], len(values))
    rows = pa.array(range(len(values)), pa.int64())
    return values.take(pc.if_else(valid, rows, pa.scalar(place, pa.int64())))


def _nothing(kind: Any) -> Any:
    if pt.is_struct(kind):
        return {child.name: _nothing(child.type) for child in kind.fields}
    if pt.is_nested(kind):
        return []
    if pt.is_string(kind):
        return ""
    if pt.is_binary(kind):
        return b""
    return False if pt.is_boolean(kind) else 0
