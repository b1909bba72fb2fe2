"""What dashboard and alerts ask for, taken apart by a parser of PromQL."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker" / "grafana" / "dashboard.json"
PROMETHEUS = ROOT / "docker" / "prometheus"
# What Grafana puts in for its variables.
_VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$job": "lakeflight"}
# Labels that scraping adds.
SCRAPED = frozenset({"instance", "job"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One metric of a query: its name, what its labels have to match, and by what it is summed.

    ``exact`` are values that a label must have, ``choices`` those of a regular expression.
    """

    name: str
    exact: tuple[tuple[str, str], ...]
    choices: tuple[tuple[str, str], ...]
    grouped: frozenset[str]


def promtool() -> str:
    """Return Prometheus' own checker; without it the test is skipped, or fails in the gate."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("TESTS_REQUIRE_CLIENTS"):
            pytest.fail("promtool is missing; .ci/run says how to get it")
        pytest.skip("promtool is not installed; it comes with Prometheus")
    return found


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    document = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each query with where it stands."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for name, value in _VARIABLES.items():
                text = text.replace(name, value)
            yield f"panel {panel['title']}", text
    for rule in rules():
        yield f"alert {rule['alert']}", rule["expr"]


def asked(text: str) -> list[Asked]:
    """Parse a query and return each metric in it; raises ValueError where it is no PromQL."""
    found: list[Asked] = []
    grouped: list[frozenset[str]] = []

    def enter(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            grouped.append(frozenset(node.modifier.labels if node.modifier else ()))
        elif isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            equal, regular = promql_parser.MatchOp.Equal, promql_parser.MatchOp.Re
            found.append(
                Asked(
                    str(node.name),
                    tuple((each.name, each.value) for each in matchers if each.op == equal),
                    tuple(
                        (each.name, choice)
                        for each in matchers
                        if each.op == regular
                        for choice in re.split(r"\|", each.value)
                    ),
                    frozenset().union(*grouped),
                )
            )

    def leave(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            grouped.pop()

    promql_parser.walk(promql_parser.parse(text), enter, leave)
    return found
