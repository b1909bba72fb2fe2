"""What the server says about itself: GetSqlInfo, answered from constants.

The union child of each answer is the one that clients cast to without looking (JDBC by Java class,
ODBC and ADBC by position), which in a few places is not what the specification's words suggest; the
notes beside them say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from flight_server.protocol import dialect
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.patterns import ESCAPE

SERVER_NAME = "Lakeflight"
_ANSWERS_KEPT_MAX = 64


def _child(name: str, kind: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=False)


# The order of the children is part of the protocol: clients pick them by position.
_CHILDREN = (
    _child("string_value", pa.string()),
    _child("bool_value", pa.bool_()),
    _child("bigint_value", pa.int64()),
    _child("int32_bitmask", pa.int32()),
    _child("string_list", pa.list_(pa.string())),
    _child("int32_to_int32_list_map", pa.map_(pa.int32(), pa.list_(pa.int32()))),
)
STRING, BOOL, BIGINT, BITMASK, STRINGS, MAP = range(6)
SQL_INFO_SCHEMA = pa.schema(
    [_child("info_name", pa.uint32()), _child("value", pa.dense_union(list(_CHILDREN)))]
)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this server does today: every answer that is not a constant.

    ``statement_bytes_max`` is the limit on the text of one statement, 0 when there is none.
    """

    writes: bool = False
    ddl_schema: bool = False
    ddl_table: bool = False
    ingest: bool = False
    cancel: bool = False
    parameters_by_name: bool = False
    batch_updates: bool = False
    statement_bytes_max: int = 0


def sql_info(ids: Sequence[int], abilities: Abilities | None = None) -> pa.Table:
    """Answer GetSqlInfo for these ids, or for all published ones when there are none.

    Rows are in order of id, each once; an id that is not answered here is left out, as the protocol
    has it.
    """
    # Reduced to what is known first: a request may name millions of ids, and cache keys stay.
    chosen = PUBLISHED if not ids else PUBLISHED.intersection(ids)
    return _answer(chosen, abilities or _TODAY)


@lru_cache(maxsize=_ANSWERS_KEPT_MAX)
def _answer(ids: frozenset[int], abilities: Abilities) -> pa.Table:
    known = _values(abilities)
    chosen = sorted(ids)
    held: list[list[Any]] = [[] for _ in _CHILDREN]
    codes, offsets = [], []
    for number in chosen:
        code, value = known[number]
        codes.append(code)
        offsets.append(len(held[code]))
        held[code].append(value)
    kind = SQL_INFO_SCHEMA.field("value").type
    union = pa.UnionArray.from_buffers(
        kind,
        len(chosen),
        [None, pa.array(codes, pa.int8()).buffers()[1], pa.array(offsets, pa.int32()).buffers()[1]],
        children=[
            pa.array(values, type=child.type) for values, child in zip(held, _CHILDREN, strict=True)
        ],
    )
    return pa.Table.from_arrays([pa.array(chosen, pa.uint32()), union], schema=SQL_INFO_SCHEMA)


def _bits(*places: int) -> int:
    return sum(1 << place for place in places)


def _strings(*answers: tuple[int, str]) -> dict[int, tuple[int, Any]]:
    return {number: (STRING, value) for number, value in answers}


def _flags(*answers: tuple[int, bool]) -> dict[int, tuple[int, Any]]:
    return {number: (BOOL, value) for number, value in answers}


def _masks(*answers: tuple[int, int]) -> dict[int, tuple[int, Any]]:
    return {number: (BITMASK, value) for number, value in answers}


def _lists(*answers: tuple[int, Sequence[str]]) -> dict[int, tuple[int, Any]]:
    return {number: (STRINGS, list(value)) for number, value in answers}


def _casts() -> list[tuple[int, list[int]]]:
    numbers = {
        name.removeprefix("SQL_CONVERT_"): number for name, number in pb.SqlSupportsConvert.items()
    }
    return sorted(
        (numbers[source], sorted(numbers[target] for target in targets))
        for source, targets in dialect.CASTS.items()
    )


