"""Whatever the driver raises becomes one of our errors."""

from __future__ import annotations

import json

import adbc_driver_manager as adbc
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server import errors
from flight_server.client.faults import translate


def raised(status: adbc.AdbcStatusCode, text: str, **described: object) -> adbc.Error:
    details = [("x-lakehouse-error", json.dumps(described).encode())] if described else []
    return adbc.ProgrammingError(text, status_code=status, details=details)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("already_exists", errors.AlreadyExists),
        ("conflict", errors.Conflict),
        ("schema_mismatch", errors.SchemaMismatch),
        ("limit_exceeded", errors.LimitExceeded),
        ("cancelled", errors.Cancelled),
    ],
)
def test_the_code_is_finer_than_the_status(code: str, kind: type[errors.LakeflightError]) -> None:
    error = translate(raised(adbc.AdbcStatusCode.INVALID_ARGUMENT, "x", code=code, message="m"))
    assert type(error) is kind
    assert error.message == "m"


def test_an_incident_is_kept() -> None:
    error = translate(
        raised(adbc.AdbcStatusCode.INTERNAL, "x", code="internal", message="m", incident="i-1")
    )
    assert isinstance(error, errors.Internal)
    assert error.incident == "i-1"


def test_an_error_that_is_text_alone() -> None:
    error = translate(OSError("[FlightSQL] busy. (Unavailable; DoGet: endpoint 0: [])"))
    assert type(error) is errors.Unavailable
    assert error.message == "busy."
    assert type(translate(OSError("context canceled"))) is errors.Cancelled
    assert type(translate(pa.ArrowNotImplementedError("no such type"))) is errors.Unsupported


@given(
    status=st.sampled_from(list(adbc.AdbcStatusCode)),
    text=st.text(),
    detail=st.one_of(st.text(), st.from_type(dict).map(str), st.just('{"code": 1, "message": 2}')),
)
def test_no_answer_of_a_server_breaks_it(
    status: adbc.AdbcStatusCode, text: str, detail: str
) -> None:
    error = adbc.DatabaseError(
        text, status_code=status, details=[("x-lakehouse-error", detail.encode("utf-8", "replace"))]
    )
    assert isinstance(translate(error), errors.LakeflightError)
