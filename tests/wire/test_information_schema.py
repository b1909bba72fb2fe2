"""``information_schema`` and the catalog replies show each caller what they may read, no more."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from flight_server.protocol import commands
from tests.lakehouse import build_lakehouse, orders_table, write
from tests.servers import Server, running
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.kinds import every_kind
from tests.wire.raw import RawClient, refused

_GRANTS = [
    {"privilege": "read", "resource": "primary.sales.orders", "user": "one"},
    {"privilege": "read", "resource": "primary.sales", "role": "trader"},
    {"privilege": "read", "resource": "primary.sales.regions", "role": "trader", "effect": "deny"},
    {"privilege": "read", "resource": "side", "user": "broad"},
]


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two buckets.

    ``one`` may read sales.orders, ``broad`` all of sales but regions and the bucket ``side``,
    ``none`` nothing.
    """
    directory = tmp_path_factory.mktemp("governed")
    build_lakehouse(directory)
    write(directory / "hidden" / "secrets", pa.table({"secret": [1]}))
    write(directory / "hidden" / "every", every_kind())
    side = tmp_path_factory.mktemp("side")
    write(side / "s" / "t", pa.table({"x": [1]}))
    environment = {
        "LAKEFLIGHT_GRANTS": json.dumps(_GRANTS),
        "LAKEFLIGHT_STORAGE__BUCKETS": json.dumps({"side": str(side)}),
    }
    with running(directory, environment=environment) as server:
        add_user(directory, "one")
        add_user(directory, "broad", role="trader")
        add_user(directory, "none")
        yield server


@pytest.fixture(scope="module")
def clients(governed: Server) -> Iterator[dict[str, RawClient]]:
    opened = {
        name: RawClient.connect(governed, name, PASSWORD) for name in ("one", "broad", "none")
    }
    opened["admin"] = RawClient.connect(governed)
    yield opened
    for client in opened.values():
        client.client.close()


_MADE = (
    *("character_sets", "check_constraints", "columns", "constraint_column_usage"),
    *("key_column_usage", "referential_constraints", "schemata", "table_constraints"),
    *("tables", "views"),
)
_ORDERS = "primary.sales.orders"
# What everybody may read: the views of their own records.
_USAGE = ["usage.activity", "usage.billing_summary", "usage.user_actions"]
_READABLE: dict[str, dict[str, list[str]]] = {
    "one": {"primary": ["sales.orders"], "system": _USAGE},
    "broad": {"primary": ["sales.empty", "sales.orders"], "side": ["s.t"], "system": _USAGE},
    "none": {"system": _USAGE},
    "admin": {
        "primary": [
            *("files.cities", "hidden.every", "hidden.secrets", "public.events"),
            *("sales.empty", "sales.orders", "sales.regions"),
        ],
        "side": ["s.t"],
        "system": ["audit.audit_view", "audit.user_actions", *_USAGE],
    },
}

# Schemas that somebody sees although they see no table in them: ``public`` is always there.
_WITHOUT_TABLES = {"broad": {"side.public"}, "admin": {"side.public"}}


def _expected(user: str, catalog: str) -> list[str]:
    """Tables of a catalog with those of information_schema, in order of name."""
    own = _READABLE[user].get(catalog, [])
    made = [f"information_schema.{name}" for name in _MADE] if own else []
    return sorted(own + made, key=lambda name: name.split("."))


# The server's own tables come as they are needed; its views are always there.
_OWN_TABLES = re.compile(r"(system\.)?((auth|catalog|policy)(\.\w+)?|audit\.audit_log)")


def _names(rows: pa.Table) -> list[str]:
    names = (".".join(map(str, row.values())) for row in rows.to_pylist())
    return [name for name in names if not _OWN_TABLES.fullmatch(name)]


@pytest.mark.parametrize("user", _READABLE)
def test_tables_of_information_schema(clients: dict[str, RawClient], user: str) -> None:
    for catalog in _READABLE[user]:
        rows = clients[user].fetch(
            f"SELECT table_schema, table_name FROM {catalog}.information_schema.tables"
            f" WHERE table_catalog = '{catalog}' ORDER BY 1, 2"
        )
        assert _names(rows) == _expected(user, catalog)


