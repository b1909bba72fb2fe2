"""The rows of the matrix: which program runs in which environment."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.clients.cases import Case, Program

_NO_INGEST = "the driver has no bulk ingest before 1.11"


@dataclass(frozen=True, slots=True)
class Row:
    """A client and how it is run.

    ``environment`` is one of ``tests.clients.environments``, or None for the tests' own. A pinned
    row has its version in its key; the version of another is what is installed.
    """

    key: str
    title: str
    program: str
    environment: str | None = None
    impossible: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Program:
        """Return the program that makes the row's cells."""
        program: Program = importlib.import_module(self.module).PROGRAM
        return program

    @property
    def module(self) -> str:
        """The module that the row's process runs."""
        return f"tests.clients.programs.{self.program}"

    def cases(self) -> Iterator[Case]:
        """Yield the cases of the row."""
        for case in self.load().cases.values():
            if case.column not in self.impossible:
                yield case

    def cannot(self) -> dict[str, str]:
        """Return the columns that the client has nothing for, with the reason."""
        return {**self.load().impossible, **self.impossible}


ROWS = (
    Row("adbc-1.5", "ADBC for Python", "adbc", "adbc-1.5.0", {"ingest": _NO_INGEST}),
    Row("adbc-1.11", "ADBC for Python", "adbc", "adbc-1.11.0"),
    Row("adbc", "ADBC for Python, newest", "adbc"),
    Row("pandas", "pandas", "with_pandas"),
    Row("polars", "polars", "with_polars"),
    Row("duckdb", "DuckDB for Python", "with_duckdb"),
    Row("flightsql-dbapi", "flightsql-dbapi", "with_flightsql", "flightsql-dbapi"),
    Row("sqlalchemy", "SQLAlchemy", "with_sqlalchemy"),
    Row("jdbc", "JDBC driver of Apache Arrow", "with_jdbc", "jdbc"),
    Row("pyarrow", "pyarrow.flight", "with_pyarrow"),
)
# Clients that cannot be run here, with the reason; they have a line below the table.
ABSENT: Mapping[str, str] = {
    "The ODBC driver of Apache Arrow": (
        "is released for Windows and as an RPM only, not for the Debian that the tests run on"
    ),
    "DuckDB's extensions `adbc_scanner` and `adbc`": (
        "are in no package registry; the row of DuckDB is DuckDB over streams of the ADBC driver"
    ),
}
