"""A staffing agency's tables: candidates whose status changes, and what they were hired for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from flight_server.demo import draws, words
from flight_server.demo.draws import Column, pc

BATCH_ROWS: Final = 50_000
REVISIONS: Final = 2  # how often the status of some candidates was rewritten after the first load

_DAY_SECONDS: Final = 86_400
_FIRST_DAY: Final = 18_993  # 2022-01-01
_LAST_START: Final = 20_634  # 2026-06-30
_TODAY: Final = 20_697  # 2026-09-01: the day on which the sample was taken
_REVISION_DAY: Final = (20_270, 20_423, 20_634)  # 2025-07-01, 2025-12-01, 2026-06-30

_VERTICALS: Final = tuple(words.SKILLS)
_SKILL_SETS: Final = {
    vertical: [", ".join(some) for size in (2, 3, 4) for some in itertools.combinations(all_, size)]
    for vertical, all_ in words.SKILLS.items()
}
_CLIENTS: Final = tuple(
    f"{stem} {kind}" for stem in words.CLIENT_STEMS for kind in words.CLIENT_KINDS
)

_CANDIDATES: Final[list[tuple[str, pa.DataType]]] = [
    ("candidate_id", pa.string()),
    ("first_name", pa.string()),
    ("last_name", pa.string()),
    ("email", pa.string()),
    ("phone", pa.string()),
    ("city", pa.string()),
    ("state", pa.string()),
    ("vertical", pa.string()),
    ("skills", pa.string()),
    ("years_experience", pa.int32()),
    ("status", pa.string()),
    ("desired_salary", pa.decimal128(10, 2)),
    ("available_from", pa.date32()),
    ("created_at", pa.timestamp("us", "UTC")),
    ("updated_at", pa.timestamp("us", "UTC")),
]
_PLACEMENTS: Final[list[tuple[str, pa.DataType]]] = [
    ("placement_id", pa.string()),
    ("candidate_id", pa.string()),
    ("client", pa.string()),
    ("role_title", pa.string()),
    ("vertical", pa.string()),
    ("city", pa.string()),
    ("state", pa.string()),
    ("start_date", pa.date32()),
    ("end_date", pa.date32()),
    ("status", pa.string()),
    ("hours_per_week", pa.int32()),
    ("bill_rate", pa.decimal128(8, 2)),
    ("pay_rate", pa.decimal128(8, 2)),
    ("recruiter", pa.string()),
    ("created_at", pa.timestamp("us", "UTC")),
]
CANDIDATES: Final = pa.schema(_CANDIDATES)
PLACEMENTS: Final = pa.schema(_PLACEMENTS)


def candidates(start: int, stop: int, *, revision: int) -> pa.RecordBatchReader:
    """Return candidates ``start`` to ``stop - 1`` as they stood after ``revision`` rewrites."""
    batches = (_candidates(number, revision) for number in _slices(start, stop))
    return pa.RecordBatchReader.from_batches(CANDIDATES, batches)


def placements(start: int, stop: int, *, candidate_count: int) -> pa.RecordBatchReader:
    """Return placements ``start`` to ``stop - 1``, each of one of the first candidates."""
    batches = (_placements(number, candidate_count) for number in _slices(start, stop))
    return pa.RecordBatchReader.from_batches(PLACEMENTS, batches)


def clients() -> pa.Table:
    """Return the agency's clients: client utf8, industry utf8, customer_since date32."""
    number = draws.rows(0, len(_CLIENTS))
    since = draws.day(draws.between("clients.since", number, 12_000, _FIRST_DAY))
    industry = draws.pick("clients.industry", number, _VERTICALS)
    return pa.table({"client": pa.array(_CLIENTS), "industry": industry, "customer_since": since})


def cities() -> pa.Table:
    """Return the offices: city utf8, state utf8, recruiters int32, opened_on date32."""
    number = draws.rows(0, len(words.CITIES))
    names, states = zip(*words.CITIES, strict=True)
    return pa.table(
        {
            "city": pa.array(names),
            "state": pa.array(states),
            "recruiters": draws.between("cities.recruiters", number, 2, 40).cast(pa.int32()),
            "opened_on": draws.day(draws.between("cities.opened", number, 9_000, _FIRST_DAY)),
        }
    )


def targets(year: int) -> pa.Table:
    """Return one year's targets: year int32, month int32, vertical utf8, placements int32."""
    cells = [(month, vertical) for month in range(1, 13) for vertical in _VERTICALS]
    number = draws.rows(0, len(cells))
    return pa.table(
        {
            "year": pa.array([year] * len(cells), pa.int32()),
            "month": pa.array([month for month, _ in cells], pa.int32()),
            "vertical": pa.array([vertical for _, vertical in cells]),
            "placements": draws.between(f"targets.{year}", number, 900, 4_200).cast(pa.int32()),
        }
    )


def _slices(start: int, stop: int) -> Iterator[Column]:
    for low in range(start, stop, BATCH_ROWS):
        yield draws.rows(low, min(BATCH_ROWS, stop - low))


def _candidate_id(number: Column) -> Column:
    return draws.numbered("CAND-", number, 6)


def _within(column: str, number: Column, *, group: Column, choices: dict[str, list[str]]) -> Column:
    """Pick for each row from the list that belongs to its group; all lists are equally long."""
    lists = list(choices.values())
    flat = pa.array(list(itertools.chain.from_iterable(lists)))
    size = len(lists[0])
    return flat.take(pc.add(pc.multiply(group, size), draws.below(column, number, size)))


