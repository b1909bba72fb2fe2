"""Looks for what is hidden in everything that is received."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from flight_server.errors import LakeflightError
from tests.leaks.rows import MARK, NUMBER_BYTES, NUMBER_DIGITS

_MARK = MARK.lower().encode()
_DIGITS = NUMBER_DIGITS.encode()
# Of several values that can be seen and fail, another one may be met first.
_OF_VALUES = re.compile(r"a division by zero|a function or an operator could|a value (of|could)")
# What is governed and what is left were written at different moments, in different schemas.
_TIME = re.compile(r"@2\d{3}-[\dT:.-]+[Z…]")
_SCHEMA = re.compile(r"primary\.(main|left)")


def leaked(received: bytes) -> bool:
    """Whether something hidden is in these bytes."""
    return _DIGITS in received or NUMBER_BYTES in received or _MARK in received.lower()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What somebody got: rows in any order or an error, and every byte that came."""

    said: tuple[object, ...]
    received: bytes

    def is_clean(self) -> bool:
        """Whether nothing hidden came."""
        return not leaked(self.received)


def of_rows(schema: pa.Schema, batches: list[pa.RecordBatch]) -> Outcome:
    """Return the outcome of a query that succeeded."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    rows = pa.Table.from_batches(batches, schema).to_pylist()
    said = (
        tuple((alike(field.name), str(field.type)) for field in schema),
        frozenset(Counter(repr(tuple(row.values())) for row in rows).items()),
    )
    return Outcome(said, sink.getvalue().to_pybytes())


def of_error(error: Exception) -> Outcome:
    """Return the outcome of a query that failed."""
    if isinstance(error, LakeflightError):
        text = "\n".join((error.code, error.message, repr(error.args)))
        said: tuple[object, ...] = (error.code, alike(error.message))
    else:
        text, said = repr(error), (type(error).__name__,)
    return Outcome(said, text.encode())


def alike(text: str) -> str:
    """Return a text as it is for both tables, and for whichever value is met first."""
    return "a value" if _OF_VALUES.match(text) else _SCHEMA.sub("T", _TIME.sub("@", text))


def smallest(statement: str, fails: Callable[[str], bool]) -> str:
    """Return the least of a statement's words that still fail, taking away what can be."""
    words = statement.split()
    size = max(1, len(words) // 2)
    while size:
        at = 0
        while at < len(words):
            shorter = words[:at] + words[at + size :]
            if shorter and fails(" ".join(shorter)):
                words = shorter
            else:
                at += size
        size //= 2
    return " ".join(words)
