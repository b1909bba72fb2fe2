"""AI-safe views over the wire: they show what they say, and nothing of what they are made of."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest

from flight_server.demo import staffing
from flight_server.protocol import commands
from tests import tables as zoo
from tests.lakehouse import orders_table, regions_table, write
from tests.servers import Server, running
from tests.wire.loading import ingest, load
from tests.wire.raw import RawClient, error_code, refused

PASSWORD = "quite another horse"
SHOWN = [
    *("candidate_id", "city", "state", "vertical", "skills", "years_experience", "status"),
    "available_from",
]
BASE = "staffing.candidates"
SAFE: dict[str, Any] = {
    "name": "ai.candidates_safe",
    "base": BASE,
    "columns": SHOWN,
    "row_filter": "status != 'blocked'",
    "redactions": {"candidate_id": {"kind": "mask", "keep_prefix": 5}},
    "description": "Candidates without personal data",
    "tags": ["ai", "staffing"],
}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("safe")
    people = directory / "lake/staffing/candidates"
    write(people, candidates(0, 90_000))
    write(people, candidates(90_000, 100_000))
    write(directory / "lake/sales/orders", orders_table(1000))
    write(directory / "archive/old/regions", regions_table())
    (directory / "lake/ai").mkdir()
    (directory / "lake/ai/_schema").touch()
    return directory


def candidates(start: int, stop: int) -> pa.Table:
    """Return candidates of the demo, of whom just each tenth is blocked."""
    people = staffing.candidates(start, stop, revision=2).read_all()
    status = [
        "blocked" if place % 10 == 1 else "placed" if text == "blocked" else text
        for place, text in enumerate(people["status"].to_pylist())
    ]
    return people.set_column(people.schema.get_field_index("status"), "status", pa.array(status))


def serving(folder: Path) -> Any:
    return running(
        folder / "lake",
        environment={
            "LAKEFLIGHT_WORKERS__COUNT_MAX": "4",
            "LAKEFLIGHT_STORAGE__BUCKETS": f'{{"archive": "{folder}/archive"}}',
        },
    )


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[Server]:
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        assert client.call("view.put", **SAFE) == [
            {"name": "primary.ai.candidates_safe", "created": True}
        ]
        yield client


@pytest.fixture(scope="module")
def agent(own: Server, admin: RawClient) -> Iterator[RawClient]:
    """An AI agent whose role may read the views, and nothing else."""
    add_user(admin, "robot", "agent")
    admin.call("grant.add", privilege="read", resource="primary.ai", to={"role": "agent"})
    with RawClient.connect(own, "robot", PASSWORD) as client:
        yield client


def add_user(admin: RawClient, name: str, *roles: str) -> None:
    admin.call("auth.register", username=name, email=f"{name}@example.com", password=PASSWORD)
    admin.call("user.approve", username=name, role="registered", tier="enterprise")
    admin.call("user.set_role", username=name, role="registered", custom_roles=list(roles))


def orders(folder: Path, rows: int = 10) -> str:
    """Make a table of its own with orders; return its name."""
    name = f"orders{next(_numbers)}"
    write(folder / "lake/sales" / name, orders_table(rows))
    return f"sales.{name}"


def put(admin: RawClient, base: str, columns: list[str], **more: Any) -> str:
    """Put a view under a name of its own, which it returns."""
    name = f"ai.view{next(_numbers)}"
    admin.call("view.put", name=name, base=base, columns=columns, **more)
    return name


def rows(client: RawClient, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.fetch(sql).to_pylist()
    return found


def count(client: RawClient, name: str) -> int:
    return int(rows(client, f"SELECT count(*) AS n FROM {name}")[0]["n"])


def update(client: RawClient, sql: str) -> None:
    """Execute a statement that is no query."""
    client.info(sql)


def message(client: RawClient, sql: str) -> tuple[str, str]:
    with pytest.raises(fl.FlightError) as raised:
        client.fetch(sql)
    return error_code(raised.value), str(raised.value).split(". Detail")[0]


# What it is for


@pytest.mark.slow
def test_the_example_of_the_seeds(folder: Path) -> None:
    directory = folder.parent / "seeds"
    people = directory / "candidates"
    write(people, candidates(0, 100_000))
    with running(directory) as server:
        with RawClient.connect(server) as admin:
            first = rows(admin, "SELECT min(candidate_id) AS a FROM candidates")[0]["a"]
            gone = [first[:-1] + digit for digit in "123"]
            answers = admin.call(
                "tombstone.add",
                table="candidates",
                row_key_column="candidate_id",
                row_key_values=gone,
                reason="asked to be forgotten",
            )
            assert [each["row_key_value"] for each in answers] == gone
            seen = {**SAFE, "name": "candidates_safe", "base": "candidates"}
            admin.call("view.put", **seen)
            add_user(admin, "robot", "agent")
            admin.call(
                "grant.add",
                privilege="read",
                resource="primary.public.candidates_safe",
                to={"role": "agent"},
            )
        expected = checked_example(server, first)
    with running(directory) as server:
        assert checked_example(server, first) == expected


def checked_example(server: Server, first: str) -> int:
    """Check what the view and the table show; return how many rows the view has."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM candidates")
        assert cursor.fetchall() == [(99_997,)]
        cursor.execute("SELECT count(*) FROM candidates WHERE status <> 'blocked'")
        expected = cursor.fetchall()[0][0]
        assert expected == 89_998  # one of the three is blocked
        cursor.execute("SELECT email, phone, last_name, candidate_id FROM candidates LIMIT 2000")
        personal = [value for row in cursor.fetchall() for value in row if value is not None]
    with server.connect("robot", PASSWORD) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM candidates_safe")
        table = cursor.fetch_arrow_table()
        assert table.column_names == SHOWN
        assert table.num_rows == expected
        assert set(table["candidate_id"].to_pylist()) == {first[:5] + "*" * 8}
        assert "blocked" not in set(table["status"].to_pylist())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        received = sink.getvalue().to_pybytes()
        assert not re.search(rb"[a-z]@[a-z]", received)
        assert not re.search(rb"CAND-\d", received)
        texts = {text for name in ("city", "skills") for text in table[name].to_pylist()}
        assert not [value for value in personal if value in texts]
        for hidden in ("email", "phone", "first_name", "desired_salary"):
            with pytest.raises(flightsql.Error) as raised:
                cursor.execute(f"SELECT {hidden} FROM candidates_safe")
            assert error_code(raised.value) == "invalid_request"
        with pytest.raises(flightsql.Error) as raised:
            cursor.execute("SELECT * FROM candidates")
        assert error_code(raised.value) == "table_not_found"
    return int(expected)


