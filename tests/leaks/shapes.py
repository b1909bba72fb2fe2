"""Reads the hostile statements of ``shapes.sql``, and fills in what they are asked of."""

from __future__ import annotations

from pathlib import Path


def read_shapes(path: Path) -> tuple[str, ...]:
    """Return the statements of a file, one from each line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("--"))


SHAPES = read_shapes(Path(__file__).with_suffix(".sql"))


def filled(shape: str, table: str, target: tuple[str, str]) -> str:
    """Return a statement with its values in place."""
    return _with(shape, table, target, seven="7", text="'1'")


def with_parameters(shape: str, table: str, target: tuple[str, str]) -> tuple[str, list[object]]:
    """Return a statement whose values are to be bound, and these values in order."""
    found = {name: shape.find(f"{{{name}}}") for name in ("seven", "text")}
    order = sorted((at, name) for name, at in found.items() if at >= 0)
    places = {name: f"${number}" for number, (_, name) in enumerate(order, 1)}
    values: dict[str, object] = {"seven": 7, "text": "1"}
    chosen = {"seven": "7", "text": "'1'", **places}
    return _with(shape, table, target, **chosen), [values[name] for _, name in order]


def _with(shape: str, table: str, target: tuple[str, str], *, seven: str, text: str) -> str:
    column, number = target
    return shape.format(t=table, c=column, n=number, seven=seven, text=text)
