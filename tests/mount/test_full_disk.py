"""A local disk without room for unsent data: the writer is told, and nothing else is touched."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.conftest import MountFactory
from tests.support.disk import small_disk
from tests.support.mount import Mount
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

MIB = 1 << 20
WAIT_S = 20.0
DISK_BYTES = 16 * MIB
BLOCK = os.urandom(MIB)
OLD = BLOCK * 3


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for unsent data."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as point:
        yield point


@pytest.fixture
def mount(make_mount: MountFactory, disk: Path) -> Mount:
    """A mount with ``disk`` for unsent data, that leaves no reserve there: the disk itself says that it is full.

    The kernel asks for each name, so that it notices that a new file, which could not be stored, is gone again.
    """
    made = make_mount(f"tmpdir={disk},ensure_diskfree=0,entry_timeout=0")
    made.expect_log(r"No space left|errno 28|ENOSPC")
    return made


def free_bytes(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bfree * found.f_frsize


def fill_backwards(path: Path) -> List[int]:
    """Write more than the disk holds, from the end, and close; which calls failed with which errno."""
    failures = []
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for offset in reversed(range(0, 2 * DISK_BYTES, MIB)):
        try:
            os.pwrite(handle, BLOCK, offset)
        except OSError as exc:
            failures.append(exc.errno)
            break
    try:
        os.close(handle)
    except OSError as exc:
        failures.append(exc.errno)
    return failures


@pytest.mark.parametrize("existed", [True, False], ids=["changed", "new"])
def test_a_full_disk_is_told_to_the_writer_and_the_bucket_stays_as_it_was(
        mount: Mount, store: CosStore, disk: Path, existed: bool) -> None:
    if existed:
        store.put("f", OLD)
    assert errno.ENOSPC in fill_backwards(mount.point / "f")
    if existed:
        assert store.body("f") == OLD
    else:
        assert not store.has("f")
    assert store.pending_uploads() == []
    assert os.listdir(disk) == []
    # the kernel tells of the last close only after that has returned
    mount.wait_for(lambda: free_bytes(disk) > DISK_BYTES - MIB, "room on the disk", WAIT_S)
    (mount.point / "other").write_bytes(BLOCK)
    assert store.body("other") == BLOCK
    (mount.point / "f").write_bytes(BLOCK)
    assert store.body("f") == BLOCK


def test_room_that_others_make_is_used_by_the_next_write(mount: Mount, store: CosStore, disk: Path) -> None:
    store.put("f", OLD)
    with open(mount.point / "f", "r+b", buffering=0) as file:
        with open(disk / "of others", "wb", buffering=0) as others, contextlib.suppress(OSError):
            while others.write(bytes(MIB)):
                pass
        with pytest.raises(OSError, match="No space left"):
            os.pwrite(file.fileno(), BLOCK, MIB)
        (disk / "of others").unlink()
        assert os.pwrite(file.fileno(), BLOCK[::-1], MIB) == MIB
    assert store.body("f") == BLOCK + BLOCK[::-1] + BLOCK
