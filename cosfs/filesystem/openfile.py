"""One open file: its content, its attributes, and the way both get into the bucket.

All handles of a path share one ``OpenFile``, so that each sees what the others wrote. States::

    CLEAN  -- write, truncate, chmod … -->  DIRTY  -- commit -->  CLEAN
      |                                       |
      +----------- unlink, replaced ----------+-->  DETACHED     (never stored again)

A failed commit leaves the file DIRTY with all its data, so the next fsync or close tries again, and the
object in the bucket is what it was. The content is an extent map over the object version that was opened
(``base``), the staging file and holes.

Threading: ``_mutation`` is held by whatever changes content, and for the whole of a commit; ``_content``
is shared by readers and held alone for the moments in which the extent map changes. ``attributes`` is an
immutable value, replaced under ``_mutation``, except by ``change_attributes`` of a dirty file, which needs
only ``_attributes_lock``: so neither stat nor chmod waits for an upload.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import Callable, Iterator, Optional, Tuple

from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import FileTooLarge, ObjectNotFound, PreconditionFailed, StaleHandle
from cosfs.filesystem.context import Context
from cosfs.filesystem.locks import SharedLock
from cosfs.filesystem.types import Attr
from cosfs.namespace.attributes import Attributes, encode
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import AccessWindow, Window
from cosfs.units import GIB, KIB, MAX_OBJECT_BYTES, MIB
from cosfs.writing.extents import ExtentMap, Remote, Staged
from cosfs.writing.staging import StagingFile

log = logging.getLogger(__name__)

MATERIALIZE_LIMIT_BYTES = GIB
"""An open file that is removed or replaced keeps its content if at most this much has to be fetched; the
handles of a larger one go stale, because removing it must not fill the local disk."""

_AS_GOOD_AS_NEW_S = 1.0
"""Content that came this short a time ago serves a new version without asking whether the object has changed since:
a fetch for the purpose would leave a moment, too, before the new version is stored."""

_FIRST_READ_BYTES = 128 * KIB
"""What the kernel asks for first of a file that is read from its beginning."""

_FETCH_BYTES = 4 * MIB


class OpenFile:
    def __init__(self, context: Context, path: str, key: str, attributes: Attributes,
                 base: Optional[ObjectInfo]) -> None:
        self._context = context
        self.path = path
        self.key = key
        self.attributes = attributes
        self.base = base
        self.detached = False
        self.keep_cache = True
        """Whether the kernel may hold pages from before this file was opened; see ``_serve_new_version``."""
        self.failure_told = False
        """Whether somebody was told that the content, as it is, could not be stored."""
        self._extents = ExtentMap() if base is None else ExtentMap.of_object(key, base.etag, base.size_bytes)
        self._staging: Optional[StagingFile] = None
        self._reader: Optional[ObjectReader] = None
        self._delivered = False
        self._attributes_lock = threading.Lock()
        self._attributes_dirty = base is None
        self._mutation = threading.RLock()
        self._content = SharedLock()

    @property
    def size_bytes(self) -> int:
        return self._extents.size_bytes

    @property
    def dirty(self) -> bool:
        """Whether the bucket lacks something that this file has."""
        return not self.detached and (self.base is None or self._attributes_dirty or self._extents.dirty)

    @property
    def stored(self) -> bool:
        """Whether an object of this file exists in the bucket."""
        return self.base is not None

    def stat(self) -> Attr:
        return self._context.show(self.attributes, self.size_bytes, nlink=0 if self.detached else 1)

    # Content

    def read(self, offset: int, size: int, window: Optional[Window] = None) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of the file. ``window``: what will be wanted soon.

        Raises: StaleHandle when the object changed in the bucket after bytes of it were delivered.
        """
        while True:
            version = self.version()
            try:
                return self._read(offset, size, window)
            except (PreconditionFailed, ObjectNotFound) as exc:
                if not self._serve_new_version(version):
                    raise StaleHandle(f"{self.path} changed in the bucket while it was open") from exc

    def begin_reading(self, pattern: AccessWindow) -> None:
        """Fetch the first bytes, which a reader is about to want, to see that the version is still there.

        Raises: StaleHandle when it is not. From open(2) that makes the kernel look the name up again, and open what
        is there now: the one moment in which a new version can take the place of the old without a trace.
        """
        first = min(_FIRST_READ_BYTES, self.size_bytes)
        try:
            self._read(0, first, pattern.observe(0, first) if first else None)
        except (PreconditionFailed, ObjectNotFound) as exc:
            self._context.cache.forget(self.path)
            raise StaleHandle(f"{self.path} has changed in the bucket") from exc

    def _read(self, offset: int, size: int, window: Optional[Window] = None) -> bytes:
        with self._content.shared():
            pieces = []
            for run in self._extents.runs(offset, offset + size):
                length = run.stop - run.start
                if isinstance(run.source, Remote):
                    ahead = window if run.source.offset == run.start else None
                    pieces.append(self._read_object(run.source, length, ahead))
                    self._delivered = True
                elif isinstance(run.source, Staged):
                    pieces.append(self._staging_file().read(run.start, length))
                else:
                    pieces.append(bytes(length))
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_object(self, source: Remote, length: int, ahead: Optional[Window]) -> bytes:
        body = self._context.tree.bodies.get(source.key, source.etag)
        if body is not None:
            return body[source.offset:source.offset + length]
        return self._object_reader(source).read(source.offset, length, ahead)

    def _object_reader(self, source: Remote) -> ObjectReader:
        """The reader of the base version, to which all remote runs of the map refer."""
        reader = self._reader
        if reader is None or (reader.key, reader.etag) != (source.key, source.etag):
            with self._attributes_lock:
                reader = self._reader
                if reader is None or (reader.key, reader.etag) != (source.key, source.etag):
                    self._close_reader()
                    reader = self._reader = ObjectReader(
                        self._context.client, self._context.ranges, self._context.fetch_pool,
                        source.key, source.etag, source.object_bytes)
        return reader

    def _serve_new_version(self, seen: Optional[Tuple[str, str]]) -> bool:
        """Go over from version ``seen`` to the object's present one, if nobody can tell the difference.

        That is so when a commit of our own, which this waits for, has made the new version. Else as long as
        nothing of the old version was read or changed, the kernel holds no pages of it, and the size, which
        the kernel knows too, is the same.
        """
        with self._mutation:
            if self.version() != seen:
                return True
            self._context.cache.forget(self.path)
            if self.base is None or self._delivered or self.keep_cache or self.dirty or self.detached:
                return False
            try:
                info = self._context.client.head_object(self.key)
            except ObjectNotFound:
                return False
            if info.size_bytes != self.size_bytes:
                return False
            with self._content.exclusive():
                self._rebase(info)
            return True

    def write(self, offset: int, data: bytes) -> None:
        """Stage bytes. Raises: StagingFull, StagingFailed, FileTooLarge."""
        stop = offset + len(data)
        if stop > MAX_OBJECT_BYTES:
            raise FileTooLarge(f"{self.path}: an object holds at most {MAX_OBJECT_BYTES} bytes")
        with self._mutation, self._content.exclusive():
            self._stage(offset, data)
            self._modified()

    def truncate(self, size_bytes: int) -> None:
        """Cut or lengthen (with a hole). Raises: FileTooLarge."""
        if size_bytes > MAX_OBJECT_BYTES:
            raise FileTooLarge(f"{self.path}: an object holds at most {MAX_OBJECT_BYTES} bytes")
        with self._mutation, self._content.exclusive():
            self._extents.truncate(size_bytes)
            if self._staging is not None:
                self._staging.truncate(size_bytes)
                self._staging.hold(self._extents.staged_bytes)
            self._modified()

    def _stage(self, offset: int, data: bytes, *, changed: bool = True) -> None:
        stop = offset + len(data)
        staging = self._staging_file()
        staging.hold(self._extents.staged_bytes + self._extents.unstaged_bytes(offset, stop))
        staging.write(offset, data)
        self._extents.write(offset, stop, changed=changed)

    def materialize(self) -> None:
        """Fetch what is only in the bucket, because the object is about to go away.

        Content over ``MATERIALIZE_LIMIT_BYTES`` is left; reading it will then be refused as stale.
        """
        with self._mutation:
            remote = [run for run in self._extents.runs() if isinstance(run.source, Remote)]
            missing = sum(run.stop - run.start for run in remote)
            if missing > MATERIALIZE_LIMIT_BYTES:
                log.warning("%s is open and too large to keep after its removal (%d bytes); its readers will fail",
                            self.path, missing)
                return
            for run in remote:
                for start in range(run.start, run.stop, _FETCH_BYTES):
                    self._fetch(start, min(start + _FETCH_BYTES, run.stop))

    def _fetch(self, start: int, stop: int) -> None:
        data = self._read(start, stop - start)
        with self._content.exclusive():
            self._stage(start, data, changed=False)

    # Attributes

    def change_attributes(self, change: Callable[[Attributes], Attributes]) -> None:
        """Apply a change. It goes out with the next commit; a clean file is committed at once.

        Raises: MetadataTooLarge, before anything is changed.
        """
        with self._attributes_lock:
            changed = change(self.attributes)
            encode(changed, {} if self.base is None else self.base.headers.metadata)
            was_dirty = self.dirty
            self.attributes = changed
            self._attributes_dirty = True
        if not was_dirty and not self.detached:
            self.commit()

    def _modified(self) -> None:
        now = self._context.now_ns()
        with self._attributes_lock:
            self.attributes = replace(self.attributes, mtime_ns=now, ctime_ns=now)
            self._attributes_dirty = True
        self.failure_told = False

    # Into the bucket

    @contextmanager
    def settled(self) -> Iterator[None]:
        """While inside, no commit is under way and none begins; waits for one that is."""
        with self._mutation:
            yield

    def commit(self) -> None:
        """Store what is not stored; returns when the bucket has it. Nothing to do for clean files."""
        with self._mutation:
            while self.dirty:  # attributes may change meanwhile
                self._commit_to(self.path, self.key)

    def move(self, path: str, key: str, *, replaces: bool) -> None:
        """Give the file a new name: store it there if there is, or it replaces, an object, and delete the old one.

        A file that was never stored and replaces nothing stays unstored: the bucket sees it under its new name
        only. One whose old object cannot be deleted keeps its old name, and its next commit stores it there.
        """
        with self._mutation:
            old_key = self.key if self.stored else None
            if self.stored or replaces:
                self._commit_to(path, key)
            if old_key is not None:
                try:
                    self._context.client.delete_object(old_key)
                except BaseException:
                    self._attributes_dirty = True
                    raise
            self.path, self.key = path, key

    def detach(self, path: str) -> None:
        """The name is gone or belongs to another file; the content lives on until the last handle closes."""
        with self._mutation:
            self.detached = True
            self.path = path

    def _commit_to(self, path: str, key: str) -> None:
        context = self._context
        with self._attributes_lock:
            attributes = self.attributes
            self._attributes_dirty = False
        try:
            headers = context.headers(path, attributes, self.base)
            info = self._store(key, headers)
        except BaseException:
            self._attributes_dirty = True
            context.cache.kernel_pages_unknown(self.path)  # they are of what may never be stored
            raise
        # The kernel has pages of what was written.
        self._delivered = self._delivered or self._extents.dirty
        with self._content.exclusive():
            self._rebase(info)
        context.name_changed(path, info)
        context.cache.kernel_pages_are(path, info.etag)

    def _store(self, key: str, headers: ObjectHeaders) -> ObjectInfo:
        context = self._context
        if self.base is not None and not self._extents.dirty:
            return context.copy(self.base, key, headers)
        self._stage_small_body()
        with context.deletes.overwriting(key):
            committed = context.uploader.commit(key, self._extents, self._staging, headers)
        return context.stored_info(key, headers, committed.stored, committed.size_bytes)

    def _stage_small_body(self) -> None:
        """What was fetched with the headers of a small object need not be fetched again for its new version."""
        body = None if self.base is None else self._context.tree.bodies.get(
            self.base.key, self.base.etag, max_age_s=_AS_GOOD_AS_NEW_S)
        if body is None:
            return
        with self._content.exclusive():
            for run in list(self._extents.runs()):
                if isinstance(run.source, Remote):
                    start = run.source.offset
                    self._stage(run.start, body[start:start + run.stop - run.start], changed=False)

    def _rebase(self, info: ObjectInfo) -> None:
        """The content, as it is, is the object of ``info``: nothing needs to be staged any more."""
        self.base = info
        self._extents.rebase(info.key, info.etag)
        with self._attributes_lock:
            self._close_reader()
        if self._staging is not None:
            self._staging.close()
            self._staging = None

    # Resources

    def close(self) -> None:
        """Give everything back; the last handle is gone."""
        with self._mutation, self._content.exclusive():
            with self._attributes_lock:
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

    def version(self) -> Optional[Tuple[str, str]]:
        """Key and ETag of the object version that the content is based on."""
        return None if self.base is None else (self.base.key, self.base.etag)
