"""Small changes of tables as actions, called with the bare Flight client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.flight as fl
import pytest
from deltalake import DeltaTable

from flight_server.rpc.own_actions import BODY_BYTES_MAX
from tests.servers import Server, running
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, error_code, refused

RIGHTS = {
    "reader": ["read"],
    "writer": ["read", "write"],
    "blind": ["write"],
    "keeper": ["read", "maintain"],
    "janitor": ["maintain"],
}
GRANTS = "\n".join(
    f'[[grants]]\nprivilege = "{privilege}"\nresource = "primary.public"\nuser = "{user}"'
    for user, privileges in RIGHTS.items()
    for privilege in privileges
)
COLUMNS = [
    {"name": "id", "type": "BIGINT", "nullable": False, "comment": "as on the invoice"},
    {"name": "n", "type": "BIGINT"},
    {"name": "price", "type": "DECIMAL(38, 2)"},
    {"name": "day", "type": "DATE"},
    {"name": "at", "type": "TIMESTAMPTZ"},
    {"name": "raw", "type": "BINARY"},
    {"name": "tags", "type": "VARCHAR[]"},
    {"name": "place", "type": "STRUCT<x: DOUBLE, name: VARCHAR>"},
    {"name": "counts", "type": "MAP<VARCHAR, BIGINT>"},
]
# Neither text has rights of its own: whoever sends it could send any condition.
HOSTILE = [
    "",
    "1 = 1; DROP TABLE t",
    "1 = 1) OR (1 = 1",
    "1 = 1) -- ",
    "id = 1 UNION SELECT 1",
    "id = 1 LIMIT 1",
    "id = 1 RETURNING *",
    "id = 1 GROUP BY id",
    "id = 1 WHERE id = 2",
    "id = 1, n = 2",
    "id = $1",
    "id = ?",
    "id = 'open",
    "id = 1 /* open",
    "CASE WHEN id = 1 THEN TRUE",
    "id IN (SELECT id FROM nowhere)",
    "id IN (SELECT id FROM read_parquet('/etc/passwd'))",
    "id",
    "\0",
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over an empty folder of its own, with users of different rights."""
    directory = tmp_path_factory.mktemp("actions")
    config = directory / "lakeflight.toml"
    config.write_text(GRANTS, encoding="utf-8")
    (directory / "lake").mkdir()
    with running(directory / "lake", arguments=("--config", str(config))) as server:
        for name in RIGHTS:
            add_user(directory / "lake", name)
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


@pytest.fixture
def client(admin: RawClient) -> RawClient:
    """Return the administrator's client, and make ``t`` with two rows, at version 1."""
    admin.call("table.drop", table="t", if_exists=True)
    admin.call("table.create", table="t", columns=COLUMNS)
    admin.call("table.append", table="t", rows=[{"id": 1, "n": 10}, {"id": 2, "n": 20}])
    return admin


def version(server: Server, name: str = "t") -> int:
    return DeltaTable(str(server.directory / "public" / name)).version()