@pytest.mark.parametrize("user", _READABLE)
def test_get_tables_shows_the_same(clients: dict[str, RawClient], user: str) -> None:
    for include_schema in (False, True):
        rows = clients[user].fetch(commands.GetTables(include_schema=include_schema))
        listed = _names(rows.select(["catalog_name", "db_schema_name", "table_name"]))
        assert listed == [
            f"{catalog}.{name}" for catalog in _READABLE[user] for name in _expected(user, catalog)
        ]


@pytest.mark.parametrize("user", _READABLE)
def test_catalogs_and_schemas(clients: dict[str, RawClient], user: str) -> None:
    catalogs = clients[user].fetch(commands.GetCatalogs())
    assert catalogs["catalog_name"].to_pylist() == list(_READABLE[user])
    expected = sorted(
        {
            f"{catalog}.{name.partition('.')[0]}"
            for catalog in _READABLE[user]
            for name in _expected(user, catalog)
        }
        | _WITHOUT_TABLES.get(user, set()),
        key=lambda name: name.split("."),
    )
    assert _names(clients[user].fetch(commands.GetDbSchemas())) == expected
    for catalog in _READABLE[user]:
        rows = clients[user].fetch(
            f"SELECT catalog_name, schema_name FROM {catalog}.information_schema.schemata"
            f" WHERE catalog_name = '{catalog}' ORDER BY 1, 2"
        )
        assert _names(rows) == [name for name in expected if name.startswith(f"{catalog}.")]


@pytest.mark.parametrize("user", ["one", "broad", "admin"])
def test_columns(clients: dict[str, RawClient], user: str) -> None:
    rows = clients[user].fetch(
        "SELECT DISTINCT table_schema, table_name FROM information_schema.columns"
        " WHERE table_catalog = 'primary' ORDER BY 1, 2"
    )
    assert _names(rows) == _expected(user, "primary")
    rows = clients[user].fetch(
        "SELECT column_name, ordinal_position, is_nullable, data_type"
        " FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position"
    )
    assert rows["column_name"].to_pylist() == orders_table(1).column_names
    assert rows["ordinal_position"].to_pylist() == [1, 2, 3, 4, 5]
    assert rows["is_nullable"].to_pylist() == ["YES"] * 5
    assert rows["data_type"].to_pylist() == [
        *("BIGINT", "VARCHAR", "DECIMAL(12,2)", "DATE", "VARCHAR"),
    ]


def test_columns_of_every_type_have_a_name_for_it(clients: dict[str, RawClient]) -> None:
    rows = clients["admin"].fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = 'every' ORDER BY ordinal_position"
    )
    assert rows["column_name"].to_pylist() == every_kind().column_names
    assert "OTHER" not in rows["data_type"].to_pylist()


def test_views_are_none_yet_but_the_servers_own(clients: dict[str, RawClient]) -> None:
    shown = clients["one"].fetch(
        "SELECT table_schema, view_definition FROM information_schema.views"
    )
    assert shown["table_schema"].to_pylist() == ["usage"] * 3
    assert shown["view_definition"].null_count == 3


def _error(client: RawClient, sql: str) -> tuple[str, str]:
    """Return code and words of the error that a query fails with."""
    code = refused(functools.partial(client.info, sql))
    try:
        client.info(sql)
    except Exception as error:  # noqa: BLE001  its words are what is compared
        words = str(error).partition(". Detail")[0]
    return code, words


