from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.engine.lake import Session, session


@pytest.fixture
def lakeside(tmp_path: Path) -> Session:
    """An engine over a lake with the table ``t`` in two versions and ``u``."""
    made = session(tmp_path)
    first = pa.table({"id": list(range(10)), "name": [f"n{i}" for i in range(10)]})
    made.lake.write("t", first)
    made.lake.write("t", pa.concat_tables([first, first]))
    made.lake.write("u", pa.table({"id": [1, 2, None], "Big Name": ["x", None, "z"]}))
    return made
