"""Fixtures that tests share: a small lakehouse, and one server over it for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.lakehouse import build_lakehouse
from tests.servers import Server, running

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tables of ``tests.lakehouse``; tests only add to it."""
    directory = tmp_path_factory.mktemp("lakehouse")
    build_lakehouse(directory)
    return directory


@pytest.fixture(scope="session")
def server(lakehouse: Path) -> Iterator[Server]:
    """Return a running server over ``lakehouse``, shared by all tests that do not harm it."""
    with running(lakehouse) as started:
        yield started
