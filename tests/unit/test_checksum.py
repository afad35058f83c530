"""What is fetched of an object version in ranges, compared with the service's checksum of the whole."""

from __future__ import annotations

import random
from typing import Optional

import pytest

from cosfs.cos.crc64 import crc64
from cosfs.reading.checksum import Mismatch, VersionChecksum
from cosfs.units import GIB, KIB, MIB

CELL = 128 * KIB
DATA = random.Random(3).randbytes(2 * MIB + 1000)
CRC = crc64(DATA)


def noted(checksum: VersionChecksum, start: int, stop: int, data: bytes = DATA,
          told: Optional[int] = CRC) -> Optional[Mismatch]:
    checksum.tell(told)
    return checksum.note(start, memoryview(data)[start:stop])


def flipped(position: int) -> bytes:
    wrong = bytearray(DATA)
    wrong[position] ^= 1
    return bytes(wrong)


@pytest.mark.parametrize("seed", range(20))
def test_ranges_in_any_order_and_size_are_compared_when_they_are_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    cuts = sorted({0, len(DATA), *(rng.randrange(len(DATA)) for _ in range(rng.randrange(30)))})
    ranges = list(zip(cuts, cuts[1:]))
    rng.shuffle(ranges)
    right, wrong, bad = VersionChecksum(len(DATA)), VersionChecksum(len(DATA)), flipped(rng.randrange(len(DATA)))
    assert [noted(right, *item) for item in ranges] == [None] * len(ranges)
    found = [noted(wrong, *item, data=bad) for item in ranges]
    assert found[:-1] == [None] * (len(ranges) - 1)
    assert found[-1] == Mismatch(0, len(DATA), crc64(bad), CRC)


def test_a_cell_that_is_fetched_again_with_other_bytes_is_found_at_once() -> None:
    checksum = VersionChecksum(len(DATA))
    assert noted(checksum, 0, MIB) is None
    mismatch = noted(checksum, 0, MIB, flipped(CELL + 5))
    assert mismatch is not None and (mismatch.start, mismatch.stop) == (CELL, 2 * CELL)


def test_after_a_complete_check_every_further_fetch_is_compared_too() -> None:
    checksum = VersionChecksum(len(DATA))
    assert noted(checksum, 0, len(DATA)) is None
    assert noted(checksum, MIB, len(DATA)) is None
    assert noted(checksum, MIB, len(DATA), flipped(len(DATA) - 1)) is not None


def test_without_a_checksum_of_the_service_nothing_is_compared() -> None:
    checksum = VersionChecksum(len(DATA))
    assert noted(checksum, 0, len(DATA), flipped(7), told=None) is None


def test_a_checksum_that_was_told_before_serves_bytes_that_come_without_one() -> None:
    checksum = VersionChecksum(len(DATA), CRC)
    assert noted(checksum, 0, MIB, told=None) is None
    assert noted(checksum, MIB, len(DATA), flipped(MIB), told=None) is not None


def test_bytes_that_came_before_the_checksum_was_told_are_part_of_the_whole() -> None:
    checksum = VersionChecksum(len(DATA))
    assert checksum.note(0, memoryview(flipped(7))[:MIB]) is None
    assert noted(checksum, MIB, len(DATA)) is not None


def test_a_fetch_of_what_small_reads_have_touched_replaces_their_parts() -> None:
    checksum = VersionChecksum(len(DATA))
    for start in (5_000, 70_000, 300_000):
        assert noted(checksum, start, start + 32 * KIB) is None
    assert noted(checksum, 0, len(DATA)) is None
    assert noted(VersionChecksum(len(DATA)), 0, len(DATA), flipped(71_000)) is not None


def test_state_stays_small_for_huge_objects_and_many_random_reads() -> None:
    checksum = VersionChecksum(10_000 * GIB)
    rng = random.Random(1)
    block = memoryview(bytes(4 * KIB))
    for _ in range(5_000):
        assert checksum.note(rng.randrange(2**30) * 4 * KIB, block) is None
    assert len(checksum._partial) <= 1_024
    assert checksum._cells <= 65_536
