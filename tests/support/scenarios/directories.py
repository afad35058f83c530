"""Folders: listing with types, mkdir, rmdir, implicit folders."""

from __future__ import annotations

import errno
import os
import stat

from tests.support.scenarios import refused, scenario
from tests.support.stores import Store
from tests.support.worlds import World


@scenario()
def test_listing_shows_every_file_once(w: World, store: Store) -> None:
    names = [f"file{number:03}" for number in range(30)]
    for name in names:
        w.write_file("/" + name, b"x")
    assert sorted(w.readdir("/")) == names


@scenario("directories")
def test_listing_tells_types(w: World, store: Store) -> None:
    w.write_file("/file", b"x")
    w.mkdir("/folder")
    w.symlink("/link", "file")
    w.mknod("/fifo", stat.S_IFIFO | 0o600)
    listed = w.readdir("/")
    assert set(listed) == {"file", "folder", "link", "fifo"}
    assert listed["file"] in (stat.S_IFREG, 0)
    assert listed["folder"] == stat.S_IFDIR
    assert listed["link"] in (stat.S_IFLNK, 0)
    assert w.stat("/link").type == stat.S_IFLNK
    assert w.stat("/fifo").type == stat.S_IFIFO


@scenario()
def test_listing_shows_files_not_yet_uploaded(w: World, store: Store) -> None:
    handle = w.open("/pending", os.O_WRONLY | os.O_CREAT)
    w.write_all(handle, b"123", 0)
    assert set(w.readdir("/")) == {"pending"}
    assert w.stat("/pending").size == 3
    w.close(handle)


@scenario("directories")
def test_listing_of_a_file_is_enotdir(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    with refused(errno.ENOTDIR):
        w.readdir("/f")
    with refused(errno.ENOENT):
        w.readdir("/missing")


@scenario("directories")
def test_mkdir_writes_a_marker(w: World, store: Store) -> None:
    w.mkdir("/d", 0o750)
    assert w.stat("/d").type == stat.S_IFDIR
    assert w.readdir("/d") == {}
    assert "d/" in store.keys()
    assert store.body("d/") == b""


@scenario("directory_metadata")
def test_mkdir_keeps_its_mode(w: World, store: Store) -> None:
    w.mkdir("/d", 0o750)
    assert w.stat("/d").permissions == 0o750
    w.chmod("/d", 0o700)
    assert w.stat("/d").permissions == 0o700
    assert int(store.metadata("d/")["mode"]) & 0o7777 == 0o700


@scenario("directories")
def test_mkdir_errors(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    w.mkdir("/d")
    with refused(errno.EEXIST):
        w.mkdir("/d")
    with refused(errno.EEXIST):
        w.mkdir("/f")
    with refused(errno.ENOENT):
        w.mkdir("/missing/d")
    with refused(errno.ENOTDIR):
        w.mkdir("/f/d")


@scenario("directories")
def test_rmdir_errors(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"")
    w.mkdir("/e")
    w.mkdir("/e/sub")
    with refused(errno.ENOTEMPTY):
        w.rmdir("/d")
    with refused(errno.ENOTEMPTY):
        w.rmdir("/e")
    with refused(errno.ENOTDIR):
        w.rmdir("/d/f")
    with refused(errno.ENOENT):
        w.rmdir("/missing")
    assert set(w.tree()) == {"/d", "/d/f", "/e", "/e/sub"}


@scenario("directories")
def test_rmdir_removes_an_empty_directory(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"")
    w.unlink("/d/f")
    w.rmdir("/d")
    assert not w.exists("/d")
    assert w.readdir("/") == {}
    assert store.keys() == []


@scenario("directories")
def test_rmdir_of_a_directory_with_a_file_not_yet_uploaded_is_enotempty(w: World, store: Store) -> None:
    w.mkdir("/d")
    handle = w.open("/d/f", os.O_WRONLY | os.O_CREAT)
    with refused(errno.ENOTEMPTY):
        w.rmdir("/d")
    w.close(handle)
    assert store.body("d/f") == b""


@scenario("directories")
def test_directory_made_again_after_rmdir_is_empty(w: World, store: Store) -> None:
    for _ in range(3):
        w.mkdir("/d")
        w.write_file("/d/f", b"x")
        w.unlink("/d/f")
        w.rmdir("/d")
    w.mkdir("/d")
    assert w.readdir("/d") == {}


@scenario("directories")
def test_unlink_of_a_directory_is_eisdir(w: World, store: Store) -> None:
    w.mkdir("/d")
    with refused(errno.EISDIR):
        w.unlink("/d")
    with refused(errno.ENOENT):
        w.unlink("/missing")


@scenario("directories")
def test_implicit_directory_is_a_directory(w: World, store: Store) -> None:
    store.put("a/b/file", b"deep")
    assert w.stat("/a").type == stat.S_IFDIR
    assert w.readdir("/a") == {"b": stat.S_IFDIR}
    assert w.read_file("/a/b/file") == b"deep"


@scenario("directories")
def test_implicit_directory_outlives_its_last_child(w: World, store: Store) -> None:
    store.put("a/file", b"x")
    assert set(w.readdir("/a")) == {"file"}
    w.unlink("/a/file")
    assert w.stat("/a").type == stat.S_IFDIR
    assert w.readdir("/a") == {}
    assert "a" in w.readdir("/")
    w.rmdir("/a")
    assert not w.exists("/a")


@scenario("directories")
def test_implicit_parents_outlive_a_rename_away(w: World, store: Store) -> None:
    store.put("a/b/file", b"x")
    w.rename("/a/b/file", "/file")
    assert w.readdir("/a/b") == {}
    assert set(w.readdir("/")) == {"a", "file"}


@scenario("directories")
def test_new_file_in_a_new_directory_in_a_new_directory(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.mkdir("/a/b")
    w.write_file("/a/b/c", b"deep")
    assert w.tree() == {"/a": ("directory", None), "/a/b": ("directory", None), "/a/b/c": ("file", b"deep")}
    assert store.body("a/b/c") == b"deep"


@scenario("directories")
def test_many_names_cross_a_listing_page(w: World, store: Store) -> None:
    for number in range(1005):
        store.put(f"big/{number:04}", b"")
    assert len(w.readdir("/big")) == 1005
    w.unlink("/big/0500")
    assert len(w.readdir("/big")) == 1004


@scenario("directories")
def test_fsync_of_a_directory(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"x")
    w.unlink("/d/f")
    w.fsyncdir("/d")
    assert store.keys() == ["d/"]
