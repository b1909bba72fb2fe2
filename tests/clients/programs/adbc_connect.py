"""Connections of the ADBC driver, and what it answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tests.clients.cases import Site


def connect(
    site: Site, uri: str | None = None, *, connection_options: Any = None, **options: str | None
) -> Any:
    """Open a connection as the site's user; an option of None is left out."""
    from adbc_driver_flightsql import dbapi  # noqa: PLC0415  only its own process has it

    given = {"username": site.username, "password": site.password, **options}
    return dbapi.connect(
        uri or site.uri,
        db_kwargs={name: value for name, value in given.items() if value is not None},
        conn_kwargs=connection_options or {},
        autocommit=True,
    )


def fetch(site: Site, sql: str) -> Any:
    """Return a query's result as an Arrow table."""
    with connect(site) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def run(site: Site, *statements: str) -> None:
    """Run statements without looking at what they answer, as most programs do."""
    with connect(site) as connection:
        for sql in statements:
            with connection.cursor() as cursor:
                cursor.execute(sql)


def refusal(call: Callable[[], object]) -> str:
    """Return the text of the error that a call ends with; fails when it does not."""
    from adbc_driver_manager import Error  # noqa: PLC0415  only its own process has it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except (Error, OSError) as error:  # pyarrow's own reader raises the latter within a stream
        return str(error)
    raise AssertionError("the call was not refused")
