"""What one change of a table says, and what its commit answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from flight_server.errors import Unavailable
from flight_server.storage.delta_actions import ActiveFile, NewFile, TableMetadata
from flight_server.storage.replay import APP_PREFIX

# The code of the one failure after which a change may have been made all the same.
COMMIT_UNKNOWN = "commit_unknown"


@dataclass(frozen=True, slots=True)
class Author:
    """Whose change it is, and in which request it came."""

    user_id: str
    user_name: str
    request_id: str


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One change of one table, to be committed whole or not at all.

    ``operation`` is the word of the history (``WRITE``, ``DELETE``, …); ``parameters`` go there
    too and hold no values and no conditions. ``rows`` is the count to answer, -1 for none.

    ``adds`` are new files, ``removes`` those that they replace: paths of the log or ``file://``
    URIs. ``removes_all`` takes out whatever is there at the commit, but for ``restores``, files of
    an older version that become active again. ``data_change`` is false when rows only move between
    files. ``metadata`` makes the table something else from here on.

    ``table_id`` and ``schema`` are those that the rows were fitted to: the table must still be
    that one. ``read_version`` is the version that the change was computed from; only appends may
    have come since. Without it the change depends on nothing that the table holds.

    ``idempotency_key`` makes a repeat of the same user with the same key harmless.
    """

    operation: str
    author: Author
    adds: tuple[NewFile, ...] = ()
    removes: tuple[str, ...] = ()
    removes_all: bool = False
    restores: tuple[ActiveFile, ...] = ()
    metadata: TableMetadata | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    rows: int = -1
    data_change: bool = True
    table_id: str | None = None
    schema: pa.Schema | None = None
    read_version: int | None = None
    idempotency_key: str | None = None

    @property
    def is_append(self) -> bool:
        """Whether it only adds rows, whatever else is in the table."""
        return not (
            self.removes or self.removes_all or self.restores or self.metadata is not None
        ) and (self.read_version is None and self.data_change)

    @property
    def app_id(self) -> str | None:
        """Under which name the log remembers it, if at all."""
        if self.idempotency_key is None:
            return None
        return app_id_of(self.author.user_id, self.idempotency_key)


@dataclass(frozen=True, slots=True)
class Committed:
    """The outcome of a change.

    ``version`` is the one that holds it, or None when ``repeated``: the change was made by an
    earlier request with the same key, nothing was written now, and the new data files are nobody's.
    ``rows`` is the count to answer, in both cases.
    """

    version: int | None
    rows: int
    repeated: bool = False


def unknown_outcome(name: str) -> Unavailable:
    """Return the error for a change that may or may not have been made."""
    return Unavailable(
        f"it is not known whether the table {name} was changed; look before repeating it",
        code=COMMIT_UNKNOWN,
    )


def app_id_of(user_id: str, key: str) -> str:
    """Return the name under which the log remembers a user's idempotency key, but not the key."""
    text = json.dumps([user_id, key])
    return APP_PREFIX + hashlib.sha256(text.encode()).hexdigest()


def remembered(rows: int) -> int:
    """Return the version of a transaction that remembers a count of rows, which is at least -1."""
    return rows + 1


def recalled(version: int) -> int:
    """Return the count of rows that a transaction remembers."""
    return version - 1
