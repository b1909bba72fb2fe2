"""The seam between who asks and what computes.

Plain data crosses it, so that an engine may live in any process.

A gateway sees an ``Engine``; a worker implements it over DataFusion and is handed its tables as
``Tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from flight_server.sql.names import AsOf
from policies.names import Principal, TableRef


@dataclass(frozen=True, slots=True)
class Pin:
    """The exact state of a table that a query was planned on.

    ``version`` is the Delta version, or None for plain Parquet. ``stamp`` tells two tables apart
    that had the same name and version one after the other; it is opaque and compares by equality.
    """

    ref: TableRef
    version: int | None
    stamp: str
    as_of: AsOf | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One statement, whose it is, and where its short names are looked up.

    ``pins`` are empty for a new query; a query that continues an earlier description carries that
    description's pins and reads those very states.
    """

    sql: str
    principal: Principal
    bucket: str
    schema: str
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """What a query will return.

    The schema as it leaves on the wire, and the states it was planned on. ``batches`` is the result
    itself where planning has computed it already and the same query would give it again.
    """

    schema: pa.Schema
    pins: tuple[Pin, ...]
    batches: tuple[pa.RecordBatch, ...] | None = None


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Data files that share one tuple of partition values, ordered as the partition columns."""

    partition: tuple[pa.Scalar[Any], ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileScan:
    """The active Parquet files of one table version, to be scanned natively.

    ``schema`` is that of the table, partition columns included, in the table's order and in plain
    types. ``paths`` are absolute, as the object store sees them (``file:///…``), already
    percent-encoded where the URL form needs it.
    """

    schema: pa.Schema
    partition_columns: tuple[str, ...]
    groups: tuple[FileGroup, ...]


@dataclass(frozen=True, slots=True)
class ProviderScan:
    """A table that only its own reader can read right.

    An object with ``__datafusion_table_provider__``.
    """

    schema: pa.Schema
    provider: object


@dataclass(frozen=True, slots=True)
class RowScan:
    """Rows made in memory, such as a table of ``information_schema``."""

    rows: pa.Table


Scan = FileScan | ProviderScan | RowScan


@dataclass(frozen=True, slots=True)
class GovernedTable:
    """A table as one principal may see it, and the state it was opened at."""

    pin: Pin
    scan: Scan


class Tables(Protocol):
    """How an engine reaches a table: by name, for a principal, already narrowed."""

    def open(
        self, ref: TableRef, principal: Principal, *, as_of: AsOf | None, pin: Pin | None
    ) -> GovernedTable:
        """Open a table at its newest state, at ``as_of``, or at exactly ``pin``.

        Raises NotFound when there is no such table for this principal, also when it exists for
        others, and when the version is not there; Unsupported when the table cannot be read right.
        """
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How results are cut.

    Batches of about ``target`` bytes, none above ``max``, all in all ``result`` bytes.
    """

    batch_bytes_target: int = 2 * 1024 * 1024
    batch_bytes_max: int = 3_670_016
    result_bytes_max: int = 64 * 1024**3


class Engine(Protocol):
    """Something that runs governed queries."""

    def describe(self, query: Query, *, is_cancelled: Callable[[], bool]) -> Description:
        """Plan a query without running it."""
        ...

    def stream(
        self, query: Query, *, is_cancelled: Callable[[], bool]
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Run a query; closing the iterator ends the work.

        Schema and batches are in plain wire types and within ``BatchLimits``.
        """
        ...