def _home(number: Column) -> tuple[Column, Column]:
    at = draws.below("candidates.city", number, len(words.CITIES))
    names, states = zip(*words.CITIES, strict=True)
    return pa.array(names).take(at), pa.array(states).take(at)


def _group(number: Column) -> Column:
    return draws.below("candidates.vertical", number, len(_VERTICALS))


def _status(number: Column, revision: int, created: Column) -> tuple[Column, Column]:
    """Return status and time of last change; each rewrite touches one row in eight."""
    status = draws.weighted("candidates.status", number, words.STATUSES)
    changed_at = created
    for step in range(1, revision + 1):
        touched = draws.chance(f"candidates.touched.{step}", number, 12)
        redrawn = draws.weighted(f"candidates.status.{step}", number, words.STATUSES)
        at = draws.below(f"candidates.at.{step}", number, _DAY_SECONDS)
        status = pc.if_else(touched, redrawn, status)
        changed_at = pc.if_else(touched, pc.add(at, _REVISION_DAY[step] * _DAY_SECONDS), changed_at)
    return status, changed_at


def _candidates(number: Column, revision: int) -> pa.RecordBatch:
    first = draws.pick("candidates.first_name", number, words.FIRST_NAMES)
    last = draws.pick("candidates.last_name", number, words.LAST_NAMES)
    city, state = _home(number)
    group = _group(number)
    years = draws.between("candidates.years", number, 0, 34)
    created = draws.between(
        "candidates.created", number, _FIRST_DAY * _DAY_SECONDS, _REVISION_DAY[0] * _DAY_SECONDS
    )
    status, changed_at = _status(number, revision, created)
    available = draws.day(draws.between("candidates.available", number, _TODAY, _TODAY + 120))
    columns = {
        "candidate_id": _candidate_id(number),
        "first_name": first,
        "last_name": last,
        "email": _email(number, first, last),
        "phone": _phone(number),
        "city": city,
        "state": state,
        "vertical": pa.array(_VERTICALS).take(group),
        "skills": _within("candidates.skills", number, group=group, choices=_SKILL_SETS),
        "years_experience": years.cast(pa.int32()),
        "status": status,
        "desired_salary": _salary(number, years),
        "available_from": pc.if_else(pc.equal(status, "inactive"), None, available),
        "created_at": draws.moment(created),
        "updated_at": draws.moment(changed_at),
    }
    return pa.RecordBatch.from_pydict(columns, schema=CANDIDATES)


def _email(number: Column, first: Column, last: Column) -> Column:
    """Return addresses in the domains that RFC 2606 reserves for examples."""
    domain = draws.pick("candidates.mail", number, words.MAIL_DOMAINS)
    serial = pc.add(number, 1).cast(pa.string())
    name = pc.utf8_lower(draws.joined(first, last, separator="."))
    return draws.joined(name, serial, "@", domain)


def _phone(number: Column) -> Column:
    """Return numbers from 555-0100 to 555-0199, which are kept for fiction; a few are missing."""
    area = draws.between("candidates.area", number, 201, 989).cast(pa.string())
    line = draws.between("candidates.line", number, 100, 199).cast(pa.string())
    missing = draws.chance("candidates.phone_missing", number, 4)
    return pc.if_else(missing, None, draws.joined("(", area, ") 555-0", line))


def _salary(number: Column, years: Column) -> Column:
    steps = pc.add(draws.between("candidates.salary", number, 72, 150), pc.multiply(years, 5))
    missing = draws.chance("candidates.salary_missing", number, 7)
    return pc.if_else(missing, None, draws.money(pc.multiply(steps, 50_000), 10))


def _placements(number: Column, candidate_count: int) -> pa.RecordBatch:
    who = draws.below("placements.candidate", number, candidate_count)
    group = _group(who)
    city, state = _home(who)
    start = draws.between("placements.start", number, _FIRST_DAY, _LAST_START)
    end = pc.add(start, draws.between("placements.days", number, 14, 540))
    ended = pc.less(end, _TODAY)
    early = draws.chance("placements.early", number, 14)
    bill = draws.between("placements.bill", number, 2_400, 18_500)
    share = draws.between("placements.share", number, 58, 82)
    signed = pc.subtract(start, draws.between("placements.notice", number, 1, 45))
    clock = draws.below("placements.clock", number, _DAY_SECONDS)
    columns = {
        "placement_id": draws.numbered("PLC-", number, 7),
        "candidate_id": _candidate_id(who),
        "client": draws.pick("placements.client", number, _CLIENTS),
        "role_title": _within(
            "placements.role",
            number,
            group=group,
            choices={vertical: list(roles) for vertical, roles in words.ROLES.items()},
        ),
        "vertical": pa.array(_VERTICALS).take(group),
        "city": city,
        "state": state,
        "start_date": draws.day(start),
        "end_date": pc.if_else(ended, draws.day(end), None),
        "status": pc.if_else(ended, pc.if_else(early, "ended_early", "completed"), "active"),
        "hours_per_week": pc.multiply(draws.between("placements.hours", number, 4, 10), 4).cast(
            pa.int32()
        ),
        "bill_rate": draws.money(bill, 8),
        "pay_rate": draws.money(pc.divide(pc.multiply(bill, share), 100), 8),
        "recruiter": draws.pick("placements.recruiter", number, words.FIRST_NAMES),
        "created_at": draws.moment(pc.add(pc.multiply(signed, _DAY_SECONDS), clock)),
    }
    return pa.RecordBatch.from_pydict(columns, schema=PLACEMENTS)
