from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flight_server import errors
from flight_server.ops.sections import Section
from flight_server.ops.settings import (
    GrantSettings,
    IssuerSettings,
    Settings,
    TierSettings,
    debugging,
    inherited_environment,
    load,
)
from policies.names import Privilege
from policies.rules import Effect, Grant

SECRET = "a secret of at least thirty-two bytes"


def write(folder: Path, text: str) -> Path:
    path = folder / "lakeflight.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(
    config: Path | None = None,
    overrides: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
) -> str:
    with pytest.raises(errors.InvalidRequest) as caught:
        load(config, overrides or {}, environ=environ or {})
    assert caught.value.code == "invalid_settings"
    return str(caught.value)


def test_nothing_at_all_gives_the_documented_defaults() -> None:
    settings = load(None, {}, environ={})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 31337)
    assert settings.limits.batch_bytes_max == 3_670_016
    assert settings.limits.result_bytes_max == 64 * 1024**3
    assert settings.workers.count_min == 1
    assert settings.workers.count_max == 4 * settings.workers.target_partitions
    assert settings.auth.argon2_memory_kib == 19 * 1024
    assert settings.origin("server.port") == "default"


def test_later_wins_and_the_origin_is_known(tmp_path: Path) -> None:
    config = write(tmp_path, "[server]\nport = 1\nhost = 'a'\n[log]\nlevel = 'debug'\n")
    environ = {"LAKEFLIGHT_SERVER__PORT": "2", "LAKEFLIGHT_SERVER__HOST": ""}
    settings = load(config, {"server.port": 3, "server.host": None}, environ=environ)
    assert (settings.server.port, settings.server.host, settings.log.level) == (3, "a", "DEBUG")
    assert settings.origin("server.port") == "flag"
    assert settings.origin("server.host") == "file lakeflight.toml"
    assert (
        load(config, {}, environ=environ).origin("server.port")
        == "environment LAKEFLIGHT_SERVER__PORT"
    )
    assert load(None, {}, environ={"LAKEFLIGHT_CONFIG": str(config)}).server.port == 1


