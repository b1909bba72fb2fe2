"""Grants on columns, purposes, row filters, masks and labels, as drivers see what they leave."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.catalog.rule_rows import mask_row
from flight_server.clock import SystemClock
from flight_server.protocol import commands
from flight_server.storage.system import Change, SystemTable
from flight_server.storage.system_tables import MASKS
from policies.names import TableRef
from policies.rules import NULLED, ColumnMask
from tests.lakehouse import write
from tests.servers import Server, running
from tests.wire.raw import RawClient, refused

PASSWORD = "quite another horse"
PEOPLE = "primary.hr.people"
_numbers = itertools.count()


def people() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int64()),
            "name": ["Ann", "Bob", "Cleo", None],
            "email": ["ann@example.com", "bob@example.com", "cleo@example.com", None],
            "team": ["red", "red", "blue", None],
            "salary": pa.array([1234.5, 2000.0, 99.0, 5.0], pa.float64()),
            "at": pa.array(
                [{"city": "Oslo", "zip": "0150"}, {"city": "Rome", "zip": "00118"}, None, None]
            ),
        }
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("policies")
    write(directory / "hr" / "people", people())
    with running(directory) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


@pytest.fixture
def table(own: Server) -> str:
    """A table of one's own, so that rules of one test are nobody else's."""
    name = f"people{next(_numbers)}"
    write(own.directory / "hr" / name, people())
    return f"primary.hr.{name}"


def new_user(admin: RawClient, *roles: str, role: str = "registered") -> str:
    name = f"user{next(_numbers)}"
    admin.call("auth.register", username=name, email=f"{name}@example.com", password=PASSWORD)
    admin.call("user.approve", username=name, role=role, tier="enterprise")
    admin.call("user.set_role", username=name, role=role, custom_roles=list(roles))
    return name


def grant(admin: RawClient, user: str, resource: str, **more: Any) -> dict[str, Any]:
    body = {"privilege": "read", "resource": resource, "to": {"user": user}, **more}
    (answer,) = admin.call("grant.add", **body)
    return answer


def columns_of(listed: pa.Table) -> list[str]:
    """Return the columns of the one table that GetTables lists."""
    (described,) = listed["table_schema"].to_pylist()
    assert isinstance(described, bytes)
    return list(pa.ipc.read_schema(pa.py_buffer(described)).names)


def said(call: Any) -> str:
    """Return the message of the error that a call ends with."""
    with pytest.raises((flightsql.Error, pa.ArrowException)) as raised:
        call()
    return str(raised.value)


# Columns


def test_a_grant_on_columns_shows_those_and_no_others(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    given = grant(admin, user, table, columns=["team", "id"])
    assert given["columns"] == ["id", "team"]
    with RawClient.connect(own, user, PASSWORD) as client:
        assert client.fetch(f"SELECT * FROM {table} ORDER BY id").column_names == ["id", "team"]
        hidden, never = (
            said(lambda: client.fetch(f"SELECT {column} FROM {table}"))  # noqa: B023
            for column in ("name", "eman")
        )
        assert hidden.replace("named name.", "named eman.") == never
        assert "email" not in hidden
        schema, name = table.split(".")[1:]
        listed = client.fetch(commands.GetTables("primary", schema, name, (), include_schema=True))
        assert columns_of(listed) == ["id", "team"]
        columns = client.fetch(
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{name}'"
        )
        assert columns["column_name"].to_pylist() == ["id", "team"]
        assert client.fetch(f"DESCRIBE {table}").num_rows == 2
        assert client.fetch(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": 4}]
        admin.call("grant.remove", grant_id=given["grant_id"])
        assert refused(lambda: client.fetch(f"SELECT id FROM {table}")) == "bucket_not_found"


def test_a_deny_of_a_column_holds_for_prepared_handles_tickets_and_kept_results(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    grant(admin, user, table)
    sql = f"SELECT email FROM {table} ORDER BY id"
    with RawClient.connect(own, user, PASSWORD) as client:
        assert client.fetch(sql) == client.fetch(sql)
        handle = commands.PreparedStatementQuery(client.prepare(sql).prepared_statement_handle)
        (endpoint,) = client.info(sql).endpoints
        deny = grant(admin, user, table, columns=["email"], effect="deny")
        for call in (
            lambda: client.fetch(sql),
            lambda: client.fetch(handle),
            lambda: client.read(endpoint.ticket),
        ):
            assert refused(call) == "invalid_request"
        assert "email" not in client.fetch(f"SELECT * FROM {table}").column_names
        grant(admin, user, table, columns=["email"])  # lifts nothing
        assert refused(lambda: client.fetch(sql)) == "invalid_request"
        admin.call("grant.remove", grant_id=deny["grant_id"])
        assert client.read(endpoint.ticket).num_rows == 4


def test_who_may_read_no_column_of_a_table_reads_nothing_of_it(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    grant(admin, user, "primary.hr")
    grant(admin, user, table, columns=people().column_names, effect="deny")
    with RawClient.connect(own, user, PASSWORD) as client:
        for sql in (f"SELECT * FROM {table}", f"SELECT count(*) FROM {table}"):
            assert refused(lambda: client.fetch(sql)) == "table_not_found"  # noqa: B023


def test_a_deny_of_a_column_holds_for_administrators_too(
    own: Server, admin: RawClient, table: str
) -> None:
    deny = grant(admin, "admin", table, columns=["salary"], effect="deny")
    try:
        assert "salary" not in own.fetch(f"SELECT * FROM {table}").column_names
    finally:
        admin.call("grant.remove", grant_id=deny["grant_id"])


def test_a_column_of_an_sql_view_is_hidden_likewise(
    own: Server, admin: RawClient, table: str
) -> None:
    user, view = new_user(admin), f"primary.hr.view{next(_numbers)}"
    admin.fetch(f"CREATE VIEW {view} AS SELECT id, email, team FROM {table}")
    grant(admin, user, table)
    grant(admin, user, view, columns=["id", "team"])
    with RawClient.connect(own, user, PASSWORD) as client:
        assert client.fetch(f"SELECT * FROM {view}").column_names == ["id", "team"]
        assert refused(lambda: client.fetch(f"SELECT email FROM {view}")) == "invalid_request"
        assert client.fetch(f"SELECT team FROM {view} WHERE id = 3").to_pylist() == [
            {"team": "blue"}
        ]
        schema, name = view.split(".")[1:]
        listed = client.fetch(commands.GetTables("primary", schema, name, (), include_schema=True))
        assert columns_of(listed) == ["id", "team"]
        grant(admin, user, view, columns=["team"], effect="deny")
        assert client.fetch(f"SELECT * FROM {view}").column_names == ["id"]


def test_a_grant_for_a_purpose_holds_in_sessions_that_state_it(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    grant(admin, user, table, purposes=["provider_access"])
    with RawClient.connect(own, user, PASSWORD) as client:
        assert refused(lambda: client.fetch(f"SELECT id FROM {table}")) == "bucket_not_found"
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="provider_access") as client:
        assert client.fetch(f"SELECT id FROM {table}").num_rows == 4


# Row filters


def ids(client: RawClient, table: str) -> list[Any]:
    found: list[Any] = client.fetch(f"SELECT id FROM {table} ORDER BY id")["id"].to_pylist()
    return found


def test_filters_hide_rows_from_the_next_call_on_and_combine(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin, "analyst")
    grant(admin, user, table)
    sql = f"SELECT id FROM {table} ORDER BY id"
    with (
        RawClient.connect(own, user, PASSWORD) as client,
        RawClient.connect(own, user, PASSWORD) as another,
    ):
        assert ids(client, table) == ids(another, table) == [1, 2, 3, 4]
        handle = commands.PreparedStatementQuery(client.prepare(sql).prepared_statement_handle)
        (endpoint,) = client.info(sql).endpoints
        (put,) = admin.call("filter.put", name="red", table=table, filter="team = 'red'")
        assert put.pop("created")
        assert put | {"created_at": ""} == {
            "name": "red",
            "table": table,
            "filter": "team = 'red'",
            "to": None,
            "except_roles": [],
            "created_at": "",
            "created_by": "admin",
        }
        for each in (client, another, admin):
            assert ids(each, table) == [1, 2]
        assert client.fetch(handle)["id"].to_pylist() == [1, 2]
        assert client.read(endpoint.ticket)["id"].to_pylist() == [1, 2]
        assert client.fetch(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": 2}]
        admin.call(
            "filter.put", name="low", table=table, filter="salary < 2000", to={"role": "analyst"}
        )
        assert ids(client, table) == [1]
        assert ids(admin, table) == [1, 2]
        assert admin.call("filter.list", table=table)[0] == put
        (again,) = admin.call("filter.put", name="red", table=table, filter="team = 'blue'")
        assert not again["created"]
        assert ids(client, table) == [3]
        admin.call("filter.drop", name="red", table=table)
        admin.call("filter.drop", name="low", table=table)
        assert client.read(endpoint.ticket)["id"].to_pylist() == [1, 2, 3, 4]
        gone = refused(lambda: admin.call("filter.drop", name="red", table=table))
        assert gone == "rule_not_found"


def test_filters_know_who_asks(own: Server, admin: RawClient, table: str) -> None:
    user, other = new_user(admin), new_user(admin)
    for each in (user, other):
        grant(admin, each, table, purposes=["data_sync"])
        grant(admin, each, table)
    admin.call(
        "filter.put",
        name="own",
        table=table,
        filter=f"(current_user = '{user}' AND id = 1)"
        " OR (current_purpose = 'data_sync' AND id = 2)",
        except_roles=["admin"],
    )
    with RawClient.connect(own, user, PASSWORD) as client:
        assert ids(client, table) == [1]
    with RawClient.connect(own, other, PASSWORD) as client:
        assert ids(client, table) == []
    with RawClient.connect(own, other, PASSWORD, x_lakehouse_purpose="data_sync") as client:
        assert ids(client, table) == [2]
    assert ids(admin, table) == [1, 2, 3, 4]


def test_filters_know_the_attributes_of_accounts(own: Server, admin: RawClient, table: str) -> None:
    user = new_user(admin)
    grant(admin, user, table)
    admin.call("filter.put", name="team", table=table, filter="team = attribute('team')")
    with RawClient.connect(own, user, PASSWORD) as client:
        assert ids(client, table) == []
        admin.call("user.set_attributes", username=user, attributes={"team": "red"})
        assert ids(client, table) == [1, 2]
        admin.call("user.set_attributes", username=user, attributes={"team": "' OR true --"})
        assert ids(client, table) == []


def test_a_filter_for_one_account_is_for_that_very_account(
    own: Server, admin: RawClient, table: str
) -> None:
    user, other = new_user(admin), new_user(admin)
    grant(admin, user, table)
    grant(admin, other, table)
    admin.call("filter.put", name="one", table=table, filter="id > 3", to={"user": user})
    with RawClient.connect(own, user, PASSWORD) as client:
        assert ids(client, table) == [4]
    with RawClient.connect(own, other, PASSWORD) as client:
        assert ids(client, table) == [1, 2, 3, 4]


# Masks


@pytest.mark.parametrize(
    ("column", "redaction", "shown"),
    [
        ("email", {"kind": "null"}, [None, None, None, None]),
        (
            "email",
            {"kind": "mask", "keep_prefix": 2},
            ["an********", "bo********", "cl********", None],
        ),
        ("email", {"kind": "mask"}, ["********", "********", "********", None]),
        ("salary", {"kind": "generalise", "to": "1000"}, [1000.0, 2000.0, 0.0, 0.0]),
    ],
)
def test_masks_of_each_kind_as_a_driver_sees_them(
    own: Server,
    admin: RawClient,
    table: str,
    column: str,
    redaction: dict[str, Any],
    shown: list[Any],
) -> None:
    user = new_user(admin)
    grant(admin, user, table)
    admin.call(
        "mask.put",
        name="m",
        table=table,
        column=column,
        redaction=redaction,
        except_roles=["admin"],
    )
    with own.connect(user, PASSWORD) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT id, {column} FROM {table} ORDER BY id")
        found = cursor.fetch_arrow_table()
    assert found[column].to_pylist() == shown
    assert found.schema.field(column).type == people().schema.field(column).type
    assert own.fetch(f"SELECT {column} FROM {table} ORDER BY id")[column] == people()[column]
    (listed,) = admin.call("mask.list", table=table)
    assert listed["path"] == [column]
    assert listed["redaction"]["kind"] == redaction["kind"]


def test_a_hash_is_the_same_for_equal_values_and_tells_nothing(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    grant(admin, user, table)
    admin.call("mask.put", name="h", table=table, column="team", redaction={"kind": "hash"})
    with RawClient.connect(own, user, PASSWORD) as client:
        first, second, third, last = client.fetch(f"SELECT team FROM {table} ORDER BY id")[
            "team"
        ].to_pylist()
    assert first == second != third
    assert last is None
    assert "red" not in (first, second, third)


def test_a_field_of_a_struct_is_masked_by_its_path(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    grant(admin, user, table)
    admin.call("mask.put", name="zip", table=table, column="at.zip", redaction={"kind": "null"})
    with RawClient.connect(own, user, PASSWORD) as client:
        found = client.fetch(f'SELECT "at", "at"[\'zip\'] AS zip FROM {table} ORDER BY id')
    assert found["at"].to_pylist()[0] == {"city": "Oslo", "zip": None}
    assert found["zip"].to_pylist() == [None, None, None, None]
    admin.call("mask.put", name="zip", table=table, path=["at"], redaction={"kind": "null"})
    with RawClient.connect(own, user, PASSWORD) as client:
        assert client.fetch(f'SELECT "at" FROM {table}')["at"].null_count == 4


def test_a_label_lets_a_purpose_hide_a_column(own: Server, admin: RawClient, table: str) -> None:
    user = new_user(admin)
    grant(admin, user, table, purposes=["user_view"])
    grant(admin, user, table)
    admin.call("label.put", table=table, column="name", label="device_info")
    sql = f"SELECT name FROM {table} WHERE id = 1"
    with RawClient.connect(own, user, PASSWORD) as client:
        assert client.fetch(sql).to_pylist() == [{"name": "Ann"}]
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="user_view") as client:
        assert client.fetch(sql).to_pylist() == [{"name": None}]
        admin.call("label.drop", table=table, column="name", label="device_info")
        assert client.fetch(sql).to_pylist() == [{"name": "Ann"}]
    assert admin.call("label.list", table=table) == []


# Who may


def test_who_manages_a_table_makes_its_rules_and_nobody_else_does(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    body = {"name": "f", "table": table, "filter": "id > 1"}
    with RawClient.connect(own, user, PASSWORD) as client:
        assert refused(lambda: client.call("filter.put", **body)) == "bucket_not_found"
        grant(admin, user, "primary.hr")
        assert refused(lambda: client.call("filter.put", **body)) == "permission_denied"
        for action in ("filter.list", "mask.list", "label.list"):
            assert refused(lambda: client.call(action, table=table)) == "permission_denied"  # noqa: B023
            assert client.call(action) == []
        assert refused(lambda: client.call("filter.drop", name="f", table=table)) == (
            "permission_denied"
        )
        grant(admin, user, table, privilege="manage")
        (put,) = client.call("filter.put", **body)
        assert put["created_by"] == user
        assert ids(client, table) == [2, 3, 4]
        assert [each["name"] for each in client.call("filter.list")] == ["f"]
        client.call("filter.drop", name="f", table=table)
        system = {**body, "table": "system.usage.activity"}
        assert refused(lambda: client.call("filter.put", **system)) == "unsupported"


def test_who_manages_and_does_not_read_makes_masks_but_no_filters(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    grant(admin, user, table, privilege="manage")
    with RawClient.connect(own, user, PASSWORD) as client:
        client.call("mask.put", name="m", table=table, column="name", redaction={"kind": "null"})
        body = {"name": "f", "table": table, "filter": "id > 1"}
        assert refused(lambda: client.call("filter.put", **body)) == "permission_denied"


def test_a_column_that_is_denied_to_who_manages_a_table_does_not_exist_for_them(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    for privilege in ("read", "manage", "write"):
        grant(admin, user, table, privilege=privilege)
    grant(admin, user, table, columns=["email"], effect="deny")
    mask = {"name": "m", "table": table, "redaction": {"kind": "null"}}
    with RawClient.connect(own, user, PASSWORD) as client:
        for action, body in (
            ("mask.put", {**mask, "column": "{}"}),
            ("mask.put", {**mask, "column": "{}.inside"}),
            ("label.put", {"table": table, "column": "{}", "label": "user_id"}),
            ("filter.put", {"name": "f", "table": table, "filter": "{} = 'x'"}),
            ("filter.put", {"name": "f", "table": table, "filter": "lower({}) = 'x'"}),
            ("table.append", {"table": table, "rows": [{"id": 9, "{}": "x"}]}),
            ("table.update", {"table": table, "set": {"{}": "x"}, "where": "id = 9"}),
            ("table.delete", {"table": table, "where": "{} = 'x'"}),
            ("table.merge", {"table": table, "on": ["id"], "rows": [{"id": 9, "{}": "x"}]}),
            ("table.z_order", {"table": table, "columns": ["{}"]}),
            (
                "tombstone.add",
                {
                    "table": table,
                    "row_key_column": "{}",
                    "row_key_values": ["x"],
                    "reason": "why",
                },
            ),
            ("view.put", {"name": f"{table}_view", "base": table, "columns": ["{}"]}),
        ):
            text = json.dumps(body)
            hidden, never = (
                said(lambda: client.call(action, **json.loads(text.replace("{}", name))))  # noqa: B023
                for name in ("email", "emial")
            )
            assert hidden.replace("email", "emial") == never, action


STATEMENTS = (
    "SELECT {} FROM {table}",
    "SELECT p.{} FROM {table} p",
    'SELECT "{}" FROM {table}',
    "SELECT id FROM {table} WHERE {} IS NULL",
    "SELECT id FROM {table} ORDER BY {}",
    "SELECT count({}) FROM {table} GROUP BY id",
    "SELECT id FROM {table} a JOIN {table} b USING ({})",
    "SELECT (SELECT max({}) FROM {table}) AS n",
    "SELECT * EXCEPT ({}) FROM {table}",
    "WITH c AS (SELECT * FROM {table}) SELECT {} FROM c",
    'SELECT {} FROM "{name}@v0"',
    "SELECT {} FROM {table} VERSION AS OF 0",
    "EXPLAIN SELECT {} FROM {table}",
    "UPDATE {table} SET {} = 'x'",
    "UPDATE {table} SET team = {}",
    "DELETE FROM {table} WHERE {} = 'x'",
    "INSERT INTO {table} (id, {}) VALUES (9, 'x')",
    "MERGE INTO {table} t USING (SELECT 1 AS n) s ON t.id = n WHEN MATCHED THEN UPDATE SET {} = 1",
    "ALTER TABLE {table} DROP COLUMN {}",
    "ALTER TABLE {table} RENAME COLUMN {} TO other",
    "OPTIMIZE {table} ZORDER BY ({})",
    "DESCRIBE {table}.{}",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_hidden_column_is_in_every_statement_like_one_that_never_was(
    own: Server, admin: RawClient, table: str, statement: str
) -> None:
    user = new_user(admin)
    for privilege in ("read", "write", "maintain"):
        grant(admin, user, table, privilege=privilege)
    grant(admin, user, table, columns=["email"], effect="deny")
    bucket, schema, name = table.split(".")
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_bucket=bucket) as client:
        text = statement.replace("{table}", table).replace('"{name}@v0"', f'{schema}."{name}@v0"')
        hidden, never = (
            said(lambda: client.fetch(text.replace("{}", column)))  # noqa: B023
            for column in ("email", "emial")
        )
    assert hidden.replace("email", "emial") == never


def test_what_is_masked_is_not_found_out_by_what_is_done_with_it(
    own: Server, admin: RawClient, table: str
) -> None:
    user = new_user(admin)
    for privilege in ("read", "write", "maintain"):
        grant(admin, user, table, privilege=privilege)
    admin.call("mask.put", name="m", table=table, column="salary", redaction={"kind": "null"})
    keys = {"row_key_values": [99.0], "reason": "a guess"}
    with RawClient.connect(own, user, PASSWORD) as client:
        for column in ("salary", "SALARY"):
            order = {"table": table, "columns": [column]}
            assert refused(lambda: client.call("table.z_order", **order)) == "permission_denied"  # noqa: B023
            guess = {"table": table, "row_key_column": column, **keys}
            assert refused(lambda: client.call("tombstone.add", **guess)) == "permission_denied"  # noqa: B023
        client.call("table.z_order", table=table, columns=["id"])


def test_names_of_files_tell_no_values_to_who_sees_a_part(own: Server, admin: RawClient) -> None:
    user, table = new_user(admin), f"primary.hr.parted{next(_numbers)}"
    admin.fetch(f"CREATE TABLE {table} PARTITIONED BY (team) AS SELECT id, team FROM {PEOPLE}")
    admin.fetch(f"DELETE FROM {table} WHERE id > 2")
    body = {"table": table, "retention_hours": 0, "dry_run": True}
    grant(admin, user, table, privilege="maintain")

    def told(client: RawClient) -> bool:
        (answer,) = client.call("table.vacuum", **body)
        listed = client.fetch(f"VACUUM {table} RETAIN 0 HOURS DRY RUN")["file"].to_pylist()
        assert answer["files"] == listed
        assert answer["file_count"] == 2
        return "team=" in str(listed)

    assert told(admin)
    with RawClient.connect(own, user, PASSWORD) as client:
        assert not told(client)
        grant(admin, user, table)
        assert told(client)
        admin.call("filter.put", name="f", table=table, filter="id > 1", to={"user": user})
        assert not told(client)


# Bad input


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("", "line=1 column=1"),
        ("id =", "line=1 column="),
        ("id = = 1", "line=1 column=6"),
        ("id > 1 AND\n  id +", "line=2 column="),
        ("id", "line=1 column=1"),
        ("no_such > 1", "line=1 column=1"),
        ("id > 1 AND people.id > 1", "line=1 column=12"),
        ("id IN (SELECT 1)", "line=1 column=8"),
        ("nothing_known(id) = 1", "line=1 column=1"),
        ("random() > 0.5", "line=1 column=1"),
        ("id = ?", "line=1 column=6"),
        ("id > 1; DELETE FROM t", "line=1 column=7"),
        ("id > 1 AND lower(id, id) = 'a'", "line=1 column=12"),
        ('id > 1 AND\n "at".nothing = 1', "line=2 column=7"),
    ],
)
def test_a_bad_filter_is_refused_with_the_place_of_the_mistake(
    admin: RawClient, condition: str, told: str
) -> None:
    message = said(lambda: admin.call("filter.put", name="f", table=PEOPLE, filter=condition))
    assert told in message
    assert admin.call("filter.list", table=PEOPLE) == []


MASK = {"name": "m", "table": PEOPLE, "column": "email", "redaction": {"kind": "null"}}


@pytest.mark.parametrize(
    ("action", "body", "code"),
    [
        ("filter.put", {"name": "f", "table": "hr.none", "filter": "true"}, "table_not_found"),
        ("filter.put", {"name": "", "table": PEOPLE, "filter": "true"}, "invalid_request"),
        ("filter.put", {"name": "a/b", "table": PEOPLE, "filter": "true"}, "invalid_request"),
        ("mask.put", {**MASK, "column": "none"}, "column_not_found"),
        ("mask.put", {**MASK, "column": "at.none"}, "invalid_request"),
        ("mask.put", {**MASK, "column": "id.none"}, "invalid_request"),
        ("mask.put", {**MASK, "column": ""}, "column_not_found"),
        ("mask.put", {**MASK, "path": ["email"]}, "invalid_request"),
        ("mask.put", {**MASK, "redaction": {"kind": "blur"}}, "invalid_request"),
        ("mask.put", {**MASK, "redaction": {"kind": "null", "to": "day"}}, "invalid_request"),
        ("mask.put", {**MASK, "redaction": {"kind": "generalise"}}, "invalid_request"),
        ("mask.put", {**MASK, "column": "id", "redaction": {"kind": "mask"}}, "invalid_request"),
        ("mask.put", {**MASK, "to": {"role": "nobodys"}}, "role_not_found"),
        ("mask.put", {**MASK, "to": {"user": "nobody"}}, "user_not_found"),
        ("mask.put", {**MASK, "to": {"user": "admin", "role": "admin"}}, "invalid_request"),
        ("mask.put", {**MASK, "except_roles": ["nobodys"]}, "role_not_found"),
        ("mask.drop", {"name": "m", "table": PEOPLE}, "rule_not_found"),
        ("label.put", {"table": PEOPLE, "column": "none", "label": "user_id"}, "column_not_found"),
        ("label.put", {"table": PEOPLE, "column": "id", "label": "secret"}, "invalid_request"),
        ("label.drop", {"table": PEOPLE, "column": "id", "label": "user_id"}, "rule_not_found"),
    ],
)
def test_bad_bodies_get_a_clear_answer(
    admin: RawClient, action: str, body: dict[str, Any], code: str
) -> None:
    assert refused(lambda: admin.call(action, **body)) == code


def test_no_rules_are_put_on_an_sql_view(admin: RawClient, table: str) -> None:
    view = f"primary.hr.view{next(_numbers)}"
    admin.fetch(f"CREATE VIEW {view} AS SELECT id FROM {table}")
    body = {"name": "f", "table": view, "filter": "id > 1"}
    assert refused(lambda: admin.call("filter.put", **body)) == "unsupported"


# Names that rules depend on


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        (("filter.put", {"name": "f", "filter": "team = 'red'"}), "team"),
        (("mask.put", {"name": "m", "column": "at.zip", "redaction": {"kind": "null"}}), "at"),
        (("label.put", {"column": "name", "label": "user_id"}), "name"),
        (("grant.add", {"columns": ["email"], "effect": "deny"}), "email"),
    ],
)
def test_what_a_rule_names_is_not_renamed_away(
    own: Server, admin: RawClient, table: str, rule: tuple[str, dict[str, Any]], column: str
) -> None:
    action, body = rule
    if action == "grant.add":
        grant(admin, new_user(admin), table, **body)
    else:
        admin.call(action, table=table, except_roles=["admin"], **body) if (
            action != "label.put"
        ) else admin.call(action, table=table, **body)
    for sql in (
        f'ALTER TABLE {table} RENAME COLUMN "{column}" TO other',
        f'ALTER TABLE {table} DROP COLUMN "{column}"',
        f"ALTER TABLE {table} RENAME TO renamed{next(_numbers)}",
    ):
        assert refused(lambda: admin.fetch(sql)) == "has_policies", sql  # noqa: B023
    admin.fetch(f"ALTER TABLE {table} RENAME COLUMN salary TO pay")


@pytest.mark.parametrize(
    ("action", "body", "column"),
    [
        (
            "tombstone.add",
            {"row_key_column": "id", "row_key_values": [9], "reason": "why"},
            "id",
        ),
        ("view.put", {"name": "", "columns": ["id", "team"]}, "team"),
        ("view.put", {"name": "", "columns": ["id"], "row_filter": "salary > 0"}, "salary"),
    ],
)
def test_what_tombstones_and_safe_views_name_is_not_renamed_away(
    admin: RawClient, table: str, action: str, body: dict[str, Any], column: str
) -> None:
    if action == "view.put":
        admin.call(action, **{**body, "name": f"{table}_shown", "base": table})
    else:
        admin.call(action, table=table, **body)
    for sql in (
        f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
        f"ALTER TABLE {table} DROP COLUMN {column}",
        f"ALTER TABLE {table} RENAME TO renamed{next(_numbers)}",
    ):
        assert refused(lambda: admin.fetch(sql)) == "has_policies", sql  # noqa: B023


def test_rules_on_a_safe_view_narrow_it_further(own: Server, admin: RawClient, table: str) -> None:
    user, view = new_user(admin), f"{table}_shown"
    admin.call("view.put", name=view, base=table, columns=["id", "team", "email"])
    grant(admin, user, view)
    with RawClient.connect(own, user, PASSWORD) as client:
        assert ids(client, view) == [1, 2, 3, 4]
        admin.call("filter.put", name="f", table=view, filter="team = 'red'")
        admin.call("mask.put", name="m", table=view, column="email", redaction={"kind": "null"})
        found = client.fetch(f"SELECT id, email FROM {view} ORDER BY id").to_pylist()
        assert found == [{"id": 1, "email": None}, {"id": 2, "email": None}]
        assert ids(admin, table) == [1, 2, 3, 4]
        grant(admin, user, view, columns=["email"], effect="deny")
        assert client.fetch(f"SELECT * FROM {view}").column_names == ["id", "team"]
    hidden = {"name": "g", "table": view, "filter": "salary > 0"}  # of the table, not of the view
    assert "line=1 column=1" in said(lambda: admin.call("filter.put", **hidden))


def test_rules_narrow_plain_parquet_too(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    (own.directory / "plain").mkdir()
    pq.write_table(people(), own.directory / "plain" / "people.parquet")
    table = "primary.plain.people"
    grant(admin, user, table, columns=["id", "name"])
    admin.call("filter.put", name="f", table=table, filter="team = 'red'")
    admin.call("mask.put", name="m", table=table, column="name", redaction={"kind": "mask"})
    with RawClient.connect(own, user, PASSWORD) as client:
        assert client.fetch(f"SELECT * FROM {table} ORDER BY id").to_pylist() == [
            {"id": 1, "name": "********"},
            {"id": 2, "name": "********"},
        ]


def test_rules_stay_with_the_name_of_a_table(own: Server, admin: RawClient, table: str) -> None:
    user = new_user(admin)
    grant(admin, user, table)
    admin.call("filter.put", name="f", table=table, filter="id > 3", except_roles=["admin"])
    admin.fetch(f"DROP TABLE {table}")
    admin.fetch(f"CREATE TABLE {table} AS SELECT * FROM {PEOPLE}")
    with RawClient.connect(own, user, PASSWORD) as client:
        assert ids(client, table) == [4]
        admin.fetch(f"DROP TABLE {table}")
        admin.fetch(f"CREATE TABLE {table} AS SELECT name FROM {PEOPLE}")
        assert refused(lambda: client.fetch(f"SELECT * FROM {table}")) == "policy_misfit"


# Rules that cannot be read


def test_a_rule_that_cannot_be_read_closes_everything(tmp_path: Path) -> None:
    write(tmp_path / "hr" / "people", people())
    with running(tmp_path) as server, RawClient.connect(server) as admin:
        admin.call("filter.put", name="f", table=PEOPLE, filter="id > 1")
        assert ids(admin, PEOPLE) == [2, 3, 4]
        user = new_user(admin)
        grant(admin, user, PEOPLE)
        masks = SystemTable(
            tmp_path / ".lakeflight", MASKS, clock=SystemClock(), random_bytes=os.urandom
        )
        rule = ColumnMask("m", TableRef("primary", "hr", "people"), ("name",), NULLED)
        row = mask_row(rule, created_at=datetime.now(UTC), created_by=None)
        masks.change(lambda _: [row | {"kind": "blur"}])
        with RawClient.connect(server, user, PASSWORD) as client:
            for each in (admin, client):
                assert refused(lambda: each.fetch(f"SELECT id FROM {PEOPLE}")) == "unavailable"  # noqa: B023
        assert refused(lambda: admin.call("mask.list")) == "unavailable"
        masks.change(lambda _: Change(remove=frozenset({row["rule"]})))
        assert ids(admin, PEOPLE) == [2, 3, 4]
