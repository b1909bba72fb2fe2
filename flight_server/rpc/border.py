"""The frame around every Flight method.

Who calls, what is in flight, and errors that leave translated.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyarrow as pa
import pyarrow.flight as fl

from flight_server import errors
from flight_server.rpc import status
from flight_server.rpc.middleware import Caller, address_of, caller_of, no_credentials
from flight_server.service.recording import Record, Recorder
from flight_server.service.request import Request
from flight_server.service.session_options import TEXT_CHARACTERS_MAX, SessionOptions
from flight_server.service.sessions import Sessions
from flight_server.telemetry import current
from policies.names import Principal, Role

_NAME_CHARACTERS_MAX = 256
KEY_CHARACTERS_MAX = 200
_NO_OPTIONS = SessionOptions()
NOBODY = Principal(user_id="", username="", role=Role.PENDING)
P = ParamSpec("P")
R = TypeVar("R")


class InFlight:
    """Counts the calls that run, streams included, so that a stop can wait for them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = 0
        self._draining = False

    @property
    def running(self) -> int:
        """How many calls run now."""
        return self._running

    @property
    def is_draining(self) -> bool:
        """Whether new calls are refused."""
        return self._draining

    def enter(self) -> None:
        """Count a call in."""
        with self._condition:
            self._running += 1

    def leave(self) -> None:
        """Count a call out."""
        with self._condition:
            self._running -= 1
            self._condition.notify_all()

    def drain(self, timeout_seconds: float) -> bool:
        """Refuse new calls and wait for the running ones.

        False when some were left at the end of the time.
        """
        with self._condition:
            self._draining = True
            return self._condition.wait_for(lambda: self._running == 0, timeout_seconds)


@dataclass(frozen=True, slots=True)
class Call:
    """A running call: its caller, its record, and how its errors are put for its client."""

    context: fl.ServerCallContext
    caller: Caller
    record: Record
    flight_errors: bool

    def request(
        self,
        sessions: Sessions,
        *,
        default_bucket: str,
        default_schema: str,
        needs_purpose: bool = True,
    ) -> Request:
        """Return the request for the use cases.

        Of settings, headers and the options of the session, the later ones win.
        Raises Unauthenticated for a call without credentials, InvalidRequest for headers that ask
        for what cannot be, PermissionDenied for a purpose that the caller may not state: unless the
        call has no need of one, and has none then. That is not found out before
        the call starts, because an error there could not say its code to every client.
        """
        caller, peer = self.caller, self.context.peer()
        signed_in = caller.signed_in
        if signed_in is None:
            raise no_credentials()
        _check(caller)
        principal = signed_in.principal
        keys = caller.marks.keys(principal.user_id, peer)
        session = sessions.find(keys)
        options = _NO_OPTIONS if session is None else session.options
        purpose = options.purpose or caller.purpose
        self.record.note(purpose=purpose)
        if purpose is not None:
            purpose = _stated(sessions, principal, purpose, is_needed=needs_purpose)
        return Request(
            principal=replace(principal, purpose=purpose),
            session_id=signed_in.session_id,
            request_id=caller.request_id,
            bucket=options.catalog or caller.bucket or default_bucket,
            schema=options.schema or default_schema,
            is_cancelled=self.context.is_cancelled,
            purpose=purpose,
            query_tag=options.query_tag or caller.query_tag,
            timeout_seconds=options.query_timeout_seconds,
            idempotency_key=caller.idempotency_key,
            temporary=None if session is None else session.temporary,
            session_keys=keys,
            peer=peer,
            user_agent=caller.user_agent,
            address=caller.address or address_of(peer) or "",
            token_id=signed_in.token_id,
            tier=signed_in.tier,
            record=self.record,
        )

    def anybodys(self) -> Request:
        """Return the request of an action that needs no credentials; its principal is nobody."""
        peer = self.context.peer()
        return Request(
            principal=NOBODY,
            session_id="",
            request_id=self.caller.request_id,
            bucket="",
            schema="",
            is_cancelled=self.context.is_cancelled,
            peer=peer,
            user_agent=self.caller.user_agent,
            address=self.caller.address or address_of(peer) or "",
            record=self.record,
        )

    def translate(self, error: BaseException) -> Exception:
        """Return the exception that ends this call with the right status."""
        return status.translate(
            error,
            incident=self.caller.request_id,
            context=self.context,
            reads_rpc_status=self.caller.reads_rpc_status,
            flight_errors=self.flight_errors,
        )


