"""From an extent map to the cheapest legal way of storing it.

Defined here and only here: which bytes are sent, which are copied inside the service, and how parts are cut. Pure.
``uploader`` carries the plans out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Iterable, Iterator, List, Optional, Tuple, Union

from cosfs import units
from cosfs.errors import FileTooLarge
from cosfs.writing.extents import ExtentMap, Remote, Run


@dataclass(frozen=True)
class Limits:
    """What the service allows, and what we choose within that. Tests simulate others.

    ``part_size_bytes``: of uploaded parts, and so the memory of one; larger files get larger ones. 8 MiB is what a
    COS connection sends in about 0.1 s, long against the round trip. ``put_threshold_bytes``: most for one PUT;
    None means two parts. ``request_cost_bytes``: moving so many bytes takes about as long as one request more (20 ms
    at 50 MB/s); small files are sent whole instead of edited by copies if that is cheaper. ``multipart``: False keeps
    to single PUTs and copies. ``server_copies``: False has everything sent, and fetched first if need be.
    """

    part_size_bytes: int = 8 * units.MIB
    put_threshold_bytes: Optional[int] = None
    min_part_bytes: int = units.MIN_PART_BYTES
    max_part_bytes: int = units.MAX_PUT_BYTES
    max_parts: int = units.MAX_PARTS
    max_object_bytes: int = units.MAX_OBJECT_BYTES
    max_copy_bytes: int = units.MAX_PUT_BYTES
    request_cost_bytes: int = units.MIB
    multipart: bool = True
    server_copies: bool = True

    def __post_init__(self) -> None:
        # Pieces of equal size are all legal if two of the smallest fit into one of the largest.
        if not 2 * self.min_part_bytes <= min(self.max_part_bytes, self.max_copy_bytes):
            raise ValueError("max_part_bytes and max_copy_bytes must be at least twice min_part_bytes")
        if not 0 < self.min_part_bytes <= self.part_size_bytes <= self.max_part_bytes:
            raise ValueError("part_size_bytes must lie between min_part_bytes and max_part_bytes")
        if self.put_bytes > self.max_part_bytes:
            raise ValueError("put_threshold_bytes must not exceed max_part_bytes")
        if self.max_object_bytes > self.max_parts * self.max_part_bytes:
            raise ValueError("max_object_bytes must not exceed max_parts * max_part_bytes")

    @property
    def put_bytes(self) -> int:
        """Largest object that is sent in one PUT."""
        if not self.multipart:
            return self.max_part_bytes
        if self.put_threshold_bytes is not None:
            return self.put_threshold_bytes
        return min(2 * self.part_size_bytes, self.max_part_bytes)

    @property
    def streamed_bytes(self) -> int:
        """What must be written at the end of a file for one of its parts to leave; out of reach without parts."""
        return self.part_size_bytes if self.multipart else self.max_object_bytes


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class UploadRange:
    """The bytes ``[start, stop)`` of the file are sent; those that are remote are fetched first."""

    start: int
    stop: int


@dataclass(frozen=True)
class CopyRange:
    """The bytes ``[start, stop)`` of the file are copied inside the service, from ``source.offset`` on."""

    start: int
    stop: int
    source: Remote


Part = Union[UploadRange, CopyRange]


@dataclass(frozen=True)
class PutWhole:
    """One PUT of the bytes ``[0, size_bytes)``."""

    size_bytes: int


@dataclass(frozen=True)
class CopyWhole:
    """The content is one whole object: one copy inside the service."""

    source: Remote


@dataclass(frozen=True)
class Multipart:
    """A multipart upload of ``parts``, which lie in order and without gaps; numbers count from 1."""

    parts: Tuple[Part, ...]


Plan = Union[PutWhole, CopyWhole, Multipart]


def plan_upload(extents: ExtentMap, limits: Limits = DEFAULT_LIMITS) -> Plan:
    """The cheapest legal upload of the content. Raises: FileTooLarge."""
    size = extents.size_bytes
    whole = extents.whole_object
    if limits.server_copies and whole is not None and size <= min(limits.max_copy_bytes, limits.max_object_bytes):
        return CopyWhole(whole)
    if extents.staged_bytes == size <= limits.put_bytes:
        return PutWhole(size)  # there is nothing to weigh
    if not limits.multipart:
        if size > limits.put_bytes:
            raise FileTooLarge(f"{size} bytes; without multipart uploads an object holds at most {limits.put_bytes}")
        return PutWhole(size)
    plans: List[Plan] = [PutWhole(size)] if size <= limits.put_bytes else []
    plans.append(Multipart(plan_rest(extents, 0, 1, limits)))
    plans.append(Multipart(tuple(_cut(UploadRange(0, size), _part_bytes(size, limits.max_parts, limits), limits))))
    return min(plans, key=lambda plan: plan_cost(plan, extents, limits))


def plan_prefix(extents: ExtentMap, start: int, number: int, limits: Limits = DEFAULT_LIMITS, *,
                stop: Optional[int] = None) -> Tuple[Part, ...]:
    """The parts from ``number`` on that can be made of ``[start, stop)`` while the file is still being written.

    None of them is the last one, whatever comes behind ``stop`` (by default the end of the file): what makes no whole
    part is left for later. Parts grow and unchanged runs are sent if too few part numbers would be left otherwise.
    """
    stop = extents.size_bytes if stop is None else min(stop, extents.size_bytes)
    room = limits.max_parts - number + 1
    growth = 1
    while growth * limits.min_part_bytes <= 2 * max(0, stop - start):  # in the last round nothing is copied
        parts = tuple(islice(_whole_parts(extents, start, stop, number, growth, limits), max(0, room)))
        left = extents.size_bytes - (parts[-1].stop if parts else start)
        if (len(parts) < room and left <= (room - len(parts)) * limits.max_part_bytes
                and sum(_is_small(part, limits) for part in parts) <= room // 2):
            return parts
        growth *= 2
    return ()


def plan_rest(extents: ExtentMap, start: int, number: int, limits: Limits = DEFAULT_LIMITS) -> Tuple[Part, ...]:
    """All parts of ``[start, size)``, from ``number`` on; only the last may be short. Raises: FileTooLarge.

    The shortest unchanged runs are sent too if there would be too many parts otherwise.
    """
    size, left = extents.size_bytes, extents.size_bytes - start
    room = limits.max_parts - number + 1
    if size > limits.max_object_bytes or left > room * limits.max_part_bytes:
        raise FileTooLarge(f"{size} bytes; an object holds at most {limits.max_object_bytes}, and {room} of its "
                           f"{limits.max_parts} parts are left for the last {left} bytes")
    if not left:
        return ()
    part_size = _part_bytes(left, room, limits)
    min_copy = limits.min_part_bytes
    while True:  # ends at the latest when nothing is copied
        parts: List[Part] = []
        for segment in _segments(extents, start, size, min_copy, limits,
                                 short_end=min_copy == limits.min_part_bytes):
            parts += _cut(segment, part_size, limits)
        if len(parts) <= room:
            return tuple(parts)
        min_copy *= 2


def streamed_part_bytes(number: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """Size of the uploaded part ``number`` of a file whose end is not known yet.

    It doubles with every twentieth of the part numbers. So small files have small parts, and 10,000 parts from 8 MiB
    up to 5 GiB reach 28 TiB.
    """
    doublings = (number - 1) // max(1, limits.max_parts // 20)
    return min(limits.max_part_bytes, limits.part_size_bytes << doublings)


def plan_fetches(runs: Iterable[Run], limits: Limits) -> List[Run]:
    """The remote runs among ``runs``, to be fetched when these bytes are uploaded.

    Runs of one object that lie close together are one fetch; what is staged or zero between them comes with it and is
    to be overwritten.
    """
    fetches: List[Run] = []
    for run in runs:
        if not isinstance(run.source, Remote):
            continue
        if fetches and run.start - fetches[-1].stop <= limits.request_cost_bytes and _continues(fetches[-1], run):
            fetches[-1] = fetches[-1]._replace(stop=run.stop)
        else:
            fetches.append(run)
    return fetches


def plan_cost(plan: Plan, extents: ExtentMap, limits: Limits) -> int:
    """Bytes sent and fetched, and the requests at what they are worth in bytes."""
    if isinstance(plan, CopyWhole):
        return limits.request_cost_bytes
    if isinstance(plan, PutWhole):
        uploads, requests = [UploadRange(0, plan.size_bytes)], 1
    else:
        uploads = [part for part in plan.parts if isinstance(part, UploadRange)]
        requests = len(plan.parts) + 2
    moved = 0
    for upload in uploads:
        fetches = plan_fetches(extents.runs(upload.start, upload.stop), limits)
        moved += upload.stop - upload.start + sum(run.stop - run.start for run in fetches)
        requests += len(fetches)
    return moved + requests * limits.request_cost_bytes


def _continues(run: Run, later: Run) -> bool:
    one, other = run.source, later.source
    return (isinstance(one, Remote) and isinstance(other, Remote) and (one.key, one.etag) == (other.key, other.etag)
            and other.offset - one.offset == later.start - run.start)


def _whole_parts(extents: ExtentMap, start: int, stop: int, number: int, growth: int,
                 limits: Limits) -> Iterator[Part]:
    """Parts of ``[start, stop)`` none of which needs to be the last; ``growth`` makes them fewer and larger.

    The runs worth a copy grow as the uploaded parts do, so edits here and there do not use up the part numbers.
    """
    min_copy = limits.min_part_bytes * streamed_part_bytes(number, limits) * growth // limits.part_size_bytes
    for segment in _segments(extents, start, stop, min_copy, limits, short_end=False):
        if isinstance(segment, UploadRange) and segment.stop == stop:
            position = segment.start
            while True:
                end = position + min(limits.max_part_bytes, growth * streamed_part_bytes(number, limits))
                if end > stop:
                    return
                yield UploadRange(position, end)
                position = end
                number += 1
        for part in _cut(segment, min(limits.max_part_bytes, growth * streamed_part_bytes(number, limits)), limits):
            yield part
            number += 1


def _is_small(part: Part, limits: Limits) -> bool:
    """Whether so many bytes could have been in far fewer parts."""
    return 2 * (part.stop - part.start) < _largest_copy(limits)


def _segments(extents: ExtentMap, start: int, stop: int, min_copy: int, limits: Limits, *,
              short_end: bool) -> Iterator[Part]:
    """Cut ``[start, stop)`` into alternate stretches to upload and to copy; only the last may be under ``min_part``.

    An upload that is too short takes what it lacks from the unchanged run after it; if less than ``min_copy`` of that
    is left then, it takes all. So beside the changed bytes each unchanged run costs less than ``min_part + min_copy``
    bytes. ``short_end``: an unchanged run at the end is copied however short, if the upload before it lacks nothing.
    """
    pending, min_part = start, limits.min_part_bytes  # [pending, run.start) waits to be uploaded
    for run in extents.runs(start, stop):
        if not (isinstance(run.source, Remote) and limits.server_copies):
            continue
        lacking = max(0, min_part - (run.start - pending)) if pending < run.start else 0
        left = run.stop - run.start - lacking
        if left < min_copy and not (short_end and run.stop == stop and not lacking):
            continue
        begin = run.start + lacking
        if pending < begin:
            yield UploadRange(pending, begin)
        yield CopyRange(begin, run.stop, replace(run.source, offset=run.source.offset + lacking))
        pending = run.stop
    if pending < stop:
        yield UploadRange(pending, stop)


def _part_bytes(left: int, room: int, limits: Limits) -> int:
    """Size of uploaded parts. They may take half of the part numbers, the rest is for copies and odd ends."""
    return min(limits.max_part_bytes, max(limits.part_size_bytes, -(-2 * left // room)))


def _cut(segment: Part, part_size: int, limits: Limits) -> Iterator[Part]:
    """Pieces of equal size: of at most ``part_size`` if they are uploaded, unless that makes illegal ones."""
    largest = part_size if isinstance(segment, UploadRange) else _largest_copy(limits)
    length = segment.stop - segment.start
    count = min(-(-length // largest), max(1, length // limits.min_part_bytes))
    for index in range(count):
        start, stop = segment.start + length * index // count, segment.start + length * (index + 1) // count
        if isinstance(segment, UploadRange):
            yield UploadRange(start, stop)
        else:
            offset = segment.source.offset + start - segment.start
            yield CopyRange(start, stop, replace(segment.source, offset=offset))


def _largest_copy(limits: Limits) -> int:
    return min(limits.max_copy_bytes, limits.max_part_bytes)
