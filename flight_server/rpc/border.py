"""The frame around every Flight method.

Who calls, what is in flight, and errors that leave translated.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyarrow as pa
import pyarrow.flight as fl

from flight_server import errors
from flight_server.rpc import status
from flight_server.rpc.middleware import Caller, caller_of
from flight_server.service.request import Request
from flight_server.service.session_options import TEXT_CHARACTERS_MAX, SessionOptions
from flight_server.service.sessions import Sessions

_NAME_CHARACTERS_MAX = 256
KEY_CHARACTERS_MAX = 200
_NO_OPTIONS = SessionOptions()
P = ParamSpec("P")
R = TypeVar("R")


class InFlight:
    """Counts the calls that run, streams included, so that a stop can wait for them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = 0
        self._draining = False

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
    """A running call: its caller, its context, and how its errors are put for its client."""

    context: fl.ServerCallContext
    caller: Caller
    flight_errors: bool

    def request(self, sessions: Sessions, *, default_bucket: str, default_schema: str) -> Request:
        """Return the request for the use cases.

        Of settings, headers and the options of the session, the later ones win.
        Raises InvalidRequest for headers that ask for what cannot be. That is not found out before
        the call starts, because an error there could not say its code to every client.
        """
        caller, peer = self.caller, self.context.peer()
        _check(caller)
        principal = caller.signed_in.principal
        keys = caller.marks.keys(principal.user_id, peer)
        session = sessions.find(keys)
        options = _NO_OPTIONS if session is None else session.options
        return Request(
            principal=principal,
            session_id=caller.signed_in.session_id,
            request_id=caller.request_id,
            bucket=options.catalog or caller.bucket or default_bucket,
            schema=options.schema or default_schema,
            is_cancelled=self.context.is_cancelled,
            purpose=options.purpose or caller.purpose,
            query_tag=options.query_tag or caller.query_tag,
            timeout_seconds=options.query_timeout_seconds,
            idempotency_key=caller.idempotency_key,
            temporary=None if session is None else session.temporary,
            session_keys=keys,
            peer=peer,
            user_agent=caller.user_agent,
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


S = TypeVar("S", bound=Bordered)


def bordered(
    method: Callable[Concatenate[S, Call, P], R],
    *,
    flight_errors: bool = True,
) -> Callable[Concatenate[S, fl.ServerCallContext, P], R]:
    """Wrap a Flight method.

    It gets a ``Call`` in place of the context, and nothing but statuses leaves it.
    """

    @functools.wraps(method)
    def handler(self: S, context: fl.ServerCallContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.in_flight.enter()
        try:
            try:
                call = Call(context, caller_of(context), flight_errors)
            except errors.LakeflightError as error:
                raise status.translate(error, incident="", flight_errors=flight_errors) from None
            try:
                return method(self, call, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001  the border lets nothing through
                raise call.translate(error) from None
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
        in_flight.enter()

    def __iter__(self) -> BorderedStream:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._batches is None:
            raise StopIteration
        try:
            return next(self._batches)
        except StopIteration:
            self.close()
            raise
        except BaseException as error:  # noqa: BLE001  the border lets nothing through
            self.close()
            raise self._call.translate(error) from None

    def close(self) -> None:
        """End the stream, whether or not it was read to its end."""
        batches, self._batches = self._batches, None
        if batches is None:
            return
        try:
            close: Callable[[], Any] | None = getattr(batches, "close", None)
            if close is not None:
                close()
        finally:
            self._in_flight.leave()

    def __del__(self) -> None:
        self.close()