def rows(client: RawClient, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.fetch(sql).to_pylist()
    return found


def failing(call: Callable[[], object]) -> tuple[str, str]:
    """Return code and message of the error with which a call ends."""
    with pytest.raises(fl.FlightError) as caught:
        call()
    return error_code(caught.value), str(caught.value)


def test_a_table_is_made_and_dropped(own: Server, admin: RawClient) -> None:
    admin.call("table.drop", table="made", if_exists=True)
    (made,) = admin.call(
        "table.create",
        table='"made"',
        columns=COLUMNS[:4],
        partition_by=["day"],
        comment="what was made",
    )
    assert made == {"table": "primary.public.made", "created": True, "version": 0}
    table = DeltaTable(str(own.directory / "public" / "made"))
    assert (table.metadata().partition_columns, table.metadata().description) == (
        ["day"],
        "what was made",
    )
    assert [(f.name, f.nullable) for f in table.schema().fields][:2] == [("id", False), ("n", True)]
    assert table.schema().fields[0].metadata == {"comment": "as on the invoice"}

    again = {"table": "made", "columns": COLUMNS}
    assert refused(lambda: admin.call("table.create", **again)) == "table_exists"
    (kept,) = admin.call("table.create", **again, if_not_exists=True)
    assert kept == {"table": "primary.public.made", "created": False, "version": None}
    assert admin.call("table.drop", table="made") == [
        {"table": "primary.public.made", "dropped": True}
    ]
    assert refused(lambda: admin.call("table.drop", table="made")) == "table_not_found"
    (dropped,) = admin.call("table.drop", table="primary.public.made", if_exists=True)
    assert dropped == {"table": "primary.public.made", "dropped": False}


@pytest.mark.parametrize(
    ("columns", "code", "says"),
    [
        ([], "invalid_request", "at least one column"),
        ([{"name": "a"}], "invalid_request", "a column needs the field 'type'"),
        ([{"name": "a", "type": "INT", "size": 3}], "invalid_request", "no field 'size'"),
        ([{"name": "a", "type": 3}], "invalid_request", "a text"),
        (["a INT"], "invalid_request", "each is an object"),
        ([{"name": "a", "type": "INT, b INT"}], "invalid_request", "no type"),
        ([{"name": "a", "type": "TIME"}], "schema_mismatch", "TIME"),
        ([{"name": "a", "type": "INT"}, {"name": "A", "type": "INT"}], "invalid_request", "A"),
    ],
)
def test_a_table_that_cannot_be_made(
    own: Server, admin: RawClient, columns: list[Any], code: str, says: str
) -> None:
    found, message = failing(lambda: admin.call("table.create", table="bad", columns=columns))
    assert (found, says in message) == (code, True), message
    assert not (own.directory / "public" / "bad").exists()


def test_rows_are_appended_as_they_are(own: Server, client: RawClient) -> None:
    row = {
        "id": 9007199254740993,
        "price": "999999999999999999999999999999999999.99",
        "day": "2026-02-28",
        "at": "2026-02-28T12:00:00.123456+01:00",
        "raw": "/wA=",
        "tags": ["a", None, "b'; DROP TABLE t --"],
        "place": {"x": 0.1, "name": "here"},
        "counts": {"k": 9223372036854775807},
    }
    (answer,) = client.call("table.append", table="t", rows=[row, {"id": 4, "place": {"x": 1}}])
    assert answer == {"rows": 2, "version": 2}
    assert version(own) == 2
    shown = "CAST(price AS VARCHAR) AS price, CAST(day AS VARCHAR) AS day, raw, tags, place, counts"
    first, second = rows(
        client, f"SELECT id, {shown}, at = '{row['at']}' AS same FROM t WHERE id > 3 ORDER BY id"
    )
    assert first == {
        **dict.fromkeys(("price", "day", "raw", "tags", "counts", "same")),
        "id": 4,
        "place": {"x": 1.0, "name": None},
    }
    wanted = {**row, "raw": b"\xff\x00", "counts": [("k", 2**63 - 1)], "same": True}
    del wanted["at"]
    assert second == wanted


def test_no_rows_change_nothing(own: Server, client: RawClient) -> None:
    assert client.call("table.append", table="t", rows=[]) == [{"rows": 0, "version": None}]
    answer = client.call("table.merge", table="t", rows=[], on=["id"])
    assert answer == [{"rows": 0, "version": None}]
    assert client.call("table.delete", table="t", where="FALSE") == [{"rows": 0, "version": None}]
    assert version(own) == 1
    assert refused(lambda: client.call("table.append", table="nowhere", rows=[])) == (
        "table_not_found"
    )


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"id": 3, "n": "ten"}, "n"),
        ({"id": 3, "n": True}, "n"),
        ({"id": 3, "n": 2**63}, "n"),
        ({"id": 3, "price": [1]}, "price"),
        ({"id": 3, "raw": "not base64"}, "raw"),
        ({"id": 3, "day": "2026-02-30"}, "day"),
        ({"id": 3, "at": 1767225600}, "at"),
        ({"id": 3, "place": {"x": "here"}}, "place"),
        ({"id": 3, "place": {"z": 1}}, "z"),
        ({"id": 3, "counts": {"k": "many"}}, "counts"),
        ({"id": 3, "nowhere": 1}, "nowhere"),
        ({"id": None}, "id"),
        ({"n": 3}, "id"),
    ],
)
def test_what_does_not_fit_names_its_column(
    own: Server, client: RawClient, row: dict[str, Any], column: str
) -> None:
    calls = [lambda: client.call("table.append", table="t", rows=[row, row])]
    if row != {"n": 3}:
        calls += [
            lambda: client.call("table.merge", table="t", rows=[{"id": 7, **row}], on=["id"]),
            lambda: client.call("table.update", table="t", set=row, where="TRUE"),
        ]
    for call in calls:
        code, message = failing(call)
        assert (code, column in message) == ("schema_mismatch", True), message
    assert version(own) == 1


