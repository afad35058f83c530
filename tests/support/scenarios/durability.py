"""After close() and fsync() the object is in the bucket, byte for byte, with its attributes."""

from __future__ import annotations

import os
import stat

from tests.support.scenarios import scenario
from tests.support.scenarios.files import pattern
from tests.support.stores import Store
from tests.support.worlds import World


@scenario()
def test_nothing_is_in_the_bucket_before_close(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT)
    w.write_all(handle, b"x", 0)
    assert store.keys() == []
    w.close(handle)
    assert store.body("f") == b"x"


@scenario()
def test_fsync_uploads_and_later_writes_follow_at_close(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT)
    w.write_all(handle, b"first", 0)
    w.fsync(handle)
    assert store.body("f") == b"first"
    w.write_all(handle, b" second", 5)
    w.close(handle)
    assert store.body("f") == b"first second"


@scenario("part_copy")
def test_fsync_in_the_middle_of_a_large_write(w: World, store: Store) -> None:
    data = pattern(28 << 20, 9)
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, data[:22 << 20], 0)
    w.fsync(handle)
    assert store.body("f") == data[:22 << 20]
    w.write_all(handle, data[22 << 20:], 22 << 20)
    w.write_all(handle, b"changed", 100)
    w.close(handle)
    expected = data[:100] + b"changed" + data[107:]
    assert store.body("f") == expected
    assert w.read_file("/f") == expected
    assert store.pending_uploads() == []


@scenario()
def test_close_stores_mode_owner_and_time_with_the_content(w: World, store: Store) -> None:
    w.write_file("/f", b"x", 0o640)
    metadata = store.metadata("f")
    assert metadata["mode"] == str(stat.S_IFREG | 0o640)
    assert metadata["uid"] == str(os.getuid())
    assert int(metadata["mtime"]) == w.stat("/f").mtime_ns // 10**9


@scenario()
def test_many_small_files_are_all_there(w: World, store: Store) -> None:
    for number in range(60):
        w.write_file(f"/{number}", b"content %d" % number)
    assert sorted(store.keys()) == sorted(str(number) for number in range(60))
    assert all(store.body(str(number)) == b"content %d" % number for number in range(60))


@scenario()
def test_rewriting_a_part_before_close(w: World, store: Store) -> None:
    data = pattern(24 << 20, 10)
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, data, 0)
    w.write_all(handle, b"header", 0)
    assert w.pread(handle, 10, 0) == b"header" + data[6:10]
    w.close(handle)
    assert store.body("f") == b"header" + data[6:]
    assert store.pending_uploads() == []


@scenario()
def test_shrinking_a_large_file_before_close(w: World, store: Store) -> None:
    data = pattern(24 << 20, 11)
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, data, 0)
    w.ftruncate(handle, 1000)
    w.close(handle)
    assert store.body("f") == data[:1000]
    assert store.pending_uploads() == []


@scenario()
def test_unlinking_a_large_file_while_it_is_written_leaves_no_upload(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, pattern(24 << 20, 12), 0)
    w.unlink("/f")
    w.close(handle)
    w.fsyncdir("/")
    assert store.keys() == []
    assert store.pending_uploads() == []


@scenario("copy")
def test_renaming_a_large_file_while_it_is_written(w: World, store: Store) -> None:
    data = pattern(24 << 20, 13)
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, data[:15 << 20], 0)
    w.rename("/f", "/g")
    w.write_all(handle, data[15 << 20:], 15 << 20)
    w.close(handle)
    assert store.keys() == ["g"]
    assert store.body("g") == data
    assert store.pending_uploads() == []


@scenario("copy")
def test_metadata_changes_of_a_multipart_object_keep_its_bytes(w: World, store: Store) -> None:
    data = pattern(22 << 20, 14)
    w.write_file("/f", data)
    w.chmod("/f", 0o600)
    w.rename("/f", "/g")
    assert store.body("g") == data
    assert store.metadata("g")["mode"] == str(stat.S_IFREG | 0o600)
