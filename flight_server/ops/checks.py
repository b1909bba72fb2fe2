"""What may be wrong with an installation: each check looks at one thing and returns findings.

Nothing is changed but for a probe file that is removed again.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from flight_server.clock import Clock
from flight_server.errors import InvalidRequest, LakeflightError
from flight_server.ops.settings import Settings

DISK_BYTES_MIN = 1024**3
OPEN_FILES_MIN = 4096
# Each worker, connection and scanned file needs descriptors; with fewer a server can do little.
OPEN_FILES_LEAST = 256
_EARLIEST_YEAR = 2025
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the system's folder for shared memory
_LIBRARIES = ("pyarrow", "datafusion", "deltalake")
_BOUND = re.compile(r"(>=|<|==|<=|>)\s*([0-9][0-9.]*)")


class Light(StrEnum):
    """How bad a finding is."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, how it is, and what to do if it is not well."""

    subject: str
    light: Light
    text: str


def examine(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Yield the findings about this machine and these settings, one by one."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _primary(settings),
        lambda: _system(settings),
        lambda: _secret_file(settings),
        lambda: _key_files(settings),
        lambda: _issuers(settings),
        lambda: _spill(settings),
        lambda: _tls(settings),
        lambda: _port(settings),
        _versions,
        lambda: _clock(clock),
        _open_files,
        _shared_memory,
    )
    for check in checks:
        yield from check()


def _green(subject: str, text: str) -> Finding:
    return Finding(subject, Light.GREEN, text)


def _yellow(subject: str, text: str) -> Finding:
    return Finding(subject, Light.YELLOW, text)


def _red(subject: str, text: str) -> Finding:
    return Finding(subject, Light.RED, text)


def _primary(settings: Settings) -> Iterator[Finding]:
    try:
        path = settings.storage.primary_path
    except LakeflightError as error:
        yield _red("storage", error.message)
        return
    if path is None:
        yield _yellow("storage", f"{settings.storage.primary} is not local and was not tried")
    elif not path.is_dir():
        yield _red("storage", f"there is no folder {path}")
    elif not os.access(path, os.R_OK | os.X_OK):
        yield _red("storage", f"{path} cannot be read by this user")
    elif not os.access(path, os.W_OK):
        yield _yellow("storage", f"{path} can be read, but not written")
    else:
        yield _green("storage", f"{path} can be read and written")


def _system(settings: Settings) -> Iterator[Finding]:
    try:
        folder = settings.storage.system_path
    except LakeflightError as error:
        yield _red("system folder", error.message)
        return
    nearest = _existing(folder)
    if not folder.exists():
        if os.access(nearest, os.W_OK | os.X_OK):
            yield _green("system folder", f"{folder} will be made at the first start")
        else:
            yield _red("system folder", f"{folder} cannot be made: {nearest} is not writable")
            return
    elif (problem := _probe(folder)) is not None:
        yield _red("system folder", f"{folder} cannot be written: {problem}")
    else:
        yield _green("system folder", f"{folder} can be written and synced")
    yield _disk("disk space", nearest, wanted=DISK_BYTES_MIN)


def _secret_file(settings: Settings) -> Iterator[Finding]:
    from flight_server.auth.keys import SECRET_FILE  # noqa: PLC0415 - loads the cryptography

    if settings.auth.secret is not None:
        yield _green("signing secret", "comes from the settings")
        return
    try:
        path = settings.storage.system_path / SECRET_FILE
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        yield _green("signing secret", "will be made at the first start")
    except (LakeflightError, OSError):
        yield _red("signing secret", "cannot be looked at")
    else:
        if mode & 0o077:
            yield _red("signing secret", f"{path} is open to others: chmod 600 it")
        elif not os.access(path, os.R_OK):
            yield _red("signing secret", f"{path} cannot be read by this user")
        else:
            yield _green("signing secret", f"{path} is for its owner alone")


def _key_files(settings: Settings) -> Iterator[Finding]:
    from flight_server.auth.keys import pair_keys  # noqa: PLC0415 - loads the cryptography
    from flight_server.ops.signing import key_sources  # noqa: PLC0415 - as above

    try:
        keys = pair_keys(key_sources(settings))
    except LakeflightError as error:
        yield _red("token keys", error.message)
        return
    for key in keys:
        yield _green("token keys", f"{key.algorithm}, kid {key.kid}")


