"""The border: each of our errors over the wire, as raised in any method, and what is not ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_manager import Error

from flight_server import errors
from flight_server.rpc.border import BorderedStream, Call, InFlight, bordered
from flight_server.rpc.middleware import MIDDLEWARE, Caller, CallerMiddleware
from flight_server.rpc.status import MESSAGE_BYTES_MAX
from flight_server.service.recording import UNRECORDED, Forgetful
from flight_server.service.signin import SignedIn
from policies.names import Principal, Role
from tests.rpc import plain
from tests.rpc.failures import failure_in

SECRET = "/home/secret/path.parquet SECRETCELL"
CASES: dict[str, tuple[BaseException, str, str]] = {
    error.code: (error, status, error.code)
    for error, status in (
        (errors.InvalidRequest("wrong"), "INVALID_ARGUMENT"),
        (errors.SchemaMismatch("unfit column=x"), "INVALID_ARGUMENT"),
        (errors.NotFound("no such thing"), "NOT_FOUND"),
        (errors.NotFound("no such table", code="table_not_found"), "NOT_FOUND"),
        (errors.AlreadyExists("taken"), "INVALID_ARGUMENT"),
        (errors.Conflict("somebody won"), "UNAVAILABLE"),
        (errors.Unauthenticated("who"), "UNAUTHENTICATED"),
        (errors.PermissionDenied("no"), "PERMISSION_DENIED"),
        (errors.LimitExceeded("slow", retry_after_seconds=2.5), "UNAVAILABLE"),
        (errors.Unavailable("away"), "UNAVAILABLE"),
        (errors.DeadlineExceeded("late"), "DEADLINE_EXCEEDED"),
        (errors.Cancelled("stopped"), "CANCELLED"),
        (errors.Unsupported("not here"), "UNIMPLEMENTED"),
    )
}
CASES |= {
    type(error).__name__: (error, "INTERNAL", "internal")
    for error in (
        ValueError(SECRET),
        KeyError(SECRET),
        OSError(2, SECRET),
        MemoryError(SECRET),
        RecursionError(SECRET),
        SystemExit(SECRET),
        KeyboardInterrupt(SECRET),
        pa.ArrowInvalid(SECRET),
        AssertionError(SECRET),
    )
}
CASES["long"] = (errors.NotFound("ä" * 5000), "NOT_FOUND", "not_found")
CASES["long ASCII"] = (errors.NotFound("x" * 5000), "NOT_FOUND", "not_found")
CASES["long signs"] = (errors.NotFound('%\n"' * 5000), "NOT_FOUND", "not_found")
CASES["long Chinese"] = (errors.NotFound("中" * 5000), "NOT_FOUND", "not_found")
CASES["lines"] = (errors.NotFound("two\nlines, 'quotes' \"and\" \t more"), "NOT_FOUND", "not_found")
METHODS = ["GetFlightInfo", "GetSchema", "DoGet", "DoAction"]


class _Everybody(fl.ServerMiddlewareFactory):  # type: ignore[misc]  # untyped for us
    """Lets everybody in, as one user."""

    def start_call(self, info: fl.CallInfo, headers: dict[str, list[str]]) -> CallerMiddleware:
        principal = Principal(user_id="u", username="u", role=Role.ADMIN)
        agent = headers.get("user-agent", [""])[0]
        return CallerMiddleware(
            Caller(SignedIn(principal, "s", "t"), "incident-1", None, "grpc-go" in agent), None
        )


class RaisingServer(fl.FlightServerBase):  # type: ignore[misc]  # untyped for us
    """Raises, in each method, the error that the request names."""

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.recorder = Forgetful()
        super().__init__("grpc+tcp://127.0.0.1:0", middleware={MIDDLEWARE: _Everybody()})

    @bordered
    def get_flight_info(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        raise _named(descriptor.command)

    def _describe(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        raise _named(descriptor.command)

    get_schema = bordered(_describe, flight_errors=False)

    @bordered
    def do_get(self, call: Call, ticket: fl.Ticket) -> fl.FlightDataStream:
        schema = pa.schema([("n", pa.int64())])

        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch([pa.array([1])], schema=schema)
            raise CASES[ticket.ticket.decode()][0]

        return fl.GeneratorStream(schema, BorderedStream(call, batches(), self.in_flight))

    @bordered
    def do_action(self, call: Call, action: fl.Action) -> Iterator[fl.Result]:
        raise _named(action.body.to_pybytes())


def _named(body: bytes) -> BaseException:
    """Return the case of a body: its name, or a statement of a driver that ends in it."""
    for name, (error, _, _) in CASES.items():
        if body == name.encode() or body.endswith(b"case:" + name.encode()):
            return error
    raise AssertionError(body)


@pytest.fixture(scope="module")
def raising() -> Iterator[RaisingServer]:
    logging.getLogger("flight_server.rpc.status").disabled = True
    with RaisingServer() as server:
        yield server
    logging.getLogger("flight_server.rpc.status").disabled = False


@pytest.fixture(scope="module")
def caller(raising: RaisingServer) -> Iterator[plain.Caller]:
    made = plain.Caller(f"grpc://127.0.0.1:{raising.port}", None)
    yield made
    made.close()


def _call(caller: plain.Caller, method: str, case: str) -> plain.Ending:
    data = case.encode()
    bodies = {"DoGet": plain.ticket(data), "DoAction": plain.action("x", data)}
    return caller.call(method, bodies.get(method, plain.descriptor(data)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_status_code_and_body(caller: plain.Caller, case: str, method: str) -> None:
    error, status, code = CASES[case]
    ending = _call(caller, method, case)
    if method == "GetSchema" and status not in {"NOT_FOUND", "UNIMPLEMENTED"}:
        status = "INVALID_ARGUMENT"  # all that pyarrow can say there
    assert ending.status == status
    assert ending.code == code
    assert ending.message.startswith(str(ending.error["message"])[:100])
    text = ending.everything()
    assert "Traceback" not in text
    assert '.py"' not in text
    assert "SECRETCELL" not in text
    if isinstance(error, errors.LakeflightError):
        assert ending.error["retryable"] == error.retryable
        assert ending.error.get("retry_after_seconds") == error.retry_after_seconds
        assert "incident" not in ending.error
    else:
        assert ending.error["incident"] == "incident-1"
        assert "incident-1" in ending.message
    assert len(str(ending.error["message"]).encode()) <= MESSAGE_BYTES_MAX


@pytest.mark.parametrize("case", CASES)
def test_arrow_clients_find_the_body_in_extra_info(raising: RaisingServer, case: str) -> None:
    _, _, code = CASES[case]
    with fl.FlightClient(f"grpc://127.0.0.1:{raising.port}") as client:
        descriptor = fl.FlightDescriptor.for_command(case.encode())
        with pytest.raises(fl.FlightError) as caught:
            client.get_flight_info(descriptor)
    assert f'"code": "{code}"'.encode() in caught.value.extra_info
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_the_official_driver_shows_the_message_and_finds_the_body(
    raising: RaisingServer, case: str
) -> None:
    _, _, code = CASES[case]
    connection: Any = flightsql.connect(f"grpc://127.0.0.1:{raising.port}", autocommit=True)
    with connection, connection.cursor() as cursor, pytest.raises(Error) as caught:
        cursor.execute("case:" + case)
    failure = failure_in(caught.value)
    assert failure.code == code
    assert f"] {failure.message} (" in str(caught.value)


def test_calls_are_counted_out_whatever_happened(
    raising: RaisingServer, caller: plain.Caller
) -> None:
    for method in METHODS:
        _call(caller, method, "ValueError")
    assert raising.in_flight._running == 0


def test_a_stream_that_was_never_read_counts_out_when_it_is_dropped() -> None:
    in_flight = InFlight()
    closed: list[bool] = []

    class Batches:
        def __next__(self) -> pa.RecordBatch:
            raise StopIteration

        def __iter__(self) -> Batches:
            return self

        def close(self) -> None:
            closed.append(True)

    call: Any = SimpleNamespace(record=UNRECORDED)
    stream = BorderedStream(call, Batches(), in_flight)
    assert in_flight._running == 1
    del stream
    assert in_flight._running == 0
    assert closed == [True]
