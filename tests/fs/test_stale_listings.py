"""Listings that lag behind ("GET Bucket": eventually consistent): what this mount itself did must be seen."""

from __future__ import annotations

import errno
from typing import Callable, Iterator

import pytest

from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(60)

LARGE = bytes(100_000)
"""Of smaller files the mount has the content a moment after it was stored, and so does not ask for it."""


@pytest.fixture
def stale(world: FilesystemWorld, server: CosServer) -> Iterator[FilesystemWorld]:
    """From now on, listings show the bucket as it was when the test began."""
    world.mkdir("/d")
    world.write_file("/d/old", b"old")
    server.set_faults("kind=stale-list,op=list_objects*,seconds=3600")
    yield world
    server.clear_faults()


def test_new_files_are_listed(stale: FilesystemWorld) -> None:
    stale.write_file("/d/new", b"new")
    stale.mkdir("/d/sub")
    stale.write_file("/top", b"top")
    assert set(stale.readdir("/d")) == {"old", "new", "sub"}
    assert set(stale.readdir("/")) == {"d", "top"}
    assert stale.read_file("/d/new") == b"new"


def test_removed_files_are_not_listed(stale: FilesystemWorld) -> None:
    stale.unlink("/d/old")
    assert stale.readdir("/d") == {}
    assert not stale.exists("/d/old")
    stale.rmdir("/d")
    assert stale.readdir("/") == {}


def test_directory_with_a_file_that_is_not_listed_yet_is_not_empty(stale: FilesystemWorld, store: CosStore) -> None:
    stale.mkdir("/e")
    stale.write_file("/e/f", b"x")
    with refused(errno.ENOTEMPTY):
        stale.rmdir("/e")
    stale.mkdir("/g")
    with refused(errno.ENOTEMPTY):
        stale.rename("/g", "/e")
    assert stale.read_file("/e/f") == b"x"
    assert store.body("e/f") == b"x"


def test_rename_of_a_directory_takes_files_along_that_are_not_listed_yet(stale: FilesystemWorld,
                                                                        store: CosStore) -> None:
    stale.mkdir("/e")
    stale.mkdir("/e/sub")
    stale.write_file("/e/f", b"x")
    stale.write_file("/e/sub/g", b"y")
    stale.write_file("/d/new", b"z")
    stale.rename("/e", "/moved")
    stale.rename("/d", "/moved2")
    assert stale.read_file("/moved/f") == b"x"
    assert stale.read_file("/moved/sub/g") == b"y"
    assert stale.read_file("/moved2/new") == b"z"
    assert stale.read_file("/moved2/old") == b"old"
    assert set(stale.readdir("/")) == {"moved", "moved2"}


def test_rename_of_a_directory_does_not_bring_back_what_was_removed(stale: FilesystemWorld, store: CosStore,
                                                                   server: CosServer) -> None:
    stale.write_file("/d/new", b"new")
    stale.unlink("/d/old")
    stale.rename("/d", "/moved")
    assert set(stale.readdir("/moved")) == {"new"}
    server.clear_faults()
    assert sorted(store.keys()) == ["moved/", "moved/new"]


def test_overwritten_file_shows_its_new_size(stale: FilesystemWorld) -> None:
    stale.write_file("/d/old", b"longer than before")
    assert stale.readdir("/d").keys() == {"old"}
    assert stale.stat("/d/old").size == 18
    assert stale.read_file("/d/old") == b"longer than before"


def test_a_file_written_here_stays_listed_when_another_host_replaces_it(
        stale: FilesystemWorld, store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs("/b is not stored, as its close or fsync was told")
    stale.write_file("/b", LARGE)
    store.put("b", b"theirs, longer")
    with refused(errno.ESTALE):
        stale.truncate("/b", 2)
    assert set(stale.readdir("/")) == {"d", "b"}
    assert stale.stat("/b").size == 14
    assert stale.read_file("/b") == b"theirs, longer"
    assert set(stale.readdir("/")) == {"d", "b"}


def test_a_file_written_here_is_not_listed_any_more_when_it_is_seen_to_be_gone(
        stale: FilesystemWorld, store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs("/b is not stored, as its close or fsync was told")
    stale.write_file("/b", LARGE)
    store.delete("b")
    with refused(errno.ESTALE):
        stale.truncate("/b", 2)
    assert not stale.exists("/b")
    assert set(stale.readdir("/")) == {"d"}
