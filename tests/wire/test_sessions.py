"""Sessions over the wire: options through drivers, connections kept apart, cookies, headers."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, Self

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl
import pytest

from flight_server.protocol import actions, flight
from tests.lakehouse import build_lakehouse
from tests.rpc.plain import Caller, Ending, action
from tests.servers import ADMIN_PASSWORD, Server, running
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, error_code, refused

OPTION = "adbc.flight.sql.session.option."
CATALOG, SCHEMA = "adbc.connection.catalog", "adbc.connection.db_schema"
WHERE_AM_I = "SELECT count(*) AS n FROM regions"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of two buckets, with room for three sessions of one user."""
    primary, other = (tmp_path_factory.mktemp(name) for name in ("primary", "other"))
    build_lakehouse(primary)
    build_lakehouse(other)
    add_user(primary, "bob")
    environment = {
        "LAKEFLIGHT_STORAGE__BUCKETS__OTHER": str(other),
        "LAKEFLIGHT_LIMITS__SESSIONS_PER_USER_MAX": "3",
        "LAKEFLIGHT_GRANTS": ('[{"privilege": "read", "resource": "primary", "user": "bob"}]'),
    }
    with running(primary, environment=environment) as server:
        yield server


@pytest.fixture
def raw_two(two: Server) -> Iterator[RawClient]:
    with RawClient.connect(two) as client:
        yield client
        client.act(flight.CloseSession())


def set_options(raw: RawClient, **options: flight.SessionOption) -> dict[str, str]:
    """Set options; returns what was not set, and why."""
    answer = raw.ask(flight.SetSessionOptions(options))
    return {name: error.value.name for name, error in answer.errors.items()}


def get_options(raw: RawClient) -> dict[str, Any]:
    return dict(raw.ask(flight.GetSessionOptions()).session_options)


def test_adbc_sets_catalog_and_schema(two: Server) -> None:
    with two.connect() as connection, two.connect() as other:
        adbc = connection.adbc_connection
        assert (adbc.get_option(CATALOG), adbc.get_option(SCHEMA)) == ("primary", "public")
        adbc.set_options(**{CATALOG: "other", SCHEMA: "sales"})
        assert (adbc.get_option(CATALOG), adbc.get_option(SCHEMA)) == ("other", "sales")
        with connection.cursor() as cursor:
            cursor.execute(WHERE_AM_I)
            assert cursor.fetchall() == [(4,)]
        # The other connection is a session of its own.
        assert other.adbc_connection.get_option(CATALOG) == "primary"
        with other.cursor() as cursor, pytest.raises(flightsql.Error) as caught:
            cursor.execute(WHERE_AM_I)
        assert error_code(caught.value) == "table_not_found"


def test_adbc_passes_any_other_option(two: Server) -> None:
    with two.connect() as connection:
        adbc = connection.adbc_connection
        adbc.set_options(**{f"{OPTION}purpose": "user_view", f"{OPTION}query_tag": "nightly"})
        adbc.set_options(**{f"{OPTION}query_timeout_seconds": 2.5})
        assert adbc.get_option(f"{OPTION}purpose") == "user_view"
        assert adbc.get_option_float(f"{OPTION}query_timeout_seconds") == 2.5
        for name, value in (("catalog", "nowhere"), ("colour", "red"), ("schema", "nowhere")):
            with pytest.raises(flightsql.Error, match="invalid"):
                adbc.set_options(**{f"{OPTION}{name}": value})


def test_options_are_read_set_and_unset(raw_two: RawClient) -> None:
    assert get_options(raw_two) == {"catalog": "primary", "schema": "public"}
    assert set_options(raw_two, catalog="other", schema="nowhere", x=1, purpose="admin") == {
        "schema": "INVALID_VALUE",
        "x": "INVALID_NAME",
    }
    assert get_options(raw_two) == {"catalog": "other", "schema": "public", "purpose": "admin"}
    assert set_options(raw_two, catalog=None, purpose=None, query_timeout_seconds=3) == {}
    assert get_options(raw_two) == {
        "catalog": "primary",
        "schema": "public",
        "query_timeout_seconds": 3.0,
    }


def test_a_catalog_that_one_may_not_see_does_not_exist(two: Server) -> None:
    with RawClient.connect(two, "bob", PASSWORD) as bob:
        assert set_options(bob, catalog="other") == {"catalog": "INVALID_VALUE"}
        assert set_options(bob, catalog="nowhere") == {"catalog": "INVALID_VALUE"}
        assert set_options(bob, catalog="primary") == {}
        bob.act(flight.CloseSession())


