"""The extent map, against a byte array."""

from __future__ import annotations

import random
from typing import List, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.writing.extents import STAGED, ZERO, ExtentMap, Remote, Run

OBJECT = bytes(range(1, 41))
OTHER = bytes(range(200, 240))

Operation = Tuple[str, int, int]


def content(extents: ExtentMap, staged: bytes, objects: dict[str, bytes], start: int = 0,
            stop: int = 1 << 60) -> bytes:
    """The bytes that the map describes."""
    pieces: List[bytes] = []
    for run in extents.runs(start, stop):
        length = run.stop - run.start
        if isinstance(run.source, Remote):
            pieces.append(objects[run.source.key][run.source.offset:run.source.offset + length])
        else:
            pieces.append(staged[run.start:run.stop] if run.source is STAGED else bytes(length))
        assert len(pieces[-1]) == length
    return b"".join(pieces)


def check_shape(extents: ExtentMap) -> None:
    """Runs are contiguous, not empty, as few as possible, and staged_bytes is their sum."""
    position = 0
    previous = None
    for run in extents.runs():
        assert run.start == position < run.stop
        source = run.source
        if isinstance(source, Remote):
            source = Remote(source.key, source.etag, source.offset - run.start, source.object_bytes)
        assert source != previous
        position, previous = run.stop, source
    assert position == extents.size_bytes
    staged = sum(run.stop - run.start for run in extents.runs() if run.source is STAGED)
    assert staged == extents.staged_bytes


operations = st.lists(st.tuples(
    st.sampled_from(["write", "write", "write", "truncate", "commit", "copy", "hole"]),
    st.integers(0, 60), st.integers(0, 12)), max_size=25)


@settings(deadline=None)
@given(st.sampled_from([b"", OBJECT]), operations, st.integers(0, 70), st.integers(0, 70))
def test_map_describes_what_a_byte_array_holds(base: bytes, steps: List[Operation], start: int, stop: int) -> None:
    extents = ExtentMap.of_object("k", "e", len(base))
    objects = {"k": base, "other": OTHER}
    expected = bytearray(base)
    staged = bytearray(80)
    for number, (action, offset, length) in enumerate(steps):
        if action == "write":
            data = bytes([100 + number]) * length
            before = extents.staged_bytes
            added = extents.unstaged_bytes(offset, offset + length)
            extents.write(offset, offset + length)
            assert extents.staged_bytes == before + added
            staged[offset:offset + length] = data
            if length:
                expected.extend(bytes(max(0, offset - len(expected))))
                expected[offset:offset + length] = data
        elif action in ("copy", "hole"):
            copied = Remote("other", "e3", number, len(OTHER)) if action == "copy" else ZERO
            extents.refer(offset, offset + length, copied)
            if length:
                expected.extend(bytes(max(0, offset - len(expected))))
                expected[offset:offset + length] = OTHER[number:number + length] if action == "copy" else bytes(length)
                assert extents.dirty
        elif action == "truncate":
            extents.truncate(offset)
            del expected[offset:]
            expected.extend(bytes(offset - len(expected)))
        else:
            extents.rebase("k", "e")
            objects["k"] = bytes(expected)
            assert not extents.dirty
        check_shape(extents)
        assert extents.size_bytes == len(expected)
        assert content(extents, bytes(staged), objects) == expected
    assert content(extents, bytes(staged), objects, start, stop) == expected[start:stop]


def test_runs_are_clipped_and_remote_offsets_follow() -> None:
    extents = ExtentMap.of_object("k", "e", 100)
    extents.write(40, 50)
    assert list(extents.runs(30, 60)) == [
        Run(30, 40, Remote("k", "e", 30, 100)), Run(40, 50, STAGED), Run(50, 60, Remote("k", "e", 50, 100))]
    assert list(extents.runs(100, 200)) == []


def test_write_behind_the_end_leaves_zeros() -> None:
    extents = ExtentMap()
    extents.write(10, 12)
    assert list(extents.runs()) == [Run(0, 10, ZERO), Run(10, 12, STAGED)]


def test_dirty_means_changed_since_the_last_rebase() -> None:
    extents = ExtentMap.of_object("k", "e", 10)
    extents.truncate(10)
    extents.write(3, 3)
    assert not extents.dirty
    extents.truncate(9)
    assert extents.dirty
    extents.rebase("k", "e2")
    assert not extents.dirty
    assert list(extents.runs()) == [Run(0, 9, Remote("k", "e2", 0, 9))]


def test_whole_object_only_while_the_content_is_all_of_it() -> None:
    extents = ExtentMap.of_object("k", "e", 10)
    assert extents.whole_object == Remote("k", "e", 0, 10)
    extents.truncate(9)
    assert extents.whole_object is None
    extents.truncate(10)
    assert extents.whole_object is None
    assert ExtentMap().whole_object is None


def test_many_random_writes_stay_merged() -> None:
    rng = random.Random(7)
    extents = ExtentMap.of_object("k", "e", 1 << 24)
    for _ in range(20_000):
        start = rng.randrange(1 << 12) << 12
        extents.write(start, start + 4096)
    check_shape(extents)
    extents.write(0, 1 << 24)
    assert list(extents.runs()) == [Run(0, 1 << 24, STAGED)]
