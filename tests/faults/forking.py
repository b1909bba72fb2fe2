"""Writers that are killed over and over, forked from a process that has loaded all they need.

The parent, ``python -m`` a module whose main calls ``fork_and_kill``, reads one order a line from
standard input: a seed, the microseconds after which its writer is killed, and what else it is told,
with semicolons between. It answers each with ``done``.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Writers = subprocess.Popen[str]


@contextmanager
def writers_of(module: str, *paths: Path) -> Iterator[Writers]:
    """Run the parent of the writers until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def kill_one(writers: Writers, seed: int, microseconds: int, *told: str) -> None:
    """Have a writer started, and killed after so long."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    writers.stdin.write(f"{';'.join([str(seed), str(microseconds), *told])}\n")
    writers.stdin.flush()
    assert writers.stdout.readline() == "done\n"


def fork_and_kill(run: Callable[[int, int, list[str]], None], witness: int) -> None:
    """Obey the orders on standard input.

    ``run`` is the writer: it gets the seed, a descriptor to write to once it has begun, and what
    else it is told. It never returns; what it raises goes to the descriptor ``witness``.
    """
    for line in sys.stdin:
        seed, microseconds, *told = line.rstrip("\n").split(";")
        begun, started = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                run(int(seed), started, told)
            except BaseException as error:  # noqa: BLE001 - the file is the only witness
                os.write(witness, f"crashed {error!r}\n".encode())
            os._exit(1)
        os.close(started)
        select.select([begun], [], [], 30)
        select.select([], [], [], int(microseconds) / 1_000_000)
        os.close(begun)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("done", flush=True)
