"""What somebody else would see of an AI-safe view, for those who manage it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from flight_server.auth.account_rules import check_custom_roles
from flight_server.auth.user import User
from flight_server.engine.base import JSON, Engine, Query
from flight_server.errors import InvalidRequest, NotFound, PermissionDenied
from flight_server.service.browse import Browser
from flight_server.service.json_cells import rows_of
from flight_server.service.request import Request
from flight_server.service.running import Kind, Running
from flight_server.service.safe_views import ViewRules
from flight_server.sql.names import quoted
from policies.names import Principal, Privilege, Role, TableRef

ROWS_DEFAULT, ROWS_MAX = 20, 100


class Users(Protocol):
    """Where accounts are looked up."""

    def find(self, username: str) -> User | None:
        """Return the user of that name, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Eyes:
    """Whose eyes to look with: those of a user, of a role, or with neither one's own."""

    user: str | None = None
    role: str | None = None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    principal: Principal
    who: str
    is_of_others: bool = True


class Previews:
    """The use case; safe to use from many threads."""

    def __init__(
        self,
        engine: Engine,
        views: ViewRules,
        browser: Browser,
        *,
        users: Users,
        running: Running,
    ) -> None:
        self._engine = engine
        self._views = views
        self._browser = browser
        self._users = users
        self._running = running

    def preview(
        self, request: Request, name: str, eyes: Eyes, *, limit: int = ROWS_DEFAULT
    ) -> list[dict[str, JSON]]:
        """Return rows of a view exactly as a query of that user, or of that role, returns them.

        Who is no administrator sees with the eyes of others only what they manage down to the
        table, since rules that hold for themselves may leave those out, and no column that is
        denied to them. Raises PermissionDenied for those who do not manage the view, when whoever
        is asked about may not read it, (``purpose_denied``) or state that purpose; for others than
        administrators also about administrators. Raises NotFound, InvalidRequest, and what the
        query raises.
        """
        if not 1 <= limit <= ROWS_MAX:
            raise InvalidRequest(f"'limit' is a number from 1 to {ROWS_MAX}")
        shown = self._views.get(request, name)
        ref = shown.view.ref
        if not shown.is_open:
            raise PermissionDenied(f"you may not manage {ref}")
        bases = self._views.bases(shown)
        look = self._look(request.principal, eyes)
        needed = (ref, *bases) if look.is_of_others and not request.principal.is_admin else (ref,)
        if not all(self._browser.may_manage(request.principal, each) for each in needed):
            raise PermissionDenied(
                f"to see {ref} as others do you need to manage what it is made of as well"
            )
        if not self._browser.may_still(look.principal, Privilege.READ, ref):
            raise PermissionDenied(f"{look.who} may not read the view {ref}")
        with self._running.enter(request, "view.preview", kind=Kind.QUERY) as run:
            for each in needed:
                run.rely_on(Privilege.MANAGE, each)
            rows = self._rows(
                request, look.principal, ref, limit=limit, is_cancelled=run.is_cancelled
            )
        request.record.note(rows=len(rows))
        denied = frozenset[str]().union(
            *(self._browser.readable(request.principal, each).denied for each in (ref, *bases))
        )
        return [{name: row[name] for name in row if name not in denied} for row in rows]

    def _rows(
        self,
        request: Request,
        principal: Principal,
        ref: TableRef,
        *,
        limit: int,
        is_cancelled: Callable[[], bool],
    ) -> list[dict[str, JSON]]:
        name = ".".join(map(quoted, (ref.bucket, ref.schema, ref.table)))
        sql = f"SELECT * FROM {name} LIMIT {limit}"  # noqa: S608  a quoted name and a number
        query = Query(sql, principal, ref.bucket, ref.schema)
        # A query without pins would be remembered as if its tables never changed.
        pins = self._engine.describe(query, is_cancelled=is_cancelled).pins
        request.record.note(tables={pin.ref: pin.version for pin in pins})
        rows: list[dict[str, JSON]] = []
        _, batches = self._engine.stream(replace(query, pins=pins), is_cancelled=is_cancelled)
        for batch in batches:
            rows.extend(rows_of(batch))
        return rows

    def _look(self, caller: Principal, eyes: Eyes) -> _Look:
        if eyes.user is not None and eyes.role is not None:
            raise InvalidRequest("a preview is for a user or for a role")
        look = self._of_somebody(caller, eyes)
        if look.principal.is_admin and not caller.is_admin:
            # Rules may leave administrators out, and who manages a view is none for that.
            raise PermissionDenied("only administrators see what administrators see")
        if eyes.purpose is None:
            return look
        if eyes.purpose not in self._browser.purposes(look.principal):
            raise PermissionDenied(f"{look.who} may not state this purpose", code="purpose_denied")
        return replace(look, principal=replace(look.principal, purpose=eyes.purpose))

    def _of_somebody(self, caller: Principal, eyes: Eyes) -> _Look:
        if eyes.user is not None:
            user = self._users.find(eyes.user)
            if user is None:
                raise NotFound("there is no user of this name", code="user_not_found")
            if not user.is_active:
                raise PermissionDenied(f"the account {user.username} is disabled")
            return _Look(user.as_principal(), user.username)
        if eyes.role is not None:
            return _Look(_of_role(eyes.role), f"the role {eyes.role}")
        return _Look(caller, caller.username, is_of_others=False)


def _of_role(role: str) -> Principal:
    """Return somebody who has this role and no other one, a custom one beside ``registered``."""
    if role in frozenset(Role):
        return Principal("", "", Role(role))
    check_custom_roles((role,))
    return Principal("", "", Role.REGISTERED, frozenset({role}))
