"""Files whose parts leave while they are being written: what is stored, what stays on the local disk, failures."""

from __future__ import annotations

import errno
import os
import random
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest

from cosfs.config import Conflict, FilesystemConfig
from cosfs.errors import NetworkError
from cosfs.filesystem import CosFilesystem
from cosfs.units import KIB, MIB
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import WAIT_S, MemoryClient, error
from tests.support.scenarios import refused

pytestmark = pytest.mark.timeout(60)

CONTENT = random.Random(5).randbytes(24 * MIB)
WRITE_BYTES = 128 * KIB
SMALL_DISK = 3 * MIB

Make = Callable[..., FilesystemWorld]


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def make(client: MemoryClient, tmp_path: Path) -> Iterator[Make]:
    """``make(disk=…)``: a filesystem that may stage so many bytes."""
    made = []

    def build(disk: Optional[int] = None, conflict: Conflict = Conflict.OVERWRITE,
              clock: Callable[[], float] = time.time) -> FilesystemWorld:
        made.append(CosFilesystem(client, FilesystemConfig(
            staging_folder=str(tmp_path), part_size_bytes=MIB, staging_limit_bytes=disk, conflict=conflict),
            clock=clock))
        made[-1].start()
        return FilesystemWorld(made[-1])
    yield build
    for filesystem in made:
        filesystem.stop()
    assert client.pending_uploads() == []


def staged_bytes(w: FilesystemWorld) -> int:
    return int(w.filesystem._context.staging.used_bytes)


def new(w: FilesystemWorld, path: str = "/f", flags: int = 0) -> int:
    return w.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)


def append(w: FilesystemWorld, handle: int, start: int, stop: int) -> int:
    """Write that stretch of CONTENT as the kernel would; the most bytes that were staged after any write."""
    most = 0
    for offset in range(start, stop, WRITE_BYTES):
        data = CONTENT[offset:min(stop, offset + WRITE_BYTES)]
        assert w.pwrite(handle, data, offset) == len(data)
        most = max(most, staged_bytes(w))
    return most


def test_parts_leave_while_the_file_is_written_and_close_stores_it(make: Make, client: MemoryClient) -> None:
    w = make()
    handle = new(w)
    append(w, handle, 0, 10 * MIB + 5)
    assert client.count("create_multipart_upload") == 1
    assert "f" not in client.objects
    w.close(handle)
    assert client.body("f") == CONTENT[:10 * MIB + 5]
    assert (client.count("upload_part"), client.count("complete_multipart_upload")) == (11, 1)
    assert client.count("put_object") == client.count("copy_object") == 0
    assert w.stat("/f").size == 10 * MIB + 5


def test_a_file_that_does_not_grow_from_its_end_is_sent_at_close(make: Make, client: MemoryClient) -> None:
    w = make()
    handle = new(w)
    for offset in reversed(range(0, 10 * MIB, MIB)):
        w.pwrite(handle, CONTENT[offset:offset + MIB], offset)
    assert client.count("create_multipart_upload") == 0
    w.close(handle)
    assert client.body("f") == CONTENT[:10 * MIB]


def test_growing_a_stored_file_copies_what_it_has(make: Make, client: MemoryClient) -> None:
    client.add("f", CONTENT[:5 * MIB])
    w = make(SMALL_DISK)
    handle = w.open("/f", os.O_WRONLY)
    assert append(w, handle, 5 * MIB, 20 * MIB) <= SMALL_DISK
    w.close(handle)
    assert client.body("f") == CONTENT[:20 * MIB]
    assert client.count("upload_part_copy") == 1
    assert client.count("get_object") == 0


def test_a_part_that_has_left_can_be_written_again(make: Make, client: MemoryClient) -> None:
    w = make()
    handle = new(w)
    append(w, handle, 0, 10 * MIB)
    w.pwrite(handle, b"header", 0)
    w.pwrite(handle, b"across", 3 * MIB - 3)
    expected = bytearray(CONTENT[:10 * MIB])
    expected[:6] = b"header"
    expected[3 * MIB - 3:3 * MIB + 3] = b"across"
    assert w.pread(handle, 10, 0) == bytes(expected[:10])
    w.close(handle)
    assert client.body("f") == bytes(expected)
    assert client.count("complete_multipart_upload") == 1


