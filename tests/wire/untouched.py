"""Calls that must fail, once and cleanly, and leave every file as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl

_MESSAGE_CHARACTERS_MAX = 1_500
_NEVER_TOLD = ("Traceback", ".py", ".rs", "/tmp", "site-packages", "pyarrow", "DataFusion", "\n")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a caller is told."""

    code: str
    message: str


def failure(call: Callable[[], object]) -> Failure:
    """Return how a call fails, having looked at what it tells; fails itself when it does not."""
    try:
        call()
    except flightsql.Error as error:
        found: dict[object, bytes | str] = dict(error.details)
        told, body = str(error), json.loads(found[b"x-lakehouse-error"])
    except fl.FlightError as error:
        told, body = str(error), json.loads(error.extra_info)
    else:
        raise AssertionError("the call was not refused")
    message = str(body["message"])
    assert len(message) <= _MESSAGE_CHARACTERS_MAX, message
    assert not any(word in message for word in _NEVER_TOLD), message
    assert "Traceback" not in told
    return Failure(str(body["code"]), message)


@contextmanager
def nothing_written(directory: Path) -> Iterator[None]:
    """Fail when the block leaves any file or folder that was not there, or another log entry."""
    before = state(directory)
    yield
    assert state(directory) == before


def state(directory: Path) -> dict[str, int]:
    """Return every file and folder below the schemas of a bucket, with the sizes of the files."""
    return {
        str(path.relative_to(directory)): path.stat().st_size if path.is_file() else -1
        for path in sorted(directory.rglob("*"))
        if not path.relative_to(directory).parts[0].startswith((".", "_lakeflight"))
    }
