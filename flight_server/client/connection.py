"""Connections to a Flight SQL server: statements in, streams of Arrow batches out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import adbc_driver_manager as adbc
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions, dbapi

from flight_server.client import faults
from flight_server.errors import InvalidRequest, Unavailable

_SCHEMES: Final = ("grpc", "grpc+tcp", "grpc+tls", "grpc+unix", "flightsql")
_BUCKET_HEADER: Final = "x-lakehouse-bucket"


@dataclass(frozen=True, slots=True)
class TableName:
    """A table or view as the server lists it."""

    catalog: str
    schema: str
    table: str
    kind: str


class Result:
    """What one statement returned: iterate for the batches, once; close it, or leave it to its end.

    ``schema`` has no fields and ``rows_affected`` may be known when the statement returns no rows.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        with _translated():
            # The public reader loses the details of an error in mid-stream; this one keeps them.
            self._reader = cursor._results.reader  # noqa: SLF001  see above
            self.schema: pa.Schema = self._reader.schema
        self.rows_affected: int | None = cursor.rowcount if cursor.rowcount >= 0 else None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            while True:
                with _translated():
                    try:
                        batch = self._reader.read_next_batch()
                    except StopIteration:
                        return
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """Free the result; the server stops working on it."""
        with _translated():
            self._cursor.close()


class Connection:
    """One session with a server. A statement may be cancelled from another thread, nothing else."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._latest: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def execute(self, sql: str) -> Result:
        """Run one statement; raises the errors of ``flight_server.errors``."""
        with _translated():
            cursor = self._raw.cursor()
        self._latest = cursor
        try:
            with _translated():
                cursor.execute(sql)
            return Result(cursor)
        except BaseException:
            cursor.close()
            raise

    def query(self, sql: str) -> pa.RecordBatchReader:
        """Run one statement and return its rows as a stream, which may be read once."""
        result = self.execute(sql)
        return pa.RecordBatchReader.from_batches(result.schema, iter(result))

    def cancel(self) -> None:
        """Cancel the statement that runs, from any thread; it then raises Cancelled."""
        if self._latest is not None:
            with _translated():
                try:
                    self._latest.adbc_cancel()
                except (adbc.ProgrammingError, ValueError, RuntimeError):
                    return  # it was closed meanwhile, which is as good

    def catalogs(self) -> list[str]:
        """Return the catalogs (buckets) that the caller may use."""
        return [one["catalog_name"] or "" for one in self._objects("catalogs")]

    def schemas(self) -> list[tuple[str, str]]:
        """Return catalog and name of each schema."""
        return [
            (one["catalog_name"] or "", inner["db_schema_name"] or "")
            for one in self._objects("db_schemas")
            for inner in one["catalog_db_schemas"] or ()
        ]

    def tables(
        self, *, catalog: str | None = None, schema: str | None = None, table: str | None = None
    ) -> list[TableName]:
        """Return the tables and views whose parts match the patterns (``%`` and ``_``)."""
        found = self._objects(
            "tables", catalog_filter=catalog, db_schema_filter=schema, table_name_filter=table
        )
        return [
            TableName(
                one["catalog_name"] or "",
                inner["db_schema_name"] or "",
                leaf["table_name"],
                leaf["table_type"],
            )
            for one in found
            for inner in one["catalog_db_schemas"] or ()
            for leaf in inner["db_schema_tables"] or ()
        ]

    def table_schema(self, name: TableName) -> pa.Schema:
        """Return the columns of a table; NotFound when there is none of that name."""
        with _translated():
            found: pa.Schema = self._raw.adbc_get_table_schema(
                name.table, catalog_filter=name.catalog, db_schema_filter=name.schema
            )
        return found

    def close(self) -> None:
        """End the session."""
        with _translated():
            self._raw.close()

    def _objects(self, depth: str, **filters: str | None) -> list[dict[str, Any]]:
        with _translated():
            reader = self._raw.adbc_get_objects(depth=depth, **filters)
            return [row for batch in reader for row in batch.to_pylist()]


def connect(
    uri: str,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    tls_roots: Path | None = None,
    bucket: str | None = None,
    timeout_seconds: float | None = None,
) -> Connection:
    """Open a session with a Flight SQL server.

    ``uri`` is ``grpc://host:port``, or ``grpc+tls://host:port`` where ``tls_roots`` may name a file
    of PEM certificates to trust. Sign in with ``user`` and ``password``, or with a ``token``.
    ``bucket`` is where short names are looked up.
    ``timeout_seconds`` bounds each call to the server, the whole of a result included.
    Raises InvalidRequest, Unauthenticated, or Unavailable when nobody answers.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES:
        raise InvalidRequest(
            f"a server's address is grpc://HOST:PORT or grpc+tls://HOST:PORT uri={uri}"
        )
    if (user is None) != (password is None):
        raise InvalidRequest("user and password are given together")
    if token is not None and user is not None:
        raise InvalidRequest("give a user with a password or a token, not both")
    options = _options(tls_roots=tls_roots, timeout_seconds=timeout_seconds)
    if user is not None and password is not None:
        options |= {"username": user, "password": password}
    if token is not None:
        options[DatabaseOptions.AUTHORIZATION_HEADER.value] = f"Bearer {token}"
    if bucket is not None:
        options[DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + _BUCKET_HEADER] = bucket
    try:
        with _translated():
            # Without autocommit the driver asks for a transaction, which not every server has.
            return Connection(dbapi.connect(uri, db_kwargs=options, autocommit=True))
    except Unavailable as error:
        if (refused := "connection refused") in error.message:
            raise Unavailable(f"nobody answers at {parts.netloc}: {refused}") from None
        raise


def _options(*, tls_roots: Path | None, timeout_seconds: float | None) -> dict[str, str]:
    options = {DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}
    if tls_roots is not None:
        try:
            options[DatabaseOptions.TLS_ROOT_CERTS.value] = tls_roots.read_text("ascii")
        except (OSError, UnicodeDecodeError):
            raise InvalidRequest(f"cannot read the certificates tls_roots={tls_roots}") from None
    if timeout_seconds is not None:
        if not timeout_seconds > 0:
            raise InvalidRequest(f"the timeout must be above 0 timeout_seconds={timeout_seconds}")
        for limit in (
            DatabaseOptions.TIMEOUT_FETCH,
            DatabaseOptions.TIMEOUT_QUERY,
            DatabaseOptions.TIMEOUT_UPDATE,
        ):
            options[limit.value] = str(timeout_seconds)
    return options


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (adbc.Error, pa.ArrowException, OSError) as error:
        raise faults.translate(error) from None