def test_the_names_of_the_forerunners_work_and_ours_win() -> None:
    environ = {
        "LAKEHOUSE_PATH": "/state",
        "DELTA_DATA_ROOT": "/data",
        "POLARWAY_JWT_SECRET": SECRET,
    }
    settings = load(None, {}, environ=environ)
    assert settings.storage.system_path == Path("/state")
    assert settings.storage.primary_path == Path("/data")
    assert settings.auth.secret is not None
    assert settings.auth.secret.get_secret_value() == SECRET
    assert load(None, {}, environ={"DELTA_DATA_ROOT": "/data"}).storage.system_path == Path(
        "/data/.lakeflight"
    )
    ours = load(None, {}, environ={**environ, "LAKEFLIGHT_STORAGE__PRIMARY": "/ours"})
    assert ours.storage.primary == "/ours"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1", "server.prot: no such setting; did you mean server.port?"),
        ("[sever]\nport = 1", "sever: no such setting; did you mean server?"),
        ("port = 1", "port: no such setting"),
        ("[server]\nport = 99999", "server.port: Input should be less than or equal to 65535"),
        ("[server]\nport = -1", "server.port"),
        ("[server]\ntls_key = 'k'", "tls_certificate and tls_key are set together"),
        ("[server]\ndrain_seconds_max = nan", "server.drain_seconds_max"),
        ("[limits]\nbatch_bytes_target = '3 MiB'\nbatch_bytes_max = '2 MiB'", "not be above"),
        ("[limits]\nbatch_bytes_max = '4 MiB'", "limits.batch_bytes_max"),
        ("[limits]\nresult_bytes_max = 'plenty'", "a size is a number of bytes"),
        ("[workers]\ncount_min = 5\ncount_max = 4", "count_min must not be above count_max"),
        ("[auth]\nargon2_parallelism = 4\nargon2_memory_kib = 16", "argon2_memory_kib"),
        ("[storage]\nprimary = 'ftp://x'", "a location is a folder or a URI of"),
        ("[storage]\nsystem = 's3://x'", "must lie in a local folder"),
        ("[storage.buckets]\nprimary = 'x'", "'primary' is taken"),
        ("[storage.buckets]\n'a:b' = 'x'\na_b = 'y'", "is taken"),
        ("[storage.buckets]\n'A' = 'x'", "bucket name 'A'"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("[[grants]]\nprivilege = 'read'\nresource = 'primary'", "exactly one of user and role"),
        (
            "[[grants]]\nprivilege = 'read'\nresource = 'primary'\nuser = 'a'\nrole = 'b'",
            "exactly one of user and role",
        ),
        ("[[grants]]\nprivilege = 'raed'\nresource = 'primary'\nuser = 'a'", "grants[0].privilege"),
        (
            "[[grants]]\nprivilege = 'read'\nresource = 'primary'\nrol = 'a'",
            "grants[0].rol: no such setting; did you mean grants.role?",
        ),
        (
            "[[grants]]\neffect = 'deny'\nprivilege = 'read'\nresource = 'primry.x'\nuser = 'a'",
            "there is no bucket 'primry'; did you mean primary?",
        ),
        ("[[grants]]\nprivilege='read'\nresource='primary.a.b.c'\nuser='a'", "a resource is"),
        ("[[grants]]\nprivilege='read'\nresource='primary.'\nuser='a'", "a resource is"),
        ("[[grants]]\nprivilege='read'\nresource='primary..a'\nuser='a'", "a resource is"),
        (
            "[[grants]]\nprivilege='read'\nresource='primary.a'\nuser='a'\ncolumns=['b']",
            "one table",
        ),
        ("[[grants]]\nprivilege='read'\nresource='primary'\nuser='a'\npurposes=['b']", "purposes"),
        ("[server\n", "lakeflight.toml"),
    ],
)
def test_wrong_files_are_refused_with_the_key(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LAKEFLIGHT_SERVER_PORT", "1", "did you mean LAKEFLIGHT_SERVER__PORT?"),
        ("LAKEFLIGHT_SERVER__PROT", "1", "did you mean LAKEFLIGHT_SERVER__PORT?"),
        ("LAKEFLIGHT_SERVER__PORT", "http", "environment LAKEFLIGHT_SERVER__PORT"),
        ("LAKEFLIGHT_GRANTS", "{", "LAKEFLIGHT_GRANTS: is not JSON"),
        ("LAKEFLIGHT_GRANTS", "3", "grants"),
        ("LAKEFLIGHT_STORAGE__BUCKETS", "[]", "storage.buckets"),
        ("LAKEFLIGHT_STORAGE__BUCKETS__A__B", "/x", "bucket name 'a.b'"),
    ],
)
def test_wrong_variables_are_refused_by_name(name: str, value: str, expected: str) -> None:
    assert expected in refused(environ={name: value})


@pytest.mark.parametrize(
    "environ",
    [
        {"LAKEFLIGHT_ADMIN__PASSWORD": "hunter2"},
        {"LAKEFLIGHT_AUTH__SECRET": "hunter2"},
        {"POLARWAY_JWT_SECRET": "hunter2"},
        {"LAKEFLIGHT_GRANTS": "hunter2"},
        {"LAKEFLIGHT_SERVER__PORT": "hunter2"},
    ],
)
def test_a_refusal_never_shows_a_value(environ: dict[str, str]) -> None:
    message = refused(environ=environ)
    assert "hunter2" not in message
    assert next(iter(environ)) in message


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_setting() -> None:
    load(
        None,
        {},
        environ={
            "LAKEFLIGHT_SERVICE_HOST": "10.0.0.1",
            "LAKEFLIGHT_SERVICE_PORT": "31337",
            "LAKEFLIGHT_SERVICE_PORT_GRPC": "31337",
            "LAKEFLIGHT_PORT": "tcp://10.0.0.1:31337",
            "LAKEFLIGHT_PORT_31337_TCP": "tcp://10.0.0.1:31337",
            "LAKEFLIGHT_PORT_31337_TCP_ADDR": "10.0.0.1",
        },
    )


