"""What an auditor asks: who saw what and why, by the versions that are on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from tests.lakehouse import write
from tests.servers import Server, running
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, refused

TABLE = "primary.hr.people"
SAFE = "primary.hr.people_safe"
PEOPLE = pa.table(
    {
        "id": pa.array(range(20), pa.int64()),
        "name": [f"person {i}" for i in range(20)],
        "state": [("open", "blocked", None)[i % 3] for i in range(20)],
        "age": pa.array([i * 5 for i in range(20)], pa.int64()),
    }
)
CONDITIONS = ("id > 3", "state = 'open'", "age < 80", "state IS NULL OR id <> 5")
REDACTIONS: tuple[dict[str, Any], ...] = (
    {"kind": "null"},
    {"kind": "hash"},
    {"kind": "mask", "keep_prefix": 1},
)


@dataclass(frozen=True, slots=True)
class People:
    """Who is connected to a server: an administrator, an auditor, somebody who asks."""

    server: Server
    admin: RawClient
    auditor: RawClient
    alice: RawClient


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    directory = tmp_path_factory.mktemp("questions")
    write(directory / "hr" / "people", PEOPLE)
    with running(directory) as server, RawClient.connect(server) as admin:
        for name, role in (("alice", "agent"), ("aud", "auditor"), ("bob", "clerk")):
            add_user(directory, name)
            admin.call("user.set_role", username=name, role="registered", custom_roles=[role])
        admin.call("grant.add", privilege="read", resource="primary.hr", to={"role": "agent"})
        with (
            RawClient.connect(server, "aud", PASSWORD) as auditor,
            RawClient.connect(server, "alice", PASSWORD) as alice,
        ):
            yield People(server, admin, auditor, alice)


def explain(client: RawClient, table: str = TABLE, **asked: Any) -> dict[str, Any]:
    (answer,) = client.call("policy.explain", table=table, **asked)
    return answer


def change_something(admin: RawClient, random: Random) -> None:
    """Put or drop a rule."""
    table, name = random.choice([TABLE, SAFE]), random.choice("ab")
    to = random.choice([{"role": "agent"}, {"user": "alice"}, {"role": "clerk"}])
    kind = random.choice(["filter", "filter", "mask", "mask", "view", "drop"])
    if kind == "filter":
        condition = "id > 1" if table == SAFE else random.choice(CONDITIONS)
        admin.call("filter.put", name=name, table=table, filter=condition, to=to)
    elif kind == "mask":
        redaction = random.choice(REDACTIONS)
        # A view's condition sees what masks on its table leave: no condition here is on names.
        column = "name" if table == TABLE else random.choice(["name", "state"])
        admin.call("mask.put", name=name, table=table, column=column, redaction=redaction, to=to)
    elif kind == "view":
        put_view(admin, random)
    else:
        what = random.choice(["filter", "mask"])
        found = admin.call(f"{what}.list")
        if found:
            gone = random.choice(found)
            admin.call(f"{what}.drop", name=gone["name"], table=gone["table"])


def put_view(admin: RawClient, random: Random) -> None:
    admin.call(
        "view.put",
        name=SAFE,
        base=TABLE,
        columns=random.choice([["id", "name", "state"], ["name", "id", "state"]]),
        row_filter=random.choice(CONDITIONS),
        redactions={"name": random.choice(REDACTIONS)},
    )


def seen_by(client: RawClient, table: str) -> dict[str, Any]:
    """Return what a query gives: columns, how many rows, and what became of values."""
    rows = client.fetch(f"SELECT * FROM {table}")
    return {"columns": rows.column_names, "rows": rows.num_rows, "values": rows.to_pydict()}


def check_seen(admin: RawClient, answer: dict[str, Any], seen: dict[str, Any]) -> None:
    """Check that an explanation says what a query gave."""
    assert answer["allowed"], answer
    assert [each["name"] for each in answer["columns"]] == seen["columns"]
    conditions = [each["bound"] for each in answer["filters"]]
    conditions += [each["row_filter"] for each in answer["views"] if each["row_filter"]]
    where = " AND ".join(f"({each})" for each in conditions) or "TRUE"
    stored = admin.fetch(f"SELECT * FROM {TABLE} WHERE {where}").to_pydict()
    assert seen["rows"] == len(stored["id"])
    for each in answer["columns"]:
        values = seen["values"][each["name"]]
        if each["shown"] == "as it is":
            assert sorted(values, key=repr) == sorted(stored[each["name"]], key=repr)
        elif each["shown"] == "null":
            assert set(values) <= {None}
        else:
            assert not set(filter(None, values)) & set(PEOPLE[each["name"]].to_pylist())


def test_what_was_seen_is_explained_by_the_recorded_version(people: People) -> None:
    random = Random(5)
    put_view(people.admin, random)
    seen = []
    for step in range(12):
        change_something(people.admin, random)
        table = (TABLE, SAFE)[step % 2]
        seen.append((table, seen_by(people.alice, table)))
        check_seen(people.admin, explain(people.auditor, table, user="alice"), seen[-1][1])
    records = people.auditor.call("audit.activity", user="alice", action="query", limit=100)
    records = [each for each in records if each["outcome"] == "success"][: len(seen)][::-1]
    assert len({each["policy_version"] for each in records}) > 5
    for record, (table, found) in zip(records, seen, strict=True):
        at, version = record["timestamp"], record["policy_version"]
        answer = explain(people.auditor, table, user="alice", at=at, version=version)
        assert answer["policy_version"] == version
        check_seen(people.admin, answer, found)
        assert explain(people.auditor, table, user="alice", at=at)["columns"] == answer["columns"]


def test_differences_say_what_changed_and_by_whom(people: People) -> None:
    before = explain(people.admin)["policy_version"]
    people.admin.call("filter.put", name="diff", table=TABLE, filter="age < 7")
    middle = explain(people.admin)["policy_version"]
    people.admin.call("filter.put", name="diff", table=TABLE, filter="age < 8")
    people.admin.call("filter.drop", name="diff", table=TABLE)
    (added,) = people.auditor.call("policy.diff", **{"from": before, "to": middle})
    (change,) = added["changes"]
    assert (change["kind"], change["change"], change["created_by"]) == ("filter", "added", "admin")
    assert change["rule"]["condition"] == "age < 7"
    assert "Added the row filter diff on primary.hr.people for everybody" in change["text"]
    (removed,) = people.auditor.call("policy.diff", **{"from": middle})
    assert [each["change"] for each in removed["changes"]] == ["removed"]
    assert removed["changes"][0]["at"] >= change["at"]
    (nothing,) = people.auditor.call("policy.diff", **{"from": before})
    assert nothing["changes"] == []
    versions = [each["version"] for each in people.auditor.call("policy.versions")]
    assert versions.index(middle) < versions.index(before)
    turned = {"from": middle, "to": before}
    assert refused(lambda: people.auditor.call("policy.diff", **turned)) == "invalid_range"
    lost = {"from": "g999-f-m-l-v-s00"}
    assert refused(lambda: people.auditor.call("policy.diff", **lost)) == "version_not_found"


def test_others_ask_about_themselves_and_now_and_hear_no_rule(people: People) -> None:
    people.admin.call("filter.put", name="own", table=TABLE, filter="name <> 'person 7'")
    try:
        answer = explain(people.alice)
        text = json.dumps(answer)
        assert answer["rows_filtered"]
        assert "person 7" not in text
        assert "admin" not in text
        assert "filters" not in answer
        for asked in ({"user": "bob"}, {"user": "nobody"}, {"at": "2026-01-01"}, {"version": "x"}):
            assert refused(lambda asked=asked: explain(people.alice, **asked)) == (  # type: ignore[misc]  # mypy cannot infer it with a default
                "permission_denied"
            )
        for name in ("policy.diff", "policy.versions"):
            values = {"from": "2026-01-01"}
            code = refused(lambda name=name, v=values: people.alice.call(name, **v))  # type: ignore[misc]  # as above
            assert code == "permission_denied"
        with RawClient.connect(people.server, "bob", PASSWORD) as bob:
            for table in (TABLE, "primary.hr.nothing"):
                assert refused(lambda t=table: explain(bob, t)) == "bucket_not_found"  # type: ignore[misc]  # as above
    finally:
        people.admin.call("filter.drop", name="own", table=TABLE)


def test_tombstones_are_counted(people: People) -> None:
    before = explain(people.auditor, user="alice")["policy_version"]
    people.admin.call(
        "tombstone.add", table=TABLE, row_key_column="id", row_key_values=["1", "2"], reason="asked"
    )
    answer = explain(people.auditor, user="alice")
    assert answer["tombstones"] == {"hiding": 2, "compacted": 0}
    assert "2 tombstoned keys hide rows." in answer["summary"]
    assert answer["policy_version"] == before
    assert "tombstones" not in explain(people.alice)
    people.admin.call("tombstone.remove", table=TABLE, row_key_values=["1", "2"])


@pytest.mark.parametrize(
    "name", ["grants", "filters", "masks", "labels", "views", "tombstones", "consents"]
)
def test_the_tables_of_rules_are_read_by_version_and_time(people: People, name: str) -> None:
    table = f"system.policy.{name}"
    first = people.admin.fetch(f"SELECT * FROM {table} VERSION AS OF 0")
    assert first.num_rows == 0
    newest = people.admin.fetch(f"SELECT * FROM {table}")
    assert newest.schema == first.schema
    begun = people.admin.call("table.history", table=table)[-1]["timestamp"]
    then = people.admin.fetch(f"SELECT * FROM {table} TIMESTAMP AS OF '{begun}'")
    assert then.num_rows == 0
    assert refused(lambda: people.alice.fetch(f"SELECT * FROM {table}")) == "table_not_found"


def test_a_purpose_is_on_record_with_the_question(people: People) -> None:
    answer = explain(people.auditor, user="alice", purpose="research")
    assert not answer["allowed"]
    assert "state the purpose research" in answer["reason"]
    records = people.auditor.call("audit.activity", action="policy.explain", limit=1)
    assert records[0]["resource"] == TABLE
    assert records[0]["details"]["purpose"] == "research"


def test_what_was_seen_for_a_purpose_is_explained_by_its_record(people: People) -> None:
    to = {"user": "alice"}
    (given,) = people.admin.call(
        "grant.add", privilege="read", resource=TABLE, to=to, purposes=["research"]
    )
    people.admin.call("label.put", table=TABLE, column="name", label="user_id")
    people.admin.call("consent.set", subject="person 4", purposes=["research"], given=True)
    people.admin.call("consent.set", subject="person 6", purposes=["research"], given=True)
    with RawClient.connect(
        people.server, "alice", PASSWORD, x_lakehouse_purpose="research"
    ) as alice:
        seen = alice.fetch(f"SELECT * FROM {TABLE} ORDER BY id")
    people.admin.call("consent.set", subject="person 4", purposes=["research"], given=False)
    people.admin.call("label.drop", table=TABLE, column="name", label="user_id")
    people.admin.call("grant.remove", grant_id=given["grant_id"])
    (record,) = people.auditor.call("audit.activity", user="alice", action="query", limit=1)
    assert record["purpose"] == "research"
    asked = {"purpose": record["purpose"], "at": record["timestamp"]}
    asked |= {"user": "alice", "version": record["policy_version"]}
    answer = explain(people.auditor, **asked)
    assert answer["allowed"]
    assert [each["name"] for each in answer["columns"]] == seen.column_names
    assert answer["columns"][1]["shown"] == "null"
    assert seen["name"].null_count == seen.num_rows
    assert answer["consent"] == {"purpose": "research", "columns": ["name"], "people": 2}
    assert set(seen["id"].to_pylist()) <= {4, 6}
    now = explain(people.auditor, user="alice", purpose="research")
    assert not now["allowed"]
