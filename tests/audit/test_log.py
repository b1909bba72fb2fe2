from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from flight_server.audit.events import Outcome
from flight_server.audit.heads import HEADS_MAX, HeadFiles, SigningKey
from flight_server.audit.log import AuditLog, LogOptions, audit_folder, spool
from flight_server.audit.table import RETENTION
from flight_server.clock import SystemClock
from flight_server.errors import Unavailable
from tests.audit.logs import (
    TIME,
    Patient,
    abandoned,
    column_of,
    event,
    fill,
    opened,
    rows_of,
    unopened,
    verified,
)
from tests.servers import wait_until


def test_records_are_numbered_without_gaps_and_found_in_the_table(tmp_path: Path) -> None:
    folder = audit_folder(tmp_path)
    with opened(folder) as log:
        subject = event(user_agent="Zoë's\n client 🎈", purpose="research")
        assert log.append(subject) == 1
        assert fill(log, 4) == [2, 3, 4, 5]
        log.flush()
        assert log.lag().records == 0
    rows = rows_of(folder)
    assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["user_agent"] == subject.user_agent
    assert rows[0]["timestamp"] == TIME
    assert rows[0]["date_partition"] == TIME.date()
    assert json.loads(rows[0]["details"]) == subject.details
    assert rows[0]["prev_hash"] == "0" * 64
    assert [row["prev_hash"] for row in rows[1:]] == [row["hash"] for row in rows[:-1]]
    assert len({row["audit_id"] for row in rows}) == 5


