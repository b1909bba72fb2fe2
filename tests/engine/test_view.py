"""The two forms of a governed scan: which queries get which, and what is kept between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flight_server.engine.base import GovernedScan, GovernedTable, Pin, RowScan, ViewScan
from flight_server.engine.session import EngineOptions, open_session
from flight_server.engine.view import KeyRelations, governed_frame
from flight_server.errors import InvalidRequest, LakeflightError
from flight_server.service.rules import RULES_PER_TABLE_MAX
from policies.names import Principal, TableRef
from policies.rules import Redaction, RedactionKind
from tests.engine.governed import governed, narrowing, only, without
from tests.engine.lake import ADMIN, READER, Lake, Session, never, query, session

FENCE = "9223372036854775807"
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, None], pa.int64()),
        "word": ["a", "b", "c", "d", "e"],
        "secret": ["p", "q", "r", "s", "t"],
    }
)
SHOWN = ("id", "word")
TWO = narrowing(SHOWN, "secret <> 'p'", keys=[without("id", pa.array([2], pa.int64()))])
FAST = (
    "SELECT word FROM g WHERE id = 3",
    "SELECT count(*), min(word) FROM g WHERE word LIKE 'c%'",
    "SELECT a.word FROM g a JOIN g b ON a.id = b.id ORDER BY a.word LIMIT 3",
    "SELECT w FROM v WHERE w > 'a'",
)
FENCED = (
    "SELECT word FROM g WHERE CAST(word AS INT) = 3",
    "SELECT 1 / id FROM g",
    "SELECT word FROM g ORDER BY CAST(word AS INT) LIMIT 3",
    "SELECT a.word FROM g a JOIN g b ON a.id = b.id AND 1 / a.id = 1",
    "SELECT w FROM v WHERE CAST(w AS INT) = 1",
    "SELECT w FROM failing",
)


@pytest.fixture
def house(tmp_path: Path) -> Session:
    made = session(tmp_path)
    scan = made.lake.write("stored", ROWS)
    made.lake.add("g", governed(scan, TWO))
    made.lake.add("v", ViewScan("SELECT word AS w, id FROM g", "lake", "main"))
    made.lake.add("failing", ViewScan("SELECT 1 / id AS w FROM g", "lake", "main"))
    return made


@pytest.mark.parametrize("sql", FAST)
def test_the_fast_form_lets_questions_through_to_the_files(house: Session, sql: str) -> None:
    plan = house.physical_plan(sql, principal=READER)
    assert FENCE not in plan
    if "WHERE" in sql:
        # The question and the condition are both asked while files are read.
        (scan,) = [line for line in plan.splitlines() if "predicate=" in line]
        assert "secret" in scan
        assert "word" in scan.partition("predicate=")[2] or "id@" in scan


@pytest.mark.parametrize("sql", FENCED)
def test_the_fenced_form_lets_none_through(house: Session, sql: str) -> None:
    plan = house.physical_plan(sql, principal=READER)
    assert FENCE in plan
    assert "DynamicFilter" not in plan
    for line in plan.splitlines():
        if "predicate=" in line:
            assert "word" not in line.partition("predicate=")[2]


def test_each_narrowing_has_a_fence_of_its_own(house: Session) -> None:
    """A condition of a view is not asked of rows that the table below hides."""
    scan = house.lake.write("stored", ROWS)
    house.lake.add("two", governed(scan, TWO, narrowing(SHOWN, "CAST(word AS INT) = 1")))
    assert house.physical_plan("SELECT word FROM two").count(FENCE) >= 2
    inner = governed(
        RowScan(ROWS), narrowing(SHOWN, "id > 9"), narrowing(SHOWN, "1 / (id - 3) = 1")
    )
    house.lake.add("inner", inner)
    assert house.values("SELECT * FROM inner") == []


def test_many_keys_are_looked_up_without_moving_the_rows(house: Session) -> None:
    source = house.lake.write("wide", pa.table({"id": pa.array(range(200_000), pa.int64())}))
    for name, count in (("few", 100), ("many", 100_000)):
        keys = without("id", pa.array(range(count), pa.int64()))
        house.lake.add(name, governed(source, narrowing(["id"], keys=[keys])))
        plan = house.physical_plan(f"SELECT id FROM {name}")
        assert "mode=CollectLeft" in plan
        assert "partitioning=Hash" not in plan
        assert house.values(f"SELECT count(*), min(id) FROM {name}") == [(200_000 - count, count)]
    # Other queries have the usual settings again.
    house.lake.add("plain", source)
    plan = house.physical_plan("SELECT a.id FROM plain a JOIN plain b ON a.id = b.id")
    assert "mode=Partitioned" in plan


def test_null_keys_are_among_none(house: Session) -> None:
    keys = pa.array([1, 9], pa.int64())
    house.lake.add("left", governed(RowScan(ROWS), narrowing(SHOWN, keys=[without("id", keys)])))
    house.lake.add("kept", governed(RowScan(ROWS), narrowing(SHOWN, keys=[only("id", keys)])))
    assert house.values('SELECT word FROM "left" ORDER BY 1') == [("b",), ("c",), ("d",), ("e",)]
    assert house.values("SELECT word FROM kept") == [("a",)]
    none = pa.array([], pa.int64())
    house.lake.add("all", governed(RowScan(ROWS), narrowing(SHOWN, keys=[without("id", none)])))
    house.lake.add("none", governed(RowScan(ROWS), narrowing(SHOWN, keys=[only("id", none)])))
    assert house.values('SELECT count(*) FROM "all"') == [(5,)]
    assert house.values('SELECT count(*) FROM "none"') == [(0,)]


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        (["a", "a ", "A"], ["a"]),
        ([1.0, -0.0, float("nan")], [1.0]),
        ([b"\xff", b""], [b"\xff"]),
        ([True, False], [True]),
    ],
)
def test_keys_are_compared_in_the_type_of_their_column(
    house: Session, values: list[Any], hidden: list[Any]
) -> None:
    table = pa.table({"k.K": values})
    keys = without("k.K", pa.array(hidden, table.schema.field(0).type))
    house.lake.add("typed", governed(RowScan(table), narrowing(["k.K"], keys=[keys])))
    assert house.values("SELECT count(*) FROM typed") == [(len(values) - 1,)]


def test_a_set_of_keys_becomes_a_relation_once() -> None:
    ctx = open_session(EngineOptions(target_partitions=1))
    keys = KeyRelations(ctx)
    frames = [
        governed_frame(ctx, governed(RowScan(ROWS), TWO), is_fenced=fenced, keys=keys)
        for fenced in (False, True)
    ]
    assert [frame.count() for frame in frames] == [3, 3]
    assert len(keys._made._values) == 1
    other = without("id", pa.array([1, 2, 3], pa.int64()))
    frame = governed_frame(
        ctx, governed(RowScan(ROWS), narrowing(SHOWN, keys=[other])), is_fenced=False, keys=keys
    )
    assert frame.count() == 2
    assert len(keys._made._values) == 2


def test_no_name_of_a_key_relation_can_be_used(house: Session) -> None:
    keys = house.engine._keys
    for column in (keys._column, "secret", '"?table?".secret'):
        with pytest.raises(InvalidRequest):
            house.rows(f"SELECT {column} FROM g", principal=READER)


def test_as_many_conditions_as_there_may_be_are_planned_together(house: Session) -> None:
    many = [f"id <> {number}" for number in range(10, RULES_PER_TABLE_MAX + 8)]
    house.lake.add("many", governed(RowScan(ROWS), narrowing(SHOWN, "id > 1", *many, "id < 3")))
    plan = house.physical_plan("SELECT id FROM many", principal=READER)
    assert plan.count("FilterExec") <= 1
    assert house.rows("SELECT id FROM many", principal=READER)["id"].to_pylist() == [2]


@pytest.mark.parametrize(
    "broken",
    [
        narrowing(["id", "gone"]),
        narrowing(SHOWN, "gone_too = 1"),
        narrowing(SHOWN, "secret = "),
        narrowing(SHOWN, "secret + 1 > 2"),
        narrowing(SHOWN, "id = 'gone'"),
        narrowing(SHOWN, "secret LIKE 3"),
        narrowing(SHOWN, keys=[without("gone", pa.array([1]))]),
        narrowing(SHOWN, redactions={("id",): Redaction(RedactionKind.MASK)}),
    ],
)
def test_rules_that_do_not_fit_show_nothing_and_are_not_quoted(house: Session, broken: Any) -> None:
    house.lake.add("broken", governed(RowScan(ROWS), broken))
    with pytest.raises(InvalidRequest) as raised:
        house.rows("SELECT id FROM broken", principal=READER)
    assert raised.value.code == "policy_misfit"
    for word in ("gone", "secret", "word", "MASK"):
        assert word not in raised.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT secret FROM g",
        "SELECT g.secret FROM g",
        "SELECT word FROM g WHERE secret = 'p'",
        "SELECT word FROM g ORDER BY secrt",
        "SELECT * FROM g JOIN g b USING (secret)",
        "SELECT nothing(word) FROM g",
        "SELECT word + DATE '2020-01-01' FROM g",
        "SELECT hashed::DATE + 1 FROM h",
    ],
)
def test_errors_of_planning_know_of_no_hidden_column(house: Session, sql: str) -> None:
    hashed = Redaction(RedactionKind.HASH, domain="d")
    shown = narrowing(["word"], "secret <> 'p'", redactions={("word",): hashed})
    house.lake.add("h", governed(RowScan(ROWS), shown))
    with pytest.raises(LakeflightError) as raised:
        house.rows(sql, principal=READER)
    said = raised.value.message.replace("No field named", "")
    assert "'p'" not in said.replace("secret = 'p'", "")
    assert "key_" not in said
    assert said.count("secret") <= sql.count("secret")


class Changing:
    """Tables whose rules change from one opening to the next."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self.policy = ""

    def open(
        self, ref: TableRef, principal: Principal, *, as_of: Any, pin: Pin | None
    ) -> GovernedTable:
        opened = self._lake.open(ref, principal, as_of=as_of, pin=pin)
        if not self.policy:
            return opened
        shown = narrowing(SHOWN, f"word = '{self.policy}'")
        scan: Any = opened.scan
        return GovernedTable(replace(opened.pin, policy=self.policy), GovernedScan(scan, (shown,)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lake, name)


def test_rules_are_those_of_the_moment_and_results_are_kept_for_the_same_rules(
    house: Session,
) -> None:
    tables = Changing(house.lake)
    engine: Any = house.engine
    engine._tables = tables
    pins = {}
    sql = "SELECT word FROM stored ORDER BY 1"
    for policy, words in (("", 5), ("a", 1), ("b", 1), ("", 5), ("a", 1)):
        tables.policy = policy
        described = house.describe(sql, principal=READER)
        pins[policy] = described.pins
        assert described.pins[0].policy == policy
        for asked in ("", "a", "b"):
            if asked not in pins:
                continue
            _, batches = engine.stream(query(sql, READER, pins=pins[asked]), is_cancelled=never)
            found = [word for batch in batches for word in batch.column(0).to_pylist()]
            assert len(found) == words
            assert policy in ("", *found)
            # What another rule shows is not what who asks by these pins may find again.
            assert batches.are_repeatable == (asked == policy)


def test_a_plan_is_kept_as_long_as_its_rules(house: Session) -> None:
    asked = query("SELECT word FROM g WHERE id = 3", READER)
    first = house.engine._plan(asked, is_bound=False, is_cancelled=never)
    assert house.engine._plan(asked, is_bound=False, is_cancelled=never) is first
    again = house.engine._plan(replace(asked, principal=ADMIN), is_bound=False, is_cancelled=never)
    assert again is not first


def test_a_plan_with_many_keys_is_not_kept(house: Session) -> None:
    many = without("id", pa.array(range(10, 20_011), pa.int64()))
    scan = house.lake.write("stored", ROWS)
    house.lake.add("many", governed(scan, narrowing(SHOWN, keys=[many])))
    asked = query("SELECT word FROM many", READER)
    first = house.engine._plan(asked, is_bound=False, is_cancelled=never)
    again = house.engine._plan(asked, is_bound=False, is_cancelled=never)
    assert again is not first
    assert again.is_repeatable
    assert len(house.engine._keys._made._values) == 1


def test_parameters_are_values_like_others(house: Session) -> None:
    rows = pa.table({"1": pa.array(["c", "zz"])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    bound = sink.getvalue().to_pybytes()
    for sql in ("SELECT word FROM g WHERE word = $1", "SELECT word FROM g WHERE word || $1 = 'cc'"):
        asked = replace(query(sql, READER), parameters=bound)
        _, batches = house.engine.stream(asked, is_cancelled=never)
        assert [word for batch in batches for word in batch.column(0).to_pylist()] == ["c"]


def test_what_leaves_is_scrubbed(house: Session) -> None:
    """A value that is NULL by a rule, in a type where the engine keeps what was there."""
    numbers = pa.table({"n": pa.array([int.from_bytes(b"HIDDENHI", "little")] * 9, pa.int64())})
    house.lake.add("n", governed(RowScan(numbers), narrowing(["n"])))
    _, batches = house.batches("SELECT nullif(n, n) AS n FROM n", principal=READER)
    for batch in batches:
        buffers = [each for each in batch.column(0).buffers() if each is not None]
        assert not any(b"HIDDEN" in each.to_pybytes() for each in buffers)
        assert pc.sum(pc.cast(batch.column(0).is_null(), pa.int64())).as_py() == batch.num_rows
