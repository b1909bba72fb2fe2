"""Checks Arrow data from outside before anything looks at them: bounds first, then every byte.

Arrow trusts what it reads. Offsets that point elsewhere read memory that is not the data's, a
batch may claim any number of rows without a byte for them, and a few bytes of indices may stand
for one large value many times.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from flight_server.errors import LimitExceeded
from flight_server.storage.soundness import sound

_VIEW_BYTES = 16
_OFFSET_BYTES = 8
_WITH_OFFSETS = (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What one stream may bring.

    ``batch_rows_max`` and ``batch_bytes_max`` bound a batch as it comes.
    ``batch_decoded_bytes_max`` bounds it counted without dictionaries, views and runs, and
    ``piece_bytes_max`` what is passed on at a time, counted in the same way. ``rows_max`` and
    ``bytes_max`` bound the stream; None is no bound.
    """

    batch_rows_max: int = 16 * 1024 * 1024
    batch_bytes_max: int = 256 * 1024 * 1024
    batch_decoded_bytes_max: int = 4 * 1024 * 1024 * 1024
    piece_bytes_max: int = 64 * 1024 * 1024
    rows_max: int | None = None
    bytes_max: int | None = None


def taken_in(
    batches: Iterable[pa.RecordBatch], limits: IntakeLimits
) -> Generator[pa.RecordBatch, None, None]:
    """Give the same rows, each batch checked in full, in pieces that decode to bounded sizes.

    Raises LimitExceeded, naming the limit, and InvalidRequest for data that are not sound. What
    the source raises passes through.
    """
    rows = size = 0
    for batch in batches:
        # The rows come first: no look at anything else is bounded before.
        _bound("batch_rows_max", batch.num_rows, limits.batch_rows_max)
        held = batch.get_total_buffer_size()
        _bound("batch_bytes_max", held, limits.batch_bytes_max)
        rows += batch.num_rows
        size += held
        _bound("rows_max", rows, limits.rows_max)
        _bound("bytes_max", size, limits.bytes_max)
        checked = sound(batch)
        if checked.num_rows:
            decoded = sum(map(decoded_bytes, checked.columns))
            _bound("batch_decoded_bytes_max", decoded, limits.batch_decoded_bytes_max)
            yield from _pieces(checked, limits.piece_bytes_max, decoded=decoded)


def _bound(name: str, value: int, limit: int | None) -> None:
    if limit is not None and value > limit:
        what = "stream" if name in ("rows_max", "bytes_max") else "batch"
        raise LimitExceeded(f"the {what} of data is too large limit={name}={limit}")


def _pieces(
    batch: pa.RecordBatch, piece_bytes_max: int, *, decoded: int
) -> Generator[pa.RecordBatch, None, None]:
    """Cut a batch until no piece decodes to more."""
    if decoded <= piece_bytes_max:
        yield batch
        return
    waiting = [batch]
    while waiting:
        piece = waiting.pop()
        if sum(map(decoded_bytes, piece.columns)) <= piece_bytes_max:
            yield piece
            continue
        if piece.num_rows == 1:
            raise LimitExceeded(f"a row is too large limit=piece_bytes_max={piece_bytes_max}")
        half = piece.num_rows // 2
        waiting += [piece[half:], piece[:half]]


def decoded_bytes(values: Any) -> int:
    """Return about how much memory an array takes without dictionaries, views and runs.

    Never much less than it will; more only where values that are shared have different sizes.
    """
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return decoded_bytes(values.storage)
    if pt.is_dictionary(kind):
        return _repeated(values.dictionary, len(values), indices=values.indices)
    if pt.is_run_end_encoded(kind):
        return _repeated(values.values, len(values))
    if pt.is_string_view(kind) or pt.is_binary_view(kind):
        lengths = _view_lengths(values)
        return _VIEW_BYTES * len(values) + (pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pt.is_struct(kind):
        return len(values) + sum(map(decoded_bytes, values.flatten()))
    if pt.is_map(kind):
        return _map_bytes(values)
    if pt.is_list_view(kind) or pt.is_large_list_view(kind):
        count = pc.sum(pc.list_value_length(values).cast(pa.int64())).as_py() or 0
        return _OFFSET_BYTES * len(values) + _repeated(values.values, count)
    if pt.is_nested(kind) and not pt.is_union(kind):
        return _OFFSET_BYTES * len(values) + decoded_bytes(values.flatten())
    if pt.is_null(kind):
        return _OFFSET_BYTES * len(values)
    # Small numbers may be widened for a table.
    return max(int(values.nbytes), _OFFSET_BYTES * len(values))


def _map_bytes(values: Any) -> int:
    first, last = values.offsets[0].as_py(), values.offsets[-1].as_py()
    parts = (values.keys[first:last], values.items[first:last])
    return _OFFSET_BYTES * len(values) + sum(map(decoded_bytes, parts))


def _repeated(shared: Any, count: int, *, indices: Any = None) -> int:
    """Return how much ``count`` values take that are all among the shared ones."""
    if not len(shared) or not count:
        return _OFFSET_BYTES * count
    sizes = _sizes(shared)
    if isinstance(sizes, int):
        return count * sizes
    if indices is None:
        return int(count * pc.max(sizes).as_py())
    return int(pc.sum(sizes.take(indices.cast(pa.int64()))).as_py() or 0) + count


def _sizes(shared: Any) -> Any:
    """Return the size of each value as an array, or one that none exceeds as a number."""
    kind = shared.type
    lengths = None
    if pt.is_string_view(kind) or pt.is_binary_view(kind):
        lengths = _view_lengths(shared)
    elif any(is_kind(kind) for is_kind in _WITH_OFFSETS):
        lengths = pc.binary_length(shared)
    if lengths is not None:
        return pc.add(pc.fill_null(lengths.cast(pa.int64()), 0), _OFFSET_BYTES)
    if not pt.is_nested(kind) and not pt.is_dictionary(kind) and not pt.is_run_end_encoded(kind):
        width = 0 if pt.is_null(kind) else getattr(kind, "byte_width", 1)
        return width + _OFFSET_BYTES
    return decoded_bytes(shared)


def _view_lengths(values: Any) -> Any:
    """Return the length of each value of a view type, 0 for NULL, without copying any.

    A view is 16 bytes, of which the first four are the length:
    https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout
    """
    valid = pc.is_valid(values)
    rows = len(values)
    words: Any = pa.Array.from_buffers(
        pa.int32(), 4 * rows, [None, values.buffers()[1]], offset=4 * values.offset
    )
    first = pc.list_element(pa.FixedSizeListArray.from_arrays(words, 4), 0)
    return pc.if_else(valid, first, pa.scalar(0, pa.int32()))
