"""A table of many small files, as single-row writes make it: read and changed within the limits."""

from __future__ import annotations

from pathlib import Path

from tests.delta_log import numbers
from tests.servers import running
from tests.storage.writing import Written, data_file

FILES = 800


def test_many_small_files_are_read_and_changed_within_the_memory_of_a_worker(
    tmp_path: Path,
) -> None:
    table = Written(tmp_path / "s" / "t")
    table.create(numbers(0, 1))
    added = [data_file(table.path, numbers(number, number + 1)) for number in range(1, FILES)]
    table.commit("WRITE", adds=tuple(added))
    with (
        running(tmp_path) as server,
        server.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id % 10 AS k, count(*) FROM s.t GROUP BY k ORDER BY k")
        assert cursor.fetchall() == [(k, FILES // 10) for k in range(10)]
        cursor.execute("SELECT id FROM s.t ORDER BY id DESC LIMIT 2")
        assert cursor.fetchall() == [(FILES - 1,), (FILES - 2,)]
        cursor.execute("UPDATE s.t SET id = id + 1000 WHERE id % 2 = 0")
        assert cursor.rowcount == FILES // 2
        cursor.execute("OPTIMIZE s.t")
        cursor.execute("SELECT count(*), sum(id) FROM s.t")
        assert cursor.fetchall() == [(FILES, FILES * (FILES - 1) // 2 + FILES // 2 * 1000)]
        assert "memory allocation" not in server.errors()
