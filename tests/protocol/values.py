"""Strategies for every value of the codec, made from its own field descriptions."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from flight_server.protocol.codec import Codec
from flight_server.protocol.flight import SessionOption

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    bytes: st.binary(max_size=20),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
    type(None): st.none(),
}
_INT32_FIELDS = {"data_type"}
_UINT32_FIELDS = {"info"}


def values_of(codec: Codec[Any]) -> st.SearchStrategy[Any]:
    """Any value of the codec's class."""
    return _values(codec.value_class)


def _values(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(
        kind,
        **{field.name: _of(hints[field.name], field.name) for field in dataclasses.fields(kind)},
    )


def _of(hint: Any, name: str) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is SessionOption or origin in {types.UnionType, typing.Union}:
        return st.one_of([_of(argument, name) for argument in arguments])
    if hint is int:
        if name in _UINT32_FIELDS:
            return st.integers(0, 2**32 - 1)
        return st.integers(-(2**31), 2**31 - 1) if name in _INT32_FIELDS else _INT64
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is tuple:
        return st.lists(_of(arguments[0], name), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(_TEXT, _of(arguments[1], name), max_size=3)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    return _values(hint)
