from __future__ import annotations

from pathlib import Path

from flight_server.ops.settings import load
from flight_server.ops.settings_doc import render

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_current() -> None:
    """Renew it with `python -m flight_server.ops.settings_doc --write`."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_the_page_has_every_setting() -> None:
    page = render()
    for key, _, _ in load(None, {}, environ={}).entries():
        section, _, name = key.partition(".")
        assert f"## {section}\n" in page
        assert not name or f"| `{name}` |" in page
