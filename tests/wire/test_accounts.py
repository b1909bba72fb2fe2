"""Accounts, sessions and tokens with real clients: what begins them, and what ends them at once."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl
import pytest

from flight_server.protocol import actions, commands
from tests.lakehouse import build_lakehouse
from tests.servers import ADMIN_PASSWORD, Server, running
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, error_code, refused

NEW_PASSWORD = "a quite different horse"
TIERS = {
    "free": {"requests_per_minute_max": 100_000, "queries_per_day_max": 100_000},
    "narrow": {"sessions_max": 2},
}
GRANTS = [
    {"privilege": "read", "resource": "primary", "role": role}
    for role in ("registered", "trader", "guest")
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("accounts")
    build_lakehouse(made)
    return made


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    environment = {
        "LAKEFLIGHT_TIERS": json.dumps(TIERS),
        "LAKEFLIGHT_GRANTS": json.dumps(GRANTS),
        "LAKEFLIGHT_AUTH__FAILURES_PER_ADDRESS_MAX": "100000",
    }
    with running(directory, environment=environment) as started:
        yield started
        logged = started.errors()
        assert PASSWORD not in logged
        assert NEW_PASSWORD not in logged
        assert "lfp_0" not in logged
        assert "$argon2" not in logged


@pytest.fixture(scope="module")
def admin(server: Server) -> Iterator[RawClient]:
    with RawClient.connect(server) as client:
        yield client


class Names:
    """Names that no test has taken yet."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> str:
        self.count += 1
        return f"user-{self.count}"


NAMES = Names()


@pytest.fixture
def name(server: Server, admin: RawClient) -> str:
    """A registered user of its own for each test, with ``PASSWORD``."""
    made = NAMES.next()
    anyone(server, "auth.register", username=made, email=f"{made}@example.com", password=PASSWORD)
    admin.call("user.approve", username=made)
    return made


@contextmanager
def bearer(server: Server, token: str) -> Iterator[RawClient]:
    """A client that sends a token with every call."""
    with fl.FlightClient(server.uri) as client:
        header = (b"authorization", f"Bearer {token}".encode())
        yield RawClient(client, fl.FlightCallOptions(headers=[header]))


def anyone(server: Server, action: str, **values: Any) -> dict[str, Any]:
    """Call an action without credentials."""
    with RawClient(fl.FlightClient(server.uri), fl.FlightCallOptions()) as client:
        (answer,) = client.call(action, **values)
    return answer


def login(server: Server, username: str, password: str = PASSWORD) -> dict[str, Any]:
    return anyone(server, "auth.login", username=username, password=password)


def test_from_asking_for_an_account_to_the_first_query(server: Server, admin: RawClient) -> None:
    asked = anyone(
        server,
        "auth.register",
        username="ada",
        email="ada@example.com",
        password=PASSWORD,
        tier="pro",
    )
    assert (asked["role"], asked["subscription_tier"], asked["requested_tier"]) == (
        "pending",
        "free",
        "pro",
    )
    with RawClient.connect(server, "ada", PASSWORD) as ada:
        (me,) = ada.call("auth.whoami")
        assert (me["username"], me["role"], me["email"]) == ("ada", "pending", "ada@example.com")
        for call in everything(ada):
            assert refused(call) == "permission_denied"
        (approved,) = admin.call("user.approve", user_id=asked["user_id"])
        assert (approved["role"], approved["requested_tier"]) == ("registered", None)
        assert ada.fetch("SELECT count(*) AS n FROM events").to_pylist() == [{"n": 3}]
        assert refused(lambda: admin.call("user.approve", user_id=asked["user_id"])) == (
            "invalid_request"
        )
        assert refused(lambda: admin.call("user.reject", username="ada")) == "invalid_request"


def everything(client: RawClient) -> list[Callable[[], object]]:
    """Return calls that only an approved account may make."""
    return [
        lambda: client.info("SELECT 1"),
        lambda: client.info(commands.GetCatalogs()),
        lambda: client.read(commands.encode_command(commands.GetCatalogs())),
        lambda: client.prepare("SELECT 1"),
        lambda: client.call("query.list"),
        lambda: client.call("session.list"),
        lambda: client.call("token.create", name="mine"),
        lambda: client.call("token.list"),
        lambda: client.call("user.list"),
        lambda: client.call("table.history", table="events"),
        lambda: list(client.client.list_actions(client.options)),
    ]


