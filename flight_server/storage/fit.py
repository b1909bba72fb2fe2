"""Fits incoming rows to the schema of a table, or says which column does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from flight_server.errors import InvalidRequest, SchemaMismatch
from flight_server.storage.arrow_types import plain_type
from flight_server.storage.conversions import (
    Convert,
    Misfit,
    NoConversion,
    scalar_conversion,
    uuid_text,
)
from flight_server.storage.delta_types import shown, table_schema, type_words
from flight_server.storage.nested import entries_of, filled, mask_of, offsets_of
from flight_server.storage.soundness import plain_from_views

__all__ = ["Fitter", "pair_names", "table_schema"]

_PLAIN: dict[pa.DataType, pa.DataType] = {
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
}

Check = Callable[[Any], None]
_ZERO = pa.scalar(0, pa.int8())


@dataclass(frozen=True, slots=True)
class _Rules:
    by_name: bool
    rounds: bool


@dataclass(frozen=True, slots=True)
class _Column:
    """How one column of the table is made; ``place`` is where its data are, None for nowhere."""

    field: pa.Field[Any]
    place: int | None
    convert: Convert | None
    check: Check | None


class Fitter:
    """Turns batches of one schema into batches of a table's, exactly in its schema.

    ``by_name`` pairs columns by name, or by name but for upper and lower case where only one can
    be meant, and fills columns that are missing with NULL; otherwise they are paired by place.
    Fields of a struct are paired by name, and by place only where that does not work out.
    ``rounds`` is for SQL: values are rounded, and text is read and written, as in an assignment;
    without it each value must come through exactly (see ``conversions``).

    Raises SchemaMismatch when columns cannot be paired or their types never fit.
    """

    def __init__(
        self, incoming: pa.Schema, target: pa.Schema, *, by_name: bool, rounds: bool
    ) -> None:
        self._incoming = incoming
        self._target = target
        rules = _Rules(by_name, rounds)
        try:
            places = _pair_columns(incoming, target, by_name=by_name)
            self._columns = tuple(
                _column(field, place, incoming, rules)
                for field, place in zip(target, places, strict=True)
            )
        except UnicodeDecodeError:
            raise InvalidRequest("the name of a column is not valid UTF-8") from None

    @property
    def schema(self) -> pa.Schema:
        """The schema of what ``fit`` returns: that of the table."""
        return self._target

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows as the table holds them; what fits already is not copied.

        Raises SchemaMismatch, naming the column and never the value.
        """
        if batch.schema.types != self._incoming.types:
            raise SchemaMismatch("the data changed their schema within the stream")
        columns = [_fitted(column, batch) for column in self._columns]
        return pa.RecordBatch.from_arrays(columns, schema=self._target)


