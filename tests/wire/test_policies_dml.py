"""Changes by somebody whom rules narrow: they reach what is seen, and leave what is not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.lakehouse import write
from tests.servers import Server, running
from tests.wire.raw import RawClient, error_code, refused

PASSWORD = "quite another horse"
CLERK = "clara"
HIDDEN = "HIDDEN"
_numbers = itertools.count()
Rows = list[dict[str, Any]]


def rows(start: int, count: int = 20) -> pa.Table:
    """The clerk's are the rows of ``me``; each of the others breaks what is done with it."""
    ids = range(start, start + count)
    mine = [number % 2 == 0 for number in ids]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "owner": ["me" if own else "other" for own in mine],
            "word": [
                "7" if own else f"{HIDDEN}{number}" for own, number in zip(mine, ids, strict=True)
            ],
            "nought": pa.array([int(own) for own in mine], pa.int64()),
            "mail": [f"person{number}@example.org" for number in ids],
            "pay": pa.array([number * 100 for number in ids], pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("dml")
    write(directory / "hr" / "anchor", rows(0))
    with running(directory) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        client.call("auth.register", username=CLERK, email="c@example.com", password=PASSWORD)
        client.call("user.approve", username=CLERK, role="registered", tier="enterprise")
        client.call("user.set_role", username=CLERK, role="registered", custom_roles=["clerk"])
        for privilege in ("read", "write", "maintain"):
            to = {"user": CLERK}
            client.call("grant.add", privilege=privilege, resource="primary.hr", to=to)
        yield client


@pytest.fixture(scope="module")
def clerk(own: Server, admin: RawClient) -> Iterator[RawClient]:
    assert admin
    with RawClient.connect(own, CLERK, PASSWORD) as client:
        yield client


@pytest.fixture(scope="module")
def driver(own: Server, admin: RawClient) -> Iterator[flightsql.Connection]:
    assert admin
    with own.connect(CLERK, PASSWORD) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class World:
    """A table of which the clerk sees a part, and a copy of that part that they see whole."""

    folder: Path
    name: str
    copy: str

    def stored(self) -> Rows:
        """All rows, as the files hold them."""
        found: Rows = DeltaTable(str(self.folder)).to_pyarrow_table().to_pylist()
        return sorted(found, key=lambda row: row["id"])

    def version(self) -> int:
        return DeltaTable(str(self.folder)).version()


KINDS = ("filter", "tombstones", "mask", "columns", "all")


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, own: Server, admin: RawClient) -> World:
    return make(request.param, own, admin)


def make(kind: str, own: Server, admin: RawClient) -> World:
    name = f"t{next(_numbers)}"
    folder, copy = own.directory / "hr" / name, own.directory / "hr" / f"{name}c"
    table = f"primary.hr.{name}"
    for start in (0, 20):
        write(folder, rows(start))
    if kind in ("filter", "mask", "columns", "all"):
        admin.call(
            "filter.put", name=f"f_{name}", table=table, filter="owner = 'me'", to={"role": "clerk"}
        )
    if kind in ("tombstones", "all"):
        gone = range(1, 40, 2) if kind == "tombstones" else range(0, 40, 6)
        admin.call(
            "tombstone.add",
            table=table,
            row_key_column="id",
            row_key_values=list(gone),
            reason="asked to be forgotten",
        )
    if kind in ("mask", "all"):
        admin.call(
            "mask.put",
            name=f"m_{name}",
            table=table,
            column="mail",
            redaction={"kind": "mask", "keep_prefix": 1},
            to={"role": "clerk"},
        )
    if kind in ("columns", "all"):
        deny = {"privilege": "read", "effect": "deny", "columns": ["pay"], "to": {"user": CLERK}}
        admin.call("grant.add", resource=table, **deny)
    with RawClient.connect(own, CLERK, PASSWORD) as client:
        for low, high in ((0, 20), (20, 40)):
            where = f"WHERE id >= {low} AND id < {high}"
            write(copy, client.fetch(f"SELECT * FROM {table} {where}"))
    return World(folder, table, f"{table}c")


