"""Puts on record what commands do to a lakehouse, whether or not a server runs on it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flight_server.audit.events import Event
from flight_server.audit.log import audit_folder, spool
from flight_server.clock import Clock
from flight_server.ops.settings import Settings
from flight_server.service.auditing import Auditor
from flight_server.service.recording import Circumstances, Detail, Effect

_REQUEST_ID_BYTES = 8
_PROGRAM = "lakeflight command"


@dataclass(frozen=True, slots=True)
class _Spool:
    """What an auditor writes to; each event is on the disk when ``append`` returns."""

    folder: Path

    def append(self, event: Event) -> int:
        spool(self.folder, event)
        return 0

    def sync_soon(self) -> None:
        """Do nothing: the event is there."""

    def wait(self, sequence: int) -> None:
        """Return at once."""


@contextmanager
def on_record(
    settings: Settings,
    clock: Clock,
    action: str,
    *,
    resource: str = "",
    details: Mapping[str, Detail] | None = None,
) -> Iterator[None]:
    """Put on record what the block is about to do, and at its end what came of it.

    Who runs the command is known by the user of the operating system. Raises Unavailable
    (``audit_unavailable``) when it cannot be put on record, and then it must not be done.
    """
    auditor = Auditor(
        _Spool(audit_folder(settings.storage.state_path)), clock, policy_version=lambda: ""
    )
    request_id = os.urandom(_REQUEST_ID_BYTES).hex()
    record = auditor.open(Circumstances(request_id, "command", user_agent=_PROGRAM))
    record.intend(
        action,
        resource,
        effect=Effect.CHANGE,
        details={**(details or {}), "operating_system_user": _operator()},
    )
    try:
        yield
    except BaseException as error:
        record.settle(error)
        raise
    record.settle()


def _operator() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in containers, which need not know a name
        return str(os.getuid())
