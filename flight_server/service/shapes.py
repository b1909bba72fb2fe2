"""The columns that tables and views have, whoever may see them: what rules are checked against."""

from __future__ import annotations

import pyarrow as pa

from flight_server.catalog.registry import Entry, Registry
from flight_server.catalog.views import View
from flight_server.errors import Unsupported
from flight_server.service.opening import Opener
from flight_server.storage.arrow_types import without_metadata
from policies.decide import SYSTEM_BUCKET
from policies.names import TableRef


class Shapes:
    """Looks up columns in the newest state of what is there. Safe to use from many threads."""

    def __init__(self, registry: Registry, opener: Opener) -> None:
        self._registry = registry
        self._opener = opener

    def schema(self, ref: TableRef) -> pa.Schema | None:
        """Return the columns of a table or view; None when there is none of that name.

        Raises Unavailable, and what opening a table raises.
        """
        found = self._registry.find(ref) or self._registry.find_view(ref)
        if found is None:
            return None
        if isinstance(found, Entry):
            return without_metadata(self._opener.open(found).schema)
        return without_metadata(found.arrow_schema)

    def narrowable(self, ref: TableRef) -> pa.Schema | None:
        """Return the columns of what rules can narrow: a table, or an AI-safe view.

        Raises Unsupported for the server's own tables and for an SQL view, otherwise as ``schema``.
        """
        if ref.bucket == SYSTEM_BUCKET:
            raise Unsupported("no rules are put on the server's own tables")
        if self._registry.find(ref) is None and isinstance(self._registry.find_view(ref), View):
            raise Unsupported(
                f"{ref} is a view that runs with the rights of whoever reads it:"
                " put rules on its tables"
            )
        return self.schema(ref)
