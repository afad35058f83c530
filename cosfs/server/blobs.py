"""Immutable files that hold the bytes of objects and parts, and the segments that point into them.

A blob is written once, under a fresh number, and never changed. It exists for the rest of the server only
once a committed row of the index counts it; what a crash leaves uncounted is swept at the next start. So
no rename is needed, and a copy of an object is a copy of its segments.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Container, Iterable, Iterator, List, Protocol, Sequence, Set, Tuple

from cosfs.cos.crc64 import crc64
from cosfs.units import MIB

READ_BYTES = MIB


@dataclass(frozen=True)
class Segment:
    """``length`` bytes of a blob, from ``offset``."""

    blob: int
    offset: int
    length: int


Segments = Tuple[Segment, ...]


@dataclass(frozen=True)
class Content:
    """The bytes of an object or a part, and what is known of them. ``etag`` is without quotes."""

    size_bytes: int
    etag: str
    crc64: int
    segments: Segments


def slice_segments(segments: Sequence[Segment], start: int, stop: int) -> Segments:
    """The segments of the bytes ``[start, stop)``."""
    found: List[Segment] = []
    position = 0
    for segment in segments:
        left, right = max(start - position, 0), min(stop - position, segment.length)
        if left < right:
            found.append(Segment(segment.blob, segment.offset + left, right - left))
        position += segment.length
    return tuple(found)


class Hasher(Protocol):
    """A checksum that is fed the bytes of a body as they arrive."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class BlobWriter:
    """One blob being written; MD5, CRC-64 and what ``hashers`` compute is computed as the bytes arrive.

    Nothing else may touch the writer while a ``write`` runs in another thread.
    """

    def __init__(self, number: int, path: Path, hashers: Sequence[Hasher]) -> None:
        self._number = number
        self._path = path
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115  # closed by finish or discard
        self._md5 = hashlib.md5()
        self._hashers = (self._md5, *hashers)
        self._crc64 = 0
        self.size_bytes = 0

    def write(self, pieces: Iterable[bytes]) -> None:
        for data in pieces:
            for hasher in self._hashers:
                hasher.update(data)
            self._crc64 = crc64(data, self._crc64)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view):]
            self.size_bytes += len(data)

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    def finish(self) -> Content:
        self._file.close()
        if not self.size_bytes:
            os.unlink(self._path)
        segments = (Segment(self._number, 0, self.size_bytes),) if self.size_bytes else ()
        return Content(self.size_bytes, self._md5.hexdigest(), self._crc64, segments)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class BlobStore:
    """The folder of the blobs of one bucket; file names are numbers, never keys."""

    def __init__(self, folder: Path, known: Container[int]) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._pins: Counter[int] = Counter()
        self._doomed: Set[int] = set()
        self._next = 1
        with os.scandir(folder) as entries:
            for entry in entries:
                number = int(entry.name) if entry.name.isdecimal() else 0
                self._next = max(self._next, number + 1)
                if number not in known:
                    os.unlink(entry.path)

    def path(self, number: int) -> Path:
        return self._folder / str(number)

    def _take_number(self) -> int:
        self._next += 1
        return self._next - 1

    def create(self, hashers: Sequence[Hasher] = ()) -> BlobWriter:
        number = self._take_number()
        return BlobWriter(number, self.path(number), hashers)

    def adopt(self, other: BlobStore, segments: Segments) -> Segments:
        """Segments of another bucket's store as segments of this one, by hard links."""
        numbers = {}
        for segment in segments:
            if segment.blob not in numbers:
                numbers[segment.blob] = self._take_number()
                os.link(other.path(segment.blob), self.path(numbers[segment.blob]))
        return tuple(Segment(numbers[s.blob], s.offset, s.length) for s in segments)

    @contextmanager
    def pinned(self, segments: Segments) -> Iterator[None]:
        """Keep the files of these segments until the block ends, even when their object is deleted."""
        numbers = [segment.blob for segment in segments]
        self._pins.update(numbers)
        try:
            yield
        finally:
            self._pins.subtract(numbers)
            done = [n for n in set(numbers) if not self._pins[n]]
            for number in done:
                del self._pins[number]
            self.remove([n for n in done if n in self._doomed])

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete the files of blobs that no row counts any more."""
        for number in numbers:
            if number in self._pins:
                self._doomed.add(number)
            else:
                self._doomed.discard(number)
                self.path(number).unlink(missing_ok=True)

    def read(self, segments: Segments, chunk_bytes: int = READ_BYTES) -> Iterator[bytes]:
        """The bytes of the segments, in chunks. Blocks on the disk."""
        for segment in segments:
            with open(self.path(segment.blob), "rb", buffering=0) as file:
                file.seek(segment.offset)
                left = segment.length
                while left:
                    data = file.read(min(left, chunk_bytes))
                    if not data:
                        raise EOFError(f"blob {segment.blob} is shorter than the index says")
                    left -= len(data)
                    yield data

    def crc64(self, segments: Segments) -> int:
        """The CRC-64 of the bytes of the segments. Blocks on the disk."""
        value = 0
        for data in self.read(segments):
            value = crc64(data, value)
        return value
