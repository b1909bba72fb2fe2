"""Tables that other tools wrote: each reads right in every way of asking, or is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.types as pt
import pytest
from datafusion import SessionContext
from deltalake import CommitProperties, DeltaTable, write_deltalake

from flight_server.storage.snapshots import PARTITION_TUPLES_MAX
from tests import tables as zoo
from tests.wire.raw import error_code

Make = Callable[[Path], pa.Table]
_SCHEMA = "foreign"


def _deleted_and_merged(path: Path) -> pa.Table:
    write_deltalake(path, zoo.numbers(0, 50))
    table = DeltaTable(path)
    table.delete("id >= 10 AND id < 20")
    table.update({"name": "'x'"}, predicate="id = 3")
    source = pa.table({"id": [4, 60], "name": ["m", "n"]})
    merge = table.merge(source, "t.id = s.id", source_alias="s", target_alias="t")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    rows = [row for row in zoo.numbers(0, 50).to_pylist() if not 10 <= row["id"] < 20]
    for row in rows:
        row["name"] = {3: "x", 4: "m"}.get(row["id"], row["name"])
    return pa.Table.from_pylist([*rows, {"id": 60, "name": "n"}], schema=zoo.NUMBERS)


def _compacted_and_checkpointed(path: Path) -> pa.Table:
    for start in range(0, 120, 10):
        write_deltalake(path, zoo.numbers(start, start + 10), mode="append")
    table = DeltaTable(path)
    table.optimize.z_order(["id"])
    table.create_checkpoint()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    write_deltalake(path, zoo.numbers(120, 130), mode="append")
    return zoo.numbers(0, 130)


def _overwritten_with_another_schema(path: Path) -> pa.Table:
    write_deltalake(path, zoo.numbers(0, 10))
    rows = pa.table({"name": [1.5, None], "new": ["a", "b"]})
    write_deltalake(path, rows, mode="overwrite", schema_mode="overwrite")
    return rows


def _merged_schema_under_partitions(path: Path) -> pa.Table:
    first = pa.table({"p": ["a", None], "x": pa.array([1, 2], pa.int64())})
    write_deltalake(path, first, partition_by=["p"])
    second = pa.table({"p": ["a", ""], "x": pa.array([3, 4], pa.int64()), "y": [True, False]})
    write_deltalake(path, second, mode="append", schema_mode="merge")
    # An empty text as a partition value is NULL by the protocol. The writer moves partition
    # columns behind the others when it merges schemas.
    return pa.table(
        {"x": [1, 2, 3, 4], "p": ["a", None, "a", None], "y": [None, None, True, False]}
    )


def _replaced_by_predicate(path: Path) -> pa.Table:
    rows = pa.table({"day": ["1", "1", "2"], "x": pa.array([1, 2, 3], pa.int64())})
    write_deltalake(path, rows, partition_by=["day"])
    fresh = pa.table({"day": ["1"], "x": pa.array([9], pa.int64())})
    commit = CommitProperties(custom_metadata={"by": "test"})
    write_deltalake(path, fresh, mode="overwrite", predicate="day = '1'", commit_properties=commit)
    return pa.table({"day": ["1", "2"], "x": [9, 3]})


RIGHT: dict[str, Make] = {
    "plain": zoo.plain,
    "awkward_text_partitions": zoo.partitioned_by_awkward_text,
    "partitions_of_every_type": zoo.partitioned_by_type,
    "evolved": zoo.evolved,
    "widened": zoo.widened,
    "without_statistics": zoo.without_statistics,
    "time_without_zone": zoo.with_timestamp_ntz,
    "times_of_96_bits": zoo.with_int96,
    "checkpoint_in_parts": zoo.with_multipart_checkpoint,
    "checkpoint_v2": zoo.with_v2_checkpoint,
    "vectors_unused": lambda path: zoo.with_deletion_vector(path, deleted=()),
    "vector_in_the_log": zoo.with_deletion_vector,
    "vector_in_a_file": zoo.with_relative_deletion_vector,
    "mapped_by_name": zoo.with_column_mapping,
    "mapped_by_id": lambda path: zoo.with_column_mapping(path, mode="id"),
    "mapped_and_nested": zoo.with_nested_column_mapping,
    "mapped_with_a_vector": lambda path: zoo.with_column_mapping(path, deleted=(0, 9)),
    "mapped_partition": lambda path: zoo.with_column_mapping(path, partitioned=True),
    "many_partitions": lambda path: zoo.with_many_partitions(path, count=PARTITION_TUPLES_MAX + 1),
    "deleted_and_merged": _deleted_and_merged,
    "compacted_and_checkpointed": _compacted_and_checkpointed,
    "overwritten_with_another_schema": _overwritten_with_another_schema,
    "merged_schema_under_partitions": _merged_schema_under_partitions,
    "replaced_by_predicate": _replaced_by_predicate,
}


def _questions(schema: pa.Schema) -> Iterator[str]:
    """Ask for rows in the ways that use the parts of a table: files, statistics, partitions."""
    yield "SELECT * FROM t"
    yield "SELECT count(*) AS n FROM t"
    yield "SELECT count(*) AS n FROM t WHERE 1 = 0"
    for field in schema:
        name = f'"{field.name}"'
        yield f"SELECT {name} FROM t"
        yield f"SELECT count({name}) AS n, count(*) AS total FROM t"
        yield f"SELECT * FROM t WHERE {name} IS NULL"
        yield f"SELECT count(*) AS n FROM t WHERE {name} IS NOT NULL"
        if pt.is_nested(field.type):
            continue
        yield f"SELECT min({name}) AS low, max({name}) AS high FROM t"
        yield f"SELECT {name}, count(*) AS n FROM t GROUP BY {name}"
        yield f"SELECT * FROM t WHERE {name} = (SELECT max({name}) FROM t)"
        yield f"SELECT * FROM t WHERE {name} IN (SELECT min({name}) FROM t)"
        if pt.is_integer(field.type):
            for bound in (-8, 1, 2, 9, 300, 2**33):
                yield f"SELECT * FROM t WHERE {name} > {bound}"
                yield f"SELECT count(*) AS n FROM t WHERE {name} = {bound}"
        if pt.is_string(field.type):
            for text in ("n3", "", "a/b", "%20", "zürich ☃", "x''y"):
                yield f"SELECT * FROM t WHERE {name} = '{text}'"
            yield f"SELECT * FROM t WHERE {name} LIKE '%%' AND {name} <> 'plain'"


def _rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


@pytest.mark.parametrize("kind", RIGHT)
def test_every_question_has_the_right_answer(
    adbc: flightsql.Connection, lakehouse: Path, kind: str
) -> None:
    expected = RIGHT[kind](lakehouse / _SCHEMA / kind)
    context = SessionContext()
    context.register_batch("t", expected.combine_chunks().to_batches()[0])
    with adbc.cursor() as cursor:
        for question in _questions(expected.schema):
            cursor.execute(question.replace("FROM t", f"FROM {_SCHEMA}.{kind}"))
            answer = cursor.fetch_arrow_table()
            wanted = context.sql(question).to_arrow_table()
            assert answer.column_names == wanted.column_names
            assert _rows(answer) == _rows(wanted.cast(answer.schema)), question


def _variant(path: Path) -> None:
    folder = zoo.DeltaFolder(path, zoo.NUMBERS, reader_features=["variantType"])
    metadata = folder.metadata()
    schema = json.loads(metadata["metaData"]["schemaString"])
    schema["fields"][1]["type"] = "variant"
    metadata["metaData"]["schemaString"] = json.dumps(schema)
    folder.log.mkdir(parents=True)
    folder.commit(folder.protocol(), metadata, folder.add(zoo.numbers(0, 1), "f.parquet"))


def _absolute(path: Path) -> None:
    folder = zoo.DeltaFolder(path, zoo.NUMBERS)
    add = folder.add(zoo.numbers(0, 1), "f.parquet")
    add["add"]["path"] = f"file://{path}/f.parquet"
    folder.create(add)


def _climbing(path: Path) -> None:
    zoo.plain(path.with_name("a_neighbour"))
    folder = zoo.DeltaFolder(path, zoo.NUMBERS)
    add = folder.add(zoo.numbers(0, 1), "f.parquet")
    add["add"]["path"] = "../a_neighbour/f0.parquet"
    folder.create(add)


REFUSED: dict[str, Callable[[Path], object]] = {
    "unknown_feature": zoo.with_unknown_feature,
    "catalog_managed": lambda path: zoo.with_unknown_feature(path, "catalogManaged"),
    "variant": _variant,
    "absolute_paths": _absolute,
    "paths_out_of_the_folder": _climbing,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_right_is_refused(
    adbc: flightsql.Connection, lakehouse: Path, kind: str
) -> None:
    REFUSED[kind](lakehouse / "foreign_refused" / kind)
    for what in ("*", "count(*)"):
        failure = _failure(adbc, f"SELECT {what} FROM foreign_refused.{kind}")
        assert error_code(failure) == "unsupported"
        assert str(lakehouse) not in str(failure)
    _is_listed(adbc, "foreign_refused", kind)


def _torn_commit(path: Path) -> None:
    zoo.plain(path)
    commit = path / "_delta_log" / f"{1:020d}.json"
    commit.write_text(commit.read_text()[:-40])


def _no_metadata(path: Path) -> None:
    folder = zoo.DeltaFolder(path, zoo.NUMBERS)
    folder.log.mkdir(parents=True)
    folder.commit(folder.protocol(), folder.add(zoo.numbers(0, 1), "f.parquet"))


def _empty_log(path: Path) -> None:
    (path / "_delta_log").mkdir(parents=True)


def _gap(path: Path) -> None:
    zoo.plain(path, files=4)
    (path / "_delta_log" / f"{2:020d}.json").unlink()


def _torn_file(path: Path) -> None:
    zoo.plain(path, files=1)
    (path / "f0.parquet").write_bytes(b"PAR1 no more")


def _missing_file(path: Path) -> None:
    zoo.plain(path)
    (path / "f1.parquet").unlink()


DAMAGED: dict[str, Callable[[Path], object]] = {
    "torn_commit": _torn_commit,
    "no_metadata": _no_metadata,
    "empty_log": _empty_log,
    "gap_in_the_log": _gap,
    "torn_file": _torn_file,
    "missing_file": _missing_file,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_table_is_an_error_of_its_own_and_hides_no_other(
    adbc: flightsql.Connection, lakehouse: Path, kind: str
) -> None:
    folder = lakehouse / "foreign_damaged"
    DAMAGED[kind](folder / kind)
    if not (folder / "healthy").exists():
        zoo.plain(folder / "healthy")
    failure = _failure(adbc, f"SELECT * FROM foreign_damaged.{kind}")
    assert error_code(failure) == "table_damaged"
    assert str(lakehouse) not in str(failure)
    with adbc.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM foreign_damaged.healthy")
        assert cursor.fetchone() == (20,)
    _is_listed(adbc, "foreign_damaged", "healthy")
    shutil.rmtree(folder / kind)


def _failure(adbc: flightsql.Connection, sql: str) -> flightsql.Error:
    with adbc.cursor() as cursor:
        try:
            cursor.execute(sql)
            cursor.fetch_arrow_table()
        except flightsql.Error as error:
            return error
    raise AssertionError(sql)


def _is_listed(adbc: flightsql.Connection, schema: str, table: str) -> None:
    with adbc.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM information_schema.tables"
            f" WHERE table_schema = '{schema}' AND table_name = '{table}'"
        )
        assert cursor.fetchone() == (1,)
        cursor.execute(f"SELECT * FROM information_schema.columns WHERE table_schema = '{schema}'")
        cursor.fetchall()
