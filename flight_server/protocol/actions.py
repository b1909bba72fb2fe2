"""The actions of Flight SQL and of Flight sessions: name, request, answer.

The bodies of Flight SQL actions are an Any, those of Flight itself the bare message; each value is
named after its message without the words Action and Request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from flight_server.errors import InvalidRequest
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.codec import Codec, EnumPart, pack, unknown, unpack
from flight_server.protocol.commands import SUBSTRAIT_PLAN, SubstraitPlan
from flight_server.protocol.flight import (
    FLIGHT_MESSAGES,
    CancelFlightInfo,
    CancelFlightInfoResult,
    CloseSession,
    CloseSessionResult,
    FlightEndpoint,
    GetSessionOptions,
    GetSessionOptionsResult,
    RenewFlightEndpoint,
    SetSessionOptions,
    SetSessionOptionsResult,
)


@dataclass(frozen=True, slots=True)
class CreatePreparedStatement:
    """Prepare a statement."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class CreatePreparedSubstraitPlan:
    """Prepare a plan."""

    plan: SubstraitPlan | None
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class CreatePreparedStatementResult:
    """The handle of a prepared statement; schemas are IPC messages, empty when there is none."""

    prepared_statement_handle: bytes
    dataset_schema: bytes = b""
    parameter_schema: bytes = b""
    is_update: bool | None = None


@dataclass(frozen=True, slots=True)
class ClosePreparedStatement:
    """Forget a prepared statement."""

    prepared_statement_handle: bytes


@dataclass(frozen=True, slots=True)
class BeginTransaction:
    """Begin a transaction."""


@dataclass(frozen=True, slots=True)
class BeginTransactionResult:
    """The new transaction."""

    transaction_id: bytes


@dataclass(frozen=True, slots=True)
class BeginSavepoint:
    """Set a savepoint within a transaction."""

    transaction_id: bytes
    name: str


@dataclass(frozen=True, slots=True)
class BeginSavepointResult:
    """The new savepoint."""

    savepoint_id: bytes


class TransactionEnd(IntEnum):
    """How a transaction ends."""

    UNSPECIFIED = 0
    COMMIT = 1
    ROLLBACK = 2


@dataclass(frozen=True, slots=True)
class EndTransaction:
    """End a transaction."""

    transaction_id: bytes
    action: TransactionEnd


class SavepointEnd(IntEnum):
    """How a savepoint ends."""

    UNSPECIFIED = 0
    RELEASE = 1
    ROLLBACK = 2


@dataclass(frozen=True, slots=True)
class EndSavepoint:
    """End a savepoint."""

    savepoint_id: bytes
    action: SavepointEnd


@dataclass(frozen=True, slots=True)
class CancelQuery:
    """Cancel the query behind a serialized FlightInfo (``flight.decode_flight_info`` reads it)."""

    info: bytes


class CancelResult(IntEnum):
    """How far a cancellation went."""

    UNSPECIFIED = 0
    CANCELLED = 1
    CANCELLING = 2
    NOT_CANCELLABLE = 3


@dataclass(frozen=True, slots=True)
class CancelQueryResult:
    """Whether the query ended."""

    result: CancelResult


ActionRequest = (
    CreatePreparedStatement
    | CreatePreparedSubstraitPlan
    | ClosePreparedStatement
    | BeginTransaction
    | BeginSavepoint
    | EndTransaction
    | EndSavepoint
    | CancelQuery
    | CancelFlightInfo
    | RenewFlightEndpoint
    | SetSessionOptions
    | GetSessionOptions
    | CloseSession
)
ActionResult = (
    CreatePreparedStatementResult
    | BeginTransactionResult
    | BeginSavepointResult
    | CancelQueryResult
    | CancelFlightInfoResult
    | FlightEndpoint
    | SetSessionOptionsResult
    | GetSessionOptionsResult
    | CloseSessionResult
)


@dataclass(frozen=True, slots=True)
class ActionShape:
    """What an action carries.

    ``packed`` is for bodies in an Any; ``result`` is None when there is no answer.
    """

    description: str
    request: Codec[Any]
    result: Codec[Any] | None
    packed: bool


def _sql(description: str, request: Codec[Any], result: Codec[Any] | None = None) -> ActionShape:
    return ActionShape(description, request, result, packed=True)


def _flight(description: str, request: str, result: str) -> ActionShape:
    return ActionShape(description, FLIGHT_MESSAGES[request], FLIGHT_MESSAGES[result], packed=False)


_PREPARED = Codec[Any](CreatePreparedStatementResult, pb.ActionCreatePreparedStatementResult)

