"""What ordinary programs cost when they go through many names: requests, by the server's log."""

from __future__ import annotations

import os
import stat
import subprocess
from collections import Counter
from typing import Callable, Set

import pytest

from tests.conftest import MountFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(120)

FILES = 500
LIMIT_S = 60
LATER = "kind=clock-skew,seconds=3"
"""The server's clock is past the seconds in which the objects were made: what it tells of them now may be kept."""


def run(*words: str) -> str:
    return subprocess.run(words, check=True, timeout=LIMIT_S, stdout=subprocess.PIPE, text=True).stdout


Spent = Callable[[], "Counter[str]"]


@pytest.fixture
def spent(server: CosServer) -> Spent:
    """Requests since the last call: ``LIST``, else the key."""
    def since() -> Counter[str]:
        lines = server.requests()
        server.clear_requests()
        return Counter(line["key"] or "LIST" for line in lines)
    return since


def put_files(store: CosStore) -> Set[str]:
    """Files of some folder ``d``; returns their keys."""
    names = [f"d/f{number:03d}" for number in range(FILES)]
    for name in names:
        store.put(name, b"x" * 100)
    return {store.prefix + name for name in names}


def put_tree(store: CosStore) -> Set[str]:
    names = [f"t/a{a}/b{b}/f{f}" for a in range(5) for b in range(20) for f in range(5)]
    for name in names:
        store.put(name, b"x")
    return {store.prefix + name for name in names}


def test_ls_l_asks_once_for_each_object_and_after_a_remount_only_lists(
        make_mount: MountFactory, store: CosStore, server: CosServer, spent: Spent) -> None:
    keys = put_files(store)
    server.set_faults(LATER)
    mount = make_mount()
    spent()
    first = run("ls", "-l", f"{mount.root}/d")
    cost = spent()
    assert first.count("\n") == FILES + 1
    assert {key: cost[key] for key in keys} == dict.fromkeys(keys, 1)
    assert sum(cost.values()) <= FILES + 5
    mount.remount()
    spent()
    assert run("ls", "-l", f"{mount.root}/d") == first
    cost = spent()
    assert not keys & set(cost)
    assert sum(cost.values()) <= 5


def test_ls_l_by_listing_asks_for_no_object(make_mount: MountFactory, store: CosStore, spent: Spent) -> None:
    keys = put_files(store)
    mount = make_mount("meta=list")
    spent()
    assert run("ls", "-l", f"{mount.root}/d").count("\n") == FILES + 1
    cost = spent()
    assert not keys & set(cost)
    assert sum(cost.values()) <= 4


def test_find_by_type_needs_listings_only(make_mount: MountFactory, store: CosStore, spent: Spent) -> None:
    keys = put_tree(store)
    mount = make_mount()
    spent()
    assert run("find", f"{mount.root}/t", "-type", "f").count("\n") == len(keys)
    cost = spent()
    assert not keys & set(cost)
    assert sum(cost.values()) <= 10


def test_du_asks_once_for_each_object(make_mount: MountFactory, store: CosStore, spent: Spent) -> None:
    keys = put_tree(store)
    mount = make_mount()
    spent()
    run("du", "-s", f"{mount.root}/t")
    cost = spent()
    assert {key: cost[key] for key in keys} == dict.fromkeys(keys, 1)
    assert cost["LIST"] <= 10


def test_d_type_of_an_unseen_symbolic_link_is_that_of_a_file_until_it_was_looked_at(
        make_mount: MountFactory, store: CosStore, server: CosServer) -> None:
    store.put("d/link", b"target", {"mode": str(stat.S_IFLNK | 0o777)})
    server.set_faults(LATER)
    mount = make_mount()
    links = ("find", f"{mount.root}/d", "-type", "l")
    assert run(*links) == ""
    assert os.path.islink(f"{mount.root}/d/link")
    assert run(*links).count("\n") == 1
    mount.remount()
    assert run(*links).count("\n") == 1
