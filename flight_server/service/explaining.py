"""What somebody sees of a table and why, now or at an earlier moment.

What is seen is found by the very code that narrows tables for queries, with the rules of the moment
in question; here it is only put together with who made these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from flight_server.auth.user import User
from flight_server.catalog.editions import Edition, Editions
from flight_server.catalog.registry import Registry
from flight_server.clock import Clock
from flight_server.engine.base import Narrowing
from flight_server.errors import InvalidRequest, NotFound, Unsupported
from flight_server.service.hidden_keys import KeyStores
from flight_server.service.keys_at import KeysAt, Tombstones
from flight_server.service.narrowing import Narrower
from flight_server.service.opening import Opener
from flight_server.sql.names import AsOf, parse_raw_name
from flight_server.storage.arrow_types import without_metadata
from policies.book import PolicyBook
from policies.decide import Decision, decide
from policies.lens import TableView, narrow
from policies.names import Principal, Privilege, Role, TableRef
from policies.purposes import PURPOSES
from policies.rules import SafeView
from policies.stating import purposes_of

_VIEWS_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Question:
    """Who sees what of a table: by the newest rules, those of a version, or those of a moment.

    ``user`` is a name or an id. With a version and no moment it is the last moment of the version.
    """

    table: TableRef
    user: str
    purpose: str | None = None
    at: datetime | None = None
    version: str | None = None


class Accounts(Protocol):
    """Where accounts are looked up as they were."""

    def find(self, user: str, moment: datetime | None) -> User | None:
        """Return an account by name or id as it was at a moment, now for None."""
        ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer as values.

    ``principal`` is None when there was no such account. ``views`` lead from the name that was
    asked for down to ``base``. ``columns`` are those of the base, None when they are not known;
    ``narrowings`` are what a query goes through from the base up, ``layers`` the rules behind them.
    ``agreed`` counts the people whose rows a purpose shows, None where nobody is asked; ``trouble``
    says why nothing is shown although it is allowed.
    """

    asked: Question
    at: datetime | None
    edition: Edition
    username: str
    principal: Principal | None
    decision: Decision
    base: TableRef
    views: tuple[SafeView, ...] = ()
    columns: tuple[str, ...] | None = None
    narrowings: tuple[Narrowing, ...] = ()
    group_rows_min: int = 0
    layers: tuple[tuple[TableRef, TableView], ...] = ()
    tombstones: Tombstones | None = None
    agreed: int | None = None
    trouble: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def rights(self) -> tuple[Privilege, ...]:
        """What one needs to read it, on ``named``."""
        is_raw = parse_raw_name(self.asked.table.table) is not None
        return (Privilege.READ, Privilege.READ_RAW) if is_raw else (Privilege.READ,)

    @property
    def named(self) -> TableRef:
        """The table or view that was asked for; with its tombstones, where it was without them."""
        return without_raw(self.asked.table)


@dataclass(frozen=True, slots=True)
class _State:
    """The base of what is asked for; without a schema nobody knows what it was."""

    schema: pa.Schema | None
    paths: frozenset[str] = frozenset()
    trouble: str | None = None
    note: str | None = None


