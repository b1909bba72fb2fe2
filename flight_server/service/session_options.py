"""The options of a session: their names, what they may hold, and how a value is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from flight_server.errors import InvalidRequest, NotFound
from flight_server.protocol.flight import SessionOption
from flight_server.service.purposes import check_purpose
from flight_server.storage.locations import catalog_name
from policies.names import Principal

TIMEOUT_SECONDS_MAX = 86_400
TEXT_CHARACTERS_MAX = 256
_NAME_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The options of one session; None is an option that was not set."""

    catalog: str | None = None
    schema: str | None = None
    purpose: str | None = None
    query_timeout_seconds: float | None = None
    query_tag: str | None = None


NAMES = tuple(SessionOptions.__dataclass_fields__)


class Visible(Protocol):
    """What options are checked against: the names that somebody may see."""

    def catalogs(self, principal: Principal) -> tuple[str, ...]:
        """Return the visible catalogs."""
        ...

    def schemas(
        self, principal: Principal, catalog: str | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Return the visible schemas of a catalog, each with its catalog."""
        ...

    def purposes(self, principal: Principal) -> frozenset[str]:
        """Return the purposes that somebody may state."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the values of options for one principal.

    ``catalog`` is the one that a schema is looked for in; ``default_schema`` may always be chosen.
    """

    names: Visible
    principal: Principal
    catalog: str
    default_schema: str

    def read(self, name: str, value: SessionOption) -> str | float | None:
        """Return the value of an option as it is kept; None, and an empty text, unset it.

        Raises InvalidRequest for a value that cannot be, NotFound for a name that the principal
        may not see, PermissionDenied for a purpose that they may not state.
        """
        if value is None:
            return None
        if name == "query_timeout_seconds":
            return _seconds(value)
        if not isinstance(value, str):
            raise InvalidRequest(f"the session option {name} is a text")
        if name in ("purpose", "query_tag"):
            text = printable(value, name, characters_max=TEXT_CHARACTERS_MAX) or None
            if name == "purpose" and text is not None:
                check_purpose(self.names, self.principal, text)
            return text
        if not value or len(value) > _NAME_CHARACTERS_MAX:
            raise InvalidRequest(
                f"the session option {name} is a name; characters_max={_NAME_CHARACTERS_MAX}"
            )
        return self._catalog(value) if name == "catalog" else self._schema(value)

    def _catalog(self, value: str) -> str:
        visible = self.names.catalogs(self.principal)
        for name in (value, _as_catalog(value)):
            if name in visible:
                return name
        known = ", ".join(visible) if visible else "none"
        raise NotFound(
            f"the bucket {value} does not exist; buckets you may use: {known}",
            code="bucket_not_found",
        )

    def _schema(self, value: str) -> str:
        if value == self.default_schema:
            return value
        visible = [schema for _, schema in self.names.schemas(self.principal, self.catalog)]
        if value not in visible:
            known = ", ".join(visible) if visible else "none"
            raise NotFound(
                f"the schema {value} does not exist in the bucket {self.catalog};"
                f" schemas you may use: {known}",
                code="schema_not_found",
            )
        return value


def shown(values: Mapping[str, str | float | None]) -> dict[str, str]:
    """Return every option as text, empty where there is no value."""
    return {name: _text(values.get(name)) for name in NAMES}


def printable(value: str, name: str, *, characters_max: int) -> str:
    """Return a text that may stand in logs and listings; raises InvalidRequest for others."""
    if len(value) > characters_max or not value.isprintable():
        raise InvalidRequest(f"{name} is a printable text; characters_max={characters_max}")
    return value


def _seconds(value: SessionOption) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= TIMEOUT_SECONDS_MAX
    ):
        raise InvalidRequest(
            "the session option query_timeout_seconds is a number of seconds above 0;"
            f" seconds_max={TIMEOUT_SECONDS_MAX}"
        )
    return float(value)


def _as_catalog(bucket: str) -> str:
    try:
        return catalog_name(bucket)
    except InvalidRequest:
        return bucket


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else value
