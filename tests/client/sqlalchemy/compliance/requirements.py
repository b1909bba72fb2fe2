"""What the suite may expect of the dialect; each thing that it may not has its reason."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy.testing.exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

exclusions: Any = sqlalchemy.testing.exclusions  # it has no types

NO_KEYS: Final = "Delta tables have no keys, and the server enforces none"
NO_INDEXES: Final = "there are no indexes: data files carry statistics"
NO_GENERATION: Final = "columns make no values of their own: clients supply the keys"
NO_DEFAULTS: Final = "columns have no defaults"
NO_TRANSACTIONS: Final = "each statement is committed by itself"
NO_RETURNING: Final = "the server has no RETURNING"
NO_UNUSUAL_NAMES: Final = "Delta allows no spaces, brackets and punctuation in column names"
NO_TIME: Final = "Delta has no type for the time of day"

# requirement: why it is not met
CLOSED: Final[dict[str, str]] = {
    "foreign_key_constraint_reflection": NO_KEYS,
    "self_referential_foreign_keys": NO_KEYS,
    "on_update_cascade": NO_KEYS,
    "recursive_fk_cascade": NO_KEYS,
    "primary_key_constraint_reflection": NO_KEYS,
    "unique_constraint_reflection": NO_KEYS,
    "duplicate_key_raises_integrity_error": NO_KEYS,
    "named_constraints": NO_KEYS,
    "unusual_column_name_characters": NO_UNUSUAL_NAMES,
    "server_side_cursors": "every cursor streams; the suite knows those of other drivers only",
    "duplicate_names_in_cursor_description": "the engine refuses one name twice in a SELECT",
    "autocommit": "it cannot be turned off",
    "implicitly_named_constraints": NO_KEYS,
    "index_reflection": NO_INDEXES,
    "indexes_with_ascdesc": NO_INDEXES,
    "reflect_indexes_with_ascdesc": NO_INDEXES,
    "temp_table_reflection": "temporary tables are in no listing of the server",
    "temp_table_reflect_indexes": NO_INDEXES,
    "autoincrement_insert": NO_GENERATION,
    "autoincrement_without_sequence": NO_GENERATION,
    "implements_get_lastrowid": NO_GENERATION,
    "empty_inserts": "INSERT needs a value",
    "empty_inserts_executemany": "INSERT needs a value",
    "update_returning_dialect_not_supported": NO_RETURNING,
    "time": NO_TIME,
    "time_microseconds": NO_TIME,
    "time_implicit_bound": NO_TIME,
}
OPEN: Final = frozenset(
    {
        "create_table_as",
        "table_ddl_if_exists",
        "table_value_constructor",
        "boolean_col_expressions",
        "nullsordering",
        "intersect",
        "except_",
        "window_functions",
        "window_range",
        "window_range_numeric",
        "ctes",
        "ctes_with_values",
        "views",
        "create_or_replace_view",
        "implicit_default_schema",
        "schema_create_delete",
        "unicode_ddl",
        "datetime_literals",
        "datetime_timezone",
        "timestamp_microseconds",
        "datetime_historic",
        "date_historic",
        "array_type",
        "precision_numerics_enotation_small",
        "precision_numerics_many_significant_digits",
        "infinity_floats",
        "mod_operator_as_percent_sign",
        "order_by_label_with_expression",
        "regexp_match",
        "regexp_replace",
        "fetch_first",
        "fetch_no_order_by",
        "fetch_expression",
        "supports_distinct_on",
        "supports_bitwise_or",
        "supports_bitwise_and",
        "supports_bitwise_xor",
        "supports_bitwise_shift",
        "float_or_double_precision_behaves_generically",
    }
)


def _closed(reason: str) -> property:
    return property(lambda _self: exclusions.skip_if(exclusions.BooleanPredicate(True, reason)))


def _open() -> property:
    return property(lambda _self: exclusions.open())


_MADE: Final[dict[str, Any]] = {
    **{name: _closed(reason) for name, reason in CLOSED.items()},
    **{name: _open() for name in OPEN},
}
Requirements = type("Requirements", (SuiteRequirements,), _MADE)
