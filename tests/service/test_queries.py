"""Tickets: how long they can be renewed, and whose temporary tables they read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flight_server.engine.base import BatchLimits, Temporary
from flight_server.engine.local import LocalEngine
from flight_server.engine.session import EngineOptions
from flight_server.errors import Cancelled, InvalidRequest, PermissionDenied
from flight_server.protocol.tickets import Sealer
from flight_server.service.queries import Queries, QueryLimits
from tests import tables as zoo
from tests.clocks import StandingClock
from tests.service.opened import ADMIN, BOB, Lakehouse
from tests.service.requests import request


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def queries(tmp_path: Path, clock: StandingClock) -> Queries:
    zoo.plain(tmp_path / "s/t")
    lake = Lakehouse({"primary": tmp_path})
    return Queries(
        LocalEngine(lake.tables, BatchLimits(), EngineOptions(target_partitions=1)),
        lake.tables,
        Sealer([b"k" * 32], random_bytes=os.urandom),
        limits=QueryLimits(
            sql_bytes_max=1000, ticket_seconds_max=100, ticket_renewed_seconds_max=250
        ),
        clock=clock,
    )


def test_a_ticket_is_renewed_up_to_its_limit(queries: Queries, clock: StandingClock) -> None:
    start = clock.now()
    planned = queries.plan(request(schema="s"), "SELECT 1 AS n FROM t")
    ticket, lives = planned.ticket, []
    for _ in range(3):
        clock.advance(80)
        ticket, expires_at = queries.renew(request(), ticket)
        lives.append((expires_at - start).total_seconds())
    assert lives == [180, 250, 250]
    _, batches = queries.stream(request(request_id="later"), ticket)
    assert sum(batch.num_rows for batch in batches) > 0
    clock.advance(10)
    with pytest.raises(InvalidRequest) as caught:
        queries.renew(request(), ticket)
    assert caught.value.code == "ticket_expired"


def test_a_ticket_that_has_expired_can_still_be_cancelled_by_its_owner(
    queries: Queries, clock: StandingClock
) -> None:
    planned = queries.plan(request(BOB), "SELECT 1 AS n")
    _, batches = queries.stream(request(BOB), planned.ticket)
    clock.advance(1000)
    assert queries.cancel(request(ADMIN), planned.ticket)
    with pytest.raises(Cancelled):
        list(batches)


def test_only_the_session_reads_its_temporary_tables(queries: Queries) -> None:
    mine = request(temporary=Temporary("s_1", frozenset({"nothing"})))
    planned = queries.plan(mine, "SELECT 1 AS n")
    # None was used, so any connection of the user may read on.
    assert len(list(queries.stream(request(), planned.ticket)[1])) == 1
    with pytest.raises(PermissionDenied):
        queries.stream(request(BOB), planned.ticket)
