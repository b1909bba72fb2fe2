"""Forged tokens and tickets over the wire: all are refused, and the server goes on."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flight_server.auth.keys import SECRET_FILE, Key
from flight_server.protocol import commands
from tests.auth import forging
from tests.rpc.plain import Caller, Ending, descriptor, ticket
from tests.servers import Server
from tests.wire.raw import RawClient

FAR = 4_102_444_800
SELECT_1 = descriptor(commands.encode_command(commands.StatementQuery("SELECT 1")))


@pytest.fixture(scope="module")
def caller(server: Server) -> Iterator[Caller]:
    """A caller who signed in; what it is asked to send in place of its token, it sends."""
    made = Caller.connect(server)
    yield made
    assert made.call("ListActions").status == "OK"
    made.close()


@pytest.fixture(scope="module")
def secret(server: Server) -> bytes:
    return bytes.fromhex((server.directory / ".lakeflight" / SECRET_FILE).read_text().strip())


@pytest.fixture(scope="module")
def genuine(caller: Caller) -> str:
    assert caller.authorization is not None
    return caller.authorization.removeprefix("Bearer ")


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and payload of a token."""
    header, payload = (
        json.loads(base64.urlsafe_b64decode(part + "==")) for part in text.split(".")[:2]
    )
    return header, payload


def sent(caller: Caller, text: str, *, as_password: bool = False) -> Ending:
    """Make a call with this token in place of the own one."""
    own = caller.authorization
    caller.authorization = f"Bearer {text}"
    if as_password:
        caller.authorization = "Basic " + base64.b64encode(b"token:" + text.encode()).decode()
    try:
        return caller.call("GetFlightInfo", SELECT_1)
    finally:
        caller.authorization = own


FORGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alg none": ({"alg": "none"}, {}),
    "alg RS256": ({"alg": "RS256"}, {}),
    "alg EdDSA": ({"alg": "EdDSA"}, {}),
    "alg HS512": ({"alg": "HS512"}, {}),
    "kid unknown": ({"kid": "unknown"}, {}),
    "kid a path": ({"kid": "../../../../dev/null"}, {}),
    "kid SQL": ({"kid": "x' UNION SELECT 'key"}, {}),
    "kid huge": ({"kid": "x" * 4000}, {}),
    "kid a list": ({"kid": ["a"]}, {}),
    "jwk": ({"jwk": {"kty": "oct", "k": "c2VjcmV0"}}, {}),
    "jku": ({"jku": "https://127.0.0.1:1/"}, {}),
    "x5u": ({"x5u": "https://127.0.0.1:1/"}, {}),
    "crit": ({"crit": ["exp"]}, {}),
    "exp missing": ({}, {"exp": None}),
    "exp text": ({}, {"exp": str(FAR)}),
    "exp fraction": ({}, {"exp": FAR + 0.5}),
    "exp true": ({}, {"exp": True}),
    "exp far": ({}, {"exp": FAR}),
    "exp huge": ({}, {"exp": 10**40}),
    "nbf in the future": ({}, {"nbf": FAR}),
    "iat in the future": ({}, {"iat": FAR}),
    "wrong iss": ({}, {"iss": "https://login.example.com"}),
    "wrong aud": ({}, {"aud": "another"}),
    "wrong auds": ({}, {"aud": ["another", "lakefligh"]}),
    "sub missing": ({}, {"sub": None}),
    "sub a number": ({}, {"sub": 0}),
    "sid missing": ({}, {"sid": None}),
}


@pytest.mark.parametrize("name", FORGED)
def test_tokens_signed_with_the_very_secret_are_refused(
    caller: Caller, genuine: str, secret: bytes, name: str
) -> None:
    header, payload = parts(genuine)
    assert sent(caller, forging.sign(header, payload, secret)).status == "OK"
    changed_header, changed_payload = FORGED[name]
    wrong = {k: v for k, v in {**payload, **changed_payload}.items() if v is not None}
    ending = sent(caller, forging.sign({**header, **changed_header}, wrong, secret))
    assert (ending.status, ending.code) == ("UNAUTHENTICATED", "unauthenticated")
    assert ending.message.startswith("the token is not valid")


