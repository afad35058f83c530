"""Operations that meet in the middle of an upload or a download; gates of the client in memory hold them there."""

from __future__ import annotations

import os
import random
import stat
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import StaleHandle
from cosfs.filesystem import CosFilesystem
from tests.support.filesystem_world import FilesystemWorld, started
from tests.support.memory_client import MemoryClient, error
from tests.support.scenarios import refused
from tests.support.scenarios.files import pattern

pytestmark = pytest.mark.timeout(60)

WAIT_S = 10.0

Submit = Callable[..., "Future[Any]"]
"""Starts a call in the background."""


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def w(client: MemoryClient, tmp_path: Path) -> Iterator[FilesystemWorld]:
    config = FilesystemConfig(staging_folder=str(tmp_path), part_size_bytes=1 << 20)
    with started(CosFilesystem(client, config)) as world:
        yield world


def test_chmod_during_an_upload_is_not_lost(w: FilesystemWorld, client: MemoryClient,
                                            background: Submit) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT, 0o644)
    w.pwrite(handle, b"content", 0)
    gate = client.block("put_object")
    flushed = background(w.fsync, handle)
    gate.wait_entered()
    w.chmod("/f", 0o600)
    assert w.stat("/f").permissions == 0o600
    gate.open()
    flushed.result(WAIT_S)
    w.close(handle)
    assert client.objects["f"].info.headers.metadata["mode"] == str(stat.S_IFREG | 0o600)


def test_write_during_an_upload_is_not_lost(w: FilesystemWorld, client: MemoryClient,
                                            background: Submit) -> None:
    first = w.open("/f", os.O_RDWR | os.O_CREAT)
    second = w.open("/f", os.O_RDWR)
    w.pwrite(first, b"first", 0)
    gate = client.block("put_object")
    flushed = background(w.fsync, first)
    gate.wait_entered()
    written = background(w.pwrite, second, b" second", 5)
    gate.open()
    flushed.result(WAIT_S)
    written.result(WAIT_S)
    w.close(first)
    w.close(second)
    assert client.body("f") == b"first second"


def test_stat_and_read_do_not_wait_for_an_upload(w: FilesystemWorld, client: MemoryClient,
                                                 background: Submit) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.pwrite(handle, b"content", 0)
    gate = client.block("put_object")
    flushed = background(w.fsync, handle)
    gate.wait_entered()
    assert w.stat("/f").size == 7
    assert w.pread(handle, 10, 0) == b"content"
    assert set(w.readdir("/")) == {"f"}
    gate.open()
    flushed.result(WAIT_S)
    w.close(handle)


@pytest.mark.parametrize("change", ["write", "rename"])
def test_regression_read_between_the_storing_of_a_new_version_and_its_answer_is_no_estale(
        w: FilesystemWorld, client: MemoryClient, change: str, background: Submit,
        monkeypatch: pytest.MonkeyPatch) -> None:
    data = pattern(300_000, 62)
    client.add("f", data)
    handle = w.open("/f", os.O_RDWR)
    stored, answered = threading.Event(), threading.Event()
    name = "put_object" if change == "write" else "copy_object"
    call = getattr(client, name)

    def slow_answer(*args: Any, **more: Any) -> object:
        answer = call(*args, **more)
        if change == "rename":
            client.objects.pop("f")
        stored.set()
        assert answered.wait(WAIT_S)
        return answer

    monkeypatch.setattr(client, name, slow_answer)
    if change == "write":
        w.pwrite(handle, b"new", 0)
        changing = background(w.fsync, handle)
    else:
        changing = background(w.rename, "/f", "/g")
    assert stored.wait(WAIT_S)
    reading = background(w.pread, handle, 1000, 200_000)
    answered.set()
    assert reading.result(WAIT_S) == data[200_000:201_000]
    changing.result(WAIT_S)
    w.close(handle)


def test_unlink_during_an_upload_leaves_nothing(w: FilesystemWorld, client: MemoryClient,
                                                background: Submit) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.pwrite(handle, b"content", 0)
    gate = client.block("put_object")
    closed = background(w.close, handle)
    gate.wait_entered()
    removed = background(w.unlink, "/f")
    gate.open()
    closed.result(WAIT_S)
    removed.result(WAIT_S)
    w.fsyncdir("/")
    assert client.objects == {}
    assert not w.exists("/f")


def test_rename_during_an_upload_keeps_one_file(w: FilesystemWorld, client: MemoryClient,
                                                background: Submit) -> None:
    handle = w.open("/a", os.O_RDWR | os.O_CREAT)
    w.pwrite(handle, b"content", 0)
    gate = client.block("put_object")
    flushed = background(w.fsync, handle)
    gate.wait_entered()
    renamed = background(w.rename, "/a", "/b")
    gate.open()
    flushed.result(WAIT_S)
    renamed.result(WAIT_S)
    w.close(handle)
    w.fsyncdir("/")
    assert {key: stored.body for key, stored in client.objects.items()} == {"b": b"content"}


def test_open_during_the_last_close_sees_the_content(w: FilesystemWorld, client: MemoryClient,
                                                     background: Submit) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.pwrite(handle, b"content", 0)
    gate = client.block("put_object")
    closed = background(w.close, handle)
    gate.wait_entered()
    again = w.open("/f", os.O_RDWR)
    assert w.pread(again, 10, 0) == b"content"
    gate.open()
    closed.result(WAIT_S)
    w.pwrite(again, b"C", 0)
    w.close(again)
    assert client.body("f") == b"Content"


