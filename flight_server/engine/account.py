"""What one request costs a worker: measured there, told in its last frame, added up in the gateway.

All times are those of ``Clock.monotonic``, which the processes of one machine share.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from flight_server.clock import Clock
from flight_server.telemetry import current
from flight_server.telemetry.current import Attribute
from flight_server.telemetry.meters import Meters

_WORK = struct.Struct("<4d")


# A tuple because two are made for each request: a frozen dataclass takes three times as long.
class Work(NamedTuple):
    """When a worker began with a request, had planned it, was done; and for how long it worked.

    ``seconds`` leaves out what it waited for a slow reader.
    """

    start: float
    planned: float
    end: float
    seconds: float

    def encode(self) -> bytes:
        """Write it as bytes."""
        return _WORK.pack(*self)

    @classmethod
    def decode(cls, payload: bytes) -> Work:
        """Read what ``encode`` wrote."""
        return cls._make(_WORK.unpack(payload))


class Watch:
    """Measures the work for one request, in the worker; ``now`` is the time."""

    __slots__ = ("_planned", "_start", "_waited", "now")

    def __init__(self, clock: Clock) -> None:
        self.now = clock.monotonic
        self._start = self._planned = self.now()
        self._waited = 0.0

    def planned(self) -> None:
        """Take the time: planning is over."""
        self._planned = self.now()

    def waited_since(self, moment: float) -> None:
        """Leave out the time since a moment: it was spent waiting for the reader."""
        self._waited += self.now() - moment

    def work(self) -> Work:
        """Return what it comes to so far."""
        end = self.now()
        return Work(self._start, self._planned, end, end - self._start - self._waited)


class Account:
    """The cost of one request, in the gateway; settled once, when its worker is free again.

    The call is that of the thread which makes this: another thread may settle it.
    """

    __slots__ = ("_asked", "_call", "_lent", "_pid", "waited", "what", "work")

    def __init__(self, what: str, *, now: float) -> None:
        self.what = what
        # What the worker has told; without it, it died, and what we waited for it must do.
        self.work: Work | None = None
        self.waited = 0.0
        self._asked = self._lent = now
        self._pid = 0
        self._call = current.current()

    def lent(self, pid: int, *, now: float) -> None:
        """Take in that the request has a worker now."""
        self._pid = pid
        self._lent = now

    def settle(self, meters: Meters, *, clock: Clock) -> None:
        """Put it on the numbers, the call and its trace."""
        work = self.work
        seconds = self.waited if work is None else work.seconds
        meters.engine_seconds.add((self.what,), seconds)
        call = self._call
        if call is None:
            return
        call.engine_seconds += seconds
        if call.trace is None:
            return
        call.trace.child("queue", start=self._asked, end=self._lent, attributes={})
        end = clock.monotonic() if work is None else work.end
        of_worker: Mapping[str, Attribute] = {"process.pid": self._pid}
        span = call.trace.child(
            f"worker {self.what}",
            start=self._lent if work is None else work.start,
            end=end,
            attributes={**of_worker, "lakeflight.engine_seconds": seconds},
        )
        if work is not None:
            if work.planned > work.start:
                span.child("planning", start=work.start, end=work.planned, attributes=of_worker)
            span.child("execution", start=work.planned, end=end, attributes=of_worker)
