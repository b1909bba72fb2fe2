"""From the headers of a call to its caller.

The one place where identity is established, before any handler runs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

import pyarrow.flight as fl

from flight_server import errors
from flight_server.rpc import status
from flight_server.service.recording import Circumstances, Effect, Recorder
from flight_server.service.request import SessionKey
from flight_server.service.signin import Origin, SignedIn, SignIn
from flight_server.telemetry import current
from flight_server.telemetry.current import CurrentCall

MIDDLEWARE = "caller"
COOKIE = "lakeflight_session"
_COOKIE_BYTES = 16
# Some clients send the value in quotes, and attributes along with it. Ours has exactly this shape.
_COOKIE = re.compile(rf'(?:^|[;,\s]){COOKIE}="?([0-9a-f]{{{2 * _COOKIE_BYTES}}})"?(?=$|[;,\s])')
# Those that may write; others, such as the end of a statement, are served whatever their headers.
_WRITING_METHODS = frozenset({fl.FlightMethod.DO_PUT, fl.FlightMethod.GET_FLIGHT_INFO})
_CREDENTIALS_BYTES_MAX = 12 * 1024
# Drivers over these libraries read the error details as a google.rpc.Status.
_RPC_STATUS_CLIENTS = ("grpc-go", "grpc-java")


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells this client's connection from others of the same user.

    ``cookie`` came with the call, ``new_cookie`` goes back with the answer; ``token_session`` is
    the session id in the token that came with the call, ``new_token_session`` that of a token which
    goes back.
    """

    cookie: str | None = None
    new_cookie: str | None = None
    token_session: str | None = None
    new_token_session: str | None = None

    def keys(self, user_id: str, peer: str) -> tuple[SessionKey, ...]:
        """Return the key that finds the session of this call, and those that will find it too."""
        if self.cookie is not None:
            return (("cookie", user_id, self.cookie),)
        if self.token_session is not None:
            return (("token", user_id, self.token_session),)
        keys: list[SessionKey] = [("peer", user_id, peer)]
        if self.new_cookie is not None:
            keys.append(("cookie", user_id, self.new_cookie))
        if self.new_token_session is not None:
            keys.append(("token", user_id, self.new_token_session))
        return tuple(keys)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what their headers ask for.

    ``signed_in`` is None for a call without credentials, which only the start of an account or of
    a session may be. ``address`` is what a trusted proxy says of where the call came from.
    """

    signed_in: SignedIn | None
    request_id: str
    bucket: str | None
    reads_rpc_status: bool
    purpose: str | None = None
    query_tag: str | None = None
    idempotency_key: str | None = None
    user_agent: str = ""
    marks: Marks = Marks()
    address: str | None = None
    trace_headers: Mapping[str, str] = field(default_factory=dict)

    def circumstances(self, method: str, peer: str | None = None) -> Circumstances:
        """Return what is known of a call of this caller, for its record."""
        who = self.signed_in
        return Circumstances(
            request_id=self.request_id,
            method=method,
            user_id=None if who is None else who.principal.user_id,
            username=None if who is None else who.principal.username,
            session_id=None if who is None else who.session_id,
            purpose=self.purpose,
            query_tag=self.query_tag,
            address=self.address or address_of(peer),
            user_agent=self.user_agent or None,
            trace_headers=self.trace_headers,
        )


class CallerMiddleware(fl.ServerMiddleware):
    """Keeps the caller for the handler, and sends a fresh token and a cookie where there are."""

    def __init__(self, caller: Caller, token: str | None) -> None:
        super().__init__()
        self.caller = caller
        self._token = token

    def sending_headers(self) -> dict[str, str]:
        """Return the header that both ADBC and JDBC wait for in the answer to a handshake.

        The cookie beside it tells connections apart that share a token, where it is echoed.
        """
        headers = {} if self._token is None else {"authorization": f"Bearer {self._token}"}
        if (cookie := self.caller.marks.new_cookie) is not None:
            headers["set-cookie"] = f"{COOKIE}={cookie}; Path=/; HttpOnly"
        return headers


class CallerMiddlewareFactory(fl.ServerMiddlewareFactory):
    """Identifies the caller at the start of each call.

    A call with credentials that prove nobody does not start; one without any starts if it is an
    action, because some of them are how accounts and sessions begin. ``address_header`` is the
    header in which a trusted proxy says where a call came from.
    """

    def __init__(
        self,
        signin: SignIn,
        recorder: Recorder,
        *,
        random_bytes: Callable[[int], bytes],
        is_draining: Callable[[], bool],
        address_header: str | None = None,
    ) -> None:
        super().__init__()
        self._signin = signin
        self._recorder = recorder
        self._random_bytes = random_bytes
        self._is_draining = is_draining
        self._address_header = address_header

    def start_call(
        self, info: fl.CallInfo, headers: Mapping[str, Sequence[str | bytes]]
    ) -> CallerMiddleware:
        """Return the middleware of this call, or raise the status that refuses it."""
        user_agent = _header(headers, "user-agent") or ""
        caller = Caller(
            signed_in=None,
            request_id=self._random_bytes(8).hex(),
            bucket=_header(headers, "x-lakehouse-bucket") or None,
            reads_rpc_status=any(name in user_agent for name in _RPC_STATUS_CLIENTS),
            purpose=_header(headers, "x-lakehouse-purpose") or None,
            query_tag=_header(headers, "x-lakehouse-query-tag") or None,
            user_agent=user_agent,
            address=self._forwarded(headers),
            trace_headers=_trace_headers(headers),
        )
        current.enter(CurrentCall(caller.request_id))
        try:
            # Which action it is cannot be seen here, and those that end something are still served.
            if self._is_draining() and info.method is not fl.FlightMethod.DO_ACTION:
                raise stopping()
            authorization = _header(headers, "authorization")
            if authorization is None and info.method is fl.FlightMethod.DO_ACTION:
                return CallerMiddleware(caller, None)
            signed_in, fresh = self._identify(authorization, caller)
            caller = replace(
                caller,
                signed_in=signed_in,
                idempotency_key=_idempotency_key(info, headers),
                marks=self._marks(info, headers, signed_in.session_id, is_new=fresh),
            )
        except BaseException as error:  # noqa: BLE001  the border lets nothing through
            record = self._recorder.open(caller.circumstances(_name(info)))
            if info.method is fl.FlightMethod.HANDSHAKE:
                record.about("auth.login")
            record.settle(error)
            raise status.translate(
                error, incident=caller.request_id, reads_rpc_status=caller.reads_rpc_status
            ) from None
        answers = fresh or info.method is fl.FlightMethod.HANDSHAKE
        return CallerMiddleware(caller, signed_in.token if answers else None)

    def _forwarded(self, headers: Mapping[str, Sequence[str | bytes]]) -> str | None:
        """Return the address that the nearest proxy, the only one to be trusted, has added."""
        if self._address_header is None:
            return None
        value = _header(headers, self._address_header) or ""
        return address_of(value.rpartition(",")[2].strip())

    def _marks(
        self,
        info: fl.CallInfo,
        headers: Mapping[str, Sequence[str | bytes]],
        session_id: str,
        *,
        is_new: bool,
    ) -> Marks:
        """Tell what marks the connection; a client that has no mark of its own yet gets a cookie.

        A handshake is the start of a connection, also where its token is shared by many.
        """
        cookie = _cookie(headers)
        token_session, new_token_session = (None, session_id) if is_new else (session_id, None)
        is_handshake = info.method is fl.FlightMethod.HANDSHAKE
        new_cookie = None
        if cookie is None and (is_handshake or token_session is None):
            new_cookie = self._random_bytes(_COOKIE_BYTES).hex()
        return Marks(cookie, new_cookie, token_session, new_token_session)

    def _identify(self, authorization: str | None, caller: Caller) -> tuple[SignedIn, bool]:
        """Return who it is, and whether a new token was made for them."""
        if authorization is None:
            raise no_credentials()
        if len(authorization) > _CREDENTIALS_BYTES_MAX:
            raise errors.Unauthenticated("the credentials are too long")
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            origin = Origin(address=caller.address, user_agent=caller.user_agent)
            return self._signin.by_token(value.strip(), origin=origin), False
        if scheme.lower() == "basic":
            username, password = basic_credentials(value.strip())
            return self._by_password(username, password, caller=caller), True
        raise errors.Unauthenticated("sign in with Basic or Bearer credentials")

    def _by_password(self, username: str, password: str, *, caller: Caller) -> SignedIn:
        origin = Origin(address=caller.address, user_agent=caller.user_agent)
        signed_in = self._signin.by_password(username, password, origin=origin)
        known = replace(caller, signed_in=signed_in)
        record = self._recorder.open(known.circumstances("handshake"))
        record.intend("auth.login", effect=Effect.CHANGE)
        record.settle()
        return signed_in


class OpenHandshake(fl.ServerAuthHandler):
    """Lets Handshake exist at all.

    Pyarrow refuses it without a handler. The middleware does the work.
    """

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        """Read nothing and say nothing: credentials and token travel in headers."""

    def is_valid(self, token: bytes) -> bytes:  # noqa: ARG002
        """Accept what old-style clients send here; it identifies nobody."""
        return b""


def basic_credentials(encoded: str) -> tuple[str, str]:
    """Decode Basic credentials, whose padding the ADBC driver leaves out.

    Raises Unauthenticated.
    """
    try:
        text = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        raise errors.Unauthenticated("the Basic credentials cannot be read") from None
    username, separator, password = text.partition(":")
    if not separator:
        raise errors.Unauthenticated("the Basic credentials cannot be read")
    return username, password


def stopping() -> errors.Unavailable:
    """Return the error for who comes too late."""
    return errors.Unavailable("the server is stopping", retry_after_seconds=5.0)


def caller_of(context: fl.ServerCallContext) -> Caller:
    """Return the caller of a running call.

    Raises Unauthenticated: without identity nothing runs.
    """
    middleware = context.get_middleware(MIDDLEWARE)
    if not isinstance(middleware, CallerMiddleware):
        raise no_credentials()
    return middleware.caller


def no_credentials() -> errors.Unauthenticated:
    """Return the error for a call that says nothing of who makes it."""
    return errors.Unauthenticated("sign in: this call carries no credentials")


@lru_cache(maxsize=4096)
def address_of(peer: str | None) -> str | None:
    """Return the address of a peer without its port; None where there is none.

    gRPC writes ``ipv4:127.0.0.1:50051`` and ``ipv6:%5B::1%5D:50051``; proxies a bare address.
    """
    if not peer:
        return None
    text = unquote(peer)
    for prefix in ("ipv4:", "ipv6:"):
        text = text.removeprefix(prefix)
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _name(info: fl.CallInfo) -> str:
    """Return the method of a call in snake case."""
    return str(info.method).rpartition(".")[2].lower()


def _cookie(headers: Mapping[str, Sequence[str | bytes]]) -> str | None:
    # One header for each cookie, or one for all; another server's cookies may be among them.
    for value in headers.get("cookie") or ():
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        if match := _COOKIE.search(text):
            return match[1]
    return None


def _idempotency_key(info: fl.CallInfo, headers: Mapping[str, Sequence[str | bytes]]) -> str | None:
    """Return the key of a write; raises InvalidRequest for several where they matter.

    A driver may add a header to those that a statement has already, where its user meant another
    one in its place: taken for a repeat of an earlier write, the new one would be lost.
    """
    values = headers.get("x-lakehouse-idempotency-key") or ()
    if len(set(values)) > 1 and info.method in _WRITING_METHODS:
        raise errors.InvalidRequest(
            "the header x-lakehouse-idempotency-key came with several values; use a statement for"
            " each write, or set the header to nothing before its next value"
        )
    return _header(headers, "x-lakehouse-idempotency-key") or None


def _trace_headers(headers: Mapping[str, Sequence[str | bytes]]) -> dict[str, str]:
    """Return the W3C headers that say which trace a call belongs to; usually there are none."""
    if "traceparent" not in headers:
        return {}
    found = {name: _header(headers, name) for name in ("traceparent", "tracestate")}
    return {name: value for name, value in found.items() if value}


def _header(headers: Mapping[str, Sequence[str | bytes]], name: str) -> str | None:
    values = headers.get(name)
    if not values:
        return None
    value = values[0]
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
