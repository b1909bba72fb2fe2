"""Forgets old versions of those of the server's own tables whose history nobody needs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from flight_server.storage.log import LOG_FOLDER

# A file that no version names may belong to one that is just being written.
UNNAMED_SECONDS_MIN = 3600.0
_VERSION = re.compile(r"(\d{20})\.(?:json|checkpoint\.parquet)")

_log = logging.getLogger(__name__)


def forget_versions(
    root: Path, first_kept: int, *, active: Iterable[str], now_seconds: float, name: str
) -> int:
    """Remove all before a version that has a checkpoint; return how many files that were.

    ``active`` are the data files of the newest version. What a kept version needs is kept. A
    failure costs space and no more, so it is logged and not raised.
    """
    removed = 0
    try:
        for entry in sorted((root / LOG_FOLDER).iterdir()):
            match = _VERSION.fullmatch(entry.name)
            if match is not None and int(match[1]) < first_kept:
                entry.unlink(missing_ok=True)
                removed += 1
        needed = {*active, *_named(root / LOG_FOLDER)}
        for file in list(root.glob("*.parquet")):
            if file.name not in needed and _age(file, now_seconds) > UNNAMED_SECONDS_MIN:
                file.unlink(missing_ok=True)
                removed += 1
    except (OSError, ValueError) as error:
        _log.warning("old versions of %s are still there: %s", name, error)
    return removed


def _named(log: Path) -> Iterator[str]:
    """Yield the files that the entries of a log add or remove: each is in a version of it."""
    for entry in log.glob("*[0-9].json"):
        for line in entry.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            for kind in ("add", "remove"):
                if kind in action:
                    yield str(action[kind]["path"])


def _age(file: Path, now_seconds: float) -> float:
    try:
        return now_seconds - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
