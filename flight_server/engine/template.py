"""The template of the workers, as the gateway sees it: a process that becomes a worker by forking.

Loading the libraries costs most of a second and most of an idle worker's memory. The template, see
``engine.forking`` for its side, does that once. For each worker the gateway hands over the
worker's descriptors and one end of a *lifeline*: a socket through which the template says first who
the worker is, and at last how it ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO

from flight_server import errors

_log = logging.getLogger(__name__)

READY = b"ready"
FORK = b"fork"
# A process id with a descriptor of the process; later the exit code, as ``subprocess`` has it.
NUMBER = struct.Struct("<i")

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "TZ")
_FIXED = {
    # Each arena of the C library reserves 64 MiB of the address space that is limited, used or not.
    "MALLOC_ARENA_MAX": "2",
    # Milliseconds until DataFusion's allocator gives free memory back, which the next batch needs
    # again: with the usual 10 an export spends 3 percent of its time on page faults.
    "MIMALLOC_PURGE_DELAY": "1000",
    # What forks must have one thread. The allocators of Arrow and of the Delta library start
    # another as soon as they are loaded.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}
_ANSWER_SECONDS_MAX = 5.0
_END_SECONDS_MAX = 5.0
_LINE_BYTES_MAX = 4096


class Template:
    """A running template; for one thread alone, with whose end it ends, and its workers with it.

    Raises OSError when there is no process to be had.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._is_ready = False
        weakref.finalize(self, ours.close)
        ours.settimeout(_ANSWER_SECONDS_MAX)
        with theirs:
            names = [str(os.getpid()), str(theirs.fileno())]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flight_server.worker", *names],
                pass_fds=[theirs.fileno()],
                env=_FIXED
                | {name: environment[name] for name in _PASSED_ON if name in environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # A Ctrl-C at the terminal is for the gateway, which drains first.
                start_new_session=True,
            )
        # Not a record of ours but what a library or a panic prints; it has no call that is known.
        threading.Thread(
            target=_log_lines, args=(self._process.stderr,), name="worker-errors", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def is_ready(self) -> bool:
        """Whether it can fork; to be asked until it can. Raises Unavailable when it is gone."""
        if not self.is_alive():
            raise errors.Unavailable("the template of the query workers ended")
        if not self._is_ready and is_readable(self._socket.fileno()):
            with contextlib.suppress(OSError):
                self._is_ready = self._socket.recv(len(READY)) == READY
        return self._is_ready

    def fork(self, descriptors: Sequence[int]) -> ForkedProcess:
        """Make a worker that has these descriptors; they remain the caller's to close.

        Raises Unavailable when the template does not answer: it is not fit for use any more.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWER_SECONDS_MAX)
        try:
            with theirs:
                socket.send_fds(self._socket, [FORK], [theirs.fileno(), *descriptors])
            answer, received, _, _ = socket.recv_fds(ours, NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC)
            if len(received) != 1:
                raise OSError("no answer")
        except OSError:
            ours.close()
            raise errors.Unavailable("the template of the query workers did not answer") from None
        return ForkedProcess(NUMBER.unpack(answer)[0], process=received[0], lifeline=ours)

    def close(self) -> None:
        """End it, and with it all of its workers; safe to call again."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_SECONDS_MAX)


class ForkedProcess:
    """A process that is not our child: known by a descriptor, which no later process can have.

    Any thread may use it.
    """

    def __init__(self, pid: int, *, process: int, lifeline: socket.socket) -> None:
        self.pid = pid
        self._process = process
        self._lifeline = lifeline
        self._lock = threading.Lock()
        self._code: int | None = None
        self._is_over = False
        # Not before the last user is gone: another process could get the descriptor's number.
        weakref.finalize(self, os.close, process)
        weakref.finalize(self, lifeline.close)

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return not is_readable(self._process)

    def kill(self) -> None:
        """End the process at once; safe to call again."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def wait(self, seconds_max: float) -> int | None:
        """Wait for the end of the process; return its exit code, or less than 0 for a signal.

        None when it did not end in this time, and when it ended unseen, with its template.
        """
        with self._lock:
            if not self._is_over and is_readable(self._lifeline.fileno(), seconds_max):
                self._is_over = True
                with contextlib.suppress(OSError):
                    said = self._lifeline.recv(NUMBER.size)
                    self._code = NUMBER.unpack(said)[0] if said else self._inherited(seconds_max)
            return self._code

    def _inherited(self, seconds_max: float) -> int | None:
        """Collect a process whose template is gone, if it fell to us, as it does to process 1."""
        if is_readable(self._process, seconds_max):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._process, os.WEXITED | os.WNOHANG)
        return None


def _log_lines(printed: IO[bytes]) -> None:
    """Log what template and workers print to standard error until the last of them is gone."""
    with printed:
        while line := printed.readline(_LINE_BYTES_MAX):
            _log.warning("a worker printed: %s", line.decode("utf-8", "replace").rstrip())


def is_readable(descriptor: int, seconds_max: float = 0) -> bool:
    """Whether there is something to read, or the end of it, within the time."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds_max * 1000))
