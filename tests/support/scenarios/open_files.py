"""Files that are unlinked, renamed, replaced or opened again while handles on them are open."""

from __future__ import annotations

import os

from tests.support.scenarios import scenario
from tests.support.scenarios.files import pattern
from tests.support.stores import Store
from tests.support.worlds import World

READ_WRITE = os.O_RDWR | os.O_CREAT


@scenario()
def test_unlinked_open_file_stays_readable(w: World, store: Store) -> None:
    data = pattern(300_000, 5)
    w.write_file("/f", data)
    handle = w.open("/f", os.O_RDONLY)
    w.unlink("/f")
    assert not w.exists("/f")
    assert w.read_all(handle) == data
    assert w.fstat(handle).size == len(data)
    w.close(handle)
    w.fsyncdir("/")  # removals of open files may wait a moment
    assert w.readdir("/") == {}
    assert store.keys() == []


@scenario()
def test_unlinked_new_file_never_reaches_the_bucket(w: World, store: Store) -> None:
    handle = w.open("/f", READ_WRITE)
    w.write_all(handle, b"temporary", 0)
    w.unlink("/f")
    w.write_all(handle, b" data", 9)
    assert w.read_all(handle) == b"temporary data"
    w.ftruncate(handle, 4)
    assert w.fstat(handle).size == 4
    w.close(handle)
    w.fsyncdir("/")  # removals of open files may wait a moment
    assert w.readdir("/") == {}
    assert store.keys() == []


@scenario()
def test_unlinked_old_file_stays_writable_and_gone(w: World, store: Store) -> None:
    w.write_file("/f", b"0123456789")
    handle = w.open("/f", os.O_RDWR)
    w.write_all(handle, b"ab", 2)
    w.unlink("/f")
    w.write_all(handle, b"end", 10)
    assert w.read_all(handle) == b"01ab456789end"
    w.fsync(handle)
    w.close(handle)
    w.fsyncdir("/")  # removals of open files may wait a moment
    assert store.keys() == []


@scenario()
def test_new_file_of_an_unlinked_open_name_is_another_file(w: World, store: Store) -> None:
    w.write_file("/f", b"first")
    old = w.open("/f", os.O_RDWR)
    w.unlink("/f")
    w.write_file("/f", b"second file")
    w.write_all(old, b"FIRST", 0)
    assert w.read_all(old) == b"FIRST"
    assert w.read_file("/f") == b"second file"
    w.close(old)
    assert w.read_file("/f") == b"second file"
    assert store.body("f") == b"second file"


@scenario("copy")
def test_replaced_open_file_keeps_its_content(w: World, store: Store) -> None:
    data = pattern(300_000, 6)
    w.write_file("/f", data)
    w.write_file("/new", b"new")
    handle = w.open("/f", os.O_RDONLY)
    w.rename("/new", "/f")
    assert w.read_all(handle) == data
    w.close(handle)
    assert w.read_file("/f") == b"new"


@scenario("copy")
def test_replaced_open_file_does_not_overwrite_its_replacement(w: World, store: Store) -> None:
    w.write_file("/f", b"old")
    w.write_file("/new", b"new")
    handle = w.open("/f", os.O_RDWR)
    w.write_all(handle, b"OLD", 0)
    w.rename("/new", "/f")
    w.write_all(handle, b"!", 3)
    w.close(handle)
    assert w.read_file("/f") == b"new"
    assert store.body("f") == b"new"


@scenario("copy")
def test_open_file_follows_its_rename(w: World, store: Store) -> None:
    handle = w.open("/a", READ_WRITE)
    w.write_all(handle, b"before", 0)
    w.rename("/a", "/b")
    w.write_all(handle, b" after", 6)
    assert w.fstat(handle).size == 12
    assert w.stat("/b").size == 12
    w.close(handle)
    assert w.tree() == {"/b": ("file", b"before after")}
    assert store.keys() == ["b"]
    assert store.body("b") == b"before after"


@scenario("copy")
def test_pending_file_renamed_over_another_replaces_it(w: World, store: Store) -> None:
    w.write_file("/b", b"old")
    handle = w.open("/a", READ_WRITE)
    w.write_all(handle, b"new", 0)
    w.rename("/a", "/b")
    assert w.stat("/b").size == 3
    w.close(handle)
    assert w.tree() == {"/b": ("file", b"new")}
    assert store.body("b") == b"new"


@scenario("copy")
def test_open_reader_follows_a_rename(w: World, store: Store) -> None:
    data = pattern(400_000, 8)
    w.write_file("/a", data)
    handle = w.open("/a", os.O_RDONLY)
    assert w.pread(handle, 10, 0) == data[:10]
    w.rename("/a", "/b")
    assert w.read_all(handle) == data
    w.close(handle)


@scenario()
def test_two_handles_see_one_file(w: World, store: Store) -> None:
    first = w.open("/f", READ_WRITE)
    second = w.open("/f", os.O_RDWR)
    w.write_all(first, b"11111", 0)
    w.write_all(second, b"22", 3)
    assert w.read_all(first) == b"11122"
    assert w.read_all(second) == b"11122"
    w.close(first)
    assert store.body("f") == b"11122"
    w.write_all(second, b"33", 5)
    w.close(second)
    assert store.body("f") == b"1112233"


@scenario()
def test_reopening_for_truncation_reaches_the_other_handle(w: World, store: Store) -> None:
    first = w.open("/f", READ_WRITE)
    w.write_all(first, b"long content", 0)
    second = w.open("/f", os.O_WRONLY | os.O_TRUNC)
    assert w.fstat(first).size == 0
    w.write_all(second, b"short", 0)
    w.close(second)
    assert w.read_all(first) == b"short"
    w.close(first)
    assert store.body("f") == b"short"


@scenario()
def test_reader_opened_before_an_overwrite_by_this_mount_sees_it(w: World, store: Store) -> None:
    w.write_file("/f", b"old")
    reader = w.open("/f", os.O_RDONLY)
    assert w.pread(reader, 10, 0) == b"old"
    with w.opened("/f", os.O_WRONLY) as writer:
        w.write_all(writer, b"newer", 0)
    assert w.fstat(reader).size == 5
    assert w.pread(reader, 10, 0) == b"newer"
    w.close(reader)


@scenario("copy")
def test_attributes_set_on_an_open_renamed_file_reach_the_upload(w: World, store: Store) -> None:
    handle = w.open("/a", READ_WRITE, 0o600)
    w.write_all(handle, b"x", 0)
    w.rename("/a", "/b")
    w.fchmod(handle, 0o755)
    w.futimens(handle, 1_000_000_000, 2_000_000_000)
    w.close(handle)
    after = w.stat("/b")
    assert (after.permissions, after.mtime_ns) == (0o755, 2_000_000_000)
    assert store.metadata("b")["mtime"] == "2"


@scenario("directories")
def test_unlinked_open_file_lets_its_directory_go(w: World, store: Store) -> None:
    w.mkdir("/d")
    handle = w.open("/d/f", READ_WRITE)
    w.write_all(handle, b"x", 0)
    w.unlink("/d/f")
    w.rmdir("/d")
    assert w.read_all(handle) == b"x"
    w.close(handle)
    w.fsyncdir("/")  # removals of open files may wait a moment
    assert w.readdir("/") == {}
    assert store.keys() == []
