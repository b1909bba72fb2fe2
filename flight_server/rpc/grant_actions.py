"""The actions that say who may do what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flight_server import errors
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, checked, json_time
from flight_server.service.grants import Shown, Wording
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from policies.names import Privilege
from policies.rules import Effect as GrantEffect

_TO: Mapping[str, Field] = {
    "user": Field(str, "The name of a user", is_required=False),
    "role": Field(str, "A base or custom role", is_required=False),
}
_TO_USAGE = '{"user"} or {"role"}'
_PRIVILEGES = tuple(Privilege)
_EFFECTS = tuple(GrantEffect)


def _to(name: str, values: Values) -> dict[str, str]:
    """Return the grantee, which is exactly one user or one role."""
    to: dict[str, Any] = checked(f"'to' of {name}", values.get("to", {}), _TO, usage=_TO_USAGE)
    if len(to) != 1:
        raise errors.InvalidRequest(f"'to' of {name} is {_TO_USAGE}")
    return to


def _wording(name: str, values: Values) -> Wording:
    columns, purposes = values.get("columns"), values.get("purposes")
    return Wording(
        values["privilege"],
        values["resource"],
        effect=values.get("effect", GrantEffect.ALLOW.value),
        columns=None if columns is None else tuple(columns),
        purposes=None if purposes is None else tuple(purposes),
        **_to(name, values),
    )


def _add(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    wording = _wording("grant.add", values)
    grant, is_new = use_cases.grants.add(wording, created_by=request.principal.username)
    yield {**_answer(grant), "added": is_new}


def _remove(use_cases: UseCases, _: Request, values: Values) -> Iterator[Values]:
    if "grant_id" in values:
        if len(values) > 1:
            raise errors.InvalidRequest("grant.remove takes grant_id alone, or what the grant says")
        yield _answer(use_cases.grants.remove(values["grant_id"]))
        return
    missing = [name for name in ("privilege", "resource", "to") if name not in values]
    if missing:
        raise errors.InvalidRequest(
            f"grant.remove needs grant_id, or what the grant says; {missing[0]} is missing"
        )
    yield _answer(use_cases.grants.remove(_wording("grant.remove", values)))


def _list(use_cases: UseCases, _: Request, values: Values) -> Iterator[Values]:
    found = use_cases.grants.list(
        user=values.get("user"), role=values.get("role"), resource=values.get("resource")
    )
    yield from map(_answer, found)


def _answer(grant: Shown) -> Values:
    return {
        "grant_id": grant.grant_id,
        "privilege": grant.privilege,
        "resource": grant.resource,
        "to": {"user": grant.user} if grant.user is not None else {"role": grant.role},
        "effect": grant.effect,
        "columns": None if grant.columns is None else list(grant.columns),
        "purposes": None if grant.purposes is None else list(grant.purposes),
        "created_at": None if grant.created_at is None else json_time(grant.created_at),
        "created_by": grant.created_by,
    }


_ANSWER = (
    '"grant_id", "privilege", "resource", "to", "effect", "columns", "purposes", "created_at",'
    ' "created_by"'
)
_LIMITS: Mapping[str, Field] = {
    "columns": Field(
        list, "Some columns of one table or view, for read", is_required=False, elements=str
    ),
    "purposes": Field(list, "Purposes that a session must state", is_required=False, elements=str),
}

GRANT_ACTIONS: Mapping[str, Shape] = {
    "grant.add": Shape(
        "Allow or deny a privilege on a bucket, a schema, a table or a view",
        Who.ADMIN,
        _add,
        {
            "privilege": Field(str, "What is allowed or denied", choices=_PRIVILEGES),
            "resource": Field(str, "A bucket, a schema or a table, as in SQL"),
            "to": Field(dict, "The user or the role"),
            "effect": Field(str, "Whether it is allowed", is_required=False, choices=_EFFECTS),
            **_LIMITS,
        },
        "{" + _ANSWER + ', "added"}',
    ),
    "grant.remove": Shape(
        "Remove a grant, named by its id or by what it says",
        Who.ADMIN,
        _remove,
        {
            "grant_id": Field(str, "The grant, as grant.list names it", is_required=False),
            "privilege": Field(str, "As given", is_required=False, choices=_PRIVILEGES),
            "resource": Field(str, "As given", is_required=False),
            "to": Field(dict, "As given", is_required=False),
            "effect": Field(str, "As given", is_required=False, choices=_EFFECTS),
            **_LIMITS,
        },
        "{" + _ANSWER + "}",
    ),
    "grant.list": Shape(
        "List the grants that hold; those of the settings have no id",
        Who.ADMIN,
        _list,
        {
            "user": Field(str, "Only those to this user", is_required=False),
            "role": Field(str, "Only those to this role", is_required=False),
            "resource": Field(str, "Only those that concern this resource", is_required=False),
        },
        "for each {" + _ANSWER + "}",
        effect=Effect.READ,
    ),
}
