"""Queries: describe one, hand out what continues it, and run it."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa

from flight_server import errors
from flight_server.clock import Clock
from flight_server.engine.base import (
    TEMPORARY_BUCKET,
    Description,
    Engine,
    Pin,
    Query,
    Temporary,
)
from flight_server.engine.messages import pin_from_json, pin_to_json
from flight_server.protocol.tickets import JSON, Sealer
from flight_server.service.recording import Detail, Effect, named
from flight_server.service.request import Request
from flight_server.service.running import Kind, Running, on_record
from flight_server.sql.names import AsOf
from flight_server.storage.arrow_types import stream_bytes
from policies.names import Principal, Privilege, TableRef

_TICKET = "query"
_DESCRIPTIONS_MAX = 1024
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What a query may be, and how long what it hands out is good for."""

    sql_bytes_max: int
    ticket_seconds_max: int
    ticket_renewed_seconds_max: int = 86_400


@dataclass(frozen=True, slots=True)
class Planned:
    """A described query and the ticket that runs it, good until ``expires_at``.

    ``total_records`` is -1 where nobody knows it before the query has run.
    """

    schema: pa.Schema
    ticket: bytes
    expires_at: datetime
    total_records: int = -1


class Pins(Protocol):
    """What queries ask of the tables: which state one would be read at."""

    def pin(self, ref: TableRef, principal: Principal, *, as_of: AsOf | None) -> Pin:
        """Name the state that a table would be opened at for somebody; raises as opening does."""
        ...

    def renewed(self, pin: Pin, principal: Principal) -> Pin:
        """Return the same state under the policies of this moment.

        Raises NotFound when there is no such table for somebody, or no longer.
        """
        ...


