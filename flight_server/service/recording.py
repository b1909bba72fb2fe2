"""What goes on record of a call: the intent before the deed, the outcome after it.

Every call has one ``Record``. The border settles it, whatever way the call ends; a use case says
what it is about to do before it does it, and adds what came of it. A call that only prepares, such
as describing a query, intends nothing and leaves nothing behind, unless it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from policies.names import TableRef

# What a detail may be: a value that JSON can hold, flat. Never a secret, a bound value or a cell.
Detail = str | int | float | bool | None


class Effect(StrEnum):
    """What an action does to the world, which decides how surely its intent is on record."""

    # Rows or names leave; nothing changes. The intent outlives this process when ``intend``
    # returns; ``confirm``, before the first row leaves, may wait until it outlives a power cut.
    READ = "read"
    # Something changes, or somebody uses the rights of an administrator. The intent is on the disk
    # when ``intend`` returns.
    CHANGE = "change"


# A list of tables in a record ends after so many characters.
RESOURCE_CHARACTERS_MAX = 2000


def named(tables: Iterable[TableRef]) -> str:
    """Return tables as the resource of a record: their full names, sorted, with commas between."""
    text = ", ".join(sorted(map(str, tables)))
    return (
        text if len(text) <= RESOURCE_CHARACTERS_MAX else text[: RESOURCE_CHARACTERS_MAX - 1] + "…"
    )


class Record(Protocol):
    """What the audit log will say of one call; for the threads of that call, one after another."""

    def identify(self, user_id: str, username: str, session_id: str) -> None:
        """Say who it turned out to be that called without credentials; for what follows."""
        ...

    def about(self, action: str, statement: str = "") -> None:
        """Say what the call is about, for when it is refused before it intends anything.

        Of the statement, only the text without its values is ever kept.
        """
        ...

    def intend(
        self,
        action: str,
        resource: str = "",
        *,
        effect: Effect,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        """Put on record what is about to be done; only the first of a call counts.

        Raises Unavailable (``audit_unavailable``) when it cannot be, and then it must not be done.
        """
        ...

    def confirm(self) -> None:
        """Make the intent of a read as sure as it has to be; raises as ``intend`` does."""
        ...

    def note(
        self,
        *,
        purpose: str | None = None,
        rows: int | None = None,
        byte_count: int | None = None,
        tables: Mapping[TableRef, int | None] | None = None,
        engine_seconds: float | None = None,
    ) -> None:
        """Add what is known of the outcome; what is given replaces what was given before.

        ``purpose`` is why, as the session says. Rows and bytes are those that went out or were
        changed, ``tables`` those that were read, each with its version, ``engine_seconds`` the
        time that workers spent.
        """
        ...

    def settle(self, error: BaseException | None = None) -> None:
        """Put the outcome on record, once; nothing raises here.

        An error without an intent is on record as well: somebody was refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a call when it starts.

    ``method`` is the Flight method in snake case; ``user_id``, ``username`` and ``session_id`` are
    None for a call that proved no identity; ``address`` is without port, None where it cannot be
    known. ``trace_headers`` are the W3C headers of the trace that the call belongs to, if any.
    """

    request_id: str
    method: str
    user_id: str | None = None
    username: str | None = None
    session_id: str | None = None
    purpose: str | None = None
    query_tag: str | None = None
    address: str | None = None
    user_agent: str | None = None
    trace_headers: Mapping[str, str] = field(default_factory=dict)


class Recorder(Protocol):
    """Opens the record of each call."""

    def open(self, circumstances: Circumstances) -> Record:
        """Return the record of a call that starts now; nothing is written yet."""
        ...


class Unrecorded:
    """Implements ``Record`` by forgetting: for what runs outside of any call."""

    def identify(self, user_id: str, username: str, session_id: str) -> None:
        """Forget it."""

    def about(self, action: str, statement: str = "") -> None:
        """Forget it."""

    def intend(
        self,
        action: str,
        resource: str = "",
        *,
        effect: Effect,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        """Forget it."""

    def confirm(self) -> None:
        """Wait for nothing."""

    def note(
        self,
        *,
        purpose: str | None = None,
        rows: int | None = None,
        byte_count: int | None = None,
        tables: Mapping[TableRef, int | None] | None = None,
        engine_seconds: float | None = None,
    ) -> None:
        """Forget it."""

    def settle(self, error: BaseException | None = None) -> None:
        """Forget it."""


UNRECORDED = Unrecorded()


class Forgetful:
    """Implements ``Recorder`` by forgetting: for measuring what recording costs, and for tests."""

    def open(self, circumstances: Circumstances) -> Record:  # noqa: ARG002  nothing is kept
        """Return a record that goes nowhere."""
        return UNRECORDED
