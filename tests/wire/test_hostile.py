"""What somebody hostile tried against rules, and found: each test is a way that was open."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.lakehouse import write
from tests.servers import Server, running
from tests.wire.raw import RawClient, refused
from tests.wire.test_policies import PASSWORD, grant, new_user

ZONES = "primary.hr.zones"


def zones() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int64()),
            "zone": ["10", "20", "hidden", None],
            "number": pa.array([1, 2, 777, 4], pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("hostile")
    write(directory / "hr" / "zones", zones(), partition_by=("zone", "number"))
    write(directory / "hr" / "filled", zones().slice(0, 2), partition_by=("zone",))
    write(directory / "hr" / "people", zones())
    with running(directory) as server:
        yield server


@pytest.fixture(scope="module")
def admin(own: Server) -> Iterator[RawClient]:
    with RawClient.connect(own) as client:
        yield client


@pytest.fixture(scope="module")
def few(own: Server, admin: RawClient) -> Iterator[RawClient]:
    """Somebody who sees two rows of each table."""
    user = new_user(admin)
    for name in ("zones", "filled", "people"):
        grant(admin, user, f"primary.hr.{name}")
        admin.call(
            "filter.put",
            name=f"few of {user}",
            table=f"hr.{name}",
            filter="id < 3",
            to={"user": user},
        )
    with RawClient.connect(own, user, PASSWORD) as client:
        yield client


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("CAST(zone AS INT) = 10", [1]),
        ("1 / (number - 777) = 0", [1, 2]),
        ("CAST(number AS TINYINT) = 2", [2]),
        ("number = 777 AND CAST(zone AS INT) = 1", []),
        ("arrow_cast(zone, 'Int64') > 10", [2]),
    ],
)
def test_the_planner_tells_nothing_of_hidden_values_of_partitions(
    few: RawClient, condition: str, ids: list[int]
) -> None:
    # They are constants of a plan, with which the planner computes before anything runs.
    found = few.fetch(f"SELECT id FROM {ZONES} WHERE {condition} ORDER BY id")
    assert found["id"].to_pylist() == ids


def test_keys_of_tombstones_reach_no_rows_that_a_filter_hides(
    own: Server, admin: RawClient
) -> None:
    user, table = new_user(admin), "primary.hr.people"
    for privilege in ("read", "write"):
        grant(admin, user, table, privilege=privilege)
    key = {"table": table, "row_key_column": "id", "reason": "why not"}
    admin.call("tombstone.add", **key, row_key_values=[4])
    admin.call("filter.put", name="part", table=table, filter="id < 3", to={"user": user})
    with RawClient.connect(own, user, PASSWORD) as client:
        for call in (
            lambda: client.call("tombstone.add", **key, row_key_values=[3]),
            lambda: client.call("tombstone.remove", table=table, row_key_values=[4]),
        ):
            assert refused(call) == "permission_denied"
        (page,) = client.call("tombstone.list", table=table)
        assert page["count"] == 1
        assert "tombstones" not in page
    assert admin.fetch(f"SELECT id FROM {table} ORDER BY id")["id"].to_pylist() == [1, 2, 3]
    admin.call("tombstone.remove", table=table, row_key_values=[4])
    admin.call("filter.drop", name="part", table=table)
