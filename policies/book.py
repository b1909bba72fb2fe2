"""All rules of one moment, with a version that changes whenever any of them does."""

from __future__ import annotations

from dataclasses import dataclass

from policies.rules import Grant


@dataclass(frozen=True, slots=True)
class PolicyBook:
    """The rules in force. An empty book shows nobody but administrators anything."""

    version: str
    grants: tuple[Grant, ...] = ()
