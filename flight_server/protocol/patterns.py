"""The patterns of catalog requests: ``%`` any text, ``_`` any character, a backslash escapes."""

from __future__ import annotations

from collections.abc import Callable

ESCAPE = "\\"


def like(pattern: str | None) -> Callable[[str | None], bool]:
    """Compile a pattern into a test for names.

    None lets everything through. Otherwise the whole name must match, and case counts. A name of
    None stands for "has none" and is compared as empty text, so the empty pattern selects exactly
    what has no name. A backslash takes the next character as it is; at the end it stands for
    itself.

    Time is linear in the name; a pattern may be any text of any length (pandas sends whole
    statements).
    """
    if pattern is None:
        return lambda _: True
    tokens, gaps = _parse(pattern)
    if not gaps and None not in tokens:
        plain = "".join(token for token in tokens if token is not None)
        return lambda name: (name or "") == plain
    if not tokens:
        return lambda _: True
    return _automaton(tokens, gaps)


def equals(wanted: str | None) -> Callable[[str | None], bool]:
    """Make the test for catalogs, compared whole: None lets all through, "" what has none."""
    return lambda name: wanted is None or (name or "") == wanted


def _parse(pattern: str) -> tuple[list[str | None], set[int]]:
    """Split into tokens (None is any character) and the places before which any text may stand."""
    tokens: list[str | None] = []
    gaps: set[int] = set()
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            gaps.add(len(tokens))
        elif character == "_":
            tokens.append(None)
        elif character == ESCAPE:
            tokens.append(next(characters, ESCAPE))
        else:
            tokens.append(character)
    return tokens, gaps


def _automaton(tokens: list[str | None], gaps: set[int]) -> Callable[[str | None], bool]:
    """Make a test that keeps all states that a name may be in as bits of one integer.

    Bit i says: the first i tokens are matched. Nothing is ever tried twice, so no pattern is slow.
    A pattern with more tokens than the name has characters cannot match, so the tables are only
    built for patterns short enough to.
    """
    tables: list[tuple[dict[str, int], int, int]] = []

    def matches(name: str | None) -> bool:
        text = name or ""
        if len(tokens) > len(text):
            return False
        if not tables:
            tables.append(_tables(tokens, gaps))
        steps, anything, stays = tables[0]
        states = 1
        for character in text:
            states = ((states & steps.get(character, anything)) << 1) | (states & stays)
            if not states:
                return False
        return bool(states >> len(tokens) & 1)

    return matches


def _tables(tokens: list[str | None], gaps: set[int]) -> tuple[dict[str, int], int, int]:
    """For each character the tokens it matches, those that any character matches, and the gaps."""
    anything = sum(1 << place for place, token in enumerate(tokens) if token is None)
    steps: dict[str, int] = {}
    for place, token in enumerate(tokens):
        if token is not None:
            steps[token] = steps.get(token, anything) | 1 << place
    return steps, anything, sum(1 << place for place in gaps)
