"""Writeback mode: close returns before the upload, and what waits is as good as stored."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from cosfs.units import KIB, MIB
from tests.support.memory_client import WAIT_S, MemoryClient, error
from tests.support.scenarios import refused
from tests.support.writeback_hosts import DATA, Hosts, read, write, writes

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def hosts(client: MemoryClient, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(client, tmp_path)
    yield made
    made.close()




def test_close_and_fsync_return_before_the_upload(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=0)
    gate = client.block("put_object")
    write(w, "/f", b"one")
    gate.wait_entered()
    assert client.objects == {}
    handle = w.open("/g", os.O_RDWR | os.O_CREAT, 0o600)
    w.pwrite(handle, b"two", 0)
    second = client.block("put_object")
    w.fsync(handle)
    second.wait_entered()
    gate.open()
    second.open()
    w.close(handle)
    hosts.stop(w)
    assert (client.body("f"), client.body("g")) == (b"one", b"two")
    assert hosts.folders() == []


def test_what_waits_is_shown_read_and_changed_as_if_it_were_stored(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    write(w, "/f", b"content")
    w.chmod("/f", 0o640)
    assert sorted(w.readdir("/")) == ["f"]
    assert (w.stat("/f").size, w.stat("/f").mode & 0o777) == (7, 0o640)
    assert read(w, "/f") == b"content"
    w.truncate("/f", 3)
    assert read(w, "/f") == b"con"
    handle = w.open("/f", os.O_WRONLY | os.O_APPEND)
    w.pwrite(handle, b"tent!", 3)
    w.close(handle)
    assert read(w, "/f") == b"content!"
    assert writes(client) == 0
    hosts.stop(w)
    assert client.body("f") == b"content!"
    assert client.objects["f"].info.headers.metadata["mode"] == str(0o100640)
    assert writes(client) == 1


def test_a_file_that_is_rewritten_within_the_delay_is_one_put(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    for number in range(10):
        write(w, "/f", f"version {number}".encode())
    assert writes(client) == 0
    hosts.stop(w)
    assert client.body("f") == b"version 9"
    assert writes(client) == 1


def test_a_temporary_file_that_is_renamed_is_one_put_and_no_copy(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    write(w, "/f.tmp", b"content")
    w.rename("/f.tmp", "/f")
    assert sorted(w.readdir("/")) == ["f"]
    hosts.stop(w)
    assert list(client.objects) == ["f"]
    assert (writes(client), client.count("delete_object") + client.count("delete_objects")) == (1, 0)


def test_a_temporary_file_that_is_removed_costs_nothing(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    write(w, "/f", b"content")
    w.unlink("/f")
    assert sorted(w.readdir("/")) == []
    hosts.stop(w)
    assert (client.objects, writes(client)) == ({}, 0)
    assert hosts.folders() == []


def test_a_file_that_is_changed_and_closed_while_its_upload_ends_is_not_let_go(
        hosts: Hosts, client: MemoryClient, monkeypatch: pytest.MonkeyPatch,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    w = hosts.start()
    table = w.filesystem._table
    drop, changed, dropped = table.drop, threading.Event(), threading.Event()

    def late_drop(*args: Any) -> bool:
        if changed.is_set():
            return bool(drop(*args))
        changed.set()
        write(w, "/f", DATA[:200_000])
        result = bool(drop(*args))
        dropped.set()
        return result

    write(w, "/f", DATA[:100_000])
    monkeypatch.setattr(table, "drop", late_drop)
    w.filesystem._context.staging.make_room()  # which brings the upload
    assert dropped.wait(WAIT_S)
    assert client.body("f") == DATA[:100_000]
    assert read(w, "/f") == DATA[:200_000]
    hosts.crash(w)
    hosts.start()
    assert client.body("f") == DATA[:200_000]


def test_a_copy_of_what_is_in_the_bucket_is_made_at_once(hosts: Hosts, client: MemoryClient) -> None:
    client.add("source", DATA[:100_000])
    w = hosts.start()
    source, target = w.open("/source", os.O_RDONLY), w.open("/target", os.O_WRONLY | os.O_CREAT)
    assert w.filesystem.copy_range(source, 0, target, 0, 100_000) == 100_000
    w.close(target)
    assert client.body("target") == DATA[:100_000]
    w.close(source)


def test_a_file_is_stored_after_its_delay(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=0.01)
    gate = client.block("put_object")
    write(w, "/f", b"content")
    gate.wait_entered()
    gate.open()
    w.filesystem._writeback.settle()
    assert client.body("f") == b"content"
    assert w.filesystem._table.get("/f") is None
    assert hosts.waiting() == []


def test_a_writer_waits_for_the_room_that_uploads_make(hosts: Hosts, client: MemoryClient,
                                                       background: Callable[..., Future[Any]]) -> None:
    w = hosts.start(staging_limit_bytes=2 * MIB)
    write(w, "/a", DATA[:MIB])
    write(w, "/b", DATA[:MIB])
    gates = [client.block("put_object", nth=nth) for nth in (1, 2)]
    writing = background(write, w, "/c", DATA[:MIB])
    for gate in gates:
        gate.wait_entered()
    assert not writing.done()
    for gate in gates:
        gate.open()
    writing.result(WAIT_S)
    w.filesystem._writeback.settle()  # one of the two was enough
    assert client.body("a") == client.body("b") == client.body("c") == DATA[:MIB]


def test_a_full_disk_is_told_when_no_upload_succeeds(hosts: Hosts, client: MemoryClient,
                                                     expected_logs: Callable[[str], None]) -> None:
    expected_logs("waits in the journal and is tried again")
    expected_logs("1 file waits in")
    expected_logs("/c is not stored|had left . are stored|what was written after the last close is lost")
    for nth in range(1, 50):
        client.fail("put_object", error(503, "NoWay"), nth=nth)
    w = hosts.start(staging_limit_bytes=MIB)
    write(w, "/a", DATA[:MIB])
    handle = w.open("/c", os.O_WRONLY | os.O_CREAT, 0o600)
    with refused(errno.ENOSPC):
        w.pwrite(handle, b"x", 0)
    with refused(errno.ENOSPC):
        w.close(handle)
    hosts.stop(w)
    client.forget_faults()
    hosts.start()
    assert client.body("a") == DATA[:MIB]


def test_a_file_that_fills_the_disk_alone_is_stored_while_it_grows(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(staging_limit_bytes=2 * MIB)
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    for offset in range(0, len(DATA), 128 * KIB):
        w.pwrite(handle, DATA[offset:offset + 128 * KIB], offset)
        w.fsync(handle)
    w.close(handle)
    hosts.stop(w)
    assert client.body("f") == DATA


def test_a_file_that_left_while_it_was_written_is_stored_when_close_returns(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(staging_limit_bytes=2 * MIB)
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    for repeat in range(4):
        for offset in range(0, len(DATA), 128 * KIB):
            w.pwrite(handle, DATA[offset:offset + 128 * KIB], repeat * len(DATA) + offset)
    w.close(handle)
    assert client.body("f") == DATA * 4


# Others


def test_a_file_that_is_being_changed_is_not_stored_half_done(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=0.01)
    writeback = w.filesystem._writeback
    looked = threading.Event()
    look_again = writeback._look_again
    writeback._look_again = lambda waiting: (looked.set(), look_again(waiting))
    gate = client.block("put_object")
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    w.pwrite(handle, b"first", 0)
    with w.filesystem._table.get("/f").settled():
        w.fsync(handle)
        w.pwrite(handle, b"SECON", 0)
    assert looked.wait(WAIT_S)
    assert client.count("put_object") == 0
    w.pwrite(handle, b"second", 0)
    w.close(handle)
    gate.wait_entered()
    gate.open()
    writeback.settle()
    assert client.body("f") == b"second"


def test_eager_creation_has_an_empty_object_at_open(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=None, eager_create=True)
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    assert client.body("f") == b""
    assert client.objects["f"].info.headers.metadata["mode"] == str(0o100600)
    w.pwrite(handle, b"content", 0)
    w.close(handle)
    assert client.body("f") == b"content"
    assert client.count("put_object") == 2


def test_eager_creation_tells_what_goes_wrong_at_open(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=None, eager_create=True)
    client.fail("put_object", error(403, "AccessDenied"))
    with refused(errno.EACCES):
        w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    with refused(errno.ENOENT):
        w.stat("/f")
