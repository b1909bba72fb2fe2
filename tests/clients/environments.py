"""Where clients live that cannot share the environment of the tests; ``make clients`` makes them.

Each is a folder of packages that its program finds first, so that the version is the one that its
name says, and everything else is the tests' own. Made once and kept in ``.venv-clients``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"
# Set where every client must be there: what would be skipped fails.
REQUIRED = bool(os.environ.get("TESTS_REQUIRE_CLIENTS"))

PACKAGES: Mapping[str, tuple[str, ...]] = {
    f"adbc-{version}": (
        f"adbc-driver-flightsql=={version}",
        f"adbc-driver-manager=={version}",
        "importlib-resources==6.5.2",
    )
    for version in ("1.5.0", "1.11.0")
} | {
    # It wants a SQLAlchemy older than everybody else's.
    "flightsql-dbapi": ("flightsql-dbapi==0.2.2", "sqlalchemy==1.4.54"),
}
JDBC = "jdbc"
_JDBC_SOURCE = Path(__file__).parent / "jdbc"
_BRIDGE = _JDBC_SOURCE / "Bridge.java"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def jdbc_class_path() -> str:
    """Return the class path of the bridge and the JDBC driver."""
    folder = FOLDER / JDBC
    return os.pathsep.join([str(folder / "classes"), str(folder / "lib" / "*")])


def jdbc_version() -> str:
    """Return the version of the JDBC driver, from the name of its file."""
    (driver,) = (FOLDER / JDBC / "lib").glob("flight-sql-jdbc-driver-*.jar")
    return driver.stem.removeprefix("flight-sql-jdbc-driver-")


def missing(environment: str) -> str | None:
    """Return why an environment cannot be used, or None when it can."""
    if environment == JDBC and shutil.which("java") is None:
        return "there is no java on this machine"
    if _stamp(environment) != _made_of(environment):
        return f"the client {environment} is not installed: run `make clients`"
    return None


def make(environment: str) -> None:
    """Install an environment, unless it is there already; leaves nothing half made."""
    if _stamp(environment) == _made_of(environment):
        return
    folder = FOLDER / environment
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if environment == JDBC:
        _make_jdbc(folder)
    else:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([*command, *PACKAGES[environment]], check=True)
    (folder / ".made-of").write_text(_made_of(environment), encoding="utf-8")


def _make_jdbc(folder: Path) -> None:
    # Maven writes beside the project file, which is therefore a copy.
    shutil.copy(_JDBC_SOURCE / "pom.xml", folder)
    command = ["mvn", "--batch-mode", "--quiet", _COPY, f"-DoutputDirectory={folder / 'lib'}"]
    subprocess.run(command, cwd=folder, check=True)
    libraries = str(folder / "lib" / "*")
    command = ["javac", "--release", "11", "-Werror", "-Xlint:all,-processing", "-cp", libraries]
    subprocess.run([*command, "-d", str(folder / "classes"), str(_BRIDGE)], check=True)


def _made_of(environment: str) -> str:
    if environment == JDBC:
        parts = [(_JDBC_SOURCE / "pom.xml"), _BRIDGE]
        return "\n".join(path.read_text(encoding="utf-8") for path in parts)
    return "\n".join([sys.version, *PACKAGES[environment]])


def _stamp(environment: str) -> str:
    path = FOLDER / environment / ".made-of"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> None:
    """Make all environments; without Java and Maven all but JDBC, unless all are required."""
    for environment in PACKAGES:
        make(environment)
    absent = [name for name in ("java", "javac", "mvn") if shutil.which(name) is None]
    if absent and not REQUIRED:
        sys.stderr.write(f"JDBC is left out: there is no {', '.join(absent)} on this machine\n")
        return
    make(JDBC)


if __name__ == "__main__":
    main()
