"""A server for the tests of the dialect, and what pytest must not collect here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lakehouse import build_lakehouse
from tests.servers import Server, running

# SQLAlchemy's own suite brings its own plugin: test_compliance runs it.
collect_ignore = ["compliance"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("dialect")
    build_lakehouse(directory)
    with running(directory) as started:
        yield started
