"""The commands of Flight SQL: bytes of a descriptor or a ticket to frozen values, and back.

Each value is named after its message without the word Command, and has its fields. The bytes are an
Any; the answers to DoPut at the end are bare messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar, cast

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.codec import Codec, EnumPart, pack, unknown, unpack


@dataclass(frozen=True, slots=True)
class GetSqlInfo:
    """Ask what this server is. Ids of ``sql_info``; none asks for all."""

    info: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GetXdbcTypeInfo:
    """Ask for the SQL types. ``data_type`` is an XdbcDataType, None asks for all."""

    data_type: int | None = None


@dataclass(frozen=True, slots=True)
class GetCatalogs:
    """Ask for the catalogs."""


@dataclass(frozen=True, slots=True)
class GetDbSchemas:
    """Ask for the schemas. None does not filter; an empty text asks for those that have none."""

    catalog: str | None = None
    db_schema_filter_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class GetTables:
    """Ask for tables and views. Filters as above; no ``table_types`` means all types."""

    catalog: str | None = None
    db_schema_filter_pattern: str | None = None
    table_name_filter_pattern: str | None = None
    table_types: tuple[str, ...] = ()
    include_schema: bool = False


@dataclass(frozen=True, slots=True)
class GetTableTypes:
    """Ask for the types of table."""


@dataclass(frozen=True, slots=True)
class GetPrimaryKeys:
    """Ask for the primary key of a table."""

    catalog: str | None
    db_schema: str | None
    table: str


@dataclass(frozen=True, slots=True)
class GetExportedKeys:
    """Ask for the foreign keys that point to a table."""

    catalog: str | None
    db_schema: str | None
    table: str


@dataclass(frozen=True, slots=True)
class GetImportedKeys:
    """Ask for the foreign keys of a table."""

    catalog: str | None
    db_schema: str | None
    table: str


@dataclass(frozen=True, slots=True)
class GetCrossReference:
    """Ask for the foreign keys that lead from one table to the other."""

    pk_catalog: str | None
    pk_db_schema: str | None
    pk_table: str
    fk_catalog: str | None
    fk_db_schema: str | None
    fk_table: str


@dataclass(frozen=True, slots=True)
class SubstraitPlan:
    """A serialized plan and the Substrait version it was written for."""

    plan: bytes
    version: str


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """Run a query."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class StatementSubstraitPlan:
    """Run a plan."""

    plan: SubstraitPlan | None
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class TicketStatementQuery:
    """In a ticket: fetch the result behind this handle."""

    statement_handle: bytes


@dataclass(frozen=True, slots=True)
class PreparedStatementQuery:
    """Bind parameters to a prepared query, or run it."""

    prepared_statement_handle: bytes


