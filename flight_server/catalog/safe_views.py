"""The AI-safe views by name: what each shows, of what, and what it was when it was put.

A name that was given to such a view means it, whatever else is there: a table that another tool
puts under it is not seen. The name of a view that cannot be read any more means nothing at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import pyarrow as pa

from flight_server.catalog.rule_rows import rule_key, view_row
from flight_server.catalog.rule_table import Read, RuleTable
from flight_server.errors import InvalidRequest, LimitExceeded, NotFound, Unavailable
from flight_server.sql.names import quoted
from flight_server.storage.edits import Change
from flight_server.storage.system import Row, Rows
from policies.names import TableRef
from policies.rules import SafeView
from policies.words import path_words, redaction_words

SAFE_VIEWS_MAX = 10_000
VIEWS_DEPTH_MAX = 16
RECURSIVE = "view_recursive"
_UNREADABLE = "the server's own table cannot be read table=policy.views"


@dataclass(frozen=True, slots=True)
class StoredSafeView:
    """An AI-safe view as it was put.

    ``arrow_schema`` is what it shows; ``created_at`` is aware, in UTC, ``created_by`` a user's
    name, None for the command line.
    """

    rule: SafeView
    arrow_schema: pa.Schema
    created_at: datetime
    created_by: str | None

    @property
    def ref(self) -> TableRef:
        """Its full name."""
        return self.rule.ref

    @property
    def comment(self) -> str | None:
        """What it is for, in words."""
        return self.rule.description

    @property
    def definition(self) -> str:
        """What it does, as text for people; nothing runs it."""
        columns = ", ".join(quoted(name) for name, _ in self.rule.columns)
        base = ".".join(map(quoted, (self.rule.base.bucket, self.rule.base.schema)))
        lines = [f"SELECT {columns}", f"FROM {base}.{quoted(self.rule.base.table)}"]
        if self.rule.row_filter is not None:
            lines.append(f"WHERE ({self.rule.row_filter})")
        lines += (
            f"-- {path_words(path)} is shown {redaction_words(each)}"
            for path, each in self.rule.redactions
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Index:
    """The views of one state of their table; ``names`` also those of rows that are no views."""

    read: Read[SafeView] | None = None
    by_ref: Mapping[TableRef, StoredSafeView] = field(default_factory=dict)
    by_bucket: Mapping[str, tuple[StoredSafeView, ...]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


class SafeViews:
    """All AI-safe views; safe to use from many threads, and sees at once what others write."""

    def __init__(self, table: RuleTable[SafeView]) -> None:
        self._table = table
        self._index = _Index()

    def get(self, ref: TableRef) -> StoredSafeView | None:
        """Return the view of that name, or None.

        Raises Unavailable when views cannot be read, also when only this one cannot.
        """
        index = self._newest()
        found = index.by_ref.get(ref)
        if found is None and index.names and rule_key(ref) in index.names:
            raise Unavailable(_UNREADABLE)
        return found

    def is_name(self, ref: TableRef) -> bool:
        """Whether a name is that of a view, also of one that cannot be read; raises Unavailable."""
        names = self._newest().names
        return bool(names) and rule_key(ref) in names

    def list(self, bucket: str) -> tuple[StoredSafeView, ...]:
        """Return the views of a bucket by schema and name, without those that cannot be read."""
        return self._newest().by_bucket.get(bucket, ())

    def chain(self, view: SafeView) -> Iterator[SafeView]:
        """Return a view, the view that it is made of, and so on, down to the one above a table.

        Raises InvalidRequest (``view_recursive``) where they are too many, or make a circle.
        """
        by_ref, found = self._newest().by_ref, view
        for _ in range(VIEWS_DEPTH_MAX):
            yield found
            below = by_ref.get(found.base)
            if below is None:
                return
            found = below.rule
        raise InvalidRequest(
            f"views over views are too deep at {view.ref}: views_depth_max={VIEWS_DEPTH_MAX}",
            code=RECURSIVE,
        )

    def put(
        self,
        view: SafeView,
        arrow_schema: pa.Schema,
        *,
        created_by: str | None,
        check: Callable[[], None],
        check_new: Callable[[], None],
    ) -> bool:
        """Store a view, durable, in place of one of its name; return whether it is new.

        ``check`` and, for a view that is new, ``check_new`` are asked while no other view can be
        stored, and raise to give up. Raises InvalidRequest (``view_recursive``) for a view that
        would be made of itself or of too many others, LimitExceeded, Unavailable.
        """
        row = view_row(
            view,
            arrow_schema.serialize().to_pybytes(),
            created_at=self._table.clock.now(),
            created_by=created_by,
        )
        is_new = True

        def edit(rows: Rows) -> list[Row]:
            nonlocal is_new
            is_new = rule_key(view.ref) not in rows
            if is_new and len(rows) >= SAFE_VIEWS_MAX:
                raise LimitExceeded(
                    f"there are as many safe views as there may be: safe_views_max={SAFE_VIEWS_MAX}"
                )
            rules = {each.ref: each for each in self._table.rules_of(rows)}
            _check_depth({**rules, view.ref: view}, view)
            if is_new:
                check_new()
            check()
            return [row]

        self._table.change(edit)
        return is_new

    def drop(self, refs: frozenset[TableRef], *, check: Callable[[], None]) -> None:
        """Forget views, durable; also those that cannot be read.

        ``check`` is asked while no view can be stored, and raises to give up. Raises NotFound
        (``view_not_found``) when one is not there, Unavailable.
        """

        def edit(rows: Rows) -> Change:
            for ref in refs:
                if rule_key(ref) not in rows:
                    raise NotFound(f"the view {ref} does not exist", code="view_not_found")
            check()
            return Change(remove=frozenset(map(rule_key, refs)))

        self._table.change(edit)

    def _newest(self) -> _Index:
        read, index = self._table.read(), self._index
        if index.read is not read:
            by_ref: dict[TableRef, StoredSafeView] = {}
            for key, rule in read.rules.items():
                stored = _stored(rule, read.snapshot.rows[key])
                # Under another key, nobody could take it away.
                if stored is not None and rule_key(rule.ref) == key:
                    by_ref[rule.ref] = stored
            by_bucket: dict[str, list[StoredSafeView]] = {}
            for ref in sorted(by_ref):
                by_bucket.setdefault(ref.bucket, []).append(by_ref[ref])
            lists = {bucket: tuple(each) for bucket, each in by_bucket.items()}
            index = _Index(read, by_ref, lists, frozenset(read.snapshot.rows))
            self._index = index
        return index


@lru_cache(maxsize=1024)
def stamp(views: tuple[SafeView, ...]) -> str:
    """Return a text that differs between two chains of other columns, or of another base."""
    said = [[str(view.ref), str(view.base), view.columns] for view in views]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def _stored(rule: SafeView, row: Row) -> StoredSafeView | None:
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(row["arrow_schema"]))
    except (pa.ArrowException, TypeError, ValueError):
        return None
    return StoredSafeView(rule, schema, row["created_at"], row["created_by"])


def _check_depth(rules: Mapping[TableRef, SafeView], new: SafeView) -> None:
    """Check the chains of a view and of all that are made of it, were it put."""
    if new.base == new.ref:
        raise _recursive(new)
    below = rules.get(new.base)
    for _ in range(VIEWS_DEPTH_MAX):
        if below is None:
            break
        if below.base == new.ref:
            raise _recursive(new)
        below = rules.get(below.base)
    for view in rules.values():
        depth, each = 1, view
        is_above = view.ref == new.ref
        while depth <= VIEWS_DEPTH_MAX and each.base in rules:
            depth, each = depth + 1, rules[each.base]
            is_above = is_above or each.ref == new.ref
        if is_above and depth > VIEWS_DEPTH_MAX:
            # Which of them is too high is not for everybody to know.
            raise InvalidRequest(
                f"views over views would be too deep through {new.ref}:"
                f" views_depth_max={VIEWS_DEPTH_MAX}",
                code=RECURSIVE,
            )


def _recursive(view: SafeView) -> InvalidRequest:
    through = "" if view.base == view.ref else f" through {view.base}"
    return InvalidRequest(
        f"base: the view {view.ref} would be made of itself{through}", code=RECURSIVE
    )
