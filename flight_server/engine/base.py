"""The seam between who asks and what computes.

Plain data crosses it, so that an engine may live in any process.

A gateway sees an ``Engine``; a worker implements it over DataFusion and is handed its tables as
``Tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from flight_server.sql.names import AsOf
from policies.lens import ALL_COLUMNS, Readable, ShownColumn
from policies.names import Principal, TableRef

# A value that JSON can hold.
JSON = str | int | float | bool | list[Any] | dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Pin:
    """The exact state of a table that a query was planned on.

    ``version`` is the Delta version, or None for plain Parquet. ``stamp`` tells two tables apart
    that had the same name and version one after the other; it is opaque and compares by equality.
    So is ``policy``, which differs when what the caller sees of that state is narrowed otherwise:
    it tells whether an answer is still good, and binds nobody. A pin is opened under the policies
    of the moment.
    """

    ref: TableRef
    version: int | None
    stamp: str
    as_of: AsOf | None = None
    policy: str = ""


TEMPORARY_BUCKET = "temp"


@dataclass(frozen=True, slots=True)
class Temporary:
    """The temporary tables of one session: the schema in the bucket ``temp`` that only it may name.

    A name without bucket and schema that is among ``tables`` means the temporary table.
    """

    schema: str
    tables: frozenset[str]


@dataclass(frozen=True, slots=True)
class Query:
    """One statement, whose it is, and where its short names are looked up.

    ``pins`` are empty for a new query; a query that continues an earlier description carries that
    description's pins and reads those very states. ``parameters`` are the bound rows as an Arrow
    IPC stream whose column i is ``$i`` (from 1), or nothing; the query runs once for each row.
    """

    sql: str
    principal: Principal
    bucket: str
    schema: str
    pins: tuple[Pin, ...] = ()
    parameters: bytes = b""
    temporary: Temporary | None = None


NO_PARAMETERS = pa.schema([])


@dataclass(frozen=True, slots=True)
class Description:
    """What a query will return.

    The schema as it leaves on the wire, and the states it was planned on. ``parameters`` has a
    field for each placeholder, named by its number, in a concrete type: that of the plan, or
    string where the plan leaves it open. ``batches`` is the result itself where planning has
    computed it already and the same query would give it again.
    """

    schema: pa.Schema
    pins: tuple[Pin, ...]
    parameters: pa.Schema = NO_PARAMETERS
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


@dataclass(frozen=True, slots=True)
class ViewScan:
    """A stored query. It runs with the caller's rights; short names in it are looked up here.

    ``columns`` rename those of the query, none leaves them; of these only those are there that are
    ``readable``. ``is_open`` tells that this caller may read its text, and so hear from errors what
    it says.
    """

    sql: str
    bucket: str
    schema: str
    columns: tuple[str, ...] = ()
    is_open: bool = False
    readable: Readable = ALL_COLUMNS


# What reads a table as it is stored.
TableScan = FileScan | ProviderScan | RowScan


@dataclass(frozen=True, slots=True)
class FencedScan:
    """Some rows and columns of a table, behind a fence: nothing of a query reaches other rows.

    ``condition`` is SQL over the columns of ``source``; ``columns`` are names, each with the SQL
    that makes it. Both are text of our own, never of a user.
    """

    source: TableScan
    condition: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Rows that are there or not by what one column holds.

    ``keys`` are of the column's type, each once and none NULL. With ``keeps`` only rows are left
    whose key is among them, else those whose key is not: a NULL is among none. ``stamp`` differs
    between two sets of keys.
    """

    column: str
    keys: pa.Array[Any] = field(compare=False, repr=False)
    keeps: bool
    stamp: str


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Some rows and columns of what lies below, in its terms.

    ``conditions`` are SQL without anything to be bound, each of which a row must meet; ``columns``
    are what is left, each redacted as it says.
    """

    columns: tuple[ShownColumn, ...]
    conditions: tuple[str, ...] = ()
    keys: tuple[KeyFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class GovernedScan:
    """What one principal may see of a table: its narrowings, the first one next to the source.

    With ``group_rows_min`` only aggregates over so many rows of it may leave. ``secret`` is the key
    of all hashes.
    """

    source: TableScan
    narrowings: tuple[Narrowing, ...]
    group_rows_min: int = 0
    secret: bytes = field(default=b"", repr=False)


Scan = TableScan | ViewScan | FencedScan | GovernedScan


def files_of(scan: Scan) -> FileScan | None:
    """Return the files that a scan reads; None for one that reads no files."""
    source = scan.source if isinstance(scan, FencedScan | GovernedScan) else scan
    return source if isinstance(source, FileScan) else None


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

    def files(self, pin: Pin, principal: Principal) -> FileScan:
        """Return the active files of exactly that state of a table, for rewriting some of them.

        They hold all rows and values, whatever is hidden from the caller: only queries that are
        all our own may read them, never an expression of the caller. However many combinations of
        partition values there are. Raises as ``open`` does, and Unsupported for a table that cannot
        be written.
        """
        ...

    def purged(self, pin: Pin, scan: FileScan, stamp: int) -> KeyFilter | None:
        """Return which rows of these files are to go for good, None when there are none.

        ``stamp`` is the ``WriteTarget.purges`` of the write. Raises InvalidRequest
        (``policy_misfit``) when the columns are not those of the keys.
        """
        ...


class Sink(Protocol):
    """Where the rows of a write go: data files that nobody sees before they are committed."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the table, as it is or as the rows make it."""
        ...

    def fitted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows as the table will hold them, all its columns; raises as ``write`` does."""
        ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; columns go to those of the same name, and those that they lack are NULL.

        Raises SchemaMismatch, naming the column, for a value that does not fit.
        """
        ...

    def finish(self) -> tuple[JSON, ...]:
        """Close and sync the files; return what a commit says of each, as plain JSON."""
        ...

    def abandon(self) -> None:
        """Remove what was written; safe to call again, and after a failure."""
        ...


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """Where a write puts its rows.

    ``folder`` takes the new files. ``schema`` is that of the table, None where the source decides;
    ``partition_columns`` are names in it. ``pin`` is the state whose rows are changed or rewritten,
    None where rows are only added. ``chosen`` are the files to rewrite, as URIs; None is all.
    ``file_bytes`` is the size that new files aim at, None the engine's own. ``rows_are_source`` is
    for a MERGE: the rows of parameters, ``$i`` as column ``i``, are its source, all at once.
    ``checks`` are conditions that every new or changed row must meet; ``columns`` those that the
    caller may name when adding rows, None for all. ``purges`` is, for an OPTIMIZE, the number of
    the last of the tombstones whose rows are to go for good, 0 to keep them all; with ``is_dry``
    they are counted and nothing is written.
    """

    folder: str
    schema: pa.Schema | None
    partition_columns: tuple[str, ...] = ()
    pin: Pin | None = None
    chosen: tuple[str, ...] | None = None
    file_bytes: int | None = None
    rows_are_source: bool = False
    checks: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    purges: int = 0
    is_dry: bool = False


