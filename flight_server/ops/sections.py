"""The settings themselves: every option of the server with its meaning, default and bounds.

Names end in unit and bound. Nothing here reads a file or the environment; ``ops.settings`` does.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from flight_server.errors import InvalidRequest
from flight_server.storage.locations import catalog_name

# How many read-only servers of one lakehouse find a folder for their state by themselves.
READERS_MAX = 64
KIB, MIB, GIB = 1024, 1024**2, 1024**3
_UNITS = {"": 1, "B": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": 1024**4}
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,6})?)\s*([KMGT]iB|B|)\s*", re.IGNORECASE)
_BUCKET = re.compile(r"[a-z][a-z0-9_:-]{0,62}")
_SCHEMES = ("file", "s3", "s3a", "az", "abfs", "abfss", "gs")
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """How many CPU cores this process may use: its affinity, or its container's quota if less."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        limit = -(-int(quota) // int(period))
    except (OSError, ValueError):  # no container limit, or spelled "max"
        return count or 1
    return max(1, min(count or 1, limit))


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError("a size is a number of bytes, or a number with KiB, MiB, GiB or TiB")
    return int(float(match[1]) * _UNITS[match[2].upper()]) if match[2] else int(float(match[1]))


Bytes = Annotated[int, BeforeValidator(_size)]


