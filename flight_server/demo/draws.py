"""Reproducible random columns: each value depends on the column's name and the row's number alone.

A generator with a state would tie the data to a library's version and to the order of calls. A
counter that is mixed needs neither: any slice of a column can be made alone, and is the same on
every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

# Increment, shifts and multipliers of the SplitMix64 generator (Steele, Lea, Flood 2014).
_INCREMENT = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31

# pyarrow's stubs type each compute function by the kinds of its arguments, and refuse a plain
# number or text beside a column; so both are Any here.
Column = Any
pc: Any = pyarrow.compute


def _u64(value: int) -> Column:
    return pa.scalar(value, pa.uint64())


def rows(start: int, count: int) -> Column:
    """Return the row numbers ``start`` to ``start + count - 1`` as int64."""
    return pa.array(range(start, start + count), pa.int64())


def bits(column: str, number: Column) -> Column:
    """Return 64 well mixed bits for each row number, as uint64."""
    digest = hashlib.blake2b(column.encode(), digest_size=8, person=b"lakeflight-demo").digest()
    state = pc.multiply(number.cast(pa.uint64()), _u64(_INCREMENT))
    state = pc.add(state, _u64(int.from_bytes(digest, "big")))
    for shift, factor in _MIX:
        state = pc.multiply(
            pc.bit_wise_xor(state, pc.shift_right(state, _u64(shift))), _u64(factor)
        )
    return pc.bit_wise_xor(state, pc.shift_right(state, _u64(_LAST_SHIFT)))


def below(column: str, number: Column, bound: int) -> Column:
    """Return for each row number an int64 from 0 to ``bound - 1``; ``bound`` fits in 31 bits."""
    high = pc.shift_right(bits(column, number), _u64(32))
    return pc.shift_right(pc.multiply(high, _u64(bound)), _u64(32)).cast(pa.int64())


def between(column: str, number: Column, low: int, high: int) -> Column:
    """Return for each row number an int64 from ``low`` to ``high``, both included."""
    return pc.add(below(column, number, high - low + 1), low)


def pick(column: str, number: Column, words: Sequence[str]) -> Column:
    """Return for each row number one of the words, all equally likely."""
    return pa.array(words, pa.string()).take(below(column, number, len(words)))


def weighted(column: str, number: Column, weights: Mapping[str, int]) -> Column:
    """Return for each row number one of the words, as likely as its whole-numbered weight."""
    return pick(column, number, [word for word, weight in weights.items() for _ in range(weight)])


def chance(column: str, number: Column, percent: int) -> Column:
    """Return for each row number whether an event of that likelihood happens."""
    return pc.less(below(column, number, 100), percent)


def joined(*parts: Column | str, separator: str = "") -> Column:
    """Return the parts of each row as one text."""
    return pc.binary_join_element_wise(*parts, separator)


def numbered(prefix: str, number: Column, digits: int) -> Column:
    """Return identifiers that count from one, such as ``CAND-000001`` for row 0."""
    return joined(prefix, pc.utf8_lpad(pc.add(number, 1).cast(pa.string()), digits, "0"))


def money(cents: Column, precision: int) -> Column:
    """Return whole cents as a decimal with two places."""
    exact = pc.multiply(
        cents.cast(pa.decimal128(19, 0)), pa.scalar("0.01").cast(pa.decimal128(3, 2))
    )
    return exact.cast(pa.decimal128(precision, 2))


def day(days_since_1970: Column) -> Column:
    """Return days as dates."""
    return days_since_1970.cast(pa.int32()).cast(pa.date32())


def moment(seconds_since_1970: Column) -> Column:
    """Return seconds as timestamps in UTC."""
    kind = pa.timestamp("us", "UTC")
    return seconds_since_1970.cast(pa.timestamp("s", "UTC")).cast(kind)
