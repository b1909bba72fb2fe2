"""From the headers of a call to its caller.

The one place where identity is established, before any handler runs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.flight as fl

from flight_server import errors
from flight_server.rpc import status
from flight_server.service.request import SessionKey
from flight_server.service.signin import SignedIn, SignIn

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
    """Who calls, proven, and what their headers ask for."""

    signed_in: SignedIn
    request_id: str
    bucket: str | None
    reads_rpc_status: bool
    purpose: str | None = None
    query_tag: str | None = None
    idempotency_key: str | None = None
    user_agent: str = ""
    marks: Marks = Marks()


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

    A call without a valid identity does not start.
    """

    def __init__(
        self,
        signin: SignIn,
        *,
        random_bytes: Callable[[int], bytes],
        is_draining: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._signin = signin
        self._random_bytes = random_bytes
        self._is_draining = is_draining

    def start_call(
        self, info: fl.CallInfo, headers: Mapping[str, Sequence[str | bytes]]
    ) -> CallerMiddleware:
        """Return the middleware of this call, or raise the status that refuses it."""
        request_id = self._random_bytes(8).hex()
        user_agent = _header(headers, "user-agent") or ""
        reads_rpc_status = any(name in user_agent for name in _RPC_STATUS_CLIENTS)
        try:
            # Which action it is cannot be seen here, and those that end something are still served.
            if self._is_draining() and info.method is not fl.FlightMethod.DO_ACTION:
                raise stopping()
            signed_in, fresh = self._identify(_header(headers, "authorization"))
            caller = Caller(
                signed_in=signed_in,
                request_id=request_id,
                bucket=_header(headers, "x-lakehouse-bucket") or None,
                reads_rpc_status=reads_rpc_status,
                purpose=_header(headers, "x-lakehouse-purpose") or None,
                query_tag=_header(headers, "x-lakehouse-query-tag") or None,
                idempotency_key=_idempotency_key(info, headers),
                user_agent=user_agent,
                marks=self._marks(info, headers, signed_in.session_id, is_new=fresh),
            )
        except BaseException as error:  # noqa: BLE001  the border lets nothing through
            raise status.translate(
                error, incident=request_id, reads_rpc_status=reads_rpc_status
            ) from None
        answers = fresh or info.method is fl.FlightMethod.HANDSHAKE
        return CallerMiddleware(caller, signed_in.token if answers else None)

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

    def _identify(self, authorization: str | None) -> tuple[SignedIn, bool]:
        """Return the caller, and whether a new token was made for them."""
        if authorization is None:
            raise errors.Unauthenticated("sign in: this call carries no credentials")
        if len(authorization) > _CREDENTIALS_BYTES_MAX:
            raise errors.Unauthenticated("the credentials are too long")
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._signin.by_token(value.strip()), False
        if scheme.lower() == "basic":
            username, password = basic_credentials(value.strip())
            return self._signin.by_password(username, password), True
        raise errors.Unauthenticated("sign in with Basic or Bearer credentials")


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
        raise errors.Unauthenticated("sign in: this call carries no credentials")
    return middleware.caller


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


def _header(headers: Mapping[str, Sequence[str | bytes]], name: str) -> str | None:
    values = headers.get(name)
    if not values:
        return None
    value = values[0]
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
