"""One lakehouse for all tests that attack the engine in this process."""

from __future__ import annotations

import pytest

from tests.leaks.kinds import CASES
from tests.leaks.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return the tables of all cases under their rules."""
    made = World(tmp_path_factory.mktemp("leaks"), CASES)
    made.put()
    return made