class Section(BaseModel):
    """A part of the settings: frozen, and refuses what it does not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class ServerSettings(Section):
    """Where the server listens and how it stops."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=31337, ge=0, le=65535, description="Port; 0 picks a free one.")
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate chain; needs `tls_key`."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the private key.")
    address_header: str | None = Field(
        default=None,
        pattern="^[a-z0-9-]+$",
        description="Header in which a trusted proxy in front says where a call came from, such as"
        " `x-forwarded-for`; its last address counts.",
    )
    drain_seconds_max: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="How long a stopping server waits for calls to end.",
    )
    tls_client_authorities: Path | None = Field(
        default=None,
        description="PEM file of authorities; clients then need a certificate of one of them.",
    )
    memory_bytes_max: Bytes | None = Field(
        default=None,
        ge=256 * MIB,
        description="Growth of the gateway, 8 MiB of stack for each call included.",
        json_schema_extra={"default_text": "3/4 of the machine's, at least 4 GiB"},
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are set together or not at all")
        if self.tls_client_authorities is not None and self.tls_certificate is None:
            raise ValueError("tls_client_authorities needs tls_certificate and tls_key")
        return self


class StorageSettings(Section):
    """Where the tables lie."""

    primary: str | None = Field(
        default=None, min_length=1, description="Folder or URI of the bucket `primary`."
    )
    system: Path | None = Field(
        default=None,
        description="Local folder for the server's own state: users, secret, audit.",
        json_schema_extra={"default_text": "`<primary>/.lakeflight`"},
    )
    state: Path | None = Field(
        default=None,
        description="Local folder for what one server alone writes: its audit log and counters.",
        json_schema_extra={
            "default_text": "`<system>`; of read-only servers `<system>/_reader`, `_reader-2`, …"
        },
    )
    buckets: dict[str, str] = Field(
        default_factory=dict, description="More buckets, each a name with a folder or URI."
    )
    read_only: bool = Field(
        default=False,
        description="Write no table; then another server may have the same folders.",
    )
    file_bytes_target: Bytes = Field(
        default=128 * MIB, ge=MIB, le=4 * GIB, description="Size of the data files of a table."
    )

    @field_validator("primary")
    @classmethod
    def _primary_location(cls, value: str | None) -> str | None:
        return None if value is None else _location(value)

    @field_validator("system", "state", mode="before")
    @classmethod
    def _local_folder(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            if urlsplit(value).scheme != "file":
                raise ValueError("the server's own state must lie in a local folder")
            return unquote(urlsplit(value).path)
        return value

    @field_validator("buckets")
    @classmethod
    def _bucket_names(cls, value: dict[str, str]) -> dict[str, str]:
        catalogs = {"primary", "system", "information_schema"}
        for name in value:
            if not _BUCKET.fullmatch(name):
                raise ValueError(
                    f"bucket name {name!r}: a lower-case letter, then letters, digits, _ - :"
                )
            if catalog_name(name) in catalogs:
                raise ValueError(f"bucket name {name!r} is taken")
            catalogs.add(catalog_name(name))
        return {name: _location(uri) for name, uri in value.items()}

    @property
    def primary_uri(self) -> str:
        """Where the bucket `primary` lies; InvalidRequest when nobody said."""
        if self.primary is None:
            raise InvalidRequest(
                "no lakehouse was named: give its folder, or set storage.primary",
                code="invalid_settings",
            )
        return self.primary

    @property
    def primary_path(self) -> Path | None:
        """The bucket `primary` as a local folder, or None when it lies elsewhere."""
        scheme, _, _ = self.primary_uri.partition("://")
        if scheme == self.primary_uri:
            return Path(self.primary_uri)
        return Path(unquote(urlsplit(self.primary_uri).path)) if scheme == "file" else None

    @property
    def system_path(self) -> Path:
        """The local folder of the server's own state; InvalidRequest when it cannot be known."""
        if self.system is not None:
            return self.system
        if self.primary_path is None:
            raise InvalidRequest(
                "storage.primary is not a local folder: set storage.system (or LAKEHOUSE_PATH) "
                "to a local folder for the server's own state",
                code="invalid_settings",
            )
        return self.primary_path / ".lakeflight"

    @property
    def state_path(self) -> Path:
        """The local folder that this server alone writes; InvalidRequest as ``system_path``."""
        return self.state_paths[0]

    @property
    def state_paths(self) -> tuple[Path, ...]:
        """The folders of which this server takes the first that no other one has."""
        if self.state is not None:
            return (self.state,)
        if not self.read_only:
            return (self.system_path,)
        names = ("_reader", *(f"_reader-{number}" for number in range(2, READERS_MAX + 1)))
        return tuple(self.system_path / name for name in names)


class LimitSettings(Section):
    """What one query, and all queries together, may use."""

    query_seconds_max: float = Field(
        default=300.0, gt=0, le=86_400, description="Time for one query."
    )
    sql_bytes_max: Bytes = Field(
        default=256 * KIB, ge=KIB, le=16 * MIB, description="Length of one statement in UTF-8."
    )
    result_bytes_max: Bytes = Field(default=64 * GIB, ge=MIB, description="Size of one result.")
    result_cache_bytes_max: Bytes = Field(
        default=64 * MIB,
        ge=0,
        description="Memory for small results that are answered again without running; 0 is off.",
    )
    concurrent_queries_max: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Queries that run at the same time.",
        json_schema_extra={"default_text": "`workers.count_max`"},
    )
    queue_length_max: int = Field(
        default=64, ge=1, le=65_536, description="Queries that wait to run."
    )
    queue_seconds_max: float = Field(
        default=30.0, ge=0, le=3600, description="How long a query waits."
    )
    ticket_seconds_max: int = Field(default=3600, ge=1, le=86_400, description="Life of a ticket.")
    ticket_renewed_seconds_max: int = Field(
        default=86_400, ge=1, le=2_592_000, description="Life of a ticket, renewals included."
    )
    sessions_max: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Sessions with options of their own."
    )
    sessions_per_user_max: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="The same of one user; the longest idle ones make room for new ones.",
    )
    session_idle_seconds_max: float = Field(
        default=28_800.0, gt=0, le=31_536_000, description="How long an idle session is kept."
    )
    batch_bytes_target: Bytes = Field(
        default=2 * MIB, ge=64 * KIB, description="Size of the batches of a result."
    )
    batch_bytes_max: Bytes = Field(
        default=3_670_016,
        ge=64 * KIB,
        le=3_670_016,
        description="Largest batch; some clients refuse messages of 4 MiB.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.batch_bytes_target > self.batch_bytes_max:
            raise ValueError("batch_bytes_target must not be above batch_bytes_max")
        return self


class WorkerSettings(Section):
    """The processes that run queries."""

    count_max: int = Field(
        default_factory=lambda: 4 * cores(),
        ge=1,
        le=4096,
        description="Most workers at a time.",
        json_schema_extra={"default_text": "4 x cores"},
    )
    count_min: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="Workers that are kept ready; others start within milliseconds when needed.",
    )
    memory_bytes_max: Bytes = Field(
        default=2 * GIB,
        ge=128 * MIB,
        description="Address space a worker may add to its idle size.",
    )
    spill_bytes_max: Bytes = Field(
        default=8 * GIB, ge=0, description="Disk space for the intermediate results of one worker."
    )
    spill_directory: Path | None = Field(
        default=None,
        description="Folder for intermediate results.",
        json_schema_extra={"default_text": "the system's temporary folder"},
    )
    queries_max: int = Field(
        default=10_000, ge=1, description="Queries after which a worker is replaced by a fresh one."
    )
    growth_bytes_max: Bytes = Field(
        default=GIB, ge=16 * MIB, description="Growth in memory after which a worker is replaced."
    )
    target_partitions: int = Field(
        default_factory=cores,
        ge=1,
        le=1024,
        description="Parts in which one query runs side by side.",
        json_schema_extra={"default_text": "cores"},
    )
    start_seconds_max: float = Field(
        default=30.0, gt=0, le=600, description="How long a worker may take to start."
    )
    cancel_grace_seconds_max: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="How long a cancelled query may take before it is killed.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.count_min > self.count_max:
            raise ValueError("count_min must not be above count_max")
        return self


class LogLevel(StrEnum):
    """How much is written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    """How it is written."""

    TEXT = "text"
    JSON = "json"


class LogSettings(Section):
    """What is written to standard error."""

    level: LogLevel = Field(default=LogLevel.INFO, description="Least severity that is written.")
    format: LogFormat = Field(
        default=LogFormat.TEXT, description="One line of text, or one JSON object."
    )
    calls: bool = Field(default=False, description="Write a line for each call that ended.")

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


def _location(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if separator and scheme not in _SCHEMES:
        raise ValueError(f"a location is a folder or a URI of {', '.join(_SCHEMES)}")
    return value
