"""What is explained is what queries give, now and at every earlier state of the rules."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest, LakeflightError, NotFound
from flight_server.service.explaining import Explanation
from flight_server.service.explanations import as_json, is_shown, seen_columns
from flight_server.service.hidden_keys import partition_of
from flight_server.service.keys_at import Tombstones
from flight_server.storage.key_sets import KeyEvent, KeyEvents
from policies.names import Privilege, Role, TableRef
from policies.purposes import DataPart
from policies.rules import (
    NULLED,
    Audience,
    ColumnMask,
    Effect,
    Grant,
    Label,
    Redaction,
    RedactionKind,
    RowFilter,
    SafeView,
)
from tests.service.ruled import Rule, RuledLake

PEOPLE = TableRef("primary", "hr", "people")
SAFE = TableRef("primary", "hr", "people_safe")
SAFER = TableRef("primary", "hr", "people_safer")
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "name": ["ann", "bob", "cyd", "dan"],
        "state": ["open", "open", "blocked", None],
        "age": pa.array([10, 20, 30, 40], pa.int64()),
    }
)
COLUMNS = tuple(ROWS.column_names)
TYPES = {"id": "int64", "name": "string", "state": "string", "age": "int64"}
READ = Grant(Privilege.READ, ("primary", "hr"), role="agent")
OPEN = RowFilter("open only", PEOPLE, "state = 'open'", Audience(role="agent"))
HASHED = Redaction(RedactionKind.HASH)
MASKED = Redaction(RedactionKind.MASK, keep_prefix=1)
VIEW = SafeView(
    SAFE,
    PEOPLE,
    tuple((name, TYPES[name]) for name in ("id", "name", "state")),
    row_filter="id > 1",
    redactions=((("name",), HASHED),),
)


@pytest.fixture
def lake(tmp_path: Path) -> RuledLake:
    made = RuledLake(tmp_path / "lake")
    made.table(PEOPLE, ROWS)
    made.user("ann", custom_roles=("agent",))
    return made


def explained(lake: RuledLake, ref: TableRef = PEOPLE, user: str = "ann", **asked: Any) -> Any:
    """Return the full answer, which is plain JSON."""
    found = lake.explainer.explain(lake.question(ref, user, **asked))
    return json.loads(json.dumps(as_json(found, is_full=True)))


def test_it_says_what_is_seen_and_by_which_rules(lake: RuledLake) -> None:
    lake.put(READ, OPEN)
    lake.put(ColumnMask("names", PEOPLE, ("name",), MASKED), by=None)
    answer = explained(lake)
    assert (answer["allowed"], answer["user"], answer["table"]) == (True, "ann", str(PEOPLE))
    assert [each["shown"] for each in answer["columns"]] == [
        "as it is",
        "mask",
        "as it is",
        "as it is",
    ]
    (grant,) = answer["grants"]
    assert (grant["resource"], grant["to"]) == ("primary.hr", {"role": "agent"})
    assert (grant["created_by"], grant["holds"]) == ("root", True)
    (row_filter,) = answer["filters"]
    assert (row_filter["condition"], row_filter["created_by"]) == ("state = 'open'", "root")
    (mask,) = answer["masks"]
    assert (mask["column"], mask["redaction"]["keep_prefix"]) == ("name", 1)
    assert mask["created_by"] is None
    assert answer["policy_version"] == lake.rules.book().version
    text = "\n".join(answer["summary"])
    assert "ann may read primary.hr.people: read on primary.hr to the role agent is granted" in text
    assert "by root" in text
    assert "only where (state = 'open') (filter open only)" in text
    assert "name is shown as stars but for its first 1 characters" in text


def test_it_says_why_not(lake: RuledLake) -> None:
    assert explained(lake)["reason"] == f"no grant of read on {PEOPLE}"
    lake.put(READ, replace(READ, effect=Effect.DENY, resource=("primary", "hr", "people")))
    answer = explained(lake)
    assert (answer["allowed"], answer["columns"]) == (False, [])
    assert answer["reason"] == f"a deny of read on {PEOPLE}"
    assert [each["effect"] for each in answer["grants"]] == ["allow", "deny"]
    assert any("A deny of read on primary.hr.people" in each for each in answer["summary"])
    lake.user("ann", custom_roles=("agent",), is_active=False)
    assert explained(lake)["reason"] == "the account is disabled"


def test_a_view_is_followed_down_to_its_table(lake: RuledLake) -> None:
    over = SafeView(SAFER, SAFE, (("name", "string"),), redactions=((("name",), NULLED),))
    lake.put(VIEW, over, OPEN, Grant(Privilege.READ, ("primary", "hr", SAFER.table), user="ann"))
    answer = explained(lake, SAFER)
    assert answer["allowed"]
    assert [(each["view"], each["base"]) for each in answer["views"]] == [
        (str(SAFER), str(SAFE)),
        (str(SAFE), str(PEOPLE)),
    ]
    assert answer["columns"][0]["shown"] == "null"
    assert [each["kind"] for each in answer["columns"][0]["redactions"]] == ["hash", "null"]
    assert answer["columns_hidden"] == ["id", "state", "age"]
    assert not explained(lake, SAFE)["allowed"]
    assert not explained(lake)["allowed"]
    lake.table(PEOPLE, ROWS.drop(["age"]).append_column("late", [["x"] * 4]))
    assert explained(lake, SAFER)["allowed"]


def test_a_view_of_what_has_changed_shows_nothing(lake: RuledLake) -> None:
    broken = replace(VIEW, columns=(("id", "int32"),), redactions=())
    lake.put(broken, READ)
    answer = explained(lake, SAFE)
    assert not answer["allowed"]
    assert "what it is made of has changed" in answer["reason"]


def test_who_asks_about_themselves_hears_no_condition_and_no_name(lake: RuledLake) -> None:
    lake.put(READ, OPEN, VIEW, ColumnMask("secret mask", SAFE, ("id",), NULLED))
    found = lake.explainer.explain(lake.question(SAFE, "ann"))
    text = json.dumps(as_json(found, is_full=False))
    for hidden in ("state =", "id > 1", "root", "secret mask", "open only", str(PEOPLE) + '"'):
        assert hidden not in text
    answer = json.loads(text)
    assert answer["rows_filtered"]
    assert [each["shown"] for each in answer["columns"]] == ["null", "hash", "as it is"]
    assert "grants" not in answer
    lake.put(replace(VIEW, columns=(("id", "int32"),), redactions=()))
    broken = as_json(lake.explainer.explain(lake.question(SAFE, "ann")), is_full=False)
    assert broken["reason"] == "its rules do not fit what it is made of now"


def test_values_of_the_caller_are_put_into_conditions(lake: RuledLake) -> None:
    lake.put(READ, RowFilter("own", PEOPLE, "name = current_user"))
    (own,) = explained(lake)["filters"]
    assert (own["condition"], own["bound"]) == ("name = current_user", "name = 'ann'")


def test_purposes_hide_and_must_be_granted(lake: RuledLake) -> None:
    lake.put(READ, Label(PEOPLE, "name", DataPart.USER_ID))
    refused = explained(lake, purpose="research")
    assert not refused["allowed"]
    assert "state the purpose research" in refused["reason"]
    lake.put(replace(READ, purposes=frozenset({"research"})))
    answer = explained(lake, purpose="research")
    assert answer["allowed"]
    assert answer["columns"][1]["shown"] == "null"
    assert answer["consent"] == {"purpose": "research", "columns": ["name"], "people": 0}
    assert lake.keys is not None
    people = pa.array(["ann", "cyd"], pa.string())
    lake.keys.consents.add([KeyEvents("research", KeyEvent.ADDED, people)])
    assert explained(lake, purpose="research")["consent"]["people"] == 2
    narrow = SafeView(SAFE, PEOPLE, (("id", "int64"),))
    lake.put(narrow)
    own = lake.explainer.explain(lake.question(SAFE, "ann", purpose="research"))
    assert as_json(own, is_full=False)["consent"] == {"purpose": "research", "columns": []}
    assert "name" not in json.dumps(as_json(own, is_full=False)["summary"])
    assert answer["labels"][0]["part"] == "user_id"
    assert [each["holds"] for each in answer["grants"]] == [True, True]
    assert [each["holds"] for each in explained(lake)["grants"]] == [True, False]
    with pytest.raises(InvalidRequest, match="no such purpose"):
        explained(lake, purpose="fun")


def test_tombstones_are_counted_then_and_now_and_never_told(lake: RuledLake) -> None:
    lake.put(READ)
    before = lake.moment()
    assert lake.keys is not None
    keys = pa.array(["1", "2", "3"], pa.string())
    added = KeyEvents(partition_of(PEOPLE), KeyEvent.ADDED, keys, key_column="id", key_type="int64")
    lake.keys.tombstones.add([added])
    now = lake.explainer.explain(lake.question(PEOPLE, "ann"))
    assert now.tombstones == Tombstones(hiding=3, compacted=0)
    then = lake.explainer.explain(lake.question(PEOPLE, "ann", at=before))
    assert then.tombstones == Tombstones(hiding=0, compacted=0)
    assert "3 tombstoned keys hide rows." in as_json(now, is_full=True)["summary"]
    assert as_json(now, is_full=False).get("tombstones") is None
    lake.table(TableRef("primary", "hr", "others"), ROWS.drop(["id"]))
    table = partition_of(TableRef("primary", "hr", "others"))
    lake.keys.tombstones.add([replace(added, partition=table)])
    misfit = explained(lake, TableRef("primary", "hr", "others"))
    assert not misfit["allowed"]
    assert 'no column "id" in this version' in misfit["reason"]


def test_accounts_rules_and_tables_are_those_of_the_moment(lake: RuledLake) -> None:
    lake.put(READ, OPEN)
    first, first_version = lake.moment(), lake.rules.book().version
    was = explained(lake)
    lake.drop(OPEN)
    lake.put(ColumnMask("ages", PEOPLE, ("age",), NULLED))
    lake.table(PEOPLE, ROWS.append_column("late", [["x"] * 4]))
    lake.user("ann", custom_roles=())
    lake.user("bea", custom_roles=("agent",))
    assert not explained(lake)["allowed"]
    assert [each["shown"] for each in explained(lake, user="bea")["columns"]][3:] == [
        "null",
        "as it is",
    ]
    for asked in ({"at": first}, {"version": first_version}):
        then = explained(lake, **asked)
        for name in ("columns", "filters", "masks", "grants", "policy_version", "custom_roles"):
            assert then[name] == was[name], name
    gone = explained(lake, user="bea", at=first)
    assert gone["reason"] == "there was no such account at that time"
    # The account of then, by the rules of now.
    mixed = explained(lake, at=first, version=lake.rules.book().version)
    assert [each["shown"] for each in mixed["columns"]] == ["as it is"] * 3 + ["null"]


def test_what_there_was_not_is_said(lake: RuledLake) -> None:
    lake.put(READ)
    early = lake.clock.now() - timedelta(days=1)
    lake.user("zoe", custom_roles=("agent",))
    with pytest.raises(NotFound) as raised:
        explained(lake, user="nobody")
    assert raised.value.code == "user_not_found"
    assert not explained(lake, at=early)["allowed"]
    with pytest.raises(InvalidRequest, match="future"):
        explained(lake, at=lake.clock.now() + timedelta(days=1))
    with pytest.raises(NotFound) as missing:
        explained(lake, version="g99-f-m-l-v-s00")
    assert missing.value.code == "version_not_found"
    for text in ("", "7", "g1", "deadbeefdeadbeef", "g1-f-m-l-v-s" + "0" * 300):
        with pytest.raises(InvalidRequest):
            explained(lake, version=text)
    absent = explained(lake, TableRef("primary", "hr", "absent"))
    assert not absent["allowed"]


def test_settings_of_another_time_are_not_known(tmp_path: Path) -> None:
    lake = RuledLake(tmp_path / "lake", READ)
    lake.table(PEOPLE, ROWS)
    lake.user("ann", custom_roles=("agent",))
    lake.put(OPEN)
    version, moment = lake.rules.book().version, lake.moment()
    assert explained(lake)["settings_are_known"]
    assert explained(lake)["grants"][0]["grant_id"] is None
    assert explained(lake, version=version)["settings_are_known"]
    assert not explained(lake, at=moment)["settings_are_known"]
    other = RuledLake(tmp_path / "lake")
    answer = explained(other, version=version)
    assert not answer["settings_are_known"]
    assert answer["policy_version"] == version


conditions = st.sampled_from(
    ["id > 1", "state = 'open'", "age < 35", "name <> 'bob'", "state IS NULL"]
)
audiences = st.sampled_from(
    [
        Audience(),
        Audience(role="agent"),
        Audience(user="ann"),
        Audience(role="clerk"),
        Audience(except_roles=frozenset({"agent"})),
    ]
)
redactions = st.sampled_from([NULLED, HASHED, MASKED])
# Conditions on a view speak of what the view shows, so only of what it shows as it is.
filters = st.builds(
    RowFilter,
    name=st.sampled_from("abc"),
    table=st.just(PEOPLE),
    condition=conditions,
    to=audiences,
) | st.builds(
    RowFilter,
    name=st.sampled_from("abc"),
    table=st.just(SAFE),
    condition=st.sampled_from(["id > 1", "id < 4"]),
    to=audiences,
)
# A view's condition sees what masks on its table leave: none that a view has is on names.
masks = st.builds(
    ColumnMask,
    name=st.sampled_from("de"),
    table=st.just(PEOPLE),
    column=st.just(("name",)),
    redaction=redactions,
    to=audiences,
) | st.builds(
    ColumnMask,
    name=st.sampled_from("de"),
    table=st.just(SAFE),
    column=st.sampled_from([("name",), ("state",)]),
    redaction=redactions,
    to=audiences,
)
TABLES = [("primary", "hr", "people"), ("primary", "hr", "people_safe")]
effects = st.sampled_from([Effect.ALLOW, Effect.ALLOW, Effect.ALLOW, Effect.DENY])
roles = st.sampled_from(["agent", "agent", "clerk"])
grants = st.builds(
    Grant,
    privilege=st.just(Privilege.READ),
    resource=st.sampled_from([("primary", "hr"), *TABLES]),
    role=roles,
    effect=effects,
) | st.builds(
    Grant,
    privilege=st.just(Privilege.READ),
    resource=st.sampled_from(TABLES),
    role=roles,
    effect=effects,
    columns=st.sampled_from([("id", "name"), ("state",)]),
)
views = st.builds(
    SafeView,
    ref=st.just(SAFE),
    base=st.just(PEOPLE),
    columns=st.just(VIEW.columns),
    row_filter=st.none() | st.sampled_from(["id > 1", "state = 'open'", "age < 35"]),
    redactions=st.lists(
        st.tuples(st.sampled_from([("name",), ("state",)]), redactions),
        max_size=2,
        unique_by=lambda each: each[0],
    ).map(tuple),
)
rule_sets = st.tuples(st.lists(st.one_of(grants, filters, masks), max_size=6), views).map(
    lambda found: [READ, *found[0], found[1]]
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> RuledLake:
    made = RuledLake(tmp_path_factory.mktemp("explained") / "lake")
    made.table(PEOPLE, ROWS)
    made.user("ann", custom_roles=("agent",))
    return made


@settings(max_examples=25, deadline=None)
@given(rules=rule_sets, ref=st.sampled_from([PEOPLE, SAFE]))
def test_a_query_gives_what_was_explained(
    shared: RuledLake, rules: list[Rule], ref: TableRef
) -> None:
    shared.replace_all(rules)
    found = shared.explainer.explain(shared.question(ref, "ann"))
    check_against_a_query(shared, found, ref)


def check_against_a_query(lake: RuledLake, found: Explanation, ref: TableRef) -> None:
    principal = found.principal
    assert principal is not None
    if not is_shown(found) or not seen_columns(found):
        with pytest.raises(LakeflightError):
            lake.ask(principal, f"SELECT * FROM {ref.table}")
        return
    rows = lake.ask(principal, f"SELECT * FROM {ref.table}")
    columns = seen_columns(found)
    assert rows.column_names == [each.name for each in columns]
    conditions = [text for each in found.narrowings for text in each.conditions]
    admin = replace(principal, role=Role.ADMIN)
    expected = plain_rows(lake, admin, conditions)
    assert rows.num_rows == expected.num_rows
    for each in columns:
        seen = rows[each.name].to_pylist()
        stored = expected[each.name].to_pylist()
        if each.shown == "as it is":
            assert sorted(seen, key=repr) == sorted(stored, key=repr)
        elif each.shown == "null":
            assert seen == [None] * len(stored)
        else:
            assert not set(filter(None, seen)) & set(filter(None, stored))


def plain_rows(lake: RuledLake, admin: Any, conditions: list[str]) -> pa.Table:
    """Return the rows of the table itself that meet conditions, in a lake without rules."""
    bare = RuledLake(lake.root.parent / "bare")
    if bare.governed.registry.find(PEOPLE) is None:
        bare.table(PEOPLE, ROWS)
    where = " AND ".join(f"({each})" for each in conditions) or "TRUE"
    return bare.ask(admin, f"SELECT * FROM people WHERE {where}")


def test_an_administrator_needs_no_grant(lake: RuledLake) -> None:
    lake.user("root", role=Role.ADMIN)
    answer = explained(lake, user="root")
    assert (answer["allowed"], answer["reason"]) == (True, "administrator")
    assert TableRef("primary", "hr", "people") == PEOPLE


def test_without_tombstones_it_needs_a_right_of_its_own(lake: RuledLake) -> None:
    raw = TableRef("primary", "hr", "__raw__people")
    lake.put(READ)
    assert explained(lake, raw)["reason"] == f"no grant of read_raw on {PEOPLE}"
    lake.put(replace(READ, privilege=Privilege.READ_RAW))
    answer = explained(lake, raw)
    assert (answer["allowed"], answer["tombstones"]) == (True, None)
    assert {each["privilege"] for each in answer["grants"]} == {"read", "read_raw"}
    assert {each["privilege"] for each in explained(lake)["grants"]} == {"read"}
