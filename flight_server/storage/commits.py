"""How a change of a Delta table becomes durable and visible.

A commit is acknowledged when it would survive a power cut: its data files are synced before it
comes here, then its log entry, then the log's folder. Appends that wait for the same table become
one entry. The entry is made by a link that fails when its number is taken: of several writers, here
or in other programs, exactly one wins, and the others look at what it did and go on behind it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from flight_server.clock import Clock
from flight_server.errors import Conflict, LakeflightError, NotFound, Unavailable
from flight_server.storage.changes import (
    COMMIT_UNKNOWN,
    Change,
    Committed,
    app_id_of,
    recalled,
    unknown_outcome,
)
from flight_server.storage.checkpoints import make_checkpoint
from flight_server.storage.delta import table_folder
from flight_server.storage.delta_actions import entry_bytes, millis
from flight_server.storage.durable import write_once
from flight_server.storage.entries import Prepared, actions_of, prepare
from flight_server.storage.foreign import remove_torn_entries, sync_foreign
from flight_server.storage.heads import Head, head_of
from flight_server.storage.log import LOG_FOLDER, commit_path, mark_of
from flight_server.storage.recent import Recent
from flight_server.storage.replay import LogState, advance, read_state
from flight_server.storage.turns import Turns
from flight_server.telemetry.meters import OK, Meters

__all__ = ["COMMIT_UNKNOWN", "CommitLimits", "Commits"]

CHECKPOINT_VERSIONS = 100
_INTERVAL = "delta.checkpointInterval"


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """How long and how often a commit tries, and how much is remembered."""

    attempts_max: int = 16
    group_changes_max: int = 256
    writing_seconds_max: float = 60.0
    rewriting_seconds_max: float = 120.0
    vacuuming_seconds_max: float = 10.0
    tables_max: int = 1024
    values_max: int = 2_000_000


@dataclass(slots=True, eq=False)
class _Waiting:
    """A change in the queue, and what became of it."""

    change: Change
    name: str
    check: Callable[[], None] | None = None
    outcome: Committed | None = None
    error: LakeflightError | None = None

    @property
    def is_done(self) -> bool:
        return self.outcome is not None or self.error is not None

    def result(self) -> Committed:
        if self.outcome is not None:
            return self.outcome
        error = self.error
        if error is None:
            raise unknown_outcome(self.name)
        # One failure may answer several threads, and a traceback belongs to one of them.
        raise type(error)(
            error.message, code=error.code, retry_after_seconds=error.retry_after_seconds
        ) from None


@dataclass(slots=True)
class _Table:
    """Who waits for a table; ``busy`` while one thread has its state in hands."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    queue: deque[_Waiting] = field(default_factory=deque)
    busy: bool = False
    users: int = 0


@dataclass(slots=True)
class _Held:
    """The state of a table, its head without files, and whether its log was looked over."""

    state: LogState | None = None
    head: Head | None = None
    head_definition: int = -1


