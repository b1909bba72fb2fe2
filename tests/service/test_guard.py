"""The guard over what runs: whose rights are gone is ended, and all others go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from flight_server.auth.users import User
from flight_server.engine.base import TEMPORARY_BUCKET
from flight_server.errors import (
    Cancelled,
    LakeflightError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from flight_server.service.guard import UNTOLD_SECONDS_MAX, Guard
from flight_server.service.request import Request
from flight_server.service.running import Kind, Run, Running
from flight_server.service.sessions import SessionLimits, Sessions
from flight_server.service.standing import AccountStanding
from flight_server.service.targets import Target, Targets
from flight_server.service.writes import commit
from flight_server.storage.changes import Author, Change
from flight_server.storage.commits import Commits
from policies.names import Principal, Privilege, Role, TableRef
from tests.clocks import StandingClock
from tests.lakehouse import write
from tests.service.opened import BOB
from tests.service.requests import request
from tests.service.test_permits import Permitted
from tests.storage.committing import write_files

ORDERS = TableRef("primary", "sales", "orders")
REGIONS = TableRef("primary", "sales", "regions")
BATCH = pa.record_batch({"n": pa.array([1, 2, 3])})


class World:
    """Who may do what, and who is still who, for tests to change."""

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.running = Running(self.clock)
        self.version = "1"
        self.allowed = {(Privilege.READ, ORDERS), (Privilege.READ, REGIONS)}
        self.principals = {BOB.user_id: BOB}
        self.failure: Exception | None = None
        self.asked = 0
        self.guard = Guard(
            self.running,
            self.standing,
            may=self.may,
            policy_version=lambda: self.version,
            clock=self.clock,
            look_seconds=0.001,
        )

    def standing(self, asked: Request) -> Principal:
        if self.failure is not None:
            raise self.failure
        return self.principals[asked.principal.user_id]

    def may(self, principal: Principal, privilege: Privilege, ref: TableRef) -> bool:
        self.asked += 1
        return principal.role is not Role.GUEST and (privilege, ref) in self.allowed

    def run(self, *needs: TableRef, mark: str = "a", kind: Kind = Kind.QUERY) -> Run:
        run = self.running.enter(request(BOB, mark=mark), "SELECT 1", kind=kind)
        for ref in needs:
            run.rely_on(Privilege.READ, ref)
        return run


@pytest.fixture
def world() -> World:
    return World()


def reason(run: Run) -> str | None:
    error = run.ended()
    return None if error is None else error.code


def test_what_may_go_on_goes_on(world: World) -> None:
    runs = [world.run(ORDERS, mark="a"), world.run(mark="b"), world.run(REGIONS, mark="c")]
    for _ in range(3):
        assert world.guard.look() == 3
        world.clock.advance(10)
    assert [reason(run) for run in runs] == [None] * 3


def test_only_what_relies_on_a_right_ends_with_it(world: World) -> None:
    first, second, both = world.run(ORDERS), world.run(REGIONS), world.run(REGIONS, ORDERS)
    world.allowed.remove((Privilege.READ, ORDERS))
    world.version = "2"
    world.guard.look()
    assert [reason(run) for run in (first, second, both)] == [
        "permission_denied",
        None,
        "permission_denied",
    ]
    error = first.ended()
    assert isinstance(error, PermissionDenied)
    assert "orders" not in error.message
    world.allowed.clear()
    world.version = "3"
    world.guard.look()
    assert reason(second) == "permission_denied"


def test_another_role_is_decided_on_again_and_may_be_as_good(world: World) -> None:
    run = world.run(ORDERS)
    for role, code in ((Role.TRADER, None), (Role.GUEST, "permission_denied")):
        world.principals[BOB.user_id] = replace(BOB, role=role)
        world.guard.look()
        assert reason(run) == code


def test_nothing_is_decided_twice_while_nothing_changes(world: World) -> None:
    run = world.run(ORDERS)
    for _ in range(5):
        world.guard.look()
    assert world.asked == 1
    run.rely_on(Privilege.READ, REGIONS)
    world.guard.look()
    assert world.asked == 3


def test_who_is_gone_ends_with_that_very_error(world: World) -> None:
    run, without_needs = world.run(ORDERS), world.run()
    world.failure = Unauthenticated("ended", code="token_revoked")
    world.guard.look()
    assert [reason(each) for each in (run, without_needs)] == ["token_revoked"] * 2
    with pytest.raises(Unauthenticated), run:
        raise Cancelled("the engine noticed")


@pytest.mark.parametrize("failure", [Unavailable("away"), ValueError("a fault")])
def test_what_cannot_be_told_is_ended_when_it_lasts(world: World, failure: Exception) -> None:
    run = world.run(ORDERS)
    world.guard.look()
    world.failure = failure
    world.clock.advance(UNTOLD_SECONDS_MAX - 0.1)
    world.guard.look()
    assert reason(run) is None
    world.failure = None
    world.guard.look()
    world.failure = failure
    world.clock.advance(UNTOLD_SECONDS_MAX - 0.1)
    world.guard.look()
    assert reason(run) is None
    world.clock.advance(0.2)
    world.guard.look()
    assert reason(run) == "unavailable"


class Batches:
    """The batches of an engine that notices when it is closed."""

    def __init__(self, closes: Callable[[], object] = lambda: None) -> None:
        self.is_closed = threading.Event()
        self._closes = closes

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        return BATCH

    def close(self) -> None:
        self._closes()
        self.is_closed.set()


def test_a_stream_that_nobody_reads_is_closed(world: World) -> None:
    engine = Batches()
    with world.run(ORDERS) as run:
        stream = run.stream(engine)
    next(stream)
    world.allowed.clear()
    world.guard.look()
    assert engine.is_closed.wait(10)
    with pytest.raises(PermissionDenied):
        next(stream)


def test_a_worker_that_does_not_notice_keeps_no_other_from_ending(world: World) -> None:
    meet = threading.Barrier(20)
    engines = [Batches(lambda: meet.wait(10)) for _ in range(20)]
    streams = []
    for number, engine in enumerate(engines):
        with world.run(ORDERS, mark=str(number)) as run:
            streams.append(run.stream(engine))
    world.allowed.clear()
    world.guard.look()
    assert all(engine.is_closed.wait(10) for engine in engines)


def test_the_thread_wakes_for_what_begins_and_ends_with_stop(world: World) -> None:
    world.guard.start()
    try:
        for _ in range(3):
            engine = Batches()
            with world.run(ORDERS) as run:
                stream = run.stream(engine)
            world.allowed.discard((Privilege.READ, ORDERS))
            world.version += "+"
            assert engine.is_closed.wait(10)
            del stream
            world.allowed.add((Privilege.READ, ORDERS))
    finally:
        world.guard.stop()


def test_the_guard_looks_at_a_hundred_streams_in_no_time(world: World) -> None:
    runs = [world.run(ORDERS, mark=str(number)) for number in range(100)]
    started = world.asked
    for _ in range(50):
        assert world.guard.look() == len(runs)
    assert world.asked - started == len(runs)


# Right before a change takes effect


@pytest.fixture
def lake(tmp_path: Path) -> Permitted:
    lake = Permitted(tmp_path)
    for privilege in (Privilege.READ, Privilege.WRITE, Privilege.MAINTAIN):
        lake.grant(privilege, "primary")
    return lake


def targets_of(lake: Permitted, world: World) -> Targets:
    sessions = Sessions(lake.browser, SessionLimits(), clock=world.clock, random_bytes=os.urandom)
    return Targets(
        lake.permits,
        lake.tables,
        sessions,
        temporary_root=Path("none"),
        standing=world.standing,
    )


A = TableRef("primary", "s", "a")
FINDERS: list[tuple[Callable[[Targets, Request], Target], set[Privilege]]] = [
    (lambda t, r: t.to_write(r, A, also_reads=False), {Privilege.WRITE}),
    (lambda t, r: t.to_write(r, A, also_reads=True), {Privilege.WRITE, Privilege.READ}),
    (lambda t, r: t.to_maintain(r, A), {Privilege.MAINTAIN}),
    (lambda t, r: t.to_create(r, A), {Privilege.WRITE}),
    (lambda t, r: t.to_create(r, replace(A, table="new")), {Privilege.WRITE}),
]


@pytest.mark.parametrize(("find", "rights"), FINDERS)
@pytest.mark.parametrize("withdrawn", list(Privilege))
def test_a_target_is_decided_on_again(
    lake: Permitted,
    world: World,
    find: Callable[[Targets, Request], Target],
    rights: set[Privilege],
    withdrawn: Privilege,
) -> None:
    run = world.running.enter(request(BOB), "x", kind=Kind.WRITE)
    target = find(targets_of(lake, world), replace(request(BOB), rely_on=run.rely_on))
    assert {privilege for privilege, _ in run.needs} == rights
    target.check(())
    lake.grant(withdrawn, "primary", "s", deny=True)
    if withdrawn in rights:
        with pytest.raises(PermissionDenied):
            target.check(())
    else:
        target.check(())


def test_what_was_read_for_a_change_must_still_be_readable(lake: Permitted, world: World) -> None:
    target = targets_of(lake, world).to_write(request(BOB), A, also_reads=False)
    source = TableRef("primary", "public", "above")
    temporary = TableRef(TEMPORARY_BUCKET, "s_1", "t")
    target.check([source, temporary])
    lake.grant(Privilege.READ, "primary", "public", deny=True)
    with pytest.raises(PermissionDenied):
        target.check([source])
    target.check([temporary])


def test_a_change_of_somebody_who_is_gone_is_not_committed(
    lake: Permitted, world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "p" / "s" / "changed"
    rows = pa.table({"n": [1, 2]})
    write(folder, rows)
    commits = Commits(world.clock, random_bytes=os.urandom)
    targets = targets_of(lake, world)
    target = targets.to_write(request(BOB), replace(A, table="changed"), also_reads=False)
    before = commits.head(folder, name="changed").version
    files = write_files(folder, rows)
    kept = {path.name for path in folder.glob("*.parquet")}
    world.failure = Unauthenticated("gone", code="token_revoked")
    change = Change("WRITE", Author("2", "bob", "r"), adds=files, rows=2)
    with pytest.raises(Unauthenticated):
        commit(request(BOB), commits, target, change)
    assert commits.head(folder, name="changed").version == before
    assert {path.name for path in folder.glob("*.parquet")} < kept
    world.failure = None
    again = replace(change, adds=write_files(folder, rows))
    assert commit(request(BOB), commits, target, again).rows == 2


# Who stands behind a request


class Accounts:
    """A table of one user."""

    def __init__(self, user: User) -> None:
        self.user = user

    def get(self, user_id: str) -> User:
        if user_id != self.user.user_id:
            raise NotFound("there is no such user")
        return self.user


def account(clock: StandingClock) -> User:
    return User(
        user_id=BOB.user_id,
        username="bob",
        email=None,
        password_hash="",
        role=Role.TRADER,
        custom_roles=("a",),
        subscription_tier="free",
        is_active=True,
        created_at=clock.now(),
        updated_at=clock.now(),
    )


def test_a_caller_is_looked_up_anew(world: World) -> None:
    accounts = Accounts(account(world.clock))
    ended: list[LakeflightError] = []
    standing = AccountStanding(accounts, lambda _: ended[0] if ended else None)
    assert standing(request(BOB)) == Principal(BOB.user_id, "bob", Role.TRADER, frozenset("a"))
    with pytest.raises(Unauthenticated) as raised:
        standing(request(replace(BOB, user_id="7")))
    assert raised.value.code == "token_revoked"
    accounts.user = replace(accounts.user, is_active=False)
    with pytest.raises(Unauthenticated):
        AccountStanding(accounts)(request(BOB))
    ended.append(Unauthenticated("the session has ended", code="token_revoked"))
    with pytest.raises(Unauthenticated, match="the session"):
        standing(request(BOB))


class Stating:
    """Lets everybody state some purposes."""

    def __init__(self, *purposes: str) -> None:
        self.granted = frozenset(purposes)

    def purposes(self, principal: Principal) -> frozenset[str]:
        return self.granted


def test_a_caller_goes_on_for_the_purpose_that_may_be_stated(world: World) -> None:
    stating = Stating("research")
    standing = AccountStanding(Accounts(account(world.clock)), stating=stating)
    asked = request(BOB, purpose="research")
    assert standing(asked).purpose == "research"
    assert standing(request(BOB)).purpose is None
    stating.granted = frozenset({"analytics"})
    with pytest.raises(PermissionDenied) as raised:
        standing(asked)
    assert raised.value.code == "purpose_denied"
    assert standing(request(BOB)).purpose is None
