"""Opens what answers questions about the rules, whether or not a server runs on the lakehouse."""

from __future__ import annotations

from flight_server.auth.former import FormerUsers
from flight_server.auth.users import UserStore
from flight_server.catalog.editions import Editions
from flight_server.catalog.folders import PUBLIC
from flight_server.clock import Clock
from flight_server.ops.rights import buckets
from flight_server.ops.settings import Settings
from flight_server.service import governed
from flight_server.service.explaining import Explainer
from flight_server.service.governed import Governed
from flight_server.sql.fragments import read_table
from flight_server.sql.names import DEFAULT
from flight_server.storage.locations import PRIMARY
from policies.names import TableRef


def open_editions(settings: Settings) -> Editions:
    """Return the history of the rules; InvalidRequest when the settings name no lakehouse."""
    return Editions(
        settings.storage.system_path,
        settings.policy_book().grants,
        group_rows_min=settings.policies.group_rows_min,
    )


def explainer(
    settings: Settings, found: Governed, clock: Clock, *, users: UserStore | None = None
) -> Explainer:
    """Return what answers questions, over what there is; ``users`` are those in memory."""
    return Explainer(
        open_editions(settings),
        FormerUsers(settings.storage.system_path, users),
        found.registry,
        opener=found.opener,
        clock=clock,
        stores=found.keys,
    )


def open_explainer(settings: Settings, clock: Clock) -> Explainer:
    """Return the same for a folder; raises InvalidRequest when the settings name none."""
    located = buckets(settings)
    editions = open_editions(settings)
    found = governed.build(located, lambda: editions.newest().book, clock)
    return explainer(settings, found, clock)


def table_named(text: str) -> TableRef:
    """Return the table that a name means from outside of any session, as in SQL.

    Raises InvalidRequest for what is no name.
    """
    ref = read_table(text)
    bucket = PRIMARY if ref.bucket == DEFAULT else ref.bucket
    return TableRef(bucket, PUBLIC if ref.schema == DEFAULT else ref.schema, ref.table)
