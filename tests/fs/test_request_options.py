"""Options that choose which requests a change becomes: nomultipart, nocopyapi, norenameapi, storage_class, and how much
is read ahead. Asserted in the server's access log."""

from __future__ import annotations

import os
import random
import time
from typing import Any, Callable, Dict, List

import pytest

from cosfs.cos.client import BucketClient
from cosfs.cos.interface import ObjectHeaders
from cosfs.units import MIB
from tests.conftest import FilesystemFactory
from tests.support.filesystem_world import FilesystemWorld
from tests.support.server import CosServer
from tests.support.stores import CosStore

LARGE = random.Random(5).randbytes(5 * MIB + 1)
SMALL_PARTS = {"part_size_bytes": MIB}
COPIES = ("copy_object", "upload_part_copy")


def wait_until(probe: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + 10
    while not probe():
        assert time.monotonic() < limit_s
        time.sleep(0.01)


def operations(server: CosServer, *names: str) -> List[str]:
    return [line["op"] for line in server.requests() if line["op"] in names]


def test_without_multipart_each_file_is_one_request(make_filesystem: FilesystemFactory, server: CosServer,
                                                    store: CosStore, client: BucketClient,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory: List[bool] = []

    def put(key: str, body: Any, **more: Any) -> Any:
        in_memory.append(isinstance(body, (bytes, bytearray)))
        return put_object(key, body, **more)
    put_object = client.put_object
    monkeypatch.setattr(client, "put_object", put)
    world = FilesystemWorld(make_filesystem(client=client, multipart=False, **SMALL_PARTS))
    server.clear_requests()
    world.write_file("/new", LARGE)
    handle = world.open("/new", os.O_RDWR)
    world.pwrite(handle, b"edit", 3 * MIB)
    world.close(handle)
    world.chmod("/new", 0o600)
    world.fsyncdir("/")
    assert operations(server, "put_object", "create_multipart_upload", *COPIES) == [
        "put_object", "put_object", "copy_object"]
    assert in_memory == [False, False]  # also what had to be fetched went by way of the local disk
    assert store.body("new") == LARGE[:3 * MIB] + b"edit" + LARGE[3 * MIB + 4:]


def test_without_copies_everything_is_sent(make_filesystem: FilesystemFactory, server: CosServer,
                                           store: CosStore) -> None:
    store.put_with("dir/large", LARGE, ObjectHeaders({"own": "1"}, {"Cache-Control": "no-store"}, "STANDARD_IA"))
    store.put("dir/small", b"small")
    world = FilesystemWorld(make_filesystem(server_copies=False, **SMALL_PARTS))
    server.clear_requests()
    handle = world.open("/dir/large", os.O_RDWR)
    world.pwrite(handle, b"edit", 0)
    world.close(handle)
    world.chmod("/dir/small", 0o600)
    world.rename("/dir/small", "/dir/moved")
    world.rename("/dir", "/other")
    world.fsyncdir("/")
    assert operations(server, *COPIES) == []
    assert sorted(store.keys()) == ["other/large", "other/moved"]
    assert (store.body("other/large"), store.body("other/moved")) == (b"edit" + LARGE[4:], b"small")
    found = store.head("other/large")
    assert (found.headers.metadata["own"], found.headers.standard["Cache-Control"], found.storage_class) == (
        "1", "no-store", "STANDARD_IA")
    assert store.metadata("other/moved")["mode"] == str(0o100600)
    assert store.pending_uploads() == []


def test_without_copies_for_renames_others_are_still_made(make_filesystem: FilesystemFactory, server: CosServer,
                                                          store: CosStore) -> None:
    store.put("dir/a", b"a")
    world = FilesystemWorld(make_filesystem(server_renames=False))
    world.chmod("/dir/a", 0o600)
    world.fsyncdir("/")
    server.clear_requests()
    world.chmod("/dir/a", 0o640)
    world.fsyncdir("/")
    assert operations(server, "put_object", *COPIES) == ["copy_object"]
    server.clear_requests()
    world.rename("/dir/a", "/dir/b")
    world.rename("/dir", "/other")
    assert operations(server, "put_object", *COPIES) == ["put_object", "put_object"]
    assert (store.keys(), store.body("other/b")) == (["other/b"], b"a")


def test_the_storage_class_is_named_by_each_kind_of_upload(make_filesystem: FilesystemFactory, server: CosServer,
                                                           store: CosStore) -> None:
    world = FilesystemWorld(make_filesystem(storage_class="STANDARD_IA", **SMALL_PARTS))
    server.clear_requests()
    world.write_file("/put", b"x")
    world.write_file("/parts", LARGE)
    world.mkdir("/dir")
    world.symlink("/link", "put")
    world.chmod("/put", 0o600)
    world.rename("/put", "/renamed")
    world.rename("/dir", "/moved")
    world.fsyncdir("/")
    named: Dict[str, set] = {}
    for line in server.requests():
        if line["op"] in ("put_object", "create_multipart_upload", "copy_object"):
            named.setdefault(line["op"], set()).add(line.get("storage_class"))
    assert named == {op: {"STANDARD_IA"} for op in ("put_object", "create_multipart_upload", "copy_object")}
    assert {row.key.rpartition("/")[2] or row.key: row.storage_class for row in store.rows()
            if row.key != store.prefix and row.storage_class != "STANDARD_IA"} == {}


@pytest.mark.parametrize(("limit_bytes", "most_bytes"), [(0, 4 * MIB), (MIB, 6 * MIB)])
def test_no_more_is_read_ahead_than_the_limit(make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
                                              limit_bytes: int, most_bytes: int) -> None:
    def asked() -> int:
        return sum(stop - start + 1 for line in server.requests(op="get_object")
                   for start, stop in [map(int, line["range"][len("bytes="):].split("-"))])
    store.put("large", bytes(32 * MIB))
    world = FilesystemWorld(make_filesystem(prefetch_limit_bytes=limit_bytes))
    server.clear_requests()
    handle = world.open("/large", os.O_RDONLY)
    for offset in range(0, 4 * MIB, 64 * 1024):
        assert world.pread(handle, 64 * 1024, offset) == bytes(64 * 1024)
    world.close(handle)
    wait_until(lambda: asked() >= 4 * MIB)  # a line is written when its answer has ended
    assert asked() <= most_bytes
