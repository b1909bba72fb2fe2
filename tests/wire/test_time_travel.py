"""Every form of time travel of the contract, over the wire."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from tests.lakehouse import write
from tests.servers import Server
from tests.wire.raw import error_code

_VERSIONS = 4


@dataclass(frozen=True, slots=True)
class History:
    """A table with one row more in each version, and when each version was committed."""

    name: str
    times: tuple[datetime, ...]

    def between(self, version: int) -> str:
        """A moment at which that version was the newest."""
        return (self.times[version] + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="module")
def history(lakehouse: Path) -> History:
    folder = lakehouse / "travel" / "steps"
    start = datetime(2026, 2, 1, 12, tzinfo=UTC)
    times = tuple(start + timedelta(hours=i) for i in range(_VERSIONS))
    for i, at in enumerate(times):
        write(folder, pa.table({"step": [i]}))
        _set_time(folder / "_delta_log" / f"{i:020d}.json", at)
    return History("travel.steps", times)


def _set_time(commit: Path, at: datetime) -> None:
    """Give a commit a time of its own: readers go by that of its file."""
    os.utime(commit, (at.timestamp(), at.timestamp()))


def _steps(adbc: flightsql.Connection, source: str) -> list[int]:
    with adbc.cursor() as cursor:
        cursor.execute(f"SELECT step FROM {source} ORDER BY step")
        return [row["step"] for row in cursor.fetch_arrow_table().to_pylist()]


def _refused(adbc: flightsql.Connection, source: str) -> str:
    with pytest.raises(flightsql.Error) as failed:
        _steps(adbc, source)
    return error_code(failed.value)


@pytest.mark.parametrize("version", range(_VERSIONS))
def test_every_form_finds_every_version(
    adbc: flightsql.Connection, history: History, version: int
) -> None:
    at = history.between(version)
    exact = history.times[version]
    forms = [
        f"travel.steps VERSION AS OF {version}",
        f"primary.travel.steps version as of {version}",
        f"travel.steps FOR VERSION AS OF {version}",
        f"travel.steps FOR SYSTEM_VERSION AS OF {version}",
        f'travel."steps@v{version}"',
        f'primary."travel"."steps@v{version}"',
        f"travel.steps TIMESTAMP AS OF '{at}'",
        f"travel.steps FOR TIMESTAMP AS OF '{at}'",
        f"travel.steps FOR SYSTEM_TIME AS OF '{at}'",
        f'travel."steps@{at}"',
        f"travel.steps TIMESTAMP AS OF '{exact.isoformat()}'",
        f"travel.steps TIMESTAMP AS OF '{exact:%Y-%m-%d %H:%M:%S}'",
        f"travel.steps TIMESTAMP AS OF '{exact:%Y-%m-%dT%H:%M:%S}+00:00'",
    ]
    for form in forms:
        assert _steps(adbc, form) == list(range(version + 1)), form


def test_the_newest_is_what_a_plain_name_means(
    adbc: flightsql.Connection, history: History
) -> None:
    assert _steps(adbc, "travel.steps") == [0, 1, 2, 3]
    now = datetime.now(UTC).isoformat()
    assert _steps(adbc, f"travel.steps TIMESTAMP AS OF '{now}'") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT x.step FROM travel.steps VERSION AS OF 1 AS x ORDER BY 1", [0, 1]),
        ("SELECT x.step FROM travel.steps VERSION AS OF 1 x WHERE x.step > 0", [1]),
        ("SELECT steps.step FROM travel.steps VERSION AS OF 0", [0]),
        (
            (
                "SELECT b.step FROM travel.steps VERSION AS OF 2 AS b"
                " LEFT ANTI JOIN travel.steps VERSION AS OF 0 AS a ON a.step = b.step ORDER BY 1"
            ),
            [1, 2],
        ),
        (
            (
                "WITH old AS (SELECT * FROM travel.steps VERSION AS OF 1)"
                " SELECT step FROM travel.steps WHERE step NOT IN (SELECT step FROM old) ORDER BY 1"
            ),
            [2, 3],
        ),
        (
            (
                "SELECT step FROM travel.steps VERSION AS OF 0 UNION ALL"
                " SELECT step FROM travel.steps VERSION AS OF 1 ORDER BY step"
            ),
            [0, 0, 1],
        ),
        ("SELECT step /* VERSION AS OF 0 */ FROM travel.steps -- VERSION AS OF 1\nLIMIT 0", []),
        ("SELECT 0 FROM travel.steps WHERE 'VERSION AS OF 1' = 'x'", []),
    ],
)
def test_versions_within_a_query(
    adbc: flightsql.Connection, history: History, sql: str, rows: list[int]
) -> None:
    with adbc.cursor() as cursor:
        cursor.execute(sql)
        assert [row[0] for row in cursor.fetchall()] == rows


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("travel.steps VERSION AS OF 4", "version_not_found"),
        ("travel.steps VERSION AS OF 9007199254740992", "version_not_found"),
        ("travel.steps VERSION AS OF 99999999999999999999", "invalid_request"),
        ("travel.steps VERSION AS OF -1", "invalid_request"),
        ("travel.steps VERSION AS OF 1.5", "invalid_request"),
        ("travel.steps VERSION AS OF x", "invalid_request"),
        ('travel."steps@v4"', "version_not_found"),
        ('travel."steps@vx"', "table_not_found"),
        ("travel.steps TIMESTAMP AS OF '2026-02-01T11:59:59Z'", "version_not_found"),
        ("travel.steps TIMESTAMP AS OF '2026-02-01'", "version_not_found"),
        ("travel.steps TIMESTAMP AS OF '9999-01-01'", "invalid_request"),
        ("travel.steps TIMESTAMP AS OF 'yesterday'", "invalid_request"),
        ("travel.steps TIMESTAMP AS OF '2026-02-30'", "invalid_request"),
        ("travel.nothing VERSION AS OF 0", "table_not_found"),
        ("files.cities VERSION AS OF 0", "unsupported"),
        ("information_schema.tables VERSION AS OF 0", "unsupported"),
    ],
)
def test_what_is_not_there(
    adbc: flightsql.Connection, history: History, source: str, code: str
) -> None:
    with pytest.raises(flightsql.Error) as failed, adbc.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {source}")
    assert error_code(failed.value) == code


def test_a_table_whose_own_name_looks_versioned(
    adbc: flightsql.Connection, lakehouse: Path
) -> None:
    write(lakehouse / "travel_names" / "steps", pa.table({"step": [1]}))
    write(lakehouse / "travel_names" / "user@home", pa.table({"step": [2]}))
    assert _steps(adbc, 'travel_names."user@home"') == [2]
    assert _steps(adbc, 'travel_names."user@home@v0"') == [2]
    assert _steps(adbc, 'travel_names."user@home" VERSION AS OF 0') == [2]


def test_after_a_vacuum_old_versions_are_gone_and_the_newest_is_not(
    adbc: flightsql.Connection, lakehouse: Path
) -> None:
    folder = lakehouse / "travel" / "vacuumed"
    for i in range(3):
        write(folder, pa.table({"step": [i]}))
    assert _steps(adbc, "travel.vacuumed VERSION AS OF 1") == [0, 1]
    table = DeltaTable(str(folder))
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert _steps(adbc, "travel.vacuumed") == [0, 1, 2]
    assert _refused(adbc, "travel.vacuumed VERSION AS OF 1") == "version_not_found"


def test_after_the_log_is_cleaned_up_old_versions_are_gone(
    adbc: flightsql.Connection, lakehouse: Path
) -> None:
    folder = lakehouse / "travel" / "cleaned"
    for i in range(3):
        write(folder, pa.table({"step": [i]}))
    DeltaTable(str(folder)).create_checkpoint()
    for version in (0, 1):
        (folder / "_delta_log" / f"{version:020d}.json").unlink()
    assert _steps(adbc, "travel.cleaned") == [0, 1, 2]
    assert _steps(adbc, "travel.cleaned VERSION AS OF 2") == [0, 1, 2]
    assert _refused(adbc, "travel.cleaned VERSION AS OF 0") == "version_not_found"
    assert _refused(adbc, 'travel."cleaned@v1"') == "version_not_found"


def test_a_version_has_the_schema_that_it_had(adbc: flightsql.Connection, lakehouse: Path) -> None:
    folder = lakehouse / "travel" / "grown"
    write(folder, pa.table({"step": [0]}))
    DeltaTable(str(folder)).alter.add_columns(Field("late", PrimitiveType("string")))
    write(folder, pa.table({"step": [1], "late": ["x"]}))
    with adbc.cursor() as cursor:
        cursor.execute("SELECT * FROM travel.grown VERSION AS OF 0")
        assert cursor.fetch_arrow_table() == pa.table({"step": [0]})
        cursor.execute("SELECT * FROM travel.grown ORDER BY step")
        assert cursor.fetch_arrow_table() == pa.table({"step": [0, 1], "late": [None, "x"]})


def test_a_table_that_was_made_anew_does_not_show_the_old_one(
    server: Server, lakehouse: Path
) -> None:
    folder = lakehouse / "travel" / "replaced"
    write(folder, pa.table({"step": [1, 2, 3]}))
    assert server.fetch("SELECT count(*) AS n FROM travel.replaced").to_pylist() == [{"n": 3}]
    folder.rename(lakehouse / "travel" / "moved")
    write(folder, pa.table({"other": ["x"]}))
    for source in ("travel.replaced", "travel.replaced VERSION AS OF 0"):
        assert server.fetch(f"SELECT * FROM {source}").to_pylist() == [{"other": "x"}]
