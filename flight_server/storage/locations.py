"""Where buckets lie: a name, a URI, and the folder that it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flight_server.errors import InvalidRequest, Unsupported

PRIMARY = "primary"
BUCKET_NAME_CHARACTERS_MAX = 63
_REMOTE_SCHEMES = ("s3", "s3a", "az", "abfs", "abfss", "adl", "gs", "gcs")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket: its name as configured, its name as a SQL catalog, and its root folder."""

    name: str
    catalog: str
    root: Path

    @property
    def uri(self) -> str:
        """The root as a ``file://`` URI."""
        return self.root.as_uri()


def catalog_name(bucket: str) -> str:
    """Return the SQL catalog of a bucket: ``profile:user`` is ``profile_user``.

    Everything but lower-case letters, digits and ``_`` becomes ``_``. Raises InvalidRequest for
    a name that is empty, too long, or has neither letter nor digit.
    """
    name = re.sub(r"[^a-z0-9_]", "_", bucket.strip().lower())
    if not name.strip("_"):
        raise InvalidRequest("a bucket name needs a letter or a digit")
    if len(name) > BUCKET_NAME_CHARACTERS_MAX:
        raise InvalidRequest(
            f"a bucket name has at most bucket_name_characters_max={BUCKET_NAME_CHARACTERS_MAX}"
        )
    if name[0] == "_":
        raise InvalidRequest("a bucket name starts with a letter or a digit")
    return name


def locate(name: str, uri: str | Path) -> Location:
    """Return the location of a bucket given as a ``file://`` URI or a plain path.

    It need not exist yet. Raises Unsupported for other kinds of storage, and InvalidRequest for
    what is no URI or path at all.
    """
    catalog = catalog_name(name)
    text = str(uri)
    if not text or "\0" in text:
        raise InvalidRequest(f"the bucket {catalog} has no usable location")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _located(name, catalog, Path(text).expanduser().resolve())
    kind = scheme.group(1).lower()
    if kind == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise InvalidRequest(
                f"the bucket {catalog}: a file URI is file:///path, without a host"
            )
        return _located(name, catalog, Path(unquote(parts.path) or "/").resolve())
    if kind in _REMOTE_SCHEMES:
        raise Unsupported(
            f"the bucket {catalog} is on {kind}://, which this version does not read yet; "
            "file:// and plain paths work"
        )
    raise Unsupported(f"the bucket {catalog} is on {kind}://, which is no storage known here")


def _located(name: str, catalog: str, root: Path) -> Location:
    if _ESCAPE.search(str(root)):
        # The Delta library decodes paths once more, and would read another folder.
        raise Unsupported(f"the bucket {catalog} lies in a folder whose name looks encoded, as %20")
    return Location(name, catalog, root)


def locate_all(buckets: Mapping[str, str | Path]) -> dict[str, Location]:
    """Return locations by catalog name, in the order given; ``primary`` must be among them.

    Raises InvalidRequest when two buckets become one catalog or share one folder.
    """
    located: dict[str, Location] = {}
    for name, uri in buckets.items():
        location = locate(name, uri)
        for other in located.values():
            if other.catalog == location.catalog:
                raise InvalidRequest(f"two buckets would both be the catalog {location.catalog}")
            if other.root == location.root:
                raise InvalidRequest(
                    f"the buckets {other.catalog} and {location.catalog} are one folder"
                )
        located[location.catalog] = location
    if PRIMARY not in located:
        raise InvalidRequest(f"there must be a bucket {PRIMARY}")
    return located
