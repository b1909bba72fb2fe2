"""What a process of the server does not take, seen from a process of its own."""

from __future__ import annotations

import subprocess
import sys

_RESIDENT = """
from pathlib import Path
def resident():
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
"""


def _said(program: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_arrow_works_without_the_libraries_that_it_would_load() -> None:
    assert (
        _said(
            "import sys\n"
            "from flight_server import footprint\n"
            "footprint.leave_out_unused_libraries()\n"
            "import pyarrow as pa, flight_server.app, flight_server.worker\n"
            "print(pa.scalar(7).as_py(), {'numpy', 'pandas'} & set(sys.modules))"
        )
        == "7 set()"
    )


def test_without_asking_for_it_they_are_loaded() -> None:
    """Pins why it is asked for: when this fails, ``footprint`` can go."""
    assert _said("import sys, pyarrow; print('numpy' in sys.modules)") == "True"


def test_the_memory_of_a_password_hash_goes_back() -> None:
    grown = _said(
        "from flight_server import footprint\n"
        "footprint.return_large_blocks()\n"
        "from flight_server.auth.passwords import Passwords\n"
        f"{_RESIDENT}"
        "passwords = Passwords()\n"
        "before = resident()\n"
        "for _ in range(3): passwords.verify('wrong', None)\n"
        "print(resident() - before)"
    )
    assert int(grown) < 8 * 1024 * 1024
