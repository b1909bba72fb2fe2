"""The house rules that a machine can check: sizes, doors, banned names, and who is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("flight_server", "policies")
GENERATED = {"flight_sql_pb2.py"}
FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 400
BANNED_MODULES = {"utils", "util", "helpers", "common", "manager", "misc"}
# What may be used only behind one door: attribute or module to the modules that may.
DOORS = {
    "pyarrow.flight": ("flight_server/rpc/", "flight_server/client/"),
    "os.environ": ("flight_server/ops/settings.py",),
    "argon2": ("flight_server/auth/",),
    "jwt": ("flight_server/auth/",),
}
# Time and chance are arguments; a clock is the one place that asks the machine.
BANNED_CALLS = {
    "datetime.now": ("flight_server/clock.py",),
    "datetime.utcnow": (),
    "time.time": ("flight_server/clock.py",),
    "time.monotonic": ("flight_server/clock.py", "flight_server/cli/"),
    "time.perf_counter": ("flight_server/cli/",),
    "time.sleep": (),
    "uuid.uuid4": (),
    "random.random": (),
}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name not in GENERATED:
                yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources()}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first, *rest = function.body
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if is_docstring and not rest:
        return 0
    start = rest[0] if is_docstring else first
    return (function.body[-1].end_lineno or 0) - start.lineno + 1


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def test_functions_fit_a_screen(trees: dict[str, ast.Module]) -> None:
    long = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_modules_stay_short() -> None:
    long = [
        f"{name_of(path)}: {lines}"
        for path in sources()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    ]
    assert not long


def test_modules_have_telling_names() -> None:
    assert not [name_of(path) for path in sources() if path.stem in BANNED_MODULES]


def test_modules_say_what_they_are_for(trees: dict[str, ast.Module]) -> None:
    assert not [name for name, tree in trees.items() if not ast.get_docstring(tree)]


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_libraries_are_behind_their_doors(trees: dict[str, ast.Module]) -> None:
    wrong = [
        f"{name}: {door}"
        for name, tree in trees.items()
        for door, allowed in DOORS.items()
        if not name.startswith(allowed)
        and any(module == door or module.startswith(f"{door}.") for module in imported(tree))
    ]
    assert not wrong


def test_only_the_settings_read_the_environment(trees: dict[str, ast.Module]) -> None:
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and dotted(node) in {"os.environ", "os.getenv"}
        and not name.startswith(DOORS["os.environ"])
    ]
    assert not wrong


def test_time_and_chance_are_arguments(trees: dict[str, ast.Module]) -> None:
    wrong = [
        f"{name}:{node.lineno} {call}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (call := dotted(node.func)) in BANNED_CALLS
        and not name.startswith(BANNED_CALLS[call])
    ]
    assert not wrong


def test_the_gateway_never_loads_datafusion() -> None:
    script = (
        "import sys, flight_server.app, flight_server.cli.serve;"
        "sys.exit('datafusion' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