def _issuers(settings: Settings) -> Iterator[Finding]:
    from flight_server.auth.issuers import published_keys  # noqa: PLC0415 - loads the cryptography
    from flight_server.ops.signing import issuer_rules  # noqa: PLC0415 - as above

    for rules in issuer_rules(settings):
        subject = f"issuer {rules.name}"
        try:
            keys = {key.kid for key in published_keys(rules).values()}
        except InvalidRequest as error:
            yield _red(subject, error.message)
        except LakeflightError as error:
            yield _yellow(subject, f"its keys cannot be had now: {error.message}")
        else:
            yield _green(subject, f"{rules.issuer} has {len(keys)} usable key(s)")


def _spill(settings: Settings) -> Iterator[Finding]:
    folder = settings.workers.spill_directory or Path(tempfile.gettempdir())
    if not os.access(_existing(folder), os.W_OK | os.X_OK):
        yield _red("spill folder", f"{folder} cannot be written")
    else:
        yield _disk("spill folder", _existing(folder), wanted=settings.workers.spill_bytes_max)


def _tls(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    if server.tls_certificate is None or server.tls_key is None:
        is_open = server.host not in {"127.0.0.1", "::1", "localhost"}
        if is_open:
            yield _yellow("TLS", f"is off while listening on {server.host}: passwords go in clear")
        else:
            yield _green("TLS", "is off; only this machine can connect")
        return
    for path in (server.tls_certificate, server.tls_key):
        if not os.access(path, os.R_OK):
            yield _red("TLS", f"{path} cannot be read")
            return
    yield _green("TLS", "certificate and key can be read")


def _port(settings: Settings) -> Iterator[Finding]:
    host, port = settings.server.host, settings.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            # As the server does: a port that is only waiting to be released is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        reason = error.strerror or "cannot be used"
        yield _red("port", f"{host}:{port}: {reason.lower()}; is a server running already?")
    else:
        yield _green("port", f"{host}:{port} is free" if port else f"any free one on {host}")


def _versions() -> Iterator[Finding]:
    bounds = _bounds()
    for name in _LIBRARIES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield _red(name, "is not installed")
            continue
        wanted = bounds.get(name, "")
        if all(_holds(version, sign, bound=bound) for sign, bound in _BOUND.findall(wanted)):
            yield _green(name, version)
        else:
            yield _red(name, f"{version} is outside {wanted}")


def _bounds() -> dict[str, str]:
    """Return the versions that the installed distribution asks for, by library."""
    try:
        requirements = importlib.metadata.requires("lakeflight") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for requirement in requirements:
        plain, _, marker = requirement.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(.*)", plain)
        if match and not marker:
            found[match[1].lower()] = match[2].strip()
    return found


def _holds(version: str, sign: str, *, bound: str) -> bool:
    found, wanted = _numbers(version), _numbers(bound)
    length = max(len(found), len(wanted))
    found, wanted = (each + (0,) * (length - len(each)) for each in (found, wanted))
    return {
        ">=": found >= wanted,
        "<=": found <= wanted,
        ">": found > wanted,
        "<": found < wanted,
        "==": found == wanted,
    }[sign]


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _clock(clock: Clock) -> Iterator[Finding]:
    now = clock.now()
    text = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    if now.year < _EARLIEST_YEAR:
        yield _red("clock", f"{text} lies in the past: tokens would be refused")
    else:
        yield _green("clock", text)


def _open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES_LEAST:
        yield _red(
            "open files", f"limit {soft} is too low; raise it to {OPEN_FILES_MIN} (ulimit -n)"
        )
    elif soft < OPEN_FILES_MIN:
        yield _yellow(
            "open files", f"limit {soft}; {OPEN_FILES_MIN} is better (ulimit -n, up to {hard})"
        )
    else:
        yield _green("open files", f"limit {soft}")


def _shared_memory() -> Iterator[Finding]:
    try:
        os.close(os.memfd_create("lakeflight-doctor"))
    except (AttributeError, OSError):
        if os.access(_SHARED_MEMORY, os.W_OK):
            yield _green("shared memory", _SHARED_MEMORY)
        else:
            yield _red("shared memory", f"neither memfd nor {_SHARED_MEMORY} can be used")
    else:
        yield _green("shared memory", "memfd")


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _probe(folder: Path) -> str | None:
    """Write, sync and link a file as the server does; return what went wrong."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name:
            first = Path(name) / "first"
            with first.open("wb") as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
            os.link(first, Path(name) / "second")
    except OSError as error:
        return error.strerror or "unknown error"
    return None


def _disk(subject: str, folder: Path, *, wanted: int) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < min(wanted, DISK_BYTES_MIN) // 10:
        return _red(subject, text)
    return (
        _green(subject, text)
        if free >= wanted
        else _yellow(subject, f"{text}; {wanted / 1024**3:.1f} GiB would be better")
    )
