"""Keys over restarts: a new one signs nobody out, a removed one does at once, tickets go on."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flight_server.auth.keys import SECRET_FILE, Key
from flight_server.protocol import commands
from tests.auth import forging
from tests.rpc.plain import Caller, descriptor, ticket
from tests.servers import Server, running
from tests.wire.raw import RawClient

SELECT_1 = descriptor(commands.encode_command(commands.StatementQuery("SELECT 1")))


class Keys:
    """The keys of one lakehouse as its settings name them, over several servers."""

    def __init__(self, folder: Path) -> None:
        self.lake = folder / "lake"
        self.lake.mkdir()
        self.rsa = forging.write_private(folder / "rsa.pem", forging.rsa_key())
        self.ed = forging.write_private(folder / "ed.pem", forging.ed_key())
        self.ed_public = forging.write_public(folder / "ed-public.pem", forging.ed_key())

    def serve(self, **auth: object) -> Any:
        """Serve with these settings of ``auth``."""
        variables = {
            f"LAKEFLIGHT_AUTH__{name.upper()}": (
                json.dumps(value, default=str) if isinstance(value, list) else str(value)
            )
            for name, value in auth.items()
        }
        return running(self.lake, environment=variables)


def signed_in(server: Server) -> str:
    caller = Caller.connect(server)
    caller.close()
    assert caller.authorization is not None
    return caller.authorization


def header(authorization: str) -> dict[str, str]:
    part = authorization.removeprefix("Bearer ").split(".")[0]
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def ends(server: Server, *authorizations: str) -> list[str | None]:
    found = []
    for each in authorizations:
        caller = Caller(server.uri, each)
        found.append(caller.call("GetFlightInfo", SELECT_1).code)
        caller.close()
    return found


def a_ticket(server: Server) -> bytes:
    with RawClient.connect(server) as raw:
        (endpoint,) = raw.info("SELECT 1 AS n").endpoints
    sealed: bytes = endpoint.ticket.ticket
    return sealed


def redeemed(server: Server, sealed: bytes) -> str | None:
    caller = Caller.connect(server)
    code = caller.call("DoGet", ticket(sealed)).code
    caller.close()
    return code


@pytest.mark.slow
def test_keys_rotate_over_restarts(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    with keys.serve() as server:
        by_secret, sealed = signed_in(server), a_ticket(server)
        assert header(by_secret)["alg"] == "HS256"
    with keys.serve(signing_key=keys.ed) as server:
        by_ed = signed_in(server)
        kid = Key.of_pair(forging.ed_key()).kid
        assert header(by_ed) == {"alg": "EdDSA", "typ": "JWT", "kid": kid}
        assert ends(server, by_secret, by_ed) == [None, None]
        assert redeemed(server, sealed) is None
    made = (keys.lake / ".lakeflight" / SECRET_FILE).read_text().strip()
    settings: dict[str, object] = {
        "signing_key": keys.rsa,
        "verification_keys": [keys.ed_public],
        "secret": "a secret of our own, long enough to be one",
    }
    with keys.serve(**settings, previous_secrets=[made]) as server:
        by_rsa, newly_sealed = signed_in(server), a_ticket(server)
        assert header(by_rsa)["alg"] == "RS256"
        assert ends(server, by_secret, by_ed, by_rsa) == [None] * 3
        assert redeemed(server, sealed) is None
    with keys.serve(**settings, algorithms=["RS256", "EdDSA"]) as server:
        assert ends(server, by_secret, by_ed, by_rsa) == ["unauthenticated", None, None]
        assert redeemed(server, sealed) == "invalid_request"
        assert redeemed(server, newly_sealed) is None
    del settings["verification_keys"]
    with keys.serve(**settings) as server:
        assert ends(server, by_ed, by_rsa) == ["unauthenticated", None]


def test_a_server_does_not_start_with_a_key_that_others_can_read(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.ed.chmod(0o644)
    with pytest.raises(AssertionError, match="chmod 600"), keys.serve(signing_key=keys.ed):
        pass
    command = [sys.executable, "-m", "flight_server", "doctor", str(keys.lake), "--port", "0"]
    config = tmp_path / "lakeflight.toml"
    config.write_text('[auth]\nsigning_key = "ed.pem"\n')
    found = subprocess.run([*command, "--config", config], capture_output=True, check=False)
    assert found.returncode == 1
    assert "chmod 600" in found.stdout.decode()
    keys.ed.chmod(0o600)
    found = subprocess.run([*command, "--config", config], capture_output=True, check=False)
    assert found.returncode == 0
    assert Key.of_pair(forging.ed_key()).kid in found.stdout.decode()