def outcome(driver: flightsql.Connection, sql: str) -> tuple[Any, ...]:
    """What the clerk hears of a statement: how many rows it changed, or its error."""
    with driver.cursor() as cursor:
        try:
            cursor.execute(sql)
        except flightsql.Error as error:
            # Of two tables by different names.
            return type(error).__name__, error_code(error), re.sub(r"\bt\d+c?\b", "t", str(error))
        return (cursor.rowcount,)


def seen(client: RawClient, table: str) -> Rows:
    found: Rows = client.fetch(f"SELECT * FROM {table} ORDER BY id").to_pylist()
    return found


STATEMENTS: tuple[str, ...] = (
    "DELETE FROM {t} WHERE CAST(word AS INT) = 7 AND id < 8",
    "DELETE FROM {t} WHERE 1 / nought = 1 AND id > 30",
    "DELETE FROM {t} WHERE id = 3 OR id = 4",
    "DELETE FROM {t} WHERE nope = 3",
    "UPDATE {t} SET nought = nought + CAST(word AS INT) WHERE id IN (SELECT id FROM {t})",
    "UPDATE {t} SET word = (SELECT max(b.word) FROM {t} b) WHERE id IN (3, 4, 5)",
    "UPDATE {t} SET nought = 100 / nought",
    "UPDATE {t} SET nought = (SELECT count(*) FROM {t})",
    (
        "MERGE INTO {t} AS t USING (VALUES (3), (4)) AS s(i) ON t.id = s.i AND 7 / t.nought = 7"
        " WHEN MATCHED THEN UPDATE SET nought = 5"
        " WHEN NOT MATCHED THEN INSERT (id, owner) VALUES (s.i + 1000, 'me')"
    ),
    (
        "MERGE INTO {t} AS t USING (VALUES (3), (3)) AS s(i) ON t.id = s.i"
        " WHEN MATCHED THEN UPDATE SET nought = 5"
    ),
    (
        "MERGE INTO {t} AS t USING (SELECT * FROM {t}) AS s"
        " ON CAST(t.word AS INT) + t.id = s.id + 1"
        " WHEN MATCHED THEN DELETE"
    ),
    "INSERT INTO {t} (id, owner, word) SELECT id + 100, owner, word FROM {t}",
    "DELETE FROM {t} WHERE CASE WHEN nought = 0 THEN CAST(word AS INT) ELSE 7 END = 7",
    "DELETE FROM {t}",
    "DELETE FROM {t} WHERE 1 / nope = 3",
)


def test_it_does_what_it_would_do_to_a_copy_of_what_is_seen(
    world: World, clerk: RawClient, driver: flightsql.Connection
) -> None:
    """One statement after the other: what each hears and leaves is the same of both."""
    stored = world.stored()
    ids = {row["id"] for row in seen(clerk, world.name)}
    hidden = [row for row in stored if row["id"] not in ids]
    assert hidden or world.name
    mail = {row["id"]: (row["mail"], row["pay"]) for row in stored}
    for text in STATEMENTS:
        heard = outcome(driver, text.format(t=world.name))
        expected = outcome(driver, text.format(t=world.copy))
        assert heard == expected, text
        assert HIDDEN not in str(heard)
        assert seen(clerk, world.name) == seen(clerk, world.copy), text
        after = world.stored()
        assert [row for row in after if row in hidden] == hidden, text
        for row in after:
            if row["id"] in mail:
                assert (row["mail"], row["pay"]) == mail[row["id"]], text


