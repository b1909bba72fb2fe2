"""What a grant is on: a bucket, a schema, or a table, written as in SQL, or columns of one."""

from __future__ import annotations

import re
from functools import lru_cache

from flight_server.errors import InvalidRequest
from flight_server.storage.locations import catalog_name
from policies.names import Privilege
from policies.purposes import PURPOSES
from policies.rules import Grant, Resource

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".\s]+)')
_PLAIN = re.compile(r'[^".\s]+')
_PARTS_MAX = 3


# The grants are read again whenever one of them changes.
@lru_cache(maxsize=16_384)
def read_resource(text: str) -> Resource:
    """Split ``bucket.schema.table``; a part with a dot is put in double quotes, as in SQL.

    The bucket becomes the name of its catalog. Raises InvalidRequest for any other text.
    """
    parts: list[str] = []
    position = 0
    while match := _PART.match(text, position):
        parts.append(match[1].replace('""', '"') if match[1] else match[2])
        position = match.end() + 1
        if match.end() == len(text) or text[match.end()] != ".":
            break
    if not 1 <= len(parts) <= _PARTS_MAX or position != len(text) + 1:
        raise InvalidRequest("a resource is bucket, bucket.schema or bucket.schema.table")
    return (catalog_name(parts[0]), *parts[1:])


def write_resource(resource: Resource) -> str:
    """Return the text that ``read_resource`` reads as this resource."""
    return ".".join(
        part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in resource
    )


def check_limits(grant: Grant) -> None:
    """Raise InvalidRequest for columns or purposes with which a grant would mean nothing."""
    if grant.columns is not None:
        if not grant.columns or not all(grant.columns):
            raise InvalidRequest("a grant on columns names at least one")
        if grant.privilege is not Privilege.READ or len(grant.resource) != _PARTS_MAX:
            raise InvalidRequest("only read is granted on columns, and those of one table or view")
    if grant.purposes is not None and (not grant.purposes or not grant.purposes <= set(PURPOSES)):
        raise InvalidRequest(f"the purposes are some of {', '.join(sorted(PURPOSES))}")