def test_a_mask_keeps_joins_and_groups_of_other_columns(agent: RawClient, admin: RawClient) -> None:
    sql = "SELECT status, count(*) AS n FROM {} GROUP BY status ORDER BY status"
    every = rows(admin, sql.format(BASE))
    assert rows(agent, sql.format("ai.candidates_safe")) == [
        each for each in every if each["status"] != "blocked"
    ]
    assert rows(agent, "SELECT count(*) AS n FROM ai.candidates_safe WHERE status = 'blocked'") == [
        {"n": 0}
    ]
    assert rows(
        agent, "SELECT count(*) AS n FROM ai.candidates_safe WHERE candidate_id LIKE '%1%'"
    ) == [{"n": 0}]


# Whoever may read the view only


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {}",
        "SELECT count(*) FROM {}",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM {})",
        "SELECT * FROM ai.candidates_safe JOIN {} AS other ON true",
        "WITH x AS (SELECT * FROM {}) SELECT * FROM x",
        "SELECT * FROM ai.candidates_safe UNION ALL SELECT city FROM {}",
        "SELECT * FROM {} VERSION AS OF 0",
        "SELECT * FROM {} TIMESTAMP AS OF '2026-01-01T00:00:00Z'",
        "DESCRIBE {}",
        "DESCRIBE HISTORY {}",
        "DELETE FROM {}",
        "DROP TABLE {}",
        "INSERT INTO {} VALUES (1)",
    ],
)
def test_the_base_does_not_exist_for_an_agent(agent: RawClient, sql: str) -> None:
    hidden = message(agent, sql.format("staffing.candidates"))
    missing = message(agent, sql.format("staffing.candidxtes"))
    assert hidden[0].endswith("not_found")
    assert hidden == (missing[0], missing[1].replace("candidxtes", "candidates"))


def test_an_agent_finds_the_view_in_every_listing_and_nothing_of_its_base(
    own: Server, agent: RawClient
) -> None:
    found = agent.fetch(commands.GetTables(None, None, None, (), include_schema=True))
    listed = [row for row in found.to_pylist() if row["db_schema_name"] != "information_schema"]
    names = {row["table_name"]: row["table_type"] for row in listed}
    assert names["candidates_safe"] == "VIEW"
    assert not {"candidates", "orders", "regions"} & set(names)
    everything = str(found.to_pylist())
    assert "staffing" not in everything.replace("'staffing'", "staffing")
    shown = rows(agent, "SELECT * FROM information_schema.views ORDER BY table_name")
    assert [row["view_definition"] for row in shown if row["table_name"] == "candidates_safe"] == [
        None
    ]
    columns = rows(
        agent,
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_name = 'candidates_safe' ORDER BY ordinal_position",
    )
    assert [row["column_name"] for row in columns] == SHOWN
    assert [row["column_name"] for row in rows(agent, "DESCRIBE ai.candidates_safe")] == SHOWN
    assert "candidates_safe" in str(rows(agent, "SHOW TABLES IN ai"))
    with own.connect("robot", PASSWORD) as connection:
        objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        described = connection.adbc_get_table_schema("candidates_safe", db_schema_filter="ai")
    tables = {
        table["table_name"]: table
        for catalog in objects
        for schema in catalog["catalog_db_schemas"]
        if schema["db_schema_name"] == "ai"
        for table in schema["db_schema_tables"]
    }
    assert tables["candidates_safe"]["table_type"] == "VIEW"
    assert [each["column_name"] for each in tables["candidates_safe"]["table_columns"]] == SHOWN
    assert described.names == SHOWN


def test_administrators_read_what_it_does(admin: RawClient) -> None:
    (found,) = rows(
        admin,
        "SELECT view_definition FROM information_schema.views WHERE table_name = 'candidates_safe'",
    )
    text = found["view_definition"]
    assert 'FROM "primary"."staffing"."candidates"' in text
    assert "WHERE (status != 'blocked')" in text
    assert "candidate_id is shown as stars" in text
    (got,) = admin.call("view.get", name="ai.candidates_safe")
    again = {name: got[name] for name in SAFE if name != "name"}
    assert admin.call("view.put", name=got["name"], **again) == [
        {"name": "primary.ai.candidates_safe", "created": False}
    ]


def test_an_agent_learns_of_a_view_what_it_shows(agent: RawClient) -> None:
    (got,) = agent.call("view.get", name="ai.candidates_safe")
    assert got["columns"] == SHOWN
    assert got["description"] == SAFE["description"]
    assert not {"base", "row_filter", "redactions", "created_by"} & set(got)
    assert "primary.ai.candidates_safe" in [
        each["name"] for each in agent.call("view.list", tag="staffing")
    ]
    assert agent.call("view.list", base=BASE) == []
    assert agent.call("view.list", tag="nothing") == []
    assert refused(lambda: agent.call("view.get", name=BASE)) == "table_not_found"
    for action in ("view.drop", "view.preview"):
        assert refused(lambda action=action: agent.call(action, name=SAFE["name"])) == (  # type: ignore[misc]  # bound at once
            "permission_denied"
        )
    assert refused(lambda: agent.call("view.put", **SAFE)) == "permission_denied"
    assert refused(lambda: agent.call("view.rotate_key")) == "permission_denied"


