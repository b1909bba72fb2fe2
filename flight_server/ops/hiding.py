"""Opens the tombstones of a lakehouse as the settings say, whether or not a server runs on it."""

from __future__ import annotations

from dataclasses import dataclass

from flight_server.catalog.folders import PUBLIC
from flight_server.catalog.registry import Entry
from flight_server.clock import Clock
from flight_server.errors import NotFound, Unsupported
from flight_server.ops.rights import buckets
from flight_server.ops.settings import Settings
from flight_server.service import governed
from flight_server.service.hidden_keys import KeyStores
from flight_server.service.keyed_tombstones import Hiding, KeyedTombstones
from flight_server.sql.fragments import read_table
from flight_server.sql.names import DEFAULT
from flight_server.storage.arrow_types import without_metadata
from policies.book import PolicyBook
from policies.decide import SYSTEM_BUCKET
from policies.names import TableRef

_PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class TombstonesAtHand:
    """The tombstones of all tables, for whoever has the folder in hands."""

    keyed: KeyedTombstones
    settings: Settings
    clock: Clock

    def find(self, table: str) -> Hiding:
        """Return a table by its name as in SQL, in the bucket ``primary`` unless said otherwise.

        Raises NotFound (``table_not_found``), Unsupported for views and the server's own tables,
        InvalidRequest for what is no name.
        """
        named = read_table(table)
        ref = TableRef(
            _PRIMARY if named.bucket == DEFAULT else named.bucket,
            PUBLIC if named.schema == DEFAULT else named.schema,
            named.table,
        )
        found = governed.build(buckets(self.settings), lambda: PolicyBook(""), self.clock)
        entry = found.registry.find(ref) or found.registry.find_view(ref)
        if entry is None:
            raise NotFound(f"the table {ref} does not exist", code="table_not_found")
        if not isinstance(entry, Entry) or ref.bucket == SYSTEM_BUCKET:
            raise Unsupported(f"{ref} has no tombstones: hide rows of the tables that it is of")
        return Hiding(ref, without_metadata(found.opener.open(entry).schema))


def open_tombstones(settings: Settings, clock: Clock) -> TombstonesAtHand:
    """Return the tombstones of the lakehouse; InvalidRequest when the settings name none."""
    stores = KeyStores.open(buckets(settings)[SYSTEM_BUCKET].root, clock)
    return TombstonesAtHand(KeyedTombstones(stores.tombstones), settings, clock)
