"""The nouns of every decision: who asks, for what, to do what."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Privilege(StrEnum):
    """What a grant allows."""

    READ = "read"
    READ_RAW = "read_raw"
    WRITE = "write"
    MAINTAIN = "maintain"
    ERASE = "erase"
    MANAGE = "manage"


class Role(StrEnum):
    """The base roles; a user has one of them and any number of custom roles beside it."""

    GUEST = "guest"
    PENDING = "pending"
    REGISTERED = "registered"
    TRADER = "trader"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as looked up for this very call, and what for.

    ``purpose`` is the one that the session states, and may state; ``attributes`` are those of the
    account, by name, which row filters may ask for.
    """

    user_id: str
    username: str
    role: Role
    custom_roles: frozenset[str] = field(default_factory=frozenset)
    purpose: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator."""
        return self.role is Role.ADMIN

    def has_role(self, role: str) -> bool:
        """Whether this is the base role or one of the custom ones."""
        return role == self.role or role in self.custom_roles


@dataclass(frozen=True, slots=True, order=True)
class TableRef:
    """A table or view by its full name: the bucket is the SQL catalog."""

    bucket: str
    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.bucket}.{self.schema}.{self.table}"