ACTIONS: Mapping[str, ActionShape] = {
    "CreatePreparedStatement": _sql(
        "Prepare a statement",
        Codec(CreatePreparedStatement, pb.ActionCreatePreparedStatementRequest),
        _PREPARED,
    ),
    "CreatePreparedSubstraitPlan": _sql(
        "Prepare a Substrait plan",
        Codec(
            CreatePreparedSubstraitPlan,
            pb.ActionCreatePreparedSubstraitPlanRequest,
            plan=SUBSTRAIT_PLAN,
        ),
        _PREPARED,
    ),
    "ClosePreparedStatement": _sql(
        "Forget a prepared statement",
        Codec(ClosePreparedStatement, pb.ActionClosePreparedStatementRequest),
    ),
    "BeginTransaction": _sql(
        "Begin a transaction",
        Codec(BeginTransaction, pb.ActionBeginTransactionRequest),
        Codec(BeginTransactionResult, pb.ActionBeginTransactionResult),
    ),
    "BeginSavepoint": _sql(
        "Set a savepoint",
        Codec(BeginSavepoint, pb.ActionBeginSavepointRequest),
        Codec(BeginSavepointResult, pb.ActionBeginSavepointResult),
    ),
    "EndTransaction": _sql(
        "Commit a transaction or roll it back",
        Codec(EndTransaction, pb.ActionEndTransactionRequest, action=EnumPart(TransactionEnd)),
    ),
    "EndSavepoint": _sql(
        "Release a savepoint or roll back to it",
        Codec(EndSavepoint, pb.ActionEndSavepointRequest, action=EnumPart(SavepointEnd)),
    ),
    "CancelQuery": _sql(
        "Cancel a query (older form of CancelFlightInfo)",
        Codec(CancelQuery, pb.ActionCancelQueryRequest),
        Codec(CancelQueryResult, pb.ActionCancelQueryResult, result=EnumPart(CancelResult)),
    ),
    "CancelFlightInfo": _flight(
        "Cancel a query", "CancelFlightInfoRequest", "CancelFlightInfoResult"
    ),
    "RenewFlightEndpoint": _flight(
        "Extend the life of a ticket", "RenewFlightEndpointRequest", "FlightEndpoint"
    ),
    "SetSessionOptions": _flight(
        "Set options of this session", "SetSessionOptionsRequest", "SetSessionOptionsResult"
    ),
    "GetSessionOptions": _flight(
        "Read the options of this session", "GetSessionOptionsRequest", "GetSessionOptionsResult"
    ),
    "CloseSession": _flight("End this session", "CloseSessionRequest", "CloseSessionResult"),
}
_NAMES = {shape.request.value_class: name for name, shape in ACTIONS.items()}


def decode_action(name: str, body: bytes) -> ActionRequest:
    """Read the body of an action.

    Raises Unsupported for an action that is not in the table, InvalidRequest for a body that does
    not fit its action.
    """
    shape = _shape(name)
    return cast("ActionRequest", _open(shape.request, body, packed=shape.packed))


def encode_action(request: ActionRequest) -> tuple[str, bytes]:
    """Write an action: its name and its body. Raises InvalidRequest when a value does not fit."""
    name = _NAMES[type(request)]
    return name, _close(ACTIONS[name].request, request, packed=ACTIONS[name].packed)


def decode_action_result(name: str, body: bytes) -> ActionResult:
    """Read the answer to an action; raises as ``decode_action`` does."""
    shape = _shape(name)
    if shape.result is None:
        raise InvalidRequest(f"the action {name} has no answer")
    return cast("ActionResult", _open(shape.result, body, packed=shape.packed))


def encode_action_result(name: str, result: ActionResult) -> bytes:
    """Write the answer to an action; the answer must be the one that the table has for it."""
    shape = _shape(name)
    if shape.result is None or type(result) is not shape.result.value_class:
        raise InvalidRequest(f"{type(result).__name__} is not the answer to the action {name}")
    return _close(shape.result, result, packed=shape.packed)


def _shape(name: str) -> ActionShape:
    shape = ACTIONS.get(name)
    if shape is None:
        raise unknown(name)
    return shape


def _open(codec: Codec[Any], body: bytes, *, packed: bool) -> Any:
    if not packed:
        return codec.decode(body)
    name, inner = unpack(body)
    if name != codec.name:
        raise InvalidRequest(f"this action takes a message {codec.name}")
    return codec.decode(inner)


def _close(codec: Codec[Any], value: object, *, packed: bool) -> bytes:
    body = codec.encode(value)
    return pack(codec.name, body) if packed else body
