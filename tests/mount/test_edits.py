"""Small changes of a large object: what crosses the network, in the access log of the embedded server."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

from cosfs.cos import crc64
from cosfs.cos.interface import CopySource, ObjectHeaders
from tests.conftest import MountFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

MIB = 1 << 20
GIB = 1 << 30
PAGE = 4096
MOST_BYTES = 2 * MIB
BLOCK = os.urandom(8 * MIB)


def put_large(store: CosStore, key: str, size_bytes: int) -> None:
    """An object that repeats ``BLOCK``; the server copies all but the first."""
    store.put("block", BLOCK)
    target, headers = store.prefix + key, ObjectHeaders(metadata={"mode": "33188"})
    upload = store.client.create_multipart_upload(target, headers=headers)
    parts = [store.client.upload_part_copy(target, upload, number, CopySource(store.prefix + "block", 0, len(BLOCK)))
             for number in range(1, size_bytes // len(BLOCK) + 1)]
    store.client.complete_multipart_upload(target, upload, parts)


def checksum(*pieces: Tuple[bytes, int]) -> int:
    """CRC-64 of the pieces, each so many times."""
    found = crc64.combine([(crc64.crc64(data), len(data)) for data, count in pieces for _ in range(count)])
    assert found is not None
    return found


class Traffic:
    """What one change cost."""

    def __init__(self) -> None:
        self.operations: Dict[str, int] = {}
        self.sent_bytes = 0
        self.fetched_bytes = 0

    @property
    def requests(self) -> int:
        return sum(self.operations.values())


@contextmanager
def traffic(server: CosServer) -> Iterator[Traffic]:
    found = Traffic()
    server.clear_requests()
    yield found
    rows = server.requests()
    found.operations = dict(Counter(row["op"] for row in rows))
    found.sent_bytes = sum(row["bytes_in"] for row in rows)
    found.fetched_bytes = sum(row["bytes_out"] for row in rows)


@pytest.fixture
def path(make_mount: MountFactory, store: CosStore) -> Path:
    """A file of 1 GiB in a mount that has not looked at it."""
    put_large(store, "large", GIB)
    return make_mount().point / "large"


EDITS = [0, 1, MIB - 1, 300 * MIB + PAGE, GIB // 2, GIB - 3 * MIB, GIB - PAGE]


@pytest.mark.parametrize("offset", EDITS, ids=str)
def test_editing_4_kib_in_1_gib(path: Path, store: CosStore, server: CosServer, offset: int) -> None:
    data = os.urandom(PAGE)
    with traffic(server) as cost:
        handle = os.open(path, os.O_RDWR)
        assert os.pwrite(handle, data, offset) == PAGE
        os.close(handle)
    assert cost.sent_bytes <= MOST_BYTES
    assert cost.fetched_bytes <= MOST_BYTES
    assert cost.requests <= 8, cost.operations
    first, inside = offset // len(BLOCK), offset % len(BLOCK)
    twice = BLOCK * 2
    edited = twice[:inside] + data + twice[inside + PAGE:]
    expected = [(BLOCK, first), (edited, 1), (BLOCK, 126 - first)]
    if first == 127:
        expected = [(BLOCK, 127), (edited[:len(BLOCK)], 1)]
    assert store.head("large").size_bytes == GIB
    assert store.head("large").crc64 == checksum(*expected)
    assert store.pending_uploads() == []


def test_appending_4_kib_to_1_gib(path: Path, store: CosStore, server: CosServer) -> None:
    data = os.urandom(PAGE)
    with traffic(server) as cost, open(path, "ab", buffering=0) as file:
        file.write(data)
    assert cost.sent_bytes <= MOST_BYTES
    assert cost.fetched_bytes <= MOST_BYTES
    assert cost.requests <= 6, cost.operations
    assert store.head("large").crc64 == checksum((BLOCK, 128), (data, 1))
    assert store.pending_uploads() == []


@pytest.mark.parametrize("size", [GIB // 2, GIB - 1, 20 * MIB + 1], ids=str)
def test_truncating_1_gib_copies_inside_the_service(path: Path, store: CosStore, server: CosServer, size: int) -> None:
    with traffic(server) as cost:
        os.truncate(path, size)
    assert cost.sent_bytes <= PAGE and cost.fetched_bytes <= PAGE
    assert cost.requests <= 6, cost.operations
    assert store.head("large").crc64 == checksum((BLOCK, size // len(BLOCK)), (BLOCK[:size % len(BLOCK)], 1))
    assert store.pending_uploads() == []


def test_many_edits_of_one_file_are_stored_together(path: Path, store: CosStore, server: CosServer) -> None:
    edits: List[Tuple[int, bytes]] = [(number * 64 * MIB + 4 * MIB, os.urandom(PAGE)) for number in range(16)]
    with traffic(server) as cost, open(path, "r+b", buffering=0) as file:
        for offset, data in edits:
            file.seek(offset)
            file.write(data)
    assert cost.sent_bytes <= 16 * MOST_BYTES and cost.fetched_bytes <= 16 * MOST_BYTES
    pieces = []
    for _, data in edits:
        pieces += [(BLOCK[:4 * MIB] + data + BLOCK[4 * MIB + PAGE:], 1), (BLOCK, 7)]
    assert store.head("large").crc64 == checksum(*pieces)