# All limits on lengths and counts: 0 says that there is none, or none that is known.
_UNLIMITED = (
    pb.SQL_MAX_BINARY_LITERAL_LENGTH,
    pb.SQL_MAX_CHAR_LITERAL_LENGTH,
    pb.SQL_MAX_COLUMN_NAME_LENGTH,
    pb.SQL_MAX_COLUMNS_IN_GROUP_BY,
    pb.SQL_MAX_COLUMNS_IN_INDEX,
    pb.SQL_MAX_COLUMNS_IN_ORDER_BY,
    pb.SQL_MAX_COLUMNS_IN_SELECT,
    pb.SQL_MAX_COLUMNS_IN_TABLE,
    pb.SQL_MAX_CONNECTIONS,
    pb.SQL_MAX_CURSOR_NAME_LENGTH,
    pb.SQL_MAX_INDEX_LENGTH,
    pb.SQL_DB_SCHEMA_NAME_LENGTH,
    pb.SQL_MAX_PROCEDURE_NAME_LENGTH,
    pb.SQL_MAX_CATALOG_NAME_LENGTH,
    pb.SQL_MAX_ROW_SIZE,
    pb.SQL_MAX_STATEMENTS,
    pb.SQL_MAX_TABLE_NAME_LENGTH,
    pb.SQL_MAX_TABLES_IN_SELECT,
    pb.SQL_MAX_USERNAME_LENGTH,
)

