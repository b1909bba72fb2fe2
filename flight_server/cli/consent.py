"""`lakeflight consent`: who has agreed to what their data is used for, also while a server runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flight_server.cli.accounts import Folder, Format, Listing, open_folder, time_text
from flight_server.cli.options import ConfigOption, FolderOption
from flight_server.errors import InvalidRequest

if TYPE_CHECKING:
    from flight_server.service.consents import Consent, KeptConsents

# People of one commit: more of them take more memory, fewer more commits.
_SUBJECTS_AT_ONCE_MAX = 500_000
_LINE_BYTES_MAX = 8_192

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Keep and list consents of people.\n\nA running server sees the change at the next query.",
)

SET_EXAMPLES = """\b
Examples:
  lakeflight consent set patient-17 --purpose research --reason "form of 2026-03-01" --dir ./lake
  lakeflight consent set patient-17 --purpose research --withdraw
  lakeflight consent set --file people.txt --purpose research --purpose machine_learning
"""
LIST_EXAMPLES = """\b
Examples:
  lakeflight consent list --dir ./lakehouse
  lakeflight consent list --subject patient-17
  lakeflight consent list --purpose research --limit 100 --format json
"""

PurposeOption = Annotated[
    list[str] | None,
    typer.Option("--purpose", help="research, analytics or machine_learning; may be repeated."),
]


@app.command("set", epilog=SET_EXAMPLES)
def set_consent(
    subject: Annotated[
        str | None, typer.Argument(help="The person, as the columns that name people have it.")
    ] = None,
    *,
    purpose: PurposeOption = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="They do not agree, or no longer.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A file of people, one in each line, in place of one person."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, or where it is written.")] = None,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """Keep that people have agreed to what their data is used for."""
    if (subject is None) is (file is None):
        raise InvalidRequest("give one person, or a file of people with --file")
    opened = open_folder(config, folder)
    consents = _kept(opened)
    purposes = _checked(purpose)
    changed = 0
    named = ",".join(purposes)
    with opened.on_record("consent.set", named, {"given": not withdraw, "purposes": named}):
        parts = iter([[subject]]) if subject is not None else _parts(file)
        for part in parts:
            changed += consents.set(
                part, purposes, is_given=not withdraw, actor=None, reason=reason
            )
    done = "withdrawn" if withdraw else "given"
    typer.echo(f"consents {done}: {changed}")


@app.command("list", epilog=LIST_EXAMPLES)
def list_consents(
    *,
    subject: Annotated[str | None, typer.Option("--subject", help="What they agreed to.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Who agreed to it.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many people, 1 to 10000.")] = 1000,
    output: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    folder: FolderOption = None,
    config: ConfigOption = None,
) -> None:
    """List what a person has agreed to, or who has agreed to a purpose; or count them all."""
    from flight_server.service.consents import CONSENT_PURPOSES  # noqa: PLC0415 - quick `--help`

    consents = _kept(open_folder(config, folder))
    if subject is not None:
        found = consents.of(subject, CONSENT_PURPOSES if purpose is None else [purpose])
        _LISTING.show(found, output, nothing="")
    elif purpose is not None:
        page = consents.page(purpose, limit=limit)
        _LISTING.show(page.consents, output, nothing="nobody has agreed")
    else:
        counts = [(name, consents.count(name)) for name in CONSENT_PURPOSES]
        _COUNTS.show(counts, output, nothing="")


def _kept(opened: Folder) -> KeptConsents:
    from flight_server.ops.rights import open_consents  # noqa: PLC0415 - keeps `--help` quick

    return open_consents(opened.settings, opened.clock)


def _checked(purposes: list[str] | None) -> tuple[str, ...]:
    from flight_server.service.consents import check_purposes  # noqa: PLC0415 - as above

    return check_purposes(purposes or ())


def _parts(path: Path | None) -> Iterator[list[str]]:
    """Return the lines of a file, many at a time; empty ones are nobody."""
    assert path is not None  # noqa: S101  asked by the caller
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = (
                line.rstrip("\r\n") for line in iter(lambda: file.readline(_LINE_BYTES_MAX), "")
            )
            people = (line for line in lines if line)
            while part := list(islice(people, _SUBJECTS_AT_ONCE_MAX)):
                yield part
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(f"the file {path} cannot be read as text in UTF-8") from None


def _as_json(consent: Consent) -> dict[str, object]:
    return {
        "subject": consent.subject,
        "purpose": consent.purpose,
        "given": consent.is_given,
        "since": None if consent.since is None else time_text(consent.since),
        "actor": consent.actor,
        "reason": consent.reason,
    }


def _as_row(consent: Consent) -> tuple[str, ...]:
    return (
        consent.subject,
        consent.purpose,
        "yes" if consent.is_given else "no",
        "-" if consent.since is None else time_text(consent.since),
        consent.actor or "-",
        consent.reason or "-",
    )


_LISTING = Listing(("subject", "purpose", "given", "since", "by", "reason"), _as_row, _as_json)
_COUNTS: Listing[tuple[str, int]] = Listing(
    ("purpose", "people"),
    lambda each: (each[0], str(each[1])),
    lambda each: {"purpose": each[0], "count": each[1]},
)
