"""The rules of any moment since the first one: what held then, and who had made it when.

Each kind of rule is a table of its own with a history, and the version of a book names a version of
each, so that the book of a version in the audit log can be made again exactly. The grants of the
settings have no history: those of today stand in for them, and ``settings_are_known`` tells whether
they are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from flight_server.catalog import rule_rows
from flight_server.catalog.rulebook import StoredGrant, stored_grant
from flight_server.errors import InvalidRequest, Unavailable
from flight_server.storage.past import NO_VERSION, PastStates, left_at
from flight_server.storage.recent import Recent
from flight_server.storage.system import Row, Rows
from flight_server.storage.system_tables import (
    FILTERS,
    GRANTS,
    LABELS,
    MASKS,
    SAFE_VIEWS,
    TableSpec,
)
from policies.book import PolicyBook, digest
from policies.purposes import GROUP_ROWS_MIN
from policies.rules import Effect, Grant

VERSION_CHARACTERS_MAX = 200
# By the letter that stands for it in the version of a book.
KINDS: Mapping[str, TableSpec] = {
    "g": GRANTS,
    "f": FILTERS,
    "m": MASKS,
    "l": LABELS,
    "v": SAFE_VIEWS,
}
_VERSION = re.compile(
    "-".join(f"{letter}(?P<{letter}>[0-9]{{0,19}})" for letter in KINDS) + "-s(?P<s>[0-9a-f]{1,64})"
)
_UNREADABLE = (InvalidRequest, ValueError, TypeError, KeyError, AttributeError)
_KEPT_MAX = 8
_TICK = timedelta(milliseconds=1)
Rule = TypeVar("Rule")


@dataclass(frozen=True, slots=True)
class Edition:
    """All rules as they were in one version, and the rows that keep them, by kind and key.

    ``versions`` are those of the tables. ``granted`` are the grants that can be read, each as it is
    stored, None for those of the settings, oldest first. ``settings`` is the digest of those that
    the settings had then, None when nobody knows; with ``settings_are_known`` they are today's.
    """

    versions: Mapping[str, int]
    rows: Mapping[str, Rows]
    granted: tuple[tuple[Grant, StoredGrant | None], ...]
    book: PolicyBook
    settings_are_known: bool
    settings: str | None

    @property
    def version(self) -> str:
        """The version, as it is on record."""
        return self.book.version


@dataclass(frozen=True, slots=True)
class Since:
    """A version of the rules, and since when it held."""

    version: str
    since: datetime


class Editions:
    """The history of the rules below one folder; ``fixed`` are the grants of the settings."""

    def __init__(
        self, root: Path, fixed: Iterable[Grant], *, group_rows_min: int = GROUP_ROWS_MIN
    ) -> None:
        self.fixed = tuple(fixed)
        self._group_rows_min = group_rows_min
        self._states = {letter: PastStates(root, spec) for letter, spec in KINDS.items()}
        # Those asked for last: a state never changes.
        self._kept = Recent[tuple[object, ...], Edition](
            lambda _: 1, entries_max=_KEPT_MAX, weight_max=_KEPT_MAX
        )

    def newest(self) -> Edition:
        """Return the rules that hold now. Raises Unavailable."""
        found = {letter: states.newest() for letter, states in self._states.items()}
        return self._edition(found, digest(self.fixed))

    def at(self, moment: datetime) -> Edition:
        """Return the rules that held at a moment.

        Raises NotFound (``version_not_found``) when they are no longer kept, Unavailable.
        """
        found = {letter: states.version_at(moment) for letter, states in self._states.items()}
        return self._edition(found, None)

    def of_version(self, text: str) -> Edition:
        """Return the rules of a version as it is on record.

        Raises InvalidRequest for what is no version, NotFound (``version_not_found``) for one that
        never was or is no longer kept, Unavailable.
        """
        match = _VERSION.fullmatch(text[:VERSION_CHARACTERS_MAX])
        if match is None:
            raise InvalidRequest(
                "a version of the rules is written as it is on record,"
                " such as g4-f0-m2-l0-v1-s5fc20af14b1f7d26"
            )
        found = {letter: int(match[letter] or NO_VERSION) for letter in KINDS}
        return self._edition(found, match["s"])

    def moment_of(self, edition: Edition) -> datetime | None:
        """Return the last moment at which these rules held; None when they hold now."""
        ends = [
            states.time_of(version + 1)
            for letter, states in self._states.items()
            if (version := edition.versions[letter]) < states.newest()
        ]
        return min(ends) - _TICK if ends else None

    def since(self, edition: Edition) -> datetime | None:
        """Return the moment from which on these rules held; None when there were none before."""
        begun = [
            self._states[letter].time_of(version)
            for letter, version in edition.versions.items()
            if version != NO_VERSION
        ]
        return max(begun, default=None)

    def gone_at(self, letter: str, rows: Rows, between: tuple[int, int]) -> dict[str, datetime]:
        """Return when each of some rows went, which the second version of a table has not."""
        states = self._states[letter]
        found = left_at(states, rows, after=between[0], before=between[1])
        times = {version: states.time_of(version) for version in set(found.values())}
        return {key: times[version] for key, version in found.items()}

    def list(self, since: datetime | None, before: datetime | None, *, limit: int) -> list[Since]:
        """Return the versions that held in a stretch of time, newest first."""
        events = sorted(
            (states.time_of(version), letter, version)
            for letter, states in self._states.items()
            for version in states.versions()
        )
        current = dict.fromkeys(KINDS, NO_VERSION)
        found: list[Since] = []
        for place, (moment, letter, version) in enumerate(events):
            current[letter] = version
            until = events[place + 1][0] if place + 1 < len(events) else None
            is_over = since is not None and until is not None and until <= since
            if not is_over and (before is None or moment < before):
                found.append(Since(self._name(current, digest(self.fixed)), moment))
        return found[::-1][:limit]

    def _edition(self, versions: Mapping[str, int], settings: str | None) -> Edition:
        marks = tuple(self._states[letter].mark(number) for letter, number in versions.items())
        key = (*versions.values(), *marks, settings)
        return self._kept.get(key) or self._kept.put(key, self._read(versions, settings))

    def _read(self, versions: Mapping[str, int], settings: str | None) -> Edition:
        rows = {letter: self._states[letter].rows(number) for letter, number in versions.items()}
        granted = (*((grant, None) for grant in self.fixed), *_granted(rows["g"]))
        book = PolicyBook(
            version=self._name(versions, settings or digest(self.fixed)),
            grants=tuple(grant for grant, _ in granted),
            filters=_rules(rows["f"], rule_rows.filter_of),
            masks=_rules(rows["m"], rule_rows.mask_of),
            labels=_rules(rows["l"], rule_rows.label_of),
            views=_rules(rows["v"], rule_rows.view_of, opens=lambda _: True),
            group_rows_min=self._group_rows_min,
        )
        is_known = settings == digest(self.fixed)
        return Edition(versions, rows, granted, book, is_known, settings=settings)

    def _name(self, versions: Mapping[str, int], settings: str) -> str:
        parts = [f"{letter}{'' if versions[letter] < 0 else versions[letter]}" for letter in KINDS]
        return "-".join((*parts, f"s{settings}"))


def _granted(rows: Rows) -> tuple[tuple[Grant, StoredGrant], ...]:
    found = _rules(rows, _grant, opens=_opens)
    return tuple(sorted(found, key=lambda each: (each[1].created_at, each[1].grant_id)))


def _grant(row: Row) -> tuple[Grant, StoredGrant]:
    stored = stored_grant(row)
    return stored.rule(), stored


def _opens(row: Row) -> bool:
    return bool(row["effect"] == Effect.ALLOW)


def _never(_: Row) -> bool:
    return False


def _rules(
    rows: Rows, rule_of: Callable[[Row], Rule], *, opens: Callable[[Row], bool] = _never
) -> tuple[Rule, ...]:
    """Return what the rows say; one that opens and cannot be read opened nothing then either.

    Raises Unavailable for another one: while it was there, nobody was shown anything.
    """
    found: list[Rule] = []
    for row in rows.values():
        try:
            found.append(rule_of(row))
        except _UNREADABLE:
            if not opens(row):
                raise Unavailable(
                    "a rule of that time cannot be read: while it was there, nothing was shown"
                ) from None
    return tuple(found)
