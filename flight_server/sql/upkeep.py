"""Reads the statements that keep tables in shape: RESTORE, OPTIMIZE and VACUUM."""

from __future__ import annotations

from flight_server.sql.commands import Optimize, Restore, Vacuum
from flight_server.sql.cursor import Cursor
from flight_server.sql.lexer import Kind

RETAIN_HOURS_MAX = 10_000_000.0


def read_restore(cursor: Cursor) -> Restore:
    """Read from behind RESTORE."""
    cursor.take("TABLE")
    target = cursor.target()
    cursor.expect("TO")
    if not cursor.sees_version():
        raise cursor.wrong("VERSION AS OF n or TIMESTAMP AS OF '…'")
    command = Restore(target, cursor.version())
    cursor.expect_end()
    return command


def read_optimize(cursor: Cursor) -> Optimize:
    """Read from behind OPTIMIZE."""
    cursor.take("TABLE")
    target = cursor.target()
    if cursor.sees("WHERE"):
        cursor.refuse("OPTIMIZE … WHERE is not supported: the whole table is optimized")
    if cursor.sees("FULL") or cursor.sees("FINAL"):
        cursor.refuse(f"OPTIMIZE … {cursor.peek().upper} is not supported: leave it out")
    columns: tuple[str, ...] = ()
    if cursor.take("ZORDER", "BY") or cursor.take("Z", "ORDER", "BY"):
        if cursor.sees_symbol("("):
            columns = cursor.names("the name of a column")
        else:
            opening = cursor.peek()
            found = [cursor.name("the name of a column")]
            while cursor.take_symbol(","):
                found.append(cursor.name("the name of a column"))
            cursor.check_once(found, at=opening)
            columns = tuple(found)
    cursor.expect_end()
    return Optimize(target, columns)


def read_vacuum(cursor: Cursor) -> Vacuum:
    """Read from behind VACUUM."""
    if cursor.is_done:
        raise cursor.wrong("the name of a table")
    if cursor.sees("FULL") or cursor.sees("ANALYZE") or cursor.sees_symbol("("):
        cursor.refuse("write VACUUM t [RETAIN n HOURS] [DRY RUN]")
    cursor.take("TABLE")
    target = cursor.target()
    if cursor.sees("LITE") or cursor.sees("FULL"):
        cursor.refuse("write VACUUM t [RETAIN n HOURS] [DRY RUN]")
    hours = _hours(cursor) if cursor.take("RETAIN") else None
    dry_run = cursor.take("DRY", "RUN")
    cursor.expect_end()
    return Vacuum(target, hours, dry_run)


def _hours(cursor: Cursor) -> float:
    token = cursor.next()
    try:
        hours = float(token.text) if token.kind is Kind.NUMBER else -1.0
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= RETAIN_HOURS_MAX:
        cursor.fail("RETAIN takes a number of hours, zero or more", at=token)
    if not cursor.take("HOURS"):
        cursor.expect("HOUR")
    return hours
