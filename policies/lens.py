"""What one principal sees of one table: its columns, what is redacted in them, and its rows.

The answer is a value that knows no engine: ``engine.view`` makes a plan of it, ``policy.explain``
words. However many rules there are and in whatever order, each of them only takes away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from policies.book import PolicyBook
from policies.names import Principal, Privilege, TableRef
from policies.purposes import DataPart, Disclosure, Treatment, disclosure
from policies.rules import (
    NULLED,
    ColumnMask,
    ColumnPath,
    Effect,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)

NETWORK = "network"
_TELLING_NAMES = frozenset(part.value for part in DataPart)


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """A column that is seen, and what is redacted in it.

    ``redactions`` are by path: empty for the whole column, else the fields within it. No path lies
    within another. Each redaction that hashes names its domain.
    """

    name: str
    redactions: tuple[tuple[ColumnPath, Redaction], ...] = ()


@dataclass(frozen=True, slots=True)
class TableView:
    """What is seen of a table.

    Of its rows those for which all ``conditions`` are true, and whose ``subjects``, columns that
    name a person, have all agreed to the purpose of the session; ``group_rows_min`` tells that only
    aggregates over so many rows may leave. ``missing`` are columns that rules speak of and the
    table does not have, as an older version may not: nothing of it may be shown then. ``filters``,
    ``masks`` and ``labels`` are the rules that made it so, for words about it.
    """

    columns: tuple[ShownColumn, ...]
    conditions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    group_rows_min: int = 0
    missing: tuple[str, ...] = ()
    filters: tuple[RowFilter, ...] = field(default=(), compare=False)
    masks: tuple[ColumnMask, ...] = field(default=(), compare=False)
    labels: tuple[tuple[str, DataPart], ...] = field(default=(), compare=False)

    def shows_all(self, columns: Sequence[str]) -> bool:
        """Whether this is the whole table of these columns, as it is."""
        return (
            not (self.conditions or self.subjects or self.group_rows_min or self.missing)
            and tuple(each.name for each in self.columns) == tuple(columns)
            and not any(each.redactions for each in self.columns)
        )


@dataclass(frozen=True, slots=True)
class Readable:
    """Which columns of a table or view somebody may read, as far as grants say.

    Those of ``allowed``, None for all that it has, but none of ``denied``.
    """

    allowed: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()

    def shows(self, column: str) -> bool:
        """Whether a column of that name may be read."""
        return column not in self.denied and (self.allowed is None or column in self.allowed)


ALL_COLUMNS = Readable()
_NO_COLUMNS = Readable(frozenset())


def readable(book: PolicyBook, principal: Principal, ref: TableRef) -> Readable:
    """Return the columns that somebody may read.

    Whoever may read the table reads all that no deny names, whoever may read some of its columns
    those.
    """
    effect = book.effect(principal, Privilege.READ, ref)
    if effect is Effect.DENY:
        return _NO_COLUMNS
    allowed: set[str] = set()
    denied: set[str] = set()
    for grant in book.column_grants(principal, Privilege.READ, ref):
        (denied if grant.effect is Effect.DENY else allowed).update(grant.columns or ())
    is_whole = principal.is_admin or effect is Effect.ALLOW
    return Readable(None if is_whole else frozenset(allowed), frozenset(denied))


def visible_columns(
    book: PolicyBook, principal: Principal, ref: TableRef, columns: Sequence[str]
) -> tuple[str, ...]:
    """Return those of a table's columns that somebody may read, in their order."""
    return tuple(filter(readable(book, principal, ref).shows, columns))


