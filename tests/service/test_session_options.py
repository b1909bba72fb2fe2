"""What the options of a session take, and what they do not."""

from __future__ import annotations

import pytest

from flight_server.errors import InvalidRequest, NotFound, PermissionDenied
from flight_server.protocol.flight import SessionOption
from flight_server.service.session_options import NAMES, Reader, shown
from policies.names import Principal
from policies.purposes import PURPOSES
from tests.service.opened import ADMIN, BOB


class Names:
    """Buckets and schemas that everybody sees, and one that administrators see."""

    def catalogs(self, principal: Principal) -> tuple[str, ...]:
        return ("primary", "profile_user", "secret") if principal.is_admin else ("primary",)

    def schemas(
        self, principal: Principal, catalog: str | None = None
    ) -> tuple[tuple[str, str], ...]:
        return (("primary", "sales"),) if catalog == "primary" else ()

    def purposes(self, principal: Principal) -> frozenset[str]:
        return frozenset(PURPOSES) if principal.is_admin else frozenset({"research"})


def read(name: str, value: SessionOption, principal: Principal = ADMIN) -> str | float | None:
    return Reader(Names(), principal, "primary", "public").read(name, value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("catalog", "primary", "primary"),
        ("catalog", "profile:user", "profile_user"),
        ("schema", "sales", "sales"),
        ("schema", "public", "public"),
        ("purpose", "analytics", "analytics"),
        ("purpose", "", None),
        ("query_tag", "nightly 1 ü", "nightly 1 ü"),
        ("query_timeout_seconds", "2.5", 2.5),
        ("query_timeout_seconds", 3, 3.0),
        ("query_timeout_seconds", 0.5, 0.5),
        *((name, None, None) for name in NAMES),
    ],
)
def test_what_is_taken(name: str, value: SessionOption, kept: str | float | None) -> None:
    assert read(name, value) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("catalog", ""),
        ("catalog", 1),
        ("catalog", "x" * 300),
        ("schema", ("sales",)),
        ("purpose", "two\nlines"),
        ("purpose", "billing"),
        ("purpose", "Research"),
        ("purpose", True),
        ("query_tag", "x" * 257),
        *(
            ("query_timeout_seconds", value)
            for value in ("soon", "", "nan", "inf", 0, -1, 86_401, 2**62, True, ("1",))
        ),
    ],
)
def test_what_is_refused(name: str, value: SessionOption) -> None:
    with pytest.raises(InvalidRequest, match=name):
        read(name, value)


def test_a_purpose_is_one_that_was_granted() -> None:
    assert read("purpose", "research", BOB) == "research"
    with pytest.raises(PermissionDenied) as raised:
        read("purpose", "analytics", BOB)
    assert raised.value.code == "purpose_denied"
    with pytest.raises(InvalidRequest, match="research, analytics, machine_learning"):
        read("purpose", "billing", BOB)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("catalog", "nowhere", "bucket_not_found"),
        ("catalog", "secret", "bucket_not_found"),
        ("schema", "nowhere", "schema_not_found"),
    ],
)
def test_what_one_may_not_see_does_not_exist(name: str, value: str, code: str) -> None:
    with pytest.raises(NotFound, match="you may use: ") as caught:
        read(name, value, BOB)
    assert caught.value.code == code
    assert "user" not in caught.value.message.replace("may use", "")


def test_all_options_are_shown() -> None:
    values: dict[str, str | float | None] = {"catalog": "primary", "query_timeout_seconds": 2.0}
    assert shown(values) == {
        "catalog": "primary",
        "schema": "",
        "purpose": "",
        "query_timeout_seconds": "2",
        "query_tag": "",
    }