class Queries:
    """The use cases of a query.

    Nothing is kept between calls but descriptions, which any call could make again: tickets carry
    the work, sealed. They never carry the permission, which is asked again whenever they are used.
    """

    def __init__(
        self,
        engine: Engine,
        tables: Pins,
        sealer: Sealer,
        *,
        limits: QueryLimits,
        clock: Clock,
        running: Running | None = None,
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._sealer = sealer
        self._limits = limits
        self._clock = clock
        self._running = running or Running(clock)
        self._descriptions = _Descriptions()

    def plan(self, request: Request, sql: str, parameters: bytes = b"") -> Planned:
        """Describe a query with its bound rows and make its ticket."""
        query = self._query(request, sql, parameters)
        description = self._describe(request, query)
        payload: dict[str, JSON] = {
            "sql": query.sql,
            "bucket": query.bucket,
            "schema": query.schema,
            "pins": [pin_to_json(pin) for pin in description.pins],
        }
        payload |= _temporary_to_json(query, description)
        if parameters:
            payload["parameters"] = base64.b64encode(parameters).decode()
        return self._planned(request, description.schema, payload)

    def given(self, request: Request, rows: pa.Table, *, total_records: int = -1) -> Planned:
        """Return the answer for rows that are known already and few: the ticket holds them."""
        held = base64.b64encode(stream_bytes(rows)).decode()
        planned = self._planned(request, rows.schema, {"rows": held})
        return replace(planned, total_records=total_records)

    def describe(self, request: Request, sql: str, parameters: bytes = b"") -> Description:
        """Return what a query will return and which parameters it takes."""
        return self._describe(request, self._query(request, sql, parameters))

    def check_size(self, sql: str) -> None:
        """Raise LimitExceeded for a statement that is too long to be looked at."""
        size = len(sql.encode("utf-8", "surrogatepass"))
        if size > self._limits.sql_bytes_max:
            raise errors.LimitExceeded(
                f"the statement has {size} bytes; sql_bytes_max={self._limits.sql_bytes_max}"
            )

    def stream(self, request: Request, ticket: bytes) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Run what a ticket describes, on the very states that it was planned on."""
        payload = self._open(request, ticket)
        if (held := payload.get("rows")) is not None:
            rows = pa.ipc.open_stream(base64.b64decode(held)).read_all()
            return rows.schema, iter(rows.to_batches())
        query = Query(
            sql=payload["sql"],
            principal=request.principal,
            bucket=payload["bucket"],
            schema=payload["schema"],
            pins=tuple(pin_from_json(pin) for pin in payload["pins"]),
            parameters=base64.b64decode(payload.get("parameters", "")),
            temporary=_temporary_from_json(request, payload),
        )
        self._intend(request, query, payload["query_id"])
        # What is hidden since the ticket was made is hidden, and no result from before is good.
        query = replace(query, pins=tuple(self._renewed(request, pin) for pin in query.pins))
        with self._running.enter(
            request, query.sql, kind=Kind.QUERY, query_id=payload["query_id"]
        ) as run:
            for pin in query.pins:
                run.rely_on(Privilege.READ, pin.ref)
            schema, batches = self._engine.stream(query, is_cancelled=run.is_cancelled)
            # The disk was busy with the intent while the worker was busy with the query.
            request.record.confirm()
            return schema, run.stream(batches)

    def _intend(self, request: Request, query: Query, query_id: str) -> None:
        tables = {pin.ref: pin.version for pin in query.pins}
        request.record.note(tables=tables)
        details: dict[str, Detail] = {"statement": on_record(query.sql), "query_id": query_id}
        if request.query_tag is not None:
            details["query_tag"] = request.query_tag
        resource = named(tables)
        request.record.intend("query", resource, effect=Effect.READ, details=details)

    def cancel(self, request: Request, ticket: bytes) -> bool:
        """End the query of a ticket, and refuse the ticket from now on; administrators may, too.

        False when there is nothing left to end.
        """
        # What runs may go on when its ticket has expired, so that is looked at later.
        payload = self._sealer.open(_TICKET, ticket, now=_BEGINNING)
        if not request.principal.is_admin:
            _check_owner(request, payload)
        if "rows" in payload:
            return False  # it was run when it was planned
        return self._running.cancel_ticket(payload["query_id"])

    def renew(self, request: Request, ticket: bytes) -> tuple[bytes, datetime]:
        """Return the ticket with more time, and when that ends.

        However often it is renewed, it ends ``ticket_renewed_seconds_max`` after it was made.
        """
        payload = self._open(request, ticket)
        self._running.check(payload["query_id"])
        limits = self._limits
        issued_at = datetime.fromtimestamp(payload["issued_at"], UTC)
        life = max(limits.ticket_renewed_seconds_max, limits.ticket_seconds_max)
        expires_at = min(
            self._clock.now() + timedelta(seconds=limits.ticket_seconds_max),
            issued_at + timedelta(seconds=life),
        )
        return self._sealer.seal(_TICKET, payload, expires_at=expires_at), expires_at

    def _query(self, request: Request, sql: str, parameters: bytes) -> Query:
        request.record.about("query", sql)
        return Query(
            sql=sql,
            principal=request.principal,
            bucket=request.bucket,
            schema=request.schema,
            parameters=parameters,
            temporary=request.temporary,
        )

    def _renewed(self, request: Request, pin: Pin) -> Pin:
        """Return a pin under the policies of this moment.

        Raises NotFound for a table that the caller, or this session of theirs, may not read.
        """
        own = None if request.temporary is None else request.temporary.schema
        if pin.ref.bucket == TEMPORARY_BUCKET and pin.ref.schema != own:
            raise errors.NotFound(
                f"the table {pin.ref.table} does not exist", code="table_not_found"
            )
        return self._tables.renewed(pin, request.principal)

    def _planned(self, request: Request, schema: pa.Schema, payload: dict[str, JSON]) -> Planned:
        now = self._clock.now()
        expires_at = now + timedelta(seconds=self._limits.ticket_seconds_max)
        payload["user_id"] = request.principal.user_id
        payload["query_id"] = request.request_id
        payload["issued_at"] = now.timestamp()
        return Planned(
            schema, self._sealer.seal(_TICKET, payload, expires_at=expires_at), expires_at
        )

    def _describe(self, request: Request, query: Query) -> Description:
        known = self._descriptions.get(query)
        if known is not None and self._is_current(query, known):
            return known
        with self._running.enter(request, query.sql, kind=Kind.DESCRIBE) as run:
            description = self._engine.describe(query, is_cancelled=run.is_cancelled)
        self._descriptions.put(query, description)
        return description

    def _is_current(self, query: Query, description: Description) -> bool:
        """Whether every table would be opened at the very same state by this caller now."""
        for pin in description.pins:
            try:
                now = self._tables.pin(pin.ref, query.principal, as_of=pin.as_of)
            except errors.LakeflightError:
                return False  # planning again says what is wrong
            if now != pin:
                return False
        return True

    def _open(self, request: Request, ticket: bytes) -> dict[str, Any]:
        payload = self._sealer.open(_TICKET, ticket, now=self._clock.now())
        _check_owner(request, payload)
        return payload


def _check_owner(request: Request, payload: dict[str, Any]) -> None:
    if payload["user_id"] != request.principal.user_id:
        raise errors.PermissionDenied("this ticket was issued to somebody else")


def _temporary_to_json(query: Query, description: Description) -> dict[str, JSON]:
    """Return what a ticket says of temporary tables: all names that hid others, if any was used."""
    if query.temporary is None or not any(
        pin.ref.bucket == TEMPORARY_BUCKET for pin in description.pins
    ):
        return {}
    return {"temporary": [query.temporary.schema, *sorted(query.temporary.tables)]}


def _temporary_from_json(request: Request, payload: dict[str, Any]) -> Temporary | None:
    if "temporary" not in payload:
        return None
    schema, *tables = payload["temporary"]
    if request.temporary is None or request.temporary.schema != schema:
        raise errors.NotFound(
            "the temporary tables of this query are gone, or belong to another session",
            code="table_not_found",
        )
    return Temporary(schema, frozenset(tables))


class _Descriptions:
    """Descriptions used last, by the whole query.

    Statement, principal with roles, and default names.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Query, Description] = OrderedDict()

    def get(self, query: Query) -> Description | None:
        with self._lock:
            found = self._kept.get(query)
            if found is not None:
                self._kept.move_to_end(query)
            return found

    def put(self, query: Query, description: Description) -> None:
        with self._lock:
            self._kept[query] = description
            while len(self._kept) > _DESCRIPTIONS_MAX:
                self._kept.popitem(last=False)