@dataclass(frozen=True, slots=True)
class StatementUpdate:
    """Run a statement that changes something."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class PreparedStatementUpdate:
    """Run a prepared statement that changes something, once for each row of parameters."""

    prepared_statement_handle: bytes


class TableNotExist(IntEnum):
    """What an ingest does when its table is not there."""

    UNSPECIFIED = 0
    CREATE = 1
    FAIL = 2


class TableExists(IntEnum):
    """What an ingest does when its table is there."""

    UNSPECIFIED = 0
    FAIL = 1
    APPEND = 2
    REPLACE = 3


@dataclass(frozen=True, slots=True)
class TableDefinitionOptions:
    """The two decisions of an ingest."""

    if_not_exist: TableNotExist = TableNotExist.UNSPECIFIED
    if_exists: TableExists = TableExists.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class StatementIngest:
    """Load the Arrow data of this call into a table."""

    table_definition_options: TableDefinitionOptions | None
    table: str
    schema: str | None = None
    catalog: str | None = None
    temporary: bool = False
    transaction_id: bytes | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class DoPutUpdateResult:
    """How many rows an update touched; -1 when nobody counted."""

    record_count: int


@dataclass(frozen=True, slots=True)
class DoPutPreparedStatementResult:
    """The handle to use after binding; None when it is still the old one."""

    prepared_statement_handle: bytes | None = None


Command = (
    GetSqlInfo
    | GetXdbcTypeInfo
    | GetCatalogs
    | GetDbSchemas
    | GetTables
    | GetTableTypes
    | GetPrimaryKeys
    | GetExportedKeys
    | GetImportedKeys
    | GetCrossReference
    | StatementQuery
    | StatementSubstraitPlan
    | TicketStatementQuery
    | PreparedStatementQuery
    | StatementUpdate
    | PreparedStatementUpdate
    | StatementIngest
)
PutResult = DoPutUpdateResult | DoPutPreparedStatementResult
P = TypeVar("P", DoPutUpdateResult, DoPutPreparedStatementResult)

SUBSTRAIT_PLAN = Codec(SubstraitPlan, pb.SubstraitPlan)
TABLE_DEFINITION_OPTIONS = Codec(
    TableDefinitionOptions,
    pb.CommandStatementIngest.TableDefinitionOptions,
    if_not_exist=EnumPart(TableNotExist),
    if_exists=EnumPart(TableExists),
)

COMMANDS: Mapping[str, Codec[Any]] = {
    codec.name: codec
    for codec in (
        Codec[Any](GetSqlInfo, pb.CommandGetSqlInfo),
        Codec[Any](GetXdbcTypeInfo, pb.CommandGetXdbcTypeInfo),
        Codec[Any](GetCatalogs, pb.CommandGetCatalogs),
        Codec[Any](GetDbSchemas, pb.CommandGetDbSchemas),
        Codec[Any](GetTables, pb.CommandGetTables),
        Codec[Any](GetTableTypes, pb.CommandGetTableTypes),
        Codec[Any](GetPrimaryKeys, pb.CommandGetPrimaryKeys),
        Codec[Any](GetExportedKeys, pb.CommandGetExportedKeys),
        Codec[Any](GetImportedKeys, pb.CommandGetImportedKeys),
        Codec[Any](GetCrossReference, pb.CommandGetCrossReference),
        Codec[Any](StatementQuery, pb.CommandStatementQuery),
        Codec[Any](StatementSubstraitPlan, pb.CommandStatementSubstraitPlan, plan=SUBSTRAIT_PLAN),
        Codec[Any](TicketStatementQuery, pb.TicketStatementQuery),
        Codec[Any](PreparedStatementQuery, pb.CommandPreparedStatementQuery),
        Codec[Any](StatementUpdate, pb.CommandStatementUpdate),
        Codec[Any](PreparedStatementUpdate, pb.CommandPreparedStatementUpdate),
        Codec[Any](
            StatementIngest,
            pb.CommandStatementIngest,
            table_definition_options=TABLE_DEFINITION_OPTIONS,
        ),
    )
}
PUT_RESULTS: Mapping[type[PutResult], Codec[Any]] = {
    DoPutUpdateResult: Codec[Any](DoPutUpdateResult, pb.DoPutUpdateResult),
    DoPutPreparedStatementResult: Codec[Any](
        DoPutPreparedStatementResult, pb.DoPutPreparedStatementResult
    ),
}
_BY_VALUE = {codec.value_class: codec for codec in COMMANDS.values()}


def decode_command(data: bytes) -> Command:
    """Read the command in ``FlightDescriptor.command`` or in a ticket.

    Raises InvalidRequest for anything that is not well formed, Unsupported for a well-formed Any of
    another type.
    """
    name, body = unpack(data)
    codec = COMMANDS.get(name)
    if codec is None:
        raise unknown(name)
    return cast("Command", codec.decode(body))


def decode_ticket(data: bytes) -> Command:
    """Read the command in a ticket, which comes back exactly as it was given out.

    Raises InvalidRequest for anything else: nobody makes tickets but this server.
    """
    try:
        command = decode_command(data)
    except Unsupported:
        raise _foreign_ticket() from None
    # Of a type URL all but its end means nothing; in a ticket of ours not even that differs.
    if isinstance(command, TicketStatementQuery) and not data.startswith(_STATEMENT_TICKET):
        raise _foreign_ticket()
    return command


def _foreign_ticket() -> InvalidRequest:
    return InvalidRequest("the ticket is not one of this server's or was changed")


def encode_command(command: Command) -> bytes:
    """Write a command for a descriptor or a ticket; raises InvalidRequest for invalid Unicode."""
    codec = _BY_VALUE[type(command)]
    return pack(codec.name, codec.encode(command))


def decode_put_result(kind: type[P], data: bytes) -> P:
    """Read the metadata of a DoPut answer; raises InvalidRequest."""
    return cast("P", PUT_RESULTS[kind].decode(data))


def encode_put_result(result: PutResult) -> bytes:
    """Write the metadata of a DoPut answer."""
    return PUT_RESULTS[type(result)].encode(result)


_STATEMENT_TICKET = pack("TicketStatementQuery", b"")
