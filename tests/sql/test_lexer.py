from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.errors import InvalidRequest
from flight_server.sql.lexer import Kind, position, tokens

PIECES = st.sampled_from(
    [
        "SELECT",
        "a.b",
        "'it''s'",
        "E'a\\'b'",
        "$$x'y$$",
        "$q$ $$ $q$",
        '"A ""b"""',
        "`c`",
        "-- note\n",
        "/* a /* b */ c */",
        "1.5e-3",
        "::",
        "||",
        ";",
        "(",
        "é",
        "t@v5",
        "$1",
        "?",
        "\n\t",
        "/",
        "*",
        "-",
        "x'",
        "'",
        '"',
        "/*",
        "$",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=15).map(" ".join)))
def test_tokens_lose_nothing_and_only_invalid_request_is_raised(sql: str) -> None:
    try:
        found = tokens(sql)
    except InvalidRequest:
        return
    assert "".join(token.text for token in found) == sql
    offset = 0
    for token in found:
        assert token.start == offset
        offset += len(token.text)


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("'a''b'", [Kind.STRING]),
        (r"E'a\'b'", [Kind.STRING]),
        ("E'a''b'", [Kind.STRING]),
        ("$$a'b$$", [Kind.STRING]),
        ("$x$ $$ $x$", [Kind.STRING]),
        ("X'00ff'", [Kind.STRING]),
        ("U&'\\0041'", [Kind.STRING]),
        ('"a""b"', [Kind.QUOTED]),
        ("`a`", [Kind.QUOTED]),
        ("-- 'x", [Kind.COMMENT]),
        ("/* /* ' */ */", [Kind.COMMENT]),
        ("t@v5", [Kind.WORD]),
        ("1e5", [Kind.NUMBER]),
        (".5", [Kind.NUMBER]),
        ("a::int", [Kind.WORD, Kind.SYMBOL, Kind.WORD]),
        ("$1", [Kind.SYMBOL, Kind.NUMBER]),
        ("exit", [Kind.WORD]),
    ],
)
def test_kinds(sql: str, kinds: list[Kind]) -> None:
    assert [token.kind for token in tokens(sql)] == kinds


@pytest.mark.parametrize("sql", ["'a", '"a', "/* a", "/* /* */", "$$a", "E'a\\'", "`a", "a\0b"])
def test_what_never_ends_is_invalid_with_its_place(sql: str) -> None:
    with pytest.raises(InvalidRequest, match=r"line=2 column=\d+$"):
        tokens("SELECT\n" + sql)


def test_positions_count_from_one() -> None:
    assert position("ab\ncd", 4) == "line=2 column=2"
    assert position("", 0) == "line=1 column=1"


def test_names_fold_unless_quoted() -> None:
    assert [token.name for token in tokens('Ab"C""d"')] == ["ab", 'C"d']