def _fitted(column: _Column, batch: pa.RecordBatch) -> pa.Array[Any]:
    field = column.field
    values: Any
    if column.place is None:
        values = pa.nulls(batch.num_rows, field.type)
    else:
        values = batch.column(column.place)
    try:
        if column.convert is not None:
            values = column.convert(values)
    except (Misfit, pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        # The text of the error may quote the value.
        raise SchemaMismatch(
            f'a value for the column "{shown(field.name)}" does not fit its type'
            f" {type_words(field.type)}"
        ) from None
    if not field.nullable and values.null_count:
        raise _null_refused(field.name)
    if column.check is not None:
        column.check(values)
        values = filled(values)
    array: pa.Array[Any] = values
    return array


def _pair_columns(incoming: pa.Schema, target: pa.Schema, *, by_name: bool) -> list[int | None]:
    """Return the place of the data of each column of the table, None for those without."""
    if not by_name:
        if len(incoming) != len(target):
            raise SchemaMismatch(
                f"the table takes {len(target)} columns, the data have {len(incoming)}"
            )
        return list(range(len(target)))
    places = pair_names(incoming.names, target.names)
    taken, known = set(places), {name.lower() for name in target.names}
    for each, name in enumerate(incoming.names):
        if each not in taken:
            twice = name.lower() in known
            fault = "is not clear: it appears twice" if twice else "is not a column of the table"
            raise SchemaMismatch(f'the column "{shown(name)}" of the data {fault}')
    for place, field in zip(places, target, strict=True):
        if place is None and not field.nullable:
            raise SchemaMismatch(
                f'the column "{shown(field.name)}" cannot be NULL and is missing in the data'
            )
    return places


def pair_names(given: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Return where each wanted name is given; other cases count where only one name has them."""
    exact: dict[str, int] = {}
    folded: dict[str, list[int]] = {}
    known, spellings = set(wanted), Counter(name.lower() for name in wanted)
    for place, name in enumerate(given):
        exact.setdefault(name, place)
        if name not in known:
            folded.setdefault(name.lower(), []).append(place)
    places: list[int | None] = []
    for name in wanted:
        alike = folded.get(name.lower(), [])
        is_clear = len(alike) == 1 and spellings[name.lower()] == 1
        places.append(exact.get(name, alike[0] if is_clear else None))
    return places


def _column(field: pa.Field[Any], place: int | None, incoming: pa.Schema, rules: _Rules) -> _Column:
    if place is None:
        return _Column(field, None, None, None)
    source = incoming.field(place).type
    try:
        convert = _conversion(source, field.type, rules)
    except NoConversion:
        raise SchemaMismatch(
            f'the column "{shown(field.name)}" is {type_words(field.type)},'
            f" the data have {type_words(source)}"
        ) from None
    return _Column(field, place, convert, _null_check(field.type, field.name))


def _conversion(source: Any, target: Any, rules: _Rules) -> Convert | None:
    """Return how arrays of any type become those of a table's type. Raises NoConversion."""
    if source == target:
        return None
    if isinstance(source, pa.BaseExtensionType):
        return _from_extension(source, target, rules)
    if pt.is_null(source):
        return lambda values: pa.nulls(len(values), target)
    if pt.is_dictionary(source) or pt.is_run_end_encoded(source):
        spread = _decoded if pt.is_dictionary(source) else _unrolled
        if pt.is_nested(source.value_type):
            return partial(spread, _conversion(source.value_type, target, rules) or _itself)
        after = _conversion(plain_type(source.value_type), target, rules)
        return _chain(partial(spread, _plain_values), after)
    if pt.is_string_view(source) or pt.is_binary_view(source):
        return _chain(plain_from_views, _conversion(plain_type(source), target, rules))
    plain = pa.binary() if pt.is_fixed_size_binary(source) else _PLAIN.get(source)
    if plain is not None:
        return _chain(lambda values: values.cast(plain), _conversion(plain, target, rules))
    if pt.is_nested(source) != pt.is_nested(target):
        raise NoConversion
    if pt.is_nested(target):
        return _nested(source, target, rules)
    return scalar_conversion(source, target, rounds=rules.rounds)


def _chain(first: Convert, after: Convert | None) -> Convert:
    if after is None:
        return first
    return lambda values: after(first(values))


def _itself(values: Any) -> Any:
    return values


def _plain_values(values: Any) -> Any:
    """Return values in their plain type, which is all that can be spread."""
    kind = values.type
    if pt.is_string_view(kind) or pt.is_binary_view(kind):
        return plain_from_views(values)
    plain = plain_type(kind)
    return values if plain == kind else values.cast(plain)


def _decoded(first: Convert, values: Any) -> Any:
    """Return the values of a dictionary array; ``first`` is done to the dictionary."""
    dictionary = first(values.dictionary)
    return pa.DictionaryArray.from_arrays(values.indices, dictionary).dictionary_decode()


def _unrolled(first: Convert, values: Any) -> Any:
    """Return the values of a run-end encoded array; ``first`` is done to those of the runs."""
    made: Any = pa.RunEndEncodedArray.from_arrays(values.run_ends, first(values.values))
    parts = made[values.offset : values.offset + len(values)]
    return pc.call_function("run_end_decode", [parts])


def _from_extension(source: Any, target: Any, rules: _Rules) -> Convert:
    name = str(source.extension_name)
    if name == "arrow.uuid" and pt.is_string(target):
        return lambda values: uuid_text(values.storage)
    if name == "arrow.bool8":
        after = _conversion(pa.bool_(), target, rules)
        return _chain(lambda values: pc.not_equal(values.storage, _ZERO), after)
    return _chain(lambda values: values.storage, _conversion(source.storage_type, target, rules))


def _nested(source: Any, target: Any, rules: _Rules) -> Convert:
    if pt.is_union(source) or pt.is_map(source) != pt.is_map(target):
        raise NoConversion
    if pt.is_struct(source) != pt.is_struct(target):
        raise NoConversion
    if pt.is_struct(target):
        return _struct(source, target, rules)
    if pt.is_map(target):
        return _map(source, target, rules)
    convert = _conversion(source.value_type, target.value_type, rules)

    def rebuild(values: Any) -> Any:
        elements = values.flatten()
        if convert is not None:
            elements = convert(elements)
        missing = mask_of(values)
        return pa.ListArray.from_arrays(offsets_of(values), elements, type=target, mask=missing)

    return rebuild


def _map(source: Any, target: Any, rules: _Rules) -> Convert:
    keys = _conversion(source.key_type, target.key_type, rules)
    items = _conversion(source.item_type, target.item_type, rules)
    entries = entries_of(source)

    def rebuild(values: Any) -> Any:
        lists = values.cast(entries)
        key, item = lists.flatten().flatten()
        missing = mask_of(values)
        made: Any = pa.MapArray.from_arrays(
            offsets_of(lists),
            key if keys is None else keys(key),
            item if items is None else items(item),
            type=target,
            mask=missing,
        )
        return made

    return rebuild


def _struct(source: Any, target: Any, rules: _Rules) -> Convert:
    names = [child.name for child in source.fields]
    places = pair_names(names, [child.name for child in target.fields])
    unused = set(range(len(names))) - set(places)
    lacking = any(
        place is None and not child.nullable
        for place, child in zip(places, target.fields, strict=True)
    )
    if unused or lacking or all(place is None for place in places):
        if rules.by_name or len(names) != len(target.fields):
            raise NoConversion
        places = list(range(len(names)))
    converts = [
        None if place is None else _conversion(source.field(place).type, child.type, rules)
        for place, child in zip(places, target.fields, strict=True)
    ]

    def rebuild(values: Any) -> Any:
        parts = values.flatten()
        children = [
            pa.nulls(len(values), child.type)
            if place is None
            else parts[place]
            if convert is None
            else convert(parts[place])
            for place, convert, child in zip(places, converts, target.fields, strict=True)
        ]
        missing = mask_of(values)
        return pa.StructArray.from_arrays(children, fields=list(target.fields), mask=missing)

    return rebuild


def _null_check(kind: Any, path: str) -> Check | None:
    """Return what raises SchemaMismatch for NULL where a nested type takes none, if it does so."""
    if pt.is_struct(kind):
        return _struct_check(kind, path)
    if pt.is_map(kind):
        return _map_check(kind, path)
    if not pt.is_nested(kind):
        return None
    a_list: Any = kind
    inner = _value_check(a_list.value_field, f"{path}.element")
    return None if inner is None else partial(_check_elements, inner)


def _check_elements(inner: Check, lists: Any) -> None:
    inner(lists.flatten())


def _value_check(field: Any, path: str) -> Check | None:
    inner = _null_check(field.type, path)
    if field.nullable:
        return inner

    def check(values: Any) -> None:
        if values.null_count:
            raise _null_refused(path)
        if inner is not None:
            inner(values)

    return check


def _struct_check(kind: Any, path: str) -> Check | None:
    paths = [f"{path}.{child.name}" for child in kind.fields]
    inner = [_null_check(child.type, at) for child, at in zip(kind.fields, paths, strict=True)]
    if all(child.nullable for child in kind.fields) and not any(inner):
        return None

    def check(values: Any) -> None:
        parts = values.flatten()
        for child, at, deeper, part in zip(kind.fields, paths, inner, parts, strict=True):
            # Where the struct is NULL, so is each flattened part.
            if not child.nullable and part.null_count > values.null_count:
                raise _null_refused(at)
            if deeper is not None:
                deeper(part)

    return check


def _map_check(kind: Any, path: str) -> Check | None:
    keys = _null_check(kind.key_type, f"{path}.key")
    items = _value_check(kind.item_field, f"{path}.value")
    if keys is None and items is None:
        return None
    entries = entries_of(kind)

    def check(values: Any) -> None:
        key, item = values.cast(entries).flatten().flatten()
        for deeper, part in ((keys, key), (items, item)):
            if deeper is not None:
                deeper(part)

    return check


def _null_refused(path: str) -> SchemaMismatch:
    return SchemaMismatch(f'the column "{shown(path)}" cannot be NULL')