def test_the_lag_says_what_is_not_in_the_table(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        assert log.lag().records == 0
        assert log.lag().seconds == 0
        fill(log, 3)
        lag = log.lag()
        assert lag.records == 3
        assert lag.bytes > 1000
        log.flush()
        assert (log.lag().records, log.lag().bytes) == (0, 0)
        assert log.is_available()


def test_the_table_is_written_in_the_background(tmp_path: Path) -> None:
    options = LogOptions(flush_seconds_max=0.05)
    log = AuditLog(tmp_path, clock=SystemClock(), random_bytes=os.urandom, options=options)
    log.start()
    try:
        log.append(event())
        wait_until(lambda: not log.lag().records, what="the record in the table")
        assert column_of(tmp_path, "sequence") == [1]
    finally:
        log.close()


def test_a_full_segment_is_flushed_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        fill(log, 200)
        wait_until(lambda: log.lag().records < 120, what="a segment in the table")


def test_many_threads_append_and_wait(tmp_path: Path) -> None:
    def work() -> None:
        for _ in range(100):
            log.wait(log.append(event()))

    with opened(tmp_path) as log:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        log.flush()
        assert log.verify().records == 800
        assert log.verify().is_intact
    assert column_of(tmp_path, "sequence") == list(range(1, 801))


def test_a_segment_stays_until_the_next_one_is_on_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as log, log._flush_lock:  # nothing is flushed meanwhile
        journal = log._journal
        first = journal._current
        assert first is not None
        while first.has_room(2000):
            log.append(event())
        pending = journal.pending()
        last = log.append(event(details={"text": "x" * 3000}))
        assert journal._current is not first
        journal.release(pending)  # as at the end of a flush
        assert first.path.exists()
        log.wait(last)
        journal.sweep()
        assert not first.path.exists()
        log.wait(log.append(event()))


def test_the_chain_goes_on_over_restarts(tmp_path: Path) -> None:
    last = 0
    for turn in range(5):
        log = unopened(tmp_path)
        log.start()
        assert log.append(event()) == last + 1
        last = fill(log, 150)[-1]
        if turn % 2:
            log.close()
        else:
            abandoned(log)
        assert verified(tmp_path).is_intact
    with opened(tmp_path) as log:
        log.flush()
        head = log.head()
        assert head.sequence == last
        assert log.verify(head).records == last
    assert column_of(tmp_path, "sequence") == list(range(1, last + 1))
    assert len(list((tmp_path / "journal").iterdir())) == 2  # one in use, one ahead


def test_intents_without_outcome_are_interrupted_by_a_restart(tmp_path: Path) -> None:
    log = unopened(tmp_path)
    log.start()
    for number in range(400):
        log.append(event(Outcome.INTENT, request_id=f"r{number}"))
        if number not in (3, 399):
            log.append(event(Outcome.FAILED, request_id=f"r{number}"))
        if number in (20, 390):
            log.flush()
    abandoned(log)
    with opened(tmp_path) as log:
        log.flush()
        rows = [row for row in rows_of(tmp_path) if row["outcome"] == "interrupted"]
        assert [row["request_id"] for row in rows] == ["r3", "r399"]
        assert rows[0]["action"] == "query.run"
        assert [row["sequence"] for row in rows] == [799, 800]
    with opened(tmp_path) as log:  # said once
        assert log.append(event()) == 801
        assert log.verify().is_intact


def test_midnight(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        late = TIME.replace(hour=23, minute=59, second=59)
        for number in range(40):
            log.append(event(at=late + timedelta(seconds=number % 4 - 1)))
        log.flush()
        log.append(event(at=late + timedelta(days=1)))
        log.append(event(at=late))
        log.flush()
        assert log.verify().records == 42
        assert log.verify().is_intact
        log.compact()
        assert log.verify().is_intact
    assert {str(day) for day in column_of(tmp_path, "date_partition")} == {
        "2026-03-01",
        "2026-03-02",
    }


def test_the_spool_is_taken_in_order(tmp_path: Path) -> None:
    for number in range(3):
        spool(tmp_path, event(action=f"before.{number}"))
    with opened(tmp_path) as log:
        log.append(event(action="between"))
        for number in range(3):
            spool(tmp_path, event(action=f"while.{number}"))
        log._due.set()
        wait_until(lambda: not list((tmp_path / "spool").iterdir()), what="an empty spool")
        log.flush()
        assert log.verify().is_intact
    actions = column_of(tmp_path, "action")
    numbers = [f"{kind}.{number}" for kind in ("before", "while") for number in range(3)]
    assert actions == [*numbers[:3], "between", *numbers[3:]]


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_spooled_event_is_on_record_once(tmp_path: Path, is_flushed: bool) -> None:
    """The process may end between taking an event over and removing its file."""
    spool(tmp_path, event(action="once"))
    [path] = (tmp_path / "spool").iterdir()
    content = path.read_bytes()
    log = unopened(tmp_path)
    log.start()
    log.append(event())
    if is_flushed:
        log.flush()
    abandoned(log)
    path.write_bytes(content)
    with opened(tmp_path) as log:
        log.append(event())
    assert column_of(tmp_path, "action") == ["once", "query.run", "query.run"]
    assert not path.exists()


def test_what_is_no_event_in_the_spool_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    for name, content in (("1-a", b"{}"), ("2-b", b"\xff\0"), ("3-c", b'{"action": 1}')):
        (tmp_path / "spool" / f"{name}.json").write_bytes(content)
    spool(tmp_path, event())
    with opened(tmp_path) as log:
        assert log.append(event()) == 2
    assert len(list((tmp_path / "spool").glob("*.bad"))) == 3


def test_small_files_are_joined_and_the_chain_stays(tmp_path: Path) -> None:
    clock = Patient()
    with opened(tmp_path, clock=clock, compact_files_min=5) as log:
        head = None
        for _ in range(12):
            fill(log, 7)
            log.flush()
            head = head or log.head()
        before = rows_of(tmp_path)
        log.compact()
        table = DeltaTable(str(tmp_path / "audit_log"))
        assert len(table.file_uris()) == 1
        assert rows_of(tmp_path) == before
        assert log.verify(head).is_intact
        assert log.verify().records == 84
        entry = json.loads(
            (tmp_path / f"audit_log/_delta_log/{table.version():020d}.json")
            .read_text()
            .splitlines()[1]
        )
        assert entry["remove"]["dataChange"] is False
        log.compact()
        assert DeltaTable(str(tmp_path / "audit_log")).version() == table.version()


def test_a_day_that_is_over_becomes_one_file(tmp_path: Path) -> None:
    clock = Patient()
    with opened(tmp_path, clock=clock) as log:
        fill(log, 3, flush_every=1)
        log.compact()
        assert len(DeltaTable(str(tmp_path / "audit_log")).file_uris()) == 3
        clock.time += timedelta(days=1)
        log.compact()
        assert len(DeltaTable(str(tmp_path / "audit_log")).file_uris()) == 1
        assert log.verify().is_intact


def test_old_files_and_entries_go(tmp_path: Path) -> None:
    clock = Patient(SystemClock().now())
    folder = tmp_path / "audit_log"
    size = 1024 * 1024  # or a full segment would be flushed in between
    with opened(tmp_path, clock=clock, compact_files_min=30, segment_bytes_max=size) as log:
        for _ in range(120):
            log.append(event(at=clock.now()))
            log.flush()
        log.compact()
        assert len(list(folder.rglob("part-*"))) == 121
        clock.time += timedelta(days=1)
        log.compact()
        assert len(list(folder.rglob("part-*"))) == 121  # a reader may still be at it
        clock.time += RETENTION
        log.compact()
        assert len(list(folder.rglob("part-*"))) == 1
        entries = sorted(path.name for path in (folder / "_delta_log").glob("*.json"))
        assert int(entries[0][:20]) >= 100
        assert log.verify().records == 120
        assert log.verify().is_intact
    assert len(rows_of(tmp_path)) == 120


def test_one_process_writes_a_log(tmp_path: Path) -> None:
    with opened(tmp_path):
        other = unopened(tmp_path)
        with pytest.raises(Unavailable) as caught:
            other.start()
        assert caught.value.code == "audit_unavailable"
    with opened(tmp_path):
        pass


def test_files_are_for_the_server_only(tmp_path: Path) -> None:
    with opened(tmp_path / "audit") as log:
        log.append(event())
        log.flush()
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
    for name in ("audit.key", "head.json", "heads.ndjson", "open.json", "lock"):
        assert stat.S_IMODE((tmp_path / "audit" / name).stat().st_mode) == 0o600, name


def test_a_head_is_made_of_what_is_on_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        assert log.head().sequence == 0
        assert log.verify(log.head()).is_intact
        log.append(event())
        head = log.head()
        assert head.sequence == 1
        assert head.is_genuine()
        assert head.key_id == SigningKey.load(tmp_path).key_id
        fill(log, 3)
        assert log.verify(head).is_intact


def test_older_heads_get_fewer(tmp_path: Path) -> None:
    heads = HeadFiles(tmp_path)
    made = SigningKey(b"k" * 32).sign(1, "0" * 64, TIME)
    row = tmp_path / "heads.ndjson"
    lines = [json.dumps(replace(made, sequence=n).to_json()) for n in range(HEADS_MAX)]
    row.write_text("\n".join(lines) + "\ntorn")
    heads.keep(replace(made, sequence=HEADS_MAX))
    kept = [head.sequence for head in heads.older()]
    assert len(kept) == HEADS_MAX * 3 // 4 + 1
    assert kept[0] == 0
    assert kept[-1] == HEADS_MAX
    newest = heads.newest()
    assert newest is not None
    assert newest.sequence == HEADS_MAX


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    log = unopened(tmp_path)
    log.start()
    fill(log, 5)
    abandoned(log)
    path = min((tmp_path / "journal").iterdir())
    content = path.read_bytes()
    end = content.index(b"\0")
    for cut in (1, 300):
        torn = content[: end - cut] + b"\0" * cut
        path.write_bytes(torn + content[len(torn) :])
        # A page of a power cut: what comes behind the hole was never synced.
        path.write_bytes((torn + b"\0" * 512 + b'{"sequence":9}\n').ljust(len(content), b"\0"))
        assert verified(tmp_path).records == 4
    with opened(tmp_path) as log:
        assert log.append(event()) == 5
        log.flush()
        assert log.verify().is_intact
    assert column_of(tmp_path, "sequence") == [1, 2, 3, 4, 5]


def test_damage_in_the_journal_is_kept_aside(tmp_path: Path) -> None:
    log = unopened(tmp_path)
    log.start()
    fill(log, 5)
    abandoned(log)
    path = min((tmp_path / "journal").iterdir())
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"sequence":3,', b'"sequence":3;'))
    with opened(tmp_path) as log:
        assert log.append(event()) == 6
        log.flush()
        finding = log.verify().finding
        assert finding is not None
        assert (finding.fault, finding.sequence) == ("missing", 3)
    assert len(list((tmp_path / "journal").glob("damaged-*"))) == 1
    assert column_of(tmp_path, "sequence") == [1, 2, 4, 5, 6]


def test_a_segment_that_was_never_used_is_used_then(tmp_path: Path) -> None:
    log = unopened(tmp_path)
    log.start()
    fill(log, 5)
    wait_until(lambda: len(list((tmp_path / "journal").iterdir())) == 2, what="a second segment")
    abandoned(log)
    names = sorted(path.name for path in (tmp_path / "journal").iterdir())
    log = unopened(tmp_path)
    log.start()
    log.append(event())
    assert (tmp_path / "journal" / names[1]).read_bytes()[0] != 0
    abandoned(log)
    assert verified(tmp_path).records == 6
