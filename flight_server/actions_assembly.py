"""Builds what this server's own actions call, out of the parts of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flight_server.ops import policy_reading
from flight_server.parts import Parts, buckets
from flight_server.rpc.action_shapes import UseCases as OwnUseCases
from flight_server.service import governed
from flight_server.service.accounts import Accounts, Registration
from flight_server.service.conditions import Conditions
from flight_server.service.consents import Consents, KeptConsents
from flight_server.service.grants import Grants
from flight_server.service.keyed_tombstones import KeyedTombstones
from flight_server.service.own_bucket import hash_key
from flight_server.service.permits import Permits
from flight_server.service.policy_questions import PolicyQuestions
from flight_server.service.previews import Previews
from flight_server.service.rule_permits import RulePermits
from flight_server.service.rules import Rules
from flight_server.service.running import Running
from flight_server.service.safe_views import ViewRules
from flight_server.service.sessions import Sessions
from flight_server.service.shapes import Shapes
from flight_server.service.table_changes import TableChanges
from flight_server.service.table_upkeep import TableUpkeep
from flight_server.service.targets import Targets
from flight_server.service.tombstones import Tombstones
from flight_server.service.upkeep import Upkeep
from flight_server.service.usage import Records, Usage
from flight_server.service.user_administration import UserAdministration
from flight_server.storage.locations import Location


def build_own(
    parts: Parts,
    found: governed.Governed,
    permits: Permits,
    *,
    tables: TableChanges,
    upkeep: Upkeep,
    targets: Targets,
    sessions: Sessions,
    running: Running,
) -> OwnUseCases:
    """Build what the handlers of this server's own actions call."""
    views = _views(parts, found, permits, targets=targets, running=running)
    return OwnUseCases(
        running,
        tables,
        TableUpkeep(upkeep, targets, running),
        _accounts(parts, sessions),
        usage=_usage(parts, running),
        grants=_grants(parts, found),
        rules=_rules(parts, found, targets=targets, running=running),
        views=views,
        previews=Previews(
            parts.engine, views, found.browser, users=parts.stores.users, running=running
        ),
        rotate_hash_key=_rotation(buckets(parts.settings)),
        questions=_questions(parts, found, targets),
        tombstones=_tombstones(parts, found, targets),
        consents=_consents(parts, found),
    )


def _tombstones(parts: Parts, found: governed.Governed, targets: Targets) -> Tombstones:
    assert found.keys is not None  # noqa: S101  the server's own bucket is always among them
    return Tombstones(
        KeyedTombstones(found.keys.tombstones),
        targets,
        found.browser,
        registry=found.registry,
        opener=found.opener,
        book=parts.rules.book,
    )


def _consents(parts: Parts, found: governed.Governed) -> Consents:
    assert found.keys is not None  # noqa: S101  as below
    return Consents(
        KeptConsents(found.keys.consents), book=parts.rules.book, buckets=found.registry.buckets
    )


def _views(
    parts: Parts, found: governed.Governed, permits: Permits, *, targets: Targets, running: Running
) -> ViewRules:
    return ViewRules(
        found.safe_views,
        permits,
        targets,
        browser=found.browser,
        registry=found.registry,
        conditions=Conditions(parts.engine, running),
        attached=found.tables.attached,
        book=parts.rules.book,
    )


def _rotation(located: Mapping[str, Location]) -> Callable[[], None]:
    key = hash_key(located)
    assert key is not None  # noqa: S101  the server's own bucket is always among them
    return key.rotate


def _grants(parts: Parts, found: governed.Governed) -> Grants:
    return Grants(
        parts.rules,
        parts.stores.users,
        shapes=Shapes(found.registry, found.opener),
        buckets=found.registry.buckets,
    )


def _rules(parts: Parts, found: governed.Governed, *, targets: Targets, running: Running) -> Rules:
    return Rules(
        parts.rules,
        parts.stores.users,
        shapes=Shapes(found.registry, found.opener),
        permits=RulePermits(
            found.browser,
            targets,
            Conditions(parts.engine, running),
            book=parts.rules.book,
        ),
    )


def _questions(parts: Parts, found: governed.Governed, targets: Targets) -> PolicyQuestions:
    explains = policy_reading.explainer(
        parts.settings, found, parts.clock, users=parts.stores.users
    )
    return PolicyQuestions(explains, found.browser, book=parts.rules.book, named=targets.named)


def _accounts(parts: Parts, sessions: Sessions) -> Accounts:
    auth = parts.settings.auth
    parts.stores.sessions.when_ended(sessions.end_signed_in)
    administration = UserAdministration(
        parts.stores,
        clock=parts.clock,
        token_seconds=auth.token_seconds_max,
        ended=sessions.end_signed_in,
    )
    return Accounts(
        parts.stores,
        parts.signin,
        administration=administration,
        registration=Registration(is_open=auth.registration, pending_max=auth.pending_max),
    )


def _usage(parts: Parts, running: Running) -> Usage:
    records = Records(parts.engine)
    return Usage(records, parts.audit, parts.stores.users, running=running, clock=parts.clock)
