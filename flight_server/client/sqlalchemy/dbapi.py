"""The ADBC driver as the DB-API 2.0 module that SQLAlchemy asks for.

It differs from the driver's own module in what a row is made of (microseconds, which Python has,
instead of nanoseconds, which only pandas has; dicts for maps), in statements without rows (no
description, as PEP 249 says), in commit and rollback (nothing, since each statement stands alone)
and in errors: the text is the server's own, and ``__cause__`` is the error of
``flight_server.errors`` that says the same, with its stable ``code``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import adbc_driver_manager as adbc
import pyarrow as pa
from adbc_driver_flightsql import dbapi as driver

from flight_server import errors
from flight_server.client import faults
from flight_server.client.sqlalchemy.values import parameters_batch, rows

apilevel: Final = "2.0"
threadsafety: Final = 1
paramstyle: Final = "qmark"

# PEP 249 gives this class the name of a builtin.
Warning = driver.Warning  # noqa: A001  see above
Error = driver.Error
InterfaceError = driver.InterfaceError
DatabaseError = driver.DatabaseError
DataError = driver.DataError
OperationalError = driver.OperationalError
IntegrityError = driver.IntegrityError
InternalError = driver.InternalError
ProgrammingError = driver.ProgrammingError
NotSupportedError = driver.NotSupportedError
STRING = driver.STRING
BINARY = driver.BINARY
NUMBER = driver.NUMBER
DATETIME = driver.DATETIME
ROWID = driver.ROWID
Date = driver.Date
Time = driver.Time
Timestamp = driver.Timestamp
Binary = bytes

_CLASSES: Final[dict[type[errors.LakeflightError], type[Any]]] = {
    errors.SchemaMismatch: DataError,
    errors.Conflict: OperationalError,
    errors.Unauthenticated: OperationalError,
    errors.LimitExceeded: OperationalError,
    errors.Unavailable: OperationalError,
    errors.DeadlineExceeded: OperationalError,
    errors.Cancelled: OperationalError,
    errors.Unsupported: NotSupportedError,
    errors.Internal: InternalError,
}
# What a server says of an error beside its status; a broken connection says nothing.
_DESCRIPTION: Final = "x-lakehouse-error"
_CATALOG_OPTION: Final = adbc.ConnectionOptions.CURRENT_CATALOG.value
_SCHEMA_OPTION: Final = adbc.ConnectionOptions.CURRENT_DB_SCHEMA.value


def connect(
    uri: str,
    *,
    options: Mapping[str, str] | None = None,
    bucket: str | None = None,
    schema: str | None = None,
) -> Connection:
    """Open a session; ``bucket`` and ``schema`` are where it looks short names up."""
    with _translated():
        opened = driver.connect(uri, db_kwargs=dict(options or {}), autocommit=True)
    try:
        _choose(opened, _CATALOG_OPTION, bucket, what="bucket")
        _choose(opened, _SCHEMA_OPTION, schema, what="schema")
    except BaseException:
        opened.close()
        raise
    return Connection(opened)


def _choose(opened: Any, option: str, name: str | None, *, what: str) -> None:
    if name is None:
        return
    try:
        with _translated():
            opened.adbc_connection.set_options(**{option: name})
    except ProgrammingError as error:
        # The protocol has no words for why an option of a session is refused.
        raise ProgrammingError(
            f"the {what} {name} does not exist, or is not for you",
            status_code=adbc.AdbcStatusCode.NOT_FOUND,
        ) from error.__cause__


class Connection:
    """One session with a server."""

    def __init__(self, inner: Any) -> None:
        self.adbc = inner

    def cursor(self) -> Cursor:
        """Return a cursor of its own statement."""
        return Cursor(self.adbc)

    def commit(self) -> None:
        """Do nothing: each statement has been committed when it returned."""

    def rollback(self) -> None:
        """Do nothing: what a statement has done stays done."""

    def close(self) -> None:
        """End the session."""
        with _translated():
            self.adbc.close()

    def names(self) -> tuple[str, str]:
        """Return the bucket and the schema where short names are looked up."""
        with _translated():
            return self.adbc.adbc_current_catalog, self.adbc.adbc_current_db_schema

    def objects(self, depth: str, **filters: Any) -> list[dict[str, Any]]:
        """Return what the catalog holds: see ``adbc_get_objects`` of the driver."""
        with _translated():
            reader = self.adbc.adbc_get_objects(depth=depth, **filters)
            return [row for batch in reader for row in batch.to_pylist()]

    def table_schema(self, table: str, *, bucket: str, schema: str) -> pa.Schema | None:
        """Return the columns of a table, None without one; ``schema`` is a pattern."""
        try:
            with _translated():
                found: pa.Schema = self.adbc.adbc_get_table_schema(
                    table, catalog_filter=bucket, db_schema_filter=schema
                )
        except ProgrammingError as error:
            if isinstance(error.__cause__, errors.NotFound):
                return None
            raise
        return found


class Cursor:
    """One statement at a time, and its rows; they are read from the server as they are fetched."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._opened: Any = None
        self._rows: Iterator[tuple[Any, ...]] | None = None
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount: int = -1
        self.arraysize: int = 1

    def execute(self, operation: str, parameters: Sequence[Any] = ()) -> Self:
        """Run one statement, with one value for each ``?``."""
        self._forget()
        batch = parameters_batch([parameters]) if parameters else None
        with _translated():
            inner = self._open()
            _prepare(inner, operation)
            inner.execute(operation, batch)
            # The public reader loses the details of an error in mid-stream; this one keeps them.
            reader = inner._results.reader
            schema = reader.schema
        self.rowcount = inner.rowcount
        if len(schema):
            self.description = [
                (f.name, f.type, None, None, None, None, f.nullable) for f in schema
            ]
            self._rows = self._read(reader)
        return self

    def update(self, operation: str, parameters: Sequence[Sequence[Any]] | None = None) -> Self:
        """Run one statement that returns no rows, once for each sequence of values.

        ``rowcount`` is the number of rows that it changed in all, or -1 when it counts none.
        """
        self._forget()
        batch = parameters_batch(parameters) if parameters and parameters[0] else None
        try:
            with _translated():
                inner = self._open()
                inner.executemany(operation, batch)
            self.rowcount = inner.rowcount
        finally:
            self._release()  # nothing is left to read, and SQLAlchemy 2.0 forgets to close it
        return self

    def executemany(self, operation: str, parameters: Sequence[Sequence[Any]]) -> Self:
        """Run one statement once for each sequence of values; an empty list does nothing."""
        return self.update(operation, parameters) if parameters else self

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None after the last."""
        return next(self._result(), None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows, fewer at the end."""
        return list(itertools.islice(self._result(), self.arraysize if size is None else size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return list(self._result())

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._result()

    def close(self) -> None:
        """Free the result; the server stops working on it. ``rowcount`` stays."""
        self._rows = None
        self._release()

    def cancel(self) -> None:
        """Cancel the statement that runs, from any thread."""
        if (inner := self._opened) is not None:
            with _translated():
                inner.adbc_cancel()

    def setinputsizes(self, sizes: Any) -> None:
        """Do nothing: values carry their types."""

    def setoutputsize(self, size: Any, column: Any = None) -> None:
        """Do nothing: results are streams."""

    def _open(self) -> Any:
        if self._opened is None:
            self._opened = self._connection.cursor()
        return self._opened

    def _release(self) -> None:
        inner, self._opened = self._opened, None
        if inner is not None:
            with _translated():
                inner.close()

    def _forget(self) -> None:
        self._rows = None
        self.description = None
        self.rowcount = -1

    def _result(self) -> Iterator[tuple[Any, ...]]:
        if self._rows is None:
            raise ProgrammingError(
                "there are no rows to fetch", status_code=adbc.AdbcStatusCode.INVALID_STATE
            )
        return self._rows

    def _read(self, reader: Any) -> Iterator[tuple[Any, ...]]:
        while True:
            with _translated():
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                found = rows(batch)
            yield from found


def _prepare(inner: Any, operation: str) -> None:
    # The driver's cursor takes a refusal for "cannot prepare" and goes on to a worse error.
    if operation != inner._last_query:
        inner._clear()
        inner.adbc_statement.set_sql_query(operation)
        inner.adbc_statement.prepare()
        inner._last_query = operation


def is_lost(error: BaseException) -> bool:
    """Tell whether the session behind an error is gone, so that only a new connection helps."""
    cause = error.__cause__
    if isinstance(cause, errors.Unauthenticated):
        return cause.code in {"token_expired", "token_revoked"}
    if not isinstance(cause, errors.Unavailable):
        return False
    names = (name for name, _value in getattr(error, "details", None) or ())
    said = {name.decode("ascii", "replace") if isinstance(name, bytes) else name for name in names}
    return _DESCRIPTION not in said


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except adbc.Error as error:
        cause = faults.translate(error)
        raise _error(error, cause, otherwise=driver.ProgrammingError) from cause
    except (pa.ArrowException, OSError) as error:
        cause = faults.translate(error)
        raise _error(error, cause, otherwise=driver.OperationalError) from cause


def _error(error: Exception, cause: errors.LakeflightError, *, otherwise: type[Any]) -> Exception:
    """Return what is raised in the place of an error of the driver."""
    kind = _CLASSES.get(type(cause), otherwise)
    options: dict[str, Any] = {"details": getattr(error, "details", None)}
    if kind is not driver.NotSupportedError:  # its status is fixed
        options["status_code"] = getattr(error, "status_code", adbc.AdbcStatusCode.UNKNOWN)
    made: Exception = kind(cause.message, **options)
    return made
