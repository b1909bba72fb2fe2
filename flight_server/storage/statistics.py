"""What a Delta log says of the values in a data file, taken from the file's own Parquet footer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pyarrow.parquet import FileMetaData

TEXT_CHARACTERS_MAX = 32
_MICROS_PER_MILLI = 1000
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY, _LAST_DAY = (date.min - _EPOCH_DAY).days, (date.max - _EPOCH_DAY).days
_SECONDS_PER_DAY = 86_400
_LAST_CODE_POINT, _SURROGATES = 0x10FFFF, (0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column of a Parquet file: where it lies in the schema, by names and by positions."""

    column: int
    names: tuple[str, ...]
    place: tuple[int, ...]
    kind: pa.DataType

    @property
    def is_float(self) -> bool:
        """Whether there may be NaN in it, which the footer does not tell."""
        return pt.is_floating(self.kind)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and greatest value of a leaf as JSON tokens, None where none can be given."""

    least: str | None = None
    greatest: str | None = None


class FileStatistics:
    """Renders the statistics of files of one schema.

    ``schema`` is that of the files, without partition columns. The first ``columns_max`` columns
    are described (negative: all), or those whose dotted names, or the beginnings of these, are in
    ``named``. Elements of lists and maps never are.
    """

    def __init__(
        self, schema: pa.Schema, *, columns_max: int, named: Sequence[str] | None = None
    ) -> None:
        counted: list[Leaf | None] = []
        columns = count()
        for place, top in enumerate(schema):
            counted += _leaves(top, columns, names=(), place=(place,))
        if named is not None:
            chosen = {tuple(name.replace("`", "").split(".")) for name in named}
            kept = [
                leaf
                for leaf in counted
                if leaf and any(leaf.names[: len(name)] == name for name in chosen)
            ]
        else:
            kept = [leaf for leaf in counted[: columns_max if columns_max >= 0 else None] if leaf]
        self._leaves = tuple(kept)
        self._floats = tuple(leaf for leaf in kept if leaf.is_float)

    def not_numbers(self, rows: pa.Table) -> frozenset[int]:
        """Return the Parquet columns with NaN among these rows; their bounds must be left out."""
        return frozenset(leaf.column for leaf in self._floats if _has_nan(rows, leaf))

    def render(self, footer: FileMetaData, *, not_numbers: frozenset[int]) -> str:
        """Return the statistics of a whole file as the JSON text of an ``add`` action."""
        least: dict[tuple[str, ...], str] = {}
        greatest: dict[tuple[str, ...], str] = {}
        nulls: dict[tuple[str, ...], str] = {}
        for leaf in self._leaves:
            chunks: list[Any] = [
                footer.row_group(group).column(leaf.column).statistics
                for group in range(footer.num_row_groups)
            ]
            if all(chunk is not None and chunk.has_null_count for chunk in chunks):
                nulls[leaf.names] = str(sum(chunk.null_count for chunk in chunks))
            bounds = Bounds() if leaf.column in not_numbers else _bounds(leaf.kind, chunks)
            if bounds.least is not None:
                least[leaf.names] = bounds.least
            if bounds.greatest is not None:
                greatest[leaf.names] = bounds.greatest
        parts = {
            "numRecords": str(footer.num_rows),
            "minValues": _nested(least),
            "maxValues": _nested(greatest),
            "nullCount": _nested(nulls),
        }
        return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def _leaves(
    field: pa.Field[Any], columns: Iterator[int], *, names: tuple[str, ...], place: tuple[int, ...]
) -> Iterator[Leaf | None]:
    """Give each leaf below a field, None for a list or a map; ``columns`` counts Parquet's."""
    names = (*names, field.name)
    kind = field.type
    if pt.is_struct(kind):
        for index, child in enumerate(kind.fields):
            yield from _leaves(child, columns, names=names, place=(*place, index))
    elif pt.is_nested(kind):
        for _ in range(_width(kind)):
            next(columns)
        yield None
    else:
        yield Leaf(next(columns), names, place, kind)


