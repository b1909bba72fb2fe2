"""What frames carry survives the way there and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.engine import messages
from flight_server.engine.base import (
    Description,
    FileGroup,
    FileScan,
    Pin,
    Query,
    Temporary,
    WriteTarget,
    Written,
)
from flight_server.sql.names import AsOf
from policies.names import Principal, Role, TableRef

_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_REFS = st.builds(TableRef, _NAMES, _NAMES, _NAMES)
_TIMES = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
    timezones=st.just(UTC),
)
_AS_OF = st.one_of(
    st.none(), st.builds(AsOf, version=st.integers(0, 2**53)), st.builds(AsOf, time=_TIMES)
)
_PINS = st.builds(
    Pin, ref=_REFS, version=st.none() | st.integers(0, 2**53), stamp=_NAMES, as_of=_AS_OF
)
_PRINCIPALS = st.builds(
    Principal,
    user_id=_NAMES,
    username=_NAMES,
    role=st.sampled_from(Role),
    custom_roles=st.frozensets(_NAMES, max_size=3),
)


@given(
    st.builds(
        Query,
        sql=st.text(st.characters(exclude_categories=["Cs"])),
        principal=_PRINCIPALS,
        bucket=_NAMES,
        schema=_NAMES,
        pins=st.lists(_PINS, max_size=3).map(tuple),
        parameters=st.binary(max_size=40),
        temporary=st.none() | st.builds(Temporary, _NAMES, st.frozensets(_NAMES, max_size=3)),
    )
)
def test_a_query_survives_the_round_trip(query: Query) -> None:
    assert messages.decode_query(messages.encode_query(query)) == query


@given(st.lists(_PINS, max_size=3), st.lists(_NAMES, max_size=5), st.integers(0, 3))
def test_a_description_survives_the_round_trip(
    pins: list[Pin], names: list[str], placeholders: int
) -> None:
    schema = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in names])
    parameters = pa.schema([pa.field(str(i), pa.date32()) for i in range(1, placeholders + 1)])
    description = Description(schema, tuple(pins), parameters)
    back = messages.decode_description(messages.encode_description(description))
    assert back.pins == description.pins
    assert back.schema.equals(schema, check_metadata=True)
    assert back.parameters == parameters


_COUNTS = st.integers(0, 2**40)


@given(
    st.booleans(),
    st.lists(_NAMES, max_size=2).map(tuple),
    st.none() | _PINS,
    st.none() | st.lists(_NAMES, max_size=2).map(tuple),
    st.binary(max_size=9),
)
def test_a_write_survives_the_round_trip(
    has_schema: bool,
    columns: tuple[str, ...],
    pin: Pin | None,
    chosen: tuple[str, ...] | None,
    parameters: bytes,
) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)]) if has_schema else None
    target = WriteTarget(
        "/folder",
        schema,
        columns,
        pin,
        chosen,
        file_bytes=None if chosen is None else len(chosen),
        rows_are_source=has_schema,
        checks=() if chosen is None else ("owner = 'x'", "a < 1"),
        columns=chosen,
    )
    who = Principal("1", "x", Role.ADMIN)
    query = Query("DELETE FROM t", who, "b", "s", parameters=parameters)
    assert messages.decode_write(messages.encode_write(query, target)) == (query, target)


@given(st.lists(_NAMES, max_size=3).map(tuple), _COUNTS, _COUNTS, _COUNTS)
def test_what_was_written_survives_the_round_trip(
    removed: tuple[str, ...], inserted: int, updated: int, deleted: int
) -> None:
    files = ({"path": "a", "rows": 1, "values": {"p": None}},)
    written = Written(pa.schema([("a", pa.int64())]), files, removed, inserted, updated, deleted)
    assert messages.decode_written(messages.encode_written(written)) == written


@given(st.lists(st.tuples(st.none() | st.integers(-9, 9), _NAMES), max_size=4), _COUNTS)
def test_files_to_be_checked_survive_the_round_trip(
    groups: list[tuple[int | None, str]], count: int
) -> None:
    schema = pa.schema([("a", pa.int64()), ("p", pa.int32())])
    found = tuple(FileGroup((pa.scalar(value, pa.int32()),), (name,)) for value, name in groups)
    for scan in (
        FileScan(schema, ("p",), found),
        FileScan(schema, (), (FileGroup((), ("file:///a%20b", "file:///c")),)),
    ):
        sent = messages.encode_check(scan, ("a = 1", "p IS NULL"))
        assert messages.decode_check(sent) == (scan, ("a = 1", "p IS NULL"))
    assert messages.decode_count(messages.encode_count(count)) == count


_CLASSES = sorted(messages._ERRORS.values(), key=lambda cls: cls.__name__)


@given(
    st.sampled_from(_CLASSES),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.none() | st.just("finer"),
    st.none() | st.floats(0, 100),
)
def test_an_error_survives_the_round_trip(
    cls: type[errors.LakeflightError], message: str, code: str | None, retry: float | None
) -> None:
    error = cls(message, code=code, retry_after_seconds=retry)
    back = messages.decode_error(messages.encode_error(error))
    assert type(back) is cls
    assert isinstance(back, errors.LakeflightError)
    assert (back.message, back.code) == (message, code or cls.default_code)
    assert back.retry_after_seconds == retry


def test_a_fault_is_none_of_our_errors() -> None:
    back = messages.decode_error(messages.encode_fault("Traceback …"))
    assert isinstance(back, messages.WorkerFault)
    assert not isinstance(back, errors.LakeflightError)
