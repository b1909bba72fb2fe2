"""Cuts SQL text into statements, and names into parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# What may hold a semicolon that ends nothing, each alternative with its own end; an end that is
# missing means that the text goes on.
_TOKEN: Final = re.compile(
    r"""
    (?P<comment> --[^\n]*\n? | /\*.*?\*/ )
  | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<open> /\* | ' | " | ` )
  | (?P<end> ; )
  | (?P<text> [^-/'"`$;]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".\s]+)')


@dataclass(frozen=True, slots=True)
class Script:
    """Statements that are complete, without their semicolons, and the text after the last one."""

    statements: tuple[str, ...]
    rest: str


def split(text: str) -> Script:
    """Cut text at the semicolons that end statements; those without a word in them are left out."""
    statements: list[str] = []
    start, has_words, at = 0, False, 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        if match["open"]:  # a quote or comment without an end: the rest belongs to it
            has_words, at = True, len(text)
        elif match["end"]:
            if has_words:
                statements.append(text[start : match.start()].strip())
            start, has_words = at, False
        elif match["quoted"] or (match["text"] and not match["text"].isspace()):
            has_words = True
    rest = text[start:].strip() if has_words else ""
    return Script(tuple(statements), rest)


def name_parts(text: str) -> tuple[str, ...] | None:
    """Return the parts of a dotted name, without their quotes, or None when it is not a name."""
    parts: list[str] = []
    at = 0
    while match := _NAME_PART.match(text, at):
        parts.append(match[1].replace('""', '"') if match[1] else match[2])
        at = match.end()
        if at == len(text):
            return tuple(parts) if len(parts) <= 3 else None
        if text[at] != ".":
            return None
        at += 1
    return None