def test_close_session_frees_everything_and_the_token_goes_on(raw_two: RawClient) -> None:
    set_options(raw_two, catalog="other")
    for _ in range(2):
        assert raw_two.ask(flight.CloseSession()).status is flight.CloseSessionStatus.CLOSED
        assert get_options(raw_two)["catalog"] == "primary"


def test_a_header_is_below_the_option(two: Server) -> None:
    headers = {"x_lakehouse_bucket": "other", "x_lakehouse_purpose": "data_sync"}
    with RawClient.connect(two, **headers) as raw:
        assert get_options(raw) == {"catalog": "other", "schema": "public", "purpose": "data_sync"}
        set_options(raw, catalog="primary", purpose="user_view")
        options = {"catalog": "primary", "schema": "public", "purpose": "user_view"}
        assert get_options(raw) == options
        set_options(raw, catalog=None)
        assert get_options(raw)["catalog"] == "other"
        raw.act(flight.CloseSession())


@pytest.mark.parametrize(
    "header",
    [
        {"x_lakehouse_purpose": "p" * 257},
        {"x_lakehouse_query_tag": "p" * 257},
        {"x_lakehouse_idempotency_key": "k" * 201},
    ],
)
def test_headers_that_are_too_long_are_refused(two: Server, header: dict[str, str]) -> None:
    with RawClient.connect(two, **header) as raw:
        assert refused(lambda: raw.info("SELECT 1")) == "invalid_request"


def test_a_prepared_statement_keeps_its_names(raw_two: RawClient) -> None:
    set_options(raw_two, catalog="other", schema="sales")
    (endpoint,) = raw_two.info(WHERE_AM_I).endpoints
    set_options(raw_two, catalog=None, schema=None)
    assert raw_two.read(endpoint.ticket).to_pylist() == [{"n": 4}]