def test_a_large_file_needs_little_local_disk(make: Make, client: MemoryClient, tmp_path: Path) -> None:
    w = make(SMALL_DISK)
    handle = new(w)
    assert append(w, handle, 0, 24 * MIB) <= SMALL_DISK
    w.close(handle)
    assert client.body("f") == CONTENT
    assert client.count("complete_multipart_upload") == 1
    assert staged_bytes(w) == 0


def test_the_disk_space_of_what_was_given_up_is_free(make: Make, client: MemoryClient) -> None:
    w = make(SMALL_DISK)
    handle = new(w)
    append(w, handle, 0, 24 * MIB)
    staging = w.filesystem._table.get("/f")._content._staging
    taken = os.fstat(staging._descriptor).st_blocks * 512
    assert taken <= SMALL_DISK + MIB
    w.close(handle)


def test_bytes_that_are_only_in_parts_are_read_from_the_object(make: Make, client: MemoryClient) -> None:
    w = make(SMALL_DISK)
    handle = new(w)
    append(w, handle, 0, 12 * MIB)
    assert w.pread(handle, 100, 1000) == CONTENT[1000:1100]
    assert client.body("f")[:MIB] == CONTENT[:MIB]
    append(w, handle, 12 * MIB, 24 * MIB)
    w.close(handle)
    assert client.body("f") == CONTENT


@pytest.mark.parametrize("offset", [0, 5 * MIB + 7, 12 * MIB - 3])
def test_bytes_that_are_only_in_parts_can_be_changed(make: Make, client: MemoryClient, offset: int) -> None:
    w = make(SMALL_DISK)
    handle = new(w)
    append(w, handle, 0, 12 * MIB)
    w.pwrite(handle, b"changed", offset)
    append(w, handle, 12 * MIB + 4, 20 * MIB)
    w.close(handle)
    expected = bytearray(CONTENT[:20 * MIB])
    expected[12 * MIB:12 * MIB + 4] = bytes(4)
    expected[offset:offset + 7] = b"changed"
    assert client.body("f") == bytes(expected)


@pytest.mark.parametrize("disk", [None, SMALL_DISK])
@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 100, 11 * MIB])
def test_a_file_that_is_cut_and_grows_again(make: Make, client: MemoryClient, size: int, disk: Optional[int]) -> None:
    w = make(disk)
    handle = new(w)
    append(w, handle, 0, 12 * MIB)
    w.ftruncate(handle, size)
    assert w.fstat(handle).size == size
    append(w, handle, size, size + 8 * MIB)
    w.ftruncate(handle, size + 9 * MIB)
    w.close(handle)
    assert client.body("f") == CONTENT[:size + 8 * MIB] + bytes(MIB)


@pytest.mark.parametrize("disk", [None, SMALL_DISK])
def test_a_file_that_is_renamed_while_it_is_written(make: Make, client: MemoryClient, disk: Optional[int]) -> None:
    w = make(disk)
    handle = new(w)
    append(w, handle, 0, 10 * MIB)
    w.rename("/f", "/g")
    append(w, handle, 10 * MIB, 20 * MIB)
    w.close(handle)
    assert client.body("g") == CONTENT[:20 * MIB]
    assert "f" not in client.objects


@pytest.mark.parametrize("disk", [None, SMALL_DISK])
def test_a_file_that_is_removed_while_it_is_written(make: Make, client: MemoryClient, disk: Optional[int]) -> None:
    w = make(disk and 16 * MIB)
    handle = new(w)
    append(w, handle, 0, 12 * MIB if disk is None else 20 * MIB)
    if disk is not None:
        w.ftruncate(handle, 12 * MIB)
    w.unlink("/f")
    assert w.pread(handle, 100, 5 * MIB) == CONTENT[5 * MIB:5 * MIB + 100]
    w.pwrite(handle, b"more", 12 * MIB)
    assert w.pread(handle, 10, 12 * MIB - 2) == CONTENT[12 * MIB - 2:12 * MIB] + b"more"
    w.close(handle)
    assert client.objects == {}


