"""An object and a directory of one name, old forms of directories, and directory markers that hold something."""

from __future__ import annotations

import errno
import os
import stat
from typing import Iterator

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem import CosFilesystem
from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import refused
from tests.support.strict_client import StrictClient

pytestmark = pytest.mark.timeout(60)
DIRECTORY = ObjectHeaders(standard={"Content-Type": "application/x-directory"})


@pytest.fixture
def client() -> StrictClient:
    return StrictClient()


@pytest.fixture
def w(client: StrictClient) -> Iterator[FilesystemWorld]:
    filesystem = CosFilesystem(client, FilesystemConfig())
    yield FilesystemWorld(filesystem)
    filesystem.stop()


def test_the_marker_of_what_is_mounted_may_hold_something_too(client: StrictClient) -> None:
    client.add("p/", b"a body")
    filesystem = CosFilesystem(client, FilesystemConfig(prefix="p/"))
    w = FilesystemWorld(filesystem)
    assert w.readdir("/") == {"\u241b+": stat.S_IFREG}
    assert w.read_file("/\u241b+") == b"a body"
    w.chmod("/", 0o711)
    w.chmod("/\u241b+", 0o700)
    w.fsyncdir("/")
    assert w.stat("/").mode == stat.S_IFDIR | 0o700
    w.unlink("/\u241b+")
    assert w.readdir("/") == {}
    filesystem.stop()
    assert not client.objects.get("p/") or client.body("p/") == b""