def test_new_columns_are_added_first_where_that_is_wanted(own: Server, client: RawClient) -> None:
    body = {
        "table": "t",
        "rows": [{"id": 3, "new": [{"deep": 1.5}], "gone": None}],
        "idempotency_key": "widened",
    }
    assert refused(lambda: client.call("table.append", **body)) == "schema_mismatch"
    for _ in range(2):
        (answer,) = client.call("table.append", **body, merge_schema=True)
        assert answer == {"rows": 1, "version": 3}
    assert version(own) == 3
    assert rows(client, "SELECT id, new FROM t ORDER BY id DESC LIMIT 2") == [
        {"id": 3, "new": [{"deep": 1.5}]},
        {"id": 2, "new": None},
    ]
    assert "gone" not in client.fetch("SELECT * FROM t").schema.names


def test_rows_are_deleted(own: Server, client: RawClient) -> None:
    where = "t.n > (SELECT min(n) FROM t) AND 'a;b' <> ')' -- the larger ones"
    assert client.call("table.delete", table="t", where=where) == [{"rows": 1, "version": 2}]
    assert rows(client, "SELECT id FROM t") == [{"id": 1}]
    assert version(own) == 2


def test_rows_are_updated_to_values_and_expressions(client: RawClient) -> None:
    settings = {
        "n": {"expression": "n * 2 + (SELECT count(*) FROM t)"},
        "place": {"name": "n + 1"},
        "tags": None,
        "price": 2.345,
        "raw": "/w==",
    }
    (answer,) = client.call("table.update", table="t", set=settings, where="id = 2")
    assert answer == {"rows": 1, "version": 2}
    assert rows(client, "SELECT n, place, tags, price = 2.35 AS p, raw FROM t WHERE id = 2") == [
        {"n": 42, "place": {"x": None, "name": "n + 1"}, "tags": None, "p": True, "raw": b"\xff"}
    ]
    assert rows(client, "SELECT n, place FROM t WHERE id = 1") == [{"n": 10, "place": None}]
    only = {"n": {"expression": "id"}}
    assert client.call("table.update", table="t", set=only, where="TRUE")[0]["rows"] == 2


def test_an_object_for_a_nested_column_is_a_value(client: RawClient) -> None:
    client.call("table.drop", table="nested", if_exists=True)
    columns = [{"name": "m", "type": "MAP<VARCHAR, VARCHAR>"}, {"name": "n", "type": "INT"}]
    client.call("table.create", table="nested", columns=columns)
    client.call("table.append", table="nested", rows=[{}])
    settings = {"m": {"expression": "1; 2"}, "n": {"expression": "1 + 1"}}
    client.call("table.update", table="nested", set=settings, where="TRUE")
    assert rows(client, "SELECT * FROM nested") == [{"m": [("expression", "1; 2")], "n": 2}]
    for wrong in ({"expression": 5}, {"expression": "1", "more": 2}, {"sql": "1"}):
        call = lambda: client.call("table.update", table="nested", set={"n": wrong}, where="TRUE")  # noqa: B023, E731
        assert refused(call) == "schema_mismatch"