def test_an_account_that_waits_looks_after_itself_alone(server: Server, admin: RawClient) -> None:
    waiting = NAMES.next()
    anyone(server, "auth.register", username=waiting, email="w@example.com", password=PASSWORD)
    with RawClient.connect(server, waiting, PASSWORD) as client:
        client.call("auth.change_password", old=PASSWORD, new=NEW_PASSWORD)
        client.call("auth.logout")
        assert refused(lambda: client.call("auth.whoami")) == "token_revoked"
    with server.connect(waiting, NEW_PASSWORD) as driver, driver.cursor() as cursor:
        with pytest.raises(flightsql.Error) as caught:
            cursor.execute("SELECT 1")
        assert error_code(caught.value) == "permission_denied"
    (rejected,) = admin.call("user.reject", username=waiting)
    assert rejected["username"] == waiting
    assert refused(lambda: login(server, waiting, NEW_PASSWORD)) == "invalid_credentials"
    anyone(server, "auth.register", username=waiting, email="w@example.com", password=PASSWORD)


def test_tokens_by_action(server: Server, name: str) -> None:
    first = login(server, name)
    assert first["username"] == name
    with bearer(server, first["token"]) as client:
        assert client.call("auth.whoami")[0]["session_id"] == first["session_id"]
        second = anyone(server, "auth.refresh", refresh_token=first["refresh_token"])
        assert second["session_id"] == first["session_id"]
        assert second["token"] != first["token"]
        assert client.fetch("SELECT 1 AS n").num_rows == 1
        # The first refresh token comes again: somebody has stolen it, so the session is over.
        reused = refused(
            lambda: anyone(server, "auth.refresh", refresh_token=first["refresh_token"])
        )
        assert reused == "token_revoked"
        assert refused(lambda: client.call("auth.whoami")) == "token_revoked"
    with bearer(server, second["token"]) as client:
        assert refused(lambda: client.info("SELECT 1")) == "token_revoked"
    again = refused(lambda: anyone(server, "auth.refresh", refresh_token=second["refresh_token"]))
    assert again == "token_revoked"
    assert refused(lambda: anyone(server, "auth.refresh", refresh_token="lfr_AAAA")) == (
        "unauthenticated"
    )


@pytest.mark.parametrize("password", ["wrong-password", "", "x" * 3000])
def test_who_cannot_sign_in_hears_the_same(server: Server, name: str, password: str) -> None:
    messages = set()
    for username in (name, "nobody-at-all", "", "a\nb"):
        with pytest.raises(fl.FlightUnauthenticatedError) as caught:
            login(server, username, password)
        assert error_code(caught.value) == "invalid_credentials"
        messages.add(json.loads(caught.value.extra_info)["message"])
    assert len(messages) == 1


def after_each_step(client: RawClient) -> dict[str, Callable[[], object]]:
    """Begin everything that a client may hold on to; return how it goes on with it."""
    ticket = client.info("SELECT * FROM events").endpoints[0].ticket
    handle = client.prepare("SELECT * FROM events").prepared_statement_handle
    query = commands.PreparedStatementQuery(handle)
    close = actions.ClosePreparedStatement(handle)
    catalog = client.info(commands.GetTables()).endpoints[0].ticket
    return {
        "a ticket": lambda: client.read(ticket),
        "a prepared statement": lambda: client.info(query),
        "its end": lambda: client.act(close),
        "a catalog ticket": lambda: client.read(catalog),
        "a new query": lambda: client.info("SELECT 1"),
        "an action": lambda: client.call("auth.whoami"),
    }