class Commits:
    """All commits of one process. Safe to share between threads.

    Paths are the tables' folders, names are those for messages.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        random_bytes: Callable[[int], bytes],
        limits: CommitLimits | None = None,
        meters: Meters | None = None,
    ) -> None:
        self._clock = clock
        self._meters = meters or Meters()
        self._random_bytes = random_bytes
        self._limits = limits or CommitLimits()
        self._turns = Turns(clock)
        self._lock = threading.Lock()
        self._tables: dict[str, _Table] = {}
        self._held = Recent[str, _Held](
            lambda held: held.state.weight if held.state else 1,
            entries_max=self._limits.tables_max,
            weight_max=self._limits.values_max,
        )

    def head(self, path: Path, *, name: str, with_files: bool = False) -> Head:
        """Return the newest state of a table for writing.

        Raises NotFound (``table_not_found``), Unsupported for a table that is not written here,
        Unavailable (``table_damaged``).
        """
        root = table_folder(path)
        with self._at(root) as table, self._alone(table):
            state = self._state(root, name, with_files=with_files)
            head = self._head(root, state, name)
            files = tuple((state.files or {}).values()) if with_files else None
            return replace(head, files=files)

    def known(self, path: Path, user_id: str, *, key: str, name: str) -> int | None:
        """Return the count that a user's earlier write with this key answered, or None.

        None also when there is no such table. Raises Unavailable (``table_damaged``).
        """
        root = table_folder(path)
        with self._at(root) as table, self._alone(table):
            try:
                state = self._state(root, name, with_files=False)
            except NotFound:
                return None
            found = state.transactions.get(app_id_of(user_id, key))
            return None if found is None else recalled(found)

    def commit(
        self, path: Path, change: Change, *, name: str, check: Callable[[], None] | None = None
    ) -> Committed:
        """Make a change part of a table; return when it is durable.

        ``check`` is called in the turn of the change, in any thread, and raises to give it up.
        Its files must be synced, with their folders. On an error, and when the outcome is
        ``repeated``, they are nobody's and the caller removes them; only after Unavailable with the
        code ``commit_unknown`` the change may have been made, and they must stay.

        Raises Conflict when another change came in between that this one does not go with, to be
        computed anew; NotFound, Unsupported, Unavailable.
        """
        since = self._clock.monotonic()
        try:
            committed = self._committed(table_folder(path), _Waiting(change, name, check))
        except LakeflightError as error:
            self._meters.commits.add((error.code,))
            raise
        self._meters.commits.add((OK,))
        self._meters.commit_seconds.observe(self._clock.monotonic() - since)
        return committed

    def _committed(self, root: str, waiting: _Waiting) -> Committed:
        with self._at(root) as table:
            with table.changed:
                table.queue.append(waiting)
            due: int | None = None
            while not waiting.is_done:
                due = self._lead(root, table, waiting) or due
        if due is not None:
            make_checkpoint(Path(root), due, name=waiting.name, random_bytes=self._random_bytes)
        return waiting.result()

    def writing(self, path: Path) -> AbstractContextManager[None]:
        """Hold from before the first data file of an append is made until after its commit.

        It keeps VACUUM away. Not to be nested. Raises LimitExceeded.
        """
        return self._turns.writing(table_folder(path), seconds_max=self._limits.writing_seconds_max)

    def rewriting(self, path: Path) -> AbstractContextManager[None]:
        """Hold likewise while rows that are there are changed; one at a time for each table.

        Includes ``writing``. Raises LimitExceeded.
        """
        return self._turns.rewriting(
            table_folder(path), seconds_max=self._limits.rewriting_seconds_max
        )

    def vacuuming(self, path: Path) -> AbstractContextManager[None]:
        """Hold while files, or the whole table, are removed: nobody writes meanwhile.

        Raises LimitExceeded.
        """
        return self._turns.vacuuming(
            table_folder(path), seconds_max=self._limits.vacuuming_seconds_max
        )

    @contextmanager
    def _at(self, root: str) -> Iterator[_Table]:
        with self._lock:
            table = self._tables.setdefault(root, _Table())
            table.users += 1
        try:
            yield table
        finally:
            with self._lock:
                table.users -= 1
                if not table.users:
                    del self._tables[root]

    @contextmanager
    def _alone(self, table: _Table) -> Iterator[None]:
        with table.changed:
            table.changed.wait_for(lambda: not table.busy)
            table.busy = True
        try:
            yield
        finally:
            with table.changed:
                table.busy = False
                table.changed.notify_all()

    def _lead(self, root: str, table: _Table, waiting: _Waiting) -> int | None:
        """Wait until another thread has committed our change, or commit what is first in line.

        Returns the version that is due for a checkpoint, if any.
        """
        with table.changed:
            table.changed.wait_for(lambda: waiting.is_done or not table.busy)
            if waiting.is_done:
                return None
            table.busy = True
            group = _take(table.queue, self._limits.group_changes_max)
        try:
            return self._commit(root, group)
        except LakeflightError as error:
            self._fail(root, group, error)
            return None
        except BaseException:
            self._fail(root, group, unknown_outcome(waiting.name))
            raise
        finally:
            with table.changed:
                table.busy = False
                table.changed.notify_all()

    def _fail(self, root: str, group: Sequence[_Waiting], error: LakeflightError) -> None:
        self._held.put(root, _Held())
        for each in group:
            if not each.is_done:
                each.error = error

    def _commit(self, root: str, group: Sequence[_Waiting]) -> int | None:
        """Write one entry for all changes of a group that can be made."""
        name = group[0].name
        with_files = not all(each.change.is_append for each in group)
        for _ in range(self._limits.attempts_max):
            state = self._state(root, name, with_files=with_files)
            ready = self._prepared(root, state, [each for each in group if not each.is_done])
            if not ready:
                return None
            try:
                sync_foreign(state, name, clock=self._clock)
            except OSError:
                raise Unavailable(f"the log of the table {name} cannot be synced") from None
            if self._write(state, ready, name):
                self._held.put(root, self._held.get_or_make(root, _Held))  # weighs more now
                return _due(state)
        raise Conflict(
            f"other writers of the table {name} were faster "
            f"commit_attempts_max={self._limits.attempts_max}"
        )

    def _prepared(
        self, root: str, state: LogState, group: Sequence[_Waiting]
    ) -> list[tuple[_Waiting, Prepared]]:
        ready: list[tuple[_Waiting, Prepared]] = []
        for each in group:
            try:
                app_id = each.change.app_id
                found = None if app_id is None else state.transactions.get(app_id)
                if found is not None:
                    each.outcome = Committed(None, recalled(found), repeated=True)
                    continue
                if each.check is not None:
                    each.check()
                head = self._head(root, state, each.name)
                ready.append((each, prepare(state, head, each.change, name=each.name)))
            except LakeflightError as error:
                each.error = error
        return ready

    def _write(
        self, state: LogState, ready: Sequence[tuple[_Waiting, Prepared]], name: str
    ) -> bool:
        """Write the next entry; False when its number is taken."""
        number = state.version + 1
        actions = actions_of(
            state.version,
            [prepared for _, prepared in ready],
            at_ms=millis(self._clock.now()),
        )
        content = entry_bytes(actions)
        path = Path(commit_path(state.folder, number))
        try:
            if not write_once(path, content):
                return False
        except OSError:
            if _holds(path, content):
                raise unknown_outcome(name) from None
            raise Unavailable(f"the log of the table {name} cannot be written") from None
        state.apply(number, actions)
        state.mark = mark_of(str(path))
        for waiting, _ in ready:
            waiting.outcome = Committed(number, waiting.change.rows)
        return True

    def _state(self, root: str, name: str, *, with_files: bool) -> LogState:
        """Return the newest state; the caller is alone at the table."""
        held = self._held.get_or_make(root, _Held)
        state = held.state
        held.state = None  # a failure half-way leaves nothing to build on
        if state is not None and state.is_in_place():
            advance(state, name)
        else:
            held.head = state = None
        if state is None or (with_files and state.files is None):
            if not Path(root, LOG_FOLDER).is_dir():
                raise NotFound(f"there is no table {name}", code="table_not_found")
            synced = -1 if state is None else state.version
            unsynced = () if state is None else tuple(state.unsynced)
            if state is None:
                remove_torn_entries(Path(root, LOG_FOLDER), clock=self._clock)
            state = read_state(root, name, with_files=with_files)
            # What was synced before need not be synced again.
            state.unsynced = [v for v in state.unsynced if v > synced or v in unsynced]
        held.state = state
        self._held.put(root, held)
        return state

    def _head(self, root: str, state: LogState, name: str) -> Head:
        """Return the head without files, made anew only where the table became another."""
        held = self._held.get_or_make(root, _Held)
        old = held.head
        if old is None or held.head_definition != state.last_definition:
            old = head_of(state, name)
            held.head, held.head_definition = old, state.last_definition
        return old if old.version == state.version else replace(old, version=state.version)


def _take(queue: deque[_Waiting], changes_max: int) -> list[_Waiting]:
    """Take the first change; when it is an append, also the appends right behind it."""
    group = [queue.popleft()]
    keys = {group[0].change.app_id}
    while (
        queue
        and len(group) < changes_max
        and group[0].change.is_append
        and queue[0].change.is_append
        and (queue[0].change.app_id is None or queue[0].change.app_id not in keys)
    ):
        group.append(queue.popleft())
        keys.add(group[-1].change.app_id)
    return group


def _due(state: LogState) -> int | None:
    metadata = state.metadata
    text = metadata.configuration.get(_INTERVAL, "") if metadata else ""
    interval = int(text) if text.isdigit() and int(text) > 0 else CHECKPOINT_VERSIONS
    return state.version if state.version % interval == 0 else None


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it cannot be told, so nobody may take it for not made