@pytest.mark.parametrize("where", HOSTILE)
def test_a_condition_is_a_condition_and_no_more(own: Server, client: RawClient, where: str) -> None:
    codes = {"invalid_request", "table_not_found", "unsupported"}
    settings = {"n": {"expression": "CASE WHEN id = 1 THEN 5"}}
    for name, more in (
        ("table.delete", {}),
        ("table.update", {"set": {"n": 5}}),
        ("table.update", {"set": settings}),
    ):
        assert refused(lambda: client.call(name, table="t", where=where, **more)) in codes  # noqa: B023
    assert version(own) == 1


@pytest.mark.parametrize(
    "text", ["n WHERE TRUE", "1, n = 2", "1; DROP TABLE t", "$1", "1) + (1", ""]
)
def test_an_expression_is_an_expression_and_no_more(
    own: Server, client: RawClient, text: str
) -> None:
    settings = {"n": {"expression": text}, "tags": ["x"]}
    call = lambda: client.call("table.update", table="t", set=settings, where="id = 1")  # noqa: E731
    assert refused(call) in {"invalid_request", "unsupported"}
    assert version(own) == 1


def test_rows_are_merged_by_key(own: Server, client: RawClient) -> None:
    changed = [{"id": 2, "n": 21, "tags": ["x"]}, {"id": 3, "n": None, "tags": []}]
    (answer,) = client.call("table.merge", table="public.t", rows=changed, on=["ID"])
    assert answer == {"rows": 2, "version": 2}
    everything = "SELECT id, n, tags FROM t ORDER BY id"
    assert rows(client, everything) == [
        {"id": 1, "n": 10, "tags": None},
        {"id": 2, "n": 21, "tags": ["x"]},
        {"id": 3, "n": None, "tags": []},
    ]
    body = {"table": "t", "rows": [{"id": 3}, {"id": 4}], "on": ["id"]}
    (answer,) = client.call("table.merge", **body, when_matched="delete", when_not_matched="ignore")
    assert answer == {"rows": 1, "version": 3}
    (answer,) = client.call("table.merge", **body, when_matched="ignore")
    assert answer == {"rows": 2, "version": 4}
    assert [row["id"] for row in rows(client, everything)] == [1, 2, 3, 4]
    many = [{"id": i, "n": i} for i in range(5000)]
    assert client.call("table.merge", table="t", rows=many, on=["id"])[0]["rows"] == 5000
    assert rows(client, "SELECT count(*) AS c, sum(n - id) AS s FROM t") == [{"c": 5000, "s": 0}]
    assert version(own) == 5


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"rows": [{"id": 1, "n": 1}, {"id": 2}]}, "invalid_request"),
        ({"rows": [{"id": 1, "n": 1}], "on": []}, "invalid_request"),
        ({"rows": [{"id": 1, "n": 1}], "on": ["id", "id"]}, "invalid_request"),
        ({"rows": [{"id": 1, "n": 1}], "on": ["day"]}, "invalid_request"),
        ({"rows": [{"id": 1, "n": 1}], "on": ["nowhere"]}, "schema_mismatch"),
        ({"rows": [{"id": 1, "n": 1}], "on": ["id) OR (TRUE"]}, "schema_mismatch"),
        ({"rows": [{"id": 1, "n": 1}], "on": "id"}, "invalid_request"),
        ({"rows": [{"id": 1}], "when_not_matched": "ignore"}, "invalid_request"),
        ({"rows": [{"id": 1, "n": 1}], "when_matched": "upsert"}, "invalid_request"),
        ({"rows": [{"id": 1, "n": 1}, {"id": 1, "n": 2}]}, "merge_ambiguous"),
    ],
)
def test_a_merge_that_cannot_be(
    own: Server, client: RawClient, more: dict[str, Any], code: str
) -> None:
    body = {"table": "t", "on": ["id"], **more}
    assert refused(lambda: client.call("table.merge", **body)) == code
    assert version(own) == 1


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("table.append", {"rows": [{"id": 5}]}),
        ("table.delete", {"where": "id = 1"}),
        ("table.delete", {"where": "id = 77"}),
        ("table.update", {"set": {"n": {"expression": "n + 1"}}, "where": "TRUE"}),
        ("table.merge", {"rows": [{"id": 1, "n": 3}, {"id": 8, "n": 3}], "on": ["id"]}),
    ],
)
def test_a_repeat_with_the_same_key_changes_nothing(
    own: Server, client: RawClient, action: str, body: dict[str, Any]
) -> None:
    first = client.call(action, table="t", **body, idempotency_key="once")
    assert first[0]["version"] == 2
    client.call("table.append", table="t", rows=[{"id": 99}])
    before = rows(client, "SELECT * FROM t ORDER BY id")
    assert client.call(action, table="t", **body, idempotency_key="once") == first
    with RawClient.connect(own, x_lakehouse_idempotency_key="once") as by_header:
        assert by_header.call(action, table="t", **body) == first
        assert by_header.call(action, table="t", **body, idempotency_key="once") == first
        code, message = failing(
            lambda: by_header.call(action, table="t", **body, idempotency_key="twice")
        )
        assert (code, "another idempotency key" in message) == ("invalid_request", True)
    assert rows(client, "SELECT * FROM t ORDER BY id") == before
    assert version(own) == 3