def test_actions_and_parameters_do_the_same(
    own: Server, admin: RawClient, clerk: RawClient, driver: flightsql.Connection
) -> None:
    world = make("all", own, admin)
    hidden = [row for row in world.stored() if row["id"] % 2 or row["id"] % 6 == 0]
    for table in (world.name, world.copy):
        (deleted,) = clerk.call("table.delete", table=table, where="1 / nought = 1 AND id < 10")
        assert deleted["rows"] == 3
        (updated,) = clerk.call(
            "table.update", table=table, set={"word": "8"}, where="CAST(word AS INT) = 7"
        )
        assert updated["rows"] == 10
        (merged,) = clerk.call(
            "table.merge",
            table=table,
            on=["id"],
            rows=[{"id": 3, "owner": "me"}, {"id": 10, "owner": "me"}],
            when_matched="delete",
            when_not_matched="insert",
        )
        assert merged["rows"] == 2
        clerk.call("table.append", table=table, rows=[{"id": 500, "owner": "me"}])
        with driver.cursor() as cursor:
            cursor.executemany(f"UPDATE {table} SET nought = ? WHERE id = ?", [(5, 14), (5, 15)])
            assert cursor.rowcount == 1
    assert seen(clerk, world.name) == seen(clerk, world.copy)
    assert [row for row in world.stored() if row in hidden] == hidden


def test_new_rows_that_their_writer_would_not_see_are_refused_on_every_way_in(
    own: Server, admin: RawClient, clerk: RawClient, driver: flightsql.Connection
) -> None:
    world = make("all", own, admin)
    before, version = world.stored(), world.version()
    files = set(world.folder.rglob("*.parquet"))
    name = world.name.rpartition(".")[2]
    other = pa.table({"id": pa.array([1000, 1001], pa.int64()), "owner": ["me", "other"]})
    mine = other.slice(0, 1)

    def ingest(data: pa.Table, mode: Any = "append", table: str = name) -> None:
        with driver.cursor() as cursor:
            cursor.adbc_ingest(table, data, mode=mode, db_schema_name="hr")

    def put(data: pa.Table) -> None:
        path = fl.FlightDescriptor.for_path("primary", "hr", name)
        writer, reader = clerk.client.do_put(path, data.schema, clerk.options)
        with writer:
            writer.write_table(data)
            writer.done_writing()
            reader.read()

    for refuse in (
        lambda: clerk.fetch(f"INSERT INTO {world.name} (id, owner) VALUES (1000, 'other')"),
        lambda: clerk.fetch(f"INSERT INTO {world.name} (id) VALUES (1000)"),
        lambda: clerk.fetch(f"UPDATE {world.name} SET owner = 'other' WHERE id = 2"),
        lambda: clerk.call("table.append", table=world.name, rows=[{"id": 1, "owner": "x"}]),
        lambda: clerk.call(
            "table.merge", table=world.name, on=["id"], rows=[{"id": 2, "owner": "x"}]
        ),
        lambda: clerk.call("table.update", table=world.name, set={"owner": "x"}, where="id = 2"),
        lambda: ingest(other),
        lambda: put(other),
    ):
        assert refused(refuse) == "row_filter_check"
        assert (world.stored(), world.version()) == (before, version)
        assert set(world.folder.rglob("*.parquet")) == files
    ingest(mine)
    put(mine)
    assert world.version() == version + 2
    for column in ("pay", "nowhere"):
        data = mine.append_column(column, pa.array([1], pa.int64()))
        assert refused(lambda: ingest(data)) == "permission_denied"  # noqa: B023


def test_a_new_table_is_held_to_the_filters_that_are_on_its_name(
    own: Server, admin: RawClient, clerk: RawClient, driver: flightsql.Connection
) -> None:
    world = make("filter", own, admin)
    admin.fetch(f"DROP TABLE {world.name}")
    select = f"SELECT id, 'other' AS owner FROM {world.copy}"
    for sql in (f"CREATE TABLE {world.name} AS {select}",):
        assert refused(lambda: clerk.fetch(sql)) == "row_filter_check"  # noqa: B023
    name = world.name.rpartition(".")[2]
    data = pa.table({"id": [1], "owner": ["other"]})
    with driver.cursor() as cursor:
        loading = refused(
            lambda: cursor.adbc_ingest(name, data, mode="create", db_schema_name="hr")
        )
    assert loading == "row_filter_check"
    assert not world.folder.exists()
    assert not list(world.folder.parent.glob("_new*/*"))
    clerk.fetch(f"CREATE TABLE {world.name} AS SELECT id, owner FROM {world.copy}")
    assert len(seen(clerk, world.name)) == 20


