from __future__ import annotations

import threading

import pytest

from flight_server import errors
from flight_server.auth.passwords import PasswordOptions, Passwords

CHEAP = PasswordOptions(time_cost=1, memory_kib=8, parallelism=1)


def test_the_default_costs_are_those_of_owasp() -> None:
    stored = Passwords().hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_hash_verifies_its_own_password_only() -> None:
    passwords = Passwords(CHEAP)
    stored = passwords.hash("pässword with ünicode")
    assert passwords.verify("pässword with ünicode", stored)
    assert not passwords.verify("password with unicode", stored)
    assert not passwords.verify("", stored)


@pytest.mark.parametrize("stored", [None, "", "not a hash", "$argon2id$v=19$m=8,t=1,p=1$x"])
def test_no_password_fits_a_missing_or_damaged_hash(stored: str | None) -> None:
    passwords = Passwords(CHEAP)
    assert not passwords.verify("no password has this hash", stored)
    assert not passwords.verify("anything", stored)


@pytest.mark.parametrize("password", ["", "seven77", "x" * 1025, "é" * 513])
def test_a_new_password_has_8_to_1024_bytes(password: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        Passwords(CHEAP).hash(password)
    assert "x" * 9 not in str(caught.value)


def test_lone_surrogates_are_a_wrong_password_not_an_error() -> None:
    passwords = Passwords(CHEAP)
    assert not passwords.verify("\udcff" * 10, passwords.hash("one fine pass"))


def test_too_long_a_password_costs_nothing() -> None:
    passwords = Passwords(PasswordOptions(1, 8, 1, hashing_concurrent_max=1))
    with passwords._turn():
        assert not passwords.verify("x" * 100_000, None)


def test_unknown_users_cost_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(CHEAP)
    stored = passwords.hash("one fine pass")
    seen: list[str] = []
    hasher = passwords._hasher

    class Counting:
        def verify(self, hash_text: str, password: bytes) -> bool:
            seen.append(hash_text.rsplit("$", 2)[0])
            return hasher.verify(hash_text, password)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    passwords.verify("wrong-password", stored)
    passwords.verify("wrong-password", None)
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_waiting_for_a_turn_is_bounded() -> None:
    passwords = Passwords(
        PasswordOptions(1, 8, 1, hashing_concurrent_max=1, hashing_wait_seconds_max=0.01)
    )
    with passwords._turn(), pytest.raises(errors.LimitExceeded) as caught:
        passwords.hash("one fine pass")
    assert caught.value.retry_after_seconds == 1.0
    assert passwords.hash("one fine pass")


def test_no_more_hash_at_a_time_than_allowed() -> None:
    passwords = Passwords(PasswordOptions(1, 8, 1, hashing_concurrent_max=2))
    inside, most = 0, 0
    lock = threading.Lock()
    ready = threading.Barrier(6)

    def work() -> None:
        nonlocal inside, most
        ready.wait()
        for _ in range(20):
            with passwords._turn():
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2


def test_a_hash_of_other_costs_is_to_be_renewed() -> None:
    stored = Passwords(CHEAP).hash("one fine pass")
    assert not Passwords(CHEAP).needs_rehash(stored)
    assert Passwords(PasswordOptions(2, 8, 1)).needs_rehash(stored)
    assert Passwords(CHEAP).needs_rehash("not a hash")


def test_only_so_many_wait_for_a_turn() -> None:
    passwords = Passwords(PasswordOptions(1, 8, 1, hashing_concurrent_max=1, hashing_waiting_max=2))
    entered: list[bool] = []

    def verify() -> None:
        entered.append(passwords.verify("one fine pass", None))

    waiting = [threading.Thread(target=verify) for _ in range(2)]
    with passwords._turn():
        for thread in waiting:
            thread.start()
        while passwords._places._value:
            assert all(thread.is_alive() for thread in waiting)
        for _ in range(5):  # no place is left, and nobody waits for one
            with pytest.raises(errors.LimitExceeded, match="hashing_waiting_max") as caught:
                passwords.verify("one fine pass", None)
            assert caught.value.retry_after_seconds == 1.0
    for thread in waiting:
        thread.join(10)
    assert entered == [False, False]
    assert passwords.hash("one fine pass")


@pytest.mark.parametrize("stored", ["", "x", "no hash", "$2b$12$abc"])
def test_what_is_no_hash_costs_the_same_work(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords, hasher = Passwords(CHEAP), Passwords(CHEAP)._hasher
    seen: list[str] = []

    class Counting:
        def verify(self, hash_text: str, password: bytes) -> bool:
            seen.append(hash_text)
            return hasher.verify(hash_text, password)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    assert not passwords.verify("no password has this hash", stored)
    assert seen == [passwords._dummy]
