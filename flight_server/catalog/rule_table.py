"""One of the tables that keep rules, read as rules, made anew only when the table changed.

A rule that cannot be read may be one that hides: then nothing is shown until it is readable again,
and a table that goes while the server runs is not taken for one without rules.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from flight_server.clock import Clock
from flight_server.errors import Unavailable
from flight_server.storage.edits import Edit
from flight_server.storage.system import Row, Rows, Snapshot, SystemTable

Rule = TypeVar("Rule")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Read(Generic[Rule]):
    """The rules of one version of a table, by key; -1 is a table that is not there yet."""

    snapshot: Snapshot
    rules: Mapping[str, Rule]

    @property
    def version(self) -> int:
        """The version of the table."""
        return self.snapshot.version


class RuleTable(Generic[Rule]):
    """The rules of one kind; safe to use from many threads, and sees at once what others write.

    ``name`` is the table's own, for messages. With ``skips_broken`` a row that is no rule is left
    out: for rules that show, where one that is missing shows less.
    """

    def __init__(
        self,
        table: SystemTable,
        rule_of: Callable[[Row], Rule],
        *,
        name: str,
        clock: Clock,
        skips_broken: bool = False,
    ) -> None:
        self._table = table
        self._rule_of = rule_of
        self._name = name
        self._skips_broken = skips_broken
        self._read: Read[Rule] | None = None
        self.clock = clock

    def read(self) -> Read[Rule]:
        """Return the newest rules; the same object until the table changes. Raises Unavailable."""
        snapshot = self._snapshot()
        read = self._read
        if read is None or read.snapshot is not snapshot:
            read = Read(snapshot, dict(self._rules(snapshot.rows)))
            self._read = read
        return read

    def rows(self) -> Rows:
        """Return the rows themselves, by key, with who made them and when. Raises Unavailable."""
        return self.read().snapshot.rows

    def change(self, edit: Edit) -> None:
        """Change the rows, durable; see ``SystemTable.change``.

        One that cannot be read is in nobody's way, so that it can be taken away.
        """
        self._snapshot()  # in place of a table that went, no new one is begun
        self._table.change(edit)

    def _snapshot(self) -> Snapshot:
        snapshot = self._table.snapshot()
        if self._read is not None and snapshot.version < 0 <= self._read.version:
            _log.error("the table %s is gone", self._name)
            raise self._unreadable()
        return snapshot

    def rules_of(self, rows: Rows) -> tuple[Rule, ...]:
        """Return the rules of some rows, such as those of an older version. Raises Unavailable."""
        return tuple(rule for _, rule in self._rules(rows))

    def _rules(self, rows: Rows) -> Iterator[tuple[str, Rule]]:
        for key, row in rows.items():
            try:
                yield key, self._rule_of(row)
            except (ValueError, TypeError, KeyError, AttributeError):
                _log.error("a rule cannot be read table=%s rule=%r", self._name, key)
                if not self._skips_broken:
                    raise self._unreadable() from None

    def _unreadable(self) -> Unavailable:
        return Unavailable(f"the server's own table cannot be read table={self._name}")
