"""What is waited for before a mount, how long, and with how many lines of the log."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Callable, List, Tuple, Union

import pytest

from cosfs import network_wait
from cosfs.network_wait import declared_in_fstab, wait_for_network

Outcome = Union[None, OSError]


class Network:
    """Connections fail as told, then succeed; time passes only by waiting."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.addresses: List[Tuple[str, int]] = []
        self.now_s = 100.0
        self.told: List[str] = []

    def connect(self, address: Tuple[str, int], timeout: float) -> socket.socket:
        assert timeout > 0
        self.addresses.append(address)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        return socket.socket()

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def wait(self, limit_s: float, url: str = "https://cos.example", **proxies: str) -> float:
        wait_for_network(url, proxies, limit_s, waits=self.told.append, clock=lambda: self.now_s, sleep=self.sleep)
        return self.now_s - 100.0


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Network]:
    def make(*outcomes: Outcome) -> Network:
        made = Network(*outcomes)
        monkeypatch.setattr(network_wait.socket, "create_connection", made.connect)
        return made
    return make


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


UNKNOWN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def test_unknown_host_no_route_and_refusal_are_waited_for_with_one_line(
        network: Callable[..., Network], expected_logs: Callable[[str], None],
        caplog: pytest.LogCaptureFixture) -> None:
    expected_logs("the network is not there yet")
    made = network(UNKNOWN, failure(errno.ENETUNREACH), failure(errno.EHOSTUNREACH), failure(errno.ECONNREFUSED))
    assert made.wait(30) == 4.0
    assert made.addresses == [("cos.example", 443)] * 5
    assert [record.getMessage() for record in caplog.records] == [
        "the network is not there yet (https://cos.example: Temporary failure in name resolution); waiting for up to "
        "30 s"]
    assert made.told == ["waiting for the network (Temporary failure in name resolution)"]


def test_the_limit_is_kept(network: Callable[..., Network], expected_logs: Callable[[str], None]) -> None:
    expected_logs("the network is not there yet")
    made = network(*[UNKNOWN] * 20)
    assert made.wait(2.5) == 2.5
    assert len(made.addresses) == 4


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.ECONNRESET, errno.EACCES])
def test_other_failures_are_left_to_the_checks(number: int, network: Callable[..., Network]) -> None:
    made = network(failure(number))
    assert made.wait(30) == 0
    assert made.told == []


def test_without_a_limit_nothing_is_asked(network: Callable[..., Network]) -> None:
    made = network(UNKNOWN)
    assert made.wait(0) == 0
    assert made.addresses == []


def test_with_a_proxy_that_is_what_must_be_reached(network: Callable[..., Network]) -> None:
    made = network()
    made.wait(30, https="http://proxy.example:3128")
    made.wait(30, "http://127.0.0.1:9000", https="http://proxy.example:3128")
    assert made.addresses == [("proxy.example", 3128), ("127.0.0.1", 9000)]


def test_the_password_of_a_proxy_is_not_logged(network: Callable[..., Network],
                                               expected_logs: Callable[[str], None]) -> None:
    expected_logs(r"not there yet \(http://proxy\.example:3128: .*\); waiting")  # or this test fails
    made = network(UNKNOWN)
    assert made.wait(30, https="http://user:SECRET@proxy.example:3128") == 1
    assert made.addresses == [("proxy.example", 3128)] * 2


@pytest.mark.parametrize("address", ["http://a..b", "http://" + 64 * "a" + ".example", "http://proxy.example:port"])
def test_an_address_that_is_none_is_left_to_the_checks(address: str) -> None:
    wait_for_network("https://cos.example", {"https": address}, 30.0, waits=pytest.fail)


@pytest.mark.parametrize(("line", "declared"), [
    (b"cosfs#b-1 /mnt/my\\040bucket fuse ro,_netdev,url=h 0 0", True),
    (b"b-1\t/mnt/my\\040bucket/\tcosfs\t_netdev", True),
    (b"b-1 /mnt/my\\040bucket cosfs x_netdev,url=h 0 0", False),
    (b"b-1 /mnt/other cosfs _netdev 0 0", False),
    (b"# b-1 /mnt/my\\040bucket cosfs _netdev 0 0", False),
    (b"#b-1 /mnt/my\\040bucket cosfs _netdev 0 0", False),
    (b"\xff\n\n", False),
])
def test_fstab_tells_which_mounts_need_the_network(line: bytes, declared: bool, tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_bytes(b"# a comment\nproc /proc proc defaults 0 0\n" + line + b"\n")
    assert declared_in_fstab("/mnt/my bucket", str(fstab)) is declared
    assert declared_in_fstab("/mnt/my bucket", str(tmp_path / "none")) is False
