"""Changes to a text, told by place, so that many are made in one go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """Replace the characters from ``start`` to ``end`` by ``text``."""

    start: int
    end: int
    text: str


def apply(sql: str, edits: Iterable[Edit]) -> str:
    """Return the text with all changes made; they must not overlap."""
    pieces: list[str] = []
    at = 0
    for start, end, text in sorted(edits):
        pieces += (sql[at:start], text)
        at = end
    return "".join([*pieces, sql[at:]]) if pieces else sql
