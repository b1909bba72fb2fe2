"""Rewrites the generated protobuf module from ``flight_sql.proto``, or checks it.

``python -m flight_server.protocol.generate [--check]``; needs the extra ``check`` (grpcio-tools).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_SOURCE = "flight_server/protocol/flight_sql.proto"
_GENERATED = ("flight_sql_pb2.py", "flight_sql_pb2.pyi")
# The compiler writes its own version into the code, in a comment and in a guard against older
# runtimes. Two releases that write the same code otherwise must not fail the check.
_VERSION = re.compile(r"Protobuf Python Version: \S+|(?<=Domain\.PUBLIC,\n)(?: +\d+,\n){3}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exits with 1 when the compiler fails or the check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m flight_server.protocol.generate")
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    check: bool = parser.parse_args(arguments).check
    try:
        fresh = compile_proto()
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"{error.stderr.strip()}\nCould not compile {_SOURCE}.\n")
        sys.stderr.write("Is the compiler there? pip install 'lakeflight[check]'\n")
        return 1
    stale = [name for name, text in fresh.items() if not _same(_HERE / name, text)]
    if check:
        for name in stale:
            sys.stderr.write(f"{name} does not match {_SOURCE}: run `make proto`\n")
        return 1 if stale else 0
    for name in stale:
        (_HERE / name).write_text(fresh[name], encoding="utf-8")
        sys.stdout.write(f"rewrote {name}\n")
    return 0


def compile_proto() -> dict[str, str]:
    """Compile the .proto into a temporary folder; returns the text of each generated file by name.

    Raises CalledProcessError with the compiler's words on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--proto_path={_ROOT}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                _SOURCE,
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        output = Path(folder, _SOURCE).parent
        return {name: (output / name).read_text(encoding="utf-8") for name in _GENERATED}


def _same(path: Path, fresh: str) -> bool:
    if not path.exists():
        return False
    return _VERSION.sub("", path.read_text(encoding="utf-8")) == _VERSION.sub("", fresh)


if __name__ == "__main__":
    raise SystemExit(main())