@pytest.mark.parametrize("what", ["killed", "disabled", "logged out", "password", "kill by admin"])
def test_what_ends_a_session_counts_at_the_next_call(
    server: Server, admin: RawClient, name: str, what: str
) -> None:
    with (
        RawClient.connect(server, name, PASSWORD) as client,
        RawClient.connect(server, name, PASSWORD) as other,
    ):
        (mine,) = client.call("auth.whoami")
        held = after_each_step(client)
        assert len(held) == 6
        if what == "killed":
            other.call("session.kill", session_id=mine["session_id"])
        elif what == "kill by admin":
            admin.call("session.kill", session_id=mine["session_id"])
        elif what == "disabled":
            admin.call("user.disable", username=name)
        elif what == "logged out":
            client.call("auth.logout")
        else:
            (ended,) = other.call("auth.change_password", old=PASSWORD, new=NEW_PASSWORD)
            assert ended["sessions_ended"] == 1
        for step, go_on in held.items():
            assert refused(go_on) == "token_revoked", step
        if what == "disabled":
            assert refused(lambda: login(server, name)) == "invalid_credentials"
            admin.call("user.enable", username=name)
            assert refused(held["a ticket"]) == "token_revoked"
            assert refused(lambda: other.info("SELECT 1")) == "token_revoked"
            assert login(server, name)
        else:
            assert other.fetch("SELECT 1 AS n").num_rows == 1


def test_another_role_counts_at_the_next_call(server: Server, admin: RawClient, name: str) -> None:
    with RawClient.connect(server, name, PASSWORD) as client:
        held = after_each_step(client)
        admin.call("user.set_role", username=name, role="pending")
        for step in ("a ticket", "a prepared statement", "a catalog ticket", "a new query"):
            assert refused(held[step]) == "permission_denied", step
        admin.call("user.set_role", username=name, role="trader", custom_roles=["desk", "desk"])
        (me,) = client.call("auth.whoami")
        assert (me["role"], me["custom_roles"]) == ("trader", ["desk"])
        assert client.read(client.info("SELECT * FROM events").endpoints[0].ticket).num_rows == 3
        assert refused(lambda: client.call("user.list")) == "permission_denied"
        admin.call("user.set_role", username=name, role="admin")
        assert len(client.call("user.list")) > 1
        admin.call("user.set_role", username=name, role="registered")
        assert refused(lambda: client.call("user.list")) == "permission_denied"


def test_a_guest_sees_what_there_is_and_reads_nothing(
    server: Server, admin: RawClient, name: str
) -> None:
    with RawClient.connect(server, name, PASSWORD) as client:
        held = after_each_step(client)
        assert client.read(client.info("SELECT * FROM events").endpoints[0].ticket).num_rows == 3
        admin.call("user.set_role", username=name, role="guest")
        for step in ("a ticket", "a prepared statement"):
            assert refused(held[step]) == "permission_denied", step
        for sql in (
            "SELECT * FROM events",
            "SELECT count(*) FROM sales.orders",
            "INSERT INTO events VALUES (9, 'x')",
            "DELETE FROM events",
            "DROP TABLE events",
            "CREATE TABLE mine (n INT)",
            "CREATE VIEW mine AS SELECT * FROM events",
        ):
            assert refused(lambda: client.fetch(sql)) == "permission_denied", sql  # noqa: B023  called at once
        assert refused(lambda: client.fetch("SELECT * FROM nowhere")) == "table_not_found"
        assert refused(lambda: client.fetch("SELECT * FROM system.auth.users")) == "table_not_found"
        tables = client.fetch(commands.GetTables(include_schema=True)).to_pylist()
        assert "events" in {each["table_name"] for each in tables}
        columns = client.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'events'"
        )
        assert columns["column_name"].to_pylist() == ["id", "kind"]
        assert client.fetch("SHOW TABLES").num_rows >= 1
        assert client.call("auth.whoami")[0]["role"] == "guest"


@contextmanager
def driven(server: Server, username: str, password: str) -> Iterator[flightsql.Cursor]:
    """A cursor of the official driver, which cannot even close its statements in the end."""
    connection = server.connect(username, password)
    cursor = connection.cursor()
    try:
        yield cursor
    finally:
        with warnings.catch_warnings(), suppress(flightsql.Error, RuntimeError):
            warnings.simplefilter("ignore", ResourceWarning)
            connection.close()


