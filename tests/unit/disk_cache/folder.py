"""What the tests of the data cache have in common: blocks, where they lie, and a clock."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from cosfs.reading.disk_blocks import (
    Block,
    BlockFiles,
)
from cosfs.reading.disk_usage import SharedCounter

KEY, ETAG = "folder/grüße-\udcff.bin", "9a4802d5c99dafe1c04da0a8e7e166bf-3"

SMALL = 1000
"""Bytes of the blocks in most tests: two pages on the disk, with the header."""

TAKEN = 4096


def content(number, size=SMALL):
    return bytes([number % 251]) * (size - 1) + b"\n"


class Clock:
    def __init__(self):
        self.now_s = 1_700_000_000.0

    def ns(self):
        return int(self.now_s * 1e9)

    def monotonic(self):
        return self.now_s


def got(cache, number, *, key=KEY, etag=ETAG, size=SMALL):
    buffer = bytearray(size)
    return bytes(buffer) if cache.read(key, etag, number, memoryview(buffer)) else None


def numbers_in(cache, numbers, size=SMALL):
    found = [number for number in numbers if cache.contains(KEY, ETAG, number)]
    for number in found:
        assert got(cache, number, size=size) == content(number, size)
    return found


def block_path(folder, number=0, key=KEY, etag=ETAG):
    return BlockFiles(str(folder)).path(Block(key, etag, number))


def taken(folder):
    """Bytes on the disk as ``du`` counts them, whole pages of each file."""
    files = [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names if name != "usage"]
    return sum(-(-os.stat(path).st_size // 4096) * 4096 for path in files)


def _flip(position):
    def damage(path):
        data = bytearray(Path(path).read_bytes())
        data[position] ^= 1
        Path(path).write_bytes(data)
    return damage


def _append(path, data):
    with open(path, "ab") as file:
        file.write(data)


def taken_now(folder):
    """The bytes of all blocks while mounts write and remove; the counter is locked, so none begins to write."""
    with open(folder / "usage", "ab") as usage:
        fcntl.flock(usage, fcntl.LOCK_EX)
        return counted_file(folder) * TAKEN


def wait_until(condition):
    """Poll; for what another thread does."""
    limit = threading.Event()
    for _ in range(2000):
        if condition():
            return
        limit.wait(0.005)
    raise AssertionError("it did not happen")


def counted(folder):
    counter = SharedCounter(str(folder), lambda: pytest.fail("the counter is not known"))
    try:
        return counter.add(0)
    finally:
        counter.close()


def counted_file(folder):
    return sum(len(names) for base, _, names in os.walk(folder) if len(os.path.basename(base)) == 3)
