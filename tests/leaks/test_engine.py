"""Thousands of hostile statements, asked of the engine in this process."""

from __future__ import annotations

import os

import pytest

from tests.leaks.attack import WAYS, Attacker, attacks
from tests.leaks.cases import FENCED, GOVERNED, LEFT, ME
from tests.leaks.kinds import CASES
from tests.leaks.shapes import SHAPES, filled
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


_TWICE = [shape for shape in SHAPES if shape.count("{t}") > 1 and "USING (id)" not in shape]
_MIXED = ("tomb_text", "filter", "mask_stars", "mask_null", "view", "over", "mask_hash")


@pytest.mark.slow
@pytest.mark.parametrize("name", _MIXED)
def test_tables_of_other_rules_change_nothing(world: World, name: str) -> None:
    first, found = CASES[name], []
    for turn, other in enumerate(each for each in _MIXED if each != name):
        second = world.name(CASES[other], "newest")
        for shape in _TWICE if ALL else _TWICE[turn % 3 :: 3]:
            start, _, rest = shape.partition("{t}")
            mixed = f"{start}{{t}}{rest.replace('{t}', second, 1)}"
            sql = filled(mixed, world.name(first, "newest"), ("word", "nought"))
            got, left = (world.ask(sql, ME, schema=schema) for schema in (GOVERNED, LEFT))
            is_alike = got.said == left.said
            is_alike = is_alike or got.said == world.ask(sql, FENCED, schema=LEFT).said
            if not (got.is_clean() and is_alike):
                found.append(sql)
    assert not found, "\n".join(found)


def test_there_are_enough_of_them() -> None:
    made = [attack for case in CASES.values() for attack in attacks(case, is_full=False)]
    assert len(made) >= COMBINATIONS_MIN
    assert {attack.way for attack in made} == set(WAYS)
    assert {attack.shape for attack in made} == set(SHAPES)