_CONSTANT: Mapping[int, tuple[int, Any]] = {
    **_strings(
        (pb.FLIGHT_SQL_SERVER_NAME, SERVER_NAME),
        (pb.FLIGHT_SQL_SERVER_VERSION, version("lakeflight")),
        (pb.FLIGHT_SQL_SERVER_ARROW_VERSION, pa.__version__),
        # No Substrait, so no versions of it; the child cannot be null, empty text says the same.
        (pb.FLIGHT_SQL_SERVER_SUBSTRAIT_MIN_VERSION, ""),
        (pb.FLIGHT_SQL_SERVER_SUBSTRAIT_MAX_VERSION, ""),
        (pb.SQL_IDENTIFIER_QUOTE_CHAR, '"'),
        (pb.SQL_SEARCH_STRING_ESCAPE, ESCAPE),
        (pb.SQL_EXTRA_NAME_CHARACTERS, "#$@"),
        (pb.SQL_SCHEMA_TERM, "schema"),
        (pb.SQL_PROCEDURE_TERM, "procedure"),
        (pb.SQL_CATALOG_TERM, "catalog"),
    ),
    **_flags(
        (pb.FLIGHT_SQL_SERVER_SQL, True),
        (pb.FLIGHT_SQL_SERVER_SUBSTRAIT, False),
        (pb.FLIGHT_SQL_SERVER_INGEST_TRANSACTIONS_SUPPORTED, False),
        (pb.SQL_DDL_CATALOG, False),
        (pb.SQL_ALL_TABLES_ARE_SELECTABLE, True),  # what may not be read is not listed
        (pb.SQL_SUPPORTS_COLUMN_ALIASING, True),
        (pb.SQL_NULL_PLUS_NULL_IS_NULL, True),
        (pb.SQL_SUPPORTS_TABLE_CORRELATION_NAMES, True),
        (pb.SQL_SUPPORTS_DIFFERENT_TABLE_CORRELATION_NAMES, False),
        (pb.SQL_SUPPORTS_EXPRESSIONS_IN_ORDER_BY, True),
        (pb.SQL_SUPPORTS_ORDER_BY_UNRELATED, True),
        (pb.SQL_SUPPORTS_LIKE_ESCAPE_CLAUSE, False),  # ESCAPE takes nothing but the backslash
        (pb.SQL_SUPPORTS_NON_NULLABLE_COLUMNS, True),
        (pb.SQL_SUPPORTS_INTEGRITY_ENHANCEMENT_FACILITY, False),
        (pb.SQL_CATALOG_AT_START, True),
        (pb.SQL_SELECT_FOR_UPDATE_SUPPORTED, False),
        (pb.SQL_STORED_PROCEDURES_SUPPORTED, False),
        (pb.SQL_CORRELATED_SUBQUERIES_SUPPORTED, True),
        (pb.SQL_MAX_ROW_SIZE_INCLUDES_BLOBS, True),  # of no limit at all
        (pb.SQL_TRANSACTIONS_SUPPORTED, False),
        (pb.SQL_DATA_DEFINITION_CAUSES_TRANSACTION_COMMIT, False),
        (pb.SQL_DATA_DEFINITIONS_IN_TRANSACTIONS_IGNORED, False),
        (pb.SQL_SAVEPOINTS_SUPPORTED, False),
        (pb.SQL_LOCATORS_UPDATE_COPY, False),
        (pb.SQL_STORED_FUNCTIONS_USING_CALL_SYNTAX_SUPPORTED, False),
    ),
    **dict.fromkeys(_UNLIMITED, (BIGINT, 0)),
    # The words say bitmask, both drivers read a bigint.
    pb.SQL_DEFAULT_TRANSACTION_ISOLATION: (BIGINT, pb.SQL_TRANSACTION_NONE),
    **_masks(
        (pb.FLIGHT_SQL_SERVER_TRANSACTION, pb.SQL_SUPPORTED_TRANSACTION_NONE),
        (pb.SQL_IDENTIFIER_CASE, pb.SQL_CASE_SENSITIVITY_LOWERCASE),
        # Quoted names keep their case and are told apart by it; the enum has no word for that.
        (pb.SQL_QUOTED_IDENTIFIER_CASE, pb.SQL_CASE_SENSITIVITY_UNKNOWN),
        (pb.SQL_NULL_ORDERING, pb.SQL_NULLS_SORTED_HIGH),
        (
            pb.SQL_SUPPORTED_GROUP_BY,
            _bits(pb.SQL_GROUP_BY_UNRELATED, pb.SQL_GROUP_BY_BEYOND_SELECT),
        ),
        (pb.SQL_SUPPORTED_GRAMMAR, _bits(pb.SQL_MINIMUM_GRAMMAR)),
        (pb.SQL_ANSI92_SUPPORTED_LEVEL, _bits(pb.ANSI92_ENTRY_SQL)),
        # The words say ordinal, JDBC tests bits.
        (
            pb.SQL_OUTER_JOINS_SUPPORT_LEVEL,
            _bits(pb.SQL_LIMITED_OUTER_JOINS, pb.SQL_FULL_OUTER_JOINS),
        ),
        (pb.SQL_SCHEMAS_SUPPORTED_ACTIONS, 0),
        (pb.SQL_CATALOGS_SUPPORTED_ACTIONS, 0),
        (pb.SQL_SUPPORTED_POSITIONED_COMMANDS, 0),
        (
            pb.SQL_SUPPORTED_SUBQUERIES,
            _bits(
                pb.SQL_SUBQUERIES_IN_COMPARISONS,
                pb.SQL_SUBQUERIES_IN_EXISTS,
                pb.SQL_SUBQUERIES_IN_INS,
                pb.SQL_SUBQUERIES_IN_QUANTIFIEDS,
            ),
        ),
        (pb.SQL_SUPPORTED_UNIONS, _bits(pb.SQL_UNION, pb.SQL_UNION_ALL)),
        (pb.SQL_SUPPORTED_TRANSACTIONS_ISOLATION_LEVELS, _bits(pb.SQL_TRANSACTION_NONE)),
        (pb.SQL_SUPPORTED_RESULT_SET_TYPES, _bits(pb.SQL_RESULT_SET_TYPE_FORWARD_ONLY)),
        (pb.SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_UNSPECIFIED, 0),
        (
            pb.SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_FORWARD_ONLY,
            _bits(pb.SQL_RESULT_SET_CONCURRENCY_READ_ONLY),
        ),
        (pb.SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_SCROLL_SENSITIVE, 0),
        (pb.SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_SCROLL_INSENSITIVE, 0),
    ),
    **_lists(
        (pb.SQL_KEYWORDS, dialect.KEYWORDS),
        (pb.SQL_NUMERIC_FUNCTIONS, dialect.NUMERIC_FUNCTIONS),
        (pb.SQL_STRING_FUNCTIONS, dialect.STRING_FUNCTIONS),
        (pb.SQL_SYSTEM_FUNCTIONS, dialect.SYSTEM_FUNCTIONS),
        (pb.SQL_DATETIME_FUNCTIONS, dialect.DATETIME_FUNCTIONS),
    ),
    pb.SQL_SUPPORTS_CONVERT: (MAP, _casts()),
}


def _values(abilities: Abilities) -> dict[int, tuple[int, Any]]:
    """All answers: the id, the child of the union, the value."""
    return {
        **_CONSTANT,
        **_flags(
            (pb.FLIGHT_SQL_SERVER_READ_ONLY, not abilities.writes),
            (pb.FLIGHT_SQL_SERVER_CANCEL, abilities.cancel),
            (pb.FLIGHT_SQL_SERVER_BULK_INGESTION, abilities.ingest),
            (pb.SQL_DDL_SCHEMA, abilities.ddl_schema),
            (pb.SQL_DDL_TABLE, abilities.ddl_table),
            (pb.SQL_BATCH_UPDATES_SUPPORTED, abilities.batch_updates),
            (pb.SQL_NAMED_PARAMETERS_SUPPORTED, abilities.parameters_by_name),
        ),
        pb.SQL_MAX_STATEMENT_LENGTH: (BIGINT, abilities.statement_bytes_max),
    }


_TODAY = Abilities()
PUBLISHED = frozenset(_values(_TODAY))
