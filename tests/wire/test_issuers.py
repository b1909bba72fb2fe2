"""Tokens of another system over the wire: a real issuer, real signatures, the official driver."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as fl
import pytest

from flight_server.auth.issuer_keys import REFETCH_SECONDS_MIN
from flight_server.auth.issuers import external_id_of
from flight_server.protocol import commands
from tests.auth import forging
from tests.auth.issuing import CONFIGURATION, KEYS, Issuer, issuing, plain_answer, public_jwk
from tests.servers import Server, running, wait_until
from tests.wire.accounts import PASSWORD, add_user
from tests.wire.raw import RawClient, refused

KEYS_OF: dict[str, forging.PrivateKey] = {
    "rsa": forging.rsa_key(),
    "ec": forging.ec_key(),
    "ed": forging.ed_key(),
}
SELECT_1 = fl.FlightDescriptor.for_command(
    commands.encode_command(commands.StatementQuery("SELECT 1"))
)


def settings_for(**issuers: Mapping[str, Any]) -> dict[str, str]:
    usual = {
        "audience": "lakehouse",
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "roles_claim": "realm_access.roles",
        "roles": {"staff": "registered", "boss": "admin", "ml": "ml-team"},
        "tier_claim": "plan",
    }
    found = {name: {**usual, **each} for name, each in issuers.items()}
    return {"LAKEFLIGHT_ISSUERS": json.dumps(found)}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing(**KEYS_OF) as running_issuer:
        yield running_issuer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Server]:
    """A server of its own, whose accounts are nobody else's."""
    folder = tmp_path_factory.mktemp("issued")
    with running(folder, environment=settings_for(company={"issuer": issuer.url})) as started:
        yield started


def token(issuer: Issuer, kid: str = "rsa", **claims: Any) -> str:
    now = int(time.time())
    usual = {"iat": now, "exp": now + 600, "realm_access": {"roles": ["staff"]}, "plan": "pro"}
    return issuer.token(kid, **{**usual, **claims})


