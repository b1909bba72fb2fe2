"""What some drivers need to be told in other words than the protocol's.

Each was seen in a released driver; ``docs/clients.md`` names them.
"""

from __future__ import annotations

import pyarrow as pa

from flight_server.protocol.metadata import result_metadata
from flight_server.service.request import Request

_JAVA = "grpc-java"


def update_count(request: Request, rows: int) -> int:
    """Return how many rows a prepared statement changed, as its driver understands it.

    The JDBC driver (18.3) takes -1 for "a result follows", and runs the statement once more to
    get it.
    """
    return max(rows, 0) if _JAVA in request.user_agent else rows


def parameters(request: Request, schema: pa.Schema) -> pa.Schema:
    """Return the types of parameters as their driver fills them.

    The JDBC driver (18.3) writes milliseconds into a timestamp of any unit.
    """
    if _JAVA not in request.user_agent:
        return schema
    return pa.schema(
        [
            field.with_type(pa.timestamp("ms", field.type.tz))
            if pa.types.is_timestamp(field.type)
            else field
            for field in schema
        ]
    )


def columns(request: Request, schema: pa.Schema) -> pa.Schema:
    """Return the columns of a result as their driver describes them to its users.

    The JDBC driver reads precision and scale from the metadata of fields alone, and says 0
    otherwise.
    """
    return result_metadata(schema) if _JAVA in request.user_agent else schema
