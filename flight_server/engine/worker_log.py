"""Log records of workers: they go out by the gateway, which knows the call that they belong to."""

from __future__ import annotations

import json
import logging
from collections import deque

RECORDS_MAX = 100
_CHARACTERS_MAX = 8_000
_OURS = "flight_server"
_log = logging.getLogger(__name__)


class LogBuffer(logging.Handler):
    """Keeps what is logged in a worker until it can be sent; the oldest goes when there is much."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[bytes] = deque(maxlen=RECORDS_MAX)

    def install(self) -> None:
        """Take all records of this process from now on: ours from INFO, those of others worse."""
        root = logging.getLogger()
        root.handlers[:] = [self]
        root.setLevel(logging.WARNING)
        logging.getLogger(_OURS).setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        text = self.format(record)  # the traceback included
        self._kept.append(
            json.dumps([record.name, record.levelno, text[:_CHARACTERS_MAX]]).encode()
        )

    def take(self) -> list[bytes]:
        """Return the records that were kept, as payloads of LOG frames, and forget them."""
        taken = []
        while self._kept:
            taken.append(self._kept.popleft())
        return taken


def relay(payload: bytes, *, pid: int) -> None:
    """Log what a worker has sent, as a record of the call of this thread."""
    name, level, text = json.loads(payload)
    logger = logging.getLogger(name if str(name).startswith(_OURS) else __name__)
    logger.log(int(level), "%s", text, extra={"worker_pid": pid})
