"""Tokens of other systems: what is proven, what is refused, and what they come to here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from flight_server import errors
from flight_server.auth import issuers as module
from flight_server.auth.issuer_keys import REFETCH_SECONDS_MIN
from flight_server.auth.issuers import (
    ExternalClaims,
    IssuerRules,
    Issuers,
    claim,
    external_id_of,
)
from tests.auth import forging
from tests.auth.issuing import CONFIGURATION, KEYS, Issuer, issuing, json_answer, public_jwk
from tests.clocks import StandingClock
from tests.servers import wait_until

NOW = int(StandingClock().now().timestamp())
TIMES = {"iat": NOW, "exp": NOW + 300}
ALL = ("RS256", "ES256", "EdDSA")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def rules(issuer: Issuer, **changes: Any) -> IssuerRules:
    values = {"name": "company", "issuer": issuer.url, "audience": "lakehouse", **changes}
    values.setdefault("tiers", frozenset({"free", "pro"}))
    return IssuerRules(**values)


def make(issuer: Issuer, clock: StandingClock | None = None, **changes: Any) -> Issuers:
    return Issuers([rules(issuer, **changes)], clock=clock or StandingClock())


def verified(issuers: Issuers, text: str) -> ExternalClaims:
    claims = issuers.verify(text)
    assert claims is not None
    return claims


def token(issuer: Issuer, kid: str | None = None, /, **changes: Any) -> str:
    return issuer.token(kid, **{**TIMES, **changes})


def refusal(issuers: Issuers, text: str) -> str:
    with pytest.raises(errors.Unauthenticated) as caught:
        issuers.verify(text)
    return caught.value.code


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(forging.rsa_key(), "RS256"), (forging.ec_key(), "ES256"), (forging.ed_key(), "EdDSA")],
)
def test_tokens_of_each_algorithm_say_who_calls(key: Any, algorithm: str) -> None:
    with issuing(first=key) as issuer:
        issuers = make(issuer, algorithms=(algorithm,))
        found = verified(
            issuers, token(issuer, jti="t1", sid="s1", preferred_username="ada", email="ada@x.org")
        )
        assert found.external_id == f"{issuer.url} ada-0001"
        assert (found.username, found.vouched.email) == ("ada", "ada@x.org")
        assert (found.vouched.role, found.vouched.tier) == ("pending", "free")
        assert found.session_id == external_id_of(issuer.url, "sid", "s1")
        assert found.token_id == external_id_of(issuer.url, "jti", "t1")
        assert found.expires_at == NOW + 300
        others = tuple(name for name in ALL if name != algorithm)
        assert refusal(make(issuer, algorithms=ALL), forged(issuer, key)) == "unauthenticated"
        with pytest.raises((errors.Unauthenticated, errors.Unavailable)):
            make(issuer, algorithms=others).verify(token(issuer))


def forged(issuer: Issuer, key: forging.PrivateKey) -> str:
    """Sign with the public key as a secret."""
    header = {"alg": "HS256", "kid": "first"}
    return forging.sign(header, issuer.payload(**TIMES), forging.public_pem(key))


def test_tokens_of_others_are_left_to_others(issuer: Issuer) -> None:
    issuers = make(issuer)
    assert issuers.verify(token(issuer, iss="lakeflight")) is None
    assert issuers.verify(token(issuer, iss=issuer.url + "/")) is None
    assert issuers.verify(token(issuer, iss=[issuer.url])) is None
    assert issuer.asked == []
    assert refusal(issuers, "garbage") == "unauthenticated"


FORGED: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda i: token(i, header={"alg": "none"}),
    "alg none, no signature": lambda i: token(i, header={"alg": "none"}).rpartition(".")[0] + ".",
    "alg of another kind": lambda i: token(i, header={"alg": "ES256"}),
    "alg with salt": lambda i: token(i, header={"alg": "PS256"}),
    "alg HS256": lambda i: forged(i, forging.rsa_key()),
    "alg a list": lambda i: token(i, header={"alg": ["RS256"]}),
    "no alg": lambda i: forging.sign({"kid": "first"}, i.payload(**TIMES), forging.rsa_key()),
    "another key": lambda i: forging.sign(
        {"alg": "RS256", "kid": "first"}, i.payload(**TIMES), forging.rsa_key(1)
    ),
    "kid unknown": lambda i: token(i, header={"kid": "second"}),
    "kid a path": lambda i: token(i, header={"kid": "../../../dev/null"}),
    "kid a number": lambda i: token(i, header={"kid": 1}),
    "kid null": lambda i: token(i, header={"kid": None}),
    "kid empty": lambda i: token(i, header={"kid": ""}),
    "kid huge": lambda i: token(i, header={"kid": "x" * 4000}),
    "jku": lambda i: token(i, header={"jku": i.url + "/keys"}),
    "jwk": lambda i: token(i, header={"jwk": public_jwk(forging.rsa_key())}),
    "x5u": lambda i: token(i, header={"x5u": i.url}),
    "x5c": lambda i: token(i, header={"x5c": ["AAAA"]}),
    "crit": lambda i: token(i, header={"crit": ["exp"]}),
    "typ of a logout": lambda i: token(i, header={"typ": "logout+jwt"}),
    "typ a number": lambda i: token(i, header={"typ": 1}),
    "wrong aud": lambda i: token(i, aud="another"),
    "wrong auds": lambda i: token(i, aud=["another", "lakehouse2"]),
    "aud with a number": lambda i: token(i, aud=["lakehouse", 1]),
    "no aud": lambda i: token(i, aud=None),
    "no sub": lambda i: token(i, sub=None),
    "sub a number": lambda i: token(i, sub=1),
    "sub of two lines": lambda i: token(i, sub="ada\nroot"),
    "sub huge": lambda i: token(i, sub="x" * 256),
    "no exp": lambda i: token(i, exp=None),
    "exp text": lambda i: token(i, exp=str(NOW + 300)),
    "exp fraction": lambda i: token(i, exp=NOW + 300.5),
    "exp true": lambda i: token(i, exp=True),
    "exp absurd": lambda i: token(i, exp=10**18),
    "exp in centuries": lambda i: token(i, exp=10**13),
    "no iat": lambda i: token(i, iat=None),
    "iat in the future": lambda i: token(i, iat=NOW + 90),
    "nbf in the future": lambda i: token(i, nbf=NOW + 90),
    "nbf text": lambda i: token(i, nbf=str(NOW)),
    "claim twice": lambda i: forging.sign(
        {"alg": "RS256", "kid": "first"},
        json.dumps(i.payload(**TIMES)).encode()[:-1] + b',"sub":"root"}',
        forging.rsa_key(),
    ),
    "header twice": lambda i: forging.sign(
        b'{"alg":"none","alg":"RS256","kid":"first"}', i.payload(**TIMES), forging.rsa_key()
    ),
    "padding": lambda i: token(i) + "=",
    "line end": lambda i: token(i) + "\n",
    "too long": lambda i: token(i, pad="x" * 9000),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Issuer, Issuers]]:
    with issuing() as issuer:
        yield issuer, make(issuer, algorithms=ALL)


@pytest.mark.parametrize("name", FORGED)
def test_forgeries_are_refused(shared: tuple[Issuer, Issuers], name: str) -> None:
    issuer, issuers = shared
    verified(issuers, token(issuer))
    assert refusal(issuers, FORGED[name](issuer)) == "unauthenticated"


def test_no_flipped_bit_passes(shared: tuple[Issuer, Issuers]) -> None:
    issuer, issuers = shared
    text = token(issuer)
    verified(issuers, text)
    for bit in range(len(text) * 8):
        changed = bytearray(text.encode())
        changed[bit // 8] ^= 1 << bit % 8
        # A changed issuer is none of ours.
        with suppress(errors.Unauthenticated):
            assert issuers.verify(changed.decode("latin-1")) is None


def test_a_token_without_a_key_id_means_the_only_key() -> None:
    no_kid = {"alg": "RS256"}
    with issuing(first=forging.rsa_key(), other=forging.ec_key()) as issuer:
        text = forging.sign(no_kid, issuer.payload(**TIMES), forging.rsa_key())
        verified(make(issuer), text)
        issuer.keys["second"] = forging.rsa_key(1)
        assert refusal(make(issuer), text) == "unauthenticated"


def test_headers_of_known_products_are_taken(issuer: Issuer) -> None:
    issuers = make(issuer)
    for header in ({"typ": "at+jwt"}, {"typ": "JWT", "x5t": "abc"}, {"typ": "jwt"}):
        verified(issuers, token(issuer, header=header))
    verified(issuers, token(issuer, aud=["account", "lakehouse"], nbf=NOW))


def test_a_token_ends_on_the_second_also_when_it_was_seen_before(issuer: Issuer) -> None:
    clock = StandingClock()
    issuers, text = make(issuer, clock), token(issuer)
    verified(issuers, text)
    clock.advance(299)
    verified(issuers, text)
    clock.advance(1)
    assert [refusal(issuers, text) for _ in range(2)] == ["token_expired"] * 2
    assert refusal(issuers, token(issuer, header={"kid": "no"}, exp=NOW)) == "unauthenticated"


def test_known_tokens_ask_nobody(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERIFIED_TOKENS_MAX", 3)
    issuers = make(issuer)
    texts = [token(issuer, jti=str(number)) for number in range(9)]
    for text in texts:
        verified(issuers, text)
        verified(issuers, texts[0])
    assert issuer.asked == [CONFIGURATION, KEYS]
    assert list(issuers._verified) == [texts[7], texts[8], texts[0]]


def test_a_new_key_is_found_and_a_removed_one_signs_out(issuer: Issuer) -> None:
    clock = StandingClock()
    issuers, old = make(issuer, clock, keys_seconds_max=100), token(issuer, exp=NOW + 900)
    verified(issuers, old)
    issuer.keys["second"] = forging.rsa_key(1)
    new = token(issuer, "second", exp=NOW + 900)
    assert refusal(issuers, new) == "unauthenticated"  # asked a moment ago
    clock.advance(REFETCH_SECONDS_MIN)
    verified(issuers, new)
    verified(issuers, old)
    del issuer.keys["first"]
    clock.advance(99)
    verified(issuers, old)
    clock.advance(1)
    assert refusal(issuers, old) == "unauthenticated"
    verified(issuers, new)


def test_a_key_that_changes_under_its_id_takes_its_tokens_along(issuer: Issuer) -> None:
    clock = StandingClock()
    issuers, old = make(issuer, clock, keys_seconds_max=100), token(issuer, exp=NOW + 900)
    verified(issuers, old)
    issuer.keys["first"] = forging.rsa_key(1)
    clock.advance(100)
    assert refusal(issuers, old) == "unauthenticated"
    verified(issuers, token(issuer))


def test_forged_key_ids_do_not_make_us_ask_again_and_again(issuer: Issuer) -> None:
    clock = StandingClock()
    issuers = make(issuer, clock)
    for number in range(100):
        assert refusal(issuers, token(issuer, header={"kid": str(number)})) == "unauthenticated"
    assert issuer.asked == [CONFIGURATION, KEYS]
    clock.advance(REFETCH_SECONDS_MIN)
    for number in range(100):
        assert refusal(issuers, token(issuer, header={"kid": str(number)})) == "unauthenticated"
    assert issuer.asked == [CONFIGURATION, KEYS] * 2


def test_roles_and_tiers_are_translated_and_nothing_else_counts(issuer: Issuer) -> None:
    issuers = make(
        issuer,
        roles_claim="realm_access.roles",
        roles={"boss": "admin", "staff": "registered", "desk": "trader", "ml": "ml-team"},
        default_role="guest",
        tier_claim="plan",
    )

    def vouched(roles: object, **claims: Any) -> tuple[str, tuple[str, ...], str]:
        text = token(issuer, realm_access={"roles": roles}, **claims)
        found = verified(issuers, text).vouched
        return found.role, found.custom_roles, found.tier

    assert vouched([]) == ("guest", (), "free")
    assert vouched(["admin", "root", "trader"]) == ("guest", (), "free")
    assert vouched(["staff", "ml", "desk"]) == ("trader", ("ml-team",), "free")
    assert vouched(["staff", "boss"], plan="pro") == ("admin", (), "pro")
    assert vouched("staff", plan="unheard of") == ("registered", (), "free")
    assert vouched([["staff"], 1, None, {"a": 1}], plan=["pro"]) == ("guest", (), "free")
    assert vouched({"staff": True}) == ("guest", (), "free")


def test_attributes_are_texts_and_whole_numbers(issuer: Issuer) -> None:
    issuers = make(issuer, attributes={"region": "address.region", "team": "team", "no": "no"})

    def attributes(**claims: Any) -> dict[str, str]:
        return dict(verified(issuers, token(issuer, **claims)).vouched.attributes)

    assert attributes(address={"region": "north"}, team=7) == {"region": "north", "team": "7"}
    odd: list[object] = ["", "x" * 257, "a\nb", ["a"], {"a": 1}, True, None, 1.5]
    for value in odd:
        assert attributes(team=value, region="north") == {}


def test_claims_are_found_by_name_first_and_by_path_then() -> None:
    payload = {"https://x.org/roles": ["a"], "a.b": 1, "a": {"b": 2, "c": {"d": 3}}}
    assert claim(payload, "https://x.org/roles") == ["a"]
    assert claim(payload, "a.b") == 1
    assert claim(payload, "a.c.d") == 3
    assert [claim(payload, name) for name in ("a.x", "a.b.c", "x", "a.c.d.e")] == [None] * 4


def test_names_and_addresses_of_odd_shape_are_left_out(issuer: Issuer) -> None:
    issuers = make(issuer)
    odd: list[object] = ["", "a\nb", "a\0b", "x" * 256, 1, ["a"], {"a": 1}, True]
    for value in odd:
        found = verified(issuers, token(issuer, preferred_username=value, email=value))
        assert (found.username, found.vouched.email) == ("ada-0001", None)
    unproven = token(issuer, email="ada@x.org", email_verified=False)
    assert verified(issuers, unproven).vouched.email is None


def test_sessions_and_tokens_have_ids_that_follow_from_the_claims(issuer: Issuer) -> None:
    issuers = make(issuer)

    def ids(**claims: Any) -> tuple[str, str, bool]:
        found = verified(issuers, token(issuer, **claims))
        return found.session_id, found.token_id, found.has_session

    by_session = external_id_of(issuer.url, "sid", "s")
    assert ids(sid="s", jti="a") == (by_session, external_id_of(issuer.url, "jti", "a"), True)
    assert ids(sid="s", jti="b")[0] == by_session
    alone = external_id_of(issuer.url, "jti", "a")
    assert ids(jti="a") == (alone, alone, False)
    assert ids(uti="a") == (alone, alone, False)
    for value in (1, "", ["a"]):
        nameless = ids(jti=value)
        assert nameless[0] == nameless[1] == ids(jti=value)[0]
    assert ids()[0] != ids(sub="other")[0]


def test_issuers_that_cannot_be_told_apart_or_reached_safely_are_refused(issuer: Issuer) -> None:
    first, again = rules(issuer), rules(issuer, name="again", audience="x")
    urls = [
        "http://login.example.com",
        "http://127.0.0.1.example.com",
        "ftp://127.0.0.1",
        "https://user:password@login.example.com",
        "https://",
        "https://[::1",
        "https://login.example.com#x",
        "https://login.example.com/a b",
        "https://login.example.com/" + "x" * 2048,
    ]
    wrong = [replace(first, issuer=url) for url in urls]
    safe = "https://login.example.com"
    wrong.append(replace(first, issuer=safe, jwks_uri="http://127.0.0.1/keys"))
    for each in ([first, again], *([one] for one in wrong)):
        with pytest.raises(errors.InvalidRequest) as caught:
            Issuers(each, clock=StandingClock())
        assert caught.value.code == "invalid_settings"
        assert caught.value.message.startswith(f"issuers.{each[-1].name}: ")


def test_keys_may_be_published_without_discovery(issuer: Issuer) -> None:
    verified(make(issuer, jwks_uri=issuer.url + "/keys"), token(issuer))
    assert issuer.asked == [KEYS]


def test_an_issuer_that_calls_itself_otherwise_is_not_trusted(issuer: Issuer) -> None:
    for about in ({"issuer": issuer.url + "/"}, {"issuer": None}, {}):
        issuer.answers[CONFIGURATION] = json_answer({"jwks_uri": issuer.url + "/keys", **about})
        with pytest.raises(errors.Unavailable):
            make(issuer).verify(token(issuer))
    assert KEYS not in issuer.asked


def test_many_at_once_make_one_fetch(issuer: Issuer) -> None:
    issuer.answers[KEYS] = issuer.hang
    issuers, found = make(issuer), []

    def call(number: int) -> None:
        found.append(issuers.verify(token(issuer, jti=str(number))))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    keys = issuers._issuers[issuer.url].keys
    wait_until(lambda: len(issuer.asked) == 2 and keys._waiting == 16)
    issuer.released.set()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert issuer.asked == [CONFIGURATION, KEYS]
