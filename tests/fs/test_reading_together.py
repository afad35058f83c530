"""Many readers at once: one memory for all, each byte fetched once, connections resumed where they broke."""

from __future__ import annotations

import os
import random
import threading
from typing import List

import pytest

from cosfs.config import FilesystemConfig
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.units import KIB, MIB
from tests.conftest import FilesystemFactory
from tests.support.memory_client import WAIT_S, MemoryClient
from tests.support.reading_world import STEP, ReadingWorld, read_through
from tests.support.server import CosServer
from tests.support.stores import CosStore

BODY = random.Random(14).randbytes(3 * MIB + 333)
LARGE = random.Random(15).randbytes(25 * MIB + 1)


def read_file(filesystem: CosFilesystem, path: str) -> bytes:
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        pieces = []
        while True:
            piece = bytes(filesystem.read(fh, sum(map(len, pieces)), STEP))
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
    finally:
        filesystem.release(fh)


def in_threads(work: List[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(6 * WAIT_S)
        assert not thread.is_alive(), "a reader hangs"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("limit", [32 * MIB, 5 * MIB])
def test_200_open_files_are_read_and_written_within_the_memory_limit(limit: int) -> None:
    client = MemoryClient()
    filesystem = CosFilesystem(client, FilesystemConfig(memory_limit_bytes=limit, min_part_bytes=MIB,
                                                        part_size_bytes=MIB))
    filesystem.start()
    names = [f"f{index}" for index in range(200)]
    for name in names:
        client.add(name, BODY)
    handles = [filesystem.open(f"/{name}", os.O_RDONLY).fh for name in names]
    wrong: List[str] = []

    def read(index: int) -> None:
        right = [filesystem.read(handles[index], offset, STEP) == BODY[offset:offset + STEP]
                 for offset in range(0, len(BODY), STEP)]
        if not all(right):
            wrong.append(names[index])

    def write(index: int) -> None:
        fh = filesystem.create(f"/new{index}", 0o644, os.O_WRONLY, Caller(0, 0)).fh
        filesystem.write(fh, 0, BODY)
        filesystem.flush(fh)
        filesystem.release(fh)

    in_threads([threading.Thread(target=read, args=(index,)) for index in range(200)]
               + [threading.Thread(target=write, args=(index,)) for index in range(20)])
    budget = filesystem._context.ranges.budget
    for fh in handles:
        filesystem.release(fh)
    filesystem.stop()
    assert not wrong
    assert all(client.body(f"new{index}") == BODY for index in range(20))
    assert 0 < budget.peak_bytes <= limit
    assert budget.used_bytes == 0


def test_two_handles_that_read_one_object_at_once_fetch_each_byte_once() -> None:
    world = ReadingWorld()
    reader = world.reader("k", LARGE)
    outcomes = [world.start(lambda: read_through(reader)) for _ in range(4)]
    world.join()
    assert all(outcome["result"] == LARGE for outcome in outcomes)
    assert sum(world.gets()) == len(LARGE)
    world.end()


def test_programs_that_read_one_file_at_once_fetch_each_byte_once(
        make_filesystem: FilesystemFactory, store: CosStore, server: CosServer) -> None:
    store.put("f", LARGE)
    filesystem = make_filesystem()
    server.clear_requests()
    held = filesystem.open("/f", os.O_RDONLY).fh
    results: List[bytes] = []
    in_threads([threading.Thread(target=lambda: results.append(read_file(filesystem, "/f"))) for _ in range(4)])
    filesystem.release(held)
    assert results == [LARGE] * 4
    gets = [request for request in server.requests() if request["op"] == "get_object"]
    assert sum(request["bytes_out"] for request in gets) == len(LARGE)


def test_interleaved_streams_of_one_handle_are_each_read_ahead_and_fetched_once() -> None:
    client = MemoryClient()
    client.add("k", LARGE)
    filesystem = CosFilesystem(client, FilesystemConfig())
    filesystem.start()
    fh = filesystem.open("/k", os.O_RDONLY).fh
    third = len(LARGE) // 3 // STEP * STEP
    for offset in range(0, third, STEP):
        for base in (0, third, 2 * third):
            assert filesystem.read(fh, base + offset, STEP) == LARGE[base + offset:base + offset + STEP]
    filesystem.release(fh)
    filesystem.stop()
    gets = [call.detail["stop"] - call.detail["start"] for call in client.calls_of("get_object")]
    assert sum(gets) <= len(LARGE) + MIB
    assert len(gets) <= 40


def test_a_connection_that_breaks_is_resumed_at_the_byte_where_it_broke(
        make_filesystem: FilesystemFactory, store: CosStore, server: CosServer) -> None:
    store.put("f", LARGE)
    server.set_faults(f"kind=truncate,op=get_object,at={700 * KIB},times=2,after=1")
    filesystem = make_filesystem()
    server.clear_requests()
    assert read_file(filesystem, "/f") == LARGE
    ranges = [request["range"] for request in server.requests() if request["op"] == "get_object"]
    starts = [int(text.partition("=")[2].partition("-")[0]) for text in ranges if text]
    assert len(starts) == len(set(starts)), "some byte was asked for twice"
