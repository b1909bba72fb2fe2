"""``lakeflight demo``: make a sample lakehouse, serve it, and say how to connect."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from flight_server.cli.serve import serve_lakehouse
from flight_server.ops.settings import Settings, load

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EXAMPLES = """\b
Examples:
  lakeflight demo
  lakeflight demo /tmp/lake --scale 1 --port 0
  lakeflight demo --no-serve --force
"""
DEMO_PASSWORD = "lakeflight-demo"  # noqa: S105  printed for everybody; the demo serves this machine only

_RECIPES = """
Served at {uri} as user admin, password {password}. Stop with Ctrl-C. Paste one of these:

  command line   lakeflight sql {uri} --user admin -c 'SELECT count(*) FROM tpch.lineitem'
                 (asks for the password, or takes it from LAKEFLIGHT_PASSWORD)

  Python, ADBC   from adbc_driver_flightsql import dbapi
                 conn = dbapi.connect({uri!r}, autocommit=True,
                                      db_kwargs={{"username": "admin", "password": {password!r}}})

  pandas         import pandas as pd
                 pd.read_sql("SELECT * FROM staffing.candidates LIMIT 10", conn)

  polars         import polars as pl
                 pl.read_database("SELECT * FROM staffing.placements", conn)

  DuckDB         import duckdb
                 cursor = conn.cursor()
                 cursor.execute("SELECT * FROM tpch.orders")
                 orders = cursor.fetch_record_batch()
                 duckdb.sql("SELECT o_orderstatus, count(*) FROM orders GROUP BY ALL")

  JDBC           jdbc:arrow-flight-sql://{address}/?useEncryption=false&user=admin&password={password}

Time travel:     SELECT status, count(*) FROM staffing.candidates VERSION AS OF 0 GROUP BY status
Plain files:     SELECT * FROM files.cities
"""


@app.command(epilog=EXAMPLES)
def demo(
    directory: Annotated[Path, typer.Argument(help="Where to make it.")] = Path("demo-lakehouse"),
    *,
    scale: Annotated[
        float, typer.Option(help="Size: 0.1 is 600,000 TPC-H line items and 1,000,000 placements.")
    ] = 0.1,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    serve: Annotated[bool, typer.Option(help="Serve it once it is made.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Make it again.")] = False,
) -> None:
    """Make a sample lakehouse and serve it: TPC-H, a staffing agency, plain Parquet files."""
    from flight_server.demo import build  # noqa: PLC0415  loads Arrow, which --help need not wait for

    with _progress() as progress:
        made = build(directory, scale=scale, force=force, progress=progress)
    typer.echo(f"{'made' if made else 'found'} the sample lakehouse in {directory}", err=True)
    if serve:
        settings = _settings(directory, host=host, port=port)
        serve_lakehouse(
            settings, lambda uri: typer.echo(recipes(uri, password=shown_password(settings)))
        )
    else:
        typer.echo(f"serve it with: lakeflight demo {shlex.quote(str(directory))}", err=True)


def recipes(uri: str, *, password: str) -> str:
    """Return ready-to-paste lines that connect to the server at ``uri``."""
    return _RECIPES.format(uri=uri, password=password, address=uri.partition("://")[2])


def _settings(directory: Path, *, host: str | None, port: int | None) -> Settings:
    flags: dict[str, object] = {
        "storage.primary": str(directory.absolute()),
        "server.host": host,
        "server.port": port,
    }
    settings = load(None, flags)
    if settings.admin.password is None:
        settings = load(None, {**flags, "admin.password": DEMO_PASSWORD})
    return settings


def shown_password(settings: Settings) -> str:
    """Return what may be shown as the password: the demo's own, never one that somebody chose."""
    secret = settings.admin.password
    chosen = secret is None or secret.get_secret_value() != DEMO_PASSWORD
    return "YOUR-ADMIN-PASSWORD" if chosen else DEMO_PASSWORD


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console  # noqa: PLC0415  --help need not wait for it
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn  # noqa: PLC0415  as above

    columns = (TextColumn("{task.description:10}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: str, share: float) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=1.0)
            bars.update(tasks[step], completed=share)

        yield show
