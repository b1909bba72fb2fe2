from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest

from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.sql_info import SQL_INFO_SCHEMA, Abilities, sql_info

PUBLISHED = {*range(12), *range(500, 577)}
# The child that clients cast to, by position: what JDBC and ODBC read.
EXPECTED = {
    "string_value": {0, 1, 2, 6, 7, 504, 513, 514, 529, 530, 531},
    "bool_value": {3, 4, 5, 9, 10, 11, 500, 501, 502, 506, 515, 516, *range(518, 522), 523, 524}
    | {527, 532, 536, 537, 539, 556, 563, 565, 566, *range(572, 577)},
    "bigint_value": {*range(541, 556), *range(557, 563)},
    "int32_bitmask": {8, 503, 505, 507, 522, 525, 526, 528, 533, 534, 535, 538, 540, 564}
    | {*range(567, 572)},
    "string_list": {*range(508, 513)},
    "int32_to_int32_list_map": {517},
}


def read_strictly(reply: pa.Table) -> dict[int, tuple[str, Any]]:
    """Read as Go and Java do: by type code and offset into the children, over the wire."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, reply.schema) as writer:
        writer.write_table(reply)
    (batch,) = list(pa.ipc.open_stream(sink.getvalue()))
    numbers: Any
    union: Any
    numbers, union = batch.columns
    codes, offsets = union.type_codes.to_pylist(), union.offsets.to_pylist()
    seen: dict[int, int] = {}
    answers: dict[int, tuple[str, Any]] = {}
    for number, code, offset in zip(numbers.to_pylist(), codes, offsets, strict=True):
        assert offset == seen.get(code, -1) + 1, "offsets of a child grow one by one"
        seen[code] = offset
        child = union.field(code)
        assert child.null_count == 0
        answers[number] = (union.type.field(code).name, child[offset].as_py())
    return answers


def test_the_schema_is_the_reference_one() -> None:
    info_name, value = SQL_INFO_SCHEMA
    assert (info_name.name, info_name.type, info_name.nullable) == ("info_name", pa.uint32(), False)
    assert (value.name, value.nullable, value.type.mode) == ("value", False, "dense")
    children = [value.type.field(place) for place in range(value.type.num_fields)]
    assert [(child.name, str(child.type)) for child in children] == [
        ("string_value", "string"),
        ("bool_value", "bool"),
        ("bigint_value", "int64"),
        ("int32_bitmask", "int32"),
        ("string_list", "list<item: string>"),
        ("int32_to_int32_list_map", "map<int32, list<item: int32>>"),
    ]
    assert value.type.type_codes == [0, 1, 2, 3, 4, 5]
    assert not any(child.nullable for child in children)


def test_all_published_ids_are_answered_in_the_child_that_clients_read() -> None:
    reply = sql_info([])
    reply.validate(full=True)
    assert reply.schema.equals(SQL_INFO_SCHEMA)
    answers = read_strictly(reply)
    assert set(answers) == PUBLISHED
    assert set(pb.SqlInfo.values()) >= PUBLISHED
    by_child: dict[str, set[int]] = {}
    for number, (child, _) in answers.items():
        by_child.setdefault(child, set()).add(number)
    assert by_child == EXPECTED


@pytest.mark.parametrize("number", sorted(PUBLISHED))
def test_one_answer_alone_is_the_same_as_among_all(number: int) -> None:
    assert read_strictly(sql_info([number]))[number] == read_strictly(sql_info([]))[number]


def test_unknown_and_repeated_ids() -> None:
    assert list(read_strictly(sql_info([504, 0, 0, 10_000, 99]))) == [0, 504]
    empty = sql_info([10_000])
    assert (empty.num_rows, empty.schema) == (0, SQL_INFO_SCHEMA)


def test_what_the_server_can_do_is_said_as_it_is() -> None:
    now = {number: value for number, (_, value) in read_strictly(sql_info([])).items()}
    assert (now[0], now[3], now[8], now[9], now[10]) == ("Lakeflight", True, 0, False, False)
    assert (now[2], now[504], now[513]) == (pa.__version__, '"', "\\")
    abilities = Abilities(writes=True, ingest=True, cancel=True, statement_bytes_max=1_000)
    later = read_strictly(sql_info([3, 9, 10, 557], abilities))
    assert [value for _, value in later.values()] == [False, True, True, 1_000]


def test_an_answer_is_made_once() -> None:
    assert sql_info([8]) is sql_info([8])
