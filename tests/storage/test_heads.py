from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from flight_server import errors
from flight_server.storage.delta_actions import protocol_for, schema_text
from tests.delta_log import NUMBERS, Action, DeltaFolder, inline_deletion_vector, numbers
from tests.storage.writing import NAME, Written


def folder(path: Path, *, protocol: Action | None = None, **kinds: Any) -> Written:
    """Make a table as another writer would, with two files."""
    made = DeltaFolder(path, kinds.pop("schema", NUMBERS), **kinds)
    made.create(made.add(numbers(0, 3), "a.parquet"), made.add(numbers(3, 4), "b.parquet"))
    if protocol is not None:
        made.commit({"protocol": protocol})
    return Written(path)


def features(*names: str, reader: tuple[str, ...] = ()) -> Action:
    return {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": list(reader),
        "writerFeatures": list(names),
    }


def refusal_of(table: Written) -> str:
    with pytest.raises(errors.Unsupported) as caught:
        table.append(10, 11)
    with pytest.raises(errors.Unsupported):
        table.commits.head(table.path, name=NAME)
    assert NAME in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_old_writer_versions_are_fine_while_their_features_are_not_used(
    tmp_path: Path, version: int
) -> None:
    protocol = {"minReaderVersion": 1, "minWriterVersion": version}
    table = folder(tmp_path / "t", protocol=protocol)
    table.append(10, 11)
    assert len(table.ids()) == 5


@pytest.mark.parametrize(
    "name",
    [
        *("appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"),
        *("columnMapping", "identityColumns", "timestampNtz", "deletionVectors"),
        *("inCommitTimestamp", "allowColumnDefaults", "vacuumProtocolCheck"),
    ],
)
def test_known_features_are_fine_while_they_are_not_used(tmp_path: Path, name: str) -> None:
    table = folder(tmp_path / "t", protocol=features(name))
    table.append(10, 11)
    assert table.commits.head(table.path, name=NAME).version == 2


@pytest.mark.parametrize(
    "name",
    [
        *("rowTracking", "domainMetadata", "clustering", "v2Checkpoint", "icebergCompatV1"),
        *("icebergCompatV2", "typeWidening", "variantType", "catalogManaged", "fromTheFuture"),
    ],
)
def test_other_features_are_refused_by_name(tmp_path: Path, name: str) -> None:
    assert name in refusal_of(folder(tmp_path / "t", protocol=features(name)))


def test_later_protocols_are_refused(tmp_path: Path) -> None:
    protocol = {"minReaderVersion": 1, "minWriterVersion": 8, "writerFeatures": []}
    assert "newer version" in refusal_of(folder(tmp_path / "t", protocol=protocol))


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("delta.constraints.positive", "id > 0", "CHECK"),
        ("delta.columnMapping.mode", "name", "mapped"),
        ("delta.enableInCommitTimestamps", "true", "times"),
        ("delta.enableRowTracking", "true", "tracked"),
    ],
)
def test_settings_that_ask_more_are_refused_without_their_text(
    tmp_path: Path, key: str, value: str, word: str
) -> None:
    text = refusal_of(folder(tmp_path / "t", configuration={key: value}))
    assert word in text
    assert "id > 0" not in text


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("delta.invariants", "condition"),
        ("delta.generationExpression", "generated"),
        ("delta.identity.start", "identity"),
        ("CURRENT_DEFAULT", "default"),
        ("__CHAR_VARCHAR_TYPE_STRING", "bounded length"),
    ],
)
def test_columns_that_ask_more_are_refused(tmp_path: Path, key: str, word: str) -> None:
    column = pa.field("id", pa.int64(), metadata={key: "1"})
    assert word in refusal_of(folder(tmp_path / "t", schema=pa.schema([column, NUMBERS.field(1)])))


@pytest.mark.parametrize("key", ["delta.appendOnly", "delta.enableChangeDataFeed"])
def test_some_tables_take_appends_and_nothing_else(tmp_path: Path, key: str) -> None:
    table = folder(tmp_path / "t", configuration={key: "true"})
    table.append(10, 11)
    head = table.commits.head(table.path, name=NAME, with_files=True)
    old = tuple(file.path for file in head.files or ())
    for change in ({"removes": old}, {"removes_all": True}):
        with pytest.raises(errors.Unsupported, match="only be appended to"):
            table.commit("DELETE", **change)
    table.commit("OPTIMIZE", removes=(), read_version=1, data_change=False)
    assert table.ids() == [0, 1, 2, 3, 10]


def test_a_table_with_deletion_vectors_takes_appends(tmp_path: Path) -> None:
    made = DeltaFolder(tmp_path / "t", NUMBERS, reader_features=["deletionVectors"])
    vector = inline_deletion_vector([1])
    made.create(made.add(numbers(0, 3), "a.parquet", deletion_vector=vector))
    table = Written(made.path)
    table.append(10, 11)
    with pytest.raises(errors.Unsupported, match="deletion vectors"):
        table.commit("TRUNCATE", removes_all=True)


def test_the_protocol_rises_only_as_far_as_it_must() -> None:
    assert protocol_for(schema_text(NUMBERS)).writer == 2
    local = pa.schema([pa.field("m", pa.map_(pa.string(), pa.list_(pa.timestamp("us"))))])
    risen = protocol_for(schema_text(local))
    assert (risen.reader, risen.writer) == (3, 7)
    assert set(risen.reader_features or ()) == {"timestampNtz"}
    assert set(risen.writer_features or ()) == {"timestampNtz", "appendOnly", "invariants"}
    assert protocol_for(schema_text(local), risen) is risen


def test_notes_of_other_tools_survive_a_change_of_columns() -> None:
    before = json.loads(schema_text(NUMBERS))
    before["fields"][0]["metadata"] = {"tool": 7, "comment": "old"}
    after = json.loads(schema_text(NUMBERS, before=json.dumps(before)))
    assert after["fields"][0]["metadata"] == {"tool": 7}


def test_a_v2_checkpoint_is_refused(tmp_path: Path) -> None:
    table = folder(tmp_path / "t")
    DeltaTable(str(table.path)).create_checkpoint()
    log = table.path / "_delta_log"
    made = log / f"{0:020d}.checkpoint.parquet"
    made.rename(log / f"{0:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet")
    assert "V2" in refusal_of(table)
