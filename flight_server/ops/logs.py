"""What the server writes to standard error: one record a line, as text or JSON, without secrets.

A record may carry fields: ``log.info("…", extra={"rows": …})``. One that is written during a call
has the id of the request, and that of its trace when it is traced.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from flight_server.ops.sections import LogFormat, LogSettings
from flight_server.telemetry.current import current

HIDDEN = "***"
# Shorter secrets would also hide innocent words that hold them.
SECRET_CHARACTERS_MIN = 6
_OURS = ("flight_server", "policies")
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{4,}"), rf"\1\2{HIDDEN}"),
    (re.compile(r"\b(lf[pr]_)[A-Za-z0-9_-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_=-]*){1,4}"), HIDDEN),
    (re.compile(r"\$argon2[a-z]{1,2}\$[^\s\"';]+"), HIDDEN),
    (re.compile(r"(://)[^/\s@\"']+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd|secret|token|authorization|credentials?|api_?key"
            r"|access_?key|private_?key)[\"']?\s*[:=]\s*)"
            r"(?!\*\*\*|bearer\b|basic\b)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&}\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def redact(text: str, *, secrets: Sequence[str] = ()) -> str:
    """Return a text without tokens, passwords and hashes, and without these very secrets."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def configure(
    settings: LogSettings, *, secrets: Sequence[str] = (), stream: TextIO | None = None
) -> None:
    """Write all records from now on to ``stream``, standard error by default.

    May be called again; the last call counts. Other libraries write warnings and worse only.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    hidden = tuple(secret for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN)
    handler.setFormatter(
        _JsonFormatter(hidden) if settings.format is LogFormat.JSON else _TextFormatter(hidden)
    )
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if not _is_ours(each)] + [handler]
    level = logging.getLevelNamesMapping()[settings.level]
    root.setLevel(max(level, logging.WARNING))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)


def _is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler.formatter, _Formatter)


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def _clean(self, value: object) -> str:
        return redact(str(value), secrets=self._secrets)

    def _time(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        # Redacted as name=value, so that a field called "password" is hidden whatever it holds.
        fields: dict[str, object] = {}
        if (call := current()) is not None:
            fields["request_id"] = call.request_id
            if call.trace is not None:
                fields["trace_id"] = call.trace.trace_id
        for name, value in record.__dict__.items():
            if name in _STANDARD or name.startswith("_"):
                continue
            if isinstance(value, bool | int | float) or value is None:
                fields[name] = value
            else:
                fields[name] = self._clean(f"{name}={value}").removeprefix(f"{name}=")
        return fields

    def _traceback(self, record: logging.LogRecord) -> str | None:
        return self._clean(self.formatException(record.exc_info)) if record.exc_info else None


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = self._clean(record.getMessage())
        parts = [self._time(record), record.levelname, record.name, message]
        parts += [f"{name}={value}" for name, value in self._fields(record).items()]
        # One record is one line: what a caller sent must not look like a record of its own.
        line = _CONTROL.sub(lambda match: repr(match[0])[1:-1], " ".join(parts))
        traceback = self._traceback(record)
        return line if traceback is None else line + "\n    " + traceback.replace("\n", "\n    ")


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": self._time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        entry |= {name: value for name, value in self._fields(record).items() if name not in entry}
        traceback = self._traceback(record)
        if traceback is not None:
            entry["traceback"] = traceback
        return json.dumps(entry, ensure_ascii=False, default=str)