class Explainer:
    """Answers questions about the rules of one lakehouse, whoever asks."""

    def __init__(
        self,
        editions: Editions,
        accounts: Accounts,
        registry: Registry,
        *,
        opener: Opener,
        clock: Clock,
        stores: KeyStores | None = None,
    ) -> None:
        self.editions = editions
        self._accounts = accounts
        self._registry = registry
        self._opener = opener
        self._clock = clock
        self._stores = stores

    def exists(self, ref: TableRef) -> bool:
        """Whether there is a table or view of that name now; raises Unavailable."""
        ref = without_raw(ref)
        return self._registry.find(ref) is not None or self._registry.find_view(ref) is not None

    def explain(self, asked: Question) -> Explanation:
        """Answer a question.

        Raises NotFound (``user_not_found``, ``version_not_found``), InvalidRequest for a moment to
        come and for a purpose or version that is none, Unavailable.
        """
        if asked.purpose is not None and asked.purpose not in PURPOSES:
            raise InvalidRequest(f"there is no such purpose; there are {', '.join(PURPOSES)}")
        edition, at = self._edition(asked)
        user = self._user(asked.user, at)
        if user is None:
            decision = Decision(allowed=False, reason="there was no such account at that time")
            base = without_raw(asked.table)
            return Explanation(asked, at, edition, asked.user, None, decision=decision, base=base)
        principal = replace(user.as_principal(), purpose=asked.purpose)
        found = Explanation(
            asked,
            at,
            edition,
            user.username,
            principal,
            decision=_decided(edition.book, principal, user, asked.table),
            base=without_raw(asked.table),
        )
        return self._with_view(found, principal)

    def _edition(self, asked: Question) -> tuple[Edition, datetime | None]:
        if asked.at is not None and asked.at > self._clock.now():
            raise InvalidRequest("what somebody will see is not known: 'at' lies in the future")
        if asked.version is not None:
            edition = self.editions.of_version(asked.version)
            return edition, asked.at or self.editions.moment_of(edition)
        if asked.at is not None:
            return self.editions.at(asked.at), asked.at
        return self.editions.newest(), None

    def _user(self, user: str, at: datetime | None) -> User | None:
        found = self._accounts.find(user, at)
        if found is None and (at is None or self._accounts.find(user, None) is None):
            raise NotFound("there is no user of this name or id", code="user_not_found")
        return found

    def _with_view(self, found: Explanation, principal: Principal) -> Explanation:
        """Return it with what is seen of the table, and why."""
        book = found.edition.book
        is_raw = found.named != found.asked.table
        views = () if is_raw else tuple(_chain(book, found.named))
        base = views[-1].base if views else found.named
        state = self._state(base, found.at)
        notes = () if state.note is None else (state.note,)
        found = replace(found, base=base, views=views, trouble=state.trouble, notes=notes)
        keys = None if self._stores is None else KeysAt(self._stores, found.at)
        if keys is not None and state.schema is not None and not is_raw:
            found = replace(found, tombstones=keys.count(base))
        if state.schema is None:
            return found
        schema = without_metadata(state.schema)
        found = replace(found, columns=tuple(schema.names))
        upwards = views[::-1]
        layers = _layers(book, principal, base, schema=schema, views=upwards)
        if principal.purpose is not None and any(view.subjects for _, view in layers):
            agreed = 0 if keys is None else keys.agreed(principal.purpose)
            found = replace(found, agreed=agreed)
        if not found.decision.allowed:
            return replace(found, layers=layers)
        narrower = Narrower(lambda: book, hidden=keys)
        try:
            narrowed = narrower.narrowed(
                principal, base, schema, paths=state.paths, views=upwards, is_raw=is_raw
            )
        except NotFound:
            return replace(found, layers=layers, trouble="none of its columns may be read")
        except InvalidRequest as error:
            return replace(found, layers=layers, trouble=error.message)
        return replace(
            found,
            layers=layers,
            narrowings=narrowed.narrowings,
            group_rows_min=narrowed.group_rows_min,
        )

    def _state(self, base: TableRef, at: datetime | None) -> _State:
        entry = self._registry.find(base)
        if entry is None:
            view = self._registry.find_view(base)
            if view is not None:
                note = (
                    f"{base} is a view that runs with the rights of whoever reads it: what it"
                    " shows is decided at the tables in it"
                )
                return _State(view.arrow_schema, note=note)
            return _State(None, trouble=f"{base} is not there, or no longer")
        if at is None:
            newest = self._opener.open(entry)
            return _State(newest.schema, newest.paths)
        try:
            then = self._opener.open(entry, as_of=AsOf(time=at))
            return _State(then.schema, then.paths)
        except NotFound:
            return _State(None, trouble=f"of {base} there is no state of that time")
        except Unsupported:
            newest = self._opener.open(entry)
            note = f"{base} has no older versions: its columns are those of now"
            return _State(newest.schema, newest.paths, note=note)


def without_raw(ref: TableRef) -> TableRef:
    """Return the table itself for the name of a table without its tombstones."""
    name = parse_raw_name(ref.table)
    return ref if name is None else replace(ref, table=name)


def _chain(book: PolicyBook, ref: TableRef) -> Iterator[SafeView]:
    """Return the safe views from a name down to its base; a circle ends somewhere."""
    view = book.view(ref)
    for _ in range(_VIEWS_DEPTH_MAX):
        if view is None:
            return
        yield view
        view = book.view(view.base)


def _decided(book: PolicyBook, principal: Principal, user: User, ref: TableRef) -> Decision:
    if not user.is_active:
        return Decision(allowed=False, reason="the account is disabled")
    purpose = principal.purpose
    if (
        purpose is not None
        and principal.role is not Role.PENDING
        and purpose not in purposes_of(book, principal)
    ):
        return Decision(allowed=False, reason=f"no grant lets them state the purpose {purpose}")
    decision = decide(book, principal, Privilege.READ, without_raw(ref))
    if decision.allowed and without_raw(ref) != ref:
        return decide(book, principal, Privilege.READ_RAW, without_raw(ref))
    return decision


def _layers(
    book: PolicyBook,
    principal: Principal,
    base: TableRef,
    *,
    schema: pa.Schema,
    views: tuple[SafeView, ...],
) -> tuple[tuple[TableRef, TableView], ...]:
    """Return the rules on the base and on each view above it that are for somebody."""
    found = [(base, narrow(book, principal, base, schema.names, is_base=bool(views)))]
    for place, view in enumerate(views, 1):
        names = [name for name, _ in view.columns]
        is_base = place < len(views)
        found.append((view.ref, narrow(book, principal, view.ref, names, is_base=is_base)))
    return tuple(found)
