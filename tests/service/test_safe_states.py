"""States of AI-safe views: pinned, renewed under the view of the moment, and closed when unfit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.catalog.safe_views import SafeViews
from flight_server.engine.base import FileScan, GovernedScan, files_of
from flight_server.errors import (
    Conflict,
    InvalidRequest,
    LakeflightError,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from flight_server.service.narrowing import VIEW_BROKEN
from flight_server.sql.names import AsOf
from policies.names import Principal, Privilege, Role, TableRef
from policies.rules import Grant, Redaction, RedactionKind, SafeView
from tests.service.ruled import RuledLake

BASE, REF, ABOVE = (TableRef("primary", "s", name) for name in ("people", "safe", "above"))
AGENT = Principal("2", "robot", Role.REGISTERED, frozenset({"agent"}))
STEWARD = Principal("3", "steward", Role.REGISTERED, frozenset({"steward"}))
GUEST = Principal("4", "gus", Role.GUEST, frozenset({"agent"}))
VIEW = SafeView(
    REF,
    BASE,
    (("name", "string"), ("id", "int64")),
    row_filter="id > 1",
    redactions=((("name",), Redaction(RedactionKind.MASK)),),
)
PEOPLE = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", "c"]})


def read(view: TableRef, role: str) -> Grant:
    return Grant(Privilege.READ, (view.bucket, view.schema, view.table), role=role)


class Lake(RuledLake):
    """A table, and views of it."""

    def __init__(self, root: Path) -> None:
        grants = [read(each, "agent") for each in (REF, ABOVE)]
        grants += [read(REF, "steward"), replace(read(BASE, "steward"), privilege=Privilege.MANAGE)]
        super().__init__(root, *grants)
        self.table(BASE, PEOPLE)
        assert self.rules.narrowing is not None
        self.views = SafeViews(self.rules.narrowing.views)
        self.put_view(VIEW)

    def put_view(self, view: SafeView) -> None:
        schema = pa.schema([])
        self.views.put(view, schema, created_by=None, check=lambda: None, check_new=lambda: None)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def failure(call: Callable[[], object]) -> LakeflightError:
    with pytest.raises(LakeflightError) as raised:
        call()
    return raised.value


def test_a_view_opens_for_whoever_may_read_it_and_its_base_does_not(lake: Lake) -> None:
    tables = lake.governed.tables
    opened = tables.open(REF, AGENT, as_of=None, pin=None)
    assert isinstance(opened.scan, GovernedScan)
    assert isinstance(files_of(opened.scan), FileScan)
    assert [each.conditions for each in opened.scan.narrowings] == [(), ("id > 1",)]
    assert [each.name for each in opened.scan.narrowings[-1].columns] == ["name", "id"]
    assert (opened.pin.ref, opened.pin.version) == (REF, 0)
    assert opened.pin == tables.pin(REF, AGENT, as_of=None) == tables.renewed(opened.pin, AGENT)
    assert isinstance(failure(lambda: tables.open(BASE, AGENT, as_of=None, pin=None)), NotFound)
    assert isinstance(
        failure(lambda: tables.open(REF, GUEST, as_of=None, pin=None)), PermissionDenied
    )
    assert isinstance(failure(lambda: tables.files(opened.pin, STEWARD)), PermissionDenied)
    admin = Principal("1", "root", Role.ADMIN)
    assert isinstance(failure(lambda: tables.files(opened.pin, admin)), Unsupported)


def test_a_pin_keeps_the_state_and_not_what_the_view_shows(lake: Lake) -> None:
    tables = lake.governed.tables
    first = tables.pin(REF, AGENT, as_of=None)
    lake.table(BASE, PEOPLE)
    assert tables.pin(REF, AGENT, as_of=None).version == 1
    assert tables.renewed(first, AGENT) == first
    assert tables.pin(REF, AGENT, as_of=AsOf(version=0)) == replace(first, as_of=AsOf(version=0))
    lake.put_view(replace(VIEW, row_filter="id > 2"))
    renewed = tables.renewed(first, AGENT)
    assert renewed == replace(first, policy=renewed.policy)
    assert renewed.policy != first.policy
    assert tables.open(REF, AGENT, as_of=None, pin=first).pin == renewed
    lake.put_view(replace(VIEW, columns=(("id", "int64"),), redactions=()))
    assert isinstance(failure(lambda: tables.renewed(first, AGENT)), Conflict)
    error = failure(lambda: tables.pin(REF, AGENT, as_of=AsOf(version=7)))
    assert error.code == "version_not_found"
    assert str(BASE) not in error.message


def test_views_over_views_narrow_from_the_base_up(lake: Lake) -> None:
    above = SafeView(ABOVE, REF, (("id", "int64"),), row_filter="name = '********'")
    lake.put_view(above)
    tables = lake.governed.tables
    first = tables.open(ABOVE, AGENT, as_of=None, pin=None)
    assert isinstance(first.scan, GovernedScan)
    conditions = [each.conditions for each in first.scan.narrowings]
    assert conditions == [(), ("id > 1",), ("name = '********'",)]
    lake.put_view(replace(VIEW, row_filter=None))
    assert tables.renewed(first.pin, AGENT).policy != first.pin.policy
    lake.put_view(replace(VIEW, columns=(("name", "string"),)))
    error = failure(lambda: tables.open(ABOVE, AGENT, as_of=None, pin=None))
    assert isinstance(error, InvalidRequest)
    assert error.code == VIEW_BROKEN
    assert str(REF) not in error.message


@pytest.mark.parametrize("who", [AGENT, STEWARD])
def test_a_view_that_does_not_fit_shows_nothing(lake: Lake, who: Principal) -> None:
    tables = lake.governed.tables
    lake.put_view(replace(VIEW, columns=(("name", "string"), ("id", "int32"))))
    error = failure(lambda: tables.open(REF, who, as_of=None, pin=None))
    assert error.code == VIEW_BROKEN
    lake.put_view(replace(VIEW, base=TableRef("primary", "s", "gone")))
    error = failure(lambda: tables.open(REF, who, as_of=None, pin=None))
    assert error.code == VIEW_BROKEN
    assert "gone" not in error.message
    lake.put_view(VIEW)
    (lake.root / "s/people").rename(lake.root / "s/others")
    error = failure(lambda: tables.open(REF, who, as_of=None, pin=None))
    assert error.code == VIEW_BROKEN
    assert (str(BASE) in error.message) is (who is STEWARD)