# The code of errors that say: a row is not one that its writer would see.
ROW_FILTER_CHECK = "row_filter_check"
# The code of errors that say: with several rows of parameters the statement has to run for one
# after the other, each on what the one before has left.
ONE_BY_ONE = "one_by_one"


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made, before its commit.

    ``files`` are the reports of the sink; ``removed`` the URIs of files that they replace; the
    counts are rows. ``read`` are the tables that were read for it, those of views included.
    """

    schema: pa.Schema
    files: tuple[JSON, ...]
    removed: tuple[str, ...] = ()
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    read: tuple[TableRef, ...] = ()


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

    def write(
        self, query: Query, target: WriteTarget, *, is_cancelled: Callable[[], bool]
    ) -> Written:
        """Run the statement that changes rows in ``query.sql``, up to data files on disk.

        Nothing is visible until somebody commits them. On failure nothing is left behind, unless
        the process dies. Several rows of parameters are one change; raises Unsupported with the
        code ``ONE_BY_ONE`` where they cannot be.
        """
        ...

    def count_refused(
        self, scan: FileScan, checks: tuple[str, ...], *, is_cancelled: Callable[[], bool]
    ) -> int:
        """Return how many rows of these files do not meet all conditions that new rows must meet.

        Raises InvalidRequest (``policy_misfit``) for conditions that do not fit their columns.
        """
        ...
