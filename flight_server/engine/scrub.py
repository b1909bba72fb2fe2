"""Leaves in a batch what its rows say, and not a byte beside it.

An Arrow array may hold more than it shows: values under a NULL, rows beyond the ends of a slice,
entries of a dictionary that no row has, whole buffers that views share. A client finds all of that
in the bytes it receives. What rows do not say is overwritten or left out here; an array that holds
nothing else, as most do, is passed on as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute

from flight_server.engine.output import plain_type
from flight_server.errors import Unsupported

# The stubs know the kernels of fewer types than there are.
pc: Any = pyarrow.compute
Array: TypeAlias = "pa.Array[Any]"
_BITS = 8
_OFFSET_BYTES = 4


def scrubbed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch of the same rows, in plain types, that holds nothing else.

    Raises Unsupported for a type of which that cannot be said.
    """
    found = batch.columns
    columns = [clean(column) for column in found]
    if all(new is old for new, old in zip(columns, found, strict=True)):
        return batch
    fields = zip(batch.schema, columns, strict=True)
    schema = pa.schema([field.with_type(column.type) for field, column in fields])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def clean(array: Array) -> Array:
    """Return an array of the same values, in its plain type, that holds nothing else.

    The array itself when that is so already. Raises Unsupported for a type that is not known.
    """
    plain = plain_type(array.type)
    if plain != array.type:
        array = array.cast(plain)
    for is_kind, way in _WAYS:
        if is_kind(plain):
            return way(_compact(array) if array.offset else array)
    raise Unsupported(f"a column of the type {plain} of a governed table cannot be sent")


def _compact(array: Array) -> Array:
    """Copy what an array shows to buffers that hold no more."""
    return pa.concat_arrays([array, array.slice(0, 0)])


def _null(array: Array) -> Array:
    return array


def _boolean(array: Array) -> Array:
    shown = array if array.null_count == 0 else pc.fill_null(array, False)  # noqa: FBT003  the value of a row
    return _made(array, [_bits(shown.buffers()[1], len(array))])


def _fixed(array: Array) -> Array:
    """Clean an array whose values all have so many bytes."""
    if array.null_count:
        filled = pc.fill_null(array, _zero(array.type))
        return _made(array, [filled.buffers()[1]])
    size = len(array) * cast("Any", array.type).bit_width // _BITS
    validity, values = array.buffers()
    if values is None or (validity is None and values.size == size):
        return array
    # A message pads buffers to a multiple of 8 bytes, and takes what follows along.
    return _made(array, [values.slice(0, size)])


def _zero(kind: Any) -> pa.Scalar[Any]:
    if pa.types.is_fixed_size_binary(kind):
        return pa.scalar(bytes(kind.byte_width), kind)
    if pa.types.is_temporal(kind):
        integer = pa.int32() if kind.bit_width == _BITS * 4 else pa.int64()
        return pa.scalar(0, integer).cast(kind)
    return cast("pa.Scalar[Any]", pa.scalar(0, kind))


def _rebuilt(array: Array) -> Array:
    """Clean an array of any kind by taking its values one by one, which is slow."""
    is_valid = pc.is_valid(array)
    places = pc.subtract(pc.cumulative_sum(pc.cast(is_valid, pa.int64())), 1)
    return array.drop_null().take(pc.if_else(is_valid, places, None))


def _text(array: Array) -> Array:
    """Clean an array of texts or byte strings."""
    if array.null_count:
        filled = pc.fill_null(array, "" if pa.types.is_string(array.type) else b"")
        return _made(array, filled.buffers()[1:])
    validity, offsets, values = array.buffers()
    if offsets is None or len(array) == 0:
        return cast("Array", pa.array([], array.type))
    first, last = _ends(offsets, len(array))
    is_exact = offsets.size == (len(array) + 1) * _OFFSET_BYTES
    is_exact = is_exact and first == 0 and (values is None or values.size == last)
    return array if is_exact and validity is None else _compact(array)


def _ends(offsets: pa.Buffer, count: int) -> tuple[int, int]:
    """Return where the values of an array begin and end in its buffer."""
    read = partial(struct.unpack_from, "<i", memoryview(offsets))
    return read(0)[0], read(count * _OFFSET_BYTES)[0]


def _struct(array: Any) -> Array:
    # Parts of a NULL are NULL themselves then.
    parts = [clean(part) for part in array.flatten()]
    mask = pc.is_null(array) if array.null_count else None
    if not parts:
        return _made(array, [])
    return pa.StructArray.from_arrays(parts, fields=list(array.type), mask=mask)


def _list(array: Any) -> Array:
    # Without what lies under a NULL.
    values = clean(array.flatten())
    counts = pc.fill_null(pc.list_value_length(array), 0)
    ends = pc.cumulative_sum(counts).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return _made(array, [offsets.buffers()[1]], children=[values])


def _map(array: Any) -> Array:
    kind = array.type
    entries = pa.StructArray.from_arrays(
        [array.keys, array.items], fields=[kind.key_field, kind.item_field]
    )
    as_list = pa.Array.from_buffers(
        pa.list_(entries.type), len(array), array.buffers()[:2], children=[entries]
    )
    cleaned: Any = _list(as_list)
    return pa.Array.from_buffers(kind, len(array), cleaned.buffers()[:2], children=[cleaned.values])


def _fixed_list(array: Any) -> Array:
    if array.null_count:
        array = _rebuilt(array)
    start, count = array.offset * array.type.list_size, len(array) * array.type.list_size
    return _made(array, [], children=[clean(array.values.slice(start, count))])


def _made(
    array: Array, parts: Sequence[pa.Buffer | None], *, children: Sequence[Array] | None = None
) -> Array:
    """Make an array of these parts, NULL where another one is."""
    validity = pc.is_valid(array).buffers()[1] if array.null_count else None
    bits = None if validity is None else _bits(validity, len(array))
    return pa.Array.from_buffers(
        array.type, len(array), [bits, *parts], array.null_count, children=children
    )


def _bits(bits: Any, count: int) -> pa.Buffer:
    """Return so many bits, and none of whatever follows them."""
    size = -(-count // _BITS)
    rest = count % _BITS
    if not rest:
        return cast("pa.Buffer", bits.slice(0, size))
    kept = bytearray(memoryview(bits)[:size])
    kept[-1] &= (1 << rest) - 1
    return pa.py_buffer(bytes(kept))


_WAYS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Array], Array]], ...] = (
    (pa.types.is_null, _null),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_interval, _rebuilt),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_binary(kind), _text),
    (
        lambda kind: (
            pa.types.is_primitive(kind)
            or pa.types.is_decimal(kind)
            or pa.types.is_fixed_size_binary(kind)
        ),
        _fixed,
    ),
    (pa.types.is_struct, _struct),
    (pa.types.is_map, _map),
    (pa.types.is_list, _list),
    (pa.types.is_fixed_size_list, _fixed_list),
)