# The driver closes a statement that it could not close before once more, when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_official_driver_hears_of_it_too(server: Server, admin: RawClient, name: str) -> None:
    with driven(server, name, PASSWORD) as cursor:
        cursor.adbc_prepare("SELECT count(*) AS n FROM events")
        cursor.execute("SELECT count(*) AS n FROM events")
        assert cursor.fetchone() == (3,)
        (session,) = admin.call("session.list", user=name)
        admin.call("session.kill", session_id=session["session_id"])
        with pytest.raises(flightsql.ProgrammingError, match=r"UNAUTHENTICATED.*session has ended"):
            cursor.execute("SELECT count(*) AS n FROM events")
        with pytest.raises(flightsql.Error, match=r"(?i)unauthenticated.*session has ended"):
            cursor.connection.adbc_get_objects(depth="catalogs").read_all()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_personal_token_in_all_its_uses(server: Server, admin: RawClient, name: str) -> None:
    with RawClient.connect(server, name, PASSWORD) as client:
        (made,) = client.call("token.create", name="nightly load", expires_in_seconds=3600)
        text = made["token"]
        assert text.startswith("lfp_")
        (listed,) = client.call("token.list")
        assert listed == {
            key: made[key] for key in ("token_id", "name", "created_at", "expires_at")
        }
        with bearer(server, text) as program, driven(server, "token", text) as cursor:
            assert program.fetch("SELECT 1 AS n").num_rows == 1
            assert program.call("auth.whoami")[0]["username"] == name
            assert refused(lambda: program.call("token.create", name="more")) == "permission_denied"
            assert refused(lambda: program.call("auth.logout")) == "invalid_request"
            cursor.execute("SELECT count(*) FROM events")
            assert cursor.fetchone() == (3,)
            with RawClient.connect(server, "token", text) as other:
                assert other.fetch("SELECT 1 AS n").num_rows == 1
            # A new password ends sessions; what runs unattended goes on.
            client.call("auth.change_password", old=PASSWORD, new=NEW_PASSWORD)
            assert program.fetch("SELECT 1 AS n").num_rows == 1
            admin.call("user.disable", username=name)
            assert refused(lambda: program.info("SELECT 1")) == "token_revoked"
            admin.call("user.enable", username=name)
            assert program.fetch("SELECT 1 AS n").num_rows == 1
            (revoked,) = admin.call("token.revoke", token_id=made["token_id"])
            assert revoked == {"token_id": made["token_id"], "status": "revoked"}
            assert refused(lambda: program.info("SELECT 1")) == "token_revoked"
            with pytest.raises(flightsql.ProgrammingError, match="the token was revoked"):
                cursor.execute("SELECT 1")
        assert refused(lambda: RawClient.connect(server, "token", text)) == "token_revoked"


def test_one_token_of_a_session_is_revoked_by_its_id(server: Server, name: str) -> None:
    first = login(server, name)
    second = anyone(server, "auth.refresh", refresh_token=first["refresh_token"])
    with bearer(server, first["token"]) as old, bearer(server, second["token"]) as new:
        (me,) = old.call("auth.whoami")
        new.call("token.revoke", token_id=me["token_id"])
        assert refused(lambda: old.info("SELECT 1")) == "token_revoked"
        assert new.fetch("SELECT 1 AS n").num_rows == 1


