"""Defects that were found by attack and need a kernel to show."""

from __future__ import annotations

import errno
import os

import pytest

from tests.conftest import MountFactory
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

SIZE = 16384


def test_regression_failed_close_leaves_the_refused_bytes_readable(
        make_mount: MountFactory, store: CosStore, server: CosServer) -> None:
    mount = make_mount("retries=1")
    mount.expect_log(".")
    world = mount.world()
    store.put("f", b"1" * SIZE)
    assert world.read_file("/f") == b"1" * SIZE
    server.set_faults(f"kind=status,op=put_object,key={store.prefix}*")
    handle = world.open("/f", os.O_WRONLY)
    world.write_all(handle, b"2" * SIZE, 0)
    with refused(errno.EIO):
        world.close(handle)
    mount.wait_for(lambda: "is not stored" in mount.text(), "report of the loss", 10)
    server.clear_faults()
    assert store.body("f") == b"1" * SIZE
    assert world.read_file("/f") == b"1" * SIZE


def test_regression_truncate_by_path_brings_old_pages_back(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount("stat_cache_expire=0")
    world = mount.world()
    store.put("f", b"1" * SIZE)
    assert world.read_file("/f") == b"1" * SIZE
    store.put("f", b"2" * SIZE)
    world.truncate("/f", SIZE)
    assert world.read_file("/f") == b"2" * SIZE