def narrow(
    book: PolicyBook,
    principal: Principal,
    ref: TableRef,
    columns: Sequence[str],
    *,
    is_base: bool = False,
) -> TableView:
    """Return what somebody who may read a table or view sees of it.

    ``columns`` are all that it has. With ``is_base`` it is read for a view, whose reader needs no
    grant on it: then grants on columns say nothing, and all other rules hold.
    """
    shown = tuple(columns) if is_base else visible_columns(book, principal, ref, columns)
    filters = tuple(each for each in book.filters_of(ref) if each.to.includes(principal))
    masks = tuple(each for each in book.masks_of(ref) if each.to.includes(principal))
    redactions = [(mask.column, mask.redaction) for mask in masks]
    labels = _labels(book, ref, columns)
    # One that nobody has described shows nobody.
    shows = None if principal.purpose is None else disclosure(principal.purpose)
    subjects: tuple[str, ...] = ()
    group_rows_min = 0
    if shows is not None:
        redactions += _of_purpose(shows, labels)
        if shows.needs_consent:
            subjects = tuple(name for name, part in labels if part is DataPart.USER_ID)
        if shows.content is Treatment.AGGREGATED:
            group_rows_min = book.group_rows_min
    spoken_of = {path[0] for path, _ in redactions} | set(subjects)
    return TableView(
        columns=tuple(ShownColumn(name, _redacted(ref, name, redactions)) for name in shown),
        conditions=tuple(sorted({each.condition for each in filters})),
        subjects=subjects,
        group_rows_min=group_rows_min,
        missing=tuple(sorted(spoken_of - set(columns))),
        filters=filters,
        masks=masks,
        labels=labels,
    )


def through(view: SafeView) -> TableView:
    """Return what an AI-safe view shows of its base, whoever asks."""
    return TableView(
        columns=tuple(
            ShownColumn(name, _redacted(view.ref, name, view.redactions, base=view.base))
            for name, _ in view.columns
        ),
        conditions=() if view.row_filter is None else (view.row_filter,),
    )


def _labels(
    book: PolicyBook, ref: TableRef, columns: Sequence[str]
) -> tuple[tuple[str, DataPart], ...]:
    """Return the columns that tell of a person: those labelled, and those of telling names."""
    found = {(label.column, label.part) for label in book.labels_of(ref)}
    for name in columns:
        # Readers of SQL write names without quotes, and mean one in other capitals too.
        if name.casefold() in _TELLING_NAMES:
            found.add((name, DataPart(name.casefold())))
    return tuple(sorted(found))


def _of_purpose(
    shown: Disclosure, labels: Iterable[tuple[str, DataPart]]
) -> list[tuple[ColumnPath, Redaction]]:
    found: list[tuple[ColumnPath, Redaction]] = []
    for column, part in labels:
        treatment = shown.of_data(part)
        if treatment is Treatment.DROPPED:
            found.append(((column,), NULLED))
        elif treatment is Treatment.NETWORK:
            found.append(((column,), Redaction(RedactionKind.GENERALISE, to=NETWORK)))
    return found


def _redacted(
    ref: TableRef,
    column: str,
    redactions: Iterable[tuple[ColumnPath, Redaction]],
    *,
    base: TableRef | None = None,
) -> tuple[tuple[ColumnPath, Redaction], ...]:
    """Return the redactions within a column, one for each path.

    Two that differ, and one within another, leave nothing: which of them shows less is for nobody
    to guess.
    """
    by_path: dict[ColumnPath, Redaction] = {}
    for path, redaction in redactions:
        if path[0] != column:
            continue
        asked = _in_domain(redaction, ref, path, base=base)
        by_path[path[1:]] = asked if by_path.get(path[1:], asked) == asked else NULLED
    found: dict[ColumnPath, Redaction] = {}
    for path in sorted(by_path, key=len):
        outer = next((each for each in found if path[: len(each)] == each), None)
        if outer is None:
            found[path] = by_path[path]
        else:
            found[outer] = NULLED
    return tuple(sorted(found.items()))


def _in_domain(
    redaction: Redaction, ref: TableRef, path: ColumnPath, *, base: TableRef | None
) -> Redaction:
    """Return it with a domain: its own, or one that no other column has.

    That of a view has the name of what it is made of in it: who puts another view in its place,
    over a table of their own, finds other hashes for the values that they wrote into that.
    """
    if redaction.kind is not RedactionKind.HASH or redaction.domain is not None:
        return redaction
    below = () if base is None else ("", base.bucket, base.schema, base.table)
    domain = "\x00".join((ref.bucket, ref.schema, ref.table, *path, *below))
    return Redaction(RedactionKind.HASH, domain=domain)
