from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_server.audit.events import canonical, hash_of
from flight_server.audit.heads import SignedHead, SigningKey
from flight_server.audit.verification import Fault, Verdict
from tests.audit.logs import (
    TIME,
    Disk,
    Record,
    abandoned,
    chained,
    event,
    fill,
    opened,
    rows_of,
    stored_rows,
    unopened,
    verified,
)

# Records 1 to 20 and 21 to 40 lie in a file each, 41 to 50 in the journal only.
FIRST, SECOND, ALL = 20, 40, 50
Change = Callable[[list[Record]], list[Record]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "audit"
    with opened(folder) as log:
        fill(log, FIRST)
        log.flush()
        fill(log, SECOND - FIRST)
    log = unopened(folder)
    log.start()
    fill(log, ALL - SECOND)
    (folder / "exported.json").write_text(json.dumps(log.head().to_json()))
    abandoned(log)
    return folder


@pytest.fixture
def disk(model: Path, tmp_path: Path) -> Iterator[Disk]:
    copy = tmp_path / "audit"
    shutil.copytree(model, copy)
    yield Disk(copy)
    shutil.rmtree(copy)


def exported(disk: Disk) -> SignedHead:
    return SignedHead.from_json(json.loads((disk.folder / "exported.json").read_text()))


def found(verdict: Verdict) -> tuple[Fault, int | None]:
    assert verdict.finding is not None, "nothing was found"
    return verdict.finding.fault, verdict.finding.sequence


def id_of(disk: Disk, sequence: int) -> str:
    return str(next(row["audit_id"] for row in rows_of(disk.folder) if row["sequence"] == sequence))


def edited(sequence: int, **fields: Any) -> Change:
    def change(rows: list[Record]) -> list[Record]:
        return [{**row, **fields} if row["sequence"] == sequence else row for row in rows]

    return change


def deleted(sequence: int) -> Change:
    return lambda rows: [row for row in rows if row["sequence"] != sequence]


def moved(sequence: int) -> Change:
    """Put a record behind the one that follows it, and change neither."""

    def change(rows: list[Record]) -> list[Record]:
        at = next(n for n, row in enumerate(rows) if row["sequence"] == sequence)
        return [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]

    return change


def swapped(one: int, other: int, *, kept: tuple[str, ...]) -> Change:
    """Exchange two records, but for some columns that stay where they are."""

    def change(rows: list[Record]) -> list[Record]:
        by_number = {row["sequence"]: row for row in rows}
        pair = {one: by_number[other], other: by_number[one]}
        return [
            {**pair.get(row["sequence"], row), **{name: row[name] for name in kept}} for row in rows
        ]

    return change


def test_a_clean_log_is_intact(disk: Disk) -> None:
    verdict = verified(disk.folder, head=exported(disk))
    assert verdict.is_intact
    assert verdict.records == ALL
    assert verdict.hash == exported(disk).hash
    assert verdict.to_json()["fault"] is None


COLUMNS: dict[str, Any] = {
    "user_id": "somebody else",
    "username": None,
    "action": "",
    "row_count": 0,
    "duration_ms": 0.001,
    "outcome": "refused",
    "details": "{}",
    "audit_id": "0",
    "purpose": "research",
    "prev_hash": "0" * 64,
    "hash": "f" * 64,
}


@pytest.mark.parametrize("name", COLUMNS)
def test_an_edited_column_in_the_table(disk: Disk, name: str) -> None:
    disk.change_file(27, edited(27, **{name: COLUMNS[name]}))
    verdict = verified(disk.folder)
    assert found(verdict) == (Fault.EDITED, 27)
    assert verdict.records == 26
    assert verdict.finding is not None
    assert verdict.finding.audit_id == id_of(disk, 27)
    assert verdict.finding.trusted_sequence == FIRST


@pytest.mark.parametrize("name", COLUMNS)
def test_an_edited_column_in_the_journal(disk: Disk, name: str) -> None:
    disk.change_journal(edited(44, **{name: COLUMNS[name]}))
    assert found(verified(disk.folder)) == (Fault.EDITED, 44)


def test_a_file_in_another_partition(disk: Disk) -> None:
    for entry in (disk.folder / "audit_log" / "_delta_log").glob("*.json"):
        entry.write_text(
            entry.read_text().replace(
                '"partitionValues":{"date_partition":"2026-03-01"}',
                '"partitionValues":{"date_partition":"2026-03-02"}',
            )
        )
    assert found(verified(disk.folder)) == (Fault.EDITED, 1)


def test_an_edited_record_with_its_own_hash_made_anew(disk: Disk) -> None:
    def change(rows: list[Record]) -> list[Record]:
        rows = edited(27, user_id="somebody else")(rows)
        made = chained(rows, 26)
        return [*made[:27], *rows[27:]]

    disk.change_table(change)
    assert found(verified(disk.folder)) == (Fault.EDITED, 27)


def test_an_edited_record_and_all_later_hashes_of_the_table_made_anew(disk: Disk) -> None:
    disk.change_table(lambda rows: chained(edited(27, user_id="somebody else")(rows), 26))
    verdict = verified(disk.folder)
    assert found(verdict) == (Fault.REWRITTEN, SECOND)
    assert verdict.finding is not None
    assert verdict.finding.trusted_sequence == FIRST  # the change lies behind it


def test_a_rewritten_table_without_the_heads_that_tell(disk: Disk) -> None:
    """Even then the journal goes on from what was, and the head that an auditor has is right."""
    disk.change_table(lambda rows: chained(edited(27, user_id="somebody else")(rows), 26))
    (disk.folder / "heads.ndjson").unlink()
    (disk.folder / "head.json").unlink()
    assert found(verified(disk.folder))[0] is Fault.EDITED
    assert found(verified(disk.folder, head=exported(disk)))[1] in range(27, ALL + 1)


def test_everything_rewritten_but_what_the_auditor_has(disk: Disk) -> None:
    shutil.rmtree(disk.folder / "journal")
    (disk.folder / "journal").mkdir()
    disk.change_table(lambda rows: chained(edited(27, user_id="somebody else")(rows), 26)[:SECOND])
    key = SigningKey.load(disk.folder)
    last = rows_of(disk.folder)[-1]
    head = key.sign(SECOND, last["hash"], last["timestamp"])
    (disk.folder / "head.json").write_text(json.dumps(head.to_json()))
    (disk.folder / "heads.ndjson").unlink()
    assert found(verified(disk.folder))[0] is Fault.JOURNAL_BEHIND
    with opened(disk.folder):
        pass
    assert verified(disk.folder).is_intact  # the attacker had the key
    assert found(verified(disk.folder, head=exported(disk)))[0] is Fault.TRUNCATED
    with opened(disk.folder) as log:
        fill(log, 20)
    verdict = verified(disk.folder, head=exported(disk))
    assert found(verdict) == (Fault.REWRITTEN, ALL)


def test_a_rewritten_journal(disk: Disk) -> None:
    def change(rows: list[Record]) -> list[Record]:
        for position, row in enumerate(rows):
            if row["sequence"] == 44:
                row["username"] = "somebody else"
            if row["sequence"] >= 44:
                row["prev_hash"] = rows[position - 1]["hash"]
                del row["hash"]
                row["hash"] = hash_of(canonical(row))
        return rows

    disk.change_journal(change)
    assert verified(disk.folder).is_intact  # no head was signed since
    assert found(verified(disk.folder, head=exported(disk))) == (Fault.REWRITTEN, ALL)


@pytest.mark.parametrize("sequence", [1, 7, 20, 21, 40])
def test_a_record_deleted_from_the_table(disk: Disk, sequence: int) -> None:
    disk.change_file(sequence, deleted(sequence))
    assert found(verified(disk.folder)) == (Fault.MISSING, sequence)


@pytest.mark.parametrize("sequence", [41, 45])
def test_a_record_deleted_from_the_journal(disk: Disk, sequence: int) -> None:
    disk.change_journal(deleted(sequence))
    assert found(verified(disk.folder)) == (Fault.MISSING, sequence)


def test_records_deleted_by_the_delta_library(disk: Disk) -> None:
    table = DeltaTable(str(disk.folder / "audit_log"))
    table.alter.set_table_properties({"delta.appendOnly": "false"})
    table.delete("sequence = 13")
    assert found(verified(disk.folder)) == (Fault.MISSING, 13)


def test_a_deleted_record_with_the_others_numbered_anew(disk: Disk) -> None:
    def change(rows: list[Record]) -> list[Record]:
        rows = deleted(13)(rows)
        numbered = [{**row, "sequence": position + 1} for position, row in enumerate(rows)]
        return chained(numbered, 0)

    disk.change_table(change)
    verdict = verified(disk.folder)
    assert found(verdict) == (Fault.REWRITTEN, FIRST)
    assert verdict.finding is not None
    assert verdict.finding.trusted_sequence == 0


def test_records_in_another_order(disk: Disk) -> None:
    disk.change_file(27, moved(27))
    verdict = verified(disk.folder)
    assert found(verdict) == (Fault.OUT_OF_ORDER, 27)
    assert verdict.finding is not None
    assert verdict.finding.audit_id == id_of(disk, 27)


def test_records_of_the_journal_in_another_order(disk: Disk) -> None:
    disk.change_journal(moved(44))
    assert found(verified(disk.folder)) == (Fault.OUT_OF_ORDER, 44)


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        (("sequence",), Fault.SWAPPED),
        (("sequence", "prev_hash", "hash"), Fault.EDITED),
        (("sequence", "prev_hash"), Fault.EDITED),
    ],
)
def test_two_records_that_changed_places(disk: Disk, kept: tuple[str, ...], fault: Fault) -> None:
    disk.change_file(27, swapped(27, 33, kept=kept))
    assert found(verified(disk.folder)) == (fault, 27)