def test_a_table_is_made_once_for_a_key(own: Server, admin: RawClient) -> None:
    admin.call("table.drop", table="once", if_exists=True)
    body = {"table": "once", "columns": [{"name": "a", "type": "INT"}], "idempotency_key": "k"}
    first = admin.call("table.create", **body)
    admin.call("table.append", table="once", rows=[{"a": 1}])
    assert admin.call("table.create", **body) == first
    assert version(own, "once") == 1
    for key in ("", "x" * 201, "ä", "\n"):
        body["idempotency_key"] = key
        assert refused(lambda: admin.call("table.create", **body)) == "invalid_request"


def test_versions_are_listed_and_brought_back(client: RawClient) -> None:
    client.call("table.delete", table="t", where="id = 1")
    newest, *older = client.call("table.history", table="t")
    assert [row["version"] for row in (newest, *older)] == [2, 1, 0]
    assert newest["timestamp"].endswith("Z")
    assert (newest["operation"], newest["user_name"], newest["rows"]) == ("DELETE", "admin", 1)
    assert older[0]["operation_parameters"] == {"mode": "Append"}
    assert client.call("table.history", table="t", limit=1) == [newest]
    (answer,) = client.call("table.restore", table="t", version=1)
    assert answer == {"table": "primary.public.t", "version": 3}
    assert rows(client, "SELECT id FROM t ORDER BY id") == [{"id": 1}, {"id": 2}]
    (answer,) = client.call("table.restore", table="t", timestamp=newest["timestamp"])
    assert answer["version"] == 4
    assert rows(client, "SELECT id FROM t") == [{"id": 2}]
    for body, code in (
        ({}, "invalid_request"),
        ({"version": 1, "timestamp": "2026-01-01"}, "invalid_request"),
        ({"version": -1}, "invalid_request"),
        ({"version": 99}, "version_not_found"),
        ({"timestamp": "yesterday"}, "invalid_request"),
        ({"timestamp": "1999-01-01"}, "version_not_found"),
    ):
        assert refused(lambda: client.call("table.restore", table="t", **body)) == code  # noqa: B023
    for limit in (0, 10**30):
        call = lambda: client.call("table.history", table="t", limit=limit)  # noqa: B023, E731
        assert refused(call) == "invalid_request"


