"""What differs between two states of the rules, in words and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flight_server.errors import InvalidRequest
from flight_server.service.policy_changes import difference
from policies.names import Privilege
from policies.purposes import DataPart
from policies.rules import NULLED, Audience, ColumnMask, Grant, Label
from tests.service.ruled import Rule, RuledLake
from tests.service.test_explaining import OPEN, PEOPLE, READ, VIEW


@pytest.fixture
def lake(tmp_path: Path) -> RuledLake:
    return RuledLake(tmp_path / "lake")


def compared(lake: RuledLake, since: str, until: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        json.dumps(difference(lake.editions, since, until).as_json())
    )
    return answer


def test_every_kind_is_compared(lake: RuledLake) -> None:
    empty = lake.rules.version()
    mask = ColumnMask("m", PEOPLE, ("name",), NULLED)
    rules: list[Rule] = [READ, OPEN, mask, Label(PEOPLE, "name", DataPart.USER_ID), VIEW]
    lake.put(*rules)
    full = lake.rules.version()
    added = compared(lake, empty)
    assert [each["kind"] for each in added["changes"]] == [
        "grant",
        "filter",
        "mask",
        "label",
        "view",
    ]
    assert {each["change"] for each in added["changes"]} == {"added"}
    assert added["settings_differ"] is False
    assert len(added["summary"]) == 5
    assert added["changes"][4]["rule"]["redactions"][0][0] == ["name"]
    lake.drop(*rules)
    removed = compared(lake, full)
    assert [each["change"] for each in removed["changes"]] == ["removed"] * 5
    assert [each["rule"] for each in removed["changes"]] == [
        each["rule"] for each in added["changes"]
    ]
    times = [each["at"] for each in removed["changes"]]
    assert times == sorted(times)
    assert all(each["at"] >= each["created_at"] for each in removed["changes"])
    assert compared(lake, empty)["summary"] == ["No stored rule differs."]


def test_a_changed_rule_says_what_it_was(lake: RuledLake) -> None:
    lake.put(OPEN)
    first = lake.rules.version()
    lake.put(OPEN)
    assert compared(lake, first)["changes"] == []  # put again, and says the same
    lake.put(replace(OPEN, condition="id > 7", to=Audience()), by="steward")
    (change,) = compared(lake, first)["changes"]
    assert (change["change"], change["created_by"]) == ("changed", "steward")
    assert change["before"]["condition"] == "state = 'open'"
    assert change["rule"]["condition"] == "id > 7"
    assert change["text"].startswith("Changed to the row filter open only on")
    assert "before, the row filter open only on" in change["text"]


def test_moments_and_versions_are_points_and_have_an_order(lake: RuledLake) -> None:
    early = lake.moment().isoformat()
    lake.put(READ)
    late = lake.moment().isoformat()
    version = lake.rules.version()
    for since, until in ((early, late), (early, version), (early, None)):
        assert [each["change"] for each in compared(lake, since, until)["changes"]] == ["added"]
    assert compared(lake, early, late)["settings_differ"] is None
    assert compared(lake, version, late)["changes"] == []
    for since, until in ((late, early), (version, early)):
        with pytest.raises(InvalidRequest) as raised:
            compared(lake, since, until)
        assert raised.value.code == "invalid_range"
    with pytest.raises(InvalidRequest, match=r"'the day.* nor a time"):
        compared(lake, "the day before yesterday")


def test_settings_are_compared_by_their_digests(tmp_path: Path) -> None:
    lake = RuledLake(tmp_path / "lake")
    lake.put(READ)
    before = lake.rules.version()
    other = RuledLake(tmp_path / "lake", Grant(Privilege.READ, ("primary",), role="clerk"))
    answer = compared(other, before)
    assert (answer["changes"], answer["settings_differ"]) == ([], True)
    assert "The grants of the settings differ" in answer["summary"][-1]