class Cookies:
    """A client with one token for all its connections, told apart by cookies as with JDBC."""

    def __init__(self, server: Server, username: str = "admin") -> None:
        password = ADMIN_PASSWORD if username == "admin" else PASSWORD
        with RawClient.connect(server, username, password) as raw:
            token: bytes = dict(raw.options.headers)[b"authorization"]
        self.caller = Caller(server.uri, token.decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.caller.close()

    def begin(self) -> str:
        """Begin a connection; returns its cookie."""
        header = str(self.caller.call("Handshake").headers["set-cookie"])
        found = re.fullmatch(r"lakeflight_session=([0-9a-f]{32}); Path=/; HttpOnly", header)
        assert found
        return f"lakeflight_session={found[1]}"

    def ask(self, request: actions.ActionRequest, **headers: str) -> Any:
        """Run an action and return its decoded answer."""
        name, body = actions.encode_action(request)
        ending = self.caller.call("DoAction", action(name, body), **headers)
        assert (ending.status, "set-cookie" in ending.headers) == ("OK", False)
        answer = fl.Result.deserialize(ending.answers[0]).body.to_pybytes()
        return actions.decode_action_result(name, answer)

    def catalog(self, **headers: str) -> Any:
        """Return the catalog of a session."""
        return self.ask(flight.GetSessionOptions(), **headers).session_options["catalog"]

    def use(self, catalog: str, **headers: str) -> None:
        """Set the catalog of a session."""
        assert not self.ask(flight.SetSessionOptions({"catalog": catalog}), **headers).errors


def test_cookies_tell_connections_of_one_token_apart(two: Server) -> None:
    with Cookies(two) as client:
        first, second = client.begin(), client.begin()
        assert first != second
        client.use("other", cookie=first)
        found = [client.catalog(cookie=cookie) for cookie in (first, second)]
        assert found == ["other", "primary"]
        assert client.catalog() == "primary"  # without a cookie, the token is the session
        # Who has a cookie gets no other, in a second handshake neither.
        assert "set-cookie" not in client.caller.call("Handshake", cookie=first).headers
        client.ask(flight.CloseSession(), cookie=first)
        assert client.catalog(cookie=first) == "primary"


def test_a_stolen_cookie_opens_nothing(two: Server) -> None:
    with Cookies(two) as owner, Cookies(two, "bob") as thief:
        cookie = owner.begin()
        owner.use("other", cookie=cookie)
        assert thief.catalog(cookie=cookie) == "primary"
        thief.ask(flight.SetSessionOptions({"query_tag": "mine"}), cookie=cookie)
        thief.ask(flight.CloseSession(), cookie=cookie)
        assert owner.catalog(cookie=cookie) == "other"
        owner.ask(flight.CloseSession(), cookie=cookie)


def test_passwords_in_every_call_are_told_apart_by_connection(two: Server) -> None:
    basic = "Basic " + base64.b64encode(f"bob:{PASSWORD}".encode()).decode()
    caller = Caller(two.uri, basic)
    name, body = actions.encode_action(flight.SetSessionOptions({"query_tag": "mine"}))
    made = caller.call("DoAction", action(name, body))
    cookie = str(made.headers["set-cookie"]).partition(";")[0]
    token = Caller(two.uri, str(made.headers["authorization"]))
    ask = action("GetSessionOptions", b"")
    assert _tag(caller.call("DoAction", ask)) == "mine"
    # The cookie and the token that came with the first answer lead there as well.
    assert _tag(caller.call("DoAction", ask, cookie=cookie)) == "mine"
    assert _tag(token.call("DoAction", ask)) == "mine"
    caller.call("DoAction", action("CloseSession", b""))
    caller.close()
    token.close()


def _tag(ending: Ending) -> Any:
    answer = fl.Result.deserialize(ending.answers[0]).body.to_pybytes()
    found = actions.decode_action_result("GetSessionOptions", answer)
    assert isinstance(found, flight.GetSessionOptionsResult)
    return found.session_options.get("query_tag")


def test_the_cap_of_sessions_is_an_error_that_names_it(two: Server) -> None:
    with Cookies(two) as client:
        cookies = [client.begin() for _ in range(4)]
        for cookie in cookies[:3]:
            client.use("other", cookie=cookie)
        with pytest.raises(AssertionError, match="UNAVAILABLE"):
            client.use("other", cookie=cookies[3])
        client.ask(flight.CloseSession(), cookie=cookies[0])
        client.use("other", cookie=cookies[3])
        for cookie in cookies[1:]:
            client.ask(flight.CloseSession(), cookie=cookie)


def _catalogs(connections: list[flightsql.Connection]) -> list[str]:
    return [connection.adbc_connection.get_option(CATALOG) for connection in connections]


@pytest.mark.parametrize(("cookies", "seen"), [("true", "primary"), ("false", "other")])
def test_connections_of_one_token_share_a_session_unless_they_echo_cookies(
    two: Server, cookies: str, seen: str
) -> None:
    with Cookies(two) as client:
        token = str(client.caller.authorization).removeprefix("Bearer ")
    options = {"adbc.flight.sql.rpc.with_cookie_middleware": cookies}
    with (
        two.connect("token", token, **options) as first,
        two.connect("token", token, **options) as second,
    ):
        first.adbc_connection.set_options(**{CATALOG: "other"})
        assert _catalogs([first, second]) == ["other", seen]


def test_use_and_set_are_of_the_session(two: Server) -> None:
    with two.connect() as connection, two.connect() as other:
        with connection.cursor() as cursor:
            cursor.execute("USE other.sales")
            cursor.execute("SET query_tag = 'nightly'")
            cursor.execute(WHERE_AM_I)
            assert cursor.fetchall() == [(4,)]
        adbc = connection.adbc_connection
        assert adbc.get_option(CATALOG) == "other"
        assert adbc.get_option(f"{OPTION}query_tag") == "nightly"
        with connection.cursor() as cursor, pytest.raises(flightsql.Error, match="purpose"):
            cursor.execute("SET work_mem = 1")
        assert other.adbc_connection.get_option(CATALOG) == "primary"


def test_temporary_tables_are_of_the_session_and_end_with_it(two: Server) -> None:
    folder = two.directory / ".lakeflight" / "_temporary"
    with RawClient.connect(two) as raw, RawClient.connect(two) as other:
        raw.fetch("CREATE TEMPORARY TABLE own AS SELECT 7 AS n")
        (endpoint,) = raw.info("SELECT n FROM own").endpoints
        assert raw.read(endpoint.ticket).to_pylist() == [{"n": 7}]
        assert refused(lambda: other.fetch("SELECT n FROM own")) == "table_not_found"
        assert refused(lambda: other.read(endpoint.ticket)) == "table_not_found"
        (schema,) = [path.name for path in folder.iterdir()]
        assert refused(lambda: other.fetch(f"SELECT n FROM temp.{schema}.own")) in (
            "table_not_found",
            "bucket_not_found",
        )
        raw.act(flight.CloseSession())
        assert not list(folder.iterdir())
        assert refused(lambda: raw.fetch("SELECT n FROM own")) == "table_not_found"
        assert refused(lambda: raw.read(endpoint.ticket)) == "table_not_found"


def test_a_ticket_means_the_tables_that_it_was_made_for(two: Server) -> None:
    with RawClient.connect(two) as raw:
        (endpoint,) = raw.info("SELECT count(*) AS n FROM events").endpoints
        raw.fetch("CREATE TEMPORARY TABLE events AS SELECT 7 AS id")
        assert raw.fetch("SELECT count(*) AS n FROM events").to_pylist() == [{"n": 1}]
        assert raw.read(endpoint.ticket).to_pylist() == [{"n": 3}]
        raw.act(flight.CloseSession())
