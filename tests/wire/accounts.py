"""Users beside the administrator, made with the installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PASSWORD = "quite another horse"


def add_user(
    lakehouse: Path, name: str, *, role: str = "registered", tier: str = "enterprise"
) -> None:
    """Add a user with ``PASSWORD``; a running server knows it at once."""
    command = [sys.executable, "-m", "flight_server", "user", "add", name]
    command += ["--role", role, "--tier", tier]
    subprocess.run(
        [*command, "--dir", str(lakehouse), "--password-stdin"],
        input=f"{PASSWORD}\n".encode(),
        env={
            **os.environ,
            "LAKEFLIGHT_AUTH__ARGON2_TIME_COST": "1",
            "LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB": "64",
        },
        check=True,
        stdout=subprocess.DEVNULL,
    )
