"""The settings of watching: the audit log, and what monitoring may ask."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from flight_server.ops.sections import MIB, Bytes, Section


class WhenUnwritable(StrEnum):
    """What becomes of a read that cannot be put on record."""

    REFUSE = "refuse"
    ALLOW = "allow"


class AuditSettings(Section):
    """The record of who did what."""

    reads_when_unwritable: WhenUnwritable = Field(
        default=WhenUnwritable.REFUSE,
        description="What becomes of reads while the audit log cannot be written; all else is"
        " refused then.",
    )
    reads_wait_for_disk: bool = Field(
        default=False,
        description="Whether the first row of a read waits until its record would survive a power"
        " cut. Otherwise that is so within 20 ms; it survives the end of the server either way.",
    )
    flush_seconds_max: float = Field(
        default=5.0, gt=0, le=3600, description="When a record is in the audit table at the latest."
    )
    segment_bytes_max: Bytes = Field(
        default=4 * MIB,
        ge=64 * 1024,
        le=256 * MIB,
        description="Size of one file of the journal; its space is taken ahead.",
    )
    compact_files_min: int = Field(
        default=64, ge=2, le=10_000, description="Files of one day that are put together as one."
    )


class TelemetrySettings(Section):
    """What monitoring may ask over HTTP."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of `/healthz`, `/readyz` and `/metrics`; 0 picks a free one.",
        json_schema_extra={"default_text": "none: they are off"},
    )
