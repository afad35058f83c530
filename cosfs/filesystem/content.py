"""The content of one open file: the bytes of an object version, staged ones over it, and holes.

Used by ``OpenFile`` (openfile.py), which decides when content changes and when it goes into the bucket. The
extent map says where each byte lies; this reads them from there, and stages what is written.

Threading: readers share a lock, which is held alone for the moments in which the extent map changes. Whoever
changes the content, or uploads it, holds the mutation lock of its ``OpenFile``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List, Optional, Union

from cosfs.config import Conflict
from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import StagingFull
from cosfs.filesystem import held
from cosfs.filesystem.context import Context
from cosfs.filesystem.held import HeldBytes, LocalBytes
from cosfs.filesystem.locks import SharedLock
from cosfs.filesystem.types import Data
from cosfs.filesystem.versionreaders import VersionReaders
from cosfs.namespace.bodies import SMALL_BYTES
from cosfs.reading.window import Window
from cosfs.units import MIB
from cosfs.writing.extents import SENT, ExtentMap, Remote, Run, Staged, Zero
from cosfs.writing.staging import StagingFile
from cosfs.writing.streaming import StreamingUpload
from cosfs.writing.uploader import Committed

_FETCH_BYTES = 4 * MIB

_MOVED_BYTES = 64 * MIB
"""Staged bytes that are copied on the local disk, so that a file can be changed while the journal holds them; one with
more is stored first."""

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
        self.readers = VersionReaders(context)
        self._lock = SharedLock()
        self._stream: Optional[StreamingUpload] = None
        self._stream_began_s = 0.0
        self._uploading = False
        self._appended = 0
        """Bytes written at the end, one write after the other, since something else was done."""
        self._held = HeldBytes()
        self.starved = False
        """Whether a writer waits for room."""
        self.delivered = False
        """Whether somebody has, or the kernel holds, bytes of the object version."""

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
             max_age_s: Optional[float] = None) -> Data:
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
                    pieces.append(self.readers.read(run.source, length, ahead, max_age_s, self._base))
                    self.delivered = True
                elif isinstance(run.source, Staged):
                    pieces.append(self._staging_file().read(run.start, length))
                elif run.source is SENT:
                    raise NotReadable
                else:
                    pieces.append(bytes(length))
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: Data) -> None:
        """Stage bytes; waits for space that uploads will make. Raises: StagingFull, StagingFailed, NotReadable."""
        self._take_back(offset, offset + len(data))
        self._appended = self._appended + len(data) if offset == self.size_bytes else 0
        self._stage(offset, data, changed=True)

    def truncate(self, size_bytes: int) -> None:
        """Cut, or lengthen with a hole. Raises: NotReadable."""
        if size_bytes and size_bytes < self.size_bytes:
            self._take_back(size_bytes, self.size_bytes)
        self._appended = 0
        hindered = self._held.hinder(size_bytes)
        if hindered and not size_bytes:
            self.drop_stream()
        if self._stream is not None:
            self._stream.cut(size_bytes)
        with self._lock.exclusive():
            self._extents.truncate(size_bytes)
            if hindered and not size_bytes and self._staging is not None:
                self._held.set_aside(self._staging)
                self._staging = None
            if self._staging is not None:
                if not hindered:
                    self._staging.truncate(size_bytes)
                self._staging.settle(self._extents.staged_bytes)

    def refer(self, start: int, stop: int, source: Union[Remote, Zero]) -> None:
        """Have ``[start, stop)`` be bytes that lie in the bucket, or zeros. Raises: NotReadable."""
        self._take_back(start, stop)
        self._appended = 0
        with self._lock.exclusive():
            self._extents.refer(start, stop, source)
            if self._staging is not None:
                self._staging.settle(self._extents.staged_bytes)

    def runs(self, start: int, stop: int) -> List[Run]:
        """Where the bytes ``[start, stop)`` lie at this moment. Raises: NotReadable."""
        with self._lock.shared():
            if self._extents.has_sent(start, stop):
                raise NotReadable
            return list(self._extents.runs(start, stop))

    def borrows(self, key: Optional[str] = None) -> bool:
        """Whether bytes of the object ``key``, or of any, which is not this file's, are used."""
        with self._lock.shared():
            return any([isinstance(run.source, Remote) and key in (None, run.source.key)
                        and self._is_borrowed(run.source) for run in self._extents.runs()])

    def _is_borrowed(self, source: Remote) -> bool:
        base = self._base
        return base is None or (source.key, source.etag) != (base.key, base.etag)

    def fetch(self) -> None:
        """Stage what is in the bucket only. Raises: as ``read`` and ``write``."""
        for run in list(self._extents.runs()):
            if isinstance(run.source, Remote):
                for start in range(run.start, run.stop, _FETCH_BYTES):
                    data = self.read(start, min(_FETCH_BYTES, run.stop - start))
                    self._stage(start, data, changed=False)

    def take_over(self, body: bytes) -> None:
        """Stage what is in the bucket only, out of the whole ``body`` of the object version that the file was."""
        for run in list(self._extents.runs()):
            if isinstance(run.source, Remote) and not self._is_borrowed(run.source):
                start = run.source.offset
                self._stage(run.start, body[start:start + run.stop - run.start], changed=False)

    def _stage(self, offset: int, data: Data, *, changed: bool) -> None:
        stop = offset + len(data)
        if self._held.hinder(offset, stop):
            self._move_staged()
        staging = self._staging_file()
        while True:
            self._reserve(staging, self._extents.unstaged_bytes(offset, stop))
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

    def _reserve(self, staging: StagingFile, count: int) -> None:
        self.starved = True
        try:
            staging.reserve(count)
        finally:
            self.starved = False

    def _move_staged(self) -> None:
        """Go on with a copy of the staged bytes. Raises: NotReadable, where there are too many."""
        if self._extents.staged_bytes > _MOVED_BYTES or not self.drop_stream():
            raise NotReadable
        moved = self._context.staging.open()
        try:
            self._reserve(moved, self._extents.staged_bytes)
            for run in self._extents.runs():
                if isinstance(run.source, Staged):
                    moved.copy_from(self._staging_file(), run.start, run.stop)
        except BaseException:
            moved.close()
            raise
        with self._lock.exclusive():
            self._held.set_aside(self._staging_file())
            self._staging = moved
            moved.settle(self._extents.staged_bytes)

    @contextmanager
    def holding(self) -> Iterator[LocalBytes]:
        """While inside, and when it is left without an exception from then on, the content as it is now stays on the
        local disk, where it is synced; few bytes are for the body to keep.

        Until it is held again, let go, or stored. Raises: NotReadable, StagingFull, StagingFailed.
        """
        with self._lock.exclusive():
            if self._extents.has_sent():
                raise NotReadable
            few = self._extents.staged_bytes <= held.READ_BYTES
            before, self._held = self._held, HeldBytes(None if few else self._extents.copy())
        try:
            yield LocalBytes.read(self._extents, self._staging) if few else \
                LocalBytes.keep(self._extents, self._staging_file())
        except BaseException:
            self._held = before
            raise
        before.release()

    def let_go(self) -> None:
        """Hold nothing any more."""
        with self._lock.exclusive():
            self._held.release()

    def restore(self, local: LocalBytes, staging: Optional[StagingFile]) -> None:
        """Be what was held by another process. ``staging``: its file, when it has one. Raises: StagingFailed."""
        self._extents, self._staging = ExtentMap.of_runs(local.runs), staging
        if self._extents.staged_bytes:
            local.write_to(self._staging_file())
            self._staging_file().settle(self._extents.staged_bytes)

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
        return self._stream is None and self._appended >= parts * self._context.uploader.limits.streamed_bytes

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
            if stream is None or staging is None or self._held.active:
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
        if self._stream is not None and (self._stream.key != key or not self.size_bytes) and not self.drop_stream():
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
        if small and committed.stored.etag:
            self._context.tree.bodies.put(key, committed.stored.etag, small)
        return committed

    def _small(self) -> bytes:
        """All of a small content, for who reads it next: the kernel keeps whole pages of what was written, and asks for
        the last one again. Empty when it is large, or not all here."""
        here = self.size_bytes <= SMALL_BYTES and not self.remote_bytes and not self.has_sent
        return bytes(self.read(0, self.size_bytes)) if here else b""

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
        self.readers.close()
        if self._staging is not None:
            self._staging.close()
            self._staging = None
        self._held.release()

    def _staging_file(self) -> StagingFile:
        if self._staging is None:
            self._staging = self._context.staging.open()
        return self._staging