def test_wrong_overrides_are_refused() -> None:
    assert "nosuch: no such setting" in refused(overrides={"nosuch.key": 1})
    assert "section" in refused(overrides={"server": 3, "server.port": 1})
    assert "section" in refused(overrides={"server.port": 1, "server": 3})


def test_secrets_show_nowhere() -> None:
    settings = load(None, {"auth.secret": SECRET, "admin.password": "hunter2-hunter2"}, environ={})
    shown = repr(settings) + str(list(settings.entries())) + settings.model_dump_json()
    assert SECRET not in shown
    assert "hunter2" not in shown
    assert ("auth.secret", "***", "flag") in list(settings.entries())


def test_paths_in_the_file_start_at_the_file(tmp_path: Path) -> None:
    config = write(tmp_path, "[storage]\nprimary = 'lake'\nbuckets = {'b' = 'b', 's' = 's3://x/y'}")
    storage = load(config, {}, environ={}).storage
    assert storage.primary == str(tmp_path / "lake")
    assert storage.buckets == {"b": str(tmp_path / "b"), "s": "s3://x/y"}
    assert load(None, {"storage.primary": "lake"}, environ={}).storage.primary == "lake"


def test_buckets_come_from_several_places(tmp_path: Path) -> None:
    config = write(tmp_path, "[storage.buckets]\na = '/file'\nb = '/file'")
    environ = {"LAKEFLIGHT_STORAGE__BUCKETS__B": "/env"}
    as_json = {"LAKEFLIGHT_STORAGE__BUCKETS": '{"profile:user": "/json"}'}
    settings = load(config, {"storage.buckets": {"c": "/flag"}}, environ={**environ, **as_json})
    assert settings.storage.buckets == {
        "a": "/file",
        "b": "/env",
        "profile:user": "/json",
        "c": "/flag",
    }


def test_where_the_server_keeps_its_state() -> None:
    def storage(**values: str) -> Any:
        return load(
            None, {f"storage.{key}": value for key, value in values.items()}, environ={}
        ).storage

    assert storage(primary="file:///a%20b/c").system_path == Path("/a b/c/.lakeflight")
    assert storage(primary="s3://a/b", system="file:///x%20y").system_path == Path("/x y")
    with pytest.raises(errors.InvalidRequest, match=r"storage\.system"):
        _ = storage(primary="s3://a/b").system_path
    with pytest.raises(errors.InvalidRequest, match="no lakehouse"):
        _ = storage().system_path


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", 1024), ("1 MiB", 1024**2), ("1.5MiB", 1_572_864), ("2 gib", 2 * 1024**3)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    environ = {"LAKEFLIGHT_LIMITS__SQL_BYTES_MAX": text}
    if size > 16 * 1024**2:
        environ = {"LAKEFLIGHT_WORKERS__MEMORY_BYTES_MAX": text}
        assert load(None, {}, environ=environ).workers.memory_bytes_max == size
    else:
        assert load(None, {}, environ=environ).limits.sql_bytes_max == size


GRANTS = """
[storage.buckets]
"profile:user" = "/x"
[[grants]]
privilege = "read"
resource = "primary.tpch"
role = "registered"
[[grants]]
privilege = "write"
resource = 'profile:user.s."a.b"'
user = "alice"
effect = "deny"
"""


def test_grants_of_the_settings_may_be_on_columns_and_for_purposes(tmp_path: Path) -> None:
    config = tmp_path / "lakeflight.toml"
    config.write_text(
        "[[grants]]\nprivilege = 'read'\nresource = 'primary.a.b'\nrole = 'intern'\n"
        "columns = ['y', 'x']\npurposes = ['research']\n"
    )
    (grant,) = load(config, {}, environ={}).policy_book().grants
    assert (grant.columns, grant.purposes) == (("x", "y"), frozenset({"research"}))


def test_grants_become_a_policy_book(tmp_path: Path) -> None:
    book = load(write(tmp_path, GRANTS), {}, environ={}).policy_book()
    assert book.grants == (
        Grant(Privilege.READ, ("primary", "tpch"), role="registered"),
        Grant(Privilege.WRITE, ("profile_user", "s", "a.b"), user="alice", effect=Effect.DENY),
    )


