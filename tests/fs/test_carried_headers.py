"""Whatever this mount does to an object, it keeps everything that is stored with it: judged at the embedded server."""

from __future__ import annotations

import os
from typing import Callable, Dict
from xml.etree import ElementTree

import pytest

from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem import CosFilesystem
from cosfs.units import MIB
from tests.conftest import FilesystemFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore

STORED = {
    "Content-Type": "text/x-own", "Content-Encoding": "gzip", "Content-Language": "de", "Cache-Control": "no-store",
    "Content-Disposition": 'attachment; filename="x"', "Expires": "Wed, 21 Oct 2037 07:28:00 GMT"}
FOREIGN = {"project": "apollo", "author": "someone else", "with-umlaut": "ä%20"}
TAGS = {"kind": "raw data", "cost+centre": "a/b=c"}
ENCRYPTIONS = {
    "none": {},
    "sse-cos": {"x-cos-server-side-encryption": "AES256"},
    "sse-kms": {"x-cos-server-side-encryption": "cos/kms",
                "x-cos-server-side-encryption-cos-kms-key-id": "48ba38aa-26c5-11ea-855c-52540085f2ba"}}


def change(filesystem: CosFilesystem, path: str, offset: int, data: bytes, flags: int = os.O_RDWR) -> None:
    filesystem.getattr(path)
    fh = filesystem.open(path, flags).fh
    filesystem.write(fh, offset, data)
    filesystem.flush(fh)
    filesystem.release(fh)


def rename_open(filesystem: CosFilesystem) -> None:
    filesystem.getattr("/d/f")
    fh = filesystem.open("/d/f", os.O_RDWR).fh
    filesystem.write(fh, 0, b"x")
    filesystem.rename("/d/f", "/d/g")
    filesystem.flush(fh)
    filesystem.release(fh)


def change_both_ways(filesystem: CosFilesystem) -> None:
    change(filesystem, "/d/f", 0, b"x")
    filesystem.chmod("/d/f", 0o640)
    change(filesystem, "/d/f", 1, b"y")


WAYS: Dict[str, Callable[[CosFilesystem], None]] = {
    "chmod": lambda filesystem: filesystem.chmod("/d/f", 0o640),
    "chown": lambda filesystem: filesystem.chown("/d/f", 5, 6),
    "utimens": lambda filesystem: filesystem.utimens("/d/f", 1, 2),
    "setxattr": lambda filesystem: filesystem.setxattr("/d/f", "user.a", b"1", 0),
    "rename": lambda filesystem: filesystem.rename("/d/f", "/d/g"),
    "rename of the folder": lambda filesystem: filesystem.rename("/d", "/e"),
    "rename while open": rename_open,
    "edit": lambda filesystem: change(filesystem, "/d/f", 1, b"x"),
    "append": lambda filesystem: change(filesystem, "/d/f", filesystem.getattr("/d/f").size_bytes, b"x"),
    "replacement": lambda filesystem: change(filesystem, "/d/f", 0, b"x", os.O_WRONLY | os.O_TRUNC),
    "truncate": lambda filesystem: filesystem.truncate("/d/f", 3),
    "edit, chmod, edit": change_both_ways,
}


def stored_headers(server: CosServer, key: str) -> Dict[str, str]:
    """Everything that HEAD tells and that is no matter of one version or one answer."""
    status, headers, _ = server.request("HEAD", key)
    assert status == 200
    return {name.lower(): value for name, value in headers.items()
            if name in STORED or name.lower().startswith(("x-cos-storage", "x-cos-server-side", "x-cos-tagging"))}


def foreign_metadata(store: CosStore, key: str) -> Dict[str, str]:
    metadata = store.metadata(key)
    return {name: metadata[name] for name in FOREIGN if name in metadata}


def tags(server: CosServer, key: str) -> Dict[str, str]:
    status, _, body = server.request("GET", key, [("tagging", "")])
    assert status == 200
    return {row.findtext("Key") or "": row.findtext("Value") or "" for row in ElementTree.fromstring(body).iter("Tag")}


def put(store: CosStore, key: str, body: bytes, encryption: Dict[str, str]) -> None:
    tagging = "kind=raw%20data&cost%2Bcentre=a%2Fb%3Dc"
    store.put_with(key, body, ObjectHeaders(metadata=FOREIGN, standard=STORED, storage_class="STANDARD_IA",
                                            extra={**encryption, "x-cos-tagging": tagging}))


@pytest.mark.parametrize("size", [100, 12 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("way", list(WAYS))
def test_an_object_keeps_what_is_stored_with_it(server: CosServer, store: CosStore, way: str, size: int,
                                                make_filesystem: FilesystemFactory) -> None:
    put(store, "d/f", bytes(size), ENCRYPTIONS["sse-kms"])
    before = stored_headers(server, store.prefix + "d/f")
    assert len(before) == len(STORED) + 4
    filesystem = make_filesystem(part_size_bytes=MIB)
    WAYS[way](filesystem)
    filesystem.fsyncdir()
    key = next(key for key in store.keys() if not key.endswith("/"))
    assert stored_headers(server, store.prefix + key) == before
    assert foreign_metadata(store, key) == FOREIGN
    assert tags(server, store.prefix + key) == TAGS
    assert store.pending_uploads() == []


@pytest.mark.parametrize("encryption", list(ENCRYPTIONS))
@pytest.mark.parametrize("way", ["chmod", "rename", "edit"])
def test_an_object_keeps_its_encryption(server: CosServer, store: CosStore, way: str, encryption: str,
                                        make_filesystem: FilesystemFactory) -> None:
    put(store, "d/f", bytes(100), ENCRYPTIONS[encryption])
    before = stored_headers(server, store.prefix + "d/f")
    filesystem = make_filesystem()
    WAYS[way](filesystem)
    filesystem.fsyncdir()
    key = next(key for key in store.keys() if not key.endswith("/"))
    assert stored_headers(server, store.prefix + key) == before


def test_a_marker_keeps_what_is_stored_with_it(server: CosServer, store: CosStore,
                                               make_filesystem: FilesystemFactory) -> None:
    put(store, "d/", b"", ENCRYPTIONS["sse-cos"])
    before = stored_headers(server, store.prefix + "d/")
    make_filesystem().chmod("/d", 0o700)
    assert stored_headers(server, store.prefix + "d/") == before
    assert foreign_metadata(store, "d/") == FOREIGN
    assert tags(server, store.prefix + "d/") == TAGS


def test_tags_are_asked_for_by_uploads_of_tagged_objects_only(server: CosServer, store: CosStore,
                                                              make_filesystem: FilesystemFactory) -> None:
    put(store, "d/f", bytes(100), {})
    store.put("d/plain", bytes(100))
    filesystem = make_filesystem()
    server.clear_requests()
    filesystem.chmod("/d/f", 0o640)
    filesystem.fsyncdir()
    change(filesystem, "/d/plain", 0, b"x")
    assert not [line for line in server.requests() if "tagging" in line["query"]]
    change(filesystem, "/d/f", 0, b"x")
    assert len([line for line in server.requests() if "tagging" in line["query"]]) == 1