def test_failed_upload_meets_a_reopened_file_and_loses_nothing(w: FilesystemWorld, client: MemoryClient,
                                                               background: Submit) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.pwrite(handle, b"content", 0)
    client.fail("put_object", error(503, "SlowDown", "f"))
    gate = client.block("put_object")
    flushed = background(w.fsync, handle)
    gate.wait_entered()
    again = w.open("/f", os.O_RDWR)
    gate.open()
    with refused(5):
        flushed.result(WAIT_S)
    w.close(handle)
    w.pwrite(again, b" more", 7)
    w.close(again)
    assert client.body("f") == b"content more"


def test_reader_and_unlink_during_a_download(w: FilesystemWorld, client: MemoryClient,
                                             background: Submit) -> None:
    data = pattern(3 << 20, 61)
    client.add("f", data)
    handle = w.open("/f", os.O_RDONLY)
    gate = client.block("get_object", after_bytes=100_000)
    reading = background(w.read_all, handle)
    gate.wait_entered()
    removed = background(w.unlink, "/f")
    gate.open()
    assert reading.result(WAIT_S) == data
    removed.result(WAIT_S)
    assert w.read_all(handle) == data
    w.close(handle)
    assert client.objects == {}


def test_regression_open_of_a_file_that_was_removed_and_closed_meanwhile_is_estale(w: FilesystemWorld) -> None:
    """The kernel looked the name up before; libfuse passes the hidden name that it gave the file."""
    filesystem, hidden = w.filesystem, "/.fuse_hidden0000002300000013"
    w.write_file("/f", b"content")
    first = filesystem.open("/f", os.O_RDONLY).fh
    filesystem.rename("/f", hidden)
    second = filesystem.open(hidden, os.O_RDONLY).fh
    assert filesystem.read(second, 0, 10) == b"content"
    filesystem.release(first)
    filesystem.release(second)
    with pytest.raises(StaleHandle):
        filesystem.open(hidden, os.O_RDONLY)
    filesystem.unlink(hidden)


def test_regression_version_stored_between_lookup_and_open_is_the_one_that_is_read(
        w: FilesystemWorld, client: MemoryClient, background: Submit) -> None:
    w.write_file("/f", b"old")
    handle = w.open("/f", os.O_RDWR)
    w.pwrite(handle, b"newer", 0)
    looked_up, stored = threading.Event(), threading.Event()
    find = w.filesystem._files._file_info

    def slow_lookup(path: str) -> object:
        found = find(path)
        looked_up.set()
        assert stored.wait(WAIT_S)
        return found

    w.fsync(handle)
    w.close(handle)
    w.filesystem._files._file_info = slow_lookup
    opened = background(w.filesystem.open, "/f", os.O_RDONLY)
    assert looked_up.wait(WAIT_S)
    w.filesystem._files._file_info = find
    w.write_file("/f", b"newest")
    stored.set()
    assert w.filesystem.read(opened.result(WAIT_S).fh, 0, 10) == b"newest"
    w.filesystem.release(opened.result().fh)


@pytest.mark.parametrize("seed", range(4))
def test_many_threads_on_one_file_lose_no_write(w: FilesystemWorld, client: MemoryClient, seed: int,
                                                background: Submit) -> None:
    """Eight writers, each with its own stripes, opening, writing, syncing, reading back and closing."""
    stripe, writers, rounds = 40_000, 8, 12
    expected = bytearray(stripe * writers * rounds)
    start = threading.Barrier(writers)

    def write(number: int) -> None:
        numbers = random.Random(seed * 100 + number)
        start.wait(WAIT_S)
        handle = w.open("/f", os.O_RDWR | os.O_CREAT)
        for turn in range(rounds):
            offset = (turn * writers + number) * stripe
            data = numbers.randbytes(stripe)
            expected[offset:offset + stripe] = data
            w.pwrite(handle, data, offset)
            choice = numbers.random()
            if choice < 0.2:
                w.fsync(handle)
            elif choice < 0.5:
                w.close(handle)
                handle = w.open("/f", os.O_RDWR)
            elif choice < 0.6:
                w.fchmod(handle, 0o600 | number)
            assert w.pread(handle, stripe, offset) == data
        w.close(handle)

    w.write_file("/f", b"")
    running: List[Future[Any]] = [background(write, number) for number in range(writers)]
    for one in running:
        one.result(30)
    assert w.read_file("/f") == bytes(expected)
    assert client.body("f") == bytes(expected)
    assert client.pending_uploads() == []


@pytest.mark.parametrize("seed", range(4))
def test_many_threads_in_one_directory_keep_names_and_bytes_together(
        w: FilesystemWorld, client: MemoryClient, seed: int, background: Submit) -> None:
    """Each thread has its own names, as the kernel allows no two changes of one name at a time."""
    def work(number: int) -> bytes:
        numbers = random.Random(seed * 100 + number)
        data = b""
        name = f"/{number}-0"
        w.write_file(name, data)
        for turn in range(1, 25):
            choice = numbers.random()
            if choice < 0.4:
                data = numbers.randbytes(numbers.randrange(1, 5000))
                w.write_file(name, data)
            elif choice < 0.6:
                new = f"/{number}-{turn}"
                w.rename(name, new)
                name = new
            elif choice < 0.7:
                w.unlink(name)
                w.write_file(name, data)
            elif choice < 0.8:
                w.chmod(name, 0o600)
            else:
                assert name[1:] in w.readdir("/")
            assert w.read_file(name) == data
        return name[1:].encode() + b"=" + data

    running: List[Future[Any]] = [background(work, number) for number in range(8)]
    results = dict(one.result(30).split(b"=", 1) for one in running)
    w.fsyncdir("/")
    assert {key.encode(): stored.body for key, stored in client.objects.items()} == results
    assert sorted(w.readdir("/")) == sorted(name.decode() for name in results)
