"""What Apache Superset needs to know of Lakeflight beside the SQLAlchemy dialect.

Tested with Superset 6.1, which brings SQLAlchemy 1.4; README.md says how to install it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from sqlalchemy import types
from sqlalchemy.engine.url import URL
from superset.db_engine_specs.base import BaseEngineSpec, BasicParametersMixin
from superset.errors import SupersetErrorType
from superset.utils.core import GenericDataType

from flight_server.client.sqlalchemy import TINYINT, LakeflightDialect
from flight_server.client.sqlalchemy.types import from_arrow

DEFAULT_BUCKET = "primary"
_DIALECT = LakeflightDialect()


def _bin(interval: str) -> str:
    return f"date_bin(INTERVAL '{interval}', {{col}}, TIMESTAMP '1970-01-01 00:00:00')"


def _trunc(unit: str) -> str:
    return f"date_trunc('{unit}', {{col}})"


# date_trunc knows weeks that begin on Monday.
_SUNDAY = "date_trunc('week', {col} + INTERVAL '1 day') - INTERVAL '1 day'"
_MONDAY = _trunc("week")


class LakeflightEngineSpec(BasicParametersMixin, BaseEngineSpec):  # type: ignore[misc]  # untyped
    """Lakeflight: DataFusion's SQL over Flight SQL; a catalog of Superset is a bucket."""

    engine = "lakeflight"
    engine_name = "Lakeflight"
    drivers = {"adbc": "ADBC driver for Arrow Flight SQL", "tls": "the same, encrypted"}
    default_driver = ""
    sqlalchemy_uri_placeholder = "lakeflight://user:password@host:31337/bucket/schema[?tls=true]"
    encryption_parameters = {"tls": "true"}

    supports_catalog = True
    supports_dynamic_catalog = True
    supports_cross_catalog_queries = True
    supports_dynamic_schema = True
    supports_multivalues_insert = True
    allows_hidden_orderby_agg = True
    max_column_name_length = 255

    column_type_mappings = (
        (re.compile(r"^tinyint", re.IGNORECASE), TINYINT(), GenericDataType.NUMERIC),
        (re.compile(r".*\[\]$"), types.String(), GenericDataType.STRING),
        (re.compile(r"^(struct|map)<", re.IGNORECASE), types.String(), GenericDataType.STRING),
    )

    # Keys are Superset's time grains, which are durations of ISO 8601.
    _time_grain_expressions = {
        None: "{col}",
        "PT1S": _trunc("second"),
        "PT5S": _bin("5 seconds"),
        "PT30S": _bin("30 seconds"),
        "PT1M": _trunc("minute"),
        "PT5M": _bin("5 minutes"),
        "PT10M": _bin("10 minutes"),
        "PT15M": _bin("15 minutes"),
        "PT30M": _bin("30 minutes"),
        "PT0.5H": _bin("30 minutes"),
        "PT1H": _trunc("hour"),
        "PT6H": _bin("6 hours"),
        "P1D": _trunc("day"),
        "P1W": _MONDAY,
        "1969-12-28T00:00:00Z/P1W": _SUNDAY,
        "1969-12-29T00:00:00Z/P1W": _MONDAY,
        "P1W/1970-01-03T00:00:00Z": f"{_SUNDAY} + INTERVAL '6 days'",
        "P1W/1970-01-04T00:00:00Z": f"{_MONDAY} + INTERVAL '6 days'",
        "P1M": _trunc("month"),
        "P3M": _trunc("quarter"),
        "P0.25Y": _trunc("quarter"),
        "P1Y": _trunc("year"),
    }

    # An error text of the server, what Superset says instead (None keeps it), and its kind.
    custom_errors = {
        re.compile(r"wrong user name or password"): (
            'Either the user name "%(username)s" or the password is wrong.',
            SupersetErrorType.CONNECTION_ACCESS_DENIED_ERROR,
            {"invalid": ["username", "password"]},
        ),
        re.compile(r"connection refused|no such host|connection error"): (
            'Nobody answers at "%(hostname)s", port %(port)s.',
            SupersetErrorType.CONNECTION_HOST_DOWN_ERROR,
            {"invalid": ["host", "port"]},
        ),
        re.compile(r"the bucket (?P<bucket>\S+) does not exist"): (
            'The bucket "%(bucket)s" does not exist.',
            SupersetErrorType.CONNECTION_UNKNOWN_DATABASE_ERROR,
            {"invalid": ["database"]},
        ),
        re.compile(r"the schema (?P<schema_name>\S+) does not exist"): (
            'The schema "%(schema_name)s" does not exist.',
            SupersetErrorType.SCHEMA_DOES_NOT_EXIST_ERROR,
            {},
        ),
        re.compile(r"the table (?P<table_name>\S+) does not exist"): (
            'The table "%(table_name)s" does not exist.',
            SupersetErrorType.TABLE_DOES_NOT_EXIST_ERROR,
            {},
        ),
        re.compile(r"No field named (?P<column_name>.+?)(?:\.|$| line=)"): (
            'We can\'t seem to resolve the column "%(column_name)s".',
            SupersetErrorType.COLUMN_DOES_NOT_EXIST_ERROR,
            {},
        ),
        re.compile(r"[Ee]xpected.*, found"): ("", SupersetErrorType.SYNTAX_ERROR, {}),
    }

    @classmethod
    def epoch_to_dttm(cls) -> str:
        """Return what makes a timestamp of seconds since 1970."""
        return "to_timestamp_seconds({col})"

    @classmethod
    def epoch_ms_to_dttm(cls) -> str:
        """Return what makes a timestamp of milliseconds since 1970."""
        return "to_timestamp_millis({col})"

    @classmethod
    def convert_dttm(
        cls, target_type: str, dttm: datetime, db_extra: dict[str, Any] | None = None
    ) -> str | None:
        """Return a moment as a literal of a column's type; None when it has no such literal."""
        kind = cls.get_sqla_column_type(target_type)
        if isinstance(kind, types.Date):
            return f"DATE '{dttm.date().isoformat()}'"
        if isinstance(kind, (types.TIMESTAMP, types.DateTime)):
            return f"TIMESTAMP '{dttm.isoformat(sep=' ', timespec='microseconds')}'"
        return None

    @classmethod
    def get_datatype(cls, type_code: Any) -> str | None:
        """Return the SQL name of the Arrow type that a cursor describes a column by."""
        if isinstance(type_code, str):
            return type_code.upper() or None
        try:
            return str(from_arrow(type_code).compile(dialect=_DIALECT))
        except Exception:  # noqa: BLE001  a type without a name is no reason to lose the result
            return None

    @classmethod
    def get_default_catalog(cls, database: Any) -> str:
        """Return the bucket of the database's URL."""
        return (database.url_object.database or "").strip("/").split("/")[0] or DEFAULT_BUCKET

    @classmethod
    def get_catalog_names(cls, database: Any, inspector: Any) -> set[str]:
        """Return the buckets that the user of the connection may use."""
        with inspector.engine.connect() as connection:
            return set(inspector.dialect.get_bucket_names(connection))

    @classmethod
    def get_schema_from_engine_params(
        cls, sqlalchemy_uri: URL, connect_args: dict[str, Any]
    ) -> str | None:
        """Return the schema of a URL."""
        parts = (sqlalchemy_uri.database or "").strip("/").split("/")
        return parts[1] if len(parts) > 1 else None

    @classmethod
    def adjust_engine_params(
        cls,
        uri: URL,
        connect_args: dict[str, Any],
        catalog: str | None = None,
        schema: str | None = None,
    ) -> tuple[URL, dict[str, Any]]:
        """Return the URL with another bucket and schema."""
        own_bucket, own_schema = [*(uri.database or "").strip("/").split("/"), "", ""][:2]
        bucket = catalog or own_bucket or DEFAULT_BUCKET
        chosen = schema or (own_schema if bucket == own_bucket else "")
        return uri.set(database=f"{bucket}/{chosen}".rstrip("/")), connect_args
