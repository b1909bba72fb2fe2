"""The call that a thread works for, for what is far below it: logs, traces and engine time.

pyarrow runs each step of a call (its headers, its method, each batch) in a fresh thread state, so
whoever enters such a step says again which call it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, Self

Attribute = str | int | float | bool


class Trace(Protocol):
    """A span that somebody will look at; times are those of ``Clock.monotonic``."""

    @property
    def trace_id(self) -> str:
        """The id of the whole trace in 32 hexadecimal digits."""
        ...

    def child(
        self, name: str, *, start: float, end: float, attributes: Mapping[str, Attribute]
    ) -> Self:
        """Add a span that is over already below this one, and return it."""
        ...

    def describe(self, attributes: Mapping[str, Attribute]) -> None:
        """Say more of what it is."""
        ...

    def end(self, at: float, *, error: str | None = None) -> None:
        """Send it off; ``error`` names what the server failed by."""
        ...


@dataclass(slots=True)
class CurrentCall:
    """A running call: its id, its span when it is traced, and what workers spent on it so far."""

    request_id: str
    trace: Trace | None = None
    engine_seconds: float = 0.0


_current: ContextVar[CurrentCall | None] = ContextVar("lakeflight_call", default=None)
# Bound once: these are asked for in every call.
current = _current.get
enter = _current.set
