"""Limits of tiers and waits after failed sign-ins, as users meet them, over restarts and kills."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl
import pytest
from adbc_driver_manager import Error

from flight_server.clock import SystemClock
from flight_server.errors import Unauthenticated
from flight_server.ops.accounts import open_users
from flight_server.ops.counting import open_counting
from flight_server.ops.settings import Settings, load
from flight_server.protocol import actions, commands
from flight_server.service.limits import Step
from flight_server.storage.system import SystemTable
from flight_server.storage.system_tables import USERS
from tests.rpc.failures import Failure, failure_in
from tests.servers import Server, running, wait_until
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient

SECRET = "a secret of the tests, long enough"
TIERS = {
    "free": {"queries_per_day_max": None, "concurrent_queries_max": None},
    "few a day": {"queries_per_day_max": 3},
    "one at a time": {"concurrent_queries_max": 1},
}
EXPORT = "SELECT value, repeat('x', 500) AS s FROM generate_series(1, 1000000000)"


def variables(**more: str) -> dict[str, str]:
    return {
        "LAKEFLIGHT_AUTH__SECRET": SECRET,
        "LAKEFLIGHT_TIERS": json.dumps(TIERS),
        "LAKEFLIGHT_WORKERS__COUNT_MIN": "1",
        **more,
    }


@contextmanager
def served(folder: Path, **more: str) -> Iterator[Server]:
    with running(folder, environment=variables(**more)) as server:
        yield server


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server over a folder without tables."""
    with served(tmp_path_factory.mktemp("limited")) as server:
        yield server


def settings_of(folder: Path) -> Settings:
    return load(None, {"storage.primary": str(folder), "tiers": TIERS}, environ={})


def set_tier(server: Server, name: str, tier: str) -> None:
    """Give a user another tier, which may be none that the command knows."""
    system = server.directory / ".lakeflight"
    table = SystemTable(system, USERS, clock=SystemClock(), random_bytes=os.urandom)
    rows = table.snapshot().rows.values()
    (row,) = [row for row in rows if row["username"] == name]
    table.change(lambda rows: [{**rows[row["user_id"]], "subscription_tier": tier}])


def user_of(server: Server, name: str, tier: str = "free") -> str:
    """Add a user of a tier and return the name."""
    add_user(server.directory, name)
    set_tier(server, name, tier)
    return name


def ask(cursor: flightsql.Cursor, sql: str = "SELECT 1 AS n") -> list[Any]:
    cursor.execute(sql)
    return list(cursor.fetchall())


def refused(do: Callable[[], object]) -> Failure:
    with pytest.raises(Error) as caught:
        do()
    failure = failure_in(caught.value)
    assert (failure.code, failure.body["retryable"]) == ("limit_exceeded", True)
    return failure


def is_served(cursor: flightsql.Cursor, sql: str = "SELECT 1 AS n") -> bool:
    try:
        ask(cursor, sql)
    except Error:
        return False
    return True


def test_a_query_of_the_driver_is_one_request_and_the_eleventh_is_refused(limited: Server) -> None:
    name = user_of(limited, "eleven")
    started = time.monotonic()
    with limited.connect(name, PASSWORD) as connection, connection.cursor() as cursor:
        for number in range(5):
            assert ask(cursor) == [(1,)]
            cursor.execute("SELECT CAST(? AS BIGINT) + 1 AS n", [number])
            assert cursor.fetchall() == [(number + 1,)]
        failure = refused(lambda: ask(cursor))
    assert failure.message.endswith("tier=free requests_per_minute_max=10")
    assert 60 - (time.monotonic() - started) < failure.body["retry_after_seconds"] <= 60.001


def test_other_users_and_the_ends_of_things_are_served(limited: Server) -> None:
    name = user_of(limited, "ends")
    with RawClient.connect(limited, name, PASSWORD) as raw:
        handle = raw.prepare("SELECT 1").prepared_statement_handle
        (endpoint,) = raw.info("SELECT 2 AS n").endpoints
        for _ in range(8):
            raw.schema("SELECT 1")
        with pytest.raises(fl.FlightUnavailableError, match="requests_per_minute_max=10"):
            raw.info(commands.GetCatalogs())
        with pytest.raises(fl.FlightUnavailableError, match="requests_per_minute_max=10"):
            raw.call("query.list")
        assert raw.read(endpoint.ticket).to_pylist() == [{"n": 2}]
        assert raw.fetch(commands.PreparedStatementQuery(handle)).num_rows == 1
        with pytest.raises(fl.FlightUnavailableError):
            raw.read(endpoint.ticket)  # a second time is a request of its own
        raw.act(actions.ClosePreparedStatement(handle))
    assert limited.fetch("SELECT 1 AS n").num_rows == 1


