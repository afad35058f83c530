"""A file that is written, cut, read, renamed and synced in any order, with little local disk, against a byte array."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from typing import List, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosfs.config import FilesystemConfig
from cosfs.errors import NetworkError
from cosfs.filesystem import CosFilesystem
from cosfs.units import KIB, MIB
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import MemoryClient

pytestmark = pytest.mark.timeout(300)

NOISE = random.Random(9).randbytes(4 * MIB)
SIZES = st.sampled_from([1, 700, 64 * KIB, MIB, MIB + 1, 3 * MIB])
PLACES = st.one_of(st.sampled_from([0, 1, MIB - 1, MIB, 2 * MIB, 5 * MIB]), st.integers(0, 9 * MIB))
STEPS = st.one_of(
    st.tuples(st.just("append"), SIZES), st.tuples(st.just("append"), SIZES), st.tuples(st.just("append"), SIZES),
    st.tuples(st.just("write"), PLACES), st.tuples(st.just("read"), PLACES), st.tuples(st.just("cut"), PLACES),
    st.tuples(st.sampled_from(["fsync", "rename", "reopen", "chmod"]), st.just(0)),
    st.tuples(st.sampled_from(["upload_part", "complete_multipart_upload"]), st.just(0)))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=3, max_size=14), disk=st.sampled_from([None, 4 * MIB, 6 * MIB]),
       seed=st.integers(0, 100))
def test_what_is_written_is_what_is_read_and_stored(steps: List[Tuple[str, int]], disk: int, seed: int) -> None:
    client = MemoryClient()
    with tempfile.TemporaryDirectory() as folder:
        filesystem = CosFilesystem(client, FilesystemConfig(
            staging_folder=folder, part_size_bytes=MIB, staging_limit_bytes=disk))
        filesystem.start()
        run(FilesystemWorld(filesystem), client, steps, seed)
        filesystem.stop()
    assert client.pending_uploads() == []
    assert filesystem._context.staging.used_bytes == 0


def put(w: FilesystemWorld, handle: int, data: bytes, offset: int) -> None:
    """Write; a disk full of bytes that cannot leave by themselves is made room on by a sync."""
    try:
        w.pwrite(handle, data, offset)
    except OSError as exc:
        assert exc.errno == errno.ENOSPC
        w.fsync(handle)
        w.pwrite(handle, data, offset)


def run(w: FilesystemWorld, client: MemoryClient, steps: List[Tuple[str, int]], seed: int) -> None:
    expected, path, number = bytearray(), "/f0", 0
    handle = w.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for count, (step, value) in enumerate(steps):
        if step == "append":
            data = NOISE[seed + count:seed + count + value]
            for start in range(0, value, 256 * KIB):
                put(w, handle, data[start:start + 256 * KIB], len(expected) + start)
            expected += data
        elif step == "write":
            place = min(value, len(expected))
            put(w, handle, b"<changed>", place)
            expected[place:place + 9] = b"<changed>"
        elif step == "read":
            assert w.pread(handle, 70_000, value) == bytes(expected[value:value + 70_000])
        elif step == "cut":
            size = min(value, len(expected) + 100)
            w.ftruncate(handle, size)
            expected = expected[:size] + bytearray(max(0, size - len(expected)))
        elif step == "fsync":
            w.fsync(handle)
            assert client.body(path[1:]) == bytes(expected)
        elif step == "rename":
            number += 1
            w.rename(path, f"/f{number}")
            path = f"/f{number}"
        elif step == "reopen":
            w.close(handle)
            assert client.body(path[1:]) == bytes(expected)
            handle = w.open(path, os.O_RDWR)
        elif step == "chmod":
            w.fchmod(handle, 0o600)
        else:
            client.fail(step, NetworkError("gone"))
            with contextlib.suppress(OSError):  # told, and nothing is lost
                w.fsync(handle)
            client.forget_faults()
        assert w.fstat(handle).size == len(expected)
    w.close(handle)
    assert client.body(path[1:]) == bytes(expected)
    assert list(client.objects) == [path[1:]]
