"""Types: from Arrow to SQLAlchemy in reflection, and the literals and names of our own ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pt
from sqlalchemy import types as sqltypes
from sqlalchemy.sql.sqltypes import _AbstractInterval
from sqlalchemy.sql.type_api import NativeForEmulated
from sqlalchemy.types import TypeEngine

_Literal = Callable[[Any], str]


class TINYINT(sqltypes.SmallInteger):
    """An integer of 8 bits."""

    __visit_name__ = "TINYINT"


class DOUBLE(sqltypes.Float[Any]):
    """A floating point number of 64 bits; SQLAlchemy has a type of this name from 2.0 on."""

    __visit_name__ = "DOUBLE"


class STRUCT(TypeEngine[dict[str, Any]]):
    """Named fields of any types; a dict in Python."""

    __visit_name__ = "STRUCT"

    def __init__(self, fields: Mapping[str, TypeEngine[Any]] | None = None) -> None:
        self.fields = dict(fields or {})


class MAP(TypeEngine[dict[Any, Any]]):
    """Keys of one type to values of another; a dict in Python."""

    __visit_name__ = "MAP"

    def __init__(
        self,
        key_type: TypeEngine[Any] | type[TypeEngine[Any]] = sqltypes.VARCHAR,
        value_type: TypeEngine[Any] | type[TypeEngine[Any]] = sqltypes.VARCHAR,
    ) -> None:
        self.key_type = sqltypes.to_instance(key_type)
        self.value_type = sqltypes.to_instance(value_type)


class LakeflightDate(sqltypes.Date):
    """DATE, whose literals say what they are."""

    def literal_processor(self, dialect: Any) -> _Literal:
        """Write ``DATE '2026-01-31'``."""

        def process(value: date) -> str:
            day = value.date() if isinstance(value, datetime) else value
            return f"DATE '{day.isoformat()}'"

        return process


class LakeflightDateTime(sqltypes.DateTime):
    """TIMESTAMP with or without a zone, whose literals say what they are."""

    def literal_processor(self, dialect: Any) -> _Literal:
        """Write ``TIMESTAMP '2026-01-31 12:00:00'``; with a zone, the offset goes along."""

        def process(value: datetime) -> str:
            text = value.isoformat(sep=" ")
            if not _NANOSECOND_YEARS[0] < value.year < _NANOSECOND_YEARS[1]:
                zone = "None" if value.tzinfo is None else 'Some("UTC")'
                return f"arrow_cast('{text}', 'Timestamp(Microsecond, {zone})')"
            kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMP WITH TIME ZONE"
            return f"{kind} '{text}'"

        return process


class LakeflightNumeric(sqltypes.Numeric[Any]):
    """DECIMAL, whose literals stay exact: a number with a point is a DOUBLE in SQL."""

    def literal_processor(self, dialect: Any) -> _Literal:
        """Write ``CAST('1.50' AS DECIMAL(3, 2))``."""

        def process(value: Any) -> str:
            if not isinstance(value, Decimal) or not value.is_finite():
                return str(value)
            _sign, digits, exponent = value.as_tuple()
            scale = max(0, -int(exponent))
            precision = max(len(digits) + max(0, int(exponent)), scale)
            if precision > _DECIMAL_DIGITS_MAX:
                return f"{value:f}"
            return f"CAST('{value:f}' AS DECIMAL({precision}, {scale}))"

        return process

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        """Make a Decimal of what the server computed as a DOUBLE, or floats of all if asked."""
        if not self.asdecimal:
            inherited: Any = super().result_processor
            return inherited(dialect, coltype)
        return lambda value: Decimal(str(value)) if isinstance(value, float) else value


class LakeflightInterval(NativeForEmulated, _AbstractInterval):
    """A span of time, for sums with moments; tables have no column of it."""

    __visit_name__ = "INTERVAL"
    native = True
    impl = sqltypes.Interval

    @classmethod
    def adapt_emulated_to_native(cls, impl: Any, **kw: Any) -> TypeEngine[Any]:
        """Take the place of SQLAlchemy's own, which counts from 1970."""
        return cls()

    @property
    def _type_affinity(self) -> type[sqltypes.Interval]:
        return sqltypes.Interval

    @property
    def python_type(self) -> type[timedelta]:
        """What a value is in Python."""
        return timedelta

    def literal_processor(self, dialect: Any) -> _Literal:
        """Write ``INTERVAL '7 days 0.000000 seconds'``."""

        def process(value: timedelta) -> str:
            seconds = Decimal(value.seconds) + Decimal(value.microseconds) / 1_000_000
            return f"INTERVAL '{value.days} days {seconds:.6f} seconds'"

        return process