class Behind(SystemClock):
    """A clock that is so many seconds behind."""

    def __init__(self, seconds: float) -> None:
        self.lag = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() - self.lag


def test_the_window_passes_and_a_restart_does_not_end_it(tmp_path: Path) -> None:
    add_user(tmp_path, "ada", tier="free")
    settings = settings_of(tmp_path)
    user_id = open_users(settings, SystemClock()).require("ada").user_id
    # As if a server had run a minute ago, less what it takes to start one and a bit.
    before = open_counting(settings, SECRET.encode(), Behind(54))
    for _ in range(10):
        before.limits.request(user_id, "free", step=Step.WHOLE)
    before.close()
    with (
        served(tmp_path) as server,
        server.connect("ada", PASSWORD) as connection,
        connection.cursor() as cursor,
    ):
        failure = refused(lambda: ask(cursor))
        told = time.monotonic() + failure.body["retry_after_seconds"]
        assert 0 < failure.body["retry_after_seconds"] < 6
        wait_until(lambda: is_served(cursor), what="room for a request")
        assert told - 0.05 < time.monotonic() < told + 1


def test_counts_survive_a_kill(tmp_path: Path) -> None:
    add_user(tmp_path, "ada", tier="free")
    add_user(tmp_path, "bob")
    with served(tmp_path) as server:
        set_tier(server, "bob", "few a day")
        for name, count in (("ada", 10), ("bob", 3)):
            with server.connect(name, PASSWORD) as connection, connection.cursor() as cursor:
                for _ in range(count):
                    ask(cursor)
        server.process.kill()
    with served(tmp_path) as server:
        for name, limit in (
            ("ada", "requests_per_minute_max=10"),
            ("bob", "queries_per_day_max=3"),
        ):
            with server.connect(name, PASSWORD) as connection, connection.cursor() as cursor:
                assert limit in refused(lambda: ask(cursor)).message


def test_a_day_has_so_many_queries_and_changes(limited: Server) -> None:
    name = user_of(limited, "daily", "few a day")
    with limited.connect(name, PASSWORD) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE t AS SELECT 1 AS n")
        for _ in range(5):  # refused, and so it counts for nothing
            assert not is_served(cursor, "INSERT INTO nowhere.t VALUES (1)")
        cursor.execute("USE SCHEMA public")
        assert ask(cursor, "SELECT n FROM t") == [(1,)]
        assert ask(cursor, "SELECT n FROM t") == [(1,)]
        failure = refused(lambda: ask(cursor, "SELECT n FROM t"))
        assert failure.message.endswith("tier=few a day queries_per_day_max=3")
        now = SystemClock().now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        left = (midnight - now).total_seconds()
        assert left <= failure.body["retry_after_seconds"] < left + 5
        refused(lambda: ask(cursor, "INSERT INTO t VALUES (2)"))
        assert connection.adbc_get_objects(depth="catalogs").read_all().num_rows
        set_tier(limited, name, "enterprise")
        assert ask(cursor, "SELECT n FROM t") == [(1,)]


def test_a_changed_tier_counts_from_the_next_call_on(limited: Server) -> None:
    name = user_of(limited, "changing")
    with limited.connect(name, PASSWORD) as connection, connection.cursor() as cursor:
        while is_served(cursor):
            pass
        set_tier(limited, name, "pro")
        assert ask(cursor) == [(1,)]
        set_tier(limited, name, "free")
        assert "tier=free" in refused(lambda: ask(cursor)).message


