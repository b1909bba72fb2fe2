"""The data that is measured on: TPC-H as Delta tables, made once and kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable

from flight_server.demo import tpch

# A second, smaller lakehouse in the schema `quarter`: does memory grow with the table?
SCHEMAS = {"tpch": 1.0, "quarter": 0.25}
CACHE = Path(__file__).parent / "data"
_COMPLETE = ".complete"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A lakehouse folder with the schemas ``tpch`` and ``quarter``, and what is in it."""

    root: Path
    scale: float

    def files(self, schema: str, table: str) -> list[Path]:
        """Return the data files of the newest version, in order."""
        uris = DeltaTable(str(self.root / schema / table)).file_uris()
        return sorted(Path(uri.removeprefix("file://")) for uri in uris)

    def describe(self) -> dict[str, object]:
        """Say how large lineitem is: rows, files, row groups, bytes on disk."""
        files = self.files("tpch", "lineitem")
        footers = [pq.read_metadata(file) for file in files]
        return {
            "scale": self.scale,
            "lineitem_rows": sum(footer.num_rows for footer in footers),
            "lineitem_files": len(files),
            "lineitem_row_groups": sum(footer.num_row_groups for footer in footers),
            "lineitem_parquet_bytes": sum(file.stat().st_size for file in files),
        }


def prepare(scale: float, *, cache: Path = CACHE) -> Dataset:
    """Make the tables of a scale, unless they are there; takes some ten seconds at scale 1."""
    root = cache / f"tpch-{scale:g}"
    dataset = Dataset(root, scale)
    if not (root / _COMPLETE).is_file():
        shutil.rmtree(root, ignore_errors=True)
        for schema, share in SCHEMAS.items():
            tpch.make(
                root / schema,
                root / ".generated",
                scale=scale * share,
                progress=lambda _share: None,
            )
        _check(dataset)
        (root / _COMPLETE).write_text(json.dumps(dataset.describe()))
    return dataset


def _check(dataset: Dataset) -> None:
    """Make sure that a folder's Parquet files are the active ones, so that all read the same."""
    for schema in SCHEMAS:
        for table in tpch.TABLES:
            present = sorted((dataset.root / schema / table).glob("*.parquet"))
            if present != dataset.files(schema, table):
                raise RuntimeError(f"{schema}.{table} holds files that are not active")
