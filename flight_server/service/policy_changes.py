"""How the rules differ between two moments: what was added, removed and changed, by whom and when.

Who took a rule away is in the audit log alone; here it is when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flight_server.catalog import rule_rows
from flight_server.catalog.editions import Edition, Editions
from flight_server.catalog.rulebook import stored_grant
from flight_server.errors import InvalidRequest
from flight_server.sql.names import parse_time
from flight_server.storage.system import Row, Rows
from policies.rules import ColumnMask, Grant, Label, RowFilter, SafeView
from policies.words import rule_words

Rule = Grant | RowFilter | ColumnMask | Label | SafeView
JSON = dict[str, Any]
_MADE = ("created_at", "created_by")
# Keys made of other columns, and what is no text.
_TECHNICAL = frozenset({"rule", "label", "view", "arrow_schema", "user_id", *_MADE})


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of rule: what it is called, and how a row of its table is read."""

    name: str
    read: Callable[[Row], Rule]


_KINDS: Mapping[str, _Kind] = {
    "g": _Kind("grant", lambda row: stored_grant(row).rule()),
    "f": _Kind("filter", rule_rows.filter_of),
    "m": _Kind("mask", rule_rows.mask_of),
    "l": _Kind("label", rule_rows.label_of),
    "v": _Kind("view", rule_rows.view_of),
}


@dataclass(frozen=True, slots=True)
class Changed:
    """A rule that differs: ``before`` is None when it was added, ``after`` when it was removed.

    ``gone_at`` is when it was removed, None for all others.
    """

    letter: str
    before: Row | None
    after: Row | None
    gone_at: datetime | None = None

    @property
    def change(self) -> str:
        """What became of it."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def at(self) -> datetime:
        """When it was changed last."""
        made: datetime | None = None if self.after is None else self.after["created_at"]
        found = made or self.gone_at
        assert found is not None  # noqa: S101  either it is there, or it went
        return found

    def as_json(self) -> JSON:
        """Return it as plain data, with a sentence."""
        row = self.after or self.before or {}
        answer: JSON = {
            "kind": _KINDS[self.letter].name,
            "change": self.change,
            "at": _time(self.at),
            "created_at": _time(row["created_at"]),
            "created_by": row["created_by"],
            "rule": _plain(row),
        }
        if self.change == "changed" and self.before is not None:
            answer["before"] = _plain(self.before)
        return {**answer, "text": self.sentence()}

    def sentence(self) -> str:
        """Return it in words."""
        row = self.after or self.before or {}
        who = row["created_by"] or "the command line"
        made = f"by {who}, {_time(row['created_at'])}"
        if self.after is None:
            return f"Removed {self._words(row)} (made {made}), {_time(self.at)}."
        if self.before is None:
            return f"Added {self._words(row)} ({made})."
        return f"Changed to {self._words(row)} ({made}); before, {self._words(self.before)}."

    def _words(self, row: Row) -> str:
        try:
            return rule_words(_KINDS[self.letter].read(row))
        except (InvalidRequest, ValueError, TypeError, KeyError, AttributeError):
            return f"a {_KINDS[self.letter].name} that cannot be read"


@dataclass(frozen=True, slots=True)
class Difference:
    """Two states of the rules, and what differs between them, oldest change first.

    With ``settings_differ`` the settings did not grant the same, None when that is not known.
    """

    first: Edition
    second: Edition
    changes: tuple[Changed, ...]
    settings_differ: bool | None

    def as_json(self) -> JSON:
        """Return it as plain data, with sentences."""
        sentences = [each.sentence() for each in self.changes] or ["No stored rule differs."]
        if self.settings_differ:
            sentences.append("The grants of the settings differ; which they were is not kept.")
        if self.settings_differ is None:
            sentences.append("The grants of the settings have no history and are not compared.")
        return {
            "from": self.first.version,
            "to": self.second.version,
            "changes": [each.as_json() for each in self.changes],
            "settings_differ": self.settings_differ,
            "summary": sentences,
        }


def difference(editions: Editions, since: str, until: str | None) -> Difference:
    """Compare the rules of two versions or moments as they are written; None is now.

    Raises InvalidRequest for what is neither (``invalid_range`` when the second is the older one),
    NotFound (``version_not_found``), Unavailable.
    """
    first = _edition(editions, since)
    second = editions.newest() if until is None else _edition(editions, until)
    if any(number > second.versions[letter] for letter, number in first.versions.items()):
        raise InvalidRequest(
            "the range is turned round: 'from' is after 'to'", code="invalid_range"
        )
    found = [
        each
        for letter in _KINDS
        if first.versions[letter] != second.versions[letter]
        for each in _changes(editions, letter, first, second)
    ]
    return Difference(
        first, second, tuple(sorted(found, key=lambda each: each.at)), _settings(first, second)
    )


def _edition(editions: Editions, text: str) -> Edition:
    if "-" in text and text[:1] == "g":
        return editions.of_version(text)
    try:
        moment = parse_time(text).time
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{text[:100]!r} is neither a version of the rules nor a time: {error.message}"
        ) from None
    assert moment is not None  # noqa: S101  a time was read, and no version
    return editions.at(moment)


def _changes(editions: Editions, letter: str, first: Edition, second: Edition) -> Iterator[Changed]:
    before, after = first.rows[letter], second.rows[letter]
    for key, row in after.items():
        if key not in before:
            yield Changed(letter, None, row)
        elif _said(before[key]) != _said(row):
            yield Changed(letter, before[key], row)
    removed: Rows = {key: row for key, row in before.items() if key not in after}
    if removed:
        between = (first.versions[letter], second.versions[letter])
        gone = editions.gone_at(letter, removed, between)
        for key, row in removed.items():
            yield Changed(letter, row, None, gone_at=gone[key])


def _settings(first: Edition, second: Edition) -> bool | None:
    if first.settings is None or second.settings is None:
        return None
    return first.settings != second.settings


def _said(row: Row) -> JSON:
    return {name: value for name, value in row.items() if name not in _MADE}


def _plain(row: Row) -> JSON:
    """Return what a row says as plain data, without what is not set."""
    answer: JSON = {}
    for name, value in row.items():
        if name in _TECHNICAL or value in (None, []):
            continue
        answer[name] = json.loads(value) if name == "redactions" else value
    return answer


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
