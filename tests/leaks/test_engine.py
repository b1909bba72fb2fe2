"""Thousands of hostile statements, asked of the engine in this process."""

from __future__ import annotations

import os

import pytest

from tests.leaks.attack import WAYS, Attacker, attacks
from tests.leaks.kinds import CASES
from tests.leaks.shapes import SHAPES
from tests.leaks.world import World

# With it every shape is tried in every way on every target of a case, which takes minutes.
ALL = os.environ.get("LAKEFLIGHT_TEST_LEAKS") == "all"
COMBINATIONS_MIN = 5_000
_SHOWN_MAX = 8


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nothing_hidden_is_told(world: World, name: str) -> None:
    case = CASES[name]
    attacker = Attacker(world, case)
    made = list(attacks(case, is_full=ALL))
    bad = [attack for attack in made if not attacker.is_good(attack, attack.shape)]
    told = [attacker.failure(attack) or "once only" for attack in bad[:_SHOWN_MAX]]
    assert not bad, f"{len(bad)} of {len(made)}, such as\n" + "\n".join(sorted(told, key=len))


def test_there_are_enough_of_them() -> None:
    made = [attack for case in CASES.values() for attack in attacks(case, is_full=False)]
    assert len(made) >= COMBINATIONS_MIN
    assert {attack.way for attack in made} == set(WAYS)
    assert {attack.shape for attack in made} == set(SHAPES)
