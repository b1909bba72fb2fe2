"""The accounts of people who sign in at another system: made at first sight, renewed by its word.

An account is bound to the issuer and its id for the user, never to a name: whoever is called like
somebody here gets another name, and nobody's account.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from flight_server.auth.account_rules import ATTRIBUTES_MAX, check_email, check_own_choice
from flight_server.auth.issuers import ExternalClaims, Issuers, Vouched
from flight_server.auth.users import User, UserStore
from flight_server.errors import InvalidRequest, Unauthenticated
from policies.names import Role

_BASE_CHARACTERS_MAX = 54
_NUMBERED_MAX = 99
_SAID_MAX = 10_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Said:
    """What an issuer said of a user last, and when, in seconds since 1970."""

    at: int
    vouched: Vouched


class ExternalAccounts:
    """Finds, makes and renews such accounts; safe to use from many threads."""

    def __init__(
        self, users: UserStore, issuers: Issuers, *, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._users = users
        self._issuers = issuers
        self._random_bytes = random_bytes

    def recognise(self, text: str) -> tuple[ExternalClaims, User] | None:
        """Return what a token says and whose account it is; None when it is of no issuer.

        Raises Unauthenticated and Unavailable as ``Issuers.verify``. The account may be disabled.
        """
        claims = self._issuers.verify(text)
        return None if claims is None else (claims, self.account(claims))

    def account(self, claims: ExternalClaims) -> User:
        """Return the account of verified claims, durable, and as up to date as they are.

        What the issuer says is taken over when it says something else than before, so that what is
        changed here in between stays; a token older than what is known changes nothing. An
        account that is disabled here is returned as it is.
        """
        user = self._users.find_external(claims.external_id)
        if user is None:
            return self._made(claims)
        if not user.is_active or _renewed(user, claims) is user:
            return user
        try:
            return self._users.update(user.user_id, lambda found: _renewed(found, claims))
        except InvalidRequest as error:  # the last administrator, who is to be none any more
            _log.warning("the account %s was not renewed: %s", user.username, error)
            raise Unauthenticated(
                "the account cannot become what its issuer says", code="token_revoked"
            ) from None

    def _made(self, claims: ExternalClaims) -> User:
        vouched = claims.vouched
        user = self._users.add_external(
            claims.external_id,
            self._names(claims.username),
            email=_sound_email(vouched),
            role=vouched.role,
            custom_roles=vouched.custom_roles,
            tier=vouched.tier,
            attributes=vouched.attributes,
            claims=_text(_Said(claims.issued_at, vouched)),
        )
        _log.info("the account %s was made for a user of another system", user.username)
        return user

    def _names(self, wish: str) -> Iterator[str]:
        """Yield names that the account may have, the nearest to the wish first."""
        base = safe_name(wish)
        numbered = (f"{base}-{number}" for number in range(2, _NUMBERED_MAX))
        for name in (base, *numbered, f"{base[:40]}-{self._random_bytes(8).hex()}"):
            try:
                check_own_choice(name)
            except InvalidRequest:
                continue
            yield name


def safe_name(wish: str) -> str:
    """Return the user name that is nearest to what somebody would like to be called."""
    plain = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:_BASE_CHARACTERS_MAX].strip("._-")
    return name if name[:1].isalpha() else f"user-{name}".strip("-")


def _renewed(user: User, claims: ExternalClaims) -> User:
    """Return the account as the claims make it; the very same one when they say nothing new."""
    before, now = _said(user.external_claims), claims.vouched
    if before is not None and (claims.issued_at < before.at or before.vouched == now):
        return user
    old = None if before is None else before.vouched
    return replace(
        user,
        role=Role(now.role) if old is None or now.role != old.role else user.role,
        custom_roles=(
            now.custom_roles
            if old is None or now.custom_roles != old.custom_roles
            else user.custom_roles
        ),
        subscription_tier=(
            now.tier if old is None or now.tier != old.tier else user.subscription_tier
        ),
        email=_sound_email(now) if old is None or now.email != old.email else user.email,
        attributes=_attributes(user, old, now),
        external_claims=_text(_Said(claims.issued_at, now)),
    )


def _attributes(user: User, old: Vouched | None, now: Vouched) -> tuple[tuple[str, str], ...]:
    """Return attributes with what the issuer says anew; others are those given here."""
    before = () if old is None else old.attributes
    if now.attributes == before:
        return user.attributes
    kept = {name: text for name, text in user.attributes if name not in dict(before)}
    merged = {**kept, **dict(now.attributes)}
    # Those of the issuer come first, where there are too many.
    for name in sorted(kept):
        if len(merged) <= ATTRIBUTES_MAX:
            break
        if name not in dict(now.attributes):
            del merged[name]
    return tuple(sorted(merged.items()))


def _sound_email(vouched: Vouched) -> str | None:
    try:
        check_email(vouched.email or "")
    except InvalidRequest:
        return None
    return vouched.email


def _text(said: _Said) -> str:
    return json.dumps(asdict(said), separators=(",", ":"))


@functools.lru_cache(maxsize=_SAID_MAX)
def _said(text: str | None) -> _Said | None:
    try:
        value = json.loads(text or "")
        vouched = value["vouched"]
        return _Said(
            at=int(value["at"]),
            vouched=Vouched(
                role=vouched["role"],
                custom_roles=tuple(vouched["custom_roles"]),
                tier=vouched["tier"],
                email=vouched["email"],
                attributes=tuple((name, text) for name, text in vouched.get("attributes", ())),
            ),
        )
    except (ValueError, KeyError, TypeError):
        return None
