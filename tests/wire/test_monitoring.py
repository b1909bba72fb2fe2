"""What a running server tells of itself, and that dashboard and alerts ask for what it tells."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.faults.background import Bare
from tests.faults.processes import busy_worker
from tests.faults.test_stop import SLOW
from tests.servers import running, wait_until
from tests.telemetry import promql
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.monitored import SETTINGS, Monitored, address, monitored
from tests.wire.raw import RawClient, refused

ROOT = Path(__file__).parents[2]
BROKEN = "SELECT lpad('a', 2000000000) || lpad('b', 2000000000)"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    environment = {
        "LAKEFLIGHT_TIERS": json.dumps({"free": {"requests_per_minute_max": 1}}),
        "LAKEFLIGHT_STORAGE__BUCKETS__ARCHIVE": str(tmp_path_factory.mktemp("archive")),
    }
    with monitored(tmp_path_factory.mktemp("watched"), environment) as watched:
        yield watched


@pytest.fixture(scope="module")
def busy(watched: Monitored) -> Monitored:
    """The same server after some of everything: reads, writes, loads, refusals, a dead worker."""
    server = watched.server
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 1000)")
        cursor.execute("INSERT INTO t VALUES (0)")
        for _ in range(3):
            cursor.execute("SELECT x FROM t")
            cursor.fetch_arrow_table()
        cursor.adbc_ingest("loaded", pa.table({"x": [1, 2, 3]}))
        refused(lambda: cursor.execute("SELECT * FROM nowhere"))
        refused(lambda: cursor.execute(BROKEN))
    refused(lambda: RawClient.connect(server, password="wrong password"))
    add_user(server.directory, "hurried", tier="free")
    with RawClient.connect(server, "hurried", PASSWORD) as hurried:
        hurried.fetch("SELECT 1")
        refused(lambda: hurried.fetch("SELECT 2"))
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: watched.value("lakeflight_workers_ended_total", reason="died") == 1)
    return watched


def labels_of(watched: Monitored) -> dict[str, set[str]]:
    """Return the labels of each metric that has series, by its name in the documentation."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in watched.samples():
        labels = set(sample.labels)
        if "le" in labels or sample.name.endswith(("_sum", "_count")):
            found[re.sub("_(bucket|sum|count)$", "", sample.name)] |= labels - {"le"}
        else:
            found[sample.name] |= labels
    return found


def by_name(watched: Monitored) -> dict[str, list[dict[str, str]]]:
    """Return the labels of every series by the name that a query gives it."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for sample in watched.samples():
        found[sample.name].append(sample.labels)
    return found


def codes() -> set[str]:
    """Return the codes of all errors."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    return set(re.findall(r"`(\w+)`", page))


def test_it_is_off_unless_a_port_is_set(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert "monitoring on" not in server.errors()


def test_the_process_lives_and_is_ready(watched: Monitored) -> None:
    assert watched.get("/healthz") == (200, "ok\n")
    assert watched.ready() == (
        200,
        {"audit": "ready", "server": "ready", "storage": "ready", "workers": "ready"},
    )


def test_reads_are_counted(busy: Monitored) -> None:
    assert busy.value("lakeflight_calls_total", method="do_get", code="ok") >= 4
    assert busy.value("lakeflight_actions_total", action="query", code="ok") >= 4
    for phase in ("describe", "first_batch", "whole"):
        assert busy.value("lakeflight_query_duration_seconds_count", phase=phase) >= 4
    assert busy.value("lakeflight_rows_sent_total") >= 3003
    assert busy.value("lakeflight_bytes_sent_total") >= 3003 * 8
    hits = busy.value("lakeflight_result_cache_hits_total")
    misses = busy.value("lakeflight_result_cache_misses_total")
    assert (hits >= 2, misses >= 1) == (True, True)
    assert busy.value("lakeflight_result_cache_bytes") > 8000


def test_writes_are_counted(busy: Monitored) -> None:
    assert busy.value("lakeflight_commits_total", code="ok") >= 1
    assert busy.value("lakeflight_commit_duration_seconds_count") >= 1
    assert busy.value("lakeflight_rows_changed_total") >= 4
    assert busy.value("lakeflight_bytes_received_total") == 24
    assert busy.value("lakeflight_actions_total", action="table.load", code="ok") == 1


def test_refusals_are_counted(busy: Monitored) -> None:
    assert busy.value("lakeflight_calls_total", code="table_not_found") >= 1
    assert busy.value("lakeflight_logins_total", code="invalid_credentials") == 1
    assert busy.value("lakeflight_logins_total", code="ok") >= 2
    assert busy.value("lakeflight_limits_reached_total", limit="requests_per_minute_max") == 1
    assert busy.value("lakeflight_limits_reached_total", limit="memory_bytes_max") == 1
    assert busy.value("lakeflight_limits_reached_total", limit="other") == 0


def test_workers_are_counted(busy: Monitored) -> None:
    assert busy.value("lakeflight_workers_started_total") >= 3
    assert busy.value("lakeflight_workers_ended_total", reason="query") == 1
    wait_until(lambda: busy.value("lakeflight_workers", state="idle") >= 1)
    assert busy.value("lakeflight_workers_resident_bytes") > 10e6
    for work in ("describe", "stream", "write"):
        assert 0 < busy.value("lakeflight_engine_seconds_total", work=work) < 30


def test_the_audit_log_is_watched(busy: Monitored) -> None:
    assert busy.value("lakeflight_audit_available") == 1
    # Whatever was done is in its table a few seconds later.
    wait_until(lambda: busy.value("lakeflight_audit_lag_records") == 0, seconds_max=20)
    # The time that workers worked among it.
    rows = busy.server.fetch(
        "SELECT engine_ms FROM system.audit.audit_log WHERE action = 'table.insert'"
        " AND outcome = 'success'"
    ).to_pylist()
    assert [0 < row["engine_ms"] < 10_000 for row in rows] == [True]


def test_no_label_comes_from_outside(busy: Monitored) -> None:
    text = busy.get("/metrics")[1]
    for name in ("hurried", "admin", "nowhere", "lpad", str(busy.server.directory)):
        assert name not in text
    assert len(text) < 200_000


def test_prometheus_finds_nothing_to_improve(busy: Monitored) -> None:
    done = subprocess.run(
        [promql.promtool(), "check", "metrics"],
        input=busy.get("/metrics")[1].encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_metric_is_documented_as_it_is(busy: Monitored) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    described = {name: (labels, meaning) for name, labels, meaning in rows}
    text = busy.get("/metrics")[1]
    meanings = dict(re.findall(r"^# HELP (lakeflight_\w+) (.*)$", text, re.MULTILINE))
    labels = labels_of(busy)
    assert described == {
        name: (", ".join(f"`{label}`" for label in sorted(labels[name])) or "none", meaning)
        for name, meaning in meanings.items()
    }


def test_records_of_a_call_carry_its_id(busy: Monitored) -> None:
    records = busy.records()
    calls = [record for record in records if record["message"] == "call"]
    assert len({record["request_id"] for record in calls}) == len(calls) > 10
    (failed,) = [record for record in calls if record["code"] == "table_not_found"]
    assert failed["action"] == "query"
    assert any("memory allocation" in record["message"] for record in records)


def test_records_of_a_worker_carry_the_id_of_the_call(busy: Monitored) -> None:
    wait_until(busy.server.worker_pids)
    with RawClient.connect(busy.server) as raw:
        for pid in busy.server.worker_pids():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 1 << 40))
        try:
            sql = "CREATE TABLE unwritten AS SELECT value FROM generate_series(1, 10)"
            assert refused(lambda: raw.info(sql)) == "unavailable"
        finally:
            for pid in busy.server.worker_pids():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))
    records = busy.records()
    (call,) = [each for each in records if each.get("code") == "unavailable"]
    (said,) = [each for each in records if each["logger"] == "flight_server.storage.encoding"]
    assert said["request_id"] == call["request_id"]
    assert said["worker_pid"] in busy.server.worker_pids()


