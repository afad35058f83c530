"""Defects that were found by attack, each as the smallest story that showed it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import AccessDenied, CosServiceError
from cosfs.filesystem import CosFilesystem
from tests.support.filesystem_world import FilesystemWorld, started
from tests.support.memory_client import Gate, MemoryClient, error
from tests.support.scenarios import refused
from tests.support.scenarios.files import pattern

pytestmark = pytest.mark.timeout(30)

WAIT_S = 10.0
HIDDEN = "/.fuse_hidden0000000100000001"
"""What libfuse calls the first open file that it hides."""

Submit = Callable[..., "Future[Any]"]


class LateClient(MemoryClient):
    """Its next HEAD can be held back after the service has looked at the object."""

    late: Gate
    held = False

    def hold_answer(self) -> Gate:
        self.late, self.held = Gate(), True
        return self.late

    def head_object(self, key: str) -> ObjectInfo:
        info = super().head_object(key)
        if self.held:
            self.held = False
            self.late.pass_through()
        return info

    def add_in_parts(self, key: str, body: bytes) -> None:
        """An object whose ETag is not that of a copy of it."""
        with self._lock:
            self._store(key, body, ObjectHeaders(), f"parts-{key}-{len(body)}")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> LateClient:
    return LateClient()


@pytest.fixture
def w(client: LateClient, tmp_path: Path, clock: Clock) -> Iterator[FilesystemWorld]:
    config = FilesystemConfig(staging_folder=str(tmp_path), part_size_bytes=1 << 20)
    with started(CosFilesystem(client, config, monotonic=clock)) as world:
        yield world


def test_regression_open_of_an_empty_file_during_its_first_upload_is_enoent(
        w: FilesystemWorld, client: LateClient, background: Submit) -> None:
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT)
    gate = client.block("put_object")
    closed = background(w.close, handle)
    gate.wait_entered()
    opening = background(w.filesystem.open, "/f", os.O_RDONLY)
    try:
        fh = opening.result(2).fh
    finally:
        gate.open()
    closed.result(WAIT_S)
    w.filesystem.release(fh)


def test_regression_own_chmod_makes_a_reader_stale(
        w: FilesystemWorld, client: LateClient, background: Submit) -> None:
    data = pattern(3 << 20, 71)
    client.add_in_parts("f", data)
    handle = w.open("/f", os.O_RDONLY)
    assert w.pread(handle, 1000, 0) == data[:1000]
    copying = client.block("copy_object")
    changed = background(w.chmod, "/f", 0o600)
    copying.wait_entered()
    gate = client.block("get_object")
    reading = background(w.pread, handle, 1000, 2 << 20)
    gate.wait_entered()
    copying.open()
    while client.objects["f"].info.etag.startswith("parts"):
        pass
    gate.open()
    assert reading.result(WAIT_S) == data[2 << 20:][:1000]
    changed.result(WAIT_S)
    w.close(handle)


def test_regression_slow_open_splits_a_file_in_two(
        w: FilesystemWorld, client: LateClient, background: Submit) -> None:
    client.add("f", b"old old old" + bytes(100_000))
    w.readdir("/")
    gate = client.hold_answer()
    opening = background(w.filesystem.open, "/f", os.O_RDWR)
    gate.wait_entered()
    first = w.open("/f", os.O_RDWR)
    w.pwrite(first, b"NEW", 0)
    w.fsync(first)
    gate.open()
    second = opening.result(WAIT_S).fh
    assert w.filesystem.read(second, 0, 11) == b"NEW old old"
    w.filesystem.write(second, 4, b"two")
    assert w.pread(first, 11, 0) == b"NEW two old"
    w.pwrite(first, b"ONE", 0)
    w.filesystem.flush(second)
    w.filesystem.release(second)
    w.close(first)
    assert client.body("f")[:11] == b"ONE two old"


def test_regression_close_during_a_rename_leaves_the_file_open_for_ever(
        w: FilesystemWorld, client: LateClient, clock: Clock, background: Submit) -> None:
    data = pattern(1 << 20, 72)
    w.mkdir("/d")
    w.write_file("/d/target", data)
    w.write_file("/d/source", b"source")
    reader = w.open("/d/target", os.O_RDONLY)
    source = w.open("/d/source", os.O_RDONLY)
    gate = client.block("get_object")
    renamed = background(w.filesystem.rename, "/d/source", "/d/target")
    gate.wait_entered()
    w.close(source)
    gate.open()
    renamed.result(WAIT_S)
    w.close(reader)
    client.add("d/target", b"foreign")
    clock.now_s += 1000
    assert w.stat("/d/target").size == 7


def test_regression_failed_delete_of_a_rename_parts_name_and_handle(
        w: FilesystemWorld, client: LateClient) -> None:
    w.write_file("/a", b"old")
    handle = w.open("/a", os.O_RDWR)
    w.pwrite(handle, b"new", 0)
    client.fail("delete_object", error(403, "AccessDenied", "a"))
    with refused(errno.EACCES):
        w.rename("/a", "/b")
    w.pwrite(handle, b"er", 3)
    w.fsync(handle)
    assert w.read_file("/a") == b"newer"
    w.rename("/a", "/b")
    w.close(handle)
    assert client.body("b") == b"newer"
    assert "a" not in client.objects


def test_regression_failed_replacement_removes_the_open_target(
        w: FilesystemWorld, client: LateClient) -> None:
    client.add("target", b"old")
    client.add("source", b"new")
    reader = w.open("/target", os.O_RDONLY)
    w.filesystem.rename("/target", HIDDEN)
    client.fail("copy_object", error(503, "SlowDown", "target"))
    with pytest.raises(CosServiceError):
        w.filesystem.rename("/source", "/target")
    w.fsyncdir("/")
    assert client.body("target") == b"old"
    assert w.read_file("/target") == b"old"
    w.close(reader)


def test_regression_own_write_and_foreign_version_are_mixed(w: FilesystemWorld, client: LateClient) -> None:
    client.add("f", b"1" * 200_000)
    handle = w.open("/f", os.O_RDWR)
    w.pwrite(handle, b"2" * 100, 0)  # the kernel keeps these pages
    w.fsync(handle)
    client.add("f", b"3" * 200_000)
    with refused(errno.ESTALE):
        w.pread(handle, 100, 150_000)
    w.close(handle)


def test_a_small_file_that_was_stored_here_is_read_on_as_it_was_stored(w: FilesystemWorld, client: LateClient) -> None:
    client.add("f", b"1" * 1000)
    handle = w.open("/f", os.O_RDWR)
    w.pwrite(handle, b"2" * 100, 0)
    w.fsync(handle)
    client.add("f", b"3" * 1000)
    assert w.pread(handle, 1000, 0) == b"2" * 100 + b"1" * 900
    w.close(handle)


def test_regression_directory_rename_keeps_the_old_name_of_a_file_stored_meanwhile(
        w: FilesystemWorld, client: LateClient, background: Submit) -> None:
    w.mkdir("/d")
    w.write_file("/d/other", b"other")
    handle = w.open("/d/f", os.O_WRONLY | os.O_CREAT)
    w.pwrite(handle, b"content", 0)
    gate = client.block("copy_object")
    renamed = background(w.filesystem.rename, "/d", "/e")
    gate.wait_entered()
    w.fsync(handle)
    gate.open()
    renamed.result(WAIT_S)
    w.filesystem.flush(handle)
    w.filesystem.release(handle)
    assert sorted(client.objects) == ["e/", "e/f", "e/other"]


def test_regression_slow_listing_hides_a_new_file(
        w: FilesystemWorld, client: LateClient, clock: Clock, background: Submit) -> None:
    client.add("old", b"old")
    original = client.list_objects
    entered, go = threading.Event(), threading.Event()

    def late(prefix: str, **rest: Any) -> Any:
        page = original(prefix, **rest)
        if rest.get("delimiter") and not entered.is_set():
            entered.set()
            assert go.wait(WAIT_S)
        return page

    client.list_objects = late  # type: ignore[method-assign]
    listing = background(w.filesystem.readdir, "/")
    assert entered.wait(WAIT_S)
    w.write_file("/new", b"new")
    clock.now_s += 11
    go.set()
    listing.result(WAIT_S)
    assert w.exists("/new")


def test_regression_lost_answer_of_an_own_copy_makes_the_file_stale(
        w: FilesystemWorld, client: LateClient) -> None:
    data = pattern(100_000, 73)
    client.add_in_parts("f", data)
    handle = w.open("/f", os.O_RDWR)
    original = client.copy_object

    def twice(*args: Any, **rest: Any) -> Any:
        client.copy_object = original  # type: ignore[method-assign]
        original(*args, **rest)  # the answer is lost, so the client sends it again
        return original(*args, **rest)

    client.copy_object = twice  # type: ignore[method-assign]
    w.fchmod(handle, 0o640)
    w.fsyncdir("/")
    assert client.objects["f"].info.headers.metadata["mode"] == str(stat.S_IFREG | 0o640)
    w.pwrite(handle, b"!", 0)
    w.close(handle)
    assert client.body("f") == b"!" + data[1:]


def test_regression_chmod_during_the_upload_of_a_close_waits_for_the_last_reader(
        w: FilesystemWorld, client: LateClient, background: Submit) -> None:
    writer = w.open("/f", os.O_WRONLY | os.O_CREAT)
    reader = w.open("/f", os.O_RDONLY)
    w.pwrite(writer, b"content", 0)
    gate = client.block("put_object")
    closed = background(w.close, writer)
    gate.wait_entered()
    w.chmod("/f", 0o600)
    gate.open()
    closed.result(WAIT_S)
    assert client.objects["f"].info.headers.metadata["mode"] == str(stat.S_IFREG | 0o600)
    w.close(reader)


def test_regression_hidden_file_is_lost_when_its_directory_is_renamed(
        w: FilesystemWorld, client: LateClient) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"content")
    reader = w.open("/d/f", os.O_RDONLY)
    w.filesystem.rename("/d/f", "/d" + HIDDEN)
    w.rename("/d", "/e")
    assert w.stat("/e" + HIDDEN).size == 7
    assert w.pread(reader, 10, 0) == b"content"
    w.filesystem.release(reader)
    w.filesystem.unlink("/e" + HIDDEN)
    w.rmdir("/e")


def test_regression_failed_rename_of_a_directory_takes_open_files_along(
        w: FilesystemWorld, client: LateClient) -> None:
    w.mkdir("/d")
    handles = []
    for name in ("a", "b"):
        w.write_file(f"/d/{name}", b"old")
        handles.append(w.open(f"/d/{name}", os.O_RDWR))
        w.pwrite(handles[-1], b"new", 0)
    client.fail("put_object", error(503, "SlowDown", "e/b"), nth=2)  # one of them has moved
    with refused(errno.EIO):
        w.rename("/d", "/e")
    for handle in handles:
        w.close(handle)
    assert {key: stored.body for key, stored in client.objects.items()} == {"d/": b"", "d/a": b"new", "d/b": b"new"}
    assert sorted(w.readdir("/d")) == ["a", "b"]
    assert not w.exists("/e")


def test_regression_object_with_a_disposition_cannot_be_replaced_after_a_foreign_change(
        w: FilesystemWorld, client: LateClient) -> None:
    headers = ObjectHeaders(standard={"Content-Disposition": "attachment"})
    client.add("f", b"old", headers)
    w.readdir("/")
    assert w.stat("/f").size == 3
    client.add("f", b"foreign", headers)
    w.write_file("/f", b"mine")
    assert client.body("f") == b"mine"
    assert client.objects["f"].info.headers.standard == headers.standard


def test_regression_failed_unlink_lets_a_reader_overwrite_a_foreign_version(
        w: FilesystemWorld, client: LateClient) -> None:
    client.add("f", b"old")
    reader = w.open("/f", os.O_RDONLY)
    client.fail("delete_object", error(403, "AccessDenied", "f"))
    with pytest.raises(AccessDenied):
        w.filesystem.unlink("/f")
    client.add("f", b"foreign")
    w.filesystem.flush(reader)
    w.filesystem.release(reader)
    assert client.body("f") == b"foreign"


def test_regression_chmod_of_a_directory_empties_its_marker(w: FilesystemWorld, client: LateClient) -> None:
    client.add("d/", b"something")
    w.chmod("/d", 0o700)
    assert client.body("d/") == b"something"


def test_regression_directory_rename_deletes_what_it_has_not_copied() -> None:
    client = MemoryClient()
    for name in ("a", "b"):
        client.add(f"d/{name}", name.encode())
    filesystem = CosFilesystem(client, FilesystemConfig())
    filesystem.readdir("/d")
    # one of them is not there when it is to be copied, and stored again after that
    client.fail("copy_object", error(404, "NoSuchKey"))
    client.fail("head_object", error(404, "NoSuchKey"), nth=3)
    filesystem.rename("/d", "/e")
    filesystem.stop()
    assert sorted(found.body for found in client.objects.values()) == [b"a", b"b"]