def test_what_is_somebody_elses_is_out_of_reach(
    server: Server, admin: RawClient, name: str
) -> None:
    stranger = NAMES.next()
    anyone(server, "auth.register", username=stranger, email="s@example.com", password=PASSWORD)
    admin.call("user.approve", username=stranger)
    with (
        RawClient.connect(server, name, PASSWORD) as client,
        RawClient.connect(server, stranger, PASSWORD) as other,
    ):
        (mine,) = client.call("auth.whoami")
        (made,) = client.call("token.create", name="mine")
        assert refused(lambda: other.call("session.kill", session_id=mine["session_id"])) == (
            "session_not_found"
        )
        assert refused(lambda: other.call("token.revoke", token_id=made["token_id"])) == (
            "token_not_found"
        )
        other.call("token.revoke", token_id=mine["token_id"])  # the same answer for any jti
        assert refused(lambda: other.call("session.list", user=name)) == "user_not_found"
        assert refused(lambda: other.call("token.list", user=name)) == "user_not_found"
        assert other.call("token.list") == []
        assert {each["username"] for each in other.call("session.list")} == {stranger}
        for action in ("approve", "reject", "disable", "enable"):
            denied = refused(lambda: other.call(f"user.{action}", username=name))  # noqa: B023  called at once
            assert denied == "permission_denied"
        assert client.fetch("SELECT 1 AS n").num_rows == 1
        with bearer(server, made["token"]) as program:
            assert program.fetch("SELECT 1 AS n").num_rows == 1


def test_sessions_are_listed_with_where_they_come_from(
    server: Server, admin: RawClient, name: str
) -> None:
    made = login(server, name)
    with bearer(server, made["token"]) as client:
        (listed,) = client.call("session.list")
        assert listed["session_id"] == made["session_id"]
        assert listed["ip_address"] == "127.0.0.1"
        assert "grpc" in listed["user_agent"]
        assert listed["is_current"]
        assert listed["last_used_at"] >= listed["created_at"]
    everybodys = admin.call("session.list")
    assert {"admin", name} <= {each["username"] for each in everybodys}
    assert sum(each["is_current"] for each in everybodys) == 1


def test_the_session_used_least_recently_makes_room(
    server: Server, admin: RawClient, name: str
) -> None:
    admin.call("user.set_tier", username=name, tier="narrow")
    first, second = login(server, name), login(server, name)
    with bearer(server, first["token"]) as kept, bearer(server, second["token"]) as ended:
        assert kept.fetch("SELECT 1 AS n").num_rows == 1
        third = login(server, name)
        assert kept.fetch("SELECT 1 AS n").num_rows == 1
        assert refused(lambda: ended.info("SELECT 1")) == "token_revoked"
    with bearer(server, third["token"]) as client:
        assert len(client.call("session.list")) == 2


def test_a_killed_session_takes_its_temporary_tables_along(
    server: Server, admin: RawClient, name: str, directory: Path
) -> None:
    folder = directory / ".lakeflight" / "_temporary"

    def count() -> int:
        return len(list(folder.glob("*/*/_delta_log"))) if folder.exists() else 0

    with RawClient.connect(server, name, PASSWORD) as client:
        before = count()
        client.fetch("CREATE TEMPORARY TABLE mine AS SELECT 1 AS n")
        assert count() == before + 1
        (session,) = admin.call("session.list", user=name)
        admin.call("session.kill", session_id=session["session_id"])
        assert count() == before


def test_the_last_administrator_stays(server: Server, admin: RawClient, name: str) -> None:
    for action, values in (
        ("user.disable", {}),
        ("user.set_role", {"role": "registered"}),
        ("user.reject", {}),
    ):
        with pytest.raises(fl.FlightError) as caught:
            admin.call(action, username="admin", **values)
        assert error_code(caught.value) == "invalid_request"
    admin.call("user.set_role", username=name, role="admin")
    admin.call("user.disable", username=name)
    assert refused(lambda: admin.call("user.disable", username="admin")) == "invalid_request"
    assert admin.fetch("SELECT 1 AS n").num_rows == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"username": "a\nb"}, "user name"),
        ({"username": "a" * 10_240}, "user name"),
        ({"username": ""}, "user name"),
        ({"username": "ädmin"}, "user name"),
        ({"username": "ADMIN"}, "reserved"),
        ({"username": "Administrator"}, "reserved"),
        ({"username": "Token"}, "reserved"),
        ({"email": "nobody"}, "e-mail"),
        ({"email": "a@b\n.com"}, "e-mail"),
        ({"email": "x" * 10_240 + "@example.com"}, "e-mail"),
        ({"password": "short"}, "8 to 1024 bytes"),
        ({"password": "x" * 1025}, "8 to 1024 bytes"),
        ({"password": "Password123!"}, "tried first"),
        ({"username": "margarete", "password": "Margarete"}, "user name or"),
        ({"password": "NEWCOMER@example.com"}, "user name or"),
        ({"tier": "gold"}, "the tier is one of"),
        ({"tier": "\x00"}, "the tier is one of"),
        ({"email": None}, "needs the field 'email'"),
        ({"role": "admin"}, "no field 'role'"),
    ],
)
def test_accounts_that_cannot_be(server: Server, values: dict[str, Any], says: str) -> None:
    body = {
        "username": "newcomer",
        "email": "newcomer@example.com",
        "password": PASSWORD,
        **values,
    }
    with pytest.raises(fl.FlightError) as caught:
        anyone(server, "auth.register", **body)
    assert error_code(caught.value) == "invalid_request"
    message = json.loads(caught.value.extra_info)["message"]
    assert says in message
    assert len(message) < 300
    assert body["password"] not in message


