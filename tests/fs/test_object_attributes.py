"""``user.cosfs.*``: what the service tells of an object, as extended attributes that can only be read."""

from __future__ import annotations

import errno
import os
from typing import Iterator

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import NoAttribute, to_errno
from cosfs.filesystem import Caller, CosFilesystem
from tests.conftest import FilesystemFactory, make_client
from tests.support.past import versioned_server
from tests.support.server import CosServer
from tests.support.stores import CosStore

ALL = ("etag", "crc64", "storage-class", "version-id", "restore")


def told(filesystem: CosFilesystem, path: str) -> dict[str, str]:
    found = {}
    for name in ALL:
        try:
            found[name] = filesystem.getxattr(path, "user.cosfs." + name).decode()
        except NoAttribute:
            continue
    return found


def write(filesystem: CosFilesystem, path: str, data: bytes) -> int:
    fh = filesystem.create(path, 0o644, os.O_RDWR | os.O_CREAT, Caller(0, 0)).fh
    filesystem.write(fh, 0, data)
    return fh


def test_a_stored_file_tells_its_etag_checksum_and_class(filesystem: CosFilesystem, store: CosStore) -> None:
    store.client.put_object(store.prefix + "f", b"content", headers=ObjectHeaders(storage_class="STANDARD_IA"))
    info = store.head("f")
    assert told(filesystem, "/f") == {"etag": info.etag, "crc64": str(crc64(b"content")),
                                      "storage-class": "STANDARD_IA"}
    assert told(filesystem, "/") == {}


def test_a_file_of_this_mount_tells_them_when_it_is_stored(filesystem: CosFilesystem, store: CosStore) -> None:
    fh = write(filesystem, "/f", b"one")
    assert told(filesystem, "/f") == {}
    filesystem.flush(fh)
    assert told(filesystem, "/f")["etag"] == store.head("f").etag
    filesystem.write(fh, 0, b"two")
    assert told(filesystem, "/f") == {}
    filesystem.flush(fh)
    filesystem.release(fh)
    assert told(filesystem, "/f") == {"etag": store.head("f").etag, "crc64": str(crc64(b"two")),
                                      "storage-class": "STANDARD"}


def test_they_are_not_listed_and_cannot_be_changed(filesystem: CosFilesystem, store: CosStore) -> None:
    store.put("f", b"x")
    filesystem.setxattr("/f", "user.own", b"1", 0)
    assert filesystem.listxattr("/f") == ["user.own"]
    for name in ("user.cosfs.etag", "user.cosfs.of-mine"):
        for change in (lambda name=name: filesystem.setxattr("/f", name, b"1", 0),
                       lambda name=name: filesystem.removexattr("/f", name)):
            with pytest.raises(Exception) as caught:
                change()
            assert to_errno(caught.value) == errno.EPERM
    with pytest.raises(NoAttribute):
        filesystem.getxattr("/f", "user.cosfs.of-mine")


def test_without_extended_attributes_there_are_none(make_filesystem: FilesystemFactory, store: CosStore) -> None:
    store.put("f", b"x")
    assert told(make_filesystem(xattr=False), "/f") == {}


def test_the_restore_of_an_archived_object_is_seen_going_on(filesystem: CosFilesystem, store: CosStore,
                                                            server: CosServer) -> None:
    store.client.put_object(store.prefix + "f", b"x", headers=ObjectHeaders(storage_class="ARCHIVE"))
    assert told(filesystem, "/f")["storage-class"] == "ARCHIVE"
    assert "restore" not in told(filesystem, "/f")
    body = b"<RestoreRequest><Days>1</Days></RestoreRequest>"
    assert server.request("POST", store.prefix + "f", [("restore", "")], body)[0] == 202
    assert "ongoing-request" in told(filesystem, "/f")["restore"]


@pytest.fixture
def versioned() -> Iterator[CosServer]:
    with versioned_server() as server:
        yield server


def test_an_object_of_a_versioned_bucket_tells_its_version(versioned: CosServer) -> None:
    client = make_client(versioned)
    client.put_object("f", b"x", headers=ObjectHeaders())
    filesystem = CosFilesystem(client, FilesystemConfig())
    filesystem.start()
    assert told(filesystem, "/f")["version-id"] == client.head_object("f").version_id
    filesystem.stop()
    client.close()
