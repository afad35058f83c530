"""Upload plans as tests look at them: the rules of the service, what a plan moves, and what it stores.

A :class:`Content` describes files of any size by who wrote which byte, so plans are followed up to the limit of the
service without a byte being there.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, Tuple

from hypothesis import strategies as st

from cosfs.units import GIB, MAX_OBJECT_BYTES, MAX_PARTS, MIB
from cosfs.writing.extents import STAGED, ExtentMap, Remote, Run
from cosfs.writing.plan import (
    CopyRange,
    CopyWhole,
    Limits,
    Multipart,
    Part,
    Plan,
    PutWhole,
    UploadRange,
    plan_fetches,
    plan_rest,
)


def check_legal(plan: Plan, extents: ExtentMap, limits: Limits) -> None:
    """The rules of the service hold, and every byte comes from where the map says."""
    size = extents.size_bytes
    if isinstance(plan, CopyWhole):
        assert plan.source == Remote(plan.source.key, plan.source.etag, 0, size) and size <= limits.max_copy_bytes
        assert list(extents.runs()) == [Run(0, size, plan.source)]
    elif isinstance(plan, PutWhole):
        assert plan.size_bytes == size <= limits.put_bytes
    else:
        assert 1 <= len(plan.parts) <= limits.max_parts
        position = 0
        for part in plan.parts:
            length = part.stop - part.start
            assert part.start == position
            assert 0 < length <= limits.max_part_bytes
            assert part.stop == size or length >= limits.min_part_bytes
            if isinstance(part, CopyRange):
                assert length <= limits.max_copy_bytes
                assert list(extents.runs(part.start, part.stop)) == [Run(part.start, part.stop, part.source)]
            position = part.stop
        assert position == size


def moved(plan: Plan, extents: ExtentMap, limits: Limits) -> Tuple[int, int]:
    """Bytes that are (uploaded, fetched)."""
    if isinstance(plan, CopyWhole):
        return 0, 0
    ranges: List[UploadRange] = [UploadRange(0, plan.size_bytes)] if isinstance(plan, PutWhole) else [
        part for part in plan.parts if isinstance(part, UploadRange)]
    fetched = sum(run.stop - run.start for upload in ranges
                  for run in plan_fetches(extents.runs(upload.start, upload.stop), limits))
    return sum(upload.stop - upload.start for upload in ranges), fetched


@st.composite
def any_limits(draw: st.DrawFn) -> Limits:
    min_part = draw(st.integers(1, 20))
    max_part = draw(st.integers(2 * min_part, 200))
    part_size = draw(st.integers(min_part, max_part))
    max_parts = draw(st.integers(1, 30))
    return Limits(part_size_bytes=part_size, put_threshold_bytes=draw(st.one_of(st.none(), st.integers(0, max_part))),
                  min_part_bytes=min_part, max_part_bytes=max_part, max_parts=max_parts,
                  max_object_bytes=max_part * max_parts, max_copy_bytes=draw(st.integers(2 * min_part, 300)),
                  request_cost_bytes=draw(st.integers(0, 20)))


@st.composite
def any_extents(draw: st.DrawFn, largest: int = 800) -> ExtentMap:
    extents = ExtentMap.of_object("k", "e", draw(st.integers(0, largest)))
    for start, length, action in draw(st.lists(st.tuples(st.integers(0, largest), st.integers(1, 30),
                                                         st.sampled_from("wwwt")), max_size=12)):
        if action == "w":
            extents.write(start, start + length)
        else:
            extents.truncate(start)
    return extents


def edited(size: int, start: int, stop: int) -> ExtentMap:
    extents = ExtentMap.of_object("k", "e", size)
    extents.write(start, stop)
    return extents


@st.composite
def real_limits(draw: st.DrawFn) -> Limits:
    """Limits that are those of the service or within them."""
    min_part = draw(st.sampled_from([MIB, 5 * MIB, 16 * MIB]))
    max_part = draw(st.one_of(st.just(5 * GIB), st.integers(2 * min_part, 5 * GIB)))
    max_parts = draw(st.one_of(st.just(MAX_PARTS), st.integers(1, MAX_PARTS)))
    return Limits(part_size_bytes=draw(st.integers(min_part, min(max_part, 64 * MIB))), min_part_bytes=min_part,
                  max_part_bytes=max_part, max_parts=max_parts,
                  max_object_bytes=min(MAX_OBJECT_BYTES, max_parts * max_part))


@st.composite
def offsets(draw: st.DrawFn) -> int:
    """Offsets of every order of magnitude up to what the service holds, many of them round."""
    offset = draw(st.integers(0, draw(st.sampled_from([40 * MIB, 20 * GIB, MAX_OBJECT_BYTES]))))
    return offset - offset % draw(st.sampled_from([1, 4096, MIB]))


Piece = Tuple[int, int, int]
"""``(length, writer, first)``: bytes ``first`` and on of what a writer wrote; writer 0 wrote zeros."""


class Content:
    """The bytes of a file as pieces; neighbours that continue each other are one."""

    def __init__(self, pieces: Tuple[Piece, ...] = ()) -> None:
        self._pieces: List[Piece] = []
        for length, writer, first in pieces:
            if not length:
                continue
            if self._pieces:
                before, last_writer, last_first = self._pieces[-1]
                if writer == last_writer and first == (last_first + before if writer else 0):
                    self._pieces[-1] = (before + length, writer, last_first)
                    continue
            self._pieces.append((length, writer, first))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self._pieces == other._pieces

    def __hash__(self) -> int:
        return hash(tuple(self._pieces))

    def __repr__(self) -> str:
        return f"Content({self._pieces})"

    def __len__(self) -> int:
        return sum(length for length, _, _ in self._pieces)

    def __add__(self, other: Content) -> Content:
        return Content((*self._pieces, *other._pieces))

    @classmethod
    def joined(cls, contents: Iterable[Content]) -> Content:
        """One after the other; of thousands in a time that grows with their number alone."""
        return cls(tuple(piece for content in contents for piece in content._pieces))

    def part(self, start: int, stop: int) -> Content:
        """The bytes ``[start, stop)``; zeros where there are none."""
        found: List[Piece] = []
        position = 0
        for length, writer, first in self._pieces:
            low, high = max(start, position), min(stop, position + length)
            if low < high:
                found.append((high - low, writer, first + low - position if writer else 0))
            position += length
        return Content((*found, (max(0, stop - max(start, position)), 0, 0)))

    def written(self, start: int, length: int, writer: int) -> Content:
        """The content after a writer has written his bytes there."""
        stop = start + length
        return self.part(0, start) + Content(((length, writer, 0),)) + self.part(stop, max(stop, len(self)))


class TrackedFile:
    """An extent map together with what the file should hold, what is staged, and what the objects of it hold."""

    def __init__(self, size_bytes: int) -> None:
        self.extents = ExtentMap.of_object("0", "e", size_bytes)
        self.expected = Content(((size_bytes, 1, 0),))
        self._staged = Content()
        self._objects: Dict[str, Content] = {"0": self.expected}
        self._writers = 1

    def write(self, start: int, length: int) -> None:
        self._writers += 1
        self.extents.write(start, start + length)
        self.expected = self.expected.written(start, length, self._writers)
        self._staged = self._staged.written(start, length, self._writers)

    def truncate(self, size_bytes: int) -> None:
        self.extents.truncate(size_bytes)
        self.expected = self.expected.part(0, size_bytes)

    def commit(self) -> None:
        key = str(len(self._objects))
        self._objects[key] = self.expected
        self.extents.rebase(key, "e")

    def described(self, start: int, stop: int) -> Content:
        """What the map says about ``[start, stop)``."""
        return Content.joined(self._run(run) for run in self.extents.runs(start, stop))

    def _run(self, run: Run) -> Content:
        length = run.stop - run.start
        if isinstance(run.source, Remote):
            assert 0 <= run.source.offset <= len(self._objects[run.source.key]) - length
            return self._objects[run.source.key].part(run.source.offset, run.source.offset + length)
        return self._staged.part(run.start, run.stop) if run.source is STAGED else Content(((length, 0, 0),))

    def stored(self, plan: Plan) -> Content:
        """What the object holds after the plan is carried out."""
        if isinstance(plan, PutWhole):
            return self.described(0, plan.size_bytes)
        if isinstance(plan, CopyWhole):
            return self._objects[plan.source.key]
        return Content.joined(self._part(part) for part in plan.parts)

    def _part(self, part: Part) -> Content:
        if isinstance(part, CopyRange):
            offset = part.source.offset
            return self._objects[part.source.key].part(offset, offset + part.stop - part.start)
        return self.described(part.start, part.stop)


def everything_sent(size_bytes: int, limits: Limits) -> Multipart:
    """The plan of a writer who knows nothing of what is in the bucket, and sends all."""
    extents = ExtentMap()
    extents.write(0, size_bytes)
    return Multipart(plan_rest(extents, 0, 1, limits))