def test_a_name_is_taken_once(server: Server, name: str) -> None:
    code = refused(
        lambda: anyone(
            server,
            "auth.register",
            username=name.upper(),
            email="other@example.com",
            password=PASSWORD,
        )
    )
    assert code == "already_exists"


@pytest.mark.parametrize(
    ("action", "values"),
    [
        ("user.set_role", {"role": "king"}),
        ("user.set_role", {"role": "registered", "custom_roles": ["Admin"]}),
        ("user.set_role", {"role": "registered", "custom_roles": ["admin"]}),
        ("user.set_tier", {"tier": "gold"}),
        ("user.set_attributes", {"attributes": {"Region": "north"}}),
        ("user.set_attributes", {"attributes": {"region": ""}}),
        ("user.set_attributes", {"attributes": {"region": 7}}),
        ("user.set_attributes", {"attributes": {"region": "x" * 257}}),
        ("user.set_attributes", {"attributes": {f"a{n}": "x" for n in range(33)}}),
        ("user.set_role", {"role": "registered", "user_id": "both"}),
        ("token.create", {"name": "x", "expires_at": "tomorrow"}),
        ("token.create", {"name": "x", "expires_at": "2027-01-01"}),
        ("token.create", {"name": "x", "expires_in_seconds": -1}),
        ("auth.change_password", {"old": ADMIN_PASSWORD, "new": ADMIN_PASSWORD}),
        ("auth.change_password", {"old": ADMIN_PASSWORD, "new": "admin"}),
    ],
)
def test_changes_that_cannot_be(
    admin: RawClient, name: str, action: str, values: dict[str, Any]
) -> None:
    who = {"username": name} if action.startswith("user.") else {}
    assert refused(lambda: admin.call(action, **{**who, **values})) == "invalid_request"


def test_who_is_not_there_is_not_found(admin: RawClient) -> None:
    for values in ({"user_id": "nobody"}, {"username": "nobody"}):
        assert refused(lambda: admin.call("user.disable", **values)) == "user_not_found"  # noqa: B023  called at once
    assert refused(lambda: admin.call("user.disable")) == "invalid_request"
    assert refused(lambda: admin.call("session.kill", session_id="none")) == "session_not_found"


def test_a_wrong_old_password_changes_nothing(server: Server, name: str) -> None:
    with RawClient.connect(server, name, PASSWORD) as client:
        wrong = refused(lambda: client.call("auth.change_password", old="wrong", new=NEW_PASSWORD))
        assert wrong == "invalid_credentials"
        assert client.fetch("SELECT 1 AS n").num_rows == 1
    assert login(server, name)


def test_no_secret_is_ever_shown(server: Server, admin: RawClient, name: str) -> None:
    login(server, name)
    shown = json.dumps(
        [
            *admin.call("user.list"),
            *admin.call("session.list"),
            *admin.call("token.list", user=name),
            *admin.call("auth.whoami"),
        ]
    )
    for secret in ("hash", "argon2", "lfr_", "lfp_", "eyJ"):
        assert secret not in shown


def test_a_user_that_the_command_adds_signs_in_at_once(server: Server, directory: Path) -> None:
    made = NAMES.next()
    add_user(directory, made)
    assert login(server, made)["username"] == made