def test_fsync_in_the_middle_stores_what_there_is(make: Make, client: MemoryClient) -> None:
    w = make(SMALL_DISK)
    handle = new(w)
    append(w, handle, 0, 10 * MIB)
    w.fsync(handle)
    assert client.body("f") == CONTENT[:10 * MIB]
    append(w, handle, 10 * MIB, 20 * MIB)
    w.close(handle)
    assert client.body("f") == CONTENT[:20 * MIB]


def test_bytes_do_not_stay_in_parts_until_a_rule_of_the_bucket_removes_them(make: Make, client: MemoryClient) -> None:
    now = [1_700_000_000.0]
    w = make(SMALL_DISK, clock=lambda: now[0])
    handle = new(w)
    append(w, handle, 0, 12 * MIB)
    assert "f" not in client.objects
    now[0] += 13 * 3600
    append(w, handle, 12 * MIB, 12 * MIB + WRITE_BYTES)
    assert client.body("f") == CONTENT[:12 * MIB + WRITE_BYTES]
    w.close(handle)


def test_the_time_is_that_of_completion_as_the_service_tells_it(make: Make, client: MemoryClient) -> None:
    w = make()
    handle = new(w)
    append(w, handle, 0, 10 * MIB)
    w.close(handle)
    assert "mtime" not in client.objects["f"].info.headers.metadata
    assert w.stat("/f").mtime_ns == 1_700_000_000 * 10 ** 9
    assert client.objects["f"].info.headers.metadata["mode"] == str(0o100644)


def test_times_and_mode_that_a_program_sets_are_stored(make: Make, client: MemoryClient) -> None:
    w = make()
    handle = new(w)
    append(w, handle, 0, 10 * MIB)
    w.fchmod(handle, 0o600)
    w.futimens(handle, 123_000_000_001, 456_000_000_002)
    w.close(handle)
    metadata = client.objects["f"].info.headers.metadata
    assert (metadata["mode"], metadata["mtime"], metadata["mtime-ns"]) == (str(0o100600), "456", "456.000000002")
    assert client.body("f") == CONTENT[:10 * MIB]
    assert w.stat("/f").mtime_ns == 456_000_000_002


def test_a_part_that_fails_is_sent_again_at_close(make: Make, client: MemoryClient) -> None:
    w = make()
    client.fail("upload_part", NetworkError("gone"), nth=3)
    handle = new(w)
    append(w, handle, 0, 12 * MIB)
    w.close(handle)
    assert client.body("f") == CONTENT[:12 * MIB]


def test_an_upload_that_cannot_begin_is_made_at_close(make: Make, client: MemoryClient) -> None:
    w = make()
    client.fail("create_multipart_upload", error(503, "ServiceUnavailable"))
    handle = new(w)
    append(w, handle, 0, 12 * MIB)
    assert client.count("create_multipart_upload") == 1
    w.close(handle)
    assert client.body("f") == CONTENT[:12 * MIB]


@pytest.mark.parametrize("disk", [None, SMALL_DISK])
def test_a_commit_that_fails_is_told_and_can_be_repeated(make: Make, client: MemoryClient,
                                                         disk: Optional[int]) -> None:
    w = make(disk)
    old = client.add("f", b"old")
    handle = new(w, flags=os.O_TRUNC)
    append(w, handle, 0, 12 * MIB)
    client.fail("complete_multipart_upload", error(503, "ServiceUnavailable"))
    with pytest.raises(OSError):
        w.fsync(handle)
    assert client.objects["f"].info == old
    append(w, handle, 12 * MIB, 20 * MIB)
    w.close(handle)
    assert client.body("f") == CONTENT[:20 * MIB]


