"""Names to tables: each caller gets only theirs, at exactly the state meant."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.engine.base import FileScan, ProviderScan, RowScan
from flight_server.errors import (
    Conflict,
    InvalidRequest,
    LakeflightError,
    NotFound,
    Unavailable,
    Unsupported,
)
from flight_server.service.governed import governed_tables, tables_configuration
from flight_server.sql.names import AsOf
from flight_server.storage.locations import locate_all
from policies.names import Principal, Privilege, Role, TableRef
from tests import tables as zoo
from tests.service.opened import ADMIN, BOB, PENDING, Lakehouse
from tests.storage.reading import rows_of, same_rows


@pytest.fixture
def lake(tmp_path: Path) -> Lakehouse:
    zoo.plain(tmp_path / "p/s/open")
    zoo.plain(tmp_path / "p/s/closed")
    zoo.plain(tmp_path / "p/private/t")
    pq.write_table(zoo.numbers(0, 5), tmp_path / "p/one.parquet")
    zoo.plain(tmp_path / "o/s/t")
    house = Lakehouse({"primary": tmp_path / "p", "other": tmp_path / "o"})
    house.allow("primary", "s", "open")
    return house


def refusal(lake: Lakehouse, *names: str, principal: Principal = BOB) -> LakeflightError:
    with pytest.raises(LakeflightError) as caught:
        lake.open(*names, principal=principal)
    return caught.value


@pytest.mark.parametrize(
    ("make", "scan"),
    [
        (zoo.plain, FileScan),
        (zoo.partitioned_by_awkward_text, FileScan),
        (zoo.with_column_mapping, ProviderScan),
        (zoo.with_deletion_vector, RowScan),
    ],
)
def test_scans_fit_the_table(make: object, scan: type, tmp_path: Path) -> None:
    assert callable(make)
    expected = make(tmp_path / "s/t")
    table = Lakehouse({"primary": tmp_path}).open("s", "t")
    assert isinstance(table.scan, scan)
    assert same_rows(rows_of(table.scan), expected)
    assert table.pin.version == 0 if make is not zoo.plain else 1


def test_what_may_not_be_read_looks_as_if_it_did_not_exist(lake: Lakehouse) -> None:
    lake.open("s", "open", principal=BOB)
    closed, missing = refusal(lake, "s", "closed"), refusal(lake, "s", "missing")
    assert isinstance(closed, NotFound)
    assert closed.message.replace("closed", "missing") == missing.message
    assert closed.code == missing.code == "table_not_found"
    hidden, unknown = refusal(lake, "other", "s", "t"), refusal(lake, "nowhere", "s", "t")
    assert hidden.message.replace("other", "nowhere") == unknown.message
    assert hidden.code == unknown.code == "bucket_not_found"
    assert "buckets you may use: primary" in unknown.message


def test_a_deny_beats_every_allow(lake: Lakehouse) -> None:
    lake.allow("primary")
    lake.open("s", "closed", principal=BOB)
    lake.deny("primary", "s")
    assert refusal(lake, "s", "open").code == "table_not_found"


def test_a_withdrawn_grant_counts_at_once_also_for_pins(lake: Lakehouse) -> None:
    pin = lake.open("s", "open", principal=BOB).pin
    lake.deny("primary", "s", "open")
    with pytest.raises(NotFound):
        lake.open("s", "open", principal=BOB, pin=pin)


def test_a_hint_names_only_what_the_caller_sees(lake: Lakehouse) -> None:
    assert '"s"."open"' in refusal(lake, "s", "OPEN").message
    assert "quoted" not in refusal(lake, "s", "CLOSED").message


def test_pending_accounts_and_empty_books_see_nothing(lake: Lakehouse) -> None:
    lake.allow("primary", user="eve")
    eve = Principal("3", "eve", Role.PENDING)
    assert "none" in refusal(lake, "s", "open", principal=eve).message
    assert PENDING.role is Role.PENDING


def test_pins_bring_back_exactly_their_state(lake: Lakehouse, tmp_path: Path) -> None:
    old = lake.open("s", "open", as_of=AsOf(version=0)).pin
    assert old.as_of == AsOf(version=0)
    again = lake.open("s", "open", pin=old)
    assert again.pin == old
    assert isinstance(again.scan, FileScan)
    assert sum(len(group.paths) for group in again.scan.groups) == 1
    for stale in (replace(old, stamp="x"), replace(old, version=7), replace(old, version=None)):
        with pytest.raises(NotFound) as caught:
            lake.open("s", "open", pin=stale)
        assert caught.value.code == "version_not_found"


def test_parquet_that_changed_since_is_a_conflict(lake: Lakehouse, tmp_path: Path) -> None:
    pin = lake.open("public", "one").pin
    assert pin.version is None
    assert lake.open("public", "one", pin=pin).pin == pin
    pq.write_table(zoo.numbers(0, 6), tmp_path / "p/one.parquet")
    with pytest.raises(Conflict):
        lake.open("public", "one", pin=pin)
    with pytest.raises(Unsupported):
        lake.open("public", "one", as_of=AsOf(version=0))


def test_time_travel_outside_of_what_there_is(lake: Lakehouse) -> None:
    for as_of, error in (
        (AsOf(version=2), NotFound),
        (AsOf(time=datetime(1990, 1, 1, tzinfo=UTC)), NotFound),
        (AsOf(time=datetime(9000, 1, 1, tzinfo=UTC)), InvalidRequest),
        (AsOf(), InvalidRequest),
    ):
        with pytest.raises(error):
            lake.open("s", "open", as_of=as_of)
    assert lake.open("s", "open", as_of=AsOf(time=lake.clock.time)).pin.version == 1


def test_a_provider_is_bound_to_its_version(tmp_path: Path) -> None:
    zoo.with_column_mapping(tmp_path / "s/t")
    lake = Lakehouse({"primary": tmp_path})
    table = lake.open("s", "t")
    log = tmp_path / "s/t/_delta_log"
    adds = [line for line in (log / f"{0:020d}.json").read_text().splitlines() if "add" in line]
    second = adds[-1].replace("f0.parquet", "f1.parquet")
    (tmp_path / "s/t/f1.parquet").write_bytes((tmp_path / "s/t/f0.parquet").read_bytes())
    (log / f"{1:020d}.json").write_text('{"commitInfo":{}}\n' + second + "\n")
    assert rows_of(lake.open("s", "t").scan).num_rows == 20
    assert rows_of(lake.open("s", "t", pin=table.pin).scan).num_rows == 10
    assert rows_of(table.scan).num_rows == 10


def test_broken_tables_and_buckets_do_not_hide_the_healthy(tmp_path: Path) -> None:
    zoo.plain(tmp_path / "p/s/good")
    zoo.plain(tmp_path / "p/s/bad")
    (tmp_path / f"p/s/bad/_delta_log/{1:020d}.json").write_bytes(b"")
    lake = Lakehouse({"primary": tmp_path / "p", "gone": tmp_path / "gone"})
    lake.open("s", "good")
    for names in (("s", "bad"), ("gone", "s", "t")):
        error = refusal(lake, *names, principal=ADMIN)
        assert isinstance(error, Unavailable)
        assert str(tmp_path) not in error.message
    rows = lake.open("information_schema", "tables").scan
    assert isinstance(rows, RowScan)
    assert {"good", "bad"} <= set(rows.rows["table_name"].to_pylist())


def test_refused_tables_say_why(tmp_path: Path) -> None:
    folder = zoo.DeltaFolder(tmp_path / "s/t", zoo.NUMBERS, reader_features=["variantType"])
    metadata = folder.metadata()
    text = metadata["metaData"]["schemaString"].replace('"type": "string"', '"type": "variant"')
    metadata["metaData"]["schemaString"] = text
    folder.log.mkdir(parents=True)
    folder.commit(folder.protocol(), metadata)
    with pytest.raises(Unsupported, match="variant"):
        Lakehouse({"primary": tmp_path}).open("s", "t")


def test_secrets_of_the_server_leave_for_nobody(tmp_path: Path) -> None:
    columns = zoo.schema(user_id=pa.string(), password_hash=pa.string())
    folder = zoo.DeltaFolder(tmp_path / "sys/auth/users", columns)
    rows = pa.table({"user_id": ["1"], "password_hash": ["x"]})
    folder.create(folder.add(rows, "f.parquet"))
    lake = Lakehouse({"primary": tmp_path / "p", "system": tmp_path / "sys"})
    scan = lake.open("system", "auth", "users").scan
    assert rows_of(scan).to_pylist() == [{"user_id": "1"}]
    ref = TableRef("system", "auth", "users")
    assert lake.browser.columns(ADMIN, ref).names == ["user_id"]
    lake.allow("system")
    assert refusal(lake, "system", "auth", "users").code == "table_not_found"


def test_a_worker_is_built_from_plain_data(lake: Lakehouse, tmp_path: Path) -> None:
    locations = locate_all({"primary": tmp_path / "p"})
    configuration = tables_configuration(locations.values(), lake.book.grants)
    tables = governed_tables(json.loads(json.dumps(configuration)))
    ref = TableRef("primary", "s", "open")
    assert tables.open(ref, BOB, as_of=None, pin=None) == lake.open("s", "open", principal=BOB)
    with pytest.raises(NotFound):
        tables.open(TableRef("primary", "s", "closed"), BOB, as_of=None, pin=None)
    with pytest.raises(InvalidRequest):
        governed_tables({"buckets": {}, "grants": [{"privilege": "x"}]})


def test_opening_a_known_table_is_cheap(lake: Lakehouse) -> None:
    lake.open("s", "open")
    start = time.perf_counter()
    for _ in range(200):
        lake.open("s", "open")
    assert (time.perf_counter() - start) / 200 < 0.001  # about 20 us; room for a busy machine


def test_every_privilege_but_read_opens_nothing(lake: Lakehouse) -> None:
    lake.book = replace(
        lake.book,
        grants=tuple(
            replace(lake.book.grants[0], privilege=privilege)
            for privilege in Privilege
            if privilege is not Privilege.READ
        ),
    )
    assert isinstance(refusal(lake, "s", "open"), NotFound)
