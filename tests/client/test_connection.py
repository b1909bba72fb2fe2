"""Connections: rows as streams, errors by class and code, cancellation, early refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flight_server import errors
from flight_server.client import Connection, connect
from tests.client.foreign import SCHEMA, ForeignServer, batch


def test_a_query_is_a_stream(connection: Connection) -> None:
    with connection.query("three") as reader:
        assert reader.schema == SCHEMA
        assert list(reader) == [batch(0), batch(1), batch(2)]


def test_a_result_may_be_left_early(connection: Connection) -> None:
    result = connection.execute("endless")
    assert next(iter(result)) == batch(0)
    result.close()
    assert len(list(connection.execute("three"))) == 3


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("unauthenticated", errors.Unauthenticated),
        ("denied", errors.PermissionDenied),
        ("away", errors.Unavailable),
        ("late", errors.DeadlineExceeded),
        ("broken", errors.Internal),
    ],
)
def test_a_foreign_status_finds_its_class(
    connection: Connection, statement: str, kind: type[errors.LakeflightError]
) -> None:
    with pytest.raises(kind, match=r"^told to fail") as caught:
        connection.execute(statement)
    assert caught.value.code == kind.default_code
    assert caught.value.__cause__ is None


def test_the_finer_code_is_kept(connection: Connection) -> None:
    with pytest.raises(errors.NotFound, match=r"^there is no table a\.b\.c$") as caught:
        connection.execute("described")
    assert caught.value.code == "table_not_found"


def test_an_error_in_mid_stream_keeps_its_details(connection: Connection) -> None:
    seen: list[pa.RecordBatch] = []
    with pytest.raises(errors.LimitExceeded, match=r"^too much") as caught:
        seen.extend(connection.execute("breaks"))
    assert caught.value.retry_after_seconds == 2.5


def test_an_error_in_mid_stream_crosses_a_reader(connection: Connection) -> None:
    reader = connection.query("breaks")
    with pytest.raises(errors.LimitExceeded):
        reader.read_all()


def test_cancel_ends_the_stream_here_and_there(
    foreign: ForeignServer, connection: Connection
) -> None:
    foreign.cancelled.clear()
    batches = iter(connection.execute("endless"))
    next(batches)
    connection.cancel()
    with pytest.raises(errors.Cancelled):
        list(batches)
    assert foreign.cancelled.wait(10)
    assert len(list(connection.execute("three"))) == 3


def test_cancel_without_a_statement_is_nothing(connection: Connection) -> None:
    connection.cancel()
    list(connection.execute("three"))
    connection.cancel()


def test_nobody_answers() -> None:
    with pytest.raises(errors.Unavailable, match=r"^nobody answers at 127\.0\.0\.1:1"):
        connect("grpc://127.0.0.1:1", user="ada", password="secret-word")


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("http://127.0.0.1:1", {}),
        ("127.0.0.1:1", {}),
        ("grpc://127.0.0.1:1", {"user": "ada"}),
        ("grpc://127.0.0.1:1", {"password": "x"}),
        ("grpc://127.0.0.1:1", {"user": "ada", "password": "x", "token": "y"}),
        ("grpc://127.0.0.1:1", {"tls_roots": Path("/nowhere/ca.pem")}),
        ("grpc://127.0.0.1:1", {"timeout_seconds": 0.0}),
    ],
)
def test_what_cannot_work_is_refused_at_once(uri: str, options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        connect(uri, **options)


def test_the_client_is_light() -> None:
    code = (
        "import sys, flight_server.client.export, flight_server.client.aligned;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "adbc_driver_flightsql" in shown
    assert not {"datafusion", "deltalake", "policies"} & set(shown)


def test_the_schema_is_known_before_the_rows(connection: Connection) -> None:
    result = connection.execute("endless")
    assert result.schema == SCHEMA
    assert result.rows_affected is None
    assert isinstance(result.schema, pa.Schema)
    result.close()
