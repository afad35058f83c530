"""The content of one open file: the bytes of an object version, staged ones over it, and holes.

Used by ``OpenFile`` (openfile.py), which decides when content changes and when it goes into the bucket. The
extent map says where each byte lies; this reads them from there, and stages what is written.

Threading: readers share a lock, which is held alone for the moments in which the extent map changes. Whoever
changes the content, or uploads it, holds the mutation lock of its ``OpenFile``.
"""

from __future__ import annotations

import threading
from typing import Optional

from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.filesystem.context import Context
from cosfs.filesystem.locks import SharedLock
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import Window
from cosfs.units import MIB
from cosfs.writing.extents import ExtentMap, Remote, Staged
from cosfs.writing.staging import StagingFile
from cosfs.writing.uploader import Committed

_FETCH_BYTES = 4 * MIB


class FileContent:
    def __init__(self, context: Context, base: Optional[ObjectInfo]) -> None:
        self._context = context
        self._extents = ExtentMap() if base is None else ExtentMap.of_object(base.key, base.etag, base.size_bytes)
        self._staging: Optional[StagingFile] = None
        self._reader: Optional[ObjectReader] = None
        self._reader_lock = threading.Lock()
        self._lock = SharedLock()
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
             max_age_s: Optional[float] = None) -> bytes:
        """Up to ``size`` bytes; fewer only at the end. ``window``: what will be wanted soon.

        ``max_age_s``: content that came with the object's headers longer ago than this is not used.
        Raises: PreconditionFailed, ObjectNotFound, when the object version is gone.
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
                else:
                    pieces.append(bytes(length))
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_object(self, source: Remote, length: int, ahead: Optional[Window], max_age_s: Optional[float]) -> bytes:
        body = self._context.tree.bodies.get(source.key, source.etag, max_age_s=max_age_s)
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
                    reader = self._reader = ObjectReader(
                        self._context.client, self._context.ranges, self._context.fetch_pool,
                        source.key, source.etag, source.object_bytes)
        return reader

    def write(self, offset: int, data: bytes) -> None:
        """Stage bytes. Raises: StagingFull, StagingFailed."""
        with self._lock.exclusive():
            self._stage(offset, data, changed=True)

    def truncate(self, size_bytes: int) -> None:
        """Cut, or lengthen with a hole."""
        with self._lock.exclusive():
            self._extents.truncate(size_bytes)
            if self._staging is not None:
                self._staging.truncate(size_bytes)
                self._staging.hold(self._extents.staged_bytes)

    def fetch(self) -> None:
        """Stage what is in the bucket only. Raises: as ``read`` and ``write``."""
        for run in list(self._extents.runs()):
            if isinstance(run.source, Remote):
                for start in range(run.start, run.stop, _FETCH_BYTES):
                    data = self.read(start, min(_FETCH_BYTES, run.stop - start))
                    with self._lock.exclusive():
                        self._stage(start, data, changed=False)

    def take_over(self, body: bytes) -> None:
        """Stage what is in the bucket only, out of the object version's whole ``body``."""
        with self._lock.exclusive():
            for run in list(self._extents.runs()):
                if isinstance(run.source, Remote):
                    start = run.source.offset
                    self._stage(run.start, body[start:start + run.stop - run.start], changed=False)

    def _stage(self, offset: int, data: bytes, *, changed: bool) -> None:
        stop = offset + len(data)
        staging = self._staging_file()
        staging.hold(self._extents.staged_bytes + self._extents.unstaged_bytes(offset, stop))
        staging.write(offset, data)
        self._extents.write(offset, stop, changed=changed)

    def upload(self, key: str, headers: ObjectHeaders, *, forbid_overwrite: bool) -> Committed:
        """Store all of it as ``key``. Raises: as ``Uploader.commit``."""
        return self._context.uploader.commit(key, self._extents, self._staging, headers,
                                             forbid_overwrite=forbid_overwrite)

    def checksum(self) -> Optional[int]:
        """CRC-64 of all of it; None while some is in the bucket only. Raises: StagingFailed."""
        if self.remote_bytes:
            return None
        checksum = 0
        for start in range(0, self.size_bytes, _FETCH_BYTES):
            checksum = crc64(self.read(start, _FETCH_BYTES), checksum)
        return checksum

    def rebase(self, info: ObjectInfo) -> None:
        """Note that the content, as it is, is the object of ``info``: nothing needs to be staged any more."""
        with self._lock.exclusive():
            self.delivered = self.delivered or self._extents.dirty  # the kernel has pages of what was written
            self._extents.rebase(info.key, info.etag)
            self._give_back()

    def close(self) -> None:
        """Give everything back; nobody reads any more."""
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
