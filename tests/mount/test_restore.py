"""Archived objects in a kernel mount, and ``cosfs restore``, with a server that restores in a second."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import pytest

from cosfs.cli import main
from cosfs.cos.client import BucketClient
from cosfs.cos.interface import ObjectHeaders
from tests.conftest import MountFactory, make_client
from tests.support.mount import Mount
from tests.support.scenarios import refused
from tests.support.server import CosServer

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]

LIMIT_S = 20.0
BODY = bytes(range(256)) * 2000
COLD, DEEP = ObjectHeaders(storage_class="ARCHIVE"), ObjectHeaders(storage_class="DEEP_ARCHIVE")
Restore = Callable[..., Tuple[int, List[str], List[str]]]


@pytest.fixture
def quick() -> Iterator[CosServer]:
    """A server that restores within a second, for days of two."""
    with CosServer(args=["--restore-seconds", "1", "--day-seconds", "2"]) as server:
        yield server


@pytest.fixture
def bucket(quick: CosServer) -> Iterator[BucketClient]:
    client = make_client(quick)
    yield client
    client.close()


@pytest.fixture
def mounts(quick: CosServer, tmp_path: Path) -> Iterator[MountFactory]:
    factory = MountFactory(quick, "", tmp_path)
    yield factory
    factory.close()


@pytest.fixture
def restore(capfd: pytest.CaptureFixture[str]) -> Restore:
    """``cosfs restore`` in this process: exit status, and the lines of its two streams."""
    def run(*words: object) -> Tuple[int, List[str], List[str]]:
        capfd.readouterr()
        status = main(["restore", *map(str, words)])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err.splitlines()
    return run


def is_refused(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return True
    return False


def test_an_archived_file_is_refused_restored_read_and_refused_again(
        quick: CosServer, bucket: BucketClient, mounts: MountFactory, restore: Restore) -> None:
    bucket.put_object("cold file", BODY, headers=COLD)
    mount = mounts()
    mount.expect_log("is archived")
    path = mount.point / "cold file"
    quick.clear_requests()  # the first tries whether the keys may read
    assert subprocess.run(["ls", "-l", mount.root], check=True, capture_output=True).stdout.count(b"512000") == 1
    for flags in [os.O_RDONLY, os.O_RDWR, os.O_WRONLY] * 20:
        with refused(errno.EACCES):
            os.open(path, flags)
    with refused(errno.EACCES):
        os.rename(path, mount.point / "other")
    with refused(errno.EACCES):
        os.chmod(path, 0o600)
    assert quick.requests(op="get_object") == quick.requests(op="copy_object") == []
    [line] = logged(mount, "is archived")
    assert line.endswith(f"/cold file is archived (ARCHIVE) and cannot be read or copied until it is restored: "
                         f"cosfs restore '{path}'")
    assert restore(path, "--status") == (0, [f"{path}: ARCHIVE, not restored"], [])

    status, out, err = restore(path, "--days", "30", "--tier", "expedited", "--wait")
    assert status == 0 and err in ([], ["waiting: 0 of 1 readable"])
    assert out == [f"{path}: restore started, which by Expedited usually takes 1 to 5 minutes (ARCHIVE); readable for "
                   "30 days then", "1 of 1 readable"]
    assert path.read_bytes() == BODY
    assert re.fullmatch(rb'ongoing-request="false", expiry-date=".* GMT"', os.getxattr(path, "user.cosfs.restore"))
    assert "readable until" in restore(path, "--status")[1][0]
    assert len(quick.requests(op="restore_object")) == 1

    assert restore(path, "-d", "1") == (0, [f"{path}: readable, and kept so for 1 day from now"], [])
    mount.wait_for(lambda: is_refused(path), "expiry", LIMIT_S)
    with refused(errno.ENODATA):
        os.getxattr(path, "user.cosfs.restore")
    path.write_bytes(b"new")
    os.unlink(path)
    assert os.listdir(mount.point) == []


def test_folders_are_restored_whole_and_what_cannot_be_is_told(
        quick: CosServer, bucket: BucketClient, mounts: MountFactory, restore: Restore) -> None:
    for number in range(30):
        bucket.put_object(f"d/{number % 3}/{number}", b"cold", headers=COLD)
    bucket.put_object("d/deep", b"cold", headers=DEEP)
    bucket.put_object("d/plain", b"warm", headers=ObjectHeaders())
    mount = mounts()
    folder = mount.point / "d"
    os.symlink("deep", folder / "link")
    assert restore(folder) == (1, [], [
        f"cosfs: {folder} is a folder; add -r to have all archived files below it restored"])
    status, out, err = restore("-r", folder, "-t", "Expedited")
    assert (status, out) == (1, ["restores started: 30, not archived: 1, failed: 1"])
    assert err == [f"cosfs: {folder}/deep: DEEP_ARCHIVE knows no tier Expedited; give Standard or Bulk"]
    assert len(quick.requests(op="restore_object")) == 30
    (mount.point / "empty").mkdir()
    assert restore("-r", mount.point / "empty", "-s") == (0, ["no archived files there"], [])
    status, out, err = restore("-r", folder, "--status")
    assert (status, len(out), err) == (0, 31, [])
    assert sum("DEEP_ARCHIVE, not restored" in line for line in out) == 1
    status, out, err = restore("-r", folder, "--wait")
    assert (status, err[-1:]) == (0, [err[-1]]) and out[-1].endswith("readable")
    assert (folder / "deep").read_bytes() == (folder / "link").read_bytes() == b"cold"
    assert restore(folder / "plain") == (0, [f"{folder}/plain: not archived (STANDARD), it can be read as it is"], [])


def test_with_the_option_opening_starts_the_restore(quick: CosServer, bucket: BucketClient, mounts: MountFactory,
                                                    restore: Restore) -> None:
    bucket.put_object("cold", BODY, headers=COLD)
    mount = mounts("restore=9:Bulk", "ro")
    mount.expect_log("is archived")
    path = mount.point / "cold"
    for _ in range(20):
        assert is_refused(path)
    assert len(quick.requests(op="restore_object")) == 1
    [line] = logged(mount, "was started")
    assert line.endswith("/cold is archived (ARCHIVE); its restore was started, for 9 days, and by Bulk usually takes "
                         "5 to 12 hours")
    mount.wait_for(lambda: not is_refused(path), "restored file", LIMIT_S)
    assert path.read_bytes() == BODY
    assert restore(path) == (1, [], [f"cosfs: {path}: the mount is read-only; mount it without ro or snapshot=, "
                                     "or with restore=DAYS and open the file"])


def test_an_attribute_of_a_file_asks_for_its_restore(bucket: BucketClient, mounts: MountFactory) -> None:
    """With either FUSE library."""
    for library in (2, 3):
        bucket.put_object(f"f{library}", b"cold", headers=COLD)
        mount = mounts(f"libfuse={library}")
        path = mount.point / f"f{library}"
        with refused(errno.EINVAL):
            os.setxattr(path, "user.cosfs.restore", b"soon")
        os.setxattr(path, "user.cosfs.restore", b"9")
        assert os.getxattr(path, "user.cosfs.restore") == b'ongoing-request="true"'
        assert os.listxattr(path) == []


def logged(mount: Mount, words: str) -> List[str]:
    return [line for line in mount.text().splitlines() if words in line]
