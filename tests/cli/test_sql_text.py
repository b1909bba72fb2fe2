"""Statements are cut where SQL ends them, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.cli.sql_text import name_parts, split


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("", (), ""),
        ("SELECT 1", (), "SELECT 1"),
        ("SELECT 1;", ("SELECT 1",), ""),
        (" a ; b ;c", ("a", "b"), "c"),
        (";;  ;", (), ""),
        ("SELECT ';';", ("SELECT ';'",), ""),
        ("SELECT 'it''s;'; x", ("SELECT 'it''s;'",), "x"),
        ('SELECT "a;b";', ('SELECT "a;b"',), ""),
        ("SELECT 1 -- no; end\n;", ("SELECT 1 -- no; end",), ""),
        ("-- only a comment;\n", (), ""),
        ("/* ; */ ;", (), ""),
        ("SELECT /* ; */ 1;", ("SELECT /* ; */ 1",), ""),
        ("SELECT 'open; ", (), "SELECT 'open;"),
        ("SELECT /* open; ", (), "SELECT /* open;"),
        ("SELECT $$a;b$$; $x$ ; $x$;", ("SELECT $$a;b$$", "$x$ ; $x$"), ""),
        ("SELECT 2 - 1 / 3;", ("SELECT 2 - 1 / 3",), ""),
    ],
)
def test_split(text: str, statements: tuple[str, ...], rest: str) -> None:
    script = split(text)
    assert script.statements == statements
    assert script.rest == rest


@given(st.text(alphabet="a;'\"-/*$\n ", max_size=60))
def test_nothing_is_lost_or_invented(text: str) -> None:
    script = split(text)
    whole = "".join((*script.statements, script.rest))
    kept = iter(text)
    assert all(character in kept for character in whole)  # in order


@given(st.lists(st.text(alphabet="ab '", min_size=1).map(lambda s: "x" + s.replace("'", "''"))))
def test_joined_statements_come_apart(parts: list[str]) -> None:
    quoted = [f"SELECT '{part};'" for part in parts]
    assert list(split("".join(f"{one};\n" for one in quoted)).statements) == quoted


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("t", ("t",)),
        ("s.t", ("s", "t")),
        ('b."odd.name"."say ""hi"""', ("b", "odd.name", 'say "hi"')),
        ("a.b.c.d", None),
        ("", None),
        ("a.", None),
        ("a b", None),
        ("o_%", ("o_%",)),
    ],
)
def test_names(text: str, parts: tuple[str, ...] | None) -> None:
    assert name_parts(text) == parts
