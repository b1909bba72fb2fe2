from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from flight_server import cli

CHEAP = {
    "LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB": "8",
    "LAKEFLIGHT_AUTH__ARGON2_TIME_COST": "1",
}


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CHEAP.items():
        monkeypatch.setenv(name, value)


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(capsys, monkeypatch)


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str | Path, typed: str = "") -> Outcome:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = cli.run([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Outcome(code, out, err)


def test_help_lists_every_command_that_is_there(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for name in ("config", "user", "doctor"):
        assert f"  {name} " in outcome.out


def test_no_arguments_show_the_help(run: Run) -> None:
    outcome = run()
    assert outcome.code == 2
    assert outcome.err.startswith("Usage: lakeflight")


@pytest.mark.parametrize(
    "command", [["config"], ["doctor"], ["user", "add"], ["user", "list"], ["user", "passwd"]]
)
def test_every_command_has_examples(run: Run, command: list[str]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert f"    lakeflight {' '.join(command)}" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nosuch"], 2, "error: No such command"),
        (["config", "--nosuch"], 2, "error: No such option"),
        (["user", "add"], 2, "error: Missing argument"),
        (["user", "list"], 2, "error: no lakehouse was named"),
        (["user", "list", "--dir", "/nowhere/at/all"], 2, "error: there is no folder"),
        (["config", "--config", "/nowhere.toml"], 2, "error: /nowhere.toml: No such file"),
    ],
)
def test_errors_are_one_line(run: Run, arguments: list[str], code: int, text: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == code
    assert outcome.err.startswith(text)
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err


def test_a_broken_command_leaves_the_others_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_library\n")
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    monkeypatch.setitem(cli.COMMANDS, "broken", "Never works.")
    outcome = run("broken")
    assert outcome.code == 1
    assert outcome.err == (
        "error: the command 'broken' cannot be loaded: No module named 'no_such_library'\n"
    )
    assert "Never works." in run("--help").out
    assert run("config").code == 0


def test_a_traceback_is_shown_only_when_debugging(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".lakeflight").write_text("in the way")
    quiet = run("user", "add", "alice", "-d", tmp_path, "--password-stdin", typed="one fine pass\n")
    assert quiet.code == 1
    assert quiet.err == "error: the audit log cannot be written\n"
    monkeypatch.setenv("LAKEFLIGHT_LOG__LEVEL", "DEBUG")
    loud = run("user", "add", "alice", "-d", tmp_path, "--password-stdin", typed="one fine pass\n")
    assert "Traceback" in loud.err


def test_users_are_added_listed_and_given_passwords(run: Run, tmp_path: Path) -> None:
    options = ("--dir", tmp_path)
    empty = run("user", "list", *options)
    assert (empty.code, empty.out) == (0, "")
    added = run(
        *("user", "add", "alice", "--role", "trader", "--email", "a@example.com"),
        *("--custom-role", "desk", "--password-stdin", *options),
        typed="password one\r\n",
    )
    assert (added.code, added.err) == (0, "")
    assert added.out.startswith("added alice (trader), id ")
    table = run("user", "list", *options).out
    head, row = table.splitlines()
    assert head.split()[:2] == ["username", "role"]
    assert row.index("trader") == head.index("role")
    (user,) = json.loads(run("user", "list", "--format", "json", *options).out)
    assert user["custom_roles"] == ["desk"]
    assert user["created_at"].endswith("Z")
    assert "argon2" not in table + json.dumps(user)
    changed = run("user", "passwd", "alice", "--password-stdin", *options, typed="two fine pass\n")
    assert changed.out == "changed the password of alice; sessions ended: 0\n"


def test_wrong_users_are_refused(run: Run, tmp_path: Path) -> None:
    options = ("--dir", tmp_path, "--password-stdin")
    assert run("user", "add", "alice", *options, typed="one fine pass\n").code == 0
    again = run("user", "add", "ALICE", *options, typed="one fine pass\n")
    assert (again.code, again.err) == (1, "error: there is already a user 'ALICE'\n")
    weak = run("user", "add", "bob", *options, typed="weak\n")
    assert (weak.code, weak.err) == (2, "error: a password has 8 to 1024 bytes\n")
    nobody = run("user", "passwd", "nobody", *options, typed="one fine pass\n")
    assert (nobody.code, nobody.err) == (1, "error: there is no user 'nobody'\n")
    no_terminal = run("user", "add", "carol", "--dir", tmp_path)
    assert no_terminal.code == 2
    assert "--password-stdin" in no_terminal.err


def test_the_lakehouse_may_come_from_file_or_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lake").mkdir()
    config = tmp_path / "lakeflight.toml"
    config.write_text('[storage]\nprimary = "lake"\n')
    add = ("user", "add", "alice", "--password-stdin")
    assert run(*add, "--config", config, typed="one fine pass\n").code == 0
    monkeypatch.setenv("DELTA_DATA_ROOT", str(tmp_path / "lake"))
    assert "alice" in run("user", "list").out
    monkeypatch.setenv("LAKEHOUSE_PATH", str(tmp_path / "state"))
    assert run("user", "list").out == ""


def test_config_prints_a_file_that_says_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a secret of at least thirty-two bytes"
    monkeypatch.setenv("LAKEFLIGHT_AUTH__SECRET", secret)
    config = tmp_path / "lakeflight.toml"
    config.write_text(
        '[server]\nport = 7\n[storage.buckets]\n"profile:user" = "s3://a/\\"b\\""\n'
        '[[grants]]\nprivilege = "read"\nresource = "primary"\nuser = "x"\n'
    )
    first = run("config", tmp_path / "lake", "--config", config)
    assert first.code == 0
    assert secret not in first.out
    assert '# secret = "***"  # environment LAKEFLIGHT_AUTH__SECRET' in first.out
    assert "port = 7  # file lakeflight.toml" in first.out
    config.write_text(first.out)
    document = tomllib.loads(first.out)
    assert document["storage"]["buckets"] == {"profile:user": 's3://a/"b"'}
    second = run("config", "--config", config)
    assert tomllib.loads(second.out) == document
    table = run("config", "--config", config, "--format", "table").out
    assert secret not in table
    assert "storage.buckets" in table
    assert run("config", "--markdown").out.startswith("# Settings")


def test_config_prints_issuers_tiers_and_keys_and_no_secret(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "an earlier secret of thirty-two bytes"
    monkeypatch.setenv("LAKEFLIGHT_AUTH__PREVIOUS_SECRETS", f'["{secret}"]')
    config = tmp_path / "lakeflight.toml"
    config.write_text(
        '[auth]\nalgorithms = ["HS256"]\nverification_keys = ["a.pem"]\n'
        '[issuers."my company"]\nissuer = "https://login.example.com"\naudience = "lake"\n'
        'roles = { "a b" = "trader" }\nalgorithms = ["ES256", "EdDSA"]\n'
        "[tiers.free]\nrequests_per_minute_max = 30\n"
    )
    first = run("config", "--config", config)
    assert first.code == 0
    assert secret not in first.out
    document = tomllib.loads(first.out)
    assert document["auth"]["algorithms"] == ["HS256"]
    assert document["auth"]["verification_keys"] == [str(tmp_path / "a.pem")]
    assert document["issuers"]["my company"]["roles"] == {"a b": "trader"}
    assert document["issuers"]["my company"]["algorithms"] == ["ES256", "EdDSA"]
    assert document["tiers"] == {"free": {"requests_per_minute_max": 30}}
    config.write_text(first.out)
    assert tomllib.loads(run("config", "--config", config).out) == document
    table = run("config", "--config", config, "--format", "table").out
    assert "my company" in table
    assert secret not in table


def test_doctor_is_green_on_a_sound_folder_and_red_on_none(run: Run, tmp_path: Path) -> None:
    sound = run("doctor", tmp_path, "--port", "0")
    assert sound.code == 0
    assert "red" not in {line.split()[0] for line in sound.out.splitlines()}
    missing = run("doctor", tmp_path / "nowhere", "--port", "0")
    assert missing.code == 1
    assert any(line.startswith("red     storage") for line in missing.out.splitlines())


def test_doctor_reports_wrong_settings(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEFLIGHT_SERVER__PROT", "1")
    outcome = run("doctor", tmp_path)
    assert outcome.code == 1
    assert outcome.out.startswith("red     settings")


def test_the_real_command_is_quick_and_ends_cleanly(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from flight_server.cli import main; main()"]
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([*program, "--help"], capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert b"lakeflight" in done.stdout
    assert best < 1.0  # about 0.06 s on a quiet machine
    added = subprocess.run(
        [*program, "user", "add", "alice", "--dir", tmp_path, "--password-stdin"],
        input=b"one fine pass\n",
        capture_output=True,
        check=False,
    )
    assert (added.returncode, added.stderr) == (0, b"")
    listed = subprocess.run(
        [*program, "user", "list", "--dir", tmp_path], capture_output=True, check=False
    )
    assert listed.returncode == 0
    assert b"alice" in listed.stdout


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from flight_server import cli; cli.run(['--help']);"
        "heavy = {'pyarrow', 'datafusion', 'deltalake', 'pydantic', 'rich', 'jwt'};"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""
