"""All that one server counts as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import partial

from flight_server.telemetry.instruments import Counts, Times

OK = "ok"


@dataclass(frozen=True, slots=True)
class Meters:
    """The counters and histograms of a server; each part of it counts into what it is handed.

    ``code`` is ``ok`` or the code of the error that the caller got.
    """

    calls: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_calls_total",
            "Calls that ended, by Flight method and outcome.",
            ("method", "code"),
        )
    )
    call_seconds: Times = field(
        default_factory=partial(
            Times,
            "lakeflight_call_duration_seconds",
            "Time of whole calls, until the last row has left.",
            ("method",),
        )
    )
    actions: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_actions_total",
            "What was done or refused, by its name in the audit log and outcome.",
            ("action", "code"),
        )
    )
    query_seconds: Times = field(
        default_factory=partial(
            Times,
            "lakeflight_query_duration_seconds",
            "Time of queries: until one is described, its first rows leave, its last row has left.",
            ("phase",),
        )
    )
    rows_sent: Counts = field(
        default_factory=partial(
            Counts, "lakeflight_rows_sent_total", "Rows of results that went out."
        )
    )
    bytes_sent: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_bytes_sent_total",
            "Bytes of results that went out, as Arrow in memory.",
        )
    )
    rows_changed: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_rows_changed_total",
            "Rows that were loaded, inserted, updated or deleted.",
        )
    )
    bytes_received: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_bytes_received_total",
            "Bytes of bulk loads that came in, as Arrow in memory.",
        )
    )
    logins: Counts = field(
        default_factory=partial(
            Counts, "lakeflight_logins_total", "Sign-ins with a password, by outcome.", ("code",)
        )
    )
    limits_reached: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_limits_reached_total",
            "Calls that were refused or ended by a limit, by the setting that is the limit.",
            ("limit",),
        )
    )
    engine_seconds: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_engine_seconds_total",
            "Time that workers worked; waiting for a slow reader is not work.",
            ("work",),
        )
    )
    queue_seconds: Times = field(
        default_factory=partial(
            Times,
            "lakeflight_queue_wait_seconds",
            "Time in the queue, of the queries that had to wait.",
        )
    )
    workers_started: Counts = field(
        default_factory=partial(
            Counts, "lakeflight_workers_started_total", "Worker processes that were started."
        )
    )
    workers_ended: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_workers_ended_total",
            "Worker processes that ended or were ended.",
            ("reason",),
        )
    )
    commits: Counts = field(
        default_factory=partial(
            Counts,
            "lakeflight_commits_total",
            "Commits to tables of users, by outcome.",
            ("code",),
            expected=((OK,),),
        )
    )
    commit_seconds: Times = field(
        default_factory=partial(
            Times,
            "lakeflight_commit_duration_seconds",
            "Time from data files on disk to a durable commit, waits for other writers included.",
        )
    )

    def __iter__(self) -> Iterator[Counts | Times]:
        return (getattr(self, each.name) for each in fields(self))
