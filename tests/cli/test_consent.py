"""`lakeflight consent`: on the folder, one person or a file of many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flight_server.audit.spool import waiting
from tests.cli.test_accounts import Lakehouse


@pytest.fixture
def lakehouse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Lakehouse:
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("LAKEFLIGHT_AUTH__ARGON2_TIME_COST", "1")
    return Lakehouse(tmp_path, capsys, monkeypatch)


def test_a_person_agrees_and_no_longer_does(lakehouse: Lakehouse) -> None:
    words = ("--purpose", "research", "--purpose", "analytics")
    given = ("consent", "set", "patient-17", *words, "--reason", "form 3")
    assert lakehouse.says(*given) == "consents given: 2"
    assert lakehouse.says(*given) == "consents given: 0"
    found = json.loads(
        lakehouse.says("consent", "list", "--subject", "patient-17", "--format", "json")
    )
    assert [(each["purpose"], each["given"], each["reason"]) for each in found] == [
        ("research", True, "form 3"),
        ("analytics", True, "form 3"),
        ("machine_learning", False, None),
    ]
    withdrawn = ("consent", "set", "patient-17", "--purpose", "research", "--withdraw")
    assert lakehouse.says(*withdrawn) == "consents withdrawn: 1"
    listed = lakehouse.says("consent", "list")
    assert [line.split() for line in listed.splitlines()[1:]] == [
        ["research", "0"], ["analytics", "1"], ["machine_learning", "0"]
    ]  # fmt: skip
    code, out, err = lakehouse.run("consent", "list", "--purpose", "research")
    assert (code, out, err) == (0, "", "nobody has agreed\n")
    spooled = waiting(lakehouse.folder / ".lakeflight" / "audit")
    assert {each.event.resource for each in spooled} == {"research,analytics", "research"}
    assert "patient" not in str(spooled)


def test_a_file_of_people(lakehouse: Lakehouse, tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    people.write_text("ann\nböb\r\n\nann\ncy", encoding="utf-8")
    words = ("--file", str(people), "--purpose", "research")
    assert lakehouse.says("consent", "set", *words) == "consents given: 3"
    listed = lakehouse.says("consent", "list", "--purpose", "research", "--limit", "2")
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["ann", "böb"]
    assert lakehouse.says("consent", "set", *words, "--withdraw") == "consents withdrawn: 3"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ann",), "purposes that need the consent of people are research, analytics"),
        (("ann", "--purpose", "admin"), "purposes that need the consent of people"),
        (("--purpose", "research"), "give one person, or a file of people"),
        (("ann", "--file", "x", "--purpose", "research"), "give one person, or a file of people"),
        (("--file", "nowhere.txt", "--purpose", "research"), "cannot be read as text in UTF-8"),
        (("--file", "BINARY", "--purpose", "research"), "cannot be read as text in UTF-8"),
        (("", "--purpose", "research"), "a subject is named by a text"),
    ],
)
def test_bad_input(
    lakehouse: Lakehouse, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\n" * 10)
    given = [str(binary) if each == "BINARY" else each for each in arguments]
    code, out, err = lakehouse.run("consent", "set", *given)
    assert (code, out) == (2, "")
    assert says in err