def test_the_version_of_the_book_is_that_of_its_content(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GRANTS), {}, environ={})
    turned = settings.model_copy(update={"grants": settings.grants[::-1]})
    fewer = settings.model_copy(update={"grants": settings.grants[:1]})
    versions = [each.policy_book().version for each in (settings, turned, fewer)]
    assert versions[0] == versions[1] != versions[2]
    assert load(None, {}, environ={}).policy_book().grants == ()


def test_every_setting_has_a_meaning_and_a_limit_names_its_bound() -> None:
    sections: dict[str, type[Section]] = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    sections |= {"issuers": IssuerSettings, "tiers": TierSettings, "grants": GrantSettings}
    assert sections.keys() == Settings.model_fields.keys()
    for name, section in sections.items():
        for key, inner in section.model_fields.items():
            assert inner.description, f"{name}.{key}"
            if inner.annotation in (int, float):
                assert inner.metadata, f"{name}.{key} has no bounds"
    assert len(list(load(None, {}, environ={}).entries())) > 60


def test_processes_of_the_server_inherit_no_secret() -> None:
    environ = {
        "PATH": "/bin",
        "AWS_REGION": "x",
        "LAKEFLIGHT_ADMIN__PASSWORD": "p",
        "POLARWAY_JWT_SECRET": "s",
    }
    assert inherited_environment(environ) == {"PATH": "/bin", "AWS_REGION": "x"}


def test_debugging_follows_the_variable() -> None:
    assert debugging({"LAKEFLIGHT_LOG__LEVEL": "debug"})
    assert not debugging({})


def test_a_deny_on_a_bucket_with_a_dash_is_a_deny_on_its_catalog() -> None:
    settings = load(
        None,
        {
            "storage.buckets": {"my-data": "/somewhere"},
            "grants": [
                {"privilege": "read", "resource": "my-data", "user": "ann", "effect": "deny"}
            ],
        },
        environ={},
    )
    assert settings.policy_book().grants[0].resource == ("my_data",)


def test_a_tier_that_is_set_in_part_keeps_the_usual_numbers(tmp_path: Path) -> None:
    text = "[tiers.free]\nrequests_per_minute_max = 30\n[tiers.lab]\nsessions_max = 3\n"
    tiers = load(write(tmp_path, text), {}, environ={}).all_tiers
    assert tiers["free"] == TierSettings(
        requests_per_minute_max=30,
        queries_per_day_max=100,
        concurrent_queries_max=2,
        sessions_max=10,
    )
    assert tiers["lab"] == TierSettings(sessions_max=3)
    assert tiers["enterprise"] == TierSettings()


def test_an_issuer_is_read_from_the_file_and_from_the_environment(tmp_path: Path) -> None:
    text = '[issuers.company]\nissuer = "https://login.example.com"\naudience = "lakeflight"\n'
    assert load(write(tmp_path, text), {}, environ={}).issuers["company"].algorithms == ("RS256",)
    variable = {"LAKEFLIGHT_ISSUERS": '{"a": {"issuer": "https://a.example", "audience": "x"}}'}
    assert load(None, {}, environ=variable).issuers["a"].audience == "x"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('issuer = "http://login.example.com"\naudience = "x"', "https"),
        ('issuer = "https://a.example"\naudience = "x"\nalgorithms = ["none"]', "algorithms"),
        ('issuer = "https://a.example"\naudience = "x"\ndefault_role = "admin"', "default_role"),
        ('issuer = "https://a.example"\naudience = "x"\ndefault_tier = "gold"', "gold"),
        ('audience = "x"', "issuer"),
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused(tmp_path: Path, text: str, word: str) -> None:
    assert word in refused(write(tmp_path, f"[issuers.company]\n{text}\n"))


def test_a_read_only_server_keeps_a_state_of_its_own() -> None:
    both = {"storage.primary": "/lake"}
    assert load(None, both, environ={}).storage.state_path == Path("/lake/.lakeflight")
    reader = load(None, {**both, "storage.read_only": True}, environ={}).storage
    assert reader.state_path == Path("/lake/.lakeflight/_reader")
