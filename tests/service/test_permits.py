"""What may be changed by whom, and which error everybody else sees."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.catalog.registry import Registry
from flight_server.catalog.views import Views
from flight_server.engine.base import Description, Pin
from flight_server.errors import (
    AlreadyExists,
    InvalidRequest,
    LakeflightError,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from flight_server.service.permits import Permits, check_new_name
from flight_server.sql.commands import CreateView, DropView, IfThere
from flight_server.storage.locations import locate_all
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import VIEWS
from policies.book import PolicyBook
from policies.names import Privilege, TableRef
from policies.rules import Effect, Grant
from tests import tables as zoo
from tests.service.opened import ADMIN, BOB, PENDING, Lakehouse

COLUMNS = zoo.schema(id=pa.int64())
VIEW = CreateView(TableRef("primary", "s", "v"), "SELECT id FROM a")
DEFAULTS = TableRef("primary", "s", "")


class Permitted(Lakehouse):
    """A lakehouse with tables, views, and what may be done to them."""

    def __init__(self, root: Path) -> None:
        zoo.plain(root / "p/s/a")
        zoo.plain(root / "p/above")
        pq.write_table(pa.table({"x": [1]}), root / "p/s/file.parquet")
        zoo.plain(root / "p/side/s/t")
        (root / "p/fresh").mkdir()
        (root / "p/fresh/_schema").touch()
        buckets = {"primary": root / "p", "side": root / "p/side", "system": root / "system"}
        super().__init__(buckets)
        table = SystemTable(root / "system", VIEWS, clock=self.clock, random_bytes=os.urandom)
        self.views = Views(table, self.clock)
        registry = Registry(locate_all(buckets), self.views)
        self.permits = Permits(self.browser, registry, self.views, book=lambda: self.book)

    def grant(self, privilege: Privilege, *resource: str, deny: bool = False) -> None:
        effect = Effect.DENY if deny else Effect.ALLOW
        rule = Grant(privilege, resource, user="bob", effect=effect)
        self.book = PolicyBook(self.book.version + "+", (*self.book.grants, rule))

    def create_view(self, command: CreateView = VIEW, *pins: Pin) -> bool:
        described = Description(COLUMNS, pins)
        return self.permits.create_view(BOB, command, described, names=DEFAULTS)


@pytest.fixture
def lake(tmp_path: Path) -> Permitted:
    return Permitted(tmp_path)


def ref(text: str) -> TableRef:
    return TableRef(*text.split("."))


def told(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except LakeflightError as error:
        return f"{type(error).__name__} {error.code}"


READ, WRITE = Privilege.READ, Privilege.WRITE
HERE = ("primary",)


@pytest.mark.parametrize(
    ("grants", "name", "outcome"),
    [
        ([WRITE], "primary.s.a", "primary.s.a"),
        ([READ, WRITE], "primary.s.a", "primary.s.a"),
        ([READ], "primary.s.a", "PermissionDenied permission_denied"),
        ([], "primary.s.a", "NotFound bucket_not_found"),
        ([WRITE], "primary.s.gone", "NotFound table_not_found"),
        ([READ], "primary.s.gone", "NotFound table_not_found"),
        ([WRITE], "side.s.t", "NotFound bucket_not_found"),
        ([WRITE], "nowhere.s.t", "NotFound bucket_not_found"),
        ([WRITE], "primary.s.file", "Unsupported unsupported"),
        ([READ], "primary.s.file", "PermissionDenied permission_denied"),
        ([WRITE], "primary.s.v", "Unsupported unsupported"),
        ([WRITE], "primary.information_schema.tables", "PermissionDenied permission_denied"),
        ([], "primary.information_schema.tables", "NotFound bucket_not_found"),
        ([WRITE], "system.catalog.views", "PermissionDenied permission_denied"),
        ([WRITE], "system.no.table", "PermissionDenied permission_denied"),
        ([Privilege.MANAGE], "primary.s.a", "NotFound bucket_not_found"),
    ],
)
def test_targets_of_writes(
    lake: Permitted, grants: list[Privilege], name: str, outcome: str
) -> None:
    lake.grant(WRITE, *HERE)
    lake.create_view()
    lake.book = PolicyBook("0")
    for privilege in grants:
        lake.grant(privilege, *HERE)
    assert told(lambda: str(lake.permits.find_for_write(BOB, ref(name)).ref)) == outcome


def test_a_deny_of_writing_leaves_reading(lake: Permitted) -> None:
    for privilege in (READ, WRITE):
        lake.grant(privilege, *HERE)
    lake.grant(WRITE, "primary", "s", deny=True)
    with pytest.raises(PermissionDenied):
        lake.permits.find_for_write(BOB, ref("primary.s.a"))


def test_nobody_writes_the_servers_own(lake: Permitted) -> None:
    lake.grant(WRITE, *HERE)
    lake.create_view()
    for name in ("system.catalog.views", "primary.information_schema.tables"):
        with pytest.raises(PermissionDenied):
            lake.permits.find_for_write(ADMIN, ref(name))
        with pytest.raises(PermissionDenied):
            lake.permits.may_create(ADMIN, ref(name))
    with pytest.raises(NotFound):
        lake.permits.find_for_write(PENDING, ref("primary.s.a"))
    for bucket, schema in (("system", "new"), ("primary", "information_schema")):
        with pytest.raises(PermissionDenied):
            lake.permits.may_create_schema(ADMIN, bucket, schema)
        with pytest.raises(PermissionDenied):
            lake.permits.may_drop_schema(ADMIN, bucket, schema)


@pytest.mark.parametrize(
    ("grants", "name", "outcome"),
    [
        ([HERE], "primary.s.new", "ok"),
        ([HERE], "primary.fresh.new", "ok"),
        ([HERE], "primary.public.new", "ok"),
        ([("primary", "s", "new")], "primary.s.new", "ok"),
        ([("primary", "s")], "primary.fresh.new", "PermissionDenied permission_denied"),
        ([("primary", "s", "a")], "primary.s.new", "PermissionDenied permission_denied"),
        ([], "primary.s.new", "NotFound bucket_not_found"),
        ([HERE], "side.s.new", "NotFound bucket_not_found"),
        ([HERE], "system.s.new", "NotFound bucket_not_found"),
        ([HERE], "primary.gone.new", "NotFound schema_not_found"),
        ([HERE], "primary.side.new", "NotFound schema_not_found"),
        ([HERE], "primary.public.side", "ok"),
        ([HERE], "primary.s._new", "InvalidRequest invalid_name"),
        ([HERE], "primary.s.a/b", "InvalidRequest invalid_name"),
    ],
)
def test_places_of_new_tables(
    lake: Permitted, tmp_path: Path, grants: list[tuple[str, ...]], name: str, outcome: str
) -> None:
    for resource in grants:
        lake.grant(WRITE, *resource)
    root = (tmp_path / "p").resolve()
    place = told(lambda: str(lake.permits.may_create(BOB, ref(name)).relative_to(root)))
    assert place == (
        name.removeprefix("primary.").replace(".", "/") if outcome == "ok" else outcome
    )


def test_taken_names(lake: Permitted) -> None:
    lake.grant(WRITE, *HERE)
    lake.create_view()
    for name in ("primary.s.a", "primary.s.file", "primary.public.above", "primary.s.v"):
        assert lake.permits.is_taken(ref(name))
    assert not lake.permits.is_taken(ref("primary.s.new"))


@pytest.mark.parametrize(
    "name",
    ["", "_x", ".x", "a/b", "a\\b", "..", "a..b", "a%20b", "x=1", "a\nb", "é" * 128, "t@v5",
     "t@2026-02-01", "t@2026-99", "t@history", "a\0b", "\ud800"],
)  # fmt: skip
def test_names_that_nothing_new_may_have(name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_new_name(name, "table")
    assert raised.value.code == "invalid_name"


@pytest.mark.parametrize("name", ["t", "Big Name", "é ☃", "100%", "a.b", "v@x", "a-b", "1"])
def test_names_that_something_new_may_have(name: str) -> None:
    check_new_name(name, "table")


def test_schemas_are_made_and_dropped_by_those_who_may_write_all_of_them(
    lake: Permitted, tmp_path: Path
) -> None:
    permits, root = lake.permits, (tmp_path / "p").resolve()
    with pytest.raises(NotFound) as missing:
        permits.may_create_schema(BOB, "primary", "new")
    assert missing.value.code == "bucket_not_found"
    lake.grant(WRITE, "primary", "fresh", "t")
    with pytest.raises(PermissionDenied):
        permits.may_create_schema(BOB, "primary", "new")
    with pytest.raises(PermissionDenied):
        permits.may_drop_schema(BOB, "primary", "fresh")
    lake.grant(WRITE, "primary", "new")
    assert permits.may_create_schema(BOB, "primary", "new") == root / "new"
    lake.grant(WRITE, *HERE)
    assert permits.may_drop_schema(BOB, "primary", "fresh") == root / "fresh"
    for schema, code in (("gone", "schema_not_found"), ("side", "schema_not_found")):
        with pytest.raises(NotFound) as missing:
            permits.may_drop_schema(BOB, "primary", schema)
        assert missing.value.code == code
    for schema in ("_x", "side", "a/b"):
        with pytest.raises(InvalidRequest):
            permits.may_create_schema(BOB, "primary", schema)
    with pytest.raises(AlreadyExists):
        permits.may_create_schema(BOB, "primary", "above")
    with pytest.raises(InvalidRequest):
        permits.may_drop_schema(BOB, "primary", "public")


def test_views_are_made_and_dropped_by_those_who_may_write(lake: Permitted) -> None:
    drop = DropView(VIEW.target)
    with pytest.raises(NotFound):
        lake.create_view()
    lake.grant(READ, *HERE)
    with pytest.raises(PermissionDenied):
        lake.create_view()
    lake.grant(WRITE, *HERE)
    assert lake.create_view()
    view = lake.views.get(VIEW.target)
    assert view is not None
    assert (view.owner_id, view.bucket, view.schema) == (BOB.user_id, "primary", "s")
    with pytest.raises(AlreadyExists):
        lake.create_view()
    assert not lake.create_view(replace(VIEW, if_there=IfThere.KEEP))
    assert lake.create_view(replace(VIEW, if_there=IfThere.REPLACE, columns=("x",)))
    with pytest.raises(NotFound):
        lake.permits.drop_view(PENDING, drop)
    assert not lake.permits.drop_view(PENDING, DropView(VIEW.target, if_exists=True))
    assert lake.permits.drop_view(BOB, drop)
    assert not lake.permits.drop_view(BOB, DropView(VIEW.target, if_exists=True))
    with pytest.raises(NotFound) as missing:
        lake.permits.drop_view(BOB, drop)
    assert missing.value.code == "view_not_found"
    with pytest.raises(InvalidRequest, match="DROP TABLE"):
        lake.permits.drop_view(BOB, DropView(ref("primary.s.a")))


def test_reading_a_view_is_no_right_to_drop_it(lake: Permitted) -> None:
    lake.grant(WRITE, *HERE)
    lake.create_view()
    lake.book = PolicyBook("0")
    lake.grant(READ, *HERE)
    with pytest.raises(PermissionDenied):
        lake.permits.drop_view(BOB, DropView(VIEW.target, if_exists=True))


def test_views_that_cannot_be_made(lake: Permitted) -> None:
    lake.grant(WRITE, *HERE)
    for if_there in IfThere:
        with pytest.raises(AlreadyExists):
            lake.create_view(replace(VIEW, target=ref("primary.s.a"), if_there=if_there))
    for pinned in (VIEW.target, TableRef("temp", "x", "t")):
        with pytest.raises(InvalidRequest):
            lake.create_view(VIEW, Pin(pinned, None, "stamp"))
    with pytest.raises(NotFound):
        lake.create_view(replace(VIEW, target=ref("primary.gone.v")))
    with pytest.raises(InvalidRequest):
        lake.create_view(replace(VIEW, query="SELECT * FROM a WHERE id = ?"))
    assert lake.views.list("primary") == ()


def test_without_a_bucket_of_its_own_a_server_keeps_no_views(tmp_path: Path) -> None:
    zoo.plain(tmp_path / "s/a")
    lake = Lakehouse({"primary": tmp_path})
    registry = Registry(locate_all({"primary": tmp_path}))
    permits = Permits(lake.browser, registry, None, book=lambda: lake.book)
    with pytest.raises(Unsupported):
        permits.create_view(ADMIN, VIEW, Description(COLUMNS, ()), names=DEFAULTS)
    permits.drop_views(ADMIN, "primary", "s")