def test_a_session_that_never_was_is_refused(caller: Caller, genuine: str, secret: bytes) -> None:
    header, payload = parts(genuine)
    for sid in ("unknown", "ext_" + "0" * 32):
        ending = sent(caller, forging.sign(header, {**payload, "sid": sid}, secret))
        assert ending.code == "token_revoked"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "padding": lambda text: text + "=",
    "padding inside": lambda text: text.replace(".", "=.", 1),
    "no signature": lambda text: text.rpartition(".")[0] + ".",
    "two parts": lambda text: text.rpartition(".")[0],
    "four parts": lambda text: text + ".x",
    "space inside": lambda text: text.replace(".", " .", 1),
    "line end": lambda text: text + "\n",
    "NUL at the end": lambda text: text + "\0",
    "NUL inside": lambda text: text.replace(".", ".\0", 1),
    "other alphabet": lambda text: text + "+/",
    "letters of another script": lambda text: text + "е",  # noqa: RUF001  that is the point
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_other_spellings_of_a_good_token_are_refused(
    caller: Caller, genuine: str, name: str
) -> None:
    text = SPELLINGS[name](genuine)
    assert sent(caller, genuine, as_password=True).status == "OK"
    ending = sent(caller, text, as_password=True)
    assert (ending.status, ending.code) == ("UNAUTHENTICATED", "unauthenticated")
    if text.isascii() and text.isprintable():
        assert sent(caller, text).code == "unauthenticated"


def test_a_token_with_two_subjects_is_refused(caller: Caller, genuine: str, secret: bytes) -> None:
    header, payload = parts(genuine)
    twice = json.dumps(payload).encode()[:-1] + b',"sub":"somebody"}'
    assert sent(caller, forging.sign(header, twice, secret)).code == "unauthenticated"
    both = b'{"alg":"none",' + json.dumps(header).encode()[1:]
    assert sent(caller, forging.sign(both, payload, secret)).code == "unauthenticated"


def test_public_keys_are_no_secrets(caller: Caller, genuine: str, secret: bytes) -> None:
    _, payload = parts(genuine)
    kid = Key.of_secret(secret).kid
    for key in (forging.rsa_key(), forging.ed_key()):
        for signer in (key, forging.public_pem(key)):
            for algorithm in ("HS256", "RS256", "EdDSA"):
                text = forging.sign({"alg": algorithm, "kid": kid}, payload, signer)
                assert sent(caller, text).code == "unauthenticated"


def test_a_changed_character_anywhere_is_refused(caller: Caller, genuine: str) -> None:
    alphabet = string.ascii_letters + string.digits + "-_"
    for position, character in enumerate(genuine):
        other = alphabet[(alphabet.find(character) + 1 + position % 60) % 64]
        changed = genuine[:position] + other + genuine[position + 1 :]
        assert changed != genuine
        assert sent(caller, changed).code == "unauthenticated", position
    assert sent(caller, genuine).status == "OK"


@pytest.mark.parametrize("length", [8_193, 12_000, 100_000, 50_000_000])
def test_a_huge_token_is_refused(caller: Caller, genuine: str, length: int) -> None:
    ending = sent(caller, genuine + "x" * (length - len(genuine)))
    # From 8 KiB of headers on it is gRPC that may refuse, before anything of ours runs.
    assert ending.status in {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert caller.call("ListActions").status == "OK"


def test_a_flipped_bit_anywhere_in_a_ticket_is_refused(server: Server, caller: Caller) -> None:
    with RawClient.connect(server) as raw:
        (endpoint,) = raw.info("SELECT 1 AS n").endpoints
    sealed: bytes = endpoint.ticket.ticket
    for position in range(len(sealed)):
        # All bits of the wrapping and of the first bytes of the seal, one of each byte behind.
        bits = range(8) if position < 110 else (position % 8,)
        for bit in bits:
            changed = bytearray(sealed)
            changed[position] ^= 1 << bit
            ending = caller.call("DoGet", ticket(bytes(changed)))
            assert ending.code == "invalid_request", (position, bit, ending)
            assert ending.answers == []
    assert caller.call("DoGet", ticket(sealed)).status == "OK"
    for length in (0, 1, 50, 100, len(sealed) - 1):
        assert caller.call("DoGet", ticket(sealed[:length])).code == "invalid_request"
    assert caller.call("DoGet", ticket(sealed + b"\0")).code == "invalid_request"


@pytest.mark.parametrize("method", ["GetFlightInfo", "GetSchema", "DoGet"])
def test_a_flipped_bit_anywhere_in_a_handle_is_refused(
    server: Server, caller: Caller, method: str
) -> None:
    with RawClient.connect(server) as raw:
        handle = raw.prepare("SELECT 1 AS n").prepared_statement_handle

    def used(changed: bytes) -> Ending:
        command = commands.encode_command(commands.PreparedStatementQuery(changed))
        return caller.call(method, ticket(command) if method == "DoGet" else descriptor(command))

    for position in range(len(handle)):
        changed = bytearray(handle)
        changed[position] ^= 1 << position % 8
        assert used(bytes(changed)).code == "invalid_request", position
    # A handle is no ticket, and good for all else.
    assert used(handle).status == ("INVALID_ARGUMENT" if method == "DoGet" else "OK")
