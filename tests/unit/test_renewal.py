"""Keys that end: when new ones are asked for, by whom, and who waits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, List, Optional

import pytest

from cosfs.cos.renewal import Issued, RenewedCredentials
from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

LIMIT_S = 10.0


class Issuer:
    """Issues keys for ``lifetime_s`` by a clock that a test sets. With ``hold`` it waits for ``go``."""

    def __init__(self, lifetime_s: float = 7200.0) -> None:
        self.now_s = 1000.0
        self.lifetime_s = lifetime_s
        self.count = 0
        self.failure: Optional[str] = None
        self.asked = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def fetch(self) -> Issued:
        self.count += 1
        self.asked.release()
        assert self.go.wait(LIMIT_S)
        if self.failure:
            raise CredentialsError(self.failure)
        return Issued(Credentials(f"id{self.count}", "key", "token"), self.now_s + self.lifetime_s)

    def provider(self) -> RenewedCredentials:
        made = RenewedCredentials("the test", self.fetch, clock=lambda: self.now_s)
        assert self.asked.acquire(timeout=LIMIT_S)
        return made


def settle(provider: RenewedCredentials) -> None:
    """Wait for the thread that asks, if there is one; a thread that is at its very end is in no list any more."""
    if provider._renewer is not None:
        provider._renewer.join(LIMIT_S)


def eventually(provider: RenewedCredentials, secret_id: str) -> None:
    settle(provider)
    assert provider.get().secret_id == secret_id


def test_keys_are_not_asked_for_again_until_ten_minutes_are_left() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    issuer.now_s += 6599
    assert provider.get().secret_id == "id1"
    issuer.now_s += 1
    assert provider.get().secret_id == "id1"
    eventually(provider, "id2")
    assert issuer.count == 2


def test_when_the_keys_end_is_told_if_it_is_known() -> None:
    assert Issuer(7200.0).provider().expires_s == 8200.0
    endless = RenewedCredentials("the test", lambda: Issued(Credentials("id", "key")), clock=lambda: 1000.0)
    assert endless.expires_s is None


def test_of_a_short_life_half_is_left() -> None:
    issuer = Issuer(10)
    provider = issuer.provider()
    issuer.now_s += 4.9
    assert provider.get().secret_id == "id1"
    assert issuer.count == 1
    issuer.now_s += 0.1
    provider.get()
    eventually(provider, "id2")


def test_nobody_waits_while_the_old_keys_are_good_and_one_thread_asks() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    issuer.go.clear()
    issuer.now_s += 7000
    for _ in range(50):
        assert provider.get().secret_id == "id1"  # the service does not answer yet
    issuer.go.set()
    eventually(provider, "id2")
    assert issuer.count == 2


def together(calls: int, work: Callable[[], str], issuer: Issuer) -> List[str]:
    """Results of so many calls at once, of which one waits for the service until all have begun."""
    issuer.go.clear()
    begun = threading.Barrier(calls + 1)

    def call() -> str:
        begun.wait(LIMIT_S)
        return work()

    with ThreadPoolExecutor(calls) as pool:
        futures = [pool.submit(call) for _ in range(calls)]
        begun.wait(LIMIT_S)
        assert issuer.asked.acquire(timeout=LIMIT_S)
        issuer.go.set()
        return [future.result(LIMIT_S) for future in futures]


def test_keys_that_have_ended_are_asked_for_once_by_all_who_need_them() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    issuer.now_s += 7200
    assert together(20, lambda: provider.get().secret_id, issuer) == ["id2"] * 20
    assert issuer.count == 2


def test_refused_keys_are_asked_for_once_by_all_who_had_them() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    refused = provider.get()
    issuer.now_s += 5
    assert together(20, lambda: provider.refresh(refused).secret_id, issuer) == ["id2"] * 20
    assert provider.refresh(refused).secret_id == "id2"
    assert issuer.count == 2


def test_refusals_in_a_row_do_not_reach_the_service_each_time(expected_logs: Callable[[str], None]) -> None:
    issuer = Issuer()
    provider = issuer.provider()
    issuer.now_s += 1
    for _ in range(100):
        provider.refresh(provider.get())
    assert issuer.count == 2
    issuer.now_s += 1
    provider.refresh(provider.get())
    assert issuer.count == 3


def test_denials_reach_the_service_once_a_minute() -> None:
    """Which may be for another reason than the keys: then each new request would be denied as well."""
    issuer = Issuer()
    provider = issuer.provider()
    for _ in range(120):
        provider.refresh(provider.get(), certain=False)
        issuer.now_s += 1
    assert issuer.count == 2


def test_a_failure_leaves_the_keys_and_is_tried_again_until_they_end(expected_logs: Callable[[str], None]) -> None:
    expected_logs("no new keys from the test: no route; the old ones (end in|have ended)")
    issuer = Issuer()
    provider = issuer.provider()
    issuer.failure = "no route"
    issuer.now_s += 6600
    asked_at = []
    while issuer.now_s < 8200:
        before = issuer.count
        assert provider.get().secret_id == "id1"
        eventually(provider, "id1")
        if issuer.count > before:
            asked_at.append(issuer.now_s - 8200)
        issuer.now_s += 0.5
    assert asked_at[:3] == [-600, -540, -480]
    assert asked_at[-1] >= -2 and len(asked_at) < 20
    issuer.now_s += 1
    for _ in range(3):
        with pytest.raises(CredentialsError, match=r"keys from the test have ended.*no route"):
            provider.get()
    assert issuer.count == len(asked_at) + 2, "one request for the three, after the first one"
    issuer.failure = None
    issuer.now_s += 1
    assert provider.get().secret_id == f"id{issuer.count}"


def test_a_service_that_gives_the_same_keys_is_asked_ever_sooner() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    ends_s = issuer.now_s + 7200
    counts = []
    while issuer.now_s < ends_s - 1:
        issuer.lifetime_s = ends_s - issuer.now_s
        provider.get()
        settle(provider)
        counts.append(issuer.count)
        issuer.now_s += 1
    assert 8 <= counts[-1] <= 14


def test_a_defect_is_a_failure_like_others(expected_logs: Callable[[str], None]) -> None:
    expected_logs("no new keys from the test: unexpected OverflowError; the old ones end in 600 s")
    issuer = Issuer()
    provider = issuer.provider()
    issuer.lifetime_s = 10**400  # which no float holds
    issuer.now_s += 6600
    for _ in range(10):
        eventually(provider, "id1")
    assert issuer.count == 2


def test_reload_asks_at_once() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    provider.reload()
    assert provider.get().secret_id == "id2"


def test_reload_without_success_changes_nothing(expected_logs: Callable[[str], None]) -> None:
    expected_logs("no new keys from the test: broken")
    issuer = Issuer()
    provider = issuer.provider()
    issuer.failure = "broken"
    provider.reload()
    assert provider.get().secret_id == "id1"


def test_the_first_failure_is_an_error() -> None:
    issuer = Issuer()
    issuer.failure = "broken"
    with pytest.raises(CredentialsError, match="broken"):
        issuer.provider()


def test_no_secret_is_shown() -> None:
    issued = Issued(Credentials("id", "SECRET", "SECRET"), 1.0)
    assert "SECRET" not in repr(issued) + repr(RenewedCredentials("the test", lambda: issued, clock=lambda: 0.0))
