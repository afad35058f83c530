"""``metrics=``: the statistics of a mount for Prometheus."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from typing import Dict

import pytest

from tests.conftest import MountFactory
from tests.support.server import CosServer

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

_LINE = re.compile(r'([a-z_]+)(\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? (\S+)')


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def page(port: int) -> Dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.read().decode().splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    samples = {}
    for line in lines:
        if not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match, line
            samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def test_the_page_has_the_counts_of_the_servers_log(make_mount: MountFactory, server: CosServer) -> None:
    port = free_port()
    server.clear_requests()
    mount = make_mount(f"metrics={port}", "user_agent_suffix=paged")
    (mount.point / "a").write_bytes(bytes(1000))
    samples = page(port)
    puts = [row for row in server.requests(op="put_object") if row.get("user_agent", "").endswith("paged")]
    assert samples['cosfs_requests_total{kind="Put Object"}'] == len(puts) == 1
    assert samples['cosfs_sent_bytes_total{kind="Put Object"}'] == 1000
    assert samples['cosfs_request_seconds_count{kind="Put Object"}'] == 1
    assert samples['cosfs_request_seconds_bucket{kind="Put Object",le="+Inf"}'] == 1
    assert 0 < samples['cosfs_request_seconds_sum{kind="Put Object"}'] < 5
    assert samples["cosfs_open_files"] == 0
    assert samples['cosfs_estimated_cost{currency="CNY"}'] > 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)


def test_a_port_that_is_taken_is_told_before_anything_is_mounted(make_mount: MountFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        mount = make_mount.unstarted(f"metrics={port}")
        message = rf"metrics=127.0.0.1:{port} cannot be served \(Address already in use\)"
        with pytest.raises(AssertionError, match=message):
            mount.start()
    assert not mount.is_mounted()
    mount.discard()
