"""The actions about accounts: one's own, and those that administrators look after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from flight_server import errors
from flight_server.auth.personal import PersonalToken
from flight_server.auth.users import User
from flight_server.rpc.action_shapes import Field, Shape, UseCases, Values, Who, json_time
from flight_server.service.accounts import Accounts, ShownSession
from flight_server.service.recording import Effect
from flight_server.service.request import Request
from flight_server.service.signin import Login
from policies.names import Principal, Role

# What an account that waits for approval may call; the last is a driver's way to hang up.
PENDING_ACTIONS = frozenset({"auth.whoami", "auth.change_password", "auth.logout", "CloseSession"})


def refuse_pending(principal: Principal, action: str) -> None:
    """Raise PermissionDenied for an account that waits, unless this is an action for it."""
    if principal.role is Role.PENDING and action not in PENDING_ACTIONS:
        raise errors.PermissionDenied("the account waits for an administrator to approve it")


def _register(use_cases: UseCases, _: Request, values: Values) -> Iterator[Values]:
    yield user_answer(
        use_cases.accounts.register(
            values["username"],
            values["password"],
            email=values["email"],
            tier=values.get("tier"),
        )
    )


def _login(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    accounts = use_cases.accounts
    yield _login_answer(accounts.login(request, values["username"], values["password"]))


def _refresh(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    yield _login_answer(use_cases.accounts.refresh(request, values["refresh_token"]))


def _logout(use_cases: UseCases, request: Request, _: Values) -> Iterator[Values]:
    yield {"session_id": use_cases.accounts.logout(request), "status": "ended"}


def _whoami(use_cases: UseCases, request: Request, _: Values) -> Iterator[Values]:
    user = use_cases.accounts.whoami(request)
    yield {
        **user_answer(user),
        "session_id": request.session_id,
        "token_id": request.token_id,
    }


def _change_password(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    ended = use_cases.accounts.change_password(request, values["old"], values["new"])
    yield {"sessions_ended": ended}


def _create_token(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    made, text = use_cases.accounts.create_token(
        request,
        values["name"],
        seconds=values.get("expires_in_seconds"),
        expires_at=_time(values, "expires_at"),
    )
    yield {**_token_answer(made), "token": text}


def _list_tokens(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    for token in use_cases.accounts.tokens(request, username=values.get("user")):
        yield _token_answer(token)


def _revoke_token(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    use_cases.accounts.revoke_token(request, values["token_id"])
    yield {"token_id": values["token_id"], "status": "revoked"}


def _list_sessions(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    for shown in use_cases.accounts.sessions(request, username=values.get("user")):
        yield _session_answer(shown, request)


def _kill_session(use_cases: UseCases, request: Request, values: Values) -> Iterator[Values]:
    use_cases.accounts.kill_session(request, values["session_id"])
    yield {"session_id": values["session_id"], "status": "ended"}


def _list_users(use_cases: UseCases, _: Request, __: Values) -> Iterator[Values]:
    for user in use_cases.accounts.users():
        yield user_answer(user)


def _administered(
    act: Callable[[Accounts, User, Values], User],
) -> Callable[[UseCases, Request, Values], Iterator[Values]]:
    """Make the handler of an action on one user, who is named by id or by name."""

    def handler(use_cases: UseCases, _: Request, values: Values) -> Iterator[Values]:
        accounts = use_cases.accounts
        user = accounts.administration.find(
            user_id=values.get("user_id"), username=values.get("username")
        )
        yield user_answer(act(accounts, user, values))

    return handler


def _approve(accounts: Accounts, user: User, values: Values) -> User:
    return accounts.administration.approve(user, role=values.get("role"), tier=values.get("tier"))


def _set_role(accounts: Accounts, user: User, values: Values) -> User:
    return accounts.administration.set_role(
        user, values["role"], custom_roles=values.get("custom_roles")
    )


def _set_attributes(accounts: Accounts, user: User, values: Values) -> User:
    attributes = values["attributes"]
    if not all(isinstance(each, str) for each in attributes.values()):
        raise errors.InvalidRequest("attributes are texts by name")
    return accounts.administration.set_attributes(user, attributes)


def _time(values: Values, name: str) -> datetime | None:
    text = values.get(name)
    try:
        at = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        at = None
    if text is not None and (at is None or at.tzinfo is None):
        raise errors.InvalidRequest(f"{name!r} is a time such as 2027-01-31T12:00:00Z")
    return at


def user_answer(user: User) -> dict[str, object]:
    """Return an account as it is shown: never with a hash."""
    return {
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "role": user.role.value,
        "custom_roles": list(user.custom_roles),
        "subscription_tier": user.subscription_tier,
        "requested_tier": user.requested_tier,
        "attributes": dict(user.attributes),
        "is_active": user.is_active,
        "created_at": json_time(user.created_at),
        "updated_at": json_time(user.updated_at),
    }


def _login_answer(login: Login) -> Values:
    return {
        "token": login.token,
        "expires_at": json_time(login.expires_at),
        "refresh_token": login.refresh_token,
        "refresh_expires_at": json_time(login.refresh_expires_at),
        "session_id": login.session_id,
        **user_answer(login.user),
    }


def _token_answer(token: PersonalToken) -> dict[str, object]:
    return {
        "token_id": token.token_id,
        "name": token.name,
        "created_at": json_time(token.created_at),
        "expires_at": json_time(token.expires_at),
    }


def _session_answer(shown: ShownSession, request: Request) -> Values:
    session, used_at = shown.session, shown.last_used_at
    return {
        "session_id": session.session_id,
        "user_id": session.user_id,
        "username": shown.username,
        "created_at": json_time(session.created_at),
        "last_used_at": None if used_at is None else json_time(used_at),
        "expires_at": json_time(session.expires_at),
        "ip_address": session.ip_address,
        "user_agent": session.user_agent,
        "is_current": session.session_id == request.session_id,
    }


_USER = {
    "user_id": Field(str, "The account, as user.list names it", is_required=False),
    "username": Field(str, "Its name, in place of user_id", is_required=False),
}
_ROLE = "guest, pending, registered, trader or admin"
_OF_USER = (
    '"user_id", "username", "email", "role", "custom_roles", "subscription_tier",'
    ' "requested_tier", "attributes", "is_active", "created_at", "updated_at"'
)
_LOGIN = (
    '{"token", "expires_at", "refresh_token", "refresh_expires_at", "session_id",'
    " and what auth.whoami answers}"
)
_AS_LISTED = "the user, as in user.list"


def _of_users(
    description: str,
    act: Callable[[Accounts, User, Values], User],
    fields: Mapping[str, Field] | None = None,
) -> Shape:
    return Shape(
        description, Who.ADMIN, _administered(act), {**_USER, **(fields or {})}, _AS_LISTED
    )


ACCOUNT_ACTIONS: Mapping[str, Shape] = {
    "auth.register": Shape(
        "Ask for an account, which an administrator then approves",
        Who.ANYONE,
        _register,
        {
            "username": Field(str, "A letter, then letters, digits, '.', '_' or '-', 64 at most"),
            "email": Field(str, "E-mail address"),
            "password": Field(str, "8 to 1,024 bytes that nobody guesses"),
            "tier": Field(str, "The tier that is wished for", is_required=False),
        },
        _AS_LISTED,
    ),
    "auth.login": Shape(
        "Start a session, with a token for calls and one for going on",
        Who.ANYONE,
        _login,
        {"username": Field(str, "User name"), "password": Field(str, "Password")},
        _LOGIN,
    ),
    "auth.refresh": Shape(
        "Get new tokens for a session; each refresh token is good once",
        Who.ANYONE,
        _refresh,
        {"refresh_token": Field(str, "The newest refresh token of the session")},
        _LOGIN,
    ),
    "auth.logout": Shape("End this session", Who.SELF, _logout, answer='{"session_id", "status"}'),
    "auth.whoami": Shape(
        "Show one's own account",
        Who.SELF,
        _whoami,
        answer=f'{{{_OF_USER}, "session_id", "token_id"}}',
        effect=Effect.READ,
    ),
    "auth.change_password": Shape(
        "Change one's own password, and end one's other sessions",
        Who.SELF,
        _change_password,
        {"old": Field(str, "The password until now"), "new": Field(str, "The one from now on")},
        '{"sessions_ended"}',
    ),
    "token.create": Shape(
        "Make a personal access token; its text is shown this once",
        Who.SELF,
        _create_token,
        {
            "name": Field(str, "What it is for"),
            "expires_in_seconds": Field(int, "How long it is good; 30 days", is_required=False),
            "expires_at": Field(str, "Until when, in place of that", is_required=False),
        },
        '{"token_id", "name", "created_at", "expires_at", "token"}',
    ),
    "token.list": Shape(
        "List the personal access tokens that are good now",
        Who.SELF,
        _list_tokens,
        {"user": Field(str, "Whose, for administrators", is_required=False)},
        'for each {"token_id", "name", "created_at", "expires_at"}',
        effect=Effect.READ,
    ),
    "token.revoke": Shape(
        "End a personal access token, or one token of a session by its jti",
        Who.SELF,
        _revoke_token,
        {"token_id": Field(str, "The token, as token.list names it, or the jti")},
        '{"token_id", "status"}',
    ),
    "session.list": Shape(
        "List one's own sessions; all of them for administrators",
        Who.SELF,
        _list_sessions,
        {"user": Field(str, "Whose, for administrators", is_required=False)},
        'for each {"session_id", "user_id", "username", "created_at", "last_used_at",'
        ' "expires_at", "ip_address", "user_agent", "is_current"}',
        effect=Effect.READ,
    ),
    "session.kill": Shape(
        "End a session and what it holds",
        Who.SELF,
        _kill_session,
        {"session_id": Field(str, "The session, as session.list names it")},
        '{"session_id", "status"}',
    ),
    "user.list": Shape(
        "List all accounts",
        Who.ADMIN,
        _list_users,
        answer=f"for each {{{_OF_USER}}}",
        effect=Effect.READ,
    ),
    "user.approve": _of_users(
        "Open an account that waits for approval",
        _approve,
        {
            "role": Field(str, f"{_ROLE}; registered", is_required=False),
            "tier": Field(str, "Its tier", is_required=False),
        },
    ),
    "user.reject": _of_users(
        "Remove an account that waits for approval",
        lambda accounts, user, _: accounts.administration.reject(user),
    ),
    "user.disable": _of_users(
        "Let nobody in by an account, and end its sessions",
        lambda accounts, user, _: accounts.administration.disable(user),
    ),
    "user.enable": _of_users(
        "Let a disabled account be used again",
        lambda accounts, user, _: accounts.administration.enable(user),
    ),
    "user.set_role": _of_users(
        "Give an account another base role, and other custom roles",
        _set_role,
        {
            "role": Field(str, _ROLE),
            "custom_roles": Field(list, "All of them", is_required=False, elements=str),
        },
    ),
    "user.set_tier": _of_users(
        "Give an account another tier",
        lambda accounts, user, values: accounts.administration.set_tier(user, values["tier"]),
        {"tier": Field(str, "Its tier")},
    ),
    "user.set_attributes": _of_users(
        "Give an account these attributes, which row filters may ask for, and no others",
        _set_attributes,
        {"attributes": Field(dict, "Texts by name")},
    ),
}
