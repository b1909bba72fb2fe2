"""The suite can fail: views of the bare library leak, and it says so in few words."""

from __future__ import annotations

import pytest

from flight_server.engine.base import GovernedScan
from tests.leaks.kinds import CASES
from tests.leaks.naive import NAME, Naive
from tests.leaks.rows import NUMBER, secret
from tests.leaks.searching import leaked, smallest
from tests.leaks.shapes import SHAPES, filled
from tests.leaks.world import World

# A column that a view leaves out has no name in it: the bare library leaks nothing there.
_LEAKING = [name for name in CASES if name not in {"columns", "deny", "mask_coarse"}]


@pytest.mark.parametrize("name", _LEAKING)
def test_leaks_of_the_bare_library_are_found(world: World, name: str) -> None:
    case = CASES[name]
    scan = world.tables.open(case.asked_ref, case.who, as_of=None, pin=None).scan
    assert isinstance(scan, GovernedScan)
    naive = Naive(scan)
    statements = [filled(shape, NAME, target) for shape in SHAPES for target in case.targets[:1]]
    found = [sql for sql in statements if not naive.ask(sql).is_clean()]
    assert found
    words = [smallest(sql, lambda text: not naive.ask(text).is_clean()) for sql in found[:3]]
    assert min(map(len, words)) <= 60, words


def test_what_is_hidden_is_recognised() -> None:
    assert leaked(f"cannot cast '{secret(4, 'word')}'".encode())
    assert leaked(secret(4, "word").upper().encode())
    assert leaked(str(NUMBER + 7).encode())
    assert leaked((NUMBER + 7).to_bytes(8, "little"))
    assert not leaked(b"seen4@example.org 41")
