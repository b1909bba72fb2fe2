"""Rows of JSON as rows of a table: exact, whatever the numbers, or an error that names the column.

What a value means is decided by the type of its column. Numbers keep all the digits that were
written; texts are read as what the column holds, bytes from base64; objects are structs or maps.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from itertools import accumulate, chain
from typing import Any, NoReturn, Self

import pyarrow as pa
import pyarrow.types as pt

from flight_server.errors import InvalidRequest, LimitExceeded, SchemaMismatch
from flight_server.sql.names import quoted
from flight_server.storage.delta_types import shown, type_words
from flight_server.storage.fit import Fitter, pair_names

ROWS_MAX = 100_000
VALUES_MAX = 2_000_000
NESTING_MAX = 32
_INT64_DIGITS, _DECIMAL_DIGITS = 19, 38
_INT64 = range(-(2**63), 2**63)

Row = Mapping[str, Any]


class Number(float):
    """A number of JSON that is not written as a whole one; ``text`` is how it was written."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Read the text of a number."""
        made = super().__new__(cls, text)
        made.text = text
        return made


class _Kind(Enum):
    """What JSON calls a value; the words are for messages."""

    FLAG = "true or false"
    NUMBER = "numbers"
    TEXT = "texts"
    LIST = "arrays"
    OBJECT = "objects"


def columns_of(rows: Sequence[Any]) -> tuple[str, ...]:
    """Return the names that the rows have values for, in the order of their first appearance.

    Raises InvalidRequest for a row that is no object, LimitExceeded for too many rows or values.
    """
    if len(rows) > ROWS_MAX:
        raise LimitExceeded(f"too many rows, load them by DoPut; rows_max={ROWS_MAX}")
    names: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InvalidRequest(f"each row is one object; row={number}")
        names.update(dict.fromkeys(row))
    if len(names) * len(rows) > VALUES_MAX:
        raise _too_many_values()
    return tuple(names)


def field_named(name: str, schema: pa.Schema) -> pa.Field[Any]:
    """Return the column that a name means, in other cases too where only one can be meant.

    Raises SchemaMismatch for any other name.
    """
    return _fields_named([name], schema)[name]


def fitted(rows: Sequence[Row], schema: pa.Schema, *, names: Sequence[str]) -> pa.RecordBatch:
    """Return the rows' values for these names, under the names and in the types of a table.

    A name that a row lacks is NULL there. Raises SchemaMismatch, naming the column and never the
    value, and LimitExceeded.
    """
    fields = _fields_named(names, schema)
    reader = _Reader()
    columns = [
        reader.array([row.get(name) for row in rows], field.type, field.name)
        for name, field in fields.items()
    ]
    wanted = pa.schema(list(fields.values()))
    batch = pa.RecordBatch.from_arrays(columns, names=wanted.names)
    return Fitter(batch.schema, wanted, by_name=True, rounds=True).fit(batch)


