"""What an account may be called and made of, and what may be its password. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from flight_server.auth.common_passwords import is_common, stripped
from flight_server.errors import InvalidRequest
from policies.names import Role

ADMIN = "admin"
PASSWORD_BYTES_MIN = 8
PASSWORD_BYTES_MAX = 1024
CUSTOM_ROLES_MAX = 100
ATTRIBUTES_MAX = 32
ATTRIBUTE_CHARACTERS_MAX = 256
# The user name under which a token may be given as a password.
RESERVED_NAMES = frozenset({"token"})
# Names that others would take for the operator's; who administers a server may still use them.
NAMES_OF_AUTHORITY = frozenset(
    {
        "admin",
        "administrator",
        "anonymous",
        "everyone",
        "guest",
        "lakeflight",
        "nobody",
        "operator",
        "public",
        "root",
        "security",
        "superuser",
        "support",
        "sysadmin",
        "system",
    }
)
_EMAIL_BYTES_MAX = 254
_LOCAL_PART_BYTES_MAX = 64
_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_CUSTOM_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
# Dots stand between other characters; letters of any script may be in either part (RFC 6531).
_ATOM = r"(?:[\w!#$%&'*+/=?^`{|}~-])+"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@{_LABEL}(?:\.{_LABEL})+")


def check_username(username: str) -> None:
    """Raise InvalidRequest for a name that nobody can have."""
    if not _USERNAME.fullmatch(username):
        raise InvalidRequest(
            "a user name is a letter, then letters, digits, '.', '_' or '-', 64 at most"
        )
    # "Admin" beside "admin" would invite mistakes, also before there is an "admin".
    name = username.casefold()
    if name in RESERVED_NAMES or (name == ADMIN and username != ADMIN):
        raise InvalidRequest(f"the user name {username!r} is reserved")


def check_own_choice(username: str) -> None:
    """Raise InvalidRequest for a name that nobody may give themselves."""
    check_username(username)
    if username.casefold() in NAMES_OF_AUTHORITY:
        raise InvalidRequest(f"the user name {username!r} is reserved")


def check_email(email: str) -> None:
    """Raise InvalidRequest for what cannot be an e-mail address."""
    size = len(email.encode("utf-8", "surrogatepass"))
    match = _EMAIL.fullmatch(email) if size <= _EMAIL_BYTES_MAX else None
    if match is None or len(match[1].encode("utf-8", "replace")) > _LOCAL_PART_BYTES_MAX:
        raise InvalidRequest("the e-mail address is not valid")


def check_role(role: str) -> Role:
    """Return a base role by its name, or raise InvalidRequest."""
    if role not in set(Role):
        raise InvalidRequest(f"the role is one of {', '.join(Role)}")
    return Role(role)


def check_custom_roles(names: Iterable[str]) -> tuple[str, ...]:
    """Return custom roles, each once, or raise InvalidRequest."""
    found = tuple(dict.fromkeys(names))
    if len(found) > CUSTOM_ROLES_MAX:
        raise InvalidRequest(f"a user has custom_roles_max={CUSTOM_ROLES_MAX} at most")
    for name in found:
        if not _CUSTOM_ROLE.fullmatch(name) or name in set(Role):
            raise InvalidRequest(
                "a custom role is a lower-case letter, then letters, digits, '_' or '-', "
                "64 at most, and not the name of a base role"
            )
    return found


def is_attribute_name(name: str) -> bool:
    """Whether an attribute may be called so."""
    return _ATTRIBUTE.fullmatch(name) is not None


def sound_attribute(value: object) -> str | None:
    """Return what another system says of a user as the value of an attribute; None if it is none.

    A text, or a whole number as text.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and 1 <= len(text) <= ATTRIBUTE_CHARACTERS_MAX and text.isprintable():
        return text
    return None


def check_attributes(attributes: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return attributes by name, each name once, or raise InvalidRequest."""
    found = dict(attributes)
    if len(found) > ATTRIBUTES_MAX:
        raise InvalidRequest(f"a user has attributes_max={ATTRIBUTES_MAX} at most")
    for name, value in found.items():
        if not is_attribute_name(name):
            raise InvalidRequest(
                "the name of an attribute is a lower-case letter, then letters, digits, '_', '.' or"
                " '-', 64 at most"
            )
        if sound_attribute(value) is None:
            raise InvalidRequest(
                f"the attribute {name} is a printable text of 1 to {ATTRIBUTE_CHARACTERS_MAX}"
                " characters"
            )
    return tuple(sorted(found.items()))


def check_tier(tier: str, tiers: Collection[str]) -> None:
    """Raise InvalidRequest for a tier that is not one of these."""
    if tier not in tiers:
        raise InvalidRequest(f"the tier is one of {', '.join(tiers)}")


def check_password(
    password: str, *, bytes_max: int = PASSWORD_BYTES_MAX, names: Iterable[str | None] = ()
) -> None:
    """Raise InvalidRequest for a password that is too short, too long, or guessed at once.

    ``names`` are the user name and the address of whose password it is to be.
    """
    size = len(password.encode("utf-8", "surrogatepass"))
    if not PASSWORD_BYTES_MIN <= size <= bytes_max:
        raise InvalidRequest(f"a password has {PASSWORD_BYTES_MIN} to {bytes_max} bytes")
    if is_common(password):
        raise InvalidRequest("this password is one of those that are tried first; take another")
    text = password.casefold()
    for name in names:
        own = {part for part in ((name or "").casefold(), _local_part(name)) if part}
        if text in own or any(each in own for each in stripped(text)):
            raise InvalidRequest("a password must not be the user name or the e-mail address")


def _local_part(name: str | None) -> str:
    local, at, _ = (name or "").casefold().rpartition("@")
    return local if at else ""