def test_who_sees_a_part_replaces_and_removes_nothing_as_a_whole(
    own: Server, admin: RawClient, clerk: RawClient, driver: flightsql.Connection
) -> None:
    world = make("filter", own, admin)
    before, version = world.stored(), world.version()
    name = world.name.rpartition(".")[2]

    def replace() -> None:
        with driver.cursor() as cursor:
            cursor.adbc_ingest(name, rows(0), mode="replace", db_schema_name="hr")

    for sql in (
        f"INSERT OVERWRITE {world.name} SELECT * FROM {world.copy}",
        f"TRUNCATE TABLE {world.name}",
        f"DROP TABLE {world.name}",
        f"RESTORE TABLE {world.name} TO VERSION AS OF 0",
        f"CREATE OR REPLACE TABLE {world.name} AS SELECT * FROM {world.copy}",
        f"CREATE OR REPLACE TABLE {world.name} (id BIGINT)",
        f"ALTER TABLE {world.name} DROP COLUMN mail",
        "DROP SCHEMA hr CASCADE",
    ):
        assert refused(lambda: clerk.fetch(sql)) == "permission_denied", sql  # noqa: B023
    assert refused(replace) == "permission_denied"
    assert refused(lambda: clerk.call("table.drop", table=world.name)) == "permission_denied"
    for change in ("RENAME TO hr.elsewhere", "RENAME COLUMN owner TO holder"):
        sql = f"ALTER TABLE {world.name} {change}"
        assert refused(lambda: clerk.fetch(sql)) == "has_policies"  # noqa: B023
    assert (world.stored(), world.version()) == (before, version)
    clerk.fetch(f"ALTER TABLE {world.name} ADD COLUMN extra INT")
    clerk.fetch(f"ALTER TABLE {world.name} RENAME COLUMN mail TO post")
    assert world.version() == version + 2


def test_a_column_that_is_redacted_or_hidden_is_not_changed(
    own: Server, admin: RawClient, clerk: RawClient
) -> None:
    world = make("all", own, admin)
    before = world.stored()
    for sql in (
        f"UPDATE {world.name} SET mail = 'x'",
        f"UPDATE {world.name} SET pay = 1",
        f"UPDATE {world.name} SET nowhere = 1",
        f"INSERT INTO {world.name} (id, owner, pay) VALUES (1, 'me', 1)",
        f"ALTER TABLE {world.name} RENAME COLUMN mail TO post",
        f"ALTER TABLE {world.name} RENAME COLUMN pay TO wage",
        f"ALTER TABLE {world.name} RENAME COLUMN nowhere TO wage",
    ):
        assert refused(lambda: clerk.fetch(sql)) == "permission_denied", sql  # noqa: B023
    assert world.stored() == before


def test_tombstones_are_in_nobodys_way(
    own: Server, admin: RawClient, clerk: RawClient, driver: flightsql.Connection
) -> None:
    world = make("tombstones", own, admin)
    assert outcome(driver, f"INSERT OVERWRITE {world.name} SELECT * FROM {world.copy}") == (20,)
    assert len(world.stored()) == 20
    clerk.fetch(f"RESTORE TABLE {world.name} TO VERSION AS OF 1")
    assert len(seen(clerk, world.name)) == 20
    assert outcome(driver, f"TRUNCATE TABLE {world.name}") == (-1,)
    assert world.stored() == []
    raw = "primary.hr.__raw__" + world.name.rpartition(".")[2]
    for sql in (f"DELETE FROM {raw}", f"INSERT INTO {raw} (id) VALUES (1)", f"DROP TABLE {raw}"):
        # Who may read it is told that it is no table of its own.
        for client, code in ((clerk, "table_not_found"), (admin, "unsupported")):
            assert refused(lambda: client.fetch(sql)) == code, sql  # noqa: B023
    clerk.fetch(f"DROP TABLE {world.name}")


def test_files_are_put_in_order_by_who_sees_a_part(
    own: Server, admin: RawClient, clerk: RawClient
) -> None:
    world = make("mask", own, admin)
    before, visible = world.stored(), seen(clerk, world.name)
    clerk.fetch(f"OPTIMIZE {world.name}")
    clerk.fetch(f"OPTIMIZE {world.name} ZORDER BY (id)")
    clerk.fetch(f"VACUUM {world.name}")
    assert world.stored() == before
    assert seen(clerk, world.name) == visible


