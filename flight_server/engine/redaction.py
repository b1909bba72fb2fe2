"""What takes the place of values that somebody may not see, as expressions of the engine.

An expression gives a value of the column's own type for every value that the type has: none of them
makes it fail, for it may be asked of rows that are hidden.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute
from datafusion import DataFrame, Expr, col, lit, udf
from datafusion import functions as f

from flight_server.engine.redaction_types import EXACT, bucket_width, check_redaction, is_text
from flight_server.sql.names import literal, quoted
from flight_server.sql.networks import network
from policies.rules import ColumnPath, Redaction, RedactionKind

# The stubs know the kernels of fewer types than there are.
pc: Any = pyarrow.compute
STARS = "*" * 8
_LITERALS_MAX = 4096
_HASH_HEX_CHARACTERS = 32
_HASH_BYTES = 16
_DIGEST_BYTES = 32
_NUMBER_BYTES = 8
_KEY_BYTES = 24
# Times beyond these have no unit that they could be rounded down to in every type.
_FIRST_TIME = datetime(1678, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_LAST_NANOSECOND = datetime(2262, 4, 11, tzinfo=UTC)


def shown(
    frame: DataFrame,
    field: pa.Field[Any],
    redactions: Sequence[tuple[ColumnPath, Redaction]],
    *,
    secret: bytes,
) -> Expr:
    """Return a column of a frame, redacted, under its own name and in its own type.

    ``redactions`` are by path within the column. Raises InvalidRequest when one does not fit.
    """
    value = col(quoted(field.name))
    if not redactions:
        return value
    for path, redaction in redactions:
        check_redaction(field.type, (field.name, *path), redaction)
    text = quoted(field.name)
    redactor = _Redactor(frame, secret)
    return redactor.within(value, text, field.type, dict(redactions)).alias(field.name)


def nullable(kind: Any) -> pa.DataType:
    """Return the type, whose fields may be NULL."""
    if not isinstance(kind, pa.StructType):
        return cast("pa.DataType", kind)
    fields = [kind.field(number) for number in range(kind.num_fields)]
    return pa.struct([pa.field(each.name, nullable(each.type)) for each in fields])


class _Redactor:
    """Makes expressions over the columns of one frame; each value comes with its SQL text."""

    def __init__(self, frame: DataFrame, secret: bytes) -> None:
        self._frame = frame
        self._secret = secret
        self._ways = {
            RedactionKind.NULL: _nothing,
            RedactionKind.MASK: _masked,
            RedactionKind.HASH: self._hashed,
            RedactionKind.GENERALISE: _generalised,
        }

    def within(
        self, value: Expr, text: str, kind: Any, redactions: dict[ColumnPath, Redaction]
    ) -> Expr:
        """Return a value with what lies at these paths redacted."""
        if not redactions:
            return value
        whole = redactions.get(())
        if whole is not None:
            if is_text(kind) and whole.kind is RedactionKind.GENERALISE:
                return self._frame.parse_sql_expr(f"nullif({network(text)}, '')")
            return self._ways[whole.kind](value, kind, whole)
        fields = []
        for number in range(kind.num_fields):
            field = kind.field(number)
            inner = {path[1:]: each for path, each in redactions.items() if path[0] == field.name}
            part = f.get_field(value, field.name)
            part_text = f"{text}[{literal(field.name)}]"
            fields.append((field.name, self.within(part, part_text, field.type, inner)))
        # A NULL made of the struct itself would keep what is in it, for whoever asks for a field.
        return _unless_null(value, f.named_struct(fields))

    def _hashed(self, value: Expr, kind: pa.DataType, redaction: Redaction) -> Expr:
        """Return a pseudonym: who lacks the key can neither make nor reverse it.

        Each domain has a key of its own, made of the secret. It is short, so that most values fit
        into the first block of the hash with it.
        """
        key = hmac.digest(self._secret, (redaction.domain or "").encode(), "sha256")[:_KEY_BYTES]
        keyed = udf(_behind(key), [pa.binary()], pa.binary(), "immutable", "keyed")
        digest = f.digest(keyed(value.cast(pa.binary())), "blake3")
        if is_text(kind):
            return f.substr(f.encode(digest, "hex"), _count(1), _count(_HASH_HEX_CHARACTERS))
        convert = _number_of(kind) if pa.types.is_integer(kind) else _start_of
        return udf(convert, [pa.binary()], kind, "immutable", "pseudonym")(digest)


@functools.lru_cache(maxsize=_LITERALS_MAX)
def _literal(value: Any, kind: pa.DataType) -> Expr:
    """Return a literal; making one takes a tenth of the time that planning a query takes."""
    return Expr.literal(pa.scalar(value, kind))


def _count(number: int) -> Expr:
    return _literal(number, pa.int64())


def _unless_null(value: Expr, made: Expr) -> Expr:
    return f.when(value.is_not_null(), made).end()


def _nothing(_: Expr, kind: pa.DataType, __: Redaction) -> Expr:
    # Not all types have a literal.
    return _literal(None, pa.null()).cast(nullable(kind))


def _masked(value: Expr, kind: pa.DataType, redaction: Redaction) -> Expr:
    """Return stars, with both ends of a value that is at least twice as long as they are."""
    # In the column's own type, or all of the values would be converted.
    stars = _literal(STARS, kind)
    kept = redaction.keep_prefix + redaction.keep_suffix
    made: Expr = stars
    if kept:
        start, end = (_count(n) for n in (redaction.keep_prefix, redaction.keep_suffix))
        parts = f.concat(f.left(value, start), stars, f.right(value, end))
        made = f.when(f.char_length(value) >= _count(2 * kept), parts).otherwise(stars)
    return _unless_null(value, made)


def _generalised(value: Expr, kind: Any, redaction: Redaction) -> Expr:
    to = str(redaction.to)
    if pa.types.is_temporal(kind):
        return udf(_rounded_down(kind, to), [kind], kind, "immutable", "rounded_down")(value)
    width = bucket_width(kind, "", to)
    if pa.types.is_floating(kind):
        wide = value.cast(pa.float64())
        # The zero added at the end makes one of both, or the negative one would be told exactly.
        return (f.floor(wide / lit(float(width))) * lit(float(width)) + lit(0.0)).cast(kind)
    with localcontext(EXACT):
        # The lowest bucket that the type can hold takes what is below it.
        lowest = -int(-_least(kind) // width) * width
    lowest_expr, step, zero = (_number(n, kind) for n in (lowest, width, Decimal(0)))
    at_least = f.when(value < lowest_expr, lowest_expr).otherwise(value)
    rest = at_least % step
    above = f.when(rest < zero, rest + step).otherwise(rest)
    return (at_least - above).cast(kind)


def _least(kind: Any) -> Decimal:
    if pa.types.is_decimal(kind):
        return Decimal(-(10**kind.precision) + 1).scaleb(-kind.scale)
    return Decimal(-(2 ** (kind.bit_width - 1)) if pa.types.is_signed_integer(kind) else 0)


def _number(value: Decimal, kind: pa.DataType) -> Expr:
    plain = int(value) if pa.types.is_integer(kind) else value
    return _literal(plain, kind)


def _behind(key: bytes) -> Callable[[pa.Array[Any]], pa.Array[Any]]:
    """Return what puts a key before values, which so is in no plan and in no message about one."""
    lead = pa.scalar(key, pa.binary())

    def keyed(values: pa.Array[Any]) -> pa.Array[Any]:
        return cast("pa.Array[Any]", pc.binary_join_element_wise(lead, values, b""))

    return keyed


def _start_of(digest: pa.Array[Any]) -> pa.Array[Any]:
    return cast("pa.Array[Any]", pc.binary_slice(digest, 0, _HASH_BYTES))


def _number_of(kind: pa.DataType) -> Callable[[pa.Array[Any]], pa.Array[Any]]:
    """Return what reads the first bytes of digests as integers."""

    def number(digest: pa.Array[Any]) -> pa.Array[Any]:
        start = pc.binary_slice(pc.fill_null(digest, bytes(_DIGEST_BYTES)), 0, _NUMBER_BYTES)
        numbers = pa.Array.from_buffers(kind, len(start), [None, start.buffers()[2]])
        is_known = pc.is_valid(digest)
        return cast("pa.Array[Any]", pc.if_else(is_known, numbers, None))

    return number


def _rounded_down(kind: Any, unit: str) -> Callable[[pa.Array[Any]], pa.Array[Any]]:
    """Return what rounds dates or times down; those beyond a few thousand years become NULL."""
    lowest, highest = (_moment(each, kind) for each in (_FIRST_TIME, _LAST_TIME))

    def rounded(values: pa.Array[Any]) -> pa.Array[Any]:
        is_known = pc.and_(pc.greater_equal(values, lowest), pc.less_equal(values, highest))
        floor = pc.floor_temporal(pc.if_else(is_known, values, None), unit=unit)
        return cast("pa.Array[Any]", floor.cast(kind))

    return rounded


def _moment(moment: datetime, kind: Any) -> pa.Scalar[Any]:
    at: Any = moment
    if pa.types.is_date(kind):
        at = moment.date()
    else:
        at = min(moment, _LAST_NANOSECOND) if kind.unit == "ns" else moment
        at = at if kind.tz else at.replace(tzinfo=None)
    return cast("pa.Scalar[Any]", pa.scalar(at, kind))
