"""An explanation as JSON and in sentences: in full for whoever looks after the rules, else in part.

Neither ever has a value of a row. Those who only ask about themselves hear what becomes of columns
and that rows may be hidden, and not which conditions hide them or who made the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from flight_server.catalog.editions import Edition
from flight_server.catalog.resources import write_resource
from flight_server.catalog.rule_rows import rule_key
from flight_server.catalog.rulebook import StoredGrant
from flight_server.service.explaining import Explanation
from flight_server.sql.conditions import bound
from policies.names import Principal, TableRef
from policies.purposes import DataPart, disclosure
from policies.rules import (
    Audience,
    ColumnMask,
    Effect,
    Grant,
    Redaction,
    RowFilter,
    SafeView,
)
from policies.words import Seen, grant_words, path_words, purpose_hides, seen

JSON = dict[str, Any]
_IN_SETTINGS = "in the settings"


def as_json(found: Explanation, *, is_full: bool) -> JSON:
    """Return an explanation as plain data; ``is_full`` with the rules and who made them."""
    principal = found.principal
    columns = seen_columns(found)
    answer: JSON = {
        "user": found.username,
        "table": str(found.asked.table),
        "at": None if found.at is None else _time(found.at),
        "policy_version": found.edition.version,
        "allowed": is_shown(found),
        "reason": _reason(found, is_full=is_full),
        "columns": [_column(each) for each in columns],
        "rows_filtered": rows_are_filtered(found),
        "purpose": _purpose(found),
        "consent": _consent(found, is_full=is_full),
        "group_rows_min": found.group_rows_min,
    }
    if is_full:
        answer |= {
            "user_id": None if principal is None else principal.user_id,
            "role": None if principal is None else principal.role.value,
            "custom_roles": [] if principal is None else sorted(principal.custom_roles),
            "attributes": {} if principal is None else dict(principal.attributes),
            "grants": []
            if principal is None
            else [_grant(grant, principal, stored) for grant, stored in _about(found, principal)],
            "filters": [] if principal is None else [*_filters(found, principal)],
            "masks": [
                _mask(found.edition, mask) for _, view in found.layers for mask in view.masks
            ],
            "labels": [
                _label(found.edition, ref, column, part)
                for ref, view in found.layers
                for column, part in view.labels
            ],
            "views": [_view(found.edition, view) for view in found.views],
            "columns_hidden": _columns_hidden(found, columns),
            "tombstones": None
            if found.tombstones is None
            else {"hiding": found.tombstones.hiding, "compacted": found.tombstones.compacted},
            "settings_are_known": found.edition.settings_are_known,
        }
    answer["summary"] = [*_summary(found, columns, is_full=is_full)]
    return answer


def is_shown(found: Explanation) -> bool:
    """Whether a query would have answered at all."""
    return found.decision.allowed and found.trouble is None


def _reason(found: Explanation, *, is_full: bool) -> str:
    if not found.decision.allowed or found.trouble is None:
        return found.decision.reason
    # What lies below a view is not for everybody to know.
    return found.trouble if is_full else "its rules do not fit what it is made of now"


def seen_columns(found: Explanation) -> tuple[Seen, ...]:
    """Return the columns that a query would have had, and what becomes of each; none if refused."""
    if not is_shown(found) or found.columns is None:
        return ()
    return seen((each.columns for each in found.narrowings), found.columns)


def rows_are_filtered(found: Explanation) -> bool:
    """Whether a condition or a consent hides rows."""
    return any(each.conditions or each.keys for each in found.narrowings)


def _column(each: Seen) -> JSON:
    answer: JSON = {"name": each.name, "shown": each.shown}
    if each.steps:
        answer["redactions"] = [
            {"path": list(step.path), **_redaction(step.redaction)} for step in each.steps
        ]
    return answer


def _redaction(redaction: Redaction) -> JSON:
    answer: JSON = {"kind": redaction.kind.value}
    if redaction.keep_prefix or redaction.keep_suffix:
        answer |= {"keep_prefix": redaction.keep_prefix, "keep_suffix": redaction.keep_suffix}
    if redaction.domain is not None and "\x00" not in redaction.domain:
        answer["domain"] = redaction.domain
    return answer if redaction.to is None else {**answer, "to": redaction.to}


def _purpose(found: Explanation) -> JSON | None:
    purpose = found.asked.purpose
    if purpose is None:
        return None
    labels = sorted({label for _, view in found.layers for label in view.labels})
    shows = disclosure(purpose)
    visible = {each.name for each in seen_columns(found)}
    told = [label for label in labels if label[0] in visible]
    return {"name": purpose, "why": shows.reason, "hides": [*purpose_hides(shows, told)]}


def _consent(found: Explanation, *, is_full: bool) -> JSON | None:
    subjects = sorted({name for _, view in found.layers for name in view.subjects})
    if not subjects:
        return None
    if is_full:
        return {"purpose": found.asked.purpose, "columns": subjects, "people": found.agreed}
    visible = {each.name for each in seen_columns(found)}
    told = [name for name in subjects if name in visible]
    return {"purpose": found.asked.purpose, "columns": told}


def _about(found: Explanation, principal: Principal) -> Iterator[tuple[Grant, StoredGrant | None]]:
    """Return the grants that speak of somebody and the table, whether or not they hold."""
    for grant, stored in found.edition.granted:
        is_about = grant.privilege in found.rights and grant.covers(found.named)
        if is_about and grant.is_for(principal):
            yield grant, stored


def _grant(grant: Grant, principal: Principal, stored: StoredGrant | None) -> JSON:
    return {
        "grant_id": None if stored is None else stored.grant_id,
        "effect": grant.effect.value,
        "privilege": grant.privilege.value,
        "resource": write_resource(grant.resource),
        "to": {"user": grant.user} if grant.user is not None else {"role": grant.role},
        "columns": None if grant.columns is None else list(grant.columns),
        "purposes": None if grant.purposes is None else sorted(grant.purposes),
        "holds": grant.holds(principal),
        "created_at": None if stored is None else _time(stored.created_at),
        "created_by": None if stored is None else stored.created_by,
    }


def _filters(found: Explanation, principal: Principal) -> Iterator[JSON]:
    rows = found.edition.rows["f"]
    for rule in _filter_rules(found):
        yield {
            "name": rule.name,
            "table": str(rule.table),
            "to": audience_json(rule.to),
            "condition": rule.condition,
            "bound": bound(rule.condition, principal),
            **_made(rows.get(rule_key(rule.table, rule.name))),
        }


def _filter_rules(found: Explanation) -> Iterator[RowFilter]:
    for _, view in found.layers:
        yield from view.filters


def _mask(edition: Edition, mask: ColumnMask) -> JSON:
    return {
        "name": mask.name,
        "table": str(mask.table),
        "column": path_words(mask.column),
        "redaction": _redaction(mask.redaction),
        "to": audience_json(mask.to),
        **_made(edition.rows["m"].get(rule_key(mask.table, mask.name))),
    }


def _label(edition: Edition, ref: TableRef, column: str, part: DataPart) -> JSON:
    row = edition.rows["l"].get(rule_key(ref, column, part.value))
    return {
        "table": str(ref),
        "column": column,
        "part": part.value,
        "by_name": row is None,
        **_made(row),
    }


def _view(edition: Edition, view: SafeView) -> JSON:
    return {
        "view": str(view.ref),
        "base": str(view.base),
        "columns": [name for name, _ in view.columns],
        "row_filter": view.row_filter,
        "redactions": [
            {"column": path_words(path), **_redaction(each)} for path, each in view.redactions
        ],
        "description": view.description,
        "tags": list(view.tags),
        **_made(edition.rows["v"].get(rule_key(view.ref))),
    }


def _columns_hidden(found: Explanation, columns: Iterable[Seen]) -> list[str] | None:
    """Return what the table has and somebody does not see; None when that is not known."""
    if found.columns is None:
        return None
    shown = {each.name for each in columns}
    return [name for name in found.columns if name not in shown]


def audience_json(to: Audience) -> JSON:
    """Return whom a rule is for as plain data; nobody named is everybody."""
    answer: JSON = {}
    if to.user is not None:
        answer["user"] = to.user
    if to.role is not None:
        answer["role"] = to.role
    if to.except_roles:
        answer["except_roles"] = sorted(to.except_roles)
    return answer


def _made(row: Mapping[str, Any] | None) -> JSON:
    if row is None:
        return {"created_at": None, "created_by": None}
    return {"created_at": _time(row["created_at"]), "created_by": row["created_by"]}


def _summary(found: Explanation, columns: tuple[Seen, ...], *, is_full: bool) -> Iterator[str]:
    verb = "could read" if found.at is not None else "may read"
    if is_shown(found):
        yield f"{found.username} {verb} {found.asked.table}: {_why(found, is_full=is_full)}."
    else:
        never = "could not read" if found.at is not None else "may not read"
        yield f"{found.username} {never} {found.asked.table}: {_reason(found, is_full=is_full)}."
        if is_full and found.principal is not None and not found.decision.allowed:
            yield from _denies(found, found.principal)
        return
    if is_full:
        yield from _of_views(found)
        yield from _of_rows(found)
    elif rows_are_filtered(found) or found.views:
        yield "Rules decide which of its rows are shown."
    yield from _of_columns(found, columns, is_full=is_full)
    yield from _of_purpose(found)
    if is_full:
        yield from (f"{note[0].upper()}{note[1:]}." for note in found.notes)
        if found.at is not None and not found.edition.settings_are_known:
            yield (
                "Grants of the settings have no history: those of today were taken for those of"
                " that time."
            )


def _why(found: Explanation, *, is_full: bool) -> str:
    if not is_full or found.principal is None:
        return found.decision.reason
    principal = found.principal
    allowing = [
        _granted(grant, stored)
        for grant, stored in _about(found, principal)
        if grant.effect is Effect.ALLOW and grant.holds(principal)
    ]
    if not allowing or principal.is_admin:
        return found.decision.reason
    return "; ".join(allowing)


def _granted(grant: Grant, stored: StoredGrant | None) -> str:
    if stored is None:
        return f"{grant_words(grant)} is granted {_IN_SETTINGS}"
    verb = "is granted" if grant.effect is Effect.ALLOW else "holds"
    by = _by({"created_at": _time(stored.created_at), "created_by": stored.created_by})
    return f"{grant_words(grant)} {verb} (grant {stored.grant_id}, {by})"


def _by(made: JSON) -> str:
    who = "the command line" if made["created_by"] is None else made["created_by"]
    return f"by {who}, {str(made['created_at'])[:10]}"


def _denies(found: Explanation, principal: Principal) -> Iterator[str]:
    for grant, stored in _about(found, principal):
        if grant.effect is Effect.DENY and grant.holds(principal):
            words = _granted(grant, stored)
            yield f"{words[0].upper()}{words[1:]}."


def _of_views(found: Explanation) -> Iterator[str]:
    for view in found.views:
        made = _made(found.edition.rows["v"].get(rule_key(view.ref)))
        yield (
            f"{view.ref} is a safe view of {view.base} ({_by(made)}) that shows"
            f" {len(view.columns)} of its columns."
        )


def _of_rows(found: Explanation) -> Iterator[str]:
    conditions = [condition for each in found.narrowings for condition in each.conditions]
    if conditions:
        names = [f"filter {rule.name}" for rule in _filter_rules(found)]
        names += [f"view {view.ref}" for view in found.views if view.row_filter is not None]
        yield f"Rows: only where {' and '.join(f'({c})' for c in conditions)} ({', '.join(names)})."
    if found.tombstones is not None and found.tombstones.hiding:
        count = found.tombstones.hiding
        keys, verb = ("key", "hides") if count == 1 else ("keys", "hide")
        yield f"{count} tombstoned {keys} {verb} rows."
    if found.tombstones is not None and found.tombstones.compacted:
        yield f"The rows of {found.tombstones.compacted} more keys were removed for good."


def _of_columns(found: Explanation, columns: tuple[Seen, ...], *, is_full: bool) -> Iterator[str]:
    redacted = [each for each in columns if each.steps]
    plain = len(columns) - len(redacted)
    yield f"{plain} of {len(columns)} columns are shown as they are."
    yield from (f"{each.sentence()}." for each in redacted)
    hidden = _columns_hidden(found, columns) if is_full else None
    if hidden:
        yield f"Not shown: {', '.join(hidden)}."


def _of_purpose(found: Explanation) -> Iterator[str]:
    purpose, consent = _purpose(found), _consent(found, is_full=False)
    if purpose is not None:
        yield f"The purpose is {purpose['name']}: {purpose['why']}."
        yield from (f"For it, {each}." for each in purpose["hides"])
    if consent is not None:
        yield f"Only rows of people who have agreed to {consent['purpose']}."
    if found.group_rows_min:
        yield f"Only figures over at least {found.group_rows_min} rows leave."


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