@pytest.mark.parametrize("part", ["storage", "audit"])
def test_a_part_that_is_away_is_named_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, part: str
) -> None:
    archive = tmp_path_factory.mktemp("more") / "archive"
    archive.mkdir()
    environment = {"LAKEFLIGHT_STORAGE__BUCKETS__ARCHIVE": str(archive)}
    with monitored(tmp_path_factory.mktemp("away"), environment) as watched:
        if part == "storage":
            archive.rename(archive.with_name("gone"))
        else:
            resource.prlimit(watched.server.process.pid, resource.RLIMIT_FSIZE, (0, 1 << 40))
            refused(lambda: RawClient.connect(watched.server))
        wait_until(lambda: watched.ready()[0] == 503)
        _, parts = watched.ready()
        assert parts == dict.fromkeys(parts, "ready") | {part: "not ready"}
        assert str(archive) not in watched.get("/readyz")[1]
        assert watched.value("lakeflight_ready", part=part) == 0
        assert watched.value("lakeflight_audit_available") == float(part != "audit")
        assert watched.get("/healthz")[0] == 200
        if part == "storage":
            archive.with_name("gone").rename(archive)
        else:
            limit = (1 << 40, 1 << 40)
            resource.prlimit(watched.server.process.pid, resource.RLIMIT_FSIZE, limit)
        wait_until(lambda: watched.ready()[0] == 200)


def test_a_server_that_drains_is_not_ready_and_lives(lakehouse: Path) -> None:
    environment = {**SETTINGS, "LAKEFLIGHT_SERVER__DRAIN_SECONDS_MAX": "30"}
    with running(lakehouse, environment=environment, read_only=True) as server:
        watched = Monitored(server, address(server))
        query = Bare(server, SLOW)
        busy_worker(server)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: watched.ready()[0] == 503)
        assert watched.ready()[1]["server"] == "not ready"
        assert watched.get("/healthz")[0] == 200
        assert watched.value("lakeflight_calls_in_flight") == 1
        assert query.result() == [{"n": 400_000_000}]
        assert server.process.wait(10) == 0


def test_a_port_that_is_taken_is_told(watched: Monitored, tmp_path: Path) -> None:
    port = watched.url.rpartition(":")[2]
    with (
        pytest.raises(AssertionError, match="for monitoring"),
        running(tmp_path, environment={"LAKEFLIGHT_TELEMETRY__PORT": port}),
    ):
        pass


@pytest.mark.parametrize(("where", "text"), list(promql.expressions()))
def test_dashboard_and_alerts_ask_for_what_there_is(busy: Monitored, where: str, text: str) -> None:
    series = by_name(busy)
    for metric in promql.asked(text):
        if metric.name == "up":
            continue
        assert metric.name in series, where
        labels = {name for each in series[metric.name] for name in each}
        needed = metric.grouped | {name for name, _ in (*metric.exact, *metric.choices)}
        assert needed - promql.SCRAPED <= labels, f"{where}: {metric.name}"
        for name, value in (*metric.exact, *metric.choices):
            known = {each.get(name) for each in series[metric.name]}
            if name not in promql.SCRAPED and name != "code":
                assert value in known, f"{where}: {metric.name}{{{name}={value}}}"
            if name == "code":
                assert value in {"ok", *codes()}, f"{where}: {value}"
