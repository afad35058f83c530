"""The content of one open file: the bytes of an object version, staged ones over it, and holes.

Used by ``OpenFile`` (openfile.py), which decides when content changes and when it goes into the bucket. The
extent map says where each byte lies; this reads them from there, and stages what is written.

Threading: readers share a lock, which is held alone for the moments in which the extent map changes. Whoever
changes the content, or uploads it, holds the mutation lock of its ``OpenFile``.
"""

from __future__ import annotations

import threading
from typing import Callable, Optional

from cosfs.config import Conflict
from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import StagingFull
from cosfs.filesystem.context import Context
from cosfs.filesystem.locks import SharedLock
from cosfs.namespace.bodies import SMALL_BYTES
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import Window
from cosfs.units import MIB
from cosfs.writing.extents import SENT, ExtentMap, Remote, Staged
from cosfs.writing.staging import StagingFile
from cosfs.writing.streaming import StreamingUpload
from cosfs.writing.uploader import Committed

_FETCH_BYTES = 4 * MIB

_SAFE_IN_PARTS_S = 12 * 3600.0
"""The shortest time after which a lifecycle rule removes uploads that are not completed is a day ("PUT Bucket
lifecycle", AbortIncompleteMultipartUpload)."""


class NotReadable(Exception):
    """Bytes are only in parts that were sent: they can be read, and changed, when the file is committed."""


