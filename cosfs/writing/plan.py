"""From an extent map to the cheapest legal way of storing it.

Defined here and only here: which bytes are sent, which are copied inside the service, and how parts are cut. Pure.
``uploader`` carries the plans out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterator, List, Optional, Tuple, Union

from cosfs import units
from cosfs.errors import FileTooLarge
from cosfs.writing.extents import ExtentMap, Remote, Run


@dataclass(frozen=True)
class Limits:
    """What the service allows, and what we choose within that. Tests simulate others.

    ``part_size_bytes``: of uploaded parts, and so the memory of one; larger files get larger ones. 8 MiB is what a
    COS connection sends in about 0.1 s, long against the round trip. ``put_threshold_bytes``: most for one PUT;
    None means two parts. ``request_cost_bytes``: moving so many bytes takes about as long as one request more (20 ms
    at 50 MB/s); small files are sent whole instead of edited by copies if that is cheaper.
    """

    part_size_bytes: int = 8 * units.MIB
    put_threshold_bytes: Optional[int] = None
    min_part_bytes: int = units.MIN_PART_BYTES
    max_part_bytes: int = units.MAX_PUT_BYTES
    max_parts: int = units.MAX_PARTS
    max_object_bytes: int = units.MAX_OBJECT_BYTES
    max_copy_bytes: int = units.MAX_PUT_BYTES
    request_cost_bytes: int = units.MIB

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
        if self.put_threshold_bytes is not None:
            return self.put_threshold_bytes
        return min(2 * self.part_size_bytes, self.max_part_bytes)


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
    if size > limits.max_object_bytes:
        raise FileTooLarge(f"{size} bytes; an object holds at most {limits.max_object_bytes}")
    whole = extents.whole_object
    if whole is not None and size <= limits.max_copy_bytes:
        return CopyWhole(whole)
    parts = _plan_parts(extents, limits)
    if size > limits.put_bytes:
        return parts
    put = PutWhole(size)
    return put if plan_cost(put, extents, limits) <= plan_cost(parts, extents, limits) else parts


def plan_fetches(extents: ExtentMap, start: int, stop: int, limits: Limits) -> List[Run]:
    """The remote runs of ``[start, stop)``, to be fetched when these bytes are uploaded.

    Runs of one object that lie close together are one fetch; what is staged or zero between them comes with it and is
    to be overwritten.
    """
    fetches: List[Run] = []
    for run in extents.runs(start, stop):
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
        fetches = plan_fetches(extents, upload.start, upload.stop, limits)
        moved += upload.stop - upload.start + sum(run.stop - run.start for run in fetches)
        requests += len(fetches)
    return moved + requests * limits.request_cost_bytes


def _continues(run: Run, later: Run) -> bool:
    one, other = run.source, later.source
    return (isinstance(one, Remote) and isinstance(other, Remote) and (one.key, one.etag) == (other.key, other.etag)
            and other.offset - one.offset == later.start - run.start)


def _plan_parts(extents: ExtentMap, limits: Limits) -> Multipart:
    """Cut the file into parts; the shortest unchanged runs are sent too if there would be too many parts otherwise.

    Uploaded parts may take half of the part numbers, the rest is for copies and for the odd ends between them. Ends at
    the latest when nothing is copied.
    """
    size = extents.size_bytes
    part_size = min(limits.max_part_bytes, max(limits.part_size_bytes, -(-2 * size // limits.max_parts)))
    copy_size = min(limits.max_copy_bytes, limits.max_part_bytes)
    min_copy = limits.min_part_bytes
    while True:
        parts: List[Part] = []
        for segment in _segments(extents, min_copy, limits.min_part_bytes):
            largest = part_size if isinstance(segment, UploadRange) else copy_size
            parts += _cut(segment, limits.min_part_bytes, largest)
        if len(parts) <= limits.max_parts:
            return Multipart(tuple(parts))
        min_copy *= 2


def _segments(extents: ExtentMap, min_copy: int, min_part: int) -> Iterator[Part]:
    """Alternate stretches to upload and to copy. Only the last one may be shorter than ``min_part``.

    An upload that is too short takes what it lacks from the unchanged run after it; if less than ``min_copy`` of that
    is left then, it takes all. So beside the changed bytes each unchanged run costs less than ``min_part + min_copy``
    bytes. A short run at the end of the file is copied if the upload before it lacks nothing.
    """
    size = extents.size_bytes
    pending = 0  # [pending, run.start) waits to be uploaded
    for run in extents.runs():
        if not isinstance(run.source, Remote):
            continue
        lacking = max(0, min_part - (run.start - pending)) if pending < run.start else 0
        left = run.stop - run.start - lacking
        short_end = run.stop == size and not lacking and min_copy == min_part
        if left < min_copy and not short_end:
            continue
        start = run.start + lacking
        if pending < start:
            yield UploadRange(pending, start)
        yield CopyRange(start, run.stop, replace(run.source, offset=run.source.offset + lacking))
        pending = run.stop
    if pending < size:
        yield UploadRange(pending, size)


def _cut(segment: Part, smallest: int, largest: int) -> Iterator[Part]:
    """Pieces of equal size, at most ``largest`` unless that makes them smaller than ``smallest``."""
    length = segment.stop - segment.start
    count = min(-(-length // largest), max(1, length // smallest))
    edges = [segment.start + length * index // count for index in range(count + 1)]
    for start, stop in zip(edges, edges[1:]):
        if isinstance(segment, UploadRange):
            yield UploadRange(start, stop)
        else:
            offset = segment.source.offset + start - segment.start
            yield CopyRange(start, stop, replace(segment.source, offset=offset))