def _width(kind: pa.DataType) -> int:
    """How many Parquet columns a type takes."""
    if not pt.is_nested(kind):
        return 1
    if pt.is_map(kind):
        return _width(kind.key_type) + _width(kind.item_type)
    if pt.is_struct(kind):
        return sum(_width(child.type) for child in kind.fields)
    a_list: Any = kind
    return _width(a_list.value_type)


def _has_nan(rows: pa.Table, leaf: Leaf) -> bool:
    values: Any = rows.column(leaf.place[0])
    if len(leaf.place) > 1:
        values = pc.struct_field(values, list(leaf.place[1:]))
    return bool(pc.any(pc.is_nan(values)).as_py())


def _bounds(kind: pa.DataType, chunks: list[Any]) -> Bounds:
    """Return the bounds over all row groups; those that hold NULL alone have none to add."""
    filled = [chunk for chunk in chunks if chunk is None or chunk.num_values or chunk.has_min_max]
    if not filled or not all(chunk is not None and chunk.has_min_max for chunk in filled):
        return Bounds()
    if pt.is_decimal(kind):
        return Bounds(
            format(min(chunk.min for chunk in filled), "f"),
            format(max(chunk.max for chunk in filled), "f"),
        )
    least = min(chunk.min_raw for chunk in filled)
    greatest = max(chunk.max_raw for chunk in filled)
    if pt.is_string(kind):
        return _text_bounds(least.decode(), greatest.decode())
    if pt.is_integer(kind):
        return Bounds(str(least), str(greatest))
    if pt.is_floating(kind):
        finite = math.isfinite(least) and math.isfinite(greatest)  # JSON has no other numbers
        return Bounds(repr(least), repr(greatest)) if finite else Bounds()
    if pt.is_date32(kind):
        return Bounds(_day(least), _day(greatest))
    if pt.is_timestamp(kind):
        # Readers expect milliseconds; the upper bound is rounded up to stay one.
        zone = "Z" if kind.tz else ""
        upper = -(-greatest // _MICROS_PER_MILLI)
        return Bounds(_moment(least // _MICROS_PER_MILLI, zone), _moment(upper, zone))
    return Bounds()


def _text_bounds(least: str, greatest: str) -> Bounds:
    if len(greatest) <= TEXT_CHARACTERS_MAX:
        upper: str | None = greatest
    else:
        upper = _next_text(greatest[:TEXT_CHARACTERS_MAX])
    return Bounds(
        json.dumps(least[:TEXT_CHARACTERS_MAX]), None if upper is None else json.dumps(upper)
    )


def _next_text(text: str) -> str | None:
    """Return the least text of at most that length above all that begin with ``text``.

    In the order of code points, which is that of UTF-8. None when there is none.
    """
    kept = text.rstrip(chr(_LAST_CODE_POINT))
    if not kept:
        return None
    after = ord(kept[-1]) + 1
    first_surrogate, past_surrogates = _SURROGATES
    return kept[:-1] + chr(past_surrogates if after == first_surrogate else after)


def _day(days: int) -> str | None:
    """Return a day as JSON; None outside the years 1 to 9999, which have no common spelling."""
    if not _FIRST_DAY <= days <= _LAST_DAY:
        return None
    return f'"{(_EPOCH_DAY + timedelta(days=days)).isoformat()}"'


def _moment(millis: int, zone: str) -> str | None:
    days = millis // (_SECONDS_PER_DAY * 1000)
    if not _FIRST_DAY <= days <= _LAST_DAY:
        return None
    moment = _EPOCH + timedelta(milliseconds=millis)
    return f'"{moment.replace(tzinfo=None).isoformat(timespec="milliseconds")}{zone}"'


def _nested(values: Mapping[tuple[str, ...], str]) -> str:
    """Return JSON tokens by path as one nested JSON object."""
    tree: dict[str, Any] = {}
    for names, token in values.items():
        inner = tree
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
        inner[names[-1]] = token
    return _json_of(tree)


def _json_of(tree: dict[str, Any]) -> str:
    items = (
        f"{json.dumps(name)}:{_json_of(inner) if isinstance(inner, dict) else inner}"
        for name, inner in tree.items()
    )
    return "{" + ",".join(items) + "}"