def test_two_records_of_the_journal_that_changed_places(disk: Disk) -> None:
    disk.change_journal(swapped(44, 47, kept=("sequence",)))
    assert found(verified(disk.folder)) == (Fault.SWAPPED, 44)


def test_a_record_that_is_there_twice(disk: Disk) -> None:
    disk.change_file(27, lambda rows: [*rows[:7], rows[6], *rows[7:]])
    assert found(verified(disk.folder)) == (Fault.REPEATED, 27)


def test_a_record_in_between(disk: Disk) -> None:
    def change(rows: list[Record]) -> list[Record]:
        return chained([*rows[:27], {**rows[6], "sequence": 28, "audit_id": "0"}, *rows[27:]], 27)

    disk.change_table(change)
    assert found(verified(disk.folder)) == (Fault.REPEATED, 28)


def test_a_table_is_made_whole_again_by_the_journal(disk: Disk) -> None:
    log = unopened(disk.folder)
    log.start()
    fill(log, 5)
    log.flush()
    abandoned(log)
    disk.change_table(lambda rows: rows[: ALL + 2])
    assert verified(disk.folder).is_intact
    with opened(disk.folder):
        pass
    assert [row["sequence"] for row in rows_of(disk.folder)] == list(range(1, ALL + 6))
    assert verified(disk.folder).is_intact