def new_columns(
    rows: Sequence[Row], schema: pa.Schema, *, names: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the SQL types of the names that a table does not have, and the names to write.

    A new name without any value is in neither. Raises SchemaMismatch where the type of a new column
    cannot be told.
    """
    places = pair_names(names, schema.names)
    known = {names[place] for place in places if place is not None}
    types: dict[str, str] = {}
    written = []
    for name in names:
        if name not in known:
            values = [value for row in rows if (value := row.get(name)) is not None]
            if not values:
                continue
            types[name] = _type_text(values, name, depth=1)
        written.append(name)
    return types, tuple(written)


def _fields_named(names: Sequence[str], schema: pa.Schema) -> dict[str, pa.Field[Any]]:
    places = pair_names(names, schema.names)
    fields = {names[place]: schema.field(i) for i, place in enumerate(places) if place is not None}
    for name in names:
        if name not in fields:
            raise SchemaMismatch(f'the table has no column "{shown(name)}"')
    return {name: fields[name] for name in names}


def _kind_of(value: object) -> _Kind:
    if isinstance(value, bool):
        return _Kind.FLAG
    if isinstance(value, int | float):
        return _Kind.NUMBER
    if isinstance(value, str):
        return _Kind.TEXT
    return _Kind.LIST if isinstance(value, list) else _Kind.OBJECT


def _number_text(value: object) -> str:
    if isinstance(value, Number):
        return value.text
    return value if isinstance(value, str) else str(value).lower()


class _Reader:
    """Makes arrays that the ``Fitter`` can turn into those of a table without losing anything."""

    def __init__(self) -> None:
        self._values = 0

    def array(self, values: list[Any], target: Any, path: str) -> Any:
        """Return values of one column, or of one part of a nested one, whose name is ``path``."""
        self._values += len(values)
        if self._values > VALUES_MAX:
            raise _too_many_values()
        kinds = {_kind_of(value) for value in values if value is not None}
        if not kinds:
            return pa.nulls(len(values), target)
        taken, read = next(
            (taken, read) for is_target, taken, read in _READERS if is_target(target)
        )
        if not kinds <= taken:
            wrong = ", ".join(sorted(kind.value for kind in kinds - taken))
            raise SchemaMismatch(
                f'the column "{shown(path)}" is {type_words(target)}, the data have {wrong}'
            )
        try:
            return read(self, values, target, path)
        except (ArithmeticError, binascii.Error, ValueError, UnicodeEncodeError, pa.ArrowException):
            raise _misfit(path, target) from None

    def lists(self, values: list[Any], target: Any, path: str) -> Any:
        """Read arrays."""
        elements = self.array(
            list(chain.from_iterable(value or () for value in values)),
            target.value_type,
            f"{path}.element",
        )
        return pa.ListArray.from_arrays(_offsets(values), elements, mask=_missing(values))

    def maps(self, values: list[Any], target: Any, path: str) -> Any:
        """Read objects whose names are keys."""
        objects = [value or {} for value in values]
        keys = self.array(list(chain.from_iterable(objects)), target.key_type, f"{path}.key")
        items = self.array(
            [item for each in objects for item in each.values()], target.item_type, f"{path}.value"
        )
        kind: Any = pa.map_(keys.type, items.type)
        made: Any = pa.MapArray.from_arrays(
            _offsets(values), keys, items, type=kind, mask=_missing(values)
        )
        return made

    def structs(self, values: list[Any], target: Any, path: str) -> Any:
        """Read objects whose names are fields; those that an object lacks are NULL."""
        given = list(dict.fromkeys(chain.from_iterable(value or () for value in values)))
        places = pair_names(given, [child.name for child in target.fields])
        unknown = set(range(len(given))) - set(places)
        if unknown:
            raise SchemaMismatch(
                f'the column "{shown(path)}" has no field "{shown(given[min(unknown)])}"'
            )
        children = [
            pa.nulls(len(values), child.type)
            if place is None
            else self.array(
                [None if value is None else value.get(given[place]) for value in values],
                child.type,
                f"{path}.{child.name}",
            )
            for place, child in zip(places, target.fields, strict=True)
        ]
        fields = [
            pa.field(child.name, array.type)
            for child, array in zip(target.fields, children, strict=True)
        ]
        return pa.StructArray.from_arrays(children, fields=fields, mask=_missing(values))

    def texts(self, values: list[Any], _target: Any, _path: str) -> Any:
        """Take texts, and numbers and flags as they are written."""
        return pa.array([None if v is None else _number_text(v) for v in values], pa.string())

    def whole_numbers(self, values: list[Any], target: Any, path: str) -> Any:
        """Read numbers for a column of whole ones, rounded as SQL rounds them."""
        if any(isinstance(value, str) for value in values):
            return self.texts(values, target, path)
        return pa.array([None if v is None else _whole(v) for v in values], pa.int64())

    def floats(self, values: list[Any], target: Any, path: str) -> Any:
        """Read numbers for a column of floating-point ones."""
        if any(isinstance(value, str) for value in values):
            return self.texts(values, target, path)
        numbers = [None if value is None else float(value) for value in values]
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise ArithmeticError
        return pa.array(numbers, pa.float64())

    def bytes(self, values: list[Any], _target: Any, _path: str) -> Any:
        """Read base64."""
        decoded = [None if v is None else base64.b64decode(v, validate=True) for v in values]
        return pa.array(decoded, pa.binary())


def _whole(value: float) -> int:
    number = Decimal(_number_text(value))
    if number.adjusted() >= _INT64_DIGITS:
        raise ArithmeticError
    return int(number.to_integral_value(ROUND_HALF_UP))


_Read = Callable[[_Reader, list[Any], Any, str], Any]
_WRITTEN = frozenset({_Kind.NUMBER, _Kind.TEXT})
# For each family of types what JSON may have for it, and how that is read; the last one is for all.
_READERS: tuple[tuple[Callable[[Any], bool], frozenset[_Kind], _Read], ...] = (
    (pt.is_map, frozenset({_Kind.OBJECT}), _Reader.maps),
    (pt.is_struct, frozenset({_Kind.OBJECT}), _Reader.structs),
    (pt.is_nested, frozenset({_Kind.LIST}), _Reader.lists),
    (pt.is_integer, _WRITTEN, _Reader.whole_numbers),
    (pt.is_floating, _WRITTEN, _Reader.floats),
    (pt.is_decimal, _WRITTEN, _Reader.texts),
    (pt.is_boolean, frozenset({_Kind.FLAG, _Kind.TEXT}), _Reader.texts),
    (pt.is_string, _WRITTEN | {_Kind.FLAG}, _Reader.texts),
    (pt.is_binary, frozenset({_Kind.TEXT}), _Reader.bytes),
    (lambda _: True, frozenset({_Kind.TEXT}), _Reader.texts),
)


def _missing(values: Iterable[object]) -> Any:
    return pa.array([value is None for value in values], pa.bool_())


def _offsets(values: Iterable[Any]) -> Any:
    lengths = (0 if value is None else len(value) for value in values)
    return pa.array(list(accumulate(lengths, initial=0)), pa.int32())


def _misfit(path: str, target: Any) -> SchemaMismatch:
    hint = "; bytes are written in base64" if pt.is_binary(target) else ""
    return SchemaMismatch(
        f'a value for the column "{shown(path)}" does not fit its type {type_words(target)}{hint}'
    )


def _too_many_values() -> LimitExceeded:
    return LimitExceeded(f"too many values, load them by DoPut; values_max={VALUES_MAX}")


def _type_text(values: list[Any], path: str, *, depth: int) -> str:
    """Return the SQL type of a column that holds such values, none of which is NULL."""
    kinds = {_kind_of(value) for value in values}
    if len(kinds) != 1 or depth > NESTING_MAX:
        _refuse_type(path)
    (kind,) = kinds
    if kind is _Kind.LIST:
        elements = [each for value in values for each in value if each is not None]
        return f"ARRAY<{_type_text(elements, f'{path}.element', depth=depth + 1)}>"
    if kind is _Kind.OBJECT:
        inside: dict[str, list[Any]] = {}
        for value in values:
            for name, each in value.items():
                inside.setdefault(name, []).extend([] if each is None else [each])
        if not inside:
            _refuse_type(path)
        fields = (
            f"{quoted(name)}: {_type_text(found, f'{path}.{name}', depth=depth + 1)}"
            for name, found in inside.items()
        )
        return f"STRUCT<{', '.join(fields)}>"
    if kind is _Kind.NUMBER:
        return _number_type(values, path)
    return "BOOLEAN" if kind is _Kind.FLAG else "VARCHAR"


def _number_type(values: Sequence[int | float], path: str) -> str:
    if any(isinstance(value, float) for value in values):
        return "DOUBLE"
    if all(value in _INT64 for value in values):
        return "BIGINT"
    if any(abs(value) >= 10**_DECIMAL_DIGITS for value in values):
        _refuse_type(path)
    return f"DECIMAL({_DECIMAL_DIGITS}, 0)"


def _refuse_type(path: str) -> NoReturn:
    raise SchemaMismatch(
        f'the type of the new column "{shown(path)}" cannot be told from its values:'
        " add it by ALTER TABLE … ADD COLUMN"
    )
