"""The service's 2 KB for all metadata of an object: who exceeds them is told at once, and nothing changes."""

from __future__ import annotations

import errno
import os

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosfsError, to_errno
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.units import MAX_METADATA_BYTES
from tests.conftest import FilesystemFactory
from tests.support.memory_client import MemoryClient

ME = Caller(1000, 1001)
SECOND = 1_000_000_000


def note(size_bytes):
    """Foreign metadata of that size in all."""
    return {"note": "n" * (size_bytes - len("x-cos-meta-note"))}


@pytest.fixture
def client():
    client = MemoryClient()
    client.add("d/plain", b"x")
    client.add("d/noted", b"x", ObjectHeaders(metadata=note(1000)))
    client.add("d/full", b"x", ObjectHeaders(metadata=note(2040)))
    client.add("d/nearly", b"x", ObjectHeaders(metadata=note(1965)))
    client.add("d/over", b"x", ObjectHeaders(metadata={**note(1960), "xattr": "%7B%22user.a%22%3A%22MQ%3D%3D%22%7D"}))
    return client


@pytest.fixture
def filesystem(client):
    filesystem = CosFilesystem(client, FilesystemConfig())
    filesystem.mkdir("/d/dir", 0o755, ME)
    filesystem.symlink("/d/link", "target", ME)
    yield filesystem
    filesystem.stop()


def refused(call, *args):
    with pytest.raises(CosfsError) as caught:
        call(*args)
    return to_errno(caught.value)


def changes(client):
    return sum(client.count(name) for name in ("put_object", "copy_object", "create_multipart_upload"))


@pytest.mark.parametrize(("name", "size"), [("plain", 1500), ("noted", 800), ("dir", 1500), ("link", 1500)])
def test_an_attribute_that_does_not_fit_is_refused_before_anything_is_sent(client, filesystem, name, size):
    path = f"/d/{name}"
    filesystem.setxattr(path, "user.small", b"1", 0)
    filesystem.fsyncdir()
    before, sent = filesystem.getattr(path), changes(client)
    assert refused(filesystem.setxattr, path, "user.big", bytes(size), 0) == errno.ENOSPC
    assert refused(filesystem.setxattr, path, "user.huge", bytes(MAX_METADATA_BYTES + 1), 0) == errno.E2BIG
    assert refused(filesystem.setxattr, path, "user." + "n" * 1300, bytes(500), 0) == errno.ENOSPC
    filesystem.fsyncdir()
    assert changes(client) == sent
    assert filesystem.getattr(path) == before
    assert filesystem.listxattr(path) == ["user.small"]
    filesystem.removexattr(path, "user.small")
    assert filesystem.listxattr(path) == []


def test_an_attribute_of_an_open_file_that_does_not_fit_does_not_fail_its_close(client, filesystem):
    fh = filesystem.create("/d/new", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    filesystem.write(fh, 0, b"data")
    filesystem.setxattr("/d/new", "user.a", b"1", 0)
    assert refused(filesystem.setxattr, "/d/new", "user.b", bytes(1500), 0) == errno.ENOSPC
    filesystem.flush(fh)
    filesystem.release(fh)
    assert client.body("d/new") == b"data"
    assert filesystem.listxattr("/d/new") == ["user.a"]


def test_a_removal_makes_room_on_an_object_that_was_over_the_limit(client, filesystem):
    assert refused(filesystem.chmod, "/d/over", 0o600) == errno.ENOSPC
    filesystem.removexattr("/d/over", "user.a")
    filesystem.fsyncdir()
    metadata = client.objects["d/over"].info.headers.metadata
    assert "xattr" not in metadata
    assert metadata["note"] == note(1960)["note"]


def test_an_object_without_room_for_attributes_refuses_writers_at_open_and_stays_usable(client, filesystem):
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
        assert refused(filesystem.open, "/d/full", flags) == errno.ENOSPC
    for change in (lambda: filesystem.chmod("/d/full", 0o600), lambda: filesystem.utimens("/d/full", 1, 2),
                   lambda: filesystem.truncate("/d/full", 0)):
        assert refused(change) == errno.ENOSPC
    fh = filesystem.open("/d/full", os.O_RDONLY).fh
    assert filesystem.read(fh, 0, 10) == b"x"
    filesystem.release(fh)
    filesystem.rename("/d/full", "/d/moved")
    filesystem.fsyncdir()
    assert client.objects["d/moved"].info.headers.metadata == note(2040)
    filesystem.unlink("/d/moved")


def test_exact_times_give_way_to_what_other_tools_stored(client, filesystem):
    filesystem.chmod("/d/nearly", 0o600)
    filesystem.utimens("/d/nearly", 5, 7 * SECOND + 8)
    filesystem.fsyncdir()
    fh = filesystem.open("/d/nearly", os.O_WRONLY | os.O_TRUNC).fh
    filesystem.write(fh, 0, b"new")
    filesystem.utimens("/d/nearly", 5, 7 * SECOND + 8)
    filesystem.flush(fh)
    filesystem.release(fh)
    metadata = client.objects["d/nearly"].info.headers.metadata
    assert metadata["note"] == note(1965)["note"]
    assert (metadata["mode"], metadata["mtime"]) == ("33152", "7")
    assert not {"mtime-ns", "atime", "ctime"} & set(metadata)
    assert client.body("d/nearly") == b"new"


def test_all_that_setxattr_accepts_is_accepted_by_the_service(make_filesystem: FilesystemFactory) -> None:
    filesystem = make_filesystem()
    fh = filesystem.create("/f", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    filesystem.flush(fh)
    filesystem.release(fh)
    fits = 0
    for size in range(1400, 1500):
        try:
            filesystem.setxattr("/f", "user.x", bytes(size), 0)
        except CosfsError as exc:
            assert to_errno(exc) == errno.ENOSPC
            break
        fits = size
    assert 1400 < fits < 1499
    filesystem.fsyncdir()
    assert filesystem.getxattr("/f", "user.x") == bytes(fits)