def test_a_table_cut_off_at_its_end(disk: Disk) -> None:
    disk.change_table(lambda rows: rows[:35])
    assert found(verified(disk.folder)) == (Fault.MISSING, 36)


def test_a_table_and_a_journal_cut_off_at_their_end(disk: Disk) -> None:
    disk.change_table(lambda rows: rows[:35])
    disk.change_journal(lambda rows: [])
    assert found(verified(disk.folder)) == (Fault.TRUNCATED, 36)


def test_a_journal_cut_off_is_found_by_whoever_has_a_head(disk: Disk) -> None:
    disk.change_journal(lambda rows: rows[:5])
    assert verified(disk.folder).is_intact  # no head was signed since
    assert found(verified(disk.folder, head=exported(disk))) == (Fault.TRUNCATED, SECOND + 6)


def test_a_running_log_knows_its_own_end(tmp_path: Path) -> None:
    with opened(tmp_path / "audit") as log:
        fill(log, 20)
        Disk(tmp_path / "audit").change_journal(lambda rows: rows[:15])
        assert found(log.verify()) == (Fault.TRUNCATED, 16)


def test_a_log_that_goes_on_after_it_was_cut_off(disk: Disk) -> None:
    """No number is given twice: the gap stays for everybody to see."""
    disk.change_table(lambda rows: rows[:35])
    disk.change_journal(lambda rows: [])
    with opened(disk.folder) as log:
        assert fill(log, 3)[0] > SECOND
    assert found(verified(disk.folder)) == (Fault.MISSING, 36)


