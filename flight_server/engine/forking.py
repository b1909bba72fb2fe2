"""The template's own side: it waits for requests, forks, and reports how its children ended.

Only the thread that forks goes on in a child; a lock that another one held stays locked for ever.
So the template has one thread, and never does what would start another: no session, no query, no
read of a table. What is loaded stays loaded in every child, at no cost.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from flight_server.engine.template import FORK, NUMBER, READY

Work = Callable[[list[int]], None]

_DESCRIPTORS_MAX = 8
_PR_SET_PDEATHSIG = 1


class ManyThreads(Exception):
    """Something started a thread in a process that is to fork."""


class Forker:
    """Forks a child for each request on a socket; ``work`` is what a child does, then it ends."""

    def __init__(self, control: socket.socket, work: Work) -> None:
        self._control = control
        self._work = work
        # By the descriptor of the child: its process id, and the lifeline to report its end on.
        self._children: dict[int, tuple[int, socket.socket]] = {}
        self._poller = select.poll()

    def run(self) -> None:
        """Serve until the gateway hangs up. Raises ManyThreads when it is not safe to fork."""
        check_one_thread()
        gc.collect()
        gc.freeze()  # or each child's first collection would copy every object
        self._control.send(READY)
        self._poller.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in self._poller.poll():
                if descriptor in self._children:
                    self._bury(descriptor)
                elif not self._answer():
                    return

    def _answer(self) -> bool:
        asked, received, _, _ = socket.recv_fds(self._control, len(FORK), _DESCRIPTORS_MAX)
        if not asked:
            return False
        lifeline = socket.socket(fileno=received[0])
        try:
            self._fork(lifeline, received[1:])
        except OSError:  # no room for another process; who asked sees the lifeline's end
            traceback.print_exc()
            lifeline.close()
        finally:
            for descriptor in received[1:]:
                os.close(descriptor)
        return True

    def _fork(self, lifeline: socket.socket, descriptors: list[int]) -> None:
        template = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(template, lifeline, descriptors)
        process = os.pidfd_open(pid)
        self._children[process] = (pid, lifeline)
        self._poller.register(process, select.POLLIN)
        with contextlib.suppress(OSError):  # who asked is gone, and so are we soon
            socket.send_fds(lifeline, [NUMBER.pack(pid)], [process])

    def _become(self, template: int, lifeline: socket.socket, descriptors: list[int]) -> NoReturn:
        try:
            end_with(template)
            # When memory runs out, the kernel should take a worker, not the gateway or ourselves.
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("900", encoding="ascii")
            # Linux shares the processor between sessions, so that no query outweighs another by
            # threads.
            os.setsid()
            self._control.close()
            lifeline.close()
            for process, (_, other) in self._children.items():
                os.close(process)
                other.close()
            self._work(descriptors)
        except BaseException:  # noqa: BLE001  a child must never go on as its template
            traceback.print_exc()
            os._exit(1)
        # The libraries' own threads have nothing to finish, and tearing them down can abort.
        os._exit(0)

    def _bury(self, process: int) -> None:
        """Collect a child that ended, and report how."""
        pid, lifeline = self._children.pop(process)
        self._poller.unregister(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # nobody asks any more
            lifeline.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))
        lifeline.close()


def check_one_thread() -> None:
    """Raise ManyThreads, with their names, when this process has more than one thread."""
    names = [path.read_text(encoding="utf-8").strip() for path in _tasks()]
    if len(names) > 1:
        raise ManyThreads(f"workers cannot be forked, a library started a thread: {names}")


def _tasks() -> list[Path]:
    return [path / "comm" for path in Path("/proc/self/task").iterdir()]


def end_with(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends.

    At once if its process already did.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
