"""A server that is watched: its numbers, readiness and log, as others see them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.servers import Server, running, wait_until

SETTINGS = {
    "LAKEFLIGHT_TELEMETRY__PORT": "0",
    "LAKEFLIGHT_LOG__FORMAT": "json",
    "LAKEFLIGHT_LOG__CALLS": "true",
}


@dataclass(frozen=True, slots=True)
class Monitored:
    """A server and where its monitoring answers."""

    server: Server
    url: str

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Ask for a path; return status and body."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ready(self) -> tuple[int, dict[str, str]]:
        """Return the status of /readyz and what it says of each part."""
        status, body = self.get("/readyz")
        return status, json.loads(body)["parts"]

    def samples(self) -> list[Sample]:
        """Return all numbers."""
        status, text = self.get("/metrics")
        assert status == 200
        return [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def records(self) -> list[dict[str, Any]]:
        """Return what was logged; fails when a line is no JSON object."""
        return [json.loads(line) for line in self.server.errors().splitlines()]


@contextmanager
def monitored(directory: Path, environment: Mapping[str, str] | None = None) -> Iterator[Monitored]:
    """Serve a folder, watched, until the block ends."""
    with running(directory, environment={**SETTINGS, **(environment or {})}) as server:
        yield Monitored(server, address(server))


def address(server: Server) -> str:
    """Return where monitoring answers, which the server has logged."""

    def found() -> list[str]:
        records = map(json.loads, server.errors().splitlines())
        return [
            record["message"].split()[-1]
            for record in records
            if record["message"].startswith("monitoring on ")
        ]

    wait_until(found, what="the address of monitoring")
    return str(found()[0])