@pytest.mark.parametrize(
    ("hidden", "absent"),
    [
        ("primary.sales.regions", "primary.sales.nothing"),
        ("primary.hidden.secrets", "primary.hidden.nothing"),
        ("primary.hidden.secrets", "primary.nowhere.secrets"),
        ("primary.public.events", "primary.public.nothing"),
        ("primary.files.cities", "primary.files.nothing"),
        ("side.s.t", "sidf.s.t"),
        ("system.auth.users", "system.auth.nothing"),
        ("system.audit.audit_log", "system.audit.nothing"),
        ('primary.hidden."secrets@v0"', 'primary.hidden."nothing@v0"'),
        ("primary.hidden.secrets VERSION AS OF 99", "primary.hidden.nothing VERSION AS OF 99"),
        ('primary.sales."REGIONS"', 'primary.sales."NOTHING"'),
    ],
)
def test_what_may_not_be_seen_looks_as_if_it_did_not_exist(
    clients: dict[str, RawClient], hidden: str, absent: str
) -> None:
    ends = (" VERSION AS OF 99", "@v0")

    def plain(name: str) -> str:
        for end in ends:
            name = name.replace(end, "")
        return name.replace('"', "")

    for form in (
        "SELECT * FROM {}",
        "SELECT nope FROM {}",
        "SELECT count(*) FROM {}",
        "DESCRIBE {}",
    ):
        for user in ("one", "none"):
            code, words = _error(clients[user], form.format(hidden))
            same_code, same_words = _error(clients[user], form.format(absent))
            assert code == same_code
            bare, other = plain(hidden), plain(absent)
            for name in (bare, bare.partition(".")[0]):
                words = words.replace(name, "?")
            for name in (other, other.partition(".")[0]):
                same_words = same_words.replace(name, "?")
            assert words == same_words


def test_the_deny_beats_the_grant(clients: dict[str, RawClient]) -> None:
    assert clients["broad"].fetch("SELECT count(*) AS n FROM sales.empty").to_pylist() == [{"n": 0}]
    assert _error(clients["broad"], "SELECT * FROM sales.regions")[0] == "table_not_found"
    assert clients["broad"].fetch("SELECT x FROM side.s.t").to_pylist() == [{"x": 1}]


def test_show_and_describe_follow_the_same_rule(clients: dict[str, RawClient]) -> None:
    shown = clients["one"].fetch("SHOW TABLES").to_pylist()
    assert not any("secret" in str(row) or "regions" in str(row) for row in shown)
    assert any("orders" in str(row) for row in shown)
    assert clients["one"].fetch("DESCRIBE sales.orders").num_rows == 5


def test_a_subquery_or_a_join_opens_nothing_more(clients: dict[str, RawClient]) -> None:
    for sql in (
        f"SELECT * FROM {_ORDERS} WHERE order_id IN (SELECT secret FROM hidden.secrets)",
        f"SELECT * FROM {_ORDERS} JOIN hidden.secrets ON true",
        "WITH t AS (SELECT * FROM hidden.secrets) SELECT * FROM t",
        f"SELECT (SELECT max(secret) FROM hidden.secrets) FROM {_ORDERS}",
        f"SELECT order_id FROM {_ORDERS} UNION ALL SELECT secret FROM hidden.secrets",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM hidden.secrets)",
    ):
        assert _error(clients["one"], sql)[0] == "table_not_found"


def test_explain_shows_others_than_administrators_no_files(clients: dict[str, RawClient]) -> None:
    explained = f"EXPLAIN SELECT * FROM {_ORDERS}"
    assert "file_groups" not in str(clients["one"].fetch(explained).to_pylist())
    assert "file_groups" in str(clients["admin"].fetch(explained).to_pylist())
    analyzed = explained.replace("EXPLAIN", "EXPLAIN ANALYZE")
    assert _error(clients["one"], analyzed)[0] == "unsupported"
    assert _error(clients["one"], "EXPLAIN SELECT * FROM hidden.secrets")[0] == "table_not_found"


def test_keys_of_a_hidden_table_are_as_those_of_none(clients: dict[str, RawClient]) -> None:
    for table in ("secrets", "nothing"):
        rows = clients["none"].fetch(commands.GetPrimaryKeys("primary", "hidden", table))
        assert rows.num_rows == 0


def test_a_user_who_may_read_nothing_can_still_ask(clients: dict[str, RawClient]) -> None:
    none = clients["none"]
    assert none.fetch("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert none.fetch(commands.GetSqlInfo((0,))).num_rows == 1
    error: Any = _error(none, "SELECT * FROM information_schema.tables")
    assert error[0] in {"bucket_not_found", "table_not_found"}
