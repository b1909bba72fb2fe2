"""Columns whose buffers hold more than their rows: dictionaries, and what lies under a NULL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_server.catalog.rule_rows import filter_row, mask_row
from flight_server.clock import SystemClock
from flight_server.service.governed import open_rulebook
from flight_server.storage.locations import locate_all
from policies.names import Privilege
from policies.rules import NULLED, ColumnMask, Grant, RowFilter
from tests.leaks.cases import BUCKET, GOVERNED, ME, ref_of
from tests.leaks.rows import is_hidden, secret
from tests.leaks.world import World

_NAME = "buffers"
_ROWS = 3_000
_STATEMENTS = (
    "SELECT * FROM {t}",
    "SELECT word FROM {t} LIMIT 5",
    "SELECT word, inner, list FROM {t} WHERE id > 7 ORDER BY id LIMIT 40",
    "SELECT DISTINCT word FROM {t}",
    "SELECT inner['text'] AS a, list[1] AS b FROM {t}",
    "SELECT CASE WHEN id > 5 THEN word END AS a, nullif(word, 'w1') AS b FROM {t}",
    "SELECT coalesce(word, 'x') AS a, substr(word, 1, 1) AS b, word || 'x' AS c FROM {t}",
    "SELECT a.word, b.inner FROM {t} AS a LEFT JOIN {t} AS b ON a.id = b.id + 1",
    "SELECT grp, array_agg(word ORDER BY id) AS a, max(word) AS b FROM {t} GROUP BY grp",
    "SELECT id, lag(word) OVER (ORDER BY id) AS a FROM {t}",
    "SELECT unnest(list) AS a FROM {t}",
    "SELECT word FROM {t} UNION ALL SELECT word FROM {t}",
)


@pytest.fixture(scope="module")
def name(world: World) -> str:
    """Return a table of plain Parquet, with a filter on its rows and a mask on a column."""
    folder = world.folder / GOVERNED / f"g_{_NAME}"
    folder.mkdir()
    numbers = range(_ROWS)
    words = [secret(n, "word") if is_hidden(n) else f"w{n % 5}" for n in numbers]
    inner = pa.StructArray.from_arrays(
        [pa.array(words), pa.array(numbers, pa.int64())],
        names=["text", "number"],
        mask=pa.array([is_hidden(n) for n in numbers]),
    )
    rows = pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "grp": [n % 4 for n in numbers],
            "owner": ["other" if is_hidden(n) else "me" for n in numbers],
            "word": pa.array(words).dictionary_encode(),
            "inner": inner,
            "list": [[word, None] for word in words],
            "masked": [secret(n, "masked") for n in numbers],
        }
    )
    pq.write_table(rows, folder / "part-0.parquet", row_group_size=1_000)
    buckets = locate_all({BUCKET: world.folder, "system": world.system})
    rules = open_rulebook((), buckets, SystemClock())
    rules.add(Grant(Privilege.READ, (BUCKET, GOVERNED, f"g_{_NAME}"), user="me"), created_by=None)
    made: dict[str, Any] = {"created_at": datetime.now(UTC), "created_by": None}
    narrowing, ref = rules.narrowing, ref_of(_NAME)
    assert narrowing is not None
    owner = filter_row(RowFilter("mine", ref, "owner = 'me'"), **made)
    masked = mask_row(ColumnMask("masked", ref, ("masked",), NULLED), **made)
    narrowing.filters.change(lambda _: [owner])
    narrowing.masks.change(lambda _: [masked])
    return f"g_{_NAME}"


@pytest.mark.parametrize("statement", _STATEMENTS)
def test_nothing_hidden_is_in_them(world: World, name: str, statement: str) -> None:
    outcome = world.ask(statement.format(t=name), ME)
    assert isinstance(outcome.said[0], tuple), outcome.said
    assert outcome.is_clean()