def test_files_are_put_in_order(own: Server, client: RawClient) -> None:
    for number in range(3, 6):
        client.call("table.append", table="t", rows=[{"id": number, "n": -number}])
    folder = own.directory / "public" / "t"
    before = list(folder.glob("*.parquet"))
    purged = {"rows_removed": 0, "tombstones_cleared": 0}
    size = sum(path.stat().st_size for path in before)
    found = {"file_count": 4, "file_bytes": size, **purged}
    (planned,) = client.call("table.compact", table="t", dry_run=True)
    assert planned == {**found, "version": None, "dry_run": True}
    assert version(own) == 4
    (none,) = client.call("table.compact", table="t", target_file_bytes=1024)
    assert (none["file_count"], none["version"]) == (0, None)
    (done,) = client.call("table.compact", table="t", target_file_bytes=1024**2)
    assert done == {**found, "version": 5, "dry_run": False}
    (again,) = client.call("table.compact", table="t")
    assert again == {"file_count": 0, "file_bytes": 0, **purged, "version": None, "dry_run": False}
    (sorted_,) = client.call("table.z_order", table="t", columns=["id", "n"])
    assert (sorted_["file_count"], sorted_["version"]) == (1, 6)

    (kept,) = client.call("table.vacuum", table="t", dry_run=True)
    assert kept == {"file_count": 0, "files": [], "dry_run": True}
    (dry,) = client.call("table.vacuum", table="t", retention_hours=0, dry_run=True)
    assert (dry["file_count"], len(list(folder.glob("*.parquet")))) == (5, 6)
    assert set(dry["files"]) > {path.name for path in before}
    (removed,) = client.call("table.vacuum", table="t", retention_hours=0.0)
    assert removed == {**dry, "dry_run": False}
    assert len(list(folder.glob("*.parquet"))) == 1
    assert rows(client, "SELECT count(*) AS c FROM t") == [{"c": 5}]
    for name, body in (
        ("table.z_order", {"columns": []}),
        ("table.z_order", {"columns": ["nowhere"]}),
        ("table.compact", {"target_file_bytes": 1}),
        ("table.vacuum", {"retention_hours": -1}),
    ):
        assert refused(lambda: client.call(name, table="t", **body)) == "invalid_request"  # noqa: B023


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("table.append", {"rows": [{"id": 5}]}),
    ("table.delete", {"where": "id = 1"}),
    ("table.update", {"set": {"n": 1}, "where": "id = 1"}),
    ("table.merge", {"rows": [{"id": 1, "n": 3}], "on": ["id"]}),
    ("table.restore", {"version": 0}),
    ("table.history", {}),
    ("table.compact", {"dry_run": True}),
    ("table.compact", {}),
    ("table.z_order", {"columns": ["id"]}),
    ("table.vacuum", {}),
    ("table.drop", {}),
]


@pytest.mark.parametrize(("action", "body"), CALLS)
def test_a_table_that_is_not_there(admin: RawClient, action: str, body: dict[str, Any]) -> None:
    for name in ("nowhere", "primary.nowhere.t", '"no\u0000where"', "system.auth.nobody"):
        code = refused(lambda: admin.call(action, table=name, **body))  # noqa: B023
        assert code in {"table_not_found", "invalid_request", "permission_denied", "unsupported"}
    for name in ("", "a.b.c.d", "t; DROP TABLE t", '"t@v1"', "t WHERE"):
        code = refused(lambda: admin.call(action, table=name, **body))  # noqa: B023
        assert code == "invalid_request"
    assert refused(lambda: admin.call(action, table="nobucket.a.b", **body)) in {
        "bucket_not_found",
        "table_not_found",
    }


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ("reader", {"table.history"}),
        ("keeper", {"table.history", "table.compact", "table.z_order", "table.vacuum"}),
        ("janitor", {"table.compact", "table.vacuum"}),
        ("blind", {"table.append", "table.drop"}),
    ],
)
def test_rights_are_those_of_the_statements(
    own: Server, client: RawClient, user: str, allowed: set[str]
) -> None:
    with RawClient.connect(own, user, PASSWORD) as limited:
        for action, body in CALLS:
            if action in allowed:
                limited.call(action, table="t", **body)
                continue
            code = refused(lambda: limited.call(action, table="t", **body))  # noqa: B023
            # Whose only right is to maintain sees nothing.
            assert code in {"permission_denied", "table_not_found", "bucket_not_found"}, action
        columns = [{"name": "a", "type": "INT"}]
        create = lambda: limited.call("table.create", table="denied", columns=columns)  # noqa: E731
        if user != "blind":
            assert refused(create) in {"permission_denied", "bucket_not_found"}
    if user != "blind":
        assert rows(client, "SELECT id FROM t ORDER BY id") == [{"id": 1}, {"id": 2}]


