"""Large files that leave while they are written: with a small disk, by a real ``cp``, and through a crash."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from cosfs.cos.crc64 import crc64
from tests.conftest import MountFactory
from tests.support.disk import small_disk
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

MIB = 1 << 20
BLOCK = os.urandom(MIB)
DISK_MIB = 32
WAIT_S = 20.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for unsent data."""
    with small_disk(tmp_path / "disk", DISK_MIB * MIB) as point:
        yield point


def wait_until(probe: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_S
    while not probe():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.02)


def test_cp_of_a_file_far_larger_than_the_disk(make_mount: MountFactory, store: CosStore, disk: Path,
                                               tmp_path: Path) -> None:
    source = tmp_path / "source"
    with open(source, "wb") as file:
        for number in range(200):
            file.write(BLOCK[number:] + BLOCK[:number])
    mount = make_mount(f"tmpdir={disk},ensure_diskfree=1,multipart_size=2,memory_limit=32M")
    subprocess.run(["cp", str(source), str(mount.point / "target")], check=True, timeout=60)
    assert store.head("target").crc64 == crc64(source.read_bytes())
    assert store.pending_uploads() == []
    assert mount.resident_bytes("VmHWM") < (32 + 150) * MIB
    assert os.statvfs(disk).f_bfree * os.statvfs(disk).f_frsize > (DISK_MIB - 1) * MIB


def test_parts_arrive_before_the_writer_is_done(make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    mount = make_mount("multipart_size=1")
    server.clear_requests()
    with open(mount.point / "growing", "wb", buffering=0) as file:
        for _ in range(6):
            file.write(BLOCK)
        wait_until(lambda: len(server.requests(op="upload_part")) >= 5)
        assert not store.has("growing")
    assert store.body("growing") == BLOCK * 6


@pytest.mark.parametrize("arrived", [0, 20], ids=["on-their-way", "arrived"])
def test_parts_that_have_left_are_sent_again_when_they_change(arrived: int, make_mount: MountFactory,
                                                              server: CosServer, store: CosStore) -> None:
    """The kernel sends them from the staging file, whose bytes are those that change."""
    mount = make_mount("multipart_size=1")
    server.clear_requests()
    expected = bytearray(BLOCK * 24)
    with open(mount.point / "f", "w+b", buffering=0) as file:
        for _ in range(24):
            file.write(BLOCK)
        wait_until(lambda: len(server.requests(op="upload_part")) >= arrived)
        for at in range(0, 24 * MIB, 3 * MIB // 2):
            patch = os.urandom(5000)
            os.pwrite(file.fileno(), patch, at)
            expected[at:at + len(patch)] = patch
    assert store.body("f") == expected
    assert store.pending_uploads() == []


def test_a_mount_that_is_killed_leaves_an_upload_that_the_next_one_aborts(
        make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    mount = make_mount("multipart_size=1")
    server.clear_requests()
    file = os.open(mount.point / "growing", os.O_WRONLY | os.O_CREAT)
    for _ in range(6):
        os.write(file, BLOCK)
    wait_until(lambda: len(server.requests(op="upload_part")) >= 5)
    mount.kill()
    with pytest.raises(OSError):
        os.close(file)
    assert len(store.pending_uploads()) == 1
    mount.start()
    assert store.pending_uploads() == []
    assert not store.has("growing")


def test_an_edit_that_the_disk_has_no_room_for_is_told_and_changes_nothing(
        make_mount: MountFactory, store: CosStore, disk: Path) -> None:
    store.put("large", BLOCK * 64)
    mount = make_mount(f"tmpdir={disk},ensure_diskfree=1")
    mount.expect_log("no space|No space|errno 28")
    with open(mount.point / "large", "r+b", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - somewhere on the way
            for number in reversed(range(64)):
                file.seek(number * MIB)
                file.write(bytes(MIB))
        file.truncate(0)
    assert store.body("large") == b""
    (mount.point / "next").write_bytes(BLOCK)
    assert store.body("next") == BLOCK


def test_programs_write_in_large_pieces_and_read_in_small_ones(make_mount: MountFactory) -> None:
    path = make_mount().point / "file"
    with open(path, "wb") as file:
        assert os.fstat(file.fileno()).st_blksize == MIB
    wait_until(lambda: os.stat(path).st_blksize == 4096)
