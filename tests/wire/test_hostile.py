"""What somebody hostile tried against rules, and found: each test is a way that was open."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from tests.lakehouse import write
from tests.servers import Server, running
from tests.wire.raw import RawClient, refused
from tests.wire.test_policies import PASSWORD, grant, new_user

ZONES = "primary.hr.zones"


def zones() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int64()),
            "zone": ["10", "20", "hidden", None],
            "number": pa.array([1, 2, 777, 4], pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("hostile")
    write(directory / "hr" / "zones", zones(), partition_by=("zone", "number"))
    write(directory / "hr" / "filled", zones().slice(0, 2), partition_by=("zone",))
    write(directory / "hr" / "people", zones())
    with running(directory) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


@pytest.fixture(scope="module")
def few(own: Server, admin: RawClient) -> Iterator[RawClient]:
    """Somebody who sees two rows of each table."""
    user = new_user(admin)
    for name in ("zones", "filled", "people"):
        grant(admin, user, f"primary.hr.{name}")
        admin.call(
            "filter.put",
            name=f"few of {user}",
            table=f"hr.{name}",
            filter="id < 3",
            to={"user": user},
        )
    with RawClient.connect(own, user, PASSWORD) as client:
        yield client


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("CAST(zone AS INT) = 10", [1]),
        ("1 / (number - 777) = 0", [1, 2]),
        ("CAST(number AS TINYINT) = 2", [2]),
        ("number = 777 AND CAST(zone AS INT) = 1", []),
        ("arrow_cast(zone, 'Int64') > 10", [2]),
    ],
)
def test_the_planner_tells_nothing_of_hidden_values_of_partitions(
    few: RawClient, condition: str, ids: list[int]
) -> None:
    # They are constants of a plan, with which the planner computes before anything runs.
    found = few.fetch(f"SELECT id FROM {ZONES} WHERE {condition} ORDER BY id")
    assert found["id"].to_pylist() == ids


def test_keys_of_tombstones_reach_no_rows_that_a_filter_hides(
    own: Server, admin: RawClient
) -> None:
    user, table = new_user(admin), "primary.hr.people"
    for privilege in ("read", "write"):
        grant(admin, user, table, privilege=privilege)
    key = {"table": table, "row_key_column": "id", "reason": "why not"}
    admin.call("tombstone.add", **key, row_key_values=[4])
    admin.call("filter.put", name="part", table=table, filter="id < 3", to={"user": user})
    with RawClient.connect(own, user, PASSWORD) as client:
        for call in (
            lambda: client.call("tombstone.add", **key, row_key_values=[3]),
            lambda: client.call("tombstone.remove", table=table, row_key_values=[4]),
        ):
            assert refused(call) == "permission_denied"
        (page,) = client.call("tombstone.list", table=table)
        assert page["count"] == 1
        assert "tombstones" not in page
    assert admin.fetch(f"SELECT id FROM {table} ORDER BY id")["id"].to_pylist() == [1, 2, 3]
    admin.call("tombstone.remove", table=table, row_key_values=[4])
    admin.call("filter.drop", name="part", table=table)


def test_a_preview_shows_nothing_that_rules_below_the_view_keep_from_its_steward(
    own: Server, admin: RawClient
) -> None:
    steward, reader = new_user(admin), new_user(admin, "payroll")
    admin.call("view.put", name="hr.paid", base="hr.people", columns=["id", "zone", "number"])
    admin.call(
        "mask.put",
        name="paid",
        table="hr.people",
        column="zone",
        redaction={"kind": "null"},
        except_roles=["payroll"],
    )
    grant(admin, reader, "primary.hr.paid")
    for privilege in ("read", "manage"):
        grant(admin, steward, "primary.hr.paid", privilege=privilege)
    with RawClient.connect(own, steward, PASSWORD) as client:

        def seen(**eyes: str) -> object:
            return client.call("view.preview", name="hr.paid", limit=1, **eyes)

        assert seen() == [{"id": 1, "zone": None, "number": 1}]
        assert refused(lambda: seen(user=reader)) == "permission_denied"
        assert refused(lambda: seen(role="payroll")) == "permission_denied"
        grant(admin, steward, "primary.hr.people", privilege="manage")
        grant(admin, steward, "primary.hr.people", columns=["number"], effect="deny")
        assert seen(user=reader) == [{"id": 1, "zone": "10"}]
    admin.call("view.drop", name="hr.paid")
    admin.call("mask.drop", name="paid", table="hr.people")


def test_nobody_hashes_values_of_their_own_in_a_domain_of_others(
    own: Server, admin: RawClient
) -> None:
    shared = {"kind": "hash", "domain": "people"}
    view = {"name": "hr.hashed", "base": "hr.people", "columns": ["id", "zone"]}
    admin.call("view.put", **view, redactions={"zone": shared})
    masked = {"name": "zone", "table": "hr.filled", "column": "zone"}
    admin.call("mask.put", **masked, redaction={"kind": "hash", "domain": "filled"})
    write(own.directory / "mine" / "guesses", zones().select(["id", "zone"]))
    user = new_user(admin)
    for privilege in ("read", "manage"):
        grant(admin, user, "primary.mine", privilege=privilege)
    grant(admin, user, "primary.hr.hashed")
    with RawClient.connect(own, user, PASSWORD) as client:
        mine = {"name": "mine.hashed", "base": "mine.guesses", "columns": ["id", "zone"]}
        for domain in ("people", "filled"):
            named = {"kind": "hash", "domain": domain}
            for call in (
                lambda: client.call("view.put", **mine, redactions={"zone": named}),  # noqa: B023
                lambda: client.call(
                    "mask.put",
                    name="m",
                    table="mine.guesses",
                    column="zone",
                    redaction=named,  # noqa: B023
                ),
            ):
                assert refused(call) == "permission_denied"
        client.call("view.put", **mine, redactions={"zone": {"kind": "hash", "domain": "own"}})
        client.call("view.put", **mine, redactions={"zone": {"kind": "hash", "domain": "own"}})
        # Who manages the name of a view alone puts another one there, over their own table.
        before = client.fetch("SELECT zone FROM hr.hashed WHERE id = 1")
        admin.call("view.put", **view, redactions={"zone": {"kind": "hash"}})
        default = client.fetch("SELECT zone FROM hr.hashed WHERE id = 1")
        grant(admin, user, "primary.hr.hashed", privilege="manage")
        client.call("view.drop", name="hr.hashed")
        over = {**view, "base": "mine.guesses"}
        client.call("view.put", **over, redactions={"zone": {"kind": "hash"}})
        after = client.fetch("SELECT zone FROM hr.hashed WHERE id = 1")
    assert after != default != before
    admin.call("mask.drop", name="zone", table="hr.filled")
    admin.call("view.drop", name="hr.hashed")


def test_nobody_learns_what_hashes_stand_for_by_writing_guesses(
    own: Server, admin: RawClient
) -> None:
    user, table = new_user(admin), "primary.hr.guessed"
    write(own.directory / "hr" / "guessed", zones().select(["id", "zone"]))
    for privilege in ("read", "write"):
        grant(admin, user, table, privilege=privilege)
    hashed = {"kind": "hash"}
    admin.call("mask.put", name="m", table=table, column="zone", redaction=hashed)
    # A mask stays with the name of its table.
    fresh = "primary.hr.fresh"
    admin.fetch(f"CREATE TABLE {fresh} (id BIGINT, zone VARCHAR)")
    admin.call("mask.put", name="m", table=fresh, column="zone", redaction=hashed)
    admin.fetch(f"DROP TABLE {fresh}")
    for privilege in ("read", "write"):
        grant(admin, user, fresh, privilege=privilege)
    with RawClient.connect(own, user, PASSWORD) as client:
        guess = "SELECT 9 AS id, '10' AS zone"
        pairs = f"USING ({guess}) g ON guessed.id = g.id WHEN NOT MATCHED THEN INSERT"
        for call in (
            lambda: client.fetch(f"INSERT INTO {table} (id, zone) VALUES (9, '10')"),
            lambda: client.fetch(f"INSERT INTO {table} BY NAME {guess}"),
            lambda: client.fetch(f"MERGE INTO {table} {pairs} *"),
            lambda: client.fetch(f"MERGE INTO {table} {pairs} (id, zone) VALUES (9, '10')"),
            lambda: client.fetch(f"UPDATE {table} SET zone = '10' WHERE id = 1"),
            lambda: client.call("table.append", table=table, rows=[{"id": 9, "zone": "10"}]),
            lambda: client.call(
                "table.merge", table=table, rows=[{"id": 9, "zone": "10"}], on=["id"]
            ),
        ):
            assert refused(call) == "permission_denied"
        rows = pa.table({"id": [9], "zone": ["10"]})
        with own.connect(user, PASSWORD) as driver, driver.cursor() as cursor:
            into: dict[str, Any] = {"mode": "append", "db_schema_name": "hr"}
            load = functools.partial(cursor.adbc_ingest, "guessed", rows, **into)
            assert refused(load) == "permission_denied"
            for mode in ("replace", "create"):
                name = "guessed" if mode == "replace" else "fresh"
                load = functools.partial(cursor.adbc_ingest, name, rows, **{**into, "mode": mode})
                assert refused(load) == "permission_denied"
        for again in ("OR REPLACE TABLE hr.guessed", "TABLE hr.fresh"):
            made = f"CREATE {again} AS {guess}"
            assert refused(lambda: client.fetch(made)) == "permission_denied"  # noqa: B023
        assert "fresh" not in {path.name for path in (own.directory / "hr").iterdir()}
        client.fetch(f"INSERT INTO {table} VALUES (5)")
        client.call("table.append", table=table, rows=[{"id": 6}, {}])
        found = client.fetch(f"SELECT id, zone IS NULL AS n FROM {table} ORDER BY id NULLS LAST")
    assert found["id"].to_pylist() == [1, 2, 3, 4, 5, 6, None]
    assert found["n"].to_pylist() == [False, False, False, True, True, True, True]


def test_whether_a_column_may_be_null_depends_on_no_hidden_row(few: RawClient) -> None:
    # One of the tables has a partition without a value, which nobody here sees; one has none.
    for name in ("zones", "filled"):
        (column,) = few.schema(f"SELECT zone FROM hr.{name}")
        assert column.nullable, name
        found = few.fetch(f"SELECT zone, id FROM hr.{name} WHERE zone = '20' OR id = 1 ORDER BY id")
        assert found["zone"].to_pylist() == ["10", "20"]
        (described,) = few.fetch(f"DESCRIBE (SELECT zone FROM hr.{name})")["is_nullable"]
        assert described.as_py() == "YES"


def test_a_view_over_people_shows_those_who_agreed(own: Server, admin: RawClient) -> None:
    people = pa.table({"user_id": ["1", "2", "3"], "number": [1, 2, 3]})
    write(own.directory / "wards" / "stays", people)
    columns = ["user_id", "number"]
    hashed = {"user_id": {"kind": "hash"}}
    admin.call("view.put", name="wards.seen", base="wards.stays", columns=columns)
    admin.call(
        "view.put", name="wards.again", base="wards.seen", columns=columns, redactions=hashed
    )
    admin.call("view.put", name="wards.none", base="wards.stays", columns=["number"])
    user = new_user(admin)
    grant(admin, user, "primary.wards", purposes=["research"])
    admin.call("consent.set", subject="2", purposes=["research"], given=True)
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="research") as client:
        for name in ("stays", "seen", "again", "none"):
            found = client.fetch(f"SELECT * FROM wards.{name}").to_pylist()
            assert [row["number"] for row in found] == [2], name
            assert not any(row.get("user_id") for row in found)