class FileContent:
    """
    ::

        STAGED --begin_stream()--> STREAMING --upload() of the same key, drop_stream()--> STAGED
    """

    def __init__(self, context: Context, base: Optional[ObjectInfo]) -> None:
        self._context = context
        self._base = base
        self._extents = ExtentMap() if base is None else ExtentMap.of_object(base.key, base.etag, base.size_bytes)
        self._staging: Optional[StagingFile] = None
        self._reader: Optional[ObjectReader] = None
        self._reader_lock = threading.Lock()
        self._lock = SharedLock()
        self._stream: Optional[StreamingUpload] = None
        self._stream_began_s = 0.0
        self._uploading = False
        self._appended = 0
        """Bytes written at the end, one write after the other, since something else was done."""
        self.delivered = False
        """Whether somebody has, or the kernel holds, bytes of the object version."""
        self.on_corrupted: Callable[[], None] = lambda: None
        """Called when bytes of the object version turn out to be wrong, from any thread."""

    @property
    def size_bytes(self) -> int:
        return self._extents.size_bytes

    @property
    def dirty(self) -> bool:
        """Whether the content was changed since it was that of an object."""
        return self._extents.dirty

    @property
    def remote_bytes(self) -> int:
        """How many bytes are in the bucket only."""
        return sum(run.stop - run.start for run in self._extents.runs() if isinstance(run.source, Remote))

    def read(self, offset: int, size: int, window: Optional[Window] = None, *,
             max_age_s: Optional[float] = None) -> bytes:
        """Up to ``size`` bytes; fewer only at the end. ``window``: what will be wanted soon.

        ``max_age_s``: content that came with the object's headers longer ago than this is not used, unless it was
        fetched ahead a moment ago.
        Raises: PreconditionFailed, ObjectNotFound, when the object version is gone; NotReadable.
        """
        with self._lock.shared():
            pieces = []
            for run in self._extents.runs(offset, offset + size):
                length = run.stop - run.start
                if isinstance(run.source, Remote):
                    ahead = window if run.source.offset == run.start else None
                    pieces.append(self._read_object(run.source, length, ahead, max_age_s))
                    self.delivered = True
                elif isinstance(run.source, Staged):
                    pieces.append(self._staging_file().read(run.start, length))
                elif run.source is SENT:
                    raise NotReadable
                else:
                    pieces.append(bytes(length))
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_object(self, source: Remote, length: int, ahead: Optional[Window], max_age_s: Optional[float]) -> bytes:
        body = self._context.tree.bodies.get(source.key, source.etag, max_age_s=max_age_s, ahead=True)
        if body is not None:
            return body[source.offset:source.offset + length]
        return self._object_reader(source).read(source.offset, length, ahead)

    def _object_reader(self, source: Remote) -> ObjectReader:
        """The reader of the object version, to which all remote runs of the map refer."""
        reader = self._reader
        if reader is None or (reader.key, reader.etag) != (source.key, source.etag):
            with self._reader_lock:
                reader = self._reader
                if reader is None or (reader.key, reader.etag) != (source.key, source.etag):
                    self._close_reader()
                    base = self._base
                    checksum = base.crc64 if base is not None and base.etag == source.etag else None
                    reader = self._reader = self._context.reader(
                        source.key, source.etag, source.object_bytes, checksum, self.on_corrupted)
        return reader

    @property
    def corrupted(self) -> bool:
        """Whether wrong bytes of the object version may have been handed out; nothing more of it is."""
        return self._reader is not None and self._reader.corrupted

    def write(self, offset: int, data: bytes) -> None:
        """Stage bytes; waits for space that uploads will make. Raises: StagingFull, StagingFailed, NotReadable."""
        self._take_back(offset, offset + len(data))
        self._appended = self._appended + len(data) if offset == self.size_bytes else 0
        self._stage(offset, data, changed=True)

    def truncate(self, size_bytes: int) -> None:
        """Cut, or lengthen with a hole. Raises: NotReadable."""
        if size_bytes and size_bytes < self.size_bytes:
            self._take_back(size_bytes, self.size_bytes)
        self._appended = 0
        if self._stream is not None:
            self._stream.cut(size_bytes)
        with self._lock.exclusive():
            self._extents.truncate(size_bytes)
            if self._staging is not None:
                self._staging.truncate(size_bytes)
                self._staging.settle(self._extents.staged_bytes)

    def fetch(self) -> None:
        """Stage what is in the bucket only. Raises: as ``read`` and ``write``."""
        for run in list(self._extents.runs()):
            if isinstance(run.source, Remote):
                for start in range(run.start, run.stop, _FETCH_BYTES):
                    data = self.read(start, min(_FETCH_BYTES, run.stop - start))
                    self._stage(start, data, changed=False)

    def take_over(self, body: bytes) -> None:
        """Stage what is in the bucket only, out of the object version's whole ``body``."""
        for run in list(self._extents.runs()):
            if isinstance(run.source, Remote):
                start = run.source.offset
                self._stage(run.start, body[start:start + run.stop - run.start], changed=False)

    def _stage(self, offset: int, data: bytes, *, changed: bool) -> None:
        stop = offset + len(data)
        staging = self._staging_file()
        while True:
            staging.reserve(self._extents.unstaged_bytes(offset, stop))
            try:
                with self._lock.exclusive():
                    try:
                        staging.write(offset, data)
                        self._extents.write(offset, stop, changed=changed)
                    finally:
                        staging.settle(self._extents.staged_bytes)
                return
            except StagingFull:  # the disk says so, whatever was reserved
                if not self._context.staging.make_room():
                    raise

    def _take_back(self, start: int, stop: int) -> None:
        """Keep bytes that are going to change from being given up, or sent half changed. Raises: NotReadable."""
        if self._stream is None or start >= self._stream.until:
            return
        with self._lock.exclusive():  # nothing is given up meanwhile
            if self._extents.has_sent(*self._stream.touched(start, stop)):
                raise NotReadable
            numbers = self._stream.take_back(start, stop)
        for number in numbers:
            self._stream.wait(number)

    # Into the bucket

    @property
    def has_sent(self) -> bool:
        """Whether there are bytes that cannot be read before a commit."""
        return self._extents.has_sent()

    def grows(self, parts: int) -> bool:
        """Whether so many parts were written at the end, and a stream could begin."""
        return self._stream is None and self._appended >= parts * self._context.uploader.limits.part_size_bytes

    def begin_stream(self, key: str, headers: ObjectHeaders) -> None:
        """Send parts from now on while the content grows, to be stored as ``key``. Raises: CosException."""
        self._stream = self._context.uploader.stream(key, headers, self._staging_file(),
                                                     self._context.staging.progressed)
        self._stream_began_s = self._context.clock()
        self._context.staging.add_relief(self)

    @property
    def overdue(self) -> bool:
        """Whether bytes are only in parts that have waited for so long that a rule of the bucket may remove them."""
        return (self._stream is not None and self._context.clock() - self._stream_began_s > _SAFE_IN_PARTS_S
                and self.has_sent)

    def advance_stream(self) -> None:
        """Start the parts that the last write has made whole."""
        if self._stream is not None:
            self._stream.advance(self._extents)

    def drop_stream(self) -> bool:
        """Take back what was sent; False, and nothing is done, when some of it was given up here."""
        with self._lock.exclusive():
            if self._extents.has_sent():
                return False
            stream = self._end_stream()
        if stream is not None:
            stream.abort()
        return True

    def _end_stream(self) -> Optional[StreamingUpload]:
        stream, self._stream = self._stream, None
        self._context.staging.remove_relief(self)
        return stream

    @property
    def in_flight(self) -> bool:
        """See ``staging.Relief``."""
        stream = self._stream
        return self._uploading or (stream is not None and stream.in_flight > 0)

    def give_up_sent(self) -> int:
        """See ``staging.Relief``."""
        if self._context.config.conflict is Conflict.KEEP_BOTH:
            return 0  # all bytes may be needed, for another key
        given = 0
        with self._lock.exclusive():
            stream, staging = self._stream, self._staging
            if stream is None or staging is None:
                return 0
            for start, stop in stream.arrived_ranges():
                if self._extents.unstaged_bytes(start, stop) < stop - start and staging.punch(start, stop):
                    given += self._extents.give_up(start, stop)
            staging.settle(self._extents.staged_bytes, used_up=False)
        return given

    def upload(self, key: str, headers: ObjectHeaders, *, forbid_overwrite: bool) -> Committed:
        """Store all of it as ``key``; by the stream, with its headers, if that was begun for the key.

        Raises: as ``Uploader.commit``. What was given up stays in the stream then.
        """
        uploader = self._context.uploader
        if self._stream is not None and self._stream.key != key and not self.drop_stream():
            raise NotReadable
        small = self._small()
        self._uploading = True
        self._context.staging.add_relief(self)
        try:
            if self._stream is None:
                committed = uploader.commit(key, self._extents, self._staging, headers,
                                            forbid_overwrite=forbid_overwrite)
            else:
                committed = uploader.finish(self._stream, self._extents, forbid_overwrite=forbid_overwrite)
        except BaseException:
            self._uploading = False
            self.drop_stream()  # the next attempt begins anew, if it can
            raise
        self._uploading = False
        self._end_stream()
        if small:
            self._context.tree.bodies.put(key, committed.stored.etag, small)
        return committed

    def _small(self) -> bytes:
        """All of a small content, for who reads it next: the kernel keeps whole pages of what was written, and asks for
        the last one again. Empty when it is large, or not all here."""
        here = self.size_bytes <= SMALL_BYTES and not self.remote_bytes and not self.has_sent
        return self.read(0, self.size_bytes) if here else b""

    def checksum(self) -> Optional[int]:
        """CRC-64 of all of it; None while some is in the bucket only. Raises: StagingFailed."""
        if self.remote_bytes or self.has_sent:
            return None
        checksum = 0
        for start in range(0, self.size_bytes, _FETCH_BYTES):
            checksum = crc64(self.read(start, _FETCH_BYTES), checksum)
        return checksum

    def rebase(self, info: ObjectInfo) -> None:
        """Note that the content, as it is, is the object of ``info``: nothing needs to be staged any more."""
        with self._lock.exclusive():
            self.delivered = self.delivered or self._extents.dirty  # the kernel has pages of what was written
            self._base = info
            self._extents.rebase(info.key, info.etag)
            self._give_back()
        self._appended = 0

    def close(self) -> None:
        """Give everything back; nobody reads any more."""
        with self._lock.exclusive():
            stream = self._end_stream()
        if stream is not None:
            stream.abort()
        with self._lock.exclusive():
            self._give_back()

    def _give_back(self) -> None:
        with self._reader_lock:
            self._close_reader()
        if self._staging is not None:
            self._staging.close()
            self._staging = None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _staging_file(self) -> StagingFile:
        if self._staging is None:
            self._staging = self._context.staging.open()
        return self._staging
