"""From a SQLAlchemy URL to the options of the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adbc_driver_flightsql import DatabaseOptions
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError

DEFAULT_PORT: Final = 31337
_BUCKET_HEADER: Final = "x-lakehouse-bucket"
_HEADER_PREFIX: Final = "header."
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: the server's address, the driver's options, the default names or None."""

    uri: str
    options: Mapping[str, str]
    bucket: str | None
    schema: str | None


def target(url: URL, *, tls: bool) -> Target:
    """Read a URL ``lakeflight://user:password@host:port/bucket/schema?option=value``.

    ``tls`` is what the URL's scheme says; the option ``tls`` wins over it. Raises ArgumentError for
    an option that does not exist, and for values that are none.
    """
    given = {name: value for name, value in url.query.items() if isinstance(value, str)}
    if len(given) != len(url.query):
        repeated = sorted(set(url.query) - set(given))
        raise ArgumentError(f"each option is given once, this one is repeated: {repeated[0]}")
    if (switch := given.pop("tls", None)) is not None:
        tls = _flag("tls", switch)
    bucket, schema = _names(url)
    options = {DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}
    options |= _login(url, given.pop("token", None))
    if bucket is not None:
        options[DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + _BUCKET_HEADER] = bucket
    for name, value in given.items():
        options |= _option(name, value)
    host = url.host or "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    scheme = "grpc+tls" if tls else "grpc"
    return Target(f"{scheme}://{host}:{url.port or DEFAULT_PORT}", options, bucket, schema)


def _names(url: URL) -> tuple[str | None, str | None]:
    parts = (url.database or "").strip("/").split("/")
    if len(parts) > 2:
        raise ArgumentError(f"the path of the URL is /bucket/schema, not /{url.database}")
    bucket, schema = [*parts, "", ""][:2]
    return bucket or None, schema or None


def _login(url: URL, token: str | None) -> dict[str, str]:
    if token is not None:
        if url.username is not None:
            raise ArgumentError("give a user with a password or a token, not both")
        return {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
    if url.username is None:
        return {}
    if url.password is None:
        raise ArgumentError("a user needs a password")
    return {"username": url.username, "password": str(url.password)}


def _option(name: str, value: str) -> dict[str, str]:
    if name.startswith(_HEADER_PREFIX):
        header = name.removeprefix(_HEADER_PREFIX).lower()
        return {DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + header: value}
    if name not in _OPTIONS:
        known = ", ".join(["tls", "token", *_OPTIONS, "header.NAME"])
        raise ArgumentError(f"unknown option {name!r} in the URL; there are {known}")
    return _OPTIONS[name](name, value)


def _flag(name: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ArgumentError(f"{name} is true or false, not {value!r}")


def _flag_option(option: DatabaseOptions) -> Callable[[str, str], dict[str, str]]:
    return lambda name, value: {option.value: "true" if _flag(name, value) else "false"}


def _text_option(key: str) -> Callable[[str, str], dict[str, str]]:
    return lambda _name, value: {key: value}


def _file_option(option: DatabaseOptions) -> Callable[[str, str], dict[str, str]]:
    def read(name: str, value: str) -> dict[str, str]:
        try:
            return {option.value: Path(value).read_text("ascii")}
        except (OSError, UnicodeDecodeError) as error:
            raise ArgumentError(f"cannot read the file of the option {name}: {value}") from error

    return read


def _timeout(name: str, value: str) -> dict[str, str]:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ArgumentError(f"{name} is a number of seconds above 0, not {value!r}")
    limits = (
        DatabaseOptions.TIMEOUT_FETCH,
        DatabaseOptions.TIMEOUT_QUERY,
        DatabaseOptions.TIMEOUT_UPDATE,
    )
    return {limit.value: str(seconds) for limit in limits}


_HEADER: Final[str] = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
_OPTIONS: Final[dict[str, Callable[[str, str], dict[str, Any]]]] = {
    "tls_skip_verify": _flag_option(DatabaseOptions.TLS_SKIP_VERIFY),
    "tls_roots": _file_option(DatabaseOptions.TLS_ROOT_CERTS),
    "tls_server_name": _text_option(DatabaseOptions.TLS_OVERRIDE_HOSTNAME.value),
    "tls_certificate": _file_option(DatabaseOptions.MTLS_CERT_CHAIN),
    "tls_key": _file_option(DatabaseOptions.MTLS_PRIVATE_KEY),
    "timeout_seconds": _timeout,
    "purpose": _text_option(f"{_HEADER}x-lakehouse-purpose"),
    "query_tag": _text_option(f"{_HEADER}x-lakehouse-query-tag"),
}
