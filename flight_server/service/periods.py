"""The stretch of time that somebody asks about, from what they wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flight_server.errors import InvalidRequest
from flight_server.sql.names import parse_time

# Nothing was recorded before, and whoever writes a later year has mistyped it.
YEAR_MIN, YEAR_MAX = 1970, 2199
_DAY_CHARACTERS = len("2026-02-01")
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment on and before another; None is as early or as late as there is."""

    since: datetime | None = None
    before: datetime | None = None

    def condition(self) -> str:
        """Return the SQL condition of records in it, which leaves out other days unread."""
        parts = []
        if self.since is not None:
            parts.append(f"date_partition >= DATE '{self.since.date()}'")
            parts.append(f'"timestamp" >= {_sql(self.since)}')
        if self.before is not None:
            parts.append(f"date_partition <= DATE '{(self.before - _TICK).date()}'")
            parts.append(f'"timestamp" < {_sql(self.before)}')
        return " AND ".join(parts) or "TRUE"


ALWAYS = Period()


def period(since: str | None, until: str | None) -> Period:
    """Return the stretch between two moments, both included, each a date or a time.

    A date as the first is the beginning of that day in UTC, as the second its end. Raises
    InvalidRequest: ``invalid_time`` for a text that is no moment or one out of all reason,
    ``invalid_range`` when the second comes before the first.
    """
    first = None if since is None else _moment(since, "from")
    last = None if until is None else _moment(until, "to")
    before = last
    if until is not None and last is not None:
        before = last + (timedelta(days=1) if len(until.strip()) == _DAY_CHARACTERS else _TICK)
    if first is not None and before is not None and first >= before:
        raise InvalidRequest(
            "the range is turned round: 'from' is after 'to'", code="invalid_range"
        )
    return Period(first, before)


def _moment(text: str, name: str) -> datetime:
    try:
        moment = parse_time(text).time
    except InvalidRequest as error:
        raise InvalidRequest(f"{name!r}: {error.message}", code="invalid_time") from None
    assert moment is not None  # noqa: S101  a time was read, and no version
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise InvalidRequest(
            f"{name!r} is not between the years {YEAR_MIN} and {YEAR_MAX}", code="invalid_time"
        )
    return moment


def _sql(moment: datetime) -> str:
    return f"TIMESTAMP '{moment.astimezone(UTC).isoformat(timespec='microseconds')}'"
