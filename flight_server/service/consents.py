"""Who has agreed to what their data is used for.

A purpose that needs consent shows rows of those people only who have agreed to it, in every table
that has a column which names people. People are named by text: what a column of another type holds
is compared as its canonical text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from flight_server.errors import InvalidRequest, PermissionDenied
from flight_server.service.request import Request
from flight_server.storage.key_sets import KeyEvent, KeyEvents, KeySets
from flight_server.storage.key_states import KEY_TYPE
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET, decide
from policies.names import Principal, Privilege, TableRef
from policies.purposes import PURPOSES

CONSENT_PURPOSES = tuple(name for name, shown in PURPOSES.items() if shown.needs_consent)
SUBJECT_BYTES_MAX = 1024
REASON_CHARACTERS_MAX = 1_000
PAGE_SUBJECTS, PAGE_SUBJECTS_MAX = 1_000, 10_000


@dataclass(frozen=True, slots=True)
class Consent:
    """Whether a person has agreed to a purpose; since when, told by whom and why, where given."""

    subject: str
    purpose: str
    is_given: bool
    since: datetime | None = None
    actor: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """Some of those who have agreed to a purpose, in that order, and how many there are.

    ``next_after`` is the number of the last one when there are more.
    """

    purpose: str
    count: int
    consents: tuple[Consent, ...]
    next_after: int | None


class KeptConsents:
    """The consents of a lakehouse, for whoever may change them; safe to use from many threads."""

    def __init__(self, sets: KeySets) -> None:
        self._sets = sets

    def set(
        self,
        subjects: Sequence[str],
        purposes: Iterable[str],
        *,
        is_given: bool,
        actor: str | None,
        reason: str | None = None,
    ) -> int:
        """Keep that people have agreed, or have not; return how many consents that has changed.

        It is durable, and counts for all queries that begin afterwards. Raises InvalidRequest for a
        purpose that needs no consent, and for a person without a name; LimitExceeded, Unavailable.
        """
        named = check_purposes(purposes)
        keys = _keys(subjects)
        if reason is not None and not (
            reason.strip() and len(reason) <= REASON_CHARACTERS_MAX and reason.isprintable()
        ):
            raise InvalidRequest(
                f"the reason is a printable text of 1 to {REASON_CHARACTERS_MAX} characters"
            )
        with self._sets.turn():
            events = [
                KeyEvents(
                    purpose,
                    KeyEvent.ADDED if is_given else KeyEvent.REMOVED,
                    self._changed(purpose, keys, is_given=is_given),
                    actor=actor,
                    reason=reason,
                )
                for purpose in named
            ]
            self._sets.add(events)
        return sum(len(each.keys) for each in events)

    def of(self, subject: str, purposes: Iterable[str] = CONSENT_PURPOSES) -> list[Consent]:
        """Return what a person has agreed to, and what not. Raises InvalidRequest, Unavailable."""
        keys = _keys([subject])
        found = []
        for purpose in check_purposes(purposes):
            state = self._sets.current(purpose)
            numbers = state.sequences.filter(pc.is_in(state.keys, value_set=keys))
            rows = self._sets.events(purpose, numbers).to_pylist()
            found.append(
                _consent(purpose, rows[0]) if rows else Consent(subject, purpose, is_given=False)
            )
        return found

    def page(self, purpose: str, *, after: int = 0, limit: int = PAGE_SUBJECTS) -> ConsentPage:
        """Return those who have agreed to a purpose, from behind a number on.

        Raises InvalidRequest, Unavailable.
        """
        if not 1 <= limit <= PAGE_SUBJECTS_MAX:
            raise InvalidRequest(f"the limit is from 1 to {PAGE_SUBJECTS_MAX}")
        (purpose,) = check_purposes([purpose])
        state = self._sets.current(purpose)
        later = pc.greater(state.sequences, pa.scalar(after))
        numbers = state.sequences.filter(later)
        page = numbers.slice(0, limit)
        rows = self._sets.events(purpose, page).to_pylist()
        is_last = len(numbers) <= limit
        return ConsentPage(
            purpose,
            state.count,
            tuple(_consent(purpose, row) for row in rows),
            None if is_last else int(page[-1].as_py()),
        )

    def count(self, purpose: str) -> int:
        """Return how many people have agreed to a purpose; raises Unavailable."""
        return self._sets.current(purpose).count

    def _changed(self, purpose: str, keys: pa.StringArray, *, is_given: bool) -> pa.StringArray:
        """Return those of some people for whom it is not so yet."""
        is_there = self._sets.current(purpose).has(keys)
        changed: pa.StringArray = keys.filter(pc.invert(is_there) if is_given else is_there)
        return changed


class Consents:
    """The use cases: for administrators, and for those who may manage every bucket of the server.

    A consent counts for all tables, so nobody gives it who looks after some of them. ``buckets``
    returns the names of all buckets.
    """

    def __init__(
        self,
        kept: KeptConsents,
        *,
        book: Callable[[], PolicyBook],
        buckets: Callable[[], Iterable[str]],
    ) -> None:
        self._kept = kept
        self._book = book
        self._buckets = buckets

    def set(
        self,
        request: Request,
        subject: str,
        purposes: Sequence[str],
        *,
        is_given: bool,
        reason: str | None,
    ) -> list[Consent]:
        """Keep what a person has agreed to; return it. Raises as ``KeptConsents.set`` does."""
        self._check(request.principal)
        changed = self._kept.set(
            [subject],
            purposes,
            is_given=is_given,
            actor=request.principal.username,
            reason=reason,
        )
        request.record.note(rows=changed)
        return self._kept.of(subject, purposes)

    def of(self, request: Request, subject: str, purpose: str | None) -> list[Consent]:
        """Return what a person has agreed to, and what not."""
        self._check(request.principal)
        return self._kept.of(subject, CONSENT_PURPOSES if purpose is None else [purpose])

    def page(
        self, request: Request, purpose: str, *, limit: int | None, token: str | None
    ) -> ConsentPage:
        """Return those who have agreed to a purpose; InvalidRequest for a token that is none."""
        self._check(request.principal)
        if token is not None and not (token.isascii() and token.isdigit() and len(token) <= 18):
            raise InvalidRequest("this is no token of a page")
        limit = PAGE_SUBJECTS if limit is None else limit
        page = self._kept.page(purpose, after=int(token or 0), limit=limit)
        request.record.note(rows=len(page.consents))
        return page

    def counts(self, request: Request) -> dict[str, int]:
        """Return how many people have agreed, by purpose."""
        self._check(request.principal)
        return {purpose: self._kept.count(purpose) for purpose in CONSENT_PURPOSES}

    def _check(self, principal: Principal) -> None:
        book = self._book()
        if principal.is_admin or all(
            decide(book, principal, Privilege.MANAGE, TableRef(bucket, "", "")).allowed
            for bucket in self._buckets()
            if bucket != SYSTEM_BUCKET
        ):
            return
        raise PermissionDenied(
            "consents are for administrators, and for those who may manage every bucket"
        )


def check_purposes(purposes: Iterable[str]) -> tuple[str, ...]:
    """Return purposes that need consent, each once; raises InvalidRequest for others, and none."""
    found = tuple(dict.fromkeys(purposes))
    if not found or not set(found) <= set(CONSENT_PURPOSES):
        raise InvalidRequest(
            f"purposes that need the consent of people are {', '.join(CONSENT_PURPOSES)}"
        )
    return found


def _keys(subjects: Sequence[str]) -> pa.StringArray:
    for subject in subjects:
        if not subject or len(subject.encode("utf-8", "surrogatepass")) > SUBJECT_BYTES_MAX:
            raise InvalidRequest(
                f"a subject is named by a text of 1 to subject_bytes_max={SUBJECT_BYTES_MAX} bytes"
            )
    try:
        keys: pa.StringArray = pa.array(list(dict.fromkeys(subjects)), KEY_TYPE)
    except (ValueError, pa.ArrowException):
        raise InvalidRequest("a subject is named by a text in UTF-8") from None
    return keys


def _consent(purpose: str, row: dict[str, object]) -> Consent:
    since, actor, reason = row["at"], row["actor"], row["reason"]
    return Consent(
        str(row["key"]),
        purpose,
        is_given=True,
        since=since if isinstance(since, datetime) else None,
        actor=None if actor is None else str(actor),
        reason=None if reason is None else str(reason),
    )
