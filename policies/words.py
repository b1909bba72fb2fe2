"""The rules in words that a steward reads: what each one says, and what becomes of a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.lens import ShownColumn
from policies.purposes import DataPart, Disclosure, Treatment
from policies.rules import (
    Audience,
    ColumnMask,
    ColumnPath,
    Effect,
    Grant,
    Label,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)

AS_IT_IS = "as it is"
# Between the parts of a domain that nobody chose (``lens``).
_PART_END = "\x00"


@dataclass(frozen=True, slots=True)
class Step:
    """What happens on the way to a column or, with a path, to a field within it."""

    path: ColumnPath
    redaction: Redaction


@dataclass(frozen=True, slots=True)
class Seen:
    """A column as it arrives, after all steps; none are a column as it is."""

    name: str
    steps: tuple[Step, ...] = ()

    @property
    def shown(self) -> str:
        """In a word or few: ``as it is``, ``null``, ``hash``, ``hash, then mask``, ``in part``."""
        whole = [step.redaction.kind for step in self.steps if not step.path]
        if RedactionKind.NULL in whole:
            return RedactionKind.NULL.value
        if whole:
            return ", then ".join(kind.value for kind in whole)
        return "in part" if self.steps else AS_IT_IS

    def sentence(self) -> str:
        """Return what becomes of it: ``email is shown as NULL``."""
        if self.shown == RedactionKind.NULL:
            return f"{self.name} is shown as NULL"
        if not self.steps:
            return f"{self.name} is shown as it is"
        parts = [
            f"{path_words((self.name, *step.path))} is shown {redaction_words(step.redaction)}"
            for step in self.steps
        ]
        return ", then ".join(parts)


def seen(narrowings: Iterable[Sequence[ShownColumn]], columns: Sequence[str]) -> tuple[Seen, ...]:
    """Return the columns that are left, by the columns of each narrowing from the base up.

    ``columns`` are those of the base; without any narrowing all of them are as they are.
    """
    found = {name: Seen(name) for name in columns}
    for shown in narrowings:
        found = {
            each.name: Seen(
                each.name,
                (
                    *found.get(each.name, Seen(each.name)).steps,
                    *(Step(path, redaction) for path, redaction in each.redactions),
                ),
            )
            for each in shown
        }
    return tuple(found.values())


def path_words(path: ColumnPath) -> str:
    """Return a column or a field within it: ``place.street``."""
    return ".".join(path)


def redaction_words(redaction: Redaction) -> str:
    """Return how a value is shown: ``as a keyed hash``."""
    if redaction.kind is RedactionKind.NULL:
        return "as NULL"
    if redaction.kind is RedactionKind.HASH:
        domain = redaction.domain
        is_shared = domain is not None and _PART_END not in domain
        return "as a keyed hash" + (f" shared as {domain}" if is_shared else "")
    if redaction.kind is RedactionKind.GENERALISE:
        return f"generalised to {redaction.to}"
    kept = [
        f"{side} {count}"
        for side, count in (("first", redaction.keep_prefix), ("last", redaction.keep_suffix))
        if count
    ]
    return "as stars" + (f" but for its {' and '.join(kept)} characters" if kept else "")


def audience_words(to: Audience) -> str:
    """Return whom a rule is for: ``the role agent, except the role admin``."""
    if to.user is not None:
        words = f"the user {to.user}"
    else:
        words = "everybody" if to.role is None else f"the role {to.role}"
    if to.user is not None and to.role is not None:
        words += f" with the role {to.role}"
    if to.except_roles:
        words += f", except the role {' or '.join(sorted(to.except_roles))}"
    return words


def grant_words(grant: Grant) -> str:
    """Return what a grant says: ``read on primary.public to the role agent``."""
    to = f"the user {grant.user}" if grant.user is not None else f"the role {grant.role}"
    words = f"{grant.privilege} on {'.'.join(grant.resource)}"
    if grant.columns is not None:
        words += f" (columns {', '.join(grant.columns)})"
    words += f" to {to}"
    if grant.purposes is not None:
        words += f" for {' or '.join(sorted(grant.purposes))}"
    return f"a deny of {words}" if grant.effect is Effect.DENY else words


def filter_words(rule: RowFilter) -> str:
    """Return what a row filter says."""
    return (
        f"the row filter {rule.name} on {rule.table} for {audience_words(rule.to)}:"
        f" {rule.condition}"
    )


def mask_words(rule: ColumnMask) -> str:
    """Return what a column mask says."""
    return (
        f"the mask {rule.name} on {rule.table} for {audience_words(rule.to)}:"
        f" {path_words(rule.column)} {redaction_words(rule.redaction)}"
    )


def label_words(label: Label) -> str:
    """Return what a label says."""
    return f"the label {label.part} on the column {label.column} of {label.table}"


def view_words(view: SafeView) -> str:
    """Return what a safe view shows."""
    names = ", ".join(name for name, _ in view.columns)
    words = f"the safe view {view.ref} of {view.base} with the columns {names}"
    if view.row_filter is not None:
        words += f", of rows where {view.row_filter}"
    redacted = [f"{path_words(path)} {redaction_words(each)}" for path, each in view.redactions]
    return words + (f"; {'; '.join(redacted)}" if redacted else "")


def rule_words(rule: Grant | RowFilter | ColumnMask | Label | SafeView) -> str:
    """Return what a rule of any kind says."""
    if isinstance(rule, Grant):
        return grant_words(rule)
    if isinstance(rule, RowFilter):
        return filter_words(rule)
    if isinstance(rule, ColumnMask):
        return mask_words(rule)
    return label_words(rule) if isinstance(rule, Label) else view_words(rule)


def purpose_hides(shows: Disclosure, labels: Iterable[tuple[str, DataPart]]) -> tuple[str, ...]:
    """Return what a purpose does with the columns that tell of a person, one sentence each."""
    words = {
        Treatment.DROPPED: "is shown as NULL",
        Treatment.NETWORK: "is shown as the network of the address",
        Treatment.AGGREGATED: "leaves only in figures over many rows",
    }
    return tuple(
        f"{column} ({part}) {words[treatment]}"
        for column, part in labels
        if (treatment := shows.of_data(part)) is not Treatment.KEPT
    )
