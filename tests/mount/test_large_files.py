"""A file larger than the memory that the mount may use: multipart, bounded memory, every byte."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from tests.conftest import MountFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

MIB = 1 << 20
SIZE = 300 * MIB
MEMORY_LIMIT = 64 * MIB
BASE_BYTES = 70 * MIB
"""Interpreter, libraries and caches of an idle mount take 35 MiB; the rest is slack for the allocator."""


def blocks(seed: int) -> Iterator[bytes]:
    numbers = random.Random(seed)
    for _ in range(SIZE // MIB):
        yield numbers.randbytes(MIB)


def drop_kernel_pages(path: Path) -> None:
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("1\n")
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def test_300_mib_by_multipart_in_bounded_memory(make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    mount = make_mount(f"memory_limit={MEMORY_LIMIT // MIB}M")
    path = mount.point / "large"
    written = hashlib.sha256()
    server.clear_requests()
    with open(path, "wb", buffering=0) as file:
        for block in blocks(51):
            written.update(block)
            assert file.write(block) == MIB

    assert path.stat().st_size == SIZE
    assert store.head("large").etag.endswith("-30")
    parts = [request["bytes_in"] for request in server.requests(op="upload_part")]
    assert len(parts) == 30
    assert max(parts) <= 10 * MIB + 1024
    assert store.pending_uploads() == []

    drop_kernel_pages(path)
    read = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for block in iter(lambda: file.read(MIB), b""):
            read.update(block)
    assert read.hexdigest() == written.hexdigest()

    assert mount.resident_bytes("VmHWM") < BASE_BYTES + MEMORY_LIMIT

    mount.remount()
    digest = subprocess.run(["sha256sum", path], check=True, capture_output=True).stdout.split()[0].decode()
    assert digest == written.hexdigest()


def test_small_edit_of_a_large_object_moves_little(make_mount: MountFactory, server: CosServer,
                                                   store: CosStore) -> None:
    data = bytearray(random.Random(52).randbytes(64 * MIB))
    store.put("large", bytes(data))
    mount = make_mount()
    server.clear_requests()
    with open(mount.point / "large", "r+b", buffering=0) as file:
        file.seek(30 * MIB)
        file.write(b"x" * 4096)
    data[30 * MIB:30 * MIB + 4096] = b"x" * 4096
    assert store.body("large") == bytes(data)
    uploaded = sum(request["bytes_in"] for request in server.requests(op="upload_part"))
    assert uploaded <= 2 * MIB


def test_one_put_for_a_small_file_and_nothing_at_open(make_mount: MountFactory, server: CosServer) -> None:
    mount = make_mount()
    (mount.point / "before").write_bytes(b"warm")
    server.clear_requests()
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(handle, b"content")
    os.fchmod(handle, 0o640)
    os.utime(handle, ns=(1, 2))
    assert server.requests(method="PUT") == []
    os.close(handle)
    assert [request["op"] for request in server.requests(method="PUT")] == ["put_object"]


def test_second_read_of_an_unchanged_file_fetches_nothing(make_mount: MountFactory, server: CosServer) -> None:
    mount = make_mount()
    (mount.point / "f").write_bytes(random.Random(53).randbytes(3 * MIB))
    (mount.point / "f").read_bytes()
    server.clear_requests()
    assert (mount.point / "f").read_bytes() == random.Random(53).randbytes(3 * MIB)
    assert server.requests(op="get_object") == []


def test_sparse_giant_file_costs_neither_memory_nor_time_to_stat(make_mount: MountFactory) -> None:
    mount = make_mount()
    path = mount.point / "sparse"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, 200 << 30)
    assert os.pread(handle, 10, 100 << 30) == bytes(10)
    assert os.fstat(handle).st_size == 200 << 30
    os.ftruncate(handle, 5)
    os.close(handle)
    assert path.read_bytes() == bytes(5)
    assert mount.resident_bytes("VmHWM") < BASE_BYTES + 100 * MIB
