"""Rules as they are put, listed and dropped on the machine of the server."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.clock import SystemClock
from flight_server.errors import InvalidRequest, LimitExceeded, NotFound, Unsupported
from flight_server.ops import rights
from flight_server.ops.settings import load
from flight_server.service import rules as rules_module
from flight_server.service.rules import Rules, To
from policies.names import TableRef
from policies.rules import NULLED, Redaction, RedactionKind
from tests.lakehouse import write

PEOPLE = TableRef("primary", "hr", "people")


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    write(tmp_path / "hr" / "people", pa.table({"id": [1], "a.b": ["x"], "at": [{"zip": "1"}]}))
    settings = load(None, {"storage.primary": str(tmp_path)}, environ={})
    return rights.open_rules(settings, SystemClock())


def mask(rules: Rules, name: str, *column: str, **more: object) -> bool:
    values = {"redaction": NULLED, "to": To(), **more}
    _, is_new = rules.put_mask(None, PEOPLE, name=name, column=column, **values)  # type: ignore[arg-type]  # any of them
    return is_new


def test_a_rule_of_the_same_name_is_replaced(rules: Rules) -> None:
    assert mask(rules, "m", "id")
    assert not mask(rules, "m", "at", "zip")
    assert mask(rules, "n", "a.b", to=To(role="trader", except_roles=("admin",)))
    first, second = rules.masks(None)
    assert first.rule.column == ("at", "zip")
    assert second.rule.column == ("a.b",)
    assert (second.rule.to.role, second.rule.to.except_roles) == ("trader", frozenset({"admin"}))
    assert rules.masks(None, TableRef("primary", "hr", "none")) == []
    rules.drop_mask(None, PEOPLE, "m")
    with pytest.raises(NotFound, match="no such rule"):
        rules.drop_mask(None, PEOPLE, "m")


def test_there_are_limits(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "RULES_MAX", 1)
    assert mask(rules, "m", "id")
    assert not mask(rules, "m", "at")
    with pytest.raises(LimitExceeded, match="rules_max=1"):
        mask(rules, "n", "id")
    monkeypatch.setattr(rules_module, "RULES_MAX", 2)
    monkeypatch.setattr(rules_module, "RULES_PER_TABLE_MAX", 1)
    assert not mask(rules, "m", "id")
    with pytest.raises(LimitExceeded, match="rules_per_table_max=1"):
        mask(rules, "n", "id")


@pytest.mark.parametrize(
    ("column", "redaction"),
    [
        (("id",), Redaction(RedactionKind.MASK)),
        (("at",), Redaction(RedactionKind.HASH)),
        (("at", "none"), NULLED),
        (("id", "none"), NULLED),
        (("at", "zip"), Redaction(RedactionKind.GENERALISE, to="year")),
    ],
)
def test_a_redaction_fits_its_column(
    rules: Rules, column: tuple[str, ...], redaction: Redaction
) -> None:
    with pytest.raises(InvalidRequest):
        mask(rules, "m", *column, redaction=redaction)
    assert rules.masks(None) == []


@pytest.mark.parametrize("name", ["", " a", "a/b", "a\nb", "x" * 129, "-a"])
def test_names_of_rules_are_plain(rules: Rules, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name of a rule"):
        mask(rules, name, "id")


def test_filters_are_put_by_a_server(rules: Rules) -> None:
    with pytest.raises(Unsupported, match=r"filter\.put"):
        rules.put_filter(None, PEOPLE, name="f", condition="true", to=To())  # type: ignore[arg-type]  # nobody asks


@pytest.mark.parametrize("table", ["people", "hr.people", "primary.hr.people.id", ""])
def test_tables_have_their_full_names_there(rules: Rules, table: str) -> None:
    with pytest.raises(InvalidRequest):
        rules.named(None, table)
