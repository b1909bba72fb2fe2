"""The actions that keep who has agreed to what their data is used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, json_time
from flight_server.service.consents import (
    CONSENT_PURPOSES,
    PAGE_SUBJECTS,
    PAGE_SUBJECTS_MAX,
    Consent,
)
from flight_server.service.recording import Effect
from flight_server.service.request import Request


def _set(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    found = use_cases.consents.set(
        request,
        values["subject"],
        values["purposes"],
        is_given=values["given"],
        reason=values.get("reason"),
    )
    yield from map(_answer, found)


def _list(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    subject, purpose = values.get("subject"), values.get("purpose")
    if subject is not None:
        yield from map(_answer, use_cases.consents.of(request, subject, purpose))
    elif purpose is not None:
        page = use_cases.consents.page(
            request, purpose, limit=values.get("limit"), token=values.get("page_token")
        )
        yield {
            "purpose": page.purpose,
            "count": page.count,
            "consents": list(map(_answer, page.consents)),
            "next_page_token": None if page.next_after is None else str(page.next_after),
        }
    else:
        for name, count in use_cases.consents.counts(request).items():
            yield {"purpose": name, "count": count}


def _answer(consent: Consent) -> Values:
    return {
        "subject": consent.subject,
        "purpose": consent.purpose,
        "given": consent.is_given,
        "since": None if consent.since is None else json_time(consent.since),
        "actor": consent.actor,
        "reason": consent.reason,
    }


_CONSENT = '{"subject", "purpose", "given", "since", "actor", "reason"}'
_PURPOSES = ", ".join(CONSENT_PURPOSES)

CONSENT_ACTIONS: Mapping[str, Shape] = {
    "consent.set": Shape(
        "Keep that a person has agreed, or no longer agrees, to what their data is used for",
        Who.MANAGE,
        _set,
        {
            "subject": Field(str, "The person, as the columns that name people have it"),
            "purposes": Field(list, _PURPOSES, elements=str),
            "given": Field(bool, "Whether they agree"),
            "reason": Field(str, "Why, or where it is written", is_required=False),
        },
        f"for each purpose {_CONSENT}",
    ),
    "consent.list": Shape(
        "Show what a person has agreed to, or who has agreed to a purpose",
        Who.MANAGE,
        _list,
        {
            "subject": Field(str, "The person", is_required=False),
            "purpose": Field(str, _PURPOSES, is_required=False, choices=CONSENT_PURPOSES),
            "limit": Field(
                int, f"How many: {PAGE_SUBJECTS}, or up to {PAGE_SUBJECTS_MAX}", is_required=False
            ),
            "page_token": Field(str, "Where the page before ended", is_required=False),
        },
        f'with a subject for each purpose {_CONSENT}; with a purpose {{"purpose", "count",'
        ' "consents", "next_page_token"}; with neither for each purpose {"purpose", "count"}',
        effect=Effect.READ,
    ),
}
