"""What tests of interrupted writes look at: a table's folder, and what a server holds open."""

from __future__ import annotations

from pathlib import Path

from deltalake import DeltaTable

from flight_server.storage.creation import STAGING_PREFIX
from tests.servers import Server, wait_until


class Watched:
    """A table that a write is begun on, with what it was like before."""

    def __init__(self, server: Server, schema: str, table: str) -> None:
        self.server = server
        self.name = f"{schema}.{table}"
        self.path = server.directory / schema / table
        self._files = set(self.path.glob("*.parquet"))
        self._version = self.version()

    def version(self) -> int:
        """Return the newest version, as the Delta library sees it."""
        return DeltaTable(str(self.path)).version()

    def new_files(self) -> set[Path]:
        """Return the data files that were begun, also those of tables that are being built."""
        staged = {file for folder in self.staged() for file in folder.glob("*.parquet")}
        return staged | set(self.path.glob("*.parquet")) - self._files

    def staged(self) -> list[Path]:
        """Return the hidden folders in which tables are built."""
        return list(self.path.parent.glob(f"{STAGING_PREFIX}*"))

    def wait_for_files(self) -> None:
        """Wait until a write has begun a file."""
        wait_until(lambda: bool(self.new_files()), seconds_max=60, what="a file")

    def wait_for_nothing(self) -> None:
        """Wait until what was begun was removed; nobody needs VACUUM for that."""
        wait_until(lambda: not self.new_files(), seconds_max=30, what="no files")
        wait_until(lambda: not self.staged(), seconds_max=30, what="no folders")

    def assert_untouched(self) -> None:
        """Fail unless the table is in the version that it was in, and no other was made."""
        assert self.version() == self._version

    def vacuum(self) -> None:
        """Have the server remove what no version needs; fail unless nothing else is left."""
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"VACUUM {self.name} RETAIN 0 HOURS")
        active = {Path(uri).name for uri in DeltaTable(str(self.path)).file_uris()}
        assert {path.name for path in self.path.glob("*.parquet")} == active


def held(server: Server) -> tuple[int, int]:
    """Return how many descriptors and threads the gateway has."""
    process = Path(f"/proc/{server.process.pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))
