"""The commands on accounts, sessions and tokens: what they do, say, and put on record."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from flight_server import cli
from flight_server.audit.spool import waiting
from flight_server.auth.stores import Stores
from flight_server.clock import SystemClock
from flight_server.ops.accounts import open_stores
from flight_server.ops.settings import load
from tests.auth.opened import session

PASSWORD = "one fine pass"


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_TIME_COST", "1")


class Lakehouse:
    """A folder with an administrator and alice, and the commands on it."""

    def __init__(
        self,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.folder = folder
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.stores: Stores = open_stores(
            load(None, {"storage.primary": str(folder)}), SystemClock()
        )
        self.stores.users.bootstrap(PASSWORD)

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        """Run a command; return its exit code and what it printed."""
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = cli.run([*arguments, "--dir", str(self.folder)])
        out, err = self._capsys.readouterr()
        return code, out, err

    def says(self, *arguments: str, typed: str = "") -> str:
        """Run a command that must work; return what it printed."""
        code, out, err = self.run(*arguments, typed=typed)
        assert (code, err) == (0, "")
        return out.strip()

    def sign_in(self, name: str) -> str:
        """Store a session of a user, as a server does."""
        user, clock = self.stores.users.require(name), SystemClock()
        made = session(os.urandom(4).hex(), clock, user_id=user.user_id)  # type: ignore[arg-type]  # any clock does
        self.stores.sessions.start(made, sessions_max=None)
        return made.session_id

    def record(self) -> list[tuple[str, str | None, str]]:
        """Return action, resource and outcome of all that is on record, in order."""
        spooled = waiting(self.folder / ".lakeflight" / "audit")
        for each in spooled:
            assert each.event.details["operating_system_user"]
            assert PASSWORD not in json.dumps(each.event.to_json())
        return [(e.event.action, e.event.resource, str(e.event.outcome)) for e in spooled]


@pytest.fixture
def lakehouse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Lakehouse:
    made = Lakehouse(tmp_path, capsys, monkeypatch)
    made.stores.users.register("alice", PASSWORD, email="a@example.com", tier="pro", pending_max=10)
    return made


def test_an_account_from_approval_to_its_end(lakehouse: Lakehouse) -> None:
    (listed,) = (
        each
        for each in json.loads(lakehouse.says("user", "list", "--format", "json"))
        if each["username"] == "alice"
    )
    assert (listed["role"], listed["requested_tier"]) == ("pending", "pro")
    for command, said in (
        (("user", "approve", "alice", "--tier", "pro"), "approved alice (registered, pro)"),
        (
            ("user", "set-role", "alice", "trader", "--custom-role", "desk"),
            "alice is now trader, desk",
        ),
        (("user", "set-role", "alice", "registered"), "alice is now registered, desk"),
        (
            ("user", "set-role", "alice", "registered", "--no-custom-roles"),
            "alice is now registered",
        ),
        (("user", "set-tier", "alice", "enterprise"), "alice is now enterprise"),
        (
            ("user", "set-attributes", "alice", "team=a=b", "region=north"),
            "alice has region=north, team=a=b",
        ),
        (("user", "set-attributes", "alice", "--no-attributes"), "alice has no attributes"),
        (("user", "disable", "alice"), "disabled alice"),
        (("user", "enable", "alice"), "enabled alice"),
    ):
        assert lakehouse.says(*command) == said
    actions = ["approve", "set_role", "set_role", "set_role", "set_tier"]
    actions += ["set_attributes", "set_attributes", "disable", "enable"]
    assert lakehouse.record() == [
        (f"user.{action}", "alice", outcome)
        for action in actions
        for outcome in ("intent", "success")
    ]


def test_who_is_rejected_is_gone(lakehouse: Lakehouse) -> None:
    assert lakehouse.says("user", "reject", "alice") == "rejected alice"
    assert lakehouse.stores.users.find("alice") is None
    code, _, err = lakehouse.run("user", "reject", "alice")
    assert (code, err) == (1, "error: there is no user 'alice'\n")
    assert lakehouse.record()[-1] == ("user.reject", "alice", "refused")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("user", "disable", "admin"), "last active administrator"),
        (("user", "set-role", "admin", "registered"), "last active administrator"),
        (("user", "reject", "admin"), "disable this one"),
        (("user", "approve", "admin"), "does not wait"),
        (("user", "set-role", "alice", "king"), "the role is one of"),
        (("user", "set-tier", "alice", "gold"), "the tier is one of"),
        (("user", "approve", "alice", "--role", "pending"), "another role"),
        (
            ("user", "set-role", "alice", "guest", "--custom-role", "x", "--no-custom-roles"),
            "either",
        ),
        (("session", "kill"), "either"),
        (("session", "kill", "x", "--user", "alice"), "either"),
        (("token", "create", "alice", "--name", "\n"), "printable"),
        (("token", "create", "alice", "--name", "x", "--days", "999999999"), "seconds_max"),
    ],
)
def test_what_cannot_be(lakehouse: Lakehouse, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = lakehouse.run(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_sessions_are_listed_and_ended(lakehouse: Lakehouse) -> None:
    lakehouse.says("user", "approve", "alice")
    assert lakehouse.run("session", "list")[2] == "nobody is signed in\n"
    first = lakehouse.sign_in("alice")
    other = lakehouse.sign_in("admin")
    head, *rows = lakehouse.says("session", "list").splitlines()
    assert head.split() == ["session", "user", "since", "until", "address", "client"]
    assert {row.split()[0] for row in rows} == {first, other}
    (listed,) = json.loads(lakehouse.says("session", "list", "--user", "alice", "--format", "json"))
    assert (listed["session_id"], listed["username"]) == (first, "alice")
    assert "hash" not in json.dumps(listed)
    assert lakehouse.says("session", "kill", first) == "sessions ended: 1"
    assert lakehouse.run("session", "kill", first)[2] == "error: there is no such session\n"
    assert lakehouse.says("session", "kill", "--user", "admin") == "sessions ended: 1"
    assert not lakehouse.stores.sessions.live()
    third = lakehouse.sign_in("admin")
    changed = lakehouse.says("user", "passwd", "admin", "--password-stdin", typed="two fine pass\n")
    assert changed == "changed the password of admin; sessions ended: 1"
    assert third not in {each.session_id for each in lakehouse.stores.sessions.live()}


def test_tokens_are_made_listed_and_revoked(lakehouse: Lakehouse) -> None:
    lakehouse.says("user", "approve", "alice")
    assert lakehouse.run("token", "list")[2] == "there are no personal tokens\n"
    code, out, err = lakehouse.run("token", "create", "alice", "--name", "CI", "--days", "90")
    assert code == 0
    text = out.strip()
    made = lakehouse.stores.personal.recognise(text)
    assert (made.expires_at - made.created_at).days == 90
    assert made.token_id in err
    assert text not in err
    quiet = lakehouse.says("token", "create", "alice", "--name", "more", "--quiet")
    assert lakehouse.stores.personal.recognise(quiet).name == "more"
    head, *rows = lakehouse.says("token", "list", "--user", "alice").splitlines()
    assert head.split() == ["token", "user", "name", "since", "until"]
    assert [row.split()[:3] for row in rows if made.token_id in row] == [
        [made.token_id, "alice", "CI"]
    ]
    assert lakehouse.says("token", "revoke", made.token_id) == f"revoked {made.token_id}"
    (left,) = json.loads(lakehouse.says("token", "list", "--format", "json"))
    assert left["name"] == "more"
    assert lakehouse.says("token", "revoke", "some-jti") == "revoked some-jti"
    assert text not in json.dumps(lakehouse.record())


def test_nothing_is_done_that_cannot_go_on_record(lakehouse: Lakehouse) -> None:
    (lakehouse.folder / ".lakeflight" / "audit").write_text("in the way")
    code, out, err = lakehouse.run("user", "approve", "alice")
    assert (code, out, err) == (1, "", "error: the audit log cannot be written\n")
    assert lakehouse.stores.users.require("alice").is_pending


@pytest.mark.parametrize(
    "command",
    [
        *("user approve", "user reject", "user disable", "user enable", "user set-role"),
        *("user set-tier", "session list", "session kill", "token create", "token list"),
        "token revoke",
    ],
)
def test_help_shows_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.run([*command.split(), "--help"]) == 0
    assert f"lakeflight {command}" in capsys.readouterr().out
