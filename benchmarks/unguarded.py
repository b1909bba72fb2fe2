"""Lakeflight without its guards, to measure what they cost: ``python -m benchmarks.unguarded DIR``.

Tokens are believed once they were seen, nothing is counted, and nothing is on record. Such a server
exists for this benchmark alone; no setting of the product makes one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flight_server import footprint
from flight_server.app import Gateway
from flight_server.ops.counting import Counting
from flight_server.ops.settings import inherited_environment, load
from flight_server.service.limits import Limits, Place, Step
from flight_server.service.recording import Forgetful, Recorder
from flight_server.service.signin import SignedIn, SignIn


class Believing:
    """Looks a token up when it comes for the first time, and never again."""

    def __init__(self, signin: SignIn) -> None:
        self._signin = signin
        self._seen: dict[str, SignedIn] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signin, name)

    def by_token(self, token: str, **options: Any) -> SignedIn:
        known = self._seen.get(token)
        if known is None:
            known = self._seen[token] = self._signin.by_token(token, **options)
        return known


class Uncounted(Limits):
    """Lets everybody do everything."""

    def request(self, user_id: str, tier: str, *, step: Step) -> None:
        pass

    def enter(self, user_id: str, tier: str) -> Place:  # noqa: ARG002
        return Place(self, user_id, {})


class Unguarded(Gateway):
    """The same server in all else."""

    def _build_signin(self, *arguments: Any, **options: Any) -> Any:
        return Believing(super()._build_signin(*arguments, **options))

    def _open_counting(self, secret: bytes) -> Counting:
        counting = super()._open_counting(secret)
        return replace(counting, limits=Uncounted({}, counting.files[0]))

    def _recorder(self, policy_version: Callable[[], str]) -> Recorder:  # noqa: ARG002
        return Forgetful()


def main() -> None:
    """Serve a folder until this process is ended."""
    footprint.leave_out_unused_libraries()
    footprint.return_large_blocks()
    settings = load(None, {"storage.primary": sys.argv[1], "server.port": 0})
    gateway = Unguarded(settings, environment=inherited_environment())
    gateway.start()
    print(f"ready {gateway.uri}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        os._exit(0)


if __name__ == "__main__":
    main()