def test_a_directory_can_be_made_beside_an_object(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("a", b"the object")
    client.add("d/f", b"x")
    w.mkdir("/\u241b+a")
    w.write_file("/\u241b+a/b", b"inside")
    assert w.readdir("/") == {"a": stat.S_IFREG, "\u241b+a": stat.S_IFDIR, "d": stat.S_IFDIR}
    w.unlink("/\u241b+a/b")
    w.rename("/d", "/\u241b+a")
    w.fsyncdir("/")
    assert client.body("a/f") == b"x" and client.body("a") == b"the object"


def test_a_directory_moves_while_what_its_marker_holds_is_open(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/", b"a body")
    client.add("d/f", b"x")
    handle = w.open("/d/\u241b+", os.O_RDWR)
    w.rename("/d", "/e")
    w.pwrite(handle, b"A", 0)
    w.close(handle)
    assert client.body("e/") == b"A body" and "d/" not in client.objects
    assert w.readdir("/e") == {"\u241b+": stat.S_IFREG, "f": stat.S_IFREG}


@pytest.mark.parametrize("order", [0, 1])
def test_an_object_and_a_directory_of_one_name_are_both_shown(w: FilesystemWorld,
                                                              client: StrictClient, order: int) -> None:
    client.add("a", b"the object")
    client.add("a/b", b"inside")
    if order:
        assert w.readdir("/") == {"a": stat.S_IFREG, "\u241b+a": stat.S_IFDIR}
    assert w.read_file("/a") == b"the object"
    assert w.read_file("/\u241b+a/b") == b"inside"
    w.write_file("/\u241b+a/c", b"new")
    assert client.body("a/c") == b"new"


def test_twins_on_different_pages_of_a_listing_are_both_shown(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/a", b"the object")
    for number in range(1200):
        client.add(f"d/a!{number}", b"")
    client.add("d/a/b", b"inside")
    names = w.readdir("/d")
    assert (names["a"], names["\u241b+a"], len(names)) == (stat.S_IFREG, stat.S_IFDIR, 1202)


def test_a_lookup_of_an_ordinary_name_costs_no_more_for_all_this(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/a", b"the object")
    client.add("d/a/b", b"inside")
    w.filesystem.getattr("/d/a")
    assert (client.count("head_object"), client.count("list_objects")) == (1, 1)


def test_an_old_directory_object_is_a_directory_beside_its_content(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("old", b"", DIRECTORY)
    client.add("old/f", b"x")
    client.add("empty", b"")
    client.add("empty/f", b"y")
    assert w.readdir("/") == {"old": stat.S_IFDIR, "empty": stat.S_IFREG, "\u241b+empty": stat.S_IFDIR}
    assert w.read_file("/old/f") == b"x"
    assert w.stat("/old").type == stat.S_IFDIR


def test_an_old_directory_object_that_only_a_listing_showed_is_a_directory(w: FilesystemWorld,
                                                                           client: StrictClient) -> None:
    client.add("old", b"", DIRECTORY)
    w.readdir("/")
    assert w.stat("/old").type == stat.S_IFDIR
    assert w.readdir("/old") == {}
    w.rmdir("/old")
    w.fsyncdir("/")
    assert client.objects == {}


def test_an_old_folder_object_is_seen_through_listings(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/empty_$folder$", b"")
    client.add("d/full_$folder$", b"")
    client.add("d/full/f", b"x")
    for number in range(1000):
        client.add(f"d/{number}", b"")
    assert not w.exists("/d/empty")
    assert not w.exists("/d/empty_$folder$")
    assert w.stat("/d/full").type == stat.S_IFDIR
    listed = w.readdir("/d")
    assert (listed["empty"], listed["full"], len(listed)) == (stat.S_IFDIR, stat.S_IFDIR, 1002)


def test_twins_are_shown_by_walks_as_well(w: FilesystemWorld, client: StrictClient) -> None:
    for folder in ("a", "b", "c", "c/old"):
        client.add(folder, b"" if folder == "c/old" else b"object", DIRECTORY if folder == "c/old" else ObjectHeaders())
        client.add(f"{folder}/x", b"inside")
        client.add(f"{folder}/x/y", b"below")
    found = []
    folders = ["/"]
    while folders:
        folder = folders.pop()
        for name, kind in sorted(w.readdir(folder).items()):
            found.append(f"{folder.rstrip('/')}/{name}")
            if kind == stat.S_IFDIR:
                folders.append(found[-1])
    assert sorted(found) == sorted(
        ["/c/old".replace("/c/", "/\u241b+c/")] + [
            f"{top}{rest}" for name in "abc" for top in (f"/\u241b+{name}",)
            for rest in ("", "/x", "/\u241b+x", "/\u241b+x/y")] + ["/a", "/b", "/c"] + [
            f"/\u241b+c/old{rest}" for rest in ("/x", "/\u241b+x", "/\u241b+x/y")])
    assert client.count("list_objects") < len(folders) + 8


def test_a_directory_stays_reachable_when_the_object_beside_it_goes(w: FilesystemWorld, client: StrictClient) -> None:
    """As ``rm -r`` does it: the names are read first, then removed one by one."""
    client.add("d/a", b"the object")
    client.add("d/a/b", b"inside")
    assert set(w.readdir("/d")) == {"a", "\u241b+a"}
    w.unlink("/d/a")
    assert w.read_file("/d/\u241b+a/b") == b"inside"
    assert w.readdir("/d") == {"\u241b+a": stat.S_IFDIR}
    w.unlink("/d/\u241b+a/b")
    w.rmdir("/d/\u241b+a")
    w.rmdir("/d")
    w.fsyncdir("/")
    assert client.objects == {}


def test_the_other_name_of_a_directory_goes_on_meaning_it(client: StrictClient) -> None:
    now = 1000.0
    filesystem = CosFilesystem(client, FilesystemConfig(), monotonic=lambda: now)
    client.add("a", b"the object")
    client.add("a/b", b"inside")
    filesystem.readdir("/")
    filesystem.unlink("/a")
    now += 60
    assert [entry.name for entry in filesystem.readdir("/")] == ["a"]
    assert FilesystemWorld(filesystem).read_file("/\u241b+a/b") == b"inside"
    filesystem.stop()


def test_a_directory_of_our_own_keeps_its_name_while_somebody_puts_an_object_beside_it(w: FilesystemWorld,
                                                                                      client: StrictClient) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"x")
    client.add("d", b"somebody's")
    assert w.readdir("/") == {"d": stat.S_IFDIR}
    assert w.read_file("/d/f") == b"x"


def test_what_a_directory_marker_holds_is_a_file_in_it(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/", b"a body", ObjectHeaders(metadata={"mode": str(stat.S_IFDIR | 0o750)}))
    client.add("d/f", b"x")
    assert w.readdir("/d") == {"\u241b+": stat.S_IFREG, "f": stat.S_IFREG}
    assert w.stat("/d").mode == stat.S_IFDIR | 0o750
    assert w.stat("/d/\u241b+").mode == stat.S_IFREG | 0o750
    assert w.read_file("/d/\u241b+") == b"a body"
    w.chmod("/d", 0o700)
    w.truncate("/d/\u241b+", 3)
    assert client.body("d/") == b"a b"
    assert client.objects["d/"].info.headers.metadata["mode"] == str(stat.S_IFDIR | 0o700)
    w.chmod("/d", 0o711)
    assert client.body("d/") == b"a b"
    assert w.stat("/d").mode == stat.S_IFDIR | 0o711


def test_a_marker_with_the_mode_of_a_file_is_a_directory(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/", b"", ObjectHeaders(metadata={"mode": str(stat.S_IFREG | 0o640)}))
    assert w.stat("/d").mode == stat.S_IFDIR | 0o640
    assert w.readdir("/d") == {}


def test_a_directory_whose_marker_holds_something_is_not_empty(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/", b"a body")
    with refused(errno.ENOTEMPTY):
        w.rmdir("/d")
    w.readdir("/d")
    with refused(errno.ENOTEMPTY):
        w.rmdir("/d")
    assert client.body("d/") == b"a body"


def test_a_directory_stays_when_what_its_marker_holds_is_removed(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("d/", b"a body")
    w.unlink("/d/\u241b+")
    assert w.readdir("/d") == {}
    assert w.stat("/d").type == stat.S_IFDIR
    w.fsyncdir("/")
    assert client.body("d/") == b""
    w.rmdir("/d")
    w.fsyncdir("/")
    assert client.objects == {}


def test_what_a_marker_holds_moves_with_the_directory_and_away_from_it(w: FilesystemWorld,
                                                                       client: StrictClient) -> None:
    client.add("d/", b"a body")
    client.add("d/a", b"object")
    client.add("d/a/b", b"inside")
    w.rename("/d", "/e")
    assert set(w.readdir("/e")) == {"\u241b+", "a", "\u241b+a"}
    assert w.read_file("/e/\u241b+") == b"a body"
    assert w.read_file("/e/\u241b+a/b") == b"inside"
    w.rename("/e/\u241b+", "/f")
    w.rename("/e/\u241b+a", "/g")
    assert w.readdir("/e") == {"a": stat.S_IFREG}
    assert (client.body("f"), client.body("g/b")) == (b"a body", b"inside")
    assert not client.objects.get("e/")
