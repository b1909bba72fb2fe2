"""Purposes over the wire: who may state which, what each of them shows, and who has agreed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pytest

from flight_server.protocol import commands, flight
from policies.purposes import PURPOSES
from tests.lakehouse import write
from tests.servers import Server, running, wait_until
from tests.wire.raw import RawClient, error_code, refused
from tests.wire.test_sessions import get_options, set_options

PASSWORD = "quite another horse"
OPTION = "adbc.flight.sql.session.option.purpose"
HEADER = "adbc.flight.sql.rpc.call_header.x-lakehouse-purpose"
AGREED = ("p00", "p01", "p02", "p03", "p04")
COLUMNS = "user_id, source_ip, device_info, data_content"
FIRST = f"SELECT {COLUMNS} FROM study.visits WHERE n = 0"
WHOLE = {
    "user_id": "p00", "source_ip": "203.0.113.7", "device_info": "HIDDENDEVICE",
    "data_content": "pulse 70",
}  # fmt: skip
NOBODY = {**WHOLE, "user_id": None, "source_ip": "203.0.113.0/24", "device_info": None}
SHOWN: Mapping[str, Mapping[str, object]] = {
    "research": NOBODY,
    "machine_learning": NOBODY,
    "user_view": {**NOBODY, "user_id": "p00"},
    "provider_access": {**WHOLE, "source_ip": "203.0.113.0/24"},
    "data_sync": WHOLE,
    "admin": WHOLE,
}
ENDLESS = "SELECT a.* FROM study.visits a" + "".join(
    f" CROSS JOIN study.visits b{number}" for number in range(5)
)
_numbers = itertools.count()


def visits() -> pa.Table:
    """Twenty people with three visits each, and three visits of nobody."""
    people: list[str | None] = [f"p{n // 3:02}" for n in range(60)]
    count = len(people) + 3
    return pa.table(
        {
            "n": pa.array(range(count), pa.int64()),
            "user_id": [*people, None, None, None],
            "source_ip": ["203.0.113.7"] * count,
            "device_info": ["HIDDENDEVICE"] * count,
            "data_content": [f"pulse {70 + n % 5}" for n in range(count)],
            "ward": ["north" if n < 21 else "south" for n in range(count)],
        }
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("purposes")
    write(directory / "study" / "visits", visits())
    renamed = ["n", "patient", "seen_from", "phone", "said", "ward"]
    write(directory / "study" / "labelled", visits().rename_columns(renamed))
    with running(directory, environment={"LAKEFLIGHT_POLICIES__GROUP_ROWS_MIN": "12"}) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        for person in AGREED:
            for purpose in ("research", "machine_learning"):
                client.call("consent.set", subject=person, purposes=[purpose], given=True)
        for number in range(20):
            client.call("consent.set", subject=f"p{number:02}", purposes=["analytics"], given=True)
        yield client


def new_user(admin: RawClient) -> str:
    name = f"user{next(_numbers)}"
    admin.call("auth.register", username=name, email=f"{name}@example.com", password=PASSWORD)
    admin.call("user.approve", username=name, role="registered", tier="enterprise")
    return name


def grant(admin: RawClient, user: str, *purposes: str, privilege: str = "read") -> str:
    """Let a user do something, for some purposes or whatever for; return the id of the grant."""
    more = {"purposes": list(purposes)} if purposes else {}
    (answer,) = admin.call(
        "grant.add", privilege=privilege, resource="primary.study", to={"user": user}, **more
    )
    return str(answer["grant_id"])


def rows(client: RawClient, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.fetch(sql).to_pylist()
    return found


# Who may state what


def test_only_what_a_grant_is_for_may_be_stated(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user)
    grant(admin, user, "research", "user_view")
    for purpose in PURPOSES:
        with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose=purpose) as client:
            if purpose in ("research", "user_view"):
                assert rows(client, FIRST) == [SHOWN[purpose]]
                continue
            assert refused(lambda: client.fetch(FIRST)) == "purpose_denied"
            assert refused(lambda: client.fetch("SELECT 1")) == "purpose_denied"
            assert refused(lambda: client.call("audit.activity")) == "purpose_denied"
    with RawClient.connect(own, user, PASSWORD) as client:
        assert rows(client, FIRST) == [WHOLE]
        assert set_options(client, purpose="analytics") == {"purpose": "ERROR"}
        assert set_options(client, purpose="marketing") == {"purpose": "INVALID_VALUE"}
        assert refused(lambda: client.fetch("SET purpose = 'analytics'")) == "purpose_denied"
        assert refused(lambda: client.fetch("SET purpose = 'marketing'")) == "invalid_request"
        assert rows(client, FIRST) == [WHOLE]
        client.fetch("SET purpose = 'user_view'")
        assert rows(client, FIRST) == [SHOWN["user_view"]]
        client.fetch("RESET purpose")
        assert rows(client, FIRST) == [WHOLE]


def test_there_are_no_others(own: Server, admin: RawClient) -> None:
    with RawClient.connect(own, x_lakehouse_purpose="marketing") as client:
        assert refused(lambda: client.fetch(FIRST)) == "invalid_request"
    for purpose in SHOWN:
        with RawClient.connect(own, x_lakehouse_purpose=purpose) as client:
            assert rows(client, FIRST) == [SHOWN[purpose]]
    assert rows(admin, FIRST) == [WHOLE]


@pytest.mark.parametrize("purpose", SHOWN)
def test_the_driver_states_it_by_option_or_by_header(
    own: Server, admin: RawClient, purpose: str
) -> None:
    user = new_user(admin)
    grant(admin, user, purpose)
    stated = own.connect(user, PASSWORD, **{HEADER: purpose})
    with stated as connection, connection.cursor() as cursor:
        cursor.execute(FIRST)
        assert cursor.fetch_arrow_table().to_pylist() == [SHOWN[purpose]]
    with own.connect(user, PASSWORD) as connection, connection.cursor() as cursor:
        with pytest.raises(flightsql.Error) as raised:
            cursor.execute(FIRST)
        assert error_code(raised.value) == "bucket_not_found"
        connection.adbc_connection.set_options(**{OPTION: purpose})
        cursor.execute(FIRST)
        assert cursor.fetch_arrow_table().to_pylist() == [SHOWN[purpose]]
        other = "admin" if purpose != "admin" else "data_sync"
        with pytest.raises(flightsql.Error):
            connection.adbc_connection.set_options(**{OPTION: other})
        assert connection.adbc_connection.get_option(OPTION) == purpose


def test_a_grant_for_a_purpose_shows_nothing_without_it(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user, "data_sync")
    tables = commands.GetTables("primary", None, None, (), include_schema=True)
    with RawClient.connect(own, user, PASSWORD) as client:
        assert refused(lambda: client.fetch(FIRST)) == "bucket_not_found"
        assert client.fetch(tables).num_rows == 0
        assert set_options(client, purpose="data_sync") == {}
        (endpoint,) = client.info(FIRST).endpoints
        handle = client.prepare(FIRST).prepared_statement_handle
        prepared = commands.PreparedStatementQuery(handle)
        assert client.read(endpoint.ticket).to_pylist() == [WHOLE]
        assert client.fetch(prepared).to_pylist() == [WHOLE]
        assert client.fetch(tables).num_rows > 0
        assert set_options(client, purpose=None) == {}
        for attempt in (
            lambda: client.read(endpoint.ticket),
            lambda: client.fetch(prepared),
            lambda: client.fetch(FIRST),
        ):
            assert refused(attempt) == "bucket_not_found"
        assert client.fetch(tables).num_rows == 0


def test_a_purpose_that_was_withdrawn_stops_the_next_call(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user)
    given = grant(admin, user, "data_sync")
    with RawClient.connect(own, user, PASSWORD) as client:
        set_options(client, purpose="data_sync")
        (endpoint,) = client.info(FIRST).endpoints
        assert rows(client, FIRST) == [WHOLE]
        admin.call("grant.remove", grant_id=given)
        assert refused(lambda: client.fetch(FIRST)) == "purpose_denied"
        assert refused(lambda: client.read(endpoint.ticket)) == "purpose_denied"
        # The way out.
        assert "purpose" not in get_options(client)
        (who,) = client.call("auth.whoami")
        assert who["username"] == user
        assert set_options(client, purpose=None) == {}
        assert rows(client, FIRST) == [WHOLE]
        client.act(flight.CloseSession())


def test_a_stream_ends_when_its_purpose_is_withdrawn(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user)
    given = grant(admin, user, "data_sync")
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="data_sync") as client:
        (endpoint,) = client.info(ENDLESS).endpoints
        reader = client.open(endpoint.ticket)
        assert reader.read_chunk().data.num_rows
        admin.call("grant.remove", grant_id=given)

        def read_on() -> None:
            while True:
                reader.read_chunk()

        assert refused(read_on) == "purpose_denied"
    wait_until(lambda: user not in {each["username"] for each in admin.call("query.list")})


# What a purpose shows


def test_a_ticket_shows_what_the_purpose_of_its_user_shows(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user, "data_sync", "user_view", "analytics")
    with RawClient.connect(own, user, PASSWORD) as client:
        set_options(client, purpose="data_sync")
        (endpoint,) = client.info(FIRST).endpoints
        prepared = commands.PreparedStatementQuery(client.prepare(FIRST).prepared_statement_handle)
        for purpose in ("user_view", "data_sync", "user_view"):
            set_options(client, purpose=purpose)
            assert client.read(endpoint.ticket).to_pylist() == [SHOWN[purpose]]
            assert client.fetch(prepared).to_pylist() == [SHOWN[purpose]]
            assert rows(client, FIRST) == [SHOWN[purpose]]
        set_options(client, purpose="analytics")
        for attempt in (
            lambda: client.read(endpoint.ticket),
            lambda: client.fetch(prepared),
            lambda: client.fetch(FIRST),
        ):
            assert refused(attempt) == "aggregates_only"


def test_labels_say_what_columns_tell(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user, "research", "user_view")
    first = "SELECT patient, seen_from, phone, said FROM study.labelled WHERE n = 0"
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="user_view") as client:
        assert rows(client, first)[0]["phone"] == "HIDDENDEVICE"
        labels = {"patient": "user_id", "seen_from": "source_ip", "phone": "device_info"}
        for column, label in labels.items():
            admin.call("label.put", table="primary.study.labelled", column=column, label=label)
        shown = {"patient": "p00", "seen_from": "203.0.113.0/24", "phone": None}
        assert rows(client, first) == [{**shown, "said": "pulse 70"}]
        assert rows(client, "SELECT count(*) AS n FROM study.labelled") == [{"n": 63}]
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="research") as client:
        assert rows(client, first) == [{**shown, "patient": None, "said": "pulse 70"}]
        assert rows(client, "SELECT count(*) AS n FROM study.labelled") == [{"n": 15}]


def test_nobody_is_shown_who_has_not_agreed(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user, "research", "machine_learning", "user_view")
    everybody = "SELECT count(*) AS n, count(user_id) AS named FROM study.visits"
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="user_view") as client:
        assert rows(client, everybody) == [{"n": 63, "named": 60}]
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="research") as client:
        (endpoint,) = client.info(everybody).endpoints
        assert rows(client, everybody) == [{"n": 15, "named": 0}]
        assert rows(client, "SELECT max(n) AS n FROM study.visits") == [{"n": 14}]
        person = {"subject": "p07", "purposes": ["research"]}
        (answer,) = admin.call("consent.set", **person, given=True, reason="form 7")
        assert answer["given"]
        assert (answer["actor"], answer["reason"]) == ("admin", "form 7")
        assert rows(client, everybody) == [{"n": 18, "named": 0}]
        assert client.read(endpoint.ticket).to_pylist() == [{"n": 18, "named": 0}]
        (answer,) = admin.call("consent.set", **person, given=False)
        assert not answer["given"]
        assert rows(client, everybody) == [{"n": 15, "named": 0}]
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="machine_learning") as client:
        assert rows(client, everybody) == [{"n": 15, "named": 0}]


def test_consents_are_listed_for_those_who_manage_everything(own: Server, admin: RawClient) -> None:
    listed = {each["purpose"]: each["count"] for each in admin.call("consent.list")}
    assert listed == {"research": 5, "analytics": 20, "machine_learning": 5}
    (page,) = admin.call("consent.list", purpose="research", limit=3)
    assert [each["subject"] for each in page["consents"]] == ["p00", "p01", "p02"]
    (page,) = admin.call("consent.list", purpose="research", page_token=page["next_page_token"])
    assert [each["subject"] for each in page["consents"]] == ["p03", "p04"]
    assert page["next_page_token"] is None
    of_one = admin.call("consent.list", subject="p07")
    assert [each["given"] for each in of_one] == [False, True, False]
    for body in (
        {"subject": "p00", "purposes": ["admin"], "given": True},
        {"subject": "p00", "purposes": [], "given": True},
        {"subject": "", "purposes": ["research"], "given": True},
    ):
        assert refused(partial(admin.call, "consent.set", **body)) == "invalid_request"
    user = new_user(admin)
    with RawClient.connect(own, user, PASSWORD) as client:
        give = {"subject": "p00", "purposes": ["research"], "given": True}
        assert refused(lambda: client.call("consent.set", **give)) == "permission_denied"
        assert refused(lambda: client.call("consent.list")) == "permission_denied"
        admin.call("grant.add", privilege="manage", resource="primary", to={"user": user})
        assert client.call("consent.set", **give)[0]["given"]
    records = admin.call("audit.activity", action="consent.set", limit=1000)
    assert records
    assert "p0" not in str([(each["resource"], each["details"]) for each in records])


# Analytics


def test_for_analytics_only_figures_of_groups_leave(own: Server, admin: RawClient) -> None:
    user = new_user(admin)
    grant(admin, user, "analytics")
    grant(admin, user, "analytics", privilege="write")
    by_ward = "SELECT ward, count(*) AS n, avg(n) AS m FROM study.visits GROUP BY ward ORDER BY 1"
    with RawClient.connect(own, user, PASSWORD, x_lakehouse_purpose="analytics") as client:
        expected = [{"ward": "north", "n": 21, "m": 10.0}, {"ward": "south", "n": 39, "m": 40.0}]
        (endpoint,) = client.info(by_ward).endpoints
        assert client.read(endpoint.ticket).to_pylist() == expected
        for _ in range(3):  # the last one from memory
            assert rows(client, by_ward) == expected
        assert rows(client, "SELECT count(*) AS n FROM study.visits WHERE n < 12") == [{"n": 12}]
        assert rows(client, "SELECT count(*) AS n FROM study.visits WHERE n < 11") == []
        assert rows(client, "SELECT count(user_id) AS n FROM study.visits") == [{"n": None}]
        info = client.info("SELECT data_content, count(*) FROM study.visits GROUP BY 1")
        assert info.total_records == -1
        for sql in (
            "SELECT * FROM study.visits",
            "SELECT min(n) FROM study.visits",
            "SELECT sum(CASE WHEN n = 5 THEN n END) FROM study.visits",
            "SELECT count(*) FROM study.visits a JOIN study.visits b ON a.n = b.n",
            "SELECT count(*) FROM (SELECT * FROM study.visits LIMIT 1) q",
            "INSERT INTO study.visits SELECT * FROM study.visits",
            "INSERT INTO study.visits (ward) SELECT ward FROM study.visits GROUP BY ward",
            "CREATE TEMPORARY TABLE mine AS SELECT * FROM study.visits",
            "UPDATE study.visits SET ward = 'x' WHERE n = 5",
            "DELETE FROM study.visits WHERE n = 5",
        ):
            assert refused(partial(client.fetch, sql)) in ("aggregates_only", "permission_denied")
        assert rows(client, by_ward) == expected


def test_figures_of_one_session_are_nobody_elses(own: Server, admin: RawClient) -> None:
    """Results and plans that are kept are kept for one purpose."""
    user = new_user(admin)
    grant(admin, user, "analytics", "user_view", "research")
    sql = "SELECT count(*) AS n FROM study.visits WHERE n < 14"
    with RawClient.connect(own, user, PASSWORD) as client:
        for _ in range(3):
            for purpose, expected in (("analytics", 14), ("user_view", 14), ("research", 14)):
                set_options(client, purpose=purpose)
                assert rows(client, sql) == [{"n": expected}]
        few = sql.replace("14", "5")
        for _ in range(2):
            for purpose, found in (("user_view", [{"n": 5}]), ("analytics", [])):
                set_options(client, purpose=purpose)
                assert rows(client, few) == found


def test_attributes_of_an_account_count_from_the_next_call_on(
    own: Server, admin: RawClient
) -> None:
    user = new_user(admin)
    grant(admin, user)
    admin.call(
        "filter.put",
        table="primary.study.visits",
        name=f"ward_of_{user}",
        filter="ward = attribute('ward')",
        to={"user": user},
    )
    count = "SELECT count(*) AS n FROM study.visits"
    with RawClient.connect(own, user, PASSWORD) as client:
        assert rows(client, count) == [{"n": 0}]
        (shown,) = admin.call("user.set_attributes", username=user, attributes={"ward": "north"})
        assert shown["attributes"] == {"ward": "north"}
        assert rows(client, count) == [{"n": 21}]
        assert client.call("auth.whoami")[0]["attributes"] == {"ward": "north"}
        admin.call("user.set_attributes", username=user, attributes={"ward": "south", "x": "y"})
        assert rows(client, count) == [{"n": 42}]
        admin.call("user.set_attributes", username=user, attributes={})
        assert rows(client, count) == [{"n": 0}]
        assert (
            refused(
                lambda: client.call(
                    "user.set_attributes", username=user, attributes={"ward": "north"}
                )
            )
            == "permission_denied"
        )