def test_no_table_and_no_journal(disk: Disk) -> None:
    shutil.rmtree(disk.folder / "audit_log")
    shutil.rmtree(disk.folder / "journal")
    assert found(verified(disk.folder)) == (Fault.TRUNCATED, 1)


def test_an_older_journal(disk: Disk, tmp_path: Path) -> None:
    copy = tmp_path / "old"
    shutil.copytree(disk.folder / "journal", copy)
    with opened(disk.folder) as log:
        fill(log, 30)
    shutil.rmtree(disk.folder / "journal")
    copy.rename(disk.folder / "journal")
    verdict = verified(disk.folder)
    assert found(verdict) == (Fault.JOURNAL_BEHIND, ALL + 1)
    assert verdict.records == ALL + 30


def test_a_head_of_another_log(disk: Disk) -> None:
    other = SigningKey(os.urandom(32))
    head = other.sign(ALL, exported(disk).hash, TIME)
    assert found(verified(disk.folder, head=head)) == (Fault.FOREIGN_HEAD, ALL)


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": 49},
        {"hash": "0" * 64},
        {"timestamp": "2020-01-01T00:00:00.000000Z"},
        {"signature": "AAAA"},
        {"signature": "not base64"},
        {"public_key": "AAAA"},
        {"key_id": "0" * 16},
    ],
)
def test_a_head_that_was_changed(disk: Disk, fields: dict[str, Any]) -> None:
    head = replace(exported(disk), **fields)
    assert found(verified(disk.folder, head=head))[0] is Fault.FOREIGN_HEAD


def test_the_key_was_replaced(disk: Disk) -> None:
    (disk.folder / "audit.key").write_text(os.urandom(32).hex())
    assert found(verified(disk.folder))[0] is Fault.FOREIGN_HEAD


def test_the_logs_own_head_is_gone(disk: Disk) -> None:
    (disk.folder / "head.json").unlink()
    assert found(verified(disk.folder)) == (Fault.HEAD_MISSING, None)


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"x" * 5000])
def test_a_data_file_that_cannot_be_read(disk: Disk, content: bytes | None) -> None:
    [path] = [
        path for path in disk.files if any(row["sequence"] == 27 for row in stored_rows(path))
    ]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert found(verified(disk.folder)) == (Fault.UNREADABLE, 21)


def test_a_table_without_its_log(disk: Disk) -> None:
    for entry in (disk.folder / "audit_log" / "_delta_log").glob("*.json"):
        entry.write_bytes(b"")
    assert found(verified(disk.folder)) == (Fault.UNREADABLE, None)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sequence=st.integers(1, ALL - 1),
    kind=st.sampled_from(["edit", "delete", "move"]),
)
def test_whatever_is_done_to_a_record_it_is_named(
    model: Path, tmp_path: Path, sequence: int, kind: str
) -> None:
    copy = tmp_path / "audit"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(model, copy)
    disk = Disk(copy)
    if kind == "move" and sequence in (FIRST, SECOND):
        sequence += 1
    changes = {
        "edit": (edited(sequence, username="somebody else"), Fault.EDITED),
        "delete": (deleted(sequence), Fault.MISSING),
        "move": (moved(sequence), Fault.OUT_OF_ORDER),
    }
    change, fault = changes[kind]
    if sequence > SECOND:
        disk.change_journal(change)
    else:
        disk.change_file(sequence, change)
    verdict = verified(copy)
    assert found(verdict) == (fault, sequence)
    assert verdict.records == sequence - 1
    # What was damaged on disk is damaged in the table, too, and named in the same way.
    with opened(copy) as log:
        assert log.append(event()) == ALL + 1
        log.flush()
        assert found(log.verify())[1] == sequence


def test_the_recipe_of_the_documentation(disk: Disk) -> None:
    """What docs/audit.md gives to auditors finds what we find."""
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    defined: dict[str, Any] = {}
    exec(recipe, defined)
    head = exported(disk).to_json()
    with opened(disk.folder) as log:
        fill(log, 3)
    chain_holds, table = defined["chain_holds"], str(disk.folder / "audit_log")
    assert chain_holds(table, head)
    assert not chain_holds(table, {**head, "hash": "0" * 64})
    assert not chain_holds(table, {**head, "sequence": ALL + 4})
    disk.change_table(lambda rows: chained(edited(27, user_id="somebody else")(rows), 26))
    assert not chain_holds(table, head)
