from __future__ import annotations

import threading

from flight_server.audit.syncing import SoonSynced
from tests.servers import wait_until


def test_many_that_ask_share_a_sync() -> None:
    synced = threading.Semaphore(0)
    soon = SoonSynced(synced.release)
    soon.start()
    for _ in range(1000):
        soon.ask()
    assert synced.acquire(timeout=10)
    assert not synced.acquire(blocking=False)
    soon.ask()
    assert synced.acquire(timeout=10)
    soon.close()


def test_who_asks_during_a_sync_gets_another_one() -> None:
    goes_on, begun = threading.Event(), []

    def sync() -> None:
        begun.append(1)
        goes_on.wait(10)

    soon = SoonSynced(sync)
    soon.start()
    soon.ask()
    wait_until(lambda: len(begun) == 1, what="a sync")
    soon.ask()
    goes_on.set()
    wait_until(lambda: len(begun) == 2, what="the next sync")
    soon.close()


def test_it_can_be_closed_without_having_begun() -> None:
    SoonSynced(lambda: None).close()
