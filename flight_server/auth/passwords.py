"""Passwords as argon2id hashes, a bounded number of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from flight_server.auth.account_rules import PASSWORD_BYTES_MAX, check_password
from flight_server.errors import LimitExceeded

_HASH_START = "$argon2"


@dataclass(frozen=True, slots=True)
class PasswordOptions:
    """What one hash costs, how many may be made at a time, and how many may wait for their turn.

    The defaults are the least that the OWASP password storage cheat sheet asks of argon2id.
    """

    time_cost: int = 2
    memory_kib: int = 19_456
    parallelism: int = 1
    hashing_concurrent_max: int = 2
    hashing_waiting_max: int = 200
    hashing_wait_seconds_max: float = 10.0
    password_bytes_max: int = PASSWORD_BYTES_MAX


class Passwords:
    """Hashes and verifies; safe to use from many threads."""

    def __init__(self, options: PasswordOptions | None = None) -> None:
        self._options = options or PasswordOptions()
        self._hasher = PasswordHasher(
            time_cost=self._options.time_cost,
            memory_cost=self._options.memory_kib,
            parallelism=self._options.parallelism,
            type=Type.ID,
        )
        self._turns = threading.BoundedSemaphore(self._options.hashing_concurrent_max)
        # Those that hash and those that wait for it; each is a thread of a call.
        self._places = threading.BoundedSemaphore(
            self._options.hashing_concurrent_max + self._options.hashing_waiting_max
        )
        # Verified for users who do not exist, so that they take as long as those who do.
        self._dummy = self._hasher.hash("no password has this hash")

    def check_rule(self, password: str, *, names: Iterable[str | None] = ()) -> None:
        """Raise InvalidRequest for a new password that is too short, too long, or guessed at once.

        ``names`` are the user name and the address of whose it is to be.
        """
        check_password(password, bytes_max=self._options.password_bytes_max, names=names)

    def hash(self, password: str, *, names: Iterable[str | None] = ()) -> str:
        """Return the hash of a new password.

        Raises InvalidRequest when it breaks the rule, LimitExceeded when too many are waiting.
        """
        self.check_rule(password, names=names)
        return self.hash_again(password)

    def hash_again(self, password: str) -> str:
        """Return another hash of a password that somebody has already; LimitExceeded."""
        with self._turn():
            return self._hasher.hash(_encode(password))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether this is the password behind a stored hash.

        None, for no such user, never is; nor is anything the password of an account without one,
        whose hash is no hash. Does the same work in each case. Too long a password is refused
        before any work. Raises LimitExceeded when too many are waiting.
        """
        content = _encode(password)
        if len(content) > self._options.password_bytes_max:
            return False
        has_one = stored is not None and stored.startswith(_HASH_START)
        with self._turn():
            try:
                matches = self._hasher.verify(
                    stored if stored is not None and has_one else self._dummy, content
                )
            except (VerificationError, InvalidHashError):
                return False
        return matches and has_one

    def needs_rehash(self, stored: str) -> bool:
        """Whether a stored hash was made with other costs than today's."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise _too_many("hashing_waiting_max")
        try:
            if not self._turns.acquire(timeout=self._options.hashing_wait_seconds_max):
                raise _too_many("hashing_concurrent_max")
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()


def _too_many(name: str) -> LimitExceeded:
    return LimitExceeded(f"too many sign-ins at once limit=auth.{name}", retry_after_seconds=1.0)


def _encode(password: str) -> bytes:
    # A lone surrogate has no UTF-8; it comes from bytes that were none, and must not be an error.
    return password.encode("utf-8", "surrogatepass")
