"""Makes the sample lakehouse in a folder: all of it or nothing, and the same rows each time."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from flight_server.demo import staffing, tpch
from flight_server.errors import AlreadyExists, Conflict, InvalidRequest
from flight_server.storage import write
from flight_server.storage.write import Mode

MARKER: Final = ".lakeflight-demo.json"
SCHEMAS: Final = ("tpch", "staffing", "files")
SCALE_MAX: Final = 100.0

# Raised when the rows change, so that an older folder is remade rather than taken for this one.
_FORMAT: Final = 1
_LOCK: Final = ".lakeflight-demo.lock"
_PARTIAL: Final = ".lakeflight-demo.partial"
# Rows at scale 1; the default scale of 0.1 gives 100,000 candidates with 1,000,000 placements.
_CANDIDATES: Final = 1_000_000
_PLACEMENTS: Final = 10_000_000
_TARGET_YEARS: Final = (2024, 2025, 2026)

Progress = Callable[[str, float], None]


class State(StrEnum):
    """How far a folder is."""

    BUILDING = "building"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Marker:
    """What the folder says about itself; ``complete`` is written only after everything else."""

    state: State
    scale: float
    format: int = _FORMAT


def build(
    directory: Path,
    *,
    scale: float = 0.1,
    force: bool = False,
    progress: Progress = lambda _step, _share: None,
) -> bool:
    """Make the sample lakehouse, unless it is there already; return whether anything was made.

    ``progress`` is told the step at work and the share of it that is done, 0 to 1. A folder that
    a crash left half-made is made again; ``force`` makes a complete one again. Only the schemas of
    the sample are ever replaced.
    Raises InvalidRequest for a scale out of range, AlreadyExists when the folder holds another
    scale or somebody else's data, Conflict while another process builds there, Unsupported when
    the generator is not installed.
    """
    if not 0 < scale <= SCALE_MAX:
        raise InvalidRequest(f"the scale must be above 0 and at most {SCALE_MAX:g} scale={scale:g}")
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        marker = _read_marker(directory)
        if marker == Marker(State.COMPLETE, scale) and not force:
            return False
        _refuse_to_replace(directory, marker, scale=scale, force=force)
        tpch.generator()  # before anything is removed
        _write_marker(directory, Marker(State.BUILDING, scale))
        partial = directory / _PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        _make(partial, scale=scale, progress=progress)
        for schema in SCHEMAS:
            shutil.rmtree(directory / schema, ignore_errors=True)
            (partial / schema).rename(directory / schema)
        partial.rmdir()
        _write_marker(directory, Marker(State.COMPLETE, scale))
    return True


def is_complete(directory: Path) -> bool:
    """Tell whether the folder holds a whole sample lakehouse of this version."""
    marker = _read_marker(directory)
    return marker is not None and marker.state is State.COMPLETE and marker.format == _FORMAT


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict("another process is making the sample data in this folder") from None
        yield


def _refuse_to_replace(
    directory: Path, marker: Marker | None, *, scale: float, force: bool
) -> None:
    if marker is None:
        present = [schema for schema in SCHEMAS if (directory / schema).exists()]
        if present:
            raise AlreadyExists(f"the folder holds other data: {', '.join(present)}; take another")
    elif marker.state is State.COMPLETE and marker.format == _FORMAT and not force:
        raise AlreadyExists(
            f"the folder holds the sample at another scale; --force remakes it"
            f" scale={marker.scale:g} wanted={scale:g}"
        )


def _read_marker(directory: Path) -> Marker | None:
    """Return what the folder says, or None when it is not ours."""
    try:
        said = json.loads((directory / MARKER).read_bytes())
        return Marker(State(said["state"]), float(said["scale"]), int(said["format"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write_marker(directory: Path, marker: Marker) -> None:
    fresh = directory / f"{MARKER}.new"
    body = {"state": marker.state.value, "scale": marker.scale, "format": marker.format}
    with fresh.open("w") as file:
        json.dump(body, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / MARKER)


def _make(partial: Path, *, scale: float, progress: Progress) -> None:
    tpch.make(
        partial / "tpch",
        partial / "generated",
        scale=scale,
        progress=lambda share: progress("TPC-H", share),
    )
    _staffing(
        partial / "staffing",
        candidates=max(10, round(_CANDIDATES * scale)),
        placements=max(100, round(_PLACEMENTS * scale)),
        progress=lambda share: progress("staffing", share),
    )
    _files(partial / "files")
    progress("files", 1.0)


def _staffing(
    target: Path, *, candidates: int, placements: int, progress: Callable[[float], None]
) -> None:
    """Write both tables as they grew: a first load, corrections, later arrivals."""
    early = candidates * 9 // 10
    people, jobs = target / "candidates", target / "placements"
    cut = (0, placements * 6 // 10, placements * 9 // 10, placements)
    loads: list[tuple[Path, pa.RecordBatchReader, Mode]] = [
        (people, staffing.candidates(0, early, revision=0), Mode.APPEND),
        (people, staffing.candidates(0, early, revision=1), Mode.OVERWRITE),
        (people, staffing.candidates(early, candidates, revision=1), Mode.APPEND),
        (people, staffing.candidates(0, candidates, revision=2), Mode.OVERWRITE),
    ]
    for low, high in itertools.pairwise(cut):
        rows = staffing.placements(low, high, candidate_count=candidates)
        loads.append((jobs, rows, Mode.APPEND))
    for done, (table, rows, mode) in enumerate(loads, start=1):
        write.append(table, rows, mode=mode)
        progress(done / len(loads))


def _files(target: Path) -> None:
    """Write plain Parquet: two single files, and a folder of several that is one table."""
    (target / "targets").mkdir(parents=True)
    pq.write_table(staffing.cities(), target / "cities.parquet")
    pq.write_table(staffing.clients(), target / "clients.parquet")
    for year in _TARGET_YEARS:
        pq.write_table(staffing.targets(year), target / "targets" / f"{year}.parquet")
