"""Failures as clients see them: the official driver, and its view of what the server said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from adbc_driver_manager import Error

from tests.servers import Server


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed query: what the driver prints, and the JSON body of the error."""

    text: str
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The stable code."""
        return str(self.body["code"])

    @property
    def message(self) -> str:
        """The message for people."""
        return str(self.body["message"])


def failure_of(server: Server, sql: str, **options: str) -> Failure:
    """Run a query that must fail, and return how it did."""
    with server.connect(**options) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(sql)
            cursor.fetchall()
        except Error as error:
            return failure_in(error)
    raise AssertionError("the query did not fail")


def failure_in(error: Error) -> Failure:
    """Read the trailer of the server from an error of the driver."""
    bodies = [value for key, value in error.details or [] if _text(key) == "x-lakehouse-error"]
    assert len(bodies) == 1, error
    return Failure(str(error), json.loads(_text(bodies[0])))


def _text(value: str | bytes) -> str:
    # Typed as text by the driver, and bytes in truth.
    return value.decode() if isinstance(value, bytes) else value