class LakeflightBinary(sqltypes.LargeBinary):
    """Bytes, whose literals are hexadecimal."""

    def literal_processor(self, dialect: Any) -> _Literal:
        """Write ``X'00ff'``."""
        return lambda value: f"X'{bytes(value).hex()}'"


COLSPECS: Final[dict[type[TypeEngine[Any]], type[TypeEngine[Any]]]] = {
    sqltypes.Date: LakeflightDate,
    sqltypes.DateTime: LakeflightDateTime,
    sqltypes.Interval: LakeflightInterval,
    sqltypes.LargeBinary: LakeflightBinary,
    sqltypes.Numeric: LakeflightNumeric,
    sqltypes.Float: sqltypes.Float,  # which is a Numeric, and stays what it is
}
# What TIMESTAMP can say in SQL, where it counts nanoseconds; a column counts microseconds.
_NANOSECOND_YEARS: Final = (1677, 2262)
_DECIMAL_DIGITS_MAX: Final = 38

# Unsigned integers have no type of their own here: each becomes the next one that holds them all.
_SIMPLE: Final[tuple[tuple[Callable[[pa.DataType], bool], type[TypeEngine[Any]]], ...]] = (
    (pt.is_boolean, sqltypes.BOOLEAN),
    (pt.is_int8, TINYINT),
    (pt.is_int16, sqltypes.SMALLINT),
    (pt.is_uint8, sqltypes.SMALLINT),
    (pt.is_int32, sqltypes.INTEGER),
    (pt.is_uint16, sqltypes.INTEGER),
    (pt.is_int64, sqltypes.BIGINT),
    (pt.is_uint32, sqltypes.BIGINT),
    (pt.is_float16, sqltypes.REAL),
    (pt.is_float32, sqltypes.REAL),
    (pt.is_float64, getattr(sqltypes, "DOUBLE", DOUBLE)),
    (pt.is_string, sqltypes.VARCHAR),
    (pt.is_large_string, sqltypes.VARCHAR),
    (pt.is_binary, sqltypes.VARBINARY),
    (pt.is_large_binary, sqltypes.VARBINARY),
    (pt.is_fixed_size_binary, sqltypes.VARBINARY),
    (pt.is_date, sqltypes.DATE),
    (pt.is_time, sqltypes.TIME),
    (pt.is_duration, sqltypes.Interval),
    (pt.is_interval, sqltypes.Interval),
    (pt.is_null, sqltypes.NullType),
)
_UINT64_DIGITS: Final = 20


def from_arrow(kind: Any) -> TypeEngine[Any]:
    """Return the SQLAlchemy type of an Arrow type; NullType for one that has none."""
    if isinstance(kind, pa.BaseExtensionType):
        return from_arrow(kind.storage_type)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return from_arrow(kind.value_type)
    if pt.is_decimal(kind):
        return sqltypes.DECIMAL(kind.precision, kind.scale)
    if pt.is_uint64(kind):
        return sqltypes.DECIMAL(_UINT64_DIGITS, 0)
    if pt.is_timestamp(kind):
        return sqltypes.TIMESTAMP(timezone=kind.tz is not None)
    if pt.is_struct(kind):
        return STRUCT({field.name: from_arrow(field.type) for field in kind})
    if pt.is_map(kind):
        return MAP(from_arrow(kind.key_type), from_arrow(kind.item_type))
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _array(from_arrow(kind.value_type))
    made = next((made for fits, made in _SIMPLE if fits(kind)), sqltypes.NullType)
    return made()


def _array(item: TypeEngine[Any]) -> TypeEngine[Any]:
    if isinstance(item, sqltypes.ARRAY):  # SQLAlchemy counts dimensions, and refuses nesting
        return sqltypes.ARRAY(item.item_type, dimensions=(item.dimensions or 1) + 1)
    return sqltypes.ARRAY(item, dimensions=1)
