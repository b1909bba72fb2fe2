"""Edits of one small table that wait for the same commit, each with its own outcome."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

Row = Mapping[str, Any]
Rows = Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Change:
    """Rows to put, and the keys of rows to remove; keys that no row has are ignored."""

    put: Sequence[Row] = ()
    remove: frozenset[str] = frozenset()


# What somebody wants of the rows by key, which are theirs to look at during the call and no longer.
Edit = Callable[[Rows], Sequence[Row] | Change]
T = TypeVar("T")


class Waiting(Generic[T]):
    """One edit on its way. ``is_over`` once it is known what became of it, good or bad."""

    __slots__ = ("_error", "_result", "edit", "is_over")

    def __init__(self, edit: Edit) -> None:
        self.edit = edit
        self.is_over = False
        self._error: Exception | None = None
        self._result: T | None = None

    def refuse(self, error: Exception) -> None:
        """Remember why this edit alone changes nothing, unless it is tried again."""
        self._error = error

    def forget_error(self) -> None:
        """Prepare for another try."""
        self._error = None

    def succeed(self, result: T) -> None:
        """End, with the error of the edit itself where it had one."""
        self._result, self.is_over = result, True

    def fail(self, error: Exception) -> None:
        """End with an error that this edit shares with others; does nothing when it has ended."""
        if not self.is_over:
            self._error, self.is_over = copy.copy(error), True

    def outcome(self) -> T:
        """Return the result, or raise the error; only once it is over."""
        if self._error is not None:
            raise self._error
        assert self._result is not None  # noqa: S101 - nobody asks before it is over
        return self._result


def apply(
    waiting: Sequence[Waiting[Any]], rows: Rows, *, read: Callable[[Sequence[Row]], dict[str, Row]]
) -> Rows | None:
    """Return the rows after all edits, one after the other; None when none changes anything.

    ``read`` makes of the rows that an edit gives what is stored of them, by key. An edit that
    raises changes nothing and keeps its error, the others go on.
    """
    working = dict(rows)
    shown = MappingProxyType(working)
    is_changed = False
    for each in waiting:
        each.forget_error()
        try:
            change = each.edit(shown)
            if not isinstance(change, Change):
                change = Change(put=change)
            put = read(change.put) if change.put else {}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to who asked for it
            each.refuse(error)
            continue
        removed = [key for key in change.remove if working.pop(key, None) is not None]
        working.update(put)
        is_changed = is_changed or bool(put) or bool(removed)
    return working if is_changed else None
