"""What the SQL dialect has: words, functions and casts of DataFusion 55, as a test checks.

The gateway does not load DataFusion, so they stand here as constants.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The words that queries are built from.
KEYWORDS: tuple[str, ...] = _words(
    """
    ALL AND ANTI ANY AS ASC BETWEEN BOTH BY CASE CAST CROSS CUBE CURRENT DESC DESCRIBE
    DISTINCT ELSE END ESCAPE EXCEPT EXCLUDE EXISTS EXPLAIN EXTRACT FALSE FILTER FOLLOWING FOR
    FROM FULL GROUP GROUPING HAVING IGNORE ILIKE IN INNER INTERSECT INTERVAL IS JOIN LEADING
    LEFT LIKE LIMIT NATURAL NOT NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION PLACING
    POSITION PRECEDING RANGE RECURSIVE REPLACE RESPECT RIGHT ROLLUP ROW ROWS SELECT SEMI SETS
    SHOW SIMILAR SOME SUBSTRING TABLESAMPLE THEN TO TRAILING TRIM TRUE TRY_CAST UNBOUNDED
    UNION UNKNOWN UNNEST USING VALUES WHEN WHERE WINDOW WITH WITHIN
    """
)

# Scalar functions on numbers.
NUMERIC_FUNCTIONS: tuple[str, ...] = _words(
    """
    abs acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh cot degrees exp factorial
    floor gcd isnan iszero lcm ln log log10 log2 nanvl pi pow power radians rand random round
    signum sin sinh sqrt tan tanh trunc
    """
)

# Scalar functions on text and bytes.
STRING_FUNCTIONS: tuple[str, ...] = _words(
    """
    ascii bit_length btrim char_length character_length chr concat concat_ws contains decode
    digest encode ends_with find_in_set initcap instr left length levenshtein lower lpad ltrim
    md5 octet_length overlay position regexp_count regexp_instr regexp_like regexp_match
    regexp_replace repeat replace reverse right rpad rtrim sha224 sha256 sha384 sha512
    split_part starts_with string_to_array strpos substr substr_index substring
    substring_index to_hex translate trim upper uuid
    """
)

# Scalar functions on dates and times.
DATETIME_FUNCTIONS: tuple[str, ...] = _words(
    """
    current_date current_time current_timestamp date_bin date_format date_part date_trunc
    datepart datetrunc from_unixtime make_date make_time now to_char to_date to_local_time
    to_time to_timestamp to_timestamp_micros to_timestamp_millis to_timestamp_nanos
    to_timestamp_seconds to_unixtime today
    """
)

# Scalar functions on any type, and about the engine itself.
SYSTEM_FUNCTIONS: tuple[str, ...] = _words(
    """
    arrow_cast arrow_try_cast arrow_typeof coalesce greatest ifnull least nullif nvl nvl2
    version
    """
)

# Which casts can be written, by names of SqlSupportsConvert without the prefix. Binary types have
# no name that CAST takes in this dialect, so nothing is cast to them; their values can be cast to
# text.
_NUMBERS = ("BIGINT", "DECIMAL", "FLOAT", "INTEGER", "NUMERIC", "REAL", "SMALLINT", "TINYINT")
_TEXTS = ("CHAR", "LONGVARCHAR", "VARCHAR")
_INTERVALS = ("INTERVAL_DAY_TIME", "INTERVAL_YEAR_MONTH")
_ALL = ("BIT", "DATE", "TIME", "TIMESTAMP", *_INTERVALS, *_NUMBERS, *_TEXTS)
CASTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_TEXTS, _ALL),
    **dict.fromkeys(("BINARY", "LONGVARBINARY", "VARBINARY"), _TEXTS),
    **dict.fromkeys(_INTERVALS, (*_INTERVALS, *_TEXTS)),
    **dict.fromkeys(("DECIMAL", "NUMERIC"), ("TIMESTAMP", *_NUMBERS, *_TEXTS)),
    **dict.fromkeys(
        ("FLOAT", "REAL", "SMALLINT", "TINYINT"), ("BIT", "TIMESTAMP", *_NUMBERS, *_TEXTS)
    ),
    "INTEGER": ("BIT", "DATE", "TIMESTAMP", *_NUMBERS, *_TEXTS),
    "BIGINT": ("BIT", "DATE", "TIME", "TIMESTAMP", *_NUMBERS, *_TEXTS),
    "BIT": ("BIT", "BIGINT", "FLOAT", "INTEGER", "REAL", "SMALLINT", "TINYINT", *_TEXTS),
    "DATE": ("BIGINT", "DATE", "INTEGER", "TIMESTAMP", *_TEXTS),
    "TIME": ("BIGINT", "TIME", *_TEXTS),
    "TIMESTAMP": ("DATE", "TIME", "TIMESTAMP", *_NUMBERS, *_TEXTS),
}
