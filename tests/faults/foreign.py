"""Another program that writes a table, started with its path, a time and the first batch's number.

It appends batches by the Delta library and deletes some of its own again, and prints a line for
each that was acknowledged: ``added BATCH SIZE``, ``deleted BATCH SIZE``. The time is in seconds.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from tests.faults.ledger import rows_of


def main() -> None:
    """Write until the time is over."""
    path, seconds, first = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(first)
    until = time.monotonic() + seconds
    sizes: dict[int, int] = {}
    batch = first
    while time.monotonic() < until:
        batch += 1
        size = chance.randint(1, 50)
        if _made(partial(_append, path, batch, size)):
            sizes[batch] = size
            print("added", batch, size, flush=True)
        # Deleting without a pause would never leave an UPDATE beside it the time that it takes.
        if sizes and chance.random() < 0.03:
            gone = chance.choice(list(sizes))
            if _made(partial(_delete, path, gone)):
                print("deleted", gone, sizes.pop(gone), flush=True)


def _append(path: str, batch: int, size: int) -> None:
    write_deltalake(path, pa.Table.from_batches([rows_of(batch, size)]), mode="append")


def _delete(path: str, batch: int) -> None:
    DeltaTable(path).delete(f"batch = {batch}")


def _made(write: Callable[[], None]) -> bool:
    """Whether a change was made; the library gives up where another writer was faster."""
    try:
        write()
    except CommitFailedError:
        return False
    return True


if __name__ == "__main__":
    main()