def _stated(
    sessions: Sessions, principal: Principal, purpose: str, *, is_needed: bool
) -> str | None:
    """Return the purpose of a call; raises when the caller may not state it, and it is needed."""
    try:
        sessions.check_purpose(principal, purpose)
    except (errors.InvalidRequest, errors.PermissionDenied):
        if is_needed:
            raise
        return None
    return purpose


def _check(caller: Caller) -> None:
    for name, value, characters_max in (
        ("bucket", caller.bucket, _NAME_CHARACTERS_MAX),
        ("purpose", caller.purpose, TEXT_CHARACTERS_MAX),
        ("query-tag", caller.query_tag, TEXT_CHARACTERS_MAX),
        ("idempotency-key", caller.idempotency_key, KEY_CHARACTERS_MAX),
    ):
        if value is None:
            continue
        if len(value) > characters_max:
            raise errors.InvalidRequest(
                f"the header x-lakehouse-{name} is too long; characters_max={characters_max}"
            )
        if not (value.isascii() and value.isprintable()):
            raise errors.InvalidRequest(f"the header x-lakehouse-{name} is not printable")


class Bordered(Protocol):
    """What a server needs for its methods to be bordered."""

    in_flight: InFlight
    recorder: Recorder


S = TypeVar("S", bound=Bordered)


def bordered(
    method: Callable[Concatenate[S, Call, P], R],
    *,
    flight_errors: bool = True,
) -> Callable[Concatenate[S, fl.ServerCallContext, P], R]:
    """Wrap a Flight method.

    It gets a ``Call`` in place of the context, nothing but statuses leaves it, and the record of
    the call is settled when it returns; that of a stream when the stream ends.
    """
    name = method.__name__.strip("_")

    @functools.wraps(method)
    def handler(self: S, context: fl.ServerCallContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.in_flight.enter()
        try:
            try:
                caller = caller_of(context)
                circumstances = caller.circumstances(name, context.peer())
                call = Call(context, caller, self.recorder.open(circumstances), flight_errors)
            except errors.LakeflightError as error:
                raise status.translate(error, incident="", flight_errors=flight_errors) from None
            try:
                result = method(self, call, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001  the border lets nothing through
                call.record.settle(error)
                raise call.translate(error) from None
            if not isinstance(result, fl.GeneratorStream):
                call.record.settle()
            return result
        finally:
            self.in_flight.leave()

    return handler


class BorderedStream:
    """A result on its way out.

    Errors are translated batch by batch, and the call counts until the stream is closed.

    A class and not a generator: a generator that was never started runs no ``finally`` when it is
    dropped.
    """

    def __init__(self, call: Call, batches: Iterator[pa.RecordBatch], in_flight: InFlight) -> None:
        self._call = call
        self._batches: Iterator[pa.RecordBatch] | None = batches
        self._in_flight = in_flight
        self._rows = 0
        self._bytes = 0
        self._current = current.current()
        in_flight.enter()

    def __iter__(self) -> BorderedStream:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._batches is None:
            raise StopIteration
        current.enter(self._current)
        try:
            batch = next(self._batches)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:  # noqa: BLE001  the border lets nothing through
            self._end(error)
            raise self._call.translate(error) from None
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        return batch

    def close(self) -> None:
        """End the stream; one that was not read to its end was cancelled by its client."""
        self._end(errors.Cancelled("the client did not read the result to its end"))

    def _end(self, error: BaseException | None) -> None:
        batches, self._batches = self._batches, None
        if batches is None:
            return
        current.enter(self._current)
        try:
            close: Callable[[], Any] | None = getattr(batches, "close", None)
            if close is not None:
                close()
        finally:
            self._call.record.note(rows=self._rows, byte_count=self._bytes)
            self._call.record.settle(error)
            self._in_flight.leave()

    def __del__(self) -> None:
        self.close()
