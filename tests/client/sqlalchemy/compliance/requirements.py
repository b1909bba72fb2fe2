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

NO_CHECKS: Final = "tables have no CHECK"
NO_TEMPORARY_LISTS: Final = "temporary tables are in no listing of the server"
NO_OPTIONS: Final = "tables have no options"
NO_FETCH_OPTIONS: Final = "the server has no WITH TIES and no PERCENT"
NO_OTHER_TABLES: Final = "UPDATE and DELETE name one table; MERGE INTO takes several"
NO_MATERIALIZED: Final = "there are no materialized views"
NO_JSON: Final = "JSON is kept as text, which the engine does not look into"
NO_COLLATIONS: Final = "texts have one order, that of their bytes"

# requirement: why it is not met
CLOSED: Final[dict[str, str]] = {
    name: reason
    for reason, names in (
        (
            NO_KEYS,
            (
                "foreign_key_constraint_reflection self_referential_foreign_keys on_update_cascade"
                " recursive_fk_cascade primary_key_constraint_reflection reflects_pk_names"
                " unique_constraint_reflection duplicate_key_raises_integrity_error"
                " named_constraints implicitly_named_constraints cross_schema_fk_reflection"
                " foreign_key_constraint_option_reflection_ondelete"
                " foreign_key_constraint_option_reflection_onupdate"
                " fk_constraint_option_reflection_ondelete_restrict"
                " fk_constraint_option_reflection_ondelete_noaction"
                " fk_constraint_option_reflection_onupdate_restrict"
            ),
        ),
        (NO_CHECKS, "check_constraint_reflection inline_check_constraint_reflection"),
        (
            NO_INDEXES,
            (
                "index_reflection indexes_with_ascdesc reflect_indexes_with_ascdesc"
                " temp_table_reflect_indexes index_ddl_if_exists indexes_check_column_order"
                " indexes_with_expressions reflect_indexes_with_expressions"
                " index_reflects_included_columns"
            ),
        ),
        (
            NO_GENERATION,
            (
                "autoincrement_insert autoincrement_without_sequence implements_get_lastrowid"
                " identity_columns identity_columns_standard computed_columns"
            ),
        ),
        (NO_DEFAULTS, "server_defaults expression_server_defaults"),
        (NO_TRANSACTIONS, "autocommit savepoints two_phase_transactions"),
        (NO_RETURNING, "update_returning_dialect_not_supported"),
        (NO_TIME, "time time_microseconds time_implicit_bound"),
        (NO_UNUSUAL_NAMES, "unusual_column_name_characters percent_schema_names"),
        ("tables have no constraints to comment on", "constraint_comment_reflection"),
        (
            NO_TEMPORARY_LISTS,
            (
                "temp_table_reflection temp_table_names has_temp_table temporary_views"
                " temp_table_comment_reflection"
            ),
        ),
        (NO_OPTIONS, "reflect_table_options"),
        (NO_FETCH_OPTIONS, "fetch_percent fetch_ties fetch_offset_with_options"),
        (NO_OTHER_TABLES, "update_from delete_from ctes_with_update_delete ctes_on_dml"),
        (NO_MATERIALIZED, "materialized_views materialized_views_reflect_pk"),
        (NO_JSON, "json_type"),
        (NO_COLLATIONS, "column_collation_reflection order_by_collation"),
        ("INSERT needs a value", "empty_inserts empty_inserts_executemany"),
        ("the engine refuses one name twice in a SELECT", "duplicate_names_in_cursor_description"),
        (
            "every cursor streams; the suite knows those of other drivers only",
            "server_side_cursors",
        ),
        (
            "Delta has no type for a span of time",
            "datetime_interval",
        ),
        ("the engine has no complement of bits", "supports_bitwise_not"),
    )
    for name in names.split()
}
OPEN: Final = frozenset(
    {
        "comment_reflection",
        "comment_reflection_full_unicode",
        "create_table_as",
        "create_temp_table_as",
        "tuple_in",
        "tuple_in_w_empty",
        "window_range_non_numeric",
        "uuid_data_type",
        "aggregate_order_by",
        "precision_numerics_retains_significant_digits",
        "datetime_timezone_historic",
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