@pytest.mark.parametrize("kind", KINDS)
def test_the_history_counts_no_rows_that_are_hidden(
    own: Server, admin: RawClient, clerk: RawClient, kind: str
) -> None:
    world = make(kind, own, admin)
    admin.fetch(f"DELETE FROM {world.name} WHERE id IN (2, 4)")
    whole = admin.fetch(f"DESCRIBE HISTORY {world.name}").to_pylist()
    assert whole[0]["rows"] == 2
    shows_all = kind == "tombstones"
    name = world.name.rpartition(".")[2]
    for table in (
        clerk.fetch(f"DESCRIBE HISTORY {world.name}"),
        clerk.fetch(f'SELECT * FROM hr."{name}@history" ORDER BY version DESC'),
    ):
        listed = table.to_pylist()
        assert [row["version"] for row in listed] == [row["version"] for row in whole]
        assert [row["operation"] for row in listed] == [row["operation"] for row in whole]
        for row in listed:
            assert shows_all or (row["rows"], row["operation_parameters"]) == (None, None)
    told = clerk.call("table.history", table=world.name)
    assert shows_all or all(row["rows"] is None for row in told)


def test_nothing_counts_rows_before_they_are_read(
    own: Server, admin: RawClient, clerk: RawClient
) -> None:
    world = make("filter", own, admin)
    info = clerk.info(f"SELECT * FROM {world.name}")
    assert (info.total_records, info.total_bytes) == (-1, -1)
    assert pq.read_table(next(world.folder.rglob("*.parquet"))).num_rows == 20


def test_the_purpose_of_a_session_narrows_changes_too(own: Server, admin: RawClient) -> None:
    name = f"primary.hr.t{next(_numbers)}"
    folder = own.directory / "hr" / name.rpartition(".")[2]
    people = ["p1", "p2", "p3", None]
    write(
        folder,
        pa.table({"id": [1, 2, 3, 4], "user_id": people, "word": ["7", HIDDEN, "7", HIDDEN]}),
    )
    for privilege in ("read", "write"):
        for purpose in ("research", "analytics"):
            admin.call(
                "grant.add",
                privilege=privilege,
                resource="primary.hr",
                to={"user": CLERK},
                purposes=[purpose],
            )
    for person in ("p1", "p3"):
        admin.call("consent.set", subject=person, purposes=["research"], given=True)
    world = World(folder, name, name)
    before = world.stored()
    with RawClient.connect(own, CLERK, PASSWORD, x_lakehouse_purpose="analytics") as client:
        for sql in (f"UPDATE {name} SET word = 'x'", f"DELETE FROM {name} WHERE id = 1"):
            assert refused(lambda: client.fetch(sql)) == "aggregates_only"  # noqa: B023
        copying = f"INSERT INTO {name} SELECT * FROM {name}"
        assert refused(lambda: client.fetch(copying)) == "aggregates_only"
        assert refused(lambda: client.fetch(f"DROP TABLE {name}")) == "permission_denied"
    assert world.stored() == before
    header = {"adbc.flight.sql.rpc.call_header.x-lakehouse-purpose": "research"}
    with own.connect(CLERK, PASSWORD, **header) as connection:
        # Who took part is not seen, and so not changed.
        named = outcome(connection, f"UPDATE {name} SET user_id = 'p9'")
        assert named[1] == "permission_denied"
        assert outcome(connection, f"DELETE FROM {name} WHERE user_id = 'p1'") == (0,)
        sql = f"UPDATE {name} SET id = id + CAST(word AS INT) WHERE 7 / CAST(word AS INT) = 1"
        assert outcome(connection, sql) == (2,)
        assert outcome(connection, f"TRUNCATE TABLE {name}")[1] == "permission_denied"
        assert outcome(connection, f"DELETE FROM {name}") == (2,)
    assert world.stored() == [row for row in before if row["id"] in (2, 4)]
