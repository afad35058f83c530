"""Parts that leave while the file is still being written: with the rest, a legal plan whatever came meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.errors import FileTooLarge
from cosfs.units import GIB, MAX_OBJECT_BYTES, MIB
from cosfs.writing.extents import ExtentMap
from cosfs.writing.plan import (
    DEFAULT_LIMITS,
    CopyRange,
    Limits,
    Multipart,
    Part,
    UploadRange,
    plan_prefix,
    plan_rest,
    streamed_part_bytes,
)
from tests.support.plans import TrackedFile, any_extents, any_limits, check_legal, edited, offsets, real_limits

Step = Tuple[str, int, bool]
"""What happens to a file behind the parts that were made of it, and whether parts are made of it then."""

steps = st.lists(st.tuples(st.sampled_from(["append", "append", "write", "hole"]), st.integers(1, 120), st.booleans()),
                 max_size=12)


@settings(deadline=None)
@given(any_extents(400), any_limits(), steps, st.booleans())
def test_parts_made_while_writing_and_the_rest_are_a_legal_plan(extents: ExtentMap, limits: Limits, steps: List[Step],
                                                                settled_only: bool) -> None:
    parts: List[Part] = []
    stop: Optional[int] = None
    for action, length, sends in [("none", 0, True), *steps]:
        start = parts[-1].stop if parts else 0
        size = extents.size_bytes
        if action == "append":
            extents.write(size, size + length)
        elif action == "hole":
            extents.truncate(size + length)
        elif action == "write":
            position = start + (size - start) * length // 121
            extents.write(position, position + length)
            stop = position + length if settled_only else None
        if sends:
            possible = fits(extents, parts, limits)
            made = plan_prefix(extents, start, len(parts) + 1, limits, stop=stop)
            assert all(part.stop - part.start >= limits.min_part_bytes for part in made)
            assert stop is None or not made or made[-1].stop <= stop
            parts += made
            assert fits(extents, parts, limits) >= possible
    if not fits(extents, parts, limits):
        with pytest.raises(FileTooLarge):
            plan_rest(extents, parts[-1].stop if parts else 0, len(parts) + 1, limits)
        return
    parts += plan_rest(extents, parts[-1].stop if parts else 0, len(parts) + 1, limits)
    if extents.size_bytes:
        check_legal(Multipart(tuple(parts)), extents, limits)


def fits(extents: ExtentMap, parts: List[Part], limits: Limits) -> bool:
    """Whether the service has room for what is not in ``parts``."""
    left = extents.size_bytes - (parts[-1].stop if parts else 0)
    return (left <= (limits.max_parts - len(parts)) * limits.max_part_bytes
            and extents.size_bytes <= limits.max_object_bytes)


@settings(deadline=None)
@given(any_extents(), any_limits())
def test_nothing_that_makes_a_whole_part_waits(extents: ExtentMap, limits: Limits) -> None:
    limits = replace(limits, max_parts=10_000, max_object_bytes=10_000)
    parts = plan_prefix(extents, 0, 1, limits)
    done = parts[-1].stop if parts else 0
    assert extents.size_bytes - done < streamed_part_bytes(len(parts) + 1, limits)
    for part in parts:
        if isinstance(part, UploadRange) and part.stop == done:
            assert part.stop - part.start <= 2 * limits.part_size_bytes


@settings(deadline=None)
@given(any_limits(), st.lists(st.integers(1, 60), max_size=20))
def test_a_sequential_writer_has_the_same_parts_however_it_writes(limits: Limits, lengths: List[int]) -> None:
    limits = replace(limits, max_parts=1_000, max_object_bytes=1_000)
    extents = ExtentMap()
    parts: List[Part] = []
    for length in lengths:
        extents.write(extents.size_bytes, extents.size_bytes + length)
        parts += plan_prefix(extents, parts[-1].stop if parts else 0, len(parts) + 1, limits)
    assert tuple(parts) == plan_prefix(extents, 0, 1, limits)
    assert all(part.stop - part.start == streamed_part_bytes(number, limits) for number, part in enumerate(parts, 1))


def test_streamed_parts_grow_from_8_mib_to_5_gib_and_reach_28_tib() -> None:
    sizes = [streamed_part_bytes(number) for number in range(1, DEFAULT_LIMITS.max_parts + 1)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (8 * MIB, 5 * GIB)
    assert sum(sizes) > 28 * 1024 * GIB


def test_appending_to_a_large_object_starts_with_copies_of_it() -> None:
    extents = edited(50 * GIB, 50 * GIB, 50 * GIB + 20 * MIB)
    parts = plan_prefix(extents, 0, 1)
    assert [type(part) for part in parts] == [CopyRange] * 10 + [UploadRange] * 2
    assert plan_rest(extents, parts[-1].stop, len(parts) + 1) == (
        UploadRange(50 * GIB + 16 * MIB, 50 * GIB + 20 * MIB),)


def test_what_has_used_up_its_parts_goes_on_from_copies_to_the_limit_of_the_service() -> None:
    extents = ExtentMap()
    extents.write(0, 28 * 1024 * GIB)
    parts = plan_prefix(extents, 0, 1)
    parts += plan_rest(extents, parts[-1].stop, len(parts) + 1)
    check_legal(Multipart(parts), extents, DEFAULT_LIMITS)
    extents.rebase("k", "e")
    extents.write(extents.size_bytes, MAX_OBJECT_BYTES - 5 * GIB)
    parts = plan_prefix(extents, 0, 1)
    parts += plan_rest(extents, parts[-1].stop, len(parts) + 1)
    check_legal(Multipart(parts), extents, DEFAULT_LIMITS)
    assert {type(part) for part in parts if part.stop <= 28 * 1024 * GIB} == {CopyRange}


@settings(deadline=None, max_examples=60)
@given(offsets(), st.lists(st.tuples(offsets(), st.integers(1, 300 * MIB), st.booleans()), max_size=10), real_limits())
def test_streamed_parts_store_the_content_at_the_real_limits(size: int, writes: List[Tuple[int, int, bool]],
                                                             limits: Limits) -> None:
    file = TrackedFile(size)
    parts: List[Part] = []
    for offset, length, sends in writes:
        start = parts[-1].stop if parts else 0
        file.write(start + offset % (file.extents.size_bytes - start + GIB), length)
        if sends:
            parts += plan_prefix(file.extents, start, len(parts) + 1, limits)
    if not fits(file.extents, parts, limits):
        return
    parts += plan_rest(file.extents, parts[-1].stop if parts else 0, len(parts) + 1, limits)
    if file.extents.size_bytes:
        check_legal(Multipart(tuple(parts)), file.extents, limits)
    assert file.stored(Multipart(tuple(parts))) == file.expected
