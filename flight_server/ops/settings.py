"""Reads the settings once, from one TOML file, the environment and flags; later wins.

The only module that looks at the environment. Every setting ``section.key`` is the variable
``LAKEFLIGHT_SECTION__KEY``; an empty variable counts as not set.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from flight_server.errors import InvalidRequest
from flight_server.ops.grants import GrantSettings, PolicySettings, policy_book
from flight_server.ops.identity import (
    DEFAULT_TIERS,
    AdminSettings,
    AuthSettings,
    IssuerSettings,
    TierSettings,
)
from flight_server.ops.sections import (
    LimitSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    Section,
    ServerSettings,
    StorageSettings,
    WorkerSettings,
)
from flight_server.ops.watching import AuditSettings, TelemetrySettings, WhenUnwritable
from flight_server.storage.locations import catalog_name
from policies.book import PolicyBook

__all__ = [
    "AdminSettings",
    "AuditSettings",
    "AuthSettings",
    "GrantSettings",
    "IssuerSettings",
    "LimitSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "PolicySettings",
    "ServerSettings",
    "Settings",
    "StorageSettings",
    "TelemetrySettings",
    "TierSettings",
    "WhenUnwritable",
    "WorkerSettings",
    "client_password",
    "debugging",
    "inherited_environment",
    "load",
    "variable",
]

PREFIX = "LAKEFLIGHT_"
CONFIG_VARIABLE = "LAKEFLIGHT_CONFIG"
# Read by the client alone; not a setting of the server, nor a mistake in one.
CLIENT_PASSWORD_VARIABLE = "LAKEFLIGHT_PASSWORD"  # noqa: S105 - the name of a variable
_NOT_SETTINGS = frozenset({CONFIG_VARIABLE, CLIENT_PASSWORD_VARIABLE})
# Names that deployments of the server's forerunners already set; ours win over them.
OTHER_VARIABLES = {
    "LAKEHOUSE_PATH": "storage.system",
    "DELTA_DATA_ROOT": "storage.primary",
    "POLARWAY_JWT_SECRET": "auth.secret",
}
# Kubernetes sets these for a service that is called "lakeflight"; they are not settings.
_KUBERNETES = re.compile(r"(SERVICE_(HOST|PORT)|PORT)(_.*)?")
_PATHS = frozenset(
    {
        "server.tls_certificate",
        "server.tls_key",
        "server.tls_client_authorities",
        "auth.signing_key",
        "storage.primary",
        "storage.system",
        "storage.state",
        "workers.spill_directory",
    }
)
_BUCKETS = "storage.buckets"
# Lists of files: each is a path like those above.
_PATH_LISTS = frozenset({"auth.verification_keys"})
_AS_JSON = frozenset(
    {
        "grants",
        "issuers",
        "tiers",
        "auth.algorithms",
        "auth.previous_secrets",
        "auth.verification_keys",
        _BUCKETS,
    }
)


class Settings(Section):
    """Everything that can be configured, validated and frozen."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    policies: PolicySettings = Field(default_factory=PolicySettings)
    issuers: dict[str, IssuerSettings] = Field(
        default_factory=dict, description="Other systems whose tokens are accepted."
    )
    tiers: dict[str, TierSettings] = Field(
        default_factory=dict, description="What users may use, by tier."
    )
    grants: tuple[GrantSettings, ...] = Field(
        default=(), description="Who may do what, always; more by the action grant.add."
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _grants_name_buckets(self) -> Self:
        # A deny on a bucket that does not exist protects nothing, and looks as if it did.
        known = self.bucket_names
        for grant in self.grants:
            bucket = grant.as_grant().resource[0]
            if bucket not in known:
                raise ValueError(
                    f"grants: there is no bucket {bucket!r}{_nearest(bucket, sorted(known))}"
                )
        return self

    @model_validator(mode="after")
    def _issuers_give_tiers(self) -> Self:
        for name, issuer in self.issuers.items():
            if issuer.default_tier not in self.all_tiers:
                raise ValueError(f"issuers: there is no tier {issuer.default_tier!r} ({name})")
        return self

    @property
    def bucket_names(self) -> frozenset[str]:
        """The catalog names of all buckets, the server's own included."""
        return frozenset({"primary", "system", *map(catalog_name, self.storage.buckets)})

    @property
    def all_tiers(self) -> dict[str, TierSettings]:
        """Every tier by name: the usual ones, each replaced by what is configured under its name.

        A tier that is configured in part keeps the usual numbers for the rest.
        """
        tiers = dict(DEFAULT_TIERS)
        for name, tier in self.tiers.items():
            usual = tiers.get(name, TierSettings())
            tiers[name] = usual.model_copy(update=tier.model_dump(exclude_unset=True))
        return tiers

    def policy_book(self) -> PolicyBook:
        """Return the configured grants; the book's version is their digest."""
        return policy_book(self.grants)

    def with_state(self, folder: Path) -> Self:
        """Return the same settings with this folder as ``storage.state``."""
        storage = self.storage.model_copy(update={"state": folder})
        return self.model_copy(update={"storage": storage})

    def origin(self, key: str) -> str:
        """Where the value of ``section.key`` came from: ``default``, a file, a variable, a flag."""
        return self._origins.get(key, "default")

    def entries(self) -> Iterator[tuple[str, object, str]]:
        """Yield (``section.key``, value, origin) of every setting; secrets are ``***``."""
        for name, section in self:
            if not isinstance(section, Section):
                yield name, section, self.origin(name)
                continue
            for key, value in section:
                shown = "***" if _is_secret(value) else value
                yield f"{name}.{key}", shown, self.origin(f"{name}.{key}")


def _is_secret(value: object) -> bool:
    held = value if isinstance(value, tuple) else (value,)
    return any(isinstance(each, SecretStr) for each in held)


def variable(key: str) -> str:
    """Return the environment variable of ``section.key``."""
    return PREFIX + key.replace(".", "__").upper()


def debugging(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the environment asks for the log level DEBUG; never fails."""
    variables = os.environ if environ is None else environ
    return variables.get(variable("log.level"), "").upper() == LogLevel.DEBUG


def inherited_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what processes started by the server may see: everything but its own settings.

    Those may hold secrets, and a worker gets what it needs over its channel.
    """
    variables = os.environ if environ is None else environ
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(PREFIX) and name not in OTHER_VARIABLES
    }


def client_password(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the password with which `lakeflight sql` signs in; None when it is not set."""
    variables = os.environ if environ is None else environ
    return variables.get(CLIENT_PASSWORD_VARIABLE) or None


def load(
    config_file: Path | None,
    overrides: Mapping[str, object],
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the effective settings.

    ``overrides`` are flags by dotted key (``{"server.port": 0}``); None means not given.
    ``environ`` defaults to the process's own; its LAKEFLIGHT_CONFIG names the file when
    ``config_file`` is None. Raises InvalidRequest that names each wrong key and where it was set,
    and never shows a value.
    """
    variables = dict(os.environ if environ is None else environ)
    if config_file is None and variables.get(CONFIG_VARIABLE):
        config_file = Path(variables[CONFIG_VARIABLE])
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for key, value, origin in (
        *(_from_file(config_file) if config_file is not None else ()),
        *_from_environment(variables),
        *_flat(overrides, "flag"),
    ):
        # One bucket may come from the file and another from the environment; grants are
        # replaced as a whole.
        values[key] = value
        origins[key] = origin
    try:
        settings = Settings.model_validate(_nested(values))
    except ValidationError as error:
        raise InvalidRequest(_explain(error, origins), code="invalid_settings") from None
    settings._origins.update(origins)  # noqa: SLF001 - our own class; pydantic fills no private field from data
    if any(key.startswith(f"{_BUCKETS}.") for key in origins):
        settings._origins[_BUCKETS] = "see each"  # noqa: SLF001 - as above
    return settings


def _from_file(path: Path) -> Iterator[tuple[str, object, str]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(f"{path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError:
        raise _invalid(f"{path}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # The parser's text may quote the character that it met, never a whole value.
        raise _invalid(f"{path}: {error}") from None
    for key, value, origin in _flat(document, f"file {path.name}"):
        is_path = key in _PATHS or key.startswith(f"{_BUCKETS}.")
        if is_path and isinstance(value, str) and value and "://" not in value:
            yield key, str(path.absolute().parent / value), origin
        elif key in _PATH_LISTS and isinstance(value, list):
            folder = path.absolute().parent
            yield key, [str(folder / each) for each in value], origin
        else:
            yield key, value, origin


def _from_environment(variables: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    for name, key in OTHER_VARIABLES.items():
        if variables.get(name):
            yield key, variables[name], f"environment {name}"
    known = _keys()
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS or not variables[name]:
            continue
        rest = name.removeprefix(PREFIX)
        key = rest.lower().replace("__", ".")
        if key in _AS_JSON:
            yield from _flat({key: _json(name, variables[name])}, f"environment {name}")
        elif key in known or key.startswith(f"{_BUCKETS}."):
            yield key, variables[name], f"environment {name}"
        elif not _KUBERNETES.fullmatch(rest):
            nearest = _nearest(name, [variable(key) for key in known])
            raise _invalid(f"{name}: no such setting{nearest}")


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise _invalid(f"{name}: is not JSON") from None


def _flat(values: Mapping[str, object], origin: str) -> Iterator[tuple[str, object, str]]:
    """Yield dotted keys down to ``section.key``, and below it for the names of buckets."""
    for name, value in values.items():
        is_group = isinstance(value, Mapping) and (name == _BUCKETS or name.count(".") == 0)
        if isinstance(value, Mapping) and is_group and name != "grants":
            inner = {f"{name}.{key}": item for key, item in value.items()}
            yield from _flat(inner, origin)
        elif value is not None:
            yield name, value, origin


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        # A bucket's name may hold anything but is always the last part.
        *groups, leaf = key.split(".", 2)
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise _invalid(f"{group}: is a section, not a value")
        if leaf in node and isinstance(node[leaf], dict):
            raise _invalid(f"{leaf}: is a section, not a value")
        node[leaf] = value
    return tree


def _keys() -> list[str]:
    keys: list[str] = []
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            keys.extend(f"{name}.{key}" for key in kind.model_fields)
        else:
            keys.append(name)
    return keys


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    problems = [
        _explain_one(detail, origins)
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
        if detail["type"] != "default_factory_not_called"  # follows from another problem
    ]
    return "; ".join(dict.fromkeys(problems))


def _explain_one(detail: ErrorDetails, origins: Mapping[str, str]) -> str:
    key = ""
    for part in detail["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    base = key.partition("[")[0]
    origin = f" ({origins[base]})" if base in origins else ""
    if detail["type"] == "extra_forbidden":
        nearest = _nearest(re.sub(r"\[\d+\]", "", key), _known_beside(key))
        return f"{key}: no such setting{nearest}{origin}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message}{origin}" if key else message


def _known_beside(key: str) -> list[str]:
    if not key.startswith("grants["):
        return [*_keys(), *Settings.model_fields]
    return [f"grants.{name}" for name in GrantSettings.model_fields]


def _nearest(name: str, candidates: list[str]) -> str:
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_settings")