def fetched(server: Server, text: str) -> object:
    options = {"adbc.flight.sql.authorization_header": f"Bearer {text}"}
    connection = flightsql.connect(server.uri, db_kwargs=options, autocommit=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def ending(server: Server, text: str) -> str:
    """Return the code with which a call with this token is refused, or `ok`."""
    with fl.FlightClient(server.uri) as client:
        options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {text}".encode())])
        try:
            client.get_flight_info(SELECT_1, options)
        except fl.FlightError as error:
            code: str = json.loads(error.extra_info)["code"]
            return code
        return "ok"


def act(server: Server, text: str, name: str, **values: object) -> list[dict[str, Any]]:
    with fl.FlightClient(server.uri) as client:
        options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {text}".encode())])
        results = client.do_action(fl.Action(name, json.dumps(values).encode()), options)
        return [json.loads(result.body.to_pybytes()) for result in results]


def whoami(server: Server, text: str) -> dict[str, Any]:
    (found,) = act(server, text, "auth.whoami")
    return found


@pytest.mark.parametrize("kid", KEYS_OF)
def test_the_driver_connects_with_tokens_of_each_algorithm(
    server: Server, issuer: Issuer, kid: str
) -> None:
    text = token(issuer, kid, sub=f"driver-{kid}", preferred_username=f"driver.{kid}")
    assert fetched(server, text) == 1
    found = whoami(server, text)
    assert found["username"] == f"driver.{kid}"
    assert (found["role"], found["subscription_tier"]) == ("registered", "pro")


def test_a_token_may_be_given_as_a_password(server: Server, issuer: Issuer) -> None:
    text = token(issuer, sub="as-password")
    with closing(server.connect("token", text)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_roles_and_tiers_follow_the_claims_at_once(server: Server, issuer: Issuer) -> None:
    def standing(at: int, roles: list[str], plan: str) -> tuple[object, ...]:
        now = int(time.time()) - 10 + at
        text = token(issuer, sub="mover", iat=now, realm_access={"roles": roles}, plan=plan)
        found = whoami(server, text)
        return found["role"], found["custom_roles"], found["subscription_tier"]

    assert standing(0, [], "unheard of") == ("pending", [], "free")
    assert standing(1, ["staff", "ml"], "pro") == ("registered", ["ml-team"], "pro")
    assert standing(2, ["boss"], "enterprise") == ("admin", [], "enterprise")
    assert standing(3, ["admin", "trader"], "free") == ("pending", [], "free")
    assert standing(2, ["boss"], "enterprise") == ("pending", [], "free")


def test_a_namesake_gets_an_account_of_its_own(server: Server, issuer: Issuer) -> None:
    add_user(server.directory, "grace", role="admin")
    text = token(issuer, sub="other-grace", preferred_username="grace")
    found = whoami(server, text)
    assert (found["username"], found["role"]) == ("grace-2", "registered")
    with RawClient.connect(server, "grace", PASSWORD) as local:
        assert local.call("auth.whoami")[0]["user_id"] != found["user_id"]
    for password in (PASSWORD, "", text):
        wrong = refused(lambda given=password: RawClient.connect(server, "grace-2", given))  # type: ignore[misc]  # a default binds it
        assert wrong == "invalid_credentials"


FORGED: dict[str, Any] = {
    "aud": {"aud": "another"},
    "no aud": {"aud": None},
    "expiry as text": {"exp": "4102444800"},
    "no expiry": {"exp": None},
    "not yet": {"nbf": 4102444800},
    "no subject": {"sub": None},
    "alg none": {"header": {"alg": "none"}},
    "alg HS256": {"header": {"alg": "HS256"}},
    "kid unknown": {"header": {"kid": "../../etc/passwd"}},
    "jku": {"header": {"jku": "http://127.0.0.1:1/keys"}},
    "jwk": {"header": {"jwk": public_jwk(forging.rsa_key(7))}},
    "crit": {"header": {"crit": ["exp"]}},
    "another issuer": {"iss": "https://login.example.com"},
}


@pytest.mark.parametrize("name", FORGED)
def test_forgeries_are_refused(server: Server, issuer: Issuer, name: str) -> None:
    assert ending(server, token(issuer, **FORGED[name])) == "unauthenticated"
    assert ending(server, token(issuer)) == "ok"


def test_a_public_key_is_no_secret(server: Server, issuer: Issuer) -> None:
    now = int(time.time())
    for kid, key in KEYS_OF.items():
        header = {"alg": "HS256", "kid": kid}
        payload = issuer.payload(iat=now, exp=now + 600)
        text = forging.sign(header, payload, forging.public_pem(key))
        assert ending(server, text) == "unauthenticated"


def test_an_expired_token_says_so(server: Server, issuer: Issuer) -> None:
    now = int(time.time())
    assert ending(server, token(issuer, iat=now - 100, exp=now - 1)) == "token_expired"


def test_a_disabled_account_stops_whatever_the_token_says(server: Server, issuer: Issuer) -> None:
    text = token(issuer, sub="leaver", realm_access={"roles": ["boss"]})
    user_id = whoami(server, text)["user_id"]
    with RawClient.connect(server) as admin:
        admin.call("user.disable", user_id=user_id)
        assert ending(server, text) == "token_revoked"
        newer = token(issuer, sub="leaver", iat=int(time.time()) + 5)
        assert ending(server, newer) == "token_revoked"
        admin.call("user.enable", user_id=user_id)
    assert ending(server, token(issuer, sub="leaver", jti="after")) == "ok"


def test_a_session_that_was_ended_ends_all_its_tokens(server: Server, issuer: Issuer) -> None:
    texts = [token(issuer, sub="visitor", sid="session-1", jti=f"v{i}") for i in range(3)]
    other = token(issuer, sub="visitor", sid="session-2")
    session_id = whoami(server, texts[0])["session_id"]
    assert session_id == external_id_of(issuer.url, "sid", "session-1")
    assert ending(server, texts[1]) == ending(server, other) == "ok"
    with RawClient.connect(server) as admin:
        listed = [each["session_id"] for each in admin.call("session.list")]
        assert session_id in listed
        admin.call("session.kill", session_id=session_id)
    assert [ending(server, text) for text in texts] == ["token_revoked"] * 3
    assert ending(server, other) == "ok"
    assert act(server, other, "auth.logout")
    assert ending(server, other) == "token_revoked"


def test_one_token_is_revoked_by_its_id_also_before_it_is_seen(
    server: Server, issuer: Issuer
) -> None:
    seen, unseen = (token(issuer, sub="loser", sid="s", jti=name) for name in ("seen", "unseen"))
    assert whoami(server, seen)["token_id"] == external_id_of(issuer.url, "jti", "seen")
    with RawClient.connect(server) as admin:
        for name in ("seen", "unseen"):
            admin.call("token.revoke", token_id=external_id_of(issuer.url, "jti", name))
    assert ending(server, seen) == ending(server, unseen) == "token_revoked"
    assert ending(server, token(issuer, sub="loser", sid="s", jti="third")) == "ok"


@pytest.mark.slow
def test_what_was_ended_stays_so_over_a_restart_without_the_issuer(tmp_path: Path) -> None:
    with issuing(**KEYS_OF) as issuer:
        settings = settings_for(company={"issuer": issuer.url})
        killed, good = (token(issuer, sid=name, jti=name) for name in ("killed", "good"))
        with running(tmp_path, environment=settings) as first:
            user_id = whoami(first, killed)["user_id"]
            assert ending(first, good) == "ok"
            assert act(first, killed, "auth.logout")
            # Known keys serve while the issuer is away.
            issuer.stop()
            newer = token(issuer, jti="newer", sid="newer")
            assert [ending(first, text) for text in (good, newer)] == ["ok"] * 2
            assert ending(first, killed) == "token_revoked"
        with running(tmp_path, environment=settings) as second:
            assert ending(second, good) == "unavailable"
            assert fetched_as_admin(second) == 1
            issuer.start()
            wait_until(lambda: ending(second, good) == "ok", what="a new attempt")
            assert ending(second, killed) == "token_revoked"
            assert whoami(second, good)["user_id"] == user_id


def fetched_as_admin(server: Server) -> object:
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        row = cursor.fetchone()
        assert row is not None
        return row[0]


@pytest.mark.slow
def test_new_keys_are_found_and_old_ones_forgotten(tmp_path: Path) -> None:
    with issuing(old=forging.rsa_key()) as issuer:
        company = {"issuer": issuer.url, "keys_seconds_max": 1}
        with running(tmp_path, environment=settings_for(company=company)) as server:
            old = token(issuer, "old", sub="a", sid="a")
            assert ending(server, old) == "ok"
            issuer.keys = {"new": forging.ec_key()}
            new = token(issuer, "new", sub="a", sid="a")
            most = REFETCH_SECONDS_MIN + 5
            wait_until(lambda: ending(server, new) == "ok", seconds_max=most, what="the new key")
            assert ending(server, old) == "unauthenticated"


@pytest.mark.slow
def test_issuers_that_misbehave_harm_only_themselves(tmp_path: Path) -> None:
    with (
        issuing(**KEYS_OF) as good,
        issuing(**KEYS_OF) as garbage,
        issuing(**KEYS_OF) as huge,
        issuing(**KEYS_OF) as slow,
        issuing(**KEYS_OF) as moved,
    ):
        garbage.answers[CONFIGURATION] = plain_answer(b"<html>\xff")
        huge.answers[KEYS] = plain_answer(b" " * 50_000_000)
        slow.answers[KEYS] = slow.trickle
        moved.answers[CONFIGURATION] = plain_answer(b"", 302, Location=good.url + "/keys")
        bad = {"garbage": garbage, "huge": huge, "slow": slow, "moved": moved}
        named = {name: {"issuer": each.url} for name, each in {"good": good, **bad}.items()}
        with running(tmp_path, environment=settings_for(**named)) as server:
            for each in bad.values():
                start = time.monotonic()
                assert ending(server, token(each)) == "unavailable"
                assert time.monotonic() - start < 8
                start = time.monotonic()
                assert ending(server, token(good)) == "ok"
                assert fetched_as_admin(server) == 1
                assert time.monotonic() - start < 3
            assert "Traceback" not in server.errors()
