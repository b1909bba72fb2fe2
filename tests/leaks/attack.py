"""One statement asked in one way of what is governed and of what is left: both must agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from policies.names import Principal
from tests.leaks.cases import FENCED, GOVERNED, LEFT, Case
from tests.leaks.searching import Outcome, smallest
from tests.leaks.shapes import SHAPES, filled, with_parameters
from tests.leaks.world import World

Target = tuple[str, str]


# What is never the answer to a statement that others can run.
NO_ANSWER = ("policy_misfit", "view_broken", "table_not_found", "unavailable", "internal")


@dataclass(frozen=True, slots=True)
class Way:
    """How a statement reaches a table: which state of it, and how the statement is sent."""

    name: str
    state: str = "newest"
    is_bound: bool = False
    is_early: bool = False
    is_repeated: bool = False
    is_explained: bool = False


WAYS = (
    Way("query"),
    Way("again", is_repeated=True),
    Way("ticket", is_early=True),
    Way("parameters", is_bound=True),
    Way("version", state="by_version"),
    Way("time", state="by_time"),
    Way("old ticket", state="by_version", is_early=True),
    Way("raw", state="raw"),
    Way("explain", is_explained=True),
)


@dataclass(frozen=True, slots=True)
class Attack:
    """One combination."""

    case: Case
    way: Way
    target: Target
    shape: str


def attacks(case: Case, *, is_full: bool) -> Iterator[Attack]:
    """Return every shape on the first target of a case by query, and samples of all the rest.

    Other targets take half of the shapes, and other ways a fifth on the first target, each of them
    others. With ``is_full`` every way takes every shape on every target.
    """
    for number, target in enumerate(case.targets):
        for turn, way in enumerate(WAYS):
            if (turn and number and not is_full) or not _fits(way, case):
                continue
            step = 5 if turn else 2 if number else 1
            for shape in SHAPES if is_full else SHAPES[(turn + number) % step :: step]:
                yield Attack(case, way, target, shape)


def _fits(way: Way, case: Case) -> bool:
    """Whether what is left is what must come: not of rows that are only hidden by tombstones."""
    return way.state != "raw" or (case.asked == "g" and case.rules.tombstones is None)


class Attacker:
    """Runs the attacks on one case, in the order that they come in."""

    def __init__(self, world: World, case: Case) -> None:
        self._world = world
        self._case = case
        self._left: dict[tuple[object, ...], Outcome] = {}

    def failure(self, attack: Attack) -> str | None:
        """Return what is wrong with the answer, with the smallest statement that shows it."""
        if self.is_good(attack, attack.shape):
            return None
        shape = smallest(attack.shape, lambda text: self._fails(attack, text))
        governed, left = self.asked(attack, shape)
        sql, _ = self._sql(attack, shape, GOVERNED)
        what = "differs" if governed.is_clean() else "LEAKS"
        return (
            f"{attack.case.name} by {attack.way.name} {what}: {sql}\n"
            f"      got {_short(governed.said)}\n   wanted {_short(left.said)}"
        )

    def is_good(self, attack: Attack, shape: str) -> bool:
        """Whether the two answers agree, and nothing hidden came."""
        governed, left = self.asked(attack, shape)
        if not governed.is_clean():
            return False
        if governed.said == left.said or self._case.is_grouped or attack.way.is_explained:
            return True
        if attack.way.is_early and attack.case.rules.views and governed.said[0] == "conflict":
            return True  # a view that was changed ends what was begun before
        if governed.said[0] in NO_ANSWER:
            return False
        # In which order conditions are asked of rows that are seen depends on the plan.
        return governed.said == self._ask(attack, shape, LEFT, who=FENCED).said

    def asked(self, attack: Attack, shape: str) -> tuple[Outcome, Outcome]:
        """Return what comes of the governed table, and of what is left."""
        key = (attack.way.state, attack.way.is_bound, attack.target, shape)
        if attack.way.is_explained:
            explained = self._ask(attack, shape, GOVERNED)
            return explained, explained
        if key not in self._left:
            self._left[key] = self._ask(attack, shape, LEFT)
        return self._ask(attack, shape, GOVERNED), self._left[key]

    def _fails(self, attack: Attack, shape: str) -> bool:
        try:
            return not self.is_good(attack, shape)
        except (IndexError, KeyError, ValueError):
            return False  # what is left of a shape has no places any more

    def _sql(self, attack: Attack, shape: str, schema: str) -> tuple[str, list[object]]:
        name = self._world.name(self._case, attack.way.state, schema)
        if attack.way.is_bound:
            return with_parameters(shape, name, attack.target)
        sql = filled(shape, name, attack.target)
        return (f"EXPLAIN VERBOSE {sql}" if attack.way.is_explained else sql), []

    def _ask(
        self, attack: Attack, shape: str, schema: str, *, who: Principal | None = None
    ) -> Outcome:
        world, way, who = self._world, attack.way, who or self._case.who
        sql, values = self._sql(attack, shape, schema)
        is_early = way.is_early and schema == GOVERNED
        pins = world.pins[world.name(self._case, way.state)] if is_early else ()
        if way.is_repeated and schema == GOVERNED:
            world.ask(sql, who)
        return world.ask(sql, who, schema=schema, pins=pins, parameters=_stream(values))


def _stream(values: list[object]) -> bytes:
    if not values:
        return b""
    table = pa.table({f"${i}": [value] for i, value in enumerate(values, 1)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _short(said: object) -> str:
    text = repr(said)
    return text if len(text) < 700 else f"{text[:700]}…"