def test_a_writer_waits_until_parts_have_arrived(make: Make, client: MemoryClient,
                                                 background: Callable[..., Future[Any]]) -> None:
    w = make(5 * MIB)
    gates = [client.block("upload_part", nth=number) for number in range(1, 6)]
    handle = new(w)
    written = background(append, w, handle, 0, 12 * MIB)
    gates[0].wait_entered()
    gates[3].wait_entered()
    assert staged_bytes(w) <= 5 * MIB
    assert not written.done()
    for gate in gates:
        gate.open()
    assert written.result(WAIT_S) <= 5 * MIB
    w.close(handle)
    assert client.body("f") == CONTENT[:12 * MIB]


def test_dirty_data_alone_fills_the_disk(make: Make, client: MemoryClient) -> None:
    w = make(SMALL_DISK)
    old = client.add("f", b"old")
    handle = w.open("/f", os.O_RDWR)
    with refused(errno.ENOSPC):
        for offset in reversed(range(0, 8 * MIB, MIB)):
            w.pwrite(handle, CONTENT[offset:offset + MIB], offset)
    assert client.objects["f"].info == old
    w.ftruncate(handle, 3)
    w.pwrite(handle, b"new", 0)
    w.close(handle)
    assert client.body("f") == b"new"


def test_a_second_writer_waits_for_the_close_of_the_first(make: Make, client: MemoryClient,
                                                          background: Callable[..., Future[Any]]) -> None:
    w = make(SMALL_DISK)
    first, second = new(w, "/a"), new(w, "/b")
    append(w, first, 0, 2 * MIB)
    gate = client.block("put_object")
    closed = background(w.close, first)
    gate.wait_entered()
    written = background(append, w, second, 0, 2 * MIB)
    gate.open()
    closed.result(WAIT_S)
    written.result(WAIT_S)
    w.close(second)
    assert (client.body("a"), client.body("b")) == (CONTENT[:2 * MIB], CONTENT[:2 * MIB])


def test_keep_both_keeps_all_bytes_here_for_the_second_name(make: Make, client: MemoryClient,
                                                            expected_logs: Callable[[str], None]) -> None:
    expected_logs("was changed by another host")
    client.add("f", b"old")
    w = make(16 * MIB, Conflict.KEEP_BOTH)
    handle = w.open("/f", os.O_WRONLY)
    append(w, handle, 0, 12 * MIB)
    client.add("f", b"foreign")
    w.close(handle)
    assert client.body("f") == b"foreign"
    second = next(key for key in client.objects if key != "f")
    assert client.body(second) == CONTENT[:12 * MIB]


def test_what_failed_to_be_stored_is_not_taken_for_another_hosts_object_of_that_size(
        make: Make, client: MemoryClient) -> None:
    w = make(conflict=Conflict.FAIL)
    handle = new(w)
    w.pwrite(handle, b"12345", 0)
    client.fail("put_object", NetworkError("gone"))
    with refused(errno.EHOSTUNREACH):
        w.fsync(handle)
    client.add("f", b"abcde")
    w.pwrite(handle, b"54321", 0)
    with refused(errno.EEXIST):
        w.fsync(handle)
    assert client.body("f") == b"abcde"
    w.unlink("/f")
    w.close(handle)


def test_an_exclusive_file_does_not_replace_what_another_host_made(make: Make, client: MemoryClient,
                                                                   expected_logs: Callable[[str], None]) -> None:
    w = make(SMALL_DISK)
    handle = new(w, flags=os.O_EXCL)
    append(w, handle, 0, 12 * MIB)
    client.add("f", b"foreign")
    with refused(errno.EEXIST):
        w.fsync(handle)
    assert client.body("f") == b"foreign"
    expected_logs("cannot be kept")
    w.unlink("/f")
    with refused(errno.ESTALE):
        w.pread(handle, 1, 0)
    w.close(handle)
