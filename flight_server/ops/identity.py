"""The settings of identity: accounts, keys, issuers of other systems' tokens, and tiers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from flight_server.auth.account_rules import (
    ADMIN,
    ATTRIBUTES_MAX,
    check_password,
    is_attribute_name,
)
from flight_server.errors import InvalidRequest
from flight_server.ops.sections import Section


class AdminSettings(Section):
    """The first administrator."""

    password: SecretStr | None = Field(
        default=None,
        description="Password of `admin`, used when the first start makes that user.",
        json_schema_extra={"default_text": "a random one, printed once"},
    )

    @field_validator("password")
    @classmethod
    def _strong_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                check_password(value.get_secret_value(), names=(ADMIN,))
            except InvalidRequest as error:
                raise ValueError(error.message) from None
        return value


class AuthSettings(Section):
    """How callers prove who they are."""

    secret: SecretStr | None = Field(
        default=None,
        description="Secret that signs tokens, at least 32 bytes.",
        json_schema_extra={"default_text": "made at first start, kept in the system folder"},
    )
    previous_secrets: tuple[SecretStr, ...] = Field(
        default=(),
        description="Secrets of earlier times whose tokens are still accepted; one may be the"
        " content of the file `secret.key` that the server made.",
    )
    signing_key: Path | None = Field(
        default=None,
        description="PEM file of an Ed25519 or RSA private key; it signs tokens in place of the"
        " secret.",
    )
    verification_keys: tuple[Path, ...] = Field(
        default=(), description="PEM files of more keys whose tokens are accepted."
    )
    algorithms: tuple[Literal["HS256", "EdDSA", "RS256"], ...] = Field(
        default=("HS256", "EdDSA", "RS256"),
        min_length=1,
        description="How tokens may be signed; keys for other algorithms are left out.",
    )
    token_seconds_max: int = Field(
        default=86_400, ge=60, le=31_536_000, description="Life of a token from the sign-in on."
    )
    issuer: str = Field(
        default="lakeflight", min_length=1, max_length=255, description="`iss` of tokens."
    )
    audience: str = Field(
        default="lakeflight", min_length=1, max_length=255, description="`aud` of tokens."
    )
    argon2_time_cost: int = Field(
        default=2, ge=1, le=100, description="argon2id passes over the memory."
    )
    argon2_memory_kib: int = Field(
        default=19_456, ge=8, le=4_194_304, description="argon2id memory for one hash, in KiB."
    )
    argon2_parallelism: int = Field(default=1, ge=1, le=64, description="argon2id lanes.")
    hashing_concurrent_max: int = Field(
        default=2, ge=1, le=64, description="Passwords that are hashed at the same time."
    )
    hashing_waiting_max: int = Field(
        default=200, ge=0, le=100_000, description="Sign-ins that wait for their turn to hash."
    )
    hashing_wait_seconds_max: float = Field(
        default=10.0, gt=0, le=300, description="How long a sign-in waits for its turn to hash."
    )
    password_bytes_max: int = Field(
        default=1024,
        ge=64,
        le=4096,
        description="Longest password looked at; longer ones are refused.",
    )

    refresh_seconds_max: int = Field(
        default=2_592_000,
        ge=60,
        le=31_536_000,
        description="How long a session may be prolonged by refresh tokens.",
    )
    personal_token_seconds_max: int = Field(
        default=31_536_000, ge=60, le=315_360_000, description="Longest life of a personal token."
    )
    personal_tokens_max: int = Field(
        default=100, ge=0, le=10_000, description="Live personal tokens of one user."
    )
    registration: bool = Field(
        default=True, description="Whether anybody may ask for an account by `auth.register`."
    )
    pending_max: int = Field(
        default=1000, ge=1, le=1_000_000, description="Accounts that wait for approval."
    )
    failures_max: int = Field(
        default=5, ge=1, le=1000, description="Failed sign-ins of one account before it must wait."
    )
    failures_per_address_max: int = Field(
        default=50, ge=1, le=100_000, description="The same of one address."
    )
    failure_seconds_max: int = Field(
        default=900, ge=1, le=86_400, description="How long failed sign-ins count."
    )

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError("the signing secret needs at least 32 bytes")
        return value

    @field_validator("previous_secrets")
    @classmethod
    def _all_long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            cls._long_enough(secret)
        return value

    @model_validator(mode="after")
    def _enough_memory_per_lane(self) -> Self:
        if self.argon2_memory_kib < 8 * self.argon2_parallelism:
            raise ValueError("argon2_memory_kib must be at least 8 times argon2_parallelism")
        return self


class IssuerSettings(Section):
    """Another system whose tokens are accepted: an OpenID Connect issuer."""

    issuer: str = Field(
        min_length=1, description="`iss` of its tokens; its configuration is found below this URL."
    )
    audience: str = Field(min_length=1, description="`aud` that its tokens for this server have.")
    jwks_uri: str | None = Field(
        default=None, description="Where its keys are, for an issuer without discovery."
    )
    algorithms: tuple[Literal["RS256", "ES256", "EdDSA"], ...] = Field(
        default=("RS256",), min_length=1, description="How its tokens may be signed."
    )
    username_claim: str = Field(
        default="preferred_username", min_length=1, description="Claim with the user name."
    )
    email_claim: str = Field(
        default="email", min_length=1, description="Claim with the e-mail address."
    )
    roles_claim: str | None = Field(
        default=None, description="Claim with one role or a list; dots lead into objects."
    )
    roles: dict[str, str] = Field(
        default_factory=dict,
        description="What its roles are here: base or custom roles; others are left out.",
    )
    default_role: Literal["guest", "pending", "registered", "trader"] = Field(
        default="pending", description="Base role of who has none by `roles`."
    )
    tier_claim: str | None = Field(default=None, description="Claim with the tier.")
    default_tier: str = Field(default="free", description="Tier of who has none by `tier_claim`.")
    attributes: dict[str, str] = Field(
        default_factory=dict,
        max_length=ATTRIBUTES_MAX,
        description="Attributes that its users have here, each with the claim that holds it.",
    )
    keys_seconds_max: int = Field(
        default=3600, ge=1, le=604_800, description="How long its keys are used without asking."
    )
    keys_offline_seconds_max: int = Field(
        default=86_400, ge=0, le=2_592_000, description="The same while it cannot be reached."
    )

    @field_validator("issuer", "jwks_uri")
    @classmethod
    def _is_protected(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            is_local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
            if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
                raise ValueError("an issuer is asked over https")
        return value

    @field_validator("attributes")
    @classmethod
    def _are_attributes(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not is_attribute_name(name):
                raise ValueError(
                    "the name of an attribute is a lower-case letter, then letters, digits, '_',"
                    " '.' or '-'"
                )
        return value

    @field_validator("roles")
    @classmethod
    def _are_roles(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value.values():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name):
                raise ValueError("a role is a lower-case letter, then letters, digits, '_' or '-'")
        return value


class TierSettings(Section):
    """What the users of one tier may use; a number that is not given is no limit."""

    requests_per_minute_max: int | None = Field(
        default=None, ge=1, description="Requests in 60 seconds."
    )
    queries_per_day_max: int | None = Field(
        default=None, ge=1, description="Queries and changes in one day of UTC."
    )
    concurrent_queries_max: int | None = Field(
        default=None, ge=1, description="Queries and changes of one user at the same time."
    )
    sessions_max: int | None = Field(
        default=None, ge=1, description="Signed-in sessions of one user."
    )


DEFAULT_TIERS = {
    "free": TierSettings(
        requests_per_minute_max=10,
        queries_per_day_max=100,
        concurrent_queries_max=2,
        sessions_max=10,
    ),
    "pro": TierSettings(
        requests_per_minute_max=100,
        queries_per_day_max=10_000,
        concurrent_queries_max=16,
        sessions_max=100,
    ),
    "pioneer": TierSettings(
        requests_per_minute_max=100,
        queries_per_day_max=10_000,
        concurrent_queries_max=16,
        sessions_max=100,
    ),
    "enterprise": TierSettings(),
}
