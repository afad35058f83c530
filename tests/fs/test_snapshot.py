"""The filesystem on a ``SnapshotClient``: requests, and that nothing is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Callable, Counter, Dict, Iterator, List

import pytest

from cosfs.archive import RestoreOrder
from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosfsError, NoEntry, to_errno
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.versions.snapshot import SnapshotClient
from tests.conftest import make_client, new_folder
from tests.support.past import date_latest, versioned_server
from tests.support.server import CosServer

THEN = 1_700_000_000.0


@pytest.fixture(scope="module")
def versioned() -> Iterator[CosServer]:
    with versioned_server() as server:
        yield server


class Bucket:
    """A folder of a versioned bucket, with times."""

    def __init__(self, server: CosServer) -> None:
        self.server = server
        self.client = make_client(server)
        self.prefix = new_folder()

    def put(self, name: str, body: bytes, time_s: float) -> None:
        self.client.put_object(self.prefix + name, body, headers=ObjectHeaders())
        date_latest(self.server, time_s)

    def delete(self, name: str, time_s: float) -> None:
        self.client.delete_object(self.prefix + name)
        date_latest(self.server, time_s)


@pytest.fixture
def bucket(versioned: CosServer) -> Iterator[Bucket]:
    made = Bucket(versioned)
    yield made
    made.client.close()


@pytest.fixture
def snapshot(bucket: Bucket, tmp_path: Path) -> Iterator[CosFilesystem]:
    shown = SnapshotClient(make_client(bucket.server), THEN, workers=4)
    filesystem = CosFilesystem(shown, FilesystemConfig(prefix=bucket.prefix, staging_folder=str(tmp_path),
                                                       read_only=True))
    filesystem.start()
    yield filesystem
    filesystem.stop()
    shown.close()


def names(filesystem: CosFilesystem, path: str) -> List[str]:
    return sorted(entry.name for entry in filesystem.readdir(path))


def read(filesystem: CosFilesystem, path: str) -> bytes:
    fh = filesystem.open(path, os.O_RDONLY).fh
    data = bytes(filesystem.read(fh, 0, 1 << 20))
    filesystem.flush(fh)
    filesystem.release(fh)
    return data


def requests(server: CosServer) -> Dict[str, int]:
    return dict(Counter(str(row["op"]) for row in server.requests()))


def test_what_a_snapshot_costs(bucket: Bucket, snapshot: CosFilesystem) -> None:
    for number in range(10):
        bucket.put(f"d/{number}", b"then", THEN - 10)
        bucket.put(f"d/{number}", b"later", THEN + 10)
    bucket.put("d/sub/f", b"then", THEN - 10)
    bucket.put("d/young/f", b"later", THEN + 10)
    bucket.server.clear_requests()
    assert snapshot.getattr("/d/3").size_bytes == 4
    assert requests(bucket.server) == {"list_object_versions": 2, "head_object": 1}  # of the key, and what is below it
    bucket.server.clear_requests()
    names(snapshot, "/")
    assert requests(bucket.server) == {"list_object_versions": 2}  # one for the folder, one for the one in it
    bucket.server.clear_requests()
    assert names(snapshot, "/d") == [*map(str, range(10)), "sub"]
    assert requests(bucket.server) == {"list_object_versions": 3}
    bucket.server.clear_requests()
    assert all(read(snapshot, f"/d/{number}") == b"then" for number in range(10))
    assert set(requests(bucket.server)) <= {"get_object", "head_object"}
    assert sum(requests(bucket.server).values()) <= 20
    bucket.server.clear_requests()
    with pytest.raises(NoEntry):
        snapshot.getattr("/d/young/f")
    assert names(snapshot, "/d") == [*map(str, range(10)), "sub"]
    assert sum(requests(bucket.server).values()) <= 2


def test_folders_that_are_younger_or_were_deleted_do_not_show(bucket: Bucket, snapshot: CosFilesystem) -> None:
    bucket.put("young/", b"", THEN + 1)
    bucket.put("young/f", b"x", THEN + 1)
    for number in range(30):
        bucket.put(f"deleted/{number}", b"x", THEN - 20)
        bucket.delete(f"deleted/{number}", THEN - 10)
    bucket.put("kept/f", b"x", THEN - 10)
    bucket.delete("kept/f", THEN + 10)
    assert names(snapshot, "/") == ["kept"]
    assert read(snapshot, "/kept/f") == b"x"
    for path in ("/young", "/young/f", "/deleted", "/deleted/3"):
        with pytest.raises(NoEntry):
            snapshot.getattr(path)


def test_it_tells_which_version_a_file_is(bucket: Bucket, snapshot: CosFilesystem) -> None:
    bucket.put("f", b"then", THEN)
    version_id = bucket.client.head_object(bucket.prefix + "f").version_id
    bucket.put("f", b"later", THEN + 1)
    assert snapshot.getxattr("/f", "user.cosfs.version-id").decode() == version_id


def test_opening_an_archived_file_has_the_version_of_then_restored(
        bucket: Bucket, tmp_path: Path, expected_logs: Callable[[str], None]) -> None:
    expected_logs("its restore was started")
    bucket.client.put_object(bucket.prefix + "f", b"then", headers=ObjectHeaders(storage_class="ARCHIVE"))
    date_latest(bucket.server, THEN)
    bucket.put("f", b"later", THEN + 1)
    shown = SnapshotClient(make_client(bucket.server), THEN, workers=4)
    filesystem = CosFilesystem(shown, FilesystemConfig(prefix=bucket.prefix, staging_folder=str(tmp_path),
                                                       read_only=True, restore=RestoreOrder(1)))
    filesystem.start()
    with pytest.raises(CosfsError) as caught:
        read(filesystem, "/f")
    assert to_errno(caught.value) == errno.EACCES
    assert 'ongoing-request="false"' in filesystem.getxattr("/f", "user.cosfs.restore").decode()
    assert read(filesystem, "/f") == b"then"
    filesystem.stop()
    shown.close()


def test_every_change_is_refused_before_any_request(bucket: Bucket, snapshot: CosFilesystem) -> None:
    bucket.put("f", b"then", THEN)
    for change in (lambda: snapshot.open("/f", os.O_RDWR), lambda: snapshot.mkdir("/d", 0o755, Caller(0, 0)),
                   lambda: snapshot.create("/g", 0o644, os.O_RDWR, Caller(0, 0)), lambda: snapshot.unlink("/f"),
                   lambda: snapshot.rename("/f", "/g"), lambda: snapshot.chmod("/f", 0o600)):
        with pytest.raises(CosfsError) as caught:
            change()
        assert to_errno(caught.value) == errno.EROFS
    assert {row["method"] for row in bucket.server.requests(key=bucket.prefix + "f")} <= {"GET", "HEAD", "PUT"}
    assert bucket.client.head_object(bucket.prefix + "f").size_bytes == 4