def test_a_writer_may_change_what_it_reads(own: Server, client: RawClient) -> None:
    with RawClient.connect(own, "writer", PASSWORD) as writer:
        for action, body in CALLS[:6]:
            assert writer.call(action, table="t", **body)
        assert refused(lambda: writer.call("table.vacuum", table="t")) == "permission_denied"
        assert rows(client, "SELECT count(*) AS c FROM t") == [{"c": 0}]


def test_temporary_tables_and_names_of_the_session(own: Server, client: RawClient) -> None:
    with RawClient.connect(own) as mine:
        mine.fetch("CREATE TEMPORARY TABLE t (id BIGINT, tmp VARCHAR)")
        (answer,) = mine.call("table.append", table="t", rows=[{"id": 1, "tmp": "x"}])
        assert answer["rows"] == 1
        mine.call("table.update", table="t", set={"tmp": "y"}, where="id = 1")
        mine.call("table.merge", table="t", rows=[{"id": 2, "tmp": "z"}], on=["id"])
        assert rows(mine, "SELECT * FROM t ORDER BY id") == [
            {"id": 1, "tmp": "y"},
            {"id": 2, "tmp": "z"},
        ]
        assert mine.call("table.drop", table="t") == [{"table": "t", "dropped": True}]
        assert len(rows(mine, "SELECT * FROM t")) == 2
        mine.fetch("CREATE SCHEMA IF NOT EXISTS other")
        mine.fetch("USE primary.other")
        (made,) = mine.call(
            "table.create",
            table="t",
            columns=[{"name": "a", "type": "INT"}],
            if_not_exists=True,
        )
        assert made["table"] == "primary.other.t"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request"),
        (b"{", "invalid_request"),
        (b"\xff", "invalid_request"),
        (b"[]", "invalid_request"),
        (b'{"table": "t", "rows": [], "rows": []}', "invalid_request"),
        (b'{"table": "t", "rows": [{"n": NaN}]}', "invalid_request"),
        (b'{"table": "t", "rows": [1]}', "invalid_request"),
        (b'{"table": "t", "rows": {"id": 1}}', "invalid_request"),
        (b'{"table": 1, "rows": []}', "invalid_request"),
        (b'{"table": "t"}', "invalid_request"),
        (b'{"table": "t", "rows": [], "row": 1}', "invalid_request"),
        (b'{"table": "t", "rows": [{"id": 1, "tags": ["\\ud800"]}]}', "invalid_request"),
        (b'{"table": "t", "rows": ' + b"[" * 5000 + b"]" * 5000 + b"}", "invalid_request"),
        (b'{"table": "t", "rows": [{"id": ' + b"9" * 5000 + b"}]}", "invalid_request"),
        (b'{"table": "t", "rows": [' + b" " * BODY_BYTES_MAX + b"]}", "limit_exceeded"),
        (b'{"table": "t", "rows": [' + b"{}," * 100_000 + b"{}]}", "limit_exceeded"),
    ],
)
def test_bodies_that_are_refused(own: Server, client: RawClient, body: bytes, code: str) -> None:
    action = fl.Action("table.append", body)
    assert refused(lambda: list(client.client.do_action(action, client.options))) == code
    assert version(own) == 1


def test_halves_of_a_character_are_put_together(client: RawClient) -> None:
    body = json.dumps({"table": "t", "rows": [{"id": 3, "tags": ["\N{GRINNING FACE}"]}]})
    assert "\\ud83d" in body
    action = fl.Action("table.append", body.encode())
    assert list(client.client.do_action(action, client.options))
    assert rows(client, "SELECT tags FROM t WHERE id = 3") == [{"tags": ["\N{GRINNING FACE}"]}]