def test_places_are_limited_and_given_back(limited: Server) -> None:
    name = user_of(limited, "single", "one at a time")
    with RawClient.connect(limited, name, PASSWORD) as raw:
        export = raw.open(raw.info(EXPORT).endpoints[0].ticket)
        export.read_chunk()
        (endpoint,) = raw.info("SELECT 1 AS n").endpoints  # to describe takes no place
        with pytest.raises(fl.FlightUnavailableError, match="concurrent_queries_max=1") as caught:
            raw.read(endpoint.ticket)
        assert json.loads(caught.value.extra_info)["retry_after_seconds"] == 1.0
        (listed,) = raw.call("query.list")
        raw.call("query.cancel", query_id=listed["query_id"])
        assert raw.read(endpoint.ticket).to_pylist() == [{"n": 1}]
        dropped = raw.open(raw.info(EXPORT).endpoints[0].ticket)
        dropped.read_chunk()
        dropped.cancel()
        wait_until(lambda: not raw.call("query.list"), what="the end of the dropped query")
        assert raw.read(endpoint.ticket).to_pylist() == [{"n": 1}]


def sign_in(server: Server, name: str, password: str) -> tuple[str, float]:
    """Return how a sign-in ended and for how long to wait for the next one."""
    client = fl.FlightClient(server.uri)
    try:
        client.authenticate_basic_token(name, password)
    except fl.FlightError as error:
        body = json.loads(error.extra_info)
        return body["code"], body.get("retry_after_seconds", 0.0)
    finally:
        client.close()
    return "", 0.0


def login(server: Server, name: str, password: str) -> tuple[str, float]:
    """Do the same by the action, of which the server knows the address."""
    client = fl.FlightClient(server.uri)
    body = json.dumps({"username": name, "password": password}).encode()
    try:
        list(client.do_action(fl.Action("auth.login", body)))
    except fl.FlightError as error:
        found = json.loads(error.extra_info)
        return found["code"], found.get("retry_after_seconds", 0.0)
    finally:
        client.close()
    return "", 0.0


def tries(server: Server, name: str) -> int:
    """Guess until a guess is refused; return how many were looked at."""
    count = 0
    while sign_in(server, name, "wrong")[0] == "invalid_credentials":
        count += 1
    return count


def test_failed_sign_ins_wait_and_a_success_clears_them(tmp_path: Path) -> None:
    add_user(tmp_path, "ada")
    with (
        served(tmp_path, LAKEFLIGHT_AUTH__FAILURES_MAX="3") as server,
        server.connect("ada", PASSWORD) as connection,
        connection.cursor() as cursor,
    ):
        for name in ("ada", "nobody"):
            # On a busy machine the first wait may be over before the next guess.
            assert 3 <= tries(server, name) <= 5
        assert sign_in(server, "admin", "wrong")[0] == "invalid_credentials"
        assert ask(cursor) == [(1,)]  # who is signed in does not notice
        wait_until(lambda: sign_in(server, "ada", PASSWORD)[0] == "", what="the end of the wait")
        assert tries(server, "ada") >= 3


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_failed_sign_ins_are_remembered_over_a_kill(tmp_path: Path, name: str) -> None:
    add_user(tmp_path, "ada")
    clock = Behind(0)
    before = open_counting(settings_of(tmp_path), SECRET.encode(), clock)
    for number in reversed(range(12)):
        clock.lag = timedelta(seconds=65 * number)
        with suppress(Unauthenticated), before.throttle.attempt(name, None):
            raise Unauthenticated("wrong")
    before.close()
    for _ in range(2):
        with served(tmp_path, LAKEFLIGHT_AUTH__FAILURES_MAX="5") as server:
            for do in (sign_in, login):
                code, seconds = do(server, name.upper(), PASSWORD)
                assert (code, 60 < seconds < 128) == ("limit_exceeded", True)
            with pytest.raises(Error, match="too many failed sign-ins: the next one may be tried"):
                server.connect(name, PASSWORD)
            server.process.kill()


def test_where_somebody_signed_in_before_the_failures_of_others_do_not_count(
    tmp_path: Path,
) -> None:
    add_user(tmp_path, "ada")
    with served(tmp_path, LAKEFLIGHT_AUTH__FAILURES_MAX="3") as server:
        assert login(server, "ada", PASSWORD) == ("", 0.0)
        for _ in range(3):
            assert sign_in(server, "ada", "wrong")[0] == "invalid_credentials"
        assert sign_in(server, "ada", PASSWORD)[0] == "limit_exceeded"
        assert login(server, "ada", PASSWORD) == ("", 0.0)