def test_rows_of_a_view_are_not_changed(admin: RawClient, agent: RawClient) -> None:
    name = SAFE["name"]
    for sql in (
        f"DELETE FROM {name}",
        f"UPDATE {name} SET city = 'x'",
        f"INSERT INTO {name} SELECT * FROM {name}",
        f"TRUNCATE TABLE {name}",
        f"OPTIMIZE {name}",
        f"SELECT * FROM (DESCRIBE HISTORY {name})",
    ):
        assert message(admin, sql)[0] in ("unsupported", "invalid_request")
    assert refused(lambda: update(agent, f"DELETE FROM {name}")) == "permission_denied"
    target = ingest("candidates_safe", schema="ai", mode="append")
    loaded = pa.table({"city": ["x"]})
    assert refused(lambda: load(agent, target, loaded)) == "permission_denied"
    assert refused(lambda: load(admin, target, loaded)) == "unsupported"


# Time


def test_older_versions_are_those_of_the_base_under_todays_view(
    agent: RawClient, admin: RawClient
) -> None:
    condition = "status <> 'blocked'"
    expected = rows(admin, f"SELECT count(*) AS n FROM {BASE} VERSION AS OF 0 WHERE {condition}")
    for name in ("ai.candidates_safe VERSION AS OF 0", 'ai."candidates_safe@v0"'):
        assert rows(agent, f"SELECT count(*) AS n FROM {name}") == expected
        assert agent.fetch(f"SELECT * FROM {name} LIMIT 1").column_names == SHOWN
    assert message(agent, "SELECT * FROM ai.candidates_safe VERSION AS OF 9") == (
        "version_not_found",
        message(agent, "SELECT * FROM ai.candidates_safe VERSION AS OF 9")[1],
    )
    assert "staffing" not in message(agent, 'SELECT * FROM ai."candidates_safe@v9"')[1]


