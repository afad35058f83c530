"""The bytes of a part that are hashed and those that are sent are the same, wherever they lie."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Iterator, Union

import pytest

from cosfs.cos.interface import FileBytes
from cosfs.units import KIB, MIB
from cosfs.writing.extents import ExtentMap
from cosfs.writing.part import PartContent
from cosfs.writing.plan import DEFAULT_LIMITS
from cosfs.writing.staging import StagingArea
from tests.support.memory_client import MemoryClient


def read(pieces: Iterator[Union[memoryview, FileBytes]]) -> bytes:
    found = bytearray()
    for piece in pieces:
        found += os.pread(piece.descriptor, piece.stop - piece.start, piece.start) \
            if isinstance(piece, FileBytes) else piece
    return bytes(found)


@pytest.mark.parametrize("largest_offset", [60 * KIB, 4 * MIB], ids=["staged-in-memory", "staged-on-disk"])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_sent_is_what_was_hashed(tmp_path: Path, seed: int, largest_offset: int) -> None:
    rng = random.Random(seed)
    extents, staged, expected = ExtentMap(), StagingArea(str(tmp_path), None).open(), bytearray()
    for _ in range(12):
        start, data = rng.randrange(largest_offset), rng.randbytes(rng.randrange(1, 4 * KIB))
        staged.write(start, data)
        extents.write(start, start + len(data))
        expected = expected.ljust(start, b"\0")
        expected[start:start + len(data)] = data
    extents.truncate(6 * MIB)  # a hole at the end, longer than a chunk
    expected = expected.ljust(6 * MIB, b"\0")
    first = rng.randrange(largest_offset // 2)
    part = PartContent(MemoryClient(), staged, extents.runs(first, 5 * MIB), DEFAULT_LIMITS)
    assert part.body() is part
    assert b"".join(map(bytes, part.chunks())) == expected[first:5 * MIB]
    assert read(part.pieces()) == expected[first:5 * MIB]
    staged.close()
