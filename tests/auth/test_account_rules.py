from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.auth.account_rules import (
    NAMES_OF_AUTHORITY,
    RESERVED_NAMES,
    check_custom_roles,
    check_email,
    check_own_choice,
    check_password,
    check_role,
    check_tier,
    check_username,
)
from flight_server.auth.common_passwords import is_common
from flight_server.errors import InvalidRequest
from flight_server.ops.settings import load

CAPITALS = st.lists(st.booleans(), min_size=20, max_size=20)


def refuses(check: object, *values: object) -> bool:
    assert callable(check)
    message = ""
    try:
        check(*values)
    except InvalidRequest as error:
        message = error.message
    # One sentence that never repeats what may be long, forged or secret.
    assert len(message) < 200
    assert message.isprintable()
    return bool(message)


@given(st.text(max_size=80))
def test_a_name_holds_what_can_be_typed_and_told_apart(name: str) -> None:
    if not refuses(check_username, name):
        assert 1 <= len(name) <= 64
        assert name.isascii()
        assert name[0].isalpha()
        assert set(name[1:]) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
        )


@given(st.sampled_from(sorted(RESERVED_NAMES | NAMES_OF_AUTHORITY)), CAPITALS)
def test_nobody_looks_like_the_operator(name: str, capitals: list[bool]) -> None:
    spelled = "".join(c.upper() if up else c for c, up in zip(name, capitals, strict=False))
    assert refuses(check_own_choice, spelled)
    if name == "token" or (name == "admin" and spelled != "admin"):
        assert refuses(check_username, spelled)
    else:
        assert not refuses(check_username, spelled)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a\n",
        "\na",
        "1a",
        "-a",
        "a" * 65,
        "a" * 10_240,
        "\u0430dmin",
        "\u017fystem",
        "a\x00",
        "a@b",
        "a/b",
    ],
)
def test_names_that_cannot_be(name: str) -> None:
    assert refuses(check_username, name)


@pytest.mark.parametrize(
    "email",
    [
        "a@example.com",
        "a.b+tag@mail.example.co.uk",
        "o'neil@example.com",
        "x@xn--bcher-kva.example",
        "grüße@bücher.example",
        "用户@例子.公司",
        "1@1.example",
        "a" * 64 + "@example.com",
    ],
)
def test_addresses(email: str) -> None:
    assert not refuses(check_email, email)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@",
        "a@",
        "@example.com",
        "a@b",
        "a@@example.com",
        "a@b@example.com",
        "a b@example.com",
        "a@exa mple.com",
        "a@example.com\n",
        "a@example..com",
        "a@.example.com",
        "a@example.com.",
        "a@-example.com",
        "a@example-.com",
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "a\x00@example.com",
        "<a@example.com>",
        "a@example.com, b@example.com",
        '"a"@example.com',
        "a@[127.0.0.1]",
        "a" * 65 + "@example.com",
        "ü" * 33 + "@example.com",
        "a@" + "b" * 64 + ".com",
        "a@" + "b." * 130 + "com",
        "\ud800@example.com",
        "x" * 10_240,
        "a." * 100_000 + "@example.com",
    ],
)
def test_addresses_that_are_none(email: str) -> None:
    assert refuses(check_email, email)


@given(st.text(max_size=300))
def test_no_text_breaks_a_check(text: str) -> None:
    for check in (check_email, check_own_choice, check_password, check_role):
        refuses(check, text)
    refuses(check_custom_roles, [text])
    refuses(check_tier, text, ("free",))


@given(st.text(max_size=40), st.integers(0, 40))
def test_a_password_has_8_to_1024_bytes(text: str, more: int) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size < 8:
        assert refuses(check_password, text)
    assert refuses(check_password, text + "x" * (1025 - size + more))
    long = "q7" * 500 + text[:4]
    if len(long.encode("utf-8", "surrogatepass")) <= 1024:
        assert not refuses(check_password, "never heard of it" + text) or size > 1000


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "Password1",
        "P@ssw0rd!",
        "p-a-s-s-w-o-r-d",
        "12345678",
        "1234567890",
        "87654321",
        "11111111",
        "20240131",
        "qwertyuiop",
        "poiuytrewq",
        "1q2w3e4r5t",
        "qazwsxedc",
        "asdfghjkl;",
        "abcdefgh1",
        "aaaaaaaa",
        "abababab",
        "abcabcabcabc",
        "letmein!!",
        "monkeymonkey",
        "Summer2024!",
        "admin123",
        "changeme",
        "changeme1!",
        "trustno1",
        "iloveyou2",
        "dragon99",
        "  password  ",
        "passwort",
        "kennwort1",
        "lakeflight",
    ],
)
def test_passwords_that_are_tried_first(password: str) -> None:
    assert is_common(password)
    assert refuses(check_password, password)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "quite another horse",
        "lakeflight-demo",
        "hunter2-hunter2",
        "xK9#mP2$",
        "pwgen-oeV6eeth",
        "a1b2c3d4e5f6",
        "Tr0ub4dor&3",
        "über allen Gipfeln",
        "пароль для базы",
        "99 luftballons",
        "31415926535",
        "\x00\x01\x02\x03\x04\x05\x06\x07",
        "x9" * 2 + "unheard of",
    ],
)
def test_passwords_that_are_not(password: str) -> None:
    assert not is_common(password)
    assert not refuses(check_password, password)


@pytest.mark.parametrize(
    ("password", "is_refused"),
    [
        ("margarete", True),
        ("MARGARETE", True),
        ("margarete1972", True),
        ("M4rg4rete!", True),
        ("m.atwood@example.com", True),
        ("M.Atwood@Example.com", True),
        ("m.atwood", True),
        ("m.atwood1", True),
        ("margarete of the lake", False),
        ("example.com", False),
    ],
)
def test_neither_name_nor_address_is_a_password(password: str, is_refused: bool) -> None:
    names = ("Margarete", "m.atwood@example.com", None)

    def check() -> None:
        check_password(password, names=names)

    assert refuses(check) is is_refused


@pytest.mark.parametrize("role", ["king", "", "ADMIN", "admin ", "pending\n"])
def test_roles_that_are_none(role: str) -> None:
    assert refuses(check_role, role)


@pytest.mark.parametrize(
    "names", [["admin"], ["Desk"], [""], ["a b"], ["a" * 65], ["-a"], [f"r{n}" for n in range(101)]]
)
def test_custom_roles_that_are_none(names: list[str]) -> None:
    assert refuses(check_custom_roles, names)


def test_custom_roles_are_kept_once() -> None:
    assert check_custom_roles(["desk", "steward", "desk"]) == ("desk", "steward")


@pytest.mark.parametrize(
    "password", ["short", "Password123!", "administrator1", "ADMIN\u00a0\u00a0"]
)
def test_the_first_administrator_keeps_to_the_rules_too(password: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(None, {"admin.password": password}, environ={})
    assert "admin.password" in caught.value.message
    assert password not in caught.value.message