def test_a_ticket_reads_its_state_under_the_view_of_the_moment(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    base = orders(folder)
    name = put(admin, base, ["order_id", "note"])
    sql = f"SELECT * FROM {name} ORDER BY order_id"
    (endpoint,) = agent.info(sql).endpoints
    assert agent.read(endpoint.ticket).num_rows == 10
    write(folder / "lake" / base.replace(".", "/"), orders_table(3))
    assert agent.read(endpoint.ticket).num_rows == 10
    assert count(agent, name) == 13
    admin.call(
        "view.put", name=name, base=base, columns=["order_id", "note"], row_filter="order_id < 5"
    )
    assert agent.read(endpoint.ticket).num_rows == 4
    admin.call(
        "view.put",
        name=name,
        base=base,
        columns=["order_id", "note"],
        redactions={"note": {"kind": "null"}},
    )
    assert set(agent.read(endpoint.ticket)["note"].to_pylist()) == {None}
    admin.call("view.put", name=name, base=base, columns=["order_id"])
    assert refused(lambda: agent.read(endpoint.ticket)) == "conflict"
    admin.call("view.drop", name=name)
    assert refused(lambda: agent.read(endpoint.ticket)) == "table_not_found"


def test_results_that_are_kept_are_those_of_the_view_as_it_is(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    base = orders(folder, 5)
    name = put(admin, base, ["customer"])
    sql = f"SELECT * FROM {name}"
    for _ in range(3):
        assert len(set(agent.fetch(sql)["customer"].to_pylist())) == 5
    admin.call(
        "view.put",
        name=name,
        base=base,
        columns=["customer"],
        redactions={"customer": {"kind": "mask"}},
    )
    for _ in range(3):
        assert set(agent.fetch(sql)["customer"].to_pylist()) == {"********"}
        assert set(admin.fetch(sql)["customer"].to_pylist()) == {"********"}


# Views over views, and over what changes


def test_views_over_views_show_what_all_of_them_show(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    base = orders(folder)
    below = put(
        admin,
        base,
        ["order_id", "customer", "amount"],
        row_filter="order_id > 2",
        redactions={"customer": {"kind": "mask", "keep_suffix": 3}},
    )
    above = put(
        admin, below, ["order_id", "customer"], row_filter="order_id < 5 AND customer LIKE '%003'"
    )
    assert rows(agent, f"SELECT * FROM {above}") == [{"order_id": 4, "customer": "********003"}]
    assert "amount" in message(agent, f"SELECT amount FROM {above}")[1]
    with pytest.raises(fl.FlightError, match="no column"):
        put(admin, below, ["note"])
    with pytest.raises(fl.FlightError, match="no column"):
        put(admin, below, ["order_id"], row_filter="note IS NULL")
    with pytest.raises(fl.FlightError) as raised:
        admin.call("view.put", name=below, base=above, columns=["order_id"])
    assert error_code(raised.value) == "view_recursive"
    admin.call("view.drop", name=below)
    assert message(agent, f"SELECT * FROM {above}")[0] == "view_broken"


def test_a_view_may_be_of_a_table_of_another_bucket(agent: RawClient, admin: RawClient) -> None:
    name = put(admin, "archive.old.regions", ["region"], row_filter="zone = 'cold zone'")
    assert rows(agent, f"SELECT region FROM {name} ORDER BY 1") == [
        {"region": "North"},
        {"region": "West"},
    ]
    assert message(agent, "SELECT * FROM archive.old.regions")[0] == "bucket_not_found"


def test_a_view_whose_base_changed_shows_nothing(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    base = orders(folder)
    name = put(admin, base, ["order_id", "customer"])
    update(admin, f"ALTER TABLE {base} ADD COLUMN more BIGINT")
    assert agent.fetch(f"SELECT * FROM {name}").column_names == ["order_id", "customer"]
    sql = f"SELECT order_id FROM {name}"
    drop = f"ALTER TABLE {base} DROP COLUMN customer"
    assert message(admin, drop)[0] == "has_policies"
    place = folder / "lake" / base.replace(".", "/")
    other = orders_table(3).rename_columns(["order_id", "client", "amount", "ordered_on", "note"])
    shutil.rmtree(place)  # as another tool may do
    write(place, other)
    code, said = message(agent, sql)
    assert code == "view_broken"
    assert name in said
    assert base not in said
    said = message(admin, sql)[1]
    assert (said.count("cannot be used"), "no column 'customer'" in said) == (1, True)
    assert message(agent, f"SELECT count(*) FROM {name}")[0] == "view_broken"
    shutil.rmtree(place)
    write(place, orders_table(2))
    assert count(agent, name) == 2
    update(admin, f"DROP TABLE {base}")
    code, said = message(agent, sql)
    assert (code, base in said) == ("view_broken", False)
    code, said = message(admin, sql)
    assert (code, base in said) == ("view_broken", True)
    update(admin, f"CREATE TABLE {base} (order_id VARCHAR, customer VARCHAR)")
    assert message(agent, sql)[0] == "view_broken"
    update(admin, f"DROP TABLE {base}")
    update(admin, f"CREATE TABLE {base} (order_id BIGINT, customer VARCHAR)")
    assert rows(agent, sql) == []


# Hashes


def test_hashes_join_only_within_a_domain_and_change_with_the_key(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    base = orders(folder)
    hashed = {"customer": {"kind": "hash"}}
    shared = {"customer": {"kind": "hash", "domain": "customers"}}
    apart = [put(admin, base, ["order_id", "customer"], redactions=hashed) for _ in range(2)]
    joined = [put(admin, base, ["order_id", "customer"], redactions=shared) for _ in range(2)]

    def values(name: str) -> list[Any]:
        found = agent.fetch(f"SELECT customer FROM {name} ORDER BY order_id")
        return list(found["customer"].to_pylist())

    first, second = (values(name) for name in apart)
    assert not set(first) & set(second)
    assert len(set(first)) == 10
    assert values(joined[0]) == values(joined[1])
    assert not set(values(joined[0])) & {*first, *second}
    join = "SELECT count(*) AS n FROM {} a JOIN {} b ON a.customer = b.customer"
    assert rows(agent, join.format(*joined)) == [{"n": 10}]
    assert rows(agent, join.format(*apart)) == [{"n": 0}]
    (endpoint,) = agent.info(f"SELECT customer FROM {apart[0]} ORDER BY order_id").endpoints
    assert agent.read(endpoint.ticket)["customer"].to_pylist() == first
    assert admin.call("view.rotate_key") == [{"rotated": True}]
    for _ in range(6):  # by whichever worker
        assert not set(values(apart[0])) & set(first)
    assert not set(agent.read(endpoint.ticket)["customer"].to_pylist()) & set(first)
    assert rows(agent, join.format(*joined)) == [{"n": 10}]


# Names


def test_nothing_takes_the_name_of_a_view(folder: Path, admin: RawClient) -> None:
    base = orders(folder)
    name = put(admin, base, ["order_id"])
    for sql in (
        f"CREATE TABLE {name} (x BIGINT)",
        f"CREATE OR REPLACE TABLE {name} (x BIGINT)",
        f"CREATE TABLE {name} AS SELECT 1 AS x",
        f"CREATE VIEW {name} AS SELECT 1 AS x",
        f"CREATE OR REPLACE VIEW {name} AS SELECT 1 AS x",
        f"ALTER TABLE {orders(folder)} RENAME TO {name}",
    ):
        assert message(admin, sql)[0] == "view_exists", sql
    create = {"table": name, "columns": [{"name": "x", "type": "BIGINT"}]}
    assert refused(lambda: admin.call("table.create", **create)) == "view_exists"
    update(admin, f"CREATE VIEW {name}_sql AS SELECT 1 AS x")
    for taken, code in ((base, "table_exists"), (f"{name}_sql", "view_exists")):
        values = {"name": taken, "base": "sales.orders", "columns": ["order_id"]}
        assert refused(lambda values=values: admin.call("view.put", **values)) == code  # type: ignore[misc]  # bound at once
    values = {"name": "ai.other", "base": f"{name}_sql", "columns": ["x"]}
    assert refused(lambda: admin.call("view.put", **values)) == "unsupported"
    assert refused(lambda: admin.call("view.drop", name=base)) == "invalid_request"


def test_a_table_that_another_tool_puts_there_is_not_what_the_name_means(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    name = put(admin, orders(folder), ["order_id"])
    place = folder / "lake" / name.replace(".", "/")
    write(place, regions_table())
    assert agent.fetch(f"SELECT * FROM {name}").column_names == ["order_id"]
    assert agent.fetch(f"SELECT * FROM {name} VERSION AS OF 0").column_names == ["order_id"]
    assert message(agent, f"DESCRIBE HISTORY {name}")[0] == "unsupported"
    assert refused(lambda: admin.call("view.drop", name=name)) == "table_exists"
    assert message(admin, f"DROP TABLE {name}")[0] in ("unsupported", "invalid_request")
    place.rename(folder / "moved-away")
    admin.call("view.drop", name=name)
    assert message(agent, f"SELECT * FROM {name}")[0] == "table_not_found"


def test_views_are_dropped_by_sql_as_well(folder: Path, agent: RawClient, admin: RawClient) -> None:
    name = put(admin, orders(folder), ["order_id"])
    assert message(agent, f"DROP VIEW {name}")[0] == "permission_denied"
    update(admin, f"DROP VIEW {name}")
    update(admin, f"DROP VIEW IF EXISTS {name}")
    assert refused(lambda: admin.call("view.drop", name=name)) == "table_not_found"
    assert admin.call("view.drop", name=name, if_exists=True) == [
        {"name": f"primary.{name}", "dropped": False}
    ]
    update(admin, "CREATE SCHEMA passing")
    admin.call("view.put", name="passing.v", base="sales.orders", columns=["order_id"])
    assert refused(lambda: update(admin, "DROP SCHEMA passing")) == "schema_not_empty"
    update(admin, "DROP SCHEMA passing CASCADE")
    assert refused(lambda: admin.call("view.get", name="passing.v")) == "table_not_found"


# Rights


def test_who_manages_a_table_and_a_name_puts_views(
    own: Server, folder: Path, admin: RawClient
) -> None:
    add_user(admin, "steward")
    base = orders(folder)
    wanted: dict[str, Any] = {"name": "ai.stewards", "base": base, "columns": ["order_id"]}
    with RawClient.connect(own, "steward", PASSWORD) as steward:

        def code() -> str:
            return refused(lambda: steward.call("view.put", **wanted))

        def allow(privilege: str, resource: str) -> None:
            admin.call(
                "grant.add",
                privilege=privilege,
                resource=f"primary.{resource}",
                to={"user": "steward"},
            )

        assert code() == "bucket_not_found"
        allow("read", "sales.orders")
        assert code() == "permission_denied"
        allow("manage", wanted["name"])
        assert code() == "table_not_found"
        allow("manage", base)
        assert code() == "table_not_found"
        allow("read", base)
        steward.call("view.put", **wanted)
        assert refused(lambda: steward.fetch("SELECT * FROM ai.stewards")) == "table_not_found"
        (got,) = steward.call("view.get", name="ai.stewards")
        assert got["base"] == f"primary.{base}"
        admin.call(
            "grant.add",
            privilege="read",
            resource=f"primary.{base}",
            columns=["note"],
            effect="deny",
            to={"user": "steward"},
        )
        with pytest.raises(fl.FlightError, match="no column"):
            steward.call("view.put", **{**wanted, "columns": ["order_id", "note"]})
        with pytest.raises(fl.FlightError, match="no column"):
            steward.call("view.put", **{**wanted, "row_filter": "note = 'x'"})
        steward.call("view.drop", name="ai.stewards")


def test_a_preview_shows_what_somebody_would_see(
    own: Server, folder: Path, admin: RawClient
) -> None:
    add_user(admin, "looker", "lookers")
    add_user(admin, "keeper")
    base = orders(folder)
    name = put(admin, base, ["order_id", "customer"], row_filter="current_user = 'looker'")
    admin.call("grant.add", privilege="read", resource=f"primary.{name}", to={"role": "lookers"})
    for right in ("read", "manage"):
        admin.call("grant.add", privilege=right, resource=f"primary.{name}", to={"user": "keeper"})
    admin.call("grant.add", privilege="manage", resource=f"primary.{base}", to={"user": "keeper"})
    assert admin.call("view.preview", name=name) == []
    seen = admin.call("view.preview", name=name, user="looker", limit=3)
    with RawClient.connect(own, "looker", PASSWORD) as looker:
        assert seen == rows(looker, f"SELECT * FROM {name} LIMIT 3")
    assert admin.call("view.preview", name=name, role="lookers") == []
    for who, code in (
        ({"role": "others"}, "permission_denied"),
        ({"role": "guest"}, "permission_denied"),
        ({"user": "nobody"}, "user_not_found"),
        ({"user": "looker", "role": "lookers"}, "invalid_request"),
        ({"user": "looker", "limit": 101}, "invalid_request"),
        ({"user": "looker", "purpose": "research"}, "purpose_denied"),
    ):
        assert refused(lambda who=who: admin.call("view.preview", name=name, **who)) == code  # type: ignore[misc]  # bound at once
    with RawClient.connect(own, "keeper", PASSWORD) as keeper:
        assert keeper.call("view.preview", name=name, user="looker", limit=3) == seen
        for who in ({"user": "admin"}, {"role": "admin"}):
            assert (
                refused(lambda who=who: keeper.call("view.preview", name=name, **who))  # type: ignore[misc]  # bound at once
                == "permission_denied"
            )
    record, *_ = admin.call("audit.activity", action="view.preview", user="keeper", limit=5)
    assert record["outcome"] in ("success", "refused")


# Bad input


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ({"columns": []}, "invalid_request", "names 1 to"),
        ({"columns": ["order_id", "nothing"]}, "column_not_found", r"columns\[1\]"),
        ({"columns": ["order_id", "ORDER_ID"]}, "column_not_found", r"columns\[1\]"),
        ({"columns": ["note", "note"]}, "invalid_request", r"columns\[1\].*twice"),
        ({"columns": [1]}, "invalid_request", "'columns'"),
        ({"base": "sales.nothing"}, "table_not_found", "sales.nothing"),
        ({"base": "system.auth.users"}, "unsupported", "own tables"),
        ({"base": "information_schema.tables"}, "unsupported", "own tables"),
        ({"base": "sales.orders@v0"}, "invalid_request", ""),
        ({"base": "ai.wrong"}, "view_recursive", "made of itself"),
        ({"name": "sales._hidden"}, "invalid_name", ""),
        ({"name": "nowhere.v"}, "schema_not_found", "nowhere"),
        ({"name": "gone.s.v"}, "bucket_not_found", "gone"),
        ({"name": "system.policy.v"}, "permission_denied", ""),
        ({"row_filter": ""}, "invalid_request", "row filter"),
        ({"row_filter": "amount"}, "invalid_request", "true or false"),
        ({"row_filter": "amount >"}, "invalid_request", "line=1 column=9"),
        ({"row_filter": "TRUE\nAND nothing = 1"}, "invalid_request", "line=2 column=5"),
        ({"row_filter": "amount > (SELECT 1)"}, "invalid_request", "line=1 column=11"),
        ({"row_filter": "foo(amount) > 1"}, "invalid_request", "line=1 column=1"),
        ({"row_filter": "order_id = ?"}, "invalid_request", ""),
        ({"row_filter": "TRUE) OR (TRUE"}, "invalid_request", ""),
        ({"row_filter": "TRUE -- "}, None, ""),
        ({"redactions": {"amount": {"kind": "null"}}}, "invalid_request", "no such column"),
        ({"redactions": {"order_id": {"kind": "mask"}}}, "invalid_request", "redactions.*no text"),
        ({"redactions": {"note.x": {"kind": "null"}}}, "invalid_request", "no fields"),
        ({"redactions": {"note": {"kind": "shout"}}}, "invalid_request", "one of"),
        ({"redactions": {"note": {"kind": "null", "to": "x"}}}, "invalid_request", "'to'"),
        ({"redactions": {"note": {"kind": "mask", "keep_prefix": -1}}}, "invalid_request", "keeps"),
        ({"redactions": {"note": {"kind": "hash", "domain": ""}}}, "invalid_request", "domain"),
        ({"redactions": {"note": {"kind": "generalise"}}}, "invalid_request", "needs 'to'"),
        ({"redactions": {"note": "null"}}, "invalid_request", "redactions"),
        ({"description": "x" * 5000}, "invalid_request", "description"),
        ({"tags": [""]}, "invalid_request", r"tags\[0\]"),
        ({"tags": ["x"] * 100}, "invalid_request", "tags_max"),
        ({"more": 1}, "invalid_request", "no field"),
        ({"row_filter": "note BETWEEN 'a'"}, "invalid_request", "found the end line=1 column=17"),
        ({"row_filter": "note 'a'"}, "invalid_request", "'a' is not expected here line=1 column=6"),
        ({"row_filter": "note = 'a' OR OR true"}, "invalid_request", "not expected here line=1"),
        ({"row_filter": "note"}, "invalid_request", "this is a value line=1 column=1"),
    ],
)
def test_what_cannot_be_a_view_is_refused_with_the_place_of_the_mistake(
    admin: RawClient, wrong: dict[str, Any], code: str | None, said: str
) -> None:
    right: dict[str, Any] = {
        "name": "ai.wrong",
        "base": "sales.orders",
        "columns": ["order_id", "note"],
    }
    if code is None:
        admin.call("view.put", **{**right, **wrong})
        admin.call("view.drop", name="ai.wrong")
        return
    with pytest.raises(fl.FlightError, match=f"(?s){said}") as raised:
        admin.call("view.put", **{**right, **wrong})
    assert error_code(raised.value) == code
    assert refused(lambda: admin.call("view.get", name="ai.wrong")) == "table_not_found"


def test_parts_of_structs_are_redacted_by_their_path(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    people = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "home": pa.array(
                [
                    {"city": "Oslo", "street": {"name": "Karl Johans gate", "number": 1}},
                    {"city": "Rome", "street": None},
                ]
            ),
            "born": pa.array([0, 40], pa.date32()),
        }
    )
    write(folder / "lake/sales/people", people)
    name = put(
        admin,
        "sales.people",
        ["id", "home", "born"],
        redactions={
            "home.street.name": {"kind": "mask", "keep_prefix": 4},
            "born": {"kind": "generalise", "to": "month"},
        },
    )
    found = agent.fetch(f"SELECT * FROM {name} ORDER BY id")
    assert found["home"].to_pylist() == [
        {"city": "Oslo", "street": {"name": "Karl********", "number": 1}},
        {"city": "Rome", "street": None},
    ]
    assert pc.max(found["born"]).as_py().isoformat() == "1970-02-01"
    assert set(admin.call("view.get", name=name)[0]["redactions"]) == {"home.street.name", "born"}
    overlapping = {"home": {"kind": "null"}, "home.city": {"kind": "null"}}
    with pytest.raises(fl.FlightError, match="another redaction"):
        put(admin, "sales.people", ["home"], redactions=overlapping)
    with pytest.raises(fl.FlightError, match="does not exist"):
        put(admin, "sales.people", ["home"], redactions={"home.zip": {"kind": "null"}})


def test_comments_are_shown_where_clients_look_for_them(admin: RawClient, agent: RawClient) -> None:
    update(admin, "CREATE TABLE sales.noted (id BIGINT COMMENT 'Its number', name VARCHAR)")
    name = put(admin, "sales.noted", ["name", "id"], description="For agents", tags=["x", "x"])
    table = name.split(".")[1]
    columns = rows(
        agent,
        "SELECT column_name, comment FROM information_schema.columns"
        f" WHERE table_name = '{table}' ORDER BY ordinal_position",
    )
    assert [tuple(row.values()) for row in columns] == [("name", None), ("id", "Its number")]
    views = rows(agent, f"SELECT * FROM information_schema.views WHERE table_name = '{table}'")
    assert [(row["comment"], row["view_definition"]) for row in views] == [("For agents", None)]
    listed = agent.fetch(commands.GetTables(None, None, table, (), include_schema=True))
    schema = pa.ipc.read_schema(pa.py_buffer(listed["table_schema"][0].as_py()))
    metadata = schema.field("id").metadata or {}
    assert metadata[b"ARROW:FLIGHT:SQL:REMARKS"] == b"Its number"
    assert schema.metadata == {b"comment": b"For agents"}
    (got,) = agent.call("view.get", name=name)
    assert (got["tags"], got["column_types"]) == (["x"], ["VARCHAR", "BIGINT"])


def test_drivers_pass_the_comments_of_tables_and_views_on(own: Server, admin: RawClient) -> None:
    update(admin, "CREATE TABLE sales.described (id BIGINT) COMMENT 'Of the table'")
    update(admin, "CREATE VIEW sales.seen COMMENT 'Of the view' AS SELECT 1 AS id")
    put(admin, "sales.described", ["id"])
    admin.call(
        "view.put",
        name="sales.shown",
        base="sales.described",
        columns=["id"],
        description="For agents",
    )
    with own.connect() as connection:
        for table, comment in (
            ("described", b"Of the table"),
            ("seen", b"Of the view"),
            ("shown", b"For agents"),
        ):
            schema = connection.adbc_get_table_schema(table, db_schema_filter="sales")
            assert (schema.names, schema.metadata) == (["id"], {b"comment": comment})
            found = connection.adbc_get_objects(db_schema_filter="sales", table_name_filter=table)
            (catalog,) = [
                each for each in found.read_all().to_pylist() if each["catalog_name"] == "primary"
            ]
            ((listed,),) = [each["db_schema_tables"] for each in catalog["catalog_db_schemas"]]
            assert [column["column_name"] for column in listed["table_columns"]] == ["id"]
    assert not admin.info("SELECT * FROM sales.described").schema.metadata


def test_a_guest_sees_a_view_and_reads_no_rows(own: Server, admin: RawClient) -> None:
    admin.call("auth.register", username="guest1", email="g@example.com", password=PASSWORD)
    admin.call("user.approve", username="guest1", role="guest", tier="enterprise")
    admin.call(
        "grant.add",
        privilege="read",
        resource="primary.ai.candidates_safe",
        to={"user": "guest1"},
    )
    with RawClient.connect(own, "guest1", PASSWORD) as guest:
        listed = guest.fetch(commands.GetTables(None, "ai", None, (), include_schema=True))
        assert listed["table_name"].to_pylist() == ["candidates_safe"]
        assert refused(lambda: guest.fetch("SELECT * FROM ai.candidates_safe")) == (
            "permission_denied"
        )
        assert refused(lambda: guest.call("view.preview", name="ai.candidates_safe")) == (
            "permission_denied"
        )


def test_what_may_be_read_of_a_view_ends_with_the_right_to_it(
    own: Server, folder: Path, admin: RawClient
) -> None:
    add_user(admin, "leaver")
    name = put(admin, orders(folder), ["order_id", "note"])
    (given,) = admin.call(
        "grant.add", privilege="read", resource=f"primary.{name}", to={"user": "leaver"}
    )
    with RawClient.connect(own, "leaver", PASSWORD) as leaver:
        handle = leaver.prepare(f"SELECT * FROM {name}").prepared_statement_handle
        (endpoint,) = leaver.info(f"SELECT * FROM {name}").endpoints
        assert leaver.read(endpoint.ticket).num_rows == 10
        admin.call(
            "grant.add",
            privilege="read",
            resource=f"primary.{name}",
            columns=["note"],
            effect="deny",
            to={"user": "leaver"},
        )
        assert refused(lambda: leaver.fetch(f"SELECT note FROM {name}")) == "invalid_request"
        assert leaver.fetch(f"SELECT * FROM {name}").column_names == ["order_id"]
        admin.call("grant.remove", grant_id=given["grant_id"])
        prepared = commands.PreparedStatementQuery(handle)
        for call in (
            lambda: leaver.read(endpoint.ticket),
            lambda: leaver.fetch(prepared),
            lambda: leaver.fetch(f"SELECT * FROM {name}"),
        ):
            assert refused(call) == "bucket_not_found"


def test_rules_on_the_base_and_on_the_view_hold_through_it(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    base = orders(folder)
    name = put(admin, base, ["order_id", "customer", "note"], row_filter="order_id > 1")
    to = {"role": "agent"}
    admin.call("filter.put", table=base, name="few", filter="order_id < 6", to=to)
    admin.call(
        "mask.put", table=base, name="notes", column="note", redaction={"kind": "null"}, to=to
    )
    admin.call(
        "mask.put",
        table=name,
        name="customers",
        column="customer",
        redaction={"kind": "mask", "keep_suffix": 3},
        to=to,
    )
    admin.call("filter.put", table=name, name="odd", filter="customer LIKE '%3'", to=to)
    assert rows(agent, f"SELECT * FROM {name}") == [
        {"order_id": 4, "customer": "********003", "note": None}
    ]
    assert count(admin, name) == 9
    admin.call(
        "tombstone.add",
        table=base,
        row_key_column="order_id",
        row_key_values=[4, 5],
        reason="asked to be forgotten",
    )
    assert count(agent, name) == 0
    assert count(admin, name) == 7
    assert count(admin, f"{name} VERSION AS OF 0") == 7
    for raw in (f"ai.__raw__{name.split('.')[1]}", f"sales.__raw__{base.split('.')[1]}"):
        assert message(agent, f"SELECT * FROM {raw}")[0] == "table_not_found"
    assert message(admin, f"SELECT * FROM ai.__raw__{name.split('.')[1]}")[0] == "table_not_found"
    tombstone = {"row_key_column": "order_id", "row_key_values": [6], "reason": "why"}
    assert refused(lambda: admin.call("tombstone.add", table=name, **tombstone)) == "unsupported"


def test_a_view_keeps_the_columns_that_rules_on_it_name(folder: Path, admin: RawClient) -> None:
    base, redaction = orders(folder), {"kind": "null"}
    shown = ["order_id", "customer", "amount", "note"]
    name = put(admin, base, shown)
    above = put(admin, name, ["amount"])
    admin.call("mask.put", table=name, name="m", column="note", redaction=redaction)
    admin.call("filter.put", table=name, name="f", filter="customer <> 'x'")

    def put_again(*columns: str) -> None:
        admin.call("view.put", name=name, base=base, columns=list(columns))

    for lost in ("customer", "amount", "note"):
        fewer = [each for each in shown if each != lost]
        with pytest.raises(fl.FlightError, match=f"depends on the column '{lost}'") as caught:
            put_again(*fewer)
        assert error_code(caught.value) == "has_policies"
    put_again("note", "amount", "customer")
    assert count(admin, name) == count(admin, above) == 10
    admin.call("mask.drop", table=name, name="m")
    put_again("amount", "customer")
    assert count(admin, name) == 10


def test_a_bucket_that_is_away_is_not_named(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    name = put(admin, "archive.old.regions", ["region"])
    away = folder / "away"
    (folder / "archive").rename(away)
    try:
        code, said = message(agent, f"SELECT * FROM {name}")
        assert code == "unavailable"
        assert "archive" not in said
        assert message(admin, f"SELECT * FROM {name}")[0] == "bucket_unavailable"
    finally:
        away.rename(folder / "archive")
    assert count(agent, name) == 4


@pytest.mark.parametrize(
    "make",
    [
        zoo.plain,
        zoo.partitioned_by_awkward_text,
        zoo.with_column_mapping,
        zoo.with_deletion_vector,
    ],
)
def test_a_view_may_be_of_a_table_however_it_is_stored(
    folder: Path, agent: RawClient, admin: RawClient, make: Any
) -> None:
    make(folder / "lake/zoo" / make.__name__)
    base = f"zoo.{make.__name__}"
    every = admin.fetch(f"SELECT * FROM {base}")
    names = every.column_names
    name = put(admin, base, names, row_filter="TRUE")
    assert sorted(map(str, rows(agent, f"SELECT * FROM {name}"))) == sorted(
        map(str, every.to_pylist())
    )
    admin.call("view.put", name=name, base=base, columns=names[:1], row_filter="FALSE")
    assert rows(agent, f"SELECT * FROM {name}") == []


def test_names_of_columns_are_what_they_are(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    odd = pa.table({"a.b": ["one"], "A": ["two"], 'q"x': ["three"], "ü ": ["four"], "a": ["five"]})
    pq.write_table(odd, folder / "lake/sales/odd.parquet")
    name = put(
        admin,
        "sales.odd",
        ["a.b", "A", 'q"x', "ü ", "a"],
        row_filter="\"A\" = 'two' AND \"a.b\" = 'one' AND a = 'five'",
        redactions={"a.b": {"kind": "null"}, "A": {"kind": "mask", "keep_prefix": 1}},
    )
    assert rows(agent, f"SELECT * FROM {name}") == [
        {"a.b": None, "A": "t********", 'q"x': "three", "ü ": "four", "a": "five"}
    ]
    assert message(agent, f"SELECT * FROM {name} VERSION AS OF 0")[0] == "unsupported"
    (endpoint,) = agent.info(f"SELECT * FROM {name}").endpoints
    pq.write_table(odd.slice(0, 0), folder / "lake/sales/odd.parquet")
    assert refused(lambda: agent.read(endpoint.ticket)) == "conflict"
    assert rows(agent, f"SELECT * FROM {name}") == []


def test_a_stream_ends_with_the_right_to_the_view(
    own: Server, folder: Path, admin: RawClient
) -> None:
    add_user(admin, "streamer")
    name = put(admin, "sales.orders", ["order_id"])
    (given,) = admin.call(
        "grant.add", privilege="read", resource=f"primary.{name}", to={"user": "streamer"}
    )
    endless = f"SELECT a.order_id FROM {name} a CROSS JOIN {name} b CROSS JOIN {name} c"
    with RawClient.connect(own, "streamer", PASSWORD) as streamer:
        (endpoint,) = streamer.info(endless).endpoints
        reader = streamer.open(endpoint.ticket)
        reader.read_chunk()
        admin.call("grant.remove", grant_id=given["grant_id"])

        def drain() -> None:
            while True:
                reader.read_chunk()

        assert refused(drain) == "permission_denied"


def test_the_key_of_hashes_is_changed_by_command_as_well(
    folder: Path, agent: RawClient, admin: RawClient
) -> None:
    name = put(admin, orders(folder), ["customer"], redactions={"customer": {"kind": "hash"}})
    before = set(agent.fetch(f"SELECT * FROM {name}")["customer"].to_pylist())
    command = [sys.executable, "-m", "flight_server", "policy", "rotate-key"]
    subprocess.run([*command, "--dir", str(folder / "lake")], check=True, capture_output=True)
    after = set(agent.fetch(f"SELECT * FROM {name}")["customer"].to_pylist())
    assert len(before) == len(after) == 10
    assert not before & after
    (key,) = (folder / "lake").rglob("hash.key")
    key.chmod(0o644)
    try:
        assert message(agent, f"SELECT * FROM {name}")[0] == "unavailable"
    finally:
        key.chmod(0o600)
    admin.call("view.rotate_key")
    (record, *_) = admin.call("audit.activity", action="view.rotate_key", limit=20)
    assert record["outcome"] == "success"


def test_of_a_view_that_is_put_no_values_go_on_record(folder: Path, admin: RawClient) -> None:
    name = put(admin, orders(folder), ["order_id"], row_filter="customer <> 'SECRET-VALUE'")
    records = admin.call("audit.activity", action="view.put", limit=5)
    assert any(name in record["resource"] for record in records)
    assert "SECRET-VALUE" not in str(records)
