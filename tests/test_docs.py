"""The documentation under test: its links lead somewhere, and its examples run against the demo."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flight_server import errors
from flight_server.demo import build
from flight_server.ops.settings import load
from flight_server.rpc.own_actions import OWN_ACTIONS
from tests.servers import Server, running

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
DEMO_URI = "grpc://127.0.0.1:31337"
DEMO_PASSWORD = "lakeflight-demo"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(language: str) -> list[Any]:
    """Return each fenced block of a language, as a test parameter named by page and number."""
    found = []
    for page in PAGES:
        for number, match in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8"))):
            if match[1] == language:
                found.append(pytest.param(match[2], id=f"{page.name}-{number}"))
    return found


def python_pages() -> list[Any]:
    """Return the Python of each page as one program: a page is read from top to bottom."""
    programs = []
    for page in PAGES:
        parts = [
            match[2]
            for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))
            if match[1] == "python"
        ]
        if parts:
            programs.append(pytest.param(parts, id=page.name))
    return programs


def address(uri: str) -> str:
    """Return host and port."""
    return uri.partition("://")[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("docs") / "demo"
    build(directory, scale=0.01)
    with running(directory, environment={"LAKEFLIGHT_ADMIN__PASSWORD": DEMO_PASSWORD}) as server:
        yield server


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("sql", blocks("sql"))
def test_sql_runs(sql: str, demo: Server) -> None:
    with (
        closing(demo.connect(password=DEMO_PASSWORD)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
        assert cursor.fetch_arrow_table().num_rows > 0


@pytest.mark.parametrize("parts", python_pages())
def test_python_runs(parts: list[str], demo: Server) -> None:
    prelude = (
        "from adbc_driver_flightsql import dbapi\n"
        f'conn = dbapi.connect("{DEMO_URI}", autocommit=True,\n'
        f'    db_kwargs={{"username": "admin", "password": "{DEMO_PASSWORD}"}})\n'
    )
    program = "\n".join(parts)
    if "dbapi.connect(" not in program:
        program = prelude + program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(address(DEMO_URI), address(demo.uri))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", blocks("sh"))
def test_commands_run(script: str, demo: Server) -> None:
    for line in script.splitlines():
        command = shlex.split(
            line.replace(DEMO_URI, demo.uri).replace("/path/to/lakehouse", str(demo.directory))
        )
        assert command[0] == "lakeflight"
        done = subprocess.run(
            [sys.executable, "-m", "flight_server", *command[1:]],
            input=f"{DEMO_PASSWORD}\n",
            env={**os.environ, "LAKEFLIGHT_PASSWORD": DEMO_PASSWORD},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("document", blocks("toml"))
def test_settings_are_settings(document: str, tmp_path: Path) -> None:
    config = tmp_path / "lakeflight.toml"
    config.write_text(document, encoding="utf-8")
    settings = load(config, {}, environ={})
    assert settings.policy_book().grants or not settings.grants


def test_every_error_class_is_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    codes = {
        cls.default_code
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.LakeflightError)
    }
    assert not [code for code in codes if f"`{code}`" not in page]


def test_every_code_in_the_source_is_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    used = {
        code
        for path in (ROOT / "flight_server").rglob("*.py")
        for code in re.findall(r'\bcode="([a-z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert not [code for code in sorted(used) if f"`{code}`" not in page]


def test_every_action_is_documented_as_it_is() -> None:
    page = (ROOT / "docs" / "actions.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| `[a-z_]+\.[a-z_]+`", line)]
    assert rows == [
        f"| `{name}` | {shape.who} | `{shape.usage()}` | `{shape.answer}` | {shape.description} |"
        for name, shape in OWN_ACTIONS.items()
    ]
