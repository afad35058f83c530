"""rm -r, find -delete and their kind on a real mount: what they cost, and what is left."""

from __future__ import annotations

import os
import subprocess
from collections import Counter

import pytest

from cosfs.cos.interface import ObjectHeaders
from tests.conftest import MountFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


def fill(store: CosStore, folders: int, files: int) -> None:
    for number in range(folders * files):
        store.put(f"gone/d{number % folders}/f{number:04d}", b"x" * 64, {"mode": "33188", "uid": "0", "gid": "0"})


def spent(server: CosServer) -> Counter:
    return Counter(row["op"] for row in server.requests())


def test_rm_r_of_a_tree_that_was_never_seen_takes_a_handful_of_requests(
        make_mount: MountFactory, store: CosStore, server: CosServer) -> None:
    fill(store, folders=10, files=30)
    mount = make_mount()
    server.clear_requests()
    subprocess.run(["rm", "-r", mount.point / "gone"], check=True, timeout=30)
    mount.world().fsyncdir("/")
    requests = spent(server)
    assert store.keys() == []
    assert sum(requests.values()) <= 30, requests
    assert requests["put_object"] == requests["get_object"] == 0, requests


def test_find_delete_keeps_the_folders(make_mount: MountFactory, store: CosStore) -> None:
    fill(store, folders=3, files=5)
    mount = make_mount()
    subprocess.run(["find", mount.point / "gone", "-type", "f", "-delete"], check=True, timeout=30)
    mount.world().fsyncdir("/")
    assert sorted(store.keys()) == ["gone/d0/", "gone/d1/", "gone/d2/"]


def test_rm_r_of_a_sticky_folder_compares_owners(make_mount: MountFactory, store: CosStore) -> None:
    store.put_with("s/", b"", ObjectHeaders(metadata={"mode": str(0o41777), "uid": "0", "gid": "0"}))
    store.put("s/theirs", b"x", {"mode": "33188", "uid": "4711", "gid": "0"})
    mount = make_mount("allow_other")
    ran = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "rm", "-f", mount.point / "s/theirs"],
                         capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode != 0
    assert store.has("s/theirs")


def test_a_file_is_removed_through_a_symbolic_link_that_was_never_seen(make_mount: MountFactory,
                                                                       store: CosStore) -> None:
    for key in ("d/a", "d/b", "d/d/c"):
        store.put(key, b"x")
    store.put("link", b"d", {"mode": str(0o120777)})
    mount = make_mount()
    assert sorted(os.listdir(mount.root)) == ["d", "link"]
    os.unlink(mount.point / "link/a")
    os.unlink(mount.point / "link")
    os.unlink(mount.point / "d/d/c")
    mount.world().fsyncdir("/")
    assert sorted(store.keys()) == ["d/b", "d/d/"]
