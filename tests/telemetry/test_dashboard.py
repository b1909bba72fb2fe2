"""The files for Prometheus and Grafana, checked by the tools that will load them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.telemetry.promql import (
    DASHBOARD,
    PROMETHEUS,
    ROOT,
    asked,
    dashboard,
    expressions,
    promtool,
    rules,
)


@pytest.mark.parametrize(("where", "text"), list(expressions()))
def test_every_query_is_promql(where: str, text: str) -> None:
    assert asked(text), where


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        # Each alert fires when it should, and none on a healthy server.
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_prometheus_takes_its_files(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [promtool(), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_documented() -> None:
    tested = (PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for rule in rules():
        assert f'alertname="{rule["alert"]}"' in tested
        assert f"`{rule['alert']}`" in page
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def lost(written: Any, read: Any, at: str = "") -> list[str]:
    """Return what of a document is not in another one, which may hold more."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [
            each
            for key, value in written.items()
            for each in lost(value, read.get(key, "nothing"), f"{at}/{key}")
        ]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [
            each
            for index, (one, other) in enumerate(zip(written, read, strict=True))
            for each in lost(one, other, f"{at}/{index}")
        ]
    return [] if written == read else [f"{at}: {written!r} became {read!r}"]


def test_grafanas_own_types_know_everything_in_the_dashboard() -> None:
    register_default_plugins()
    written = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    assert lost(written, read) == []


def test_the_dashboard_hangs_together() -> None:
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= taken
    variables = {each["name"] for each in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used == variables


def test_the_files_find_each_other() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        for mount in services[name]["volumes"]:
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / "docker" / source).exists(), source
    (scrape,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))[
        "scrape_configs"
    ]
    port = services["lakeflight"]["environment"]["LAKEFLIGHT_TELEMETRY__PORT"]
    assert scrape["static_configs"] == [{"targets": [f"lakeflight:{port}"]}]
    provisioned = ROOT / "docker" / "grafana" / "provisioning"
    (source,) = loaded(provisioned / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = loaded(provisioned / "dashboards" / "lakeflight.yaml")["providers"]
    mounted = "\n".join(services["grafana"]["volumes"])
    assert provider["options"]["path"] + "/" in mounted


def loaded(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
