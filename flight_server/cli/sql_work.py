"""Runs blocking calls where Ctrl-C can reach them, and shows that something goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from flight_server.client.cells import visible
from flight_server.clock import Clock
from flight_server.errors import Cancelled, LakeflightError

_QUIET_SECONDS: Final = 0.5  # what is done by then needs no progress
_TICK_SECONDS: Final = 0.1
_CANCEL_SECONDS_MAX: Final = 5.0

Outcome = TypeVar("Outcome")


class Meter:
    """Rows, megabytes and speed of one statement, on standard error while that is a terminal."""

    def __init__(self, console: Console, clock: Clock, *, enabled: bool) -> None:
        self._console = console
        self._clock = clock
        self._enabled = enabled and console.is_terminal
        self._began = clock.monotonic()
        self._display: Progress | None = None
        self._task: TaskID | None = None
        self.rows = 0
        self.bytes = 0

    @property
    def seconds(self) -> float:
        """The time since the statement was sent."""
        return self._clock.monotonic() - self._began

    def add(self, rows: int, size: int) -> None:
        """Count what arrived."""
        self.rows += rows
        self.bytes += size
        self.tick()

    def tick(self) -> None:
        """Show what was counted, once the statement takes long enough to wonder."""
        if not self._enabled or self.seconds < _QUIET_SECONDS:
            return
        if self._display is None:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._display = Progress(*columns, console=self._console, transient=True)
            self._task = self._display.add_task("running")
            self._display.start()
        if self.rows and self._task is not None:
            self._display.update(self._task, description=self.summary())

    def summary(self) -> str:
        """Return rows, megabytes and rows per second."""
        speed = self.rows / max(self.seconds, 1e-3)
        return f"{self.rows:,} rows · {self.bytes / 1e6:,.1f} MB · {speed:,.0f} rows/s"

    def stop(self) -> None:
        """Take the display away; what follows is printed in its place."""
        if self._display is not None:
            self._display.stop()
        self._enabled = False


class Worker:
    """Another thread for what blocks, so that this one can hear Ctrl-C and pass it on."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sql")

    def call(
        self, work: Callable[[], Outcome], *, meter: Meter, cancel: Callable[[], None]
    ) -> Outcome:
        """Return what ``work`` returns; Ctrl-C calls ``cancel`` and raises Cancelled."""
        future = self._pool.submit(work)
        try:
            while True:
                with suppress(NotYet):
                    return future.result(timeout=_TICK_SECONDS)
                meter.tick()
        except KeyboardInterrupt:
            cancel()
            self._settle(future)
            raise Cancelled("cancelled") from None

    def _settle(self, future: Future[Outcome]) -> None:
        try:
            future.exception(timeout=_CANCEL_SECONDS_MAX)
        except (NotYet, KeyboardInterrupt):
            # It does not listen; the next statement gets a thread of its own.
            self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="sql")

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def shown(error: LakeflightError) -> str:
    """Return an error as one harmless line that ends in its code."""
    text = visible(" ".join(error.message.split()))
    return f"error: {text} ({error.code})"
