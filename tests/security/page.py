"""The table of ``docs/security.md``: ``python -m tests.security.page --write`` renews it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.security.rows import KINDS, METHODS, OK, OWN_ROWS, PROTOCOL_ACTIONS, Row

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN = "<!-- who may do what: begin; written by `python -m tests.security.page --write` -->"
END = "<!-- who may do what: end -->"


def table() -> str:
    """Return all rows as Markdown, in three tables."""
    return "\n\n".join(
        f"### {title}\n\n{_table(rows)}"
        for title, rows in (
            ("Methods", METHODS),
            ("Actions of the protocol", PROTOCOL_ACTIONS),
            ("Actions of this server", OWN_ROWS),
        )
    )


def _table(rows: tuple[Row, ...]) -> str:
    lines = [["call", *KINDS]]
    lines += [[row.title, *(_cell(row.codes.get(kind)) for kind in KINDS)] for row in rows]
    head, *body = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def _cell(code: str | None) -> str:
    if code is None:
        return "\N{EN DASH}"
    return code if code == OK else f"`{code}`"


def documented() -> str:
    """Return the tables as the page has them."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """Put the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.security.page --write")
    main()
