from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from flight_server.entropy import Entropy


def test_it_gives_as_many_bytes_as_asked_for() -> None:
    random_bytes = Entropy()
    assert [len(random_bytes(count)) for count in (0, 1, 12, 4096, 5000, 7)] == [
        0, 1, 12, 4096, 5000, 7,
    ]  # fmt: skip


def test_no_two_get_the_same_bytes() -> None:
    random_bytes = Entropy()
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda _: random_bytes(16), range(4096)))
    assert len(set(taken)) == len(taken)
