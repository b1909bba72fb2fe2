"""Passwords as argon2id hashes, a bounded number of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from flight_server.errors import InvalidRequest, LimitExceeded

PASSWORD_BYTES_MIN = 8


@dataclass(frozen=True, slots=True)
class PasswordOptions:
    """What one hash costs and how many may be made at a time.

    The defaults are the least that the OWASP password storage cheat sheet asks of argon2id.
    """

    time_cost: int = 2
    memory_kib: int = 19_456
    parallelism: int = 1
    hashing_concurrent_max: int = 2
    hashing_wait_seconds_max: float = 10.0
    password_bytes_max: int = 1024


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
        # Verified for users who do not exist, so that they take as long as those who do.
        self._dummy = self._hasher.hash("no password has this hash")

    def check_rule(self, password: str) -> None:
        """Raise InvalidRequest when a new password is too short or too long."""
        size, most = len(_encode(password)), self._options.password_bytes_max
        if not PASSWORD_BYTES_MIN <= size <= most:
            raise InvalidRequest(f"a password has {PASSWORD_BYTES_MIN} to {most} bytes")

    def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises InvalidRequest when it breaks the rule, LimitExceeded when too many are waiting.
        """
        self.check_rule(password)
        with self._turn():
            return self._hasher.hash(_encode(password))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether this is the password behind a stored hash; None, for no such user, never is.

        Does the same work in either case. Too long a password is refused before any work. Raises
        LimitExceeded when too many are waiting.
        """
        content = _encode(password)
        if len(content) > self._options.password_bytes_max:
            return False
        with self._turn():
            try:
                matches = self._hasher.verify(self._dummy if stored is None else stored, content)
            except (VerificationError, InvalidHashError):
                return False
        return matches and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether a stored hash was made with other costs than today's."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._options.hashing_wait_seconds_max):
            raise LimitExceeded(
                "too many sign-ins at once limit=auth.hashing_concurrent_max",
                retry_after_seconds=1.0,
            )
        try:
            yield
        finally:
            self._turns.release()


def _encode(password: str) -> bytes:
    # A lone surrogate has no UTF-8; it comes from bytes that were none, and must not be an error.
    return password.encode("utf-8", "surrogatepass")
