"""The life of queries over the wire: cancelled by somebody else, out of time, renewed, listed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.flight as fl
import pytest

from flight_server.protocol import actions, commands, flight
from tests.faults.processes import busy_worker, cores_used, has_ended
from tests.servers import Server, running, wait_until
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, error_code, refused

ENDLESS = "SELECT count(*) AS n FROM generate_series(1, 400000000000) AS t(v) WHERE v % 7 = 3"
EXPORT = "SELECT value, repeat('x', 500) AS s FROM generate_series(1, 1000000000)"
STOP_SECONDS_MAX = 2.0


@pytest.fixture(scope="module")
def bob_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server without tables, with another user beside the administrator."""
    with running(tmp_path_factory.mktemp("lifetime")) as server:
        yield server


@pytest.fixture(scope="module")
def bob(bob_server: Server) -> Iterator[RawClient]:
    add_user(bob_server.directory, "lifebob")
    with RawClient.connect(bob_server, "lifebob", PASSWORD) as client:
        yield client


@pytest.fixture
def admin(bob_server: Server) -> Iterator[RawClient]:
    with RawClient.connect(bob_server) as client:
        yield client


class Reading:
    """A ticket that is read in a thread."""

    def __init__(self, raw: RawClient, ticket: fl.Ticket) -> None:
        self.code = ""
        self.message = ""
        self._raw, self._ticket = raw, ticket
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._raw.read(self._ticket)
        except fl.FlightError as error:
            self.code, self.message = error_code(error), str(error)

    def ended(self) -> tuple[str, str]:
        """Wait for the end; returns the code and the message of its error."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.code, self.message


def info_of(raw: RawClient, sql: str) -> tuple[fl.FlightInfo, flight.FlightInfo]:
    info = raw.info(sql)
    return info, flight.decode_flight_info(info.serialize())


def cancel(raw: RawClient, info: flight.FlightInfo) -> str:
    status: flight.CancelStatus = raw.ask(flight.CancelFlightInfo(info)).status
    return status.name


@pytest.mark.parametrize("by", ["CancelFlightInfo", "CancelQuery", "query.cancel"])
def test_another_connection_cancels_within_two_seconds(
    bob_server: Server, bob: RawClient, by: str
) -> None:
    info, body = info_of(bob, ENDLESS)
    reading = Reading(bob, info.endpoints[0].ticket)
    worker = busy_worker(bob_server)
    with RawClient.connect(bob_server, "lifebob", PASSWORD) as other:
        start = time.monotonic()
        if by == "CancelFlightInfo":
            assert cancel(other, body) == "CANCELLED"
        elif by == "CancelQuery":
            answer = other.ask(actions.CancelQuery(info.serialize()))
            assert answer.result is actions.CancelResult.CANCELLED
        else:
            (listed,) = other.call("query.list")
            assert other.call("query.cancel", query_id=listed["query_id"])
    assert reading.ended()[0] == "cancelled"
    assert "the query was cancelled" in reading.ended()[1]

    def has_stopped() -> bool:
        return has_ended(worker) or cores_used([worker], seconds=0.2) < 0.1

    wait_until(has_stopped, seconds_max=STOP_SECONDS_MAX, what="the end of the work")
    assert time.monotonic() - start < STOP_SECONDS_MAX + 0.5
    if by != "query.cancel":  # which ends what runs, and knows nothing of the ticket
        assert refused(lambda: bob.read(info.endpoints[0].ticket)) == "cancelled"


def test_an_export_whose_reader_stalls_is_cancelled(bob: RawClient, admin: RawClient) -> None:
    info, body = info_of(bob, EXPORT)
    reader = bob.open(info.endpoints[0].ticket)
    reader.read_chunk()
    wait_until(lambda: _streaming(bob), what="a stream")
    assert cancel(admin, body) == "CANCELLED"
    wait_until(lambda: not bob.call("query.list"), seconds_max=STOP_SECONDS_MAX, what="its end")
    with pytest.raises(fl.FlightCancelledError, match="the query was cancelled"):
        read_on(reader)


def read_on(reader: Any) -> None:
    """Read until the end of a stream that has no other end than an error."""
    while True:
        reader.read_chunk()


def _streaming(raw: RawClient) -> bool:
    return [run["state"] for run in raw.call("query.list")] == ["streaming"]


def test_who_may_cancel(bob: RawClient, admin: RawClient) -> None:
    info, body = info_of(admin, "SELECT 1 AS n")
    assert refused(lambda: bob.act(flight.CancelFlightInfo(body))) == "permission_denied"
    assert admin.read(info.endpoints[0].ticket).num_rows == 1
    assert cancel(admin, body) == "NOT_CANCELLABLE"
    _, unread = info_of(bob, "SELECT 2 AS n")
    assert cancel(admin, unread) == "CANCELLED"


def test_a_ticket_cancelled_before_it_is_used_is_refused(bob: RawClient) -> None:
    info, body = info_of(bob, "SELECT 3 AS n")
    assert cancel(bob, body) == "CANCELLED"
    assert refused(lambda: bob.read(info.endpoints[0].ticket)) == "cancelled"
    assert refused(lambda: bob.act(flight.RenewFlightEndpoint(body.endpoint[0]))) == "cancelled"
    assert cancel(bob, body) == "CANCELLED"


def test_what_cannot_be_cancelled(bob: RawClient) -> None:
    catalogs = flight.decode_flight_info(bob.info(commands.GetCatalogs()).serialize())
    assert cancel(bob, catalogs) == "NOT_CANCELLABLE"
    assert cancel(bob, flight.FlightInfo()) == "NOT_CANCELLABLE"
    assert refused(lambda: bob.act(flight.CancelFlightInfo(None))) == "invalid_request"
    assert refused(lambda: bob.act(actions.CancelQuery(b"\xff\xff"))) == "invalid_request"
    forged = flight.FlightEndpoint(
        flight.Ticket(commands.encode_command(commands.TicketStatementQuery(b"forged")))
    )
    info = flight.FlightInfo(endpoint=(forged,))
    assert refused(lambda: bob.act(flight.CancelFlightInfo(info))) == "invalid_request"
    assert refused(lambda: bob.call("query.cancel", query_id="nothing")) == "query_not_found"


def test_the_time_of_the_session_is_a_deadline(bob_server: Server, bob: RawClient) -> None:
    with RawClient.connect(bob_server, "lifebob", PASSWORD) as raw:
        assert not raw.ask(flight.SetSessionOptions({"query_timeout_seconds": "0.5"})).errors
        (endpoint,) = raw.info(ENDLESS).endpoints
        start = time.monotonic()
        with pytest.raises(fl.FlightTimedOutError, match=r"query_timeout_seconds=0\.5"):
            raw.read(endpoint.ticket)
        assert time.monotonic() - start < 0.5 + STOP_SECONDS_MAX
        # The other connection of the same user has a session of its own.
        assert "query_timeout_seconds" not in _options(bob)
        raw.act(flight.CloseSession())


def _options(raw: RawClient) -> Any:
    return raw.ask(flight.GetSessionOptions()).session_options


def test_a_ticket_is_renewed(bob: RawClient, admin: RawClient) -> None:
    _, body = info_of(bob, "SELECT 4 AS n")
    (first,) = body.endpoint
    assert first.ticket is not None
    assert first.expiration_time is not None
    renewed = bob.ask(flight.RenewFlightEndpoint(first))
    assert first.expiration_time < renewed.expiration_time
    assert renewed.expiration_time - datetime.now(UTC) < timedelta(seconds=3600)
    assert bob.read(renewed.ticket.ticket).to_pylist() == [{"n": 4}]
    assert bob.read(first.ticket.ticket).to_pylist() == [{"n": 4}]
    assert refused(lambda: admin.act(flight.RenewFlightEndpoint(first))) == "permission_denied"
    assert refused(lambda: bob.act(flight.RenewFlightEndpoint(None))) == "invalid_request"
    changed = flight.FlightEndpoint(flight.Ticket(first.ticket.ticket[:-1] + b"x"))
    assert refused(lambda: bob.act(flight.RenewFlightEndpoint(changed))) == "invalid_request"


def test_queries_are_listed_without_their_values(bob: RawClient, admin: RawClient) -> None:
    info, body = info_of(bob, EXPORT + " -- secret")
    tagged = fl.FlightCallOptions(
        headers=[*bob.options.headers, (b"x-lakehouse-query-tag", b"nightly")]
    )
    reader = bob.client.do_get(info.endpoints[0].ticket, tagged)
    reader.read_chunk()
    wait_until(lambda: _streaming(bob), what="a stream")
    (own,) = bob.call("query.list")
    assert own["statement"] == ("SELECT value, repeat(?, ?) AS s FROM generate_series(?, ?)")
    assert (own["username"], own["kind"], own["query_tag"]) == ("lifebob", "query", "nightly")
    assert own["rows"] > 0
    assert own in [{**run, "rows": own["rows"]} for run in admin.call("query.list")]
    assert cancel(bob, body) == "CANCELLED"
    with pytest.raises(fl.FlightCancelledError):
        read_on(reader)


def test_queries_of_others_are_nobodys_business(bob: RawClient, admin: RawClient) -> None:
    info, body = info_of(admin, EXPORT)
    reader = admin.open(info.endpoints[0].ticket)
    reader.read_chunk()
    (listed,) = admin.call("query.list")
    assert bob.call("query.list") == []
    refusal = refused(lambda: bob.call("query.cancel", query_id=listed["query_id"]))
    assert refusal == "query_not_found"
    assert cancel(admin, body) == "CANCELLED"
    reader.cancel()
