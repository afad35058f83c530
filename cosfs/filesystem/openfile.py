"""One open file: its content, its attributes, and the way both get into the bucket.

All handles of a path share one ``OpenFile``, so that each sees what the others wrote. States::

    CLEAN  -- write, truncate, chmod … -->  DIRTY  -- commit -->  CLEAN
      |                                       |
      +----------- unlink, replaced ----------+-->  DETACHED     (never stored again)

A failed commit leaves the file DIRTY with all its data, so the next fsync or close tries again, and the
object in the bucket is what it was. When that is no longer the version that was opened (``base``), conflicts.py
says what holds: the file may go on under a second name, beside the foreign version.

Threading: ``_mutation`` is held by whatever changes content, and for the whole of a commit. ``attributes`` is an
immutable value, replaced under ``_mutation``, except by ``change_attributes`` of a dirty file, which needs only
``_attributes_lock``: so neither stat nor chmod waits for an upload.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import Callable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from cosfs.config import Conflict
from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import (
    CosException,
    CosfsError,
    FileTooLarge,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    StagingFull,
    StaleHandle,
)
from cosfs.filesystem.conflicts import ForeignVersion, must_be_new, second_paths
from cosfs.filesystem.content import FileContent, NotReadable
from cosfs.filesystem.context import Context
from cosfs.filesystem.types import Attr
from cosfs.namespace.attributes import Attributes, decode_file, encode
from cosfs.reading.window import AccessWindow, Window
from cosfs.units import GIB, KIB, MAX_OBJECT_BYTES

log = logging.getLogger(__name__)

MATERIALIZE_LIMIT_BYTES = GIB
"""An open file that is removed or replaced keeps its content if at most this much has to be fetched; the
handles of a larger one go stale, because removing it must not fill the local disk."""

_AS_GOOD_AS_NEW_S = 0.1
"""Content that came this short a time ago came with the lookup of the same open(2) or truncate(2), and is used without
asking whether the object has changed since: asking again would leave a moment, too."""

_ATTEMPTS = 10
"""Failed commits of a file that are remembered."""

_FIRST_READ_BYTES = 128 * KIB
"""What the kernel asks for first of a file that is read from its beginning."""


class _Attempt(NamedTuple):
    """A commit that failed. ``modifications``: how many there were of the content before it."""

    metadata: Mapping[str, str]
    size_bytes: int
    modifications: int


class OpenFile:
    def __init__(self, context: Context, path: str, key: str, attributes: Attributes,
                 base: Optional[ObjectInfo], *, exclusive: bool = False) -> None:
        """``exclusive``: a new file that must not replace one that another host made (O_EXCL)."""
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
        self.on_renamed: Callable[[str, OpenFile], None] = lambda _old_path, _file: None
        """Called when a commit has given the file another path."""
        self._exclusive = exclusive
        self._attempts: List[_Attempt] = []
        """The last commits that failed; an object that is as one of them was made by it, after all."""
        self._modifications = 0
        self._content = FileContent(context, base)
        self._content.on_corrupted = self._forget_pages
        self._attributes_lock = threading.Lock()
        self._attributes_dirty = base is None
        self._times_set = False
        """Whether a program has set the times, after the last change of the content."""
        self._at_close_only = False
        """Whether sending parts ahead of the commit was tried in vain."""
        self._streamed_headers = ObjectHeaders()
        """What was said of the object when the first part was sent ahead."""
        self._mutation = threading.RLock()

    @property
    def size_bytes(self) -> int:
        return self._content.size_bytes

    @property
    def dirty(self) -> bool:
        """Whether the bucket lacks something that this file has."""
        return not self.detached and (self.base is None or self._attributes_dirty or self._content.dirty)

    @property
    def content_dirty(self) -> bool:
        """Whether it is bytes that the bucket lacks."""
        return self.base is None or self._content.dirty

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
                return self._content.read(offset, size, window)
            except NotReadable:
                self._commit_sent()
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
            if first:
                self._content.read(0, first, pattern.observe(0, first), max_age_s=_AS_GOOD_AS_NEW_S)
            elif self.base is not None and self._context.client.head_object(self.key).etag != self.base.etag:
                raise StaleHandle(f"{self.path} is no longer empty in the bucket")
        except (PreconditionFailed, ObjectNotFound, StaleHandle) as exc:
            self._context.cache.forget(self.path)
            raise StaleHandle(f"{self.path} has changed in the bucket") from exc

    @property
    def corrupted(self) -> bool:
        """Whether wrong bytes may have been handed out. Who opens the file now is to get another ``OpenFile``."""
        return self._content.corrupted

    def _forget_pages(self) -> None:
        """Let the kernel drop, with the next open, what it has of bytes that turned out to be wrong."""
        self._context.cache.kernel_pages_unknown(self.path)

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
            if self.base is None or self._content.delivered or self.keep_cache or self.dirty or self.detached:
                return False
            try:
                info = self._context.client.head_object(self.key)
            except ObjectNotFound:
                return False
            if info.size_bytes != self.size_bytes:
                return False
            self._rebase(info)
            return True

    def write(self, offset: int, data: bytes, *, append: bool = False) -> None:
        """Stage bytes. ``append``: at the end, wherever the kernel takes that to be.

        Raises: StagingFull, StagingFailed, FileTooLarge.
        """
        with self._mutation:
            if append and offset != self.size_bytes:
                offset = self.size_bytes
                self._context.cache.kernel_pages_unknown(self.path)
            if offset + len(data) > MAX_OBJECT_BYTES:
                raise FileTooLarge(f"{self.path}: an object holds at most {MAX_OBJECT_BYTES} bytes")
            self._change(lambda: self._content.write(offset, data))
            self._send_ahead()

    def truncate(self, size_bytes: int) -> None:
        """Cut or lengthen (with a hole). Raises: FileTooLarge."""
        if size_bytes > MAX_OBJECT_BYTES:
            raise FileTooLarge(f"{self.path}: an object holds at most {MAX_OBJECT_BYTES} bytes")
        with self._mutation:
            self._change(lambda: self._content.truncate(size_bytes))

    def _change(self, change: Callable[[], None]) -> None:
        """Change the content."""
        try:
            change()
        except NotReadable:
            self._commit_sent()
            change()
        except StagingFull:
            if not self._content.grows(1):
                raise
            self._send_ahead(1)
            change()
        now = self._context.now_ns()
        with self._attributes_lock:
            self.attributes = replace(self.attributes, mtime_ns=now, ctime_ns=now)
            self._attributes_dirty = True
            self._times_set = False
        self._modifications += 1
        self.failure_told = False

    def _send_ahead(self, parts: int = 4) -> None:
        """Let parts leave while the content grows. Failures are for the commit to repeat, and to tell.

        ``parts``: so many must have been written at the end; what does not grow to that is stored in one go.
        """
        if self._content.grows(parts) and not self.detached and not self._at_close_only:
            try:
                headers = self._context.headers(self.path, self.attributes, self.base, times=False)
                self._content.begin_stream(self.key, self._context.with_tags(headers, self.base))
                self._streamed_headers = headers
            except CosfsError as exc:
                log.info("%s is uploaded when it is closed, not before: %s", self.path, exc)
                self._at_close_only = True
        self._content.advance_stream()

    def _commit_sent(self) -> None:
        """Bytes that are needed are only in parts of an upload: make an object of them."""
        with self._mutation:
            if self.detached:
                raise StaleHandle(f"{self.path} was removed while it was being uploaded")
            if self._content.has_sent:
                log.info("%s is stored before it is closed, because bytes that have left are used again", self.path)
                self.commit()

    def materialize(self) -> None:
        """Fetch what is only in the bucket, because the object is about to go away.

        Content over ``MATERIALIZE_LIMIT_BYTES`` is left; reading it will then be refused as stale.
        """
        with self._mutation:
            try:
                self._commit_sent()
            except (ForeignVersion, ObjectExists) as exc:
                log.warning("%s: its content cannot be kept, its readers will fail: %s", self.path, exc)
                return
            missing = self._content.remote_bytes
            if missing > MATERIALIZE_LIMIT_BYTES:
                log.warning("%s is open and too large to keep after its removal (%d bytes); its readers will fail",
                            self.path, missing)
                return
            self._content.fetch()

    # Attributes

    def change_attributes(self, change: Callable[[Attributes], Attributes]) -> None:
        """Apply a change, which goes out with the next commit. Raises: MetadataTooLarge, before anything is changed."""
        with self._attributes_lock:
            changed = change(self.attributes)
            encode(changed, {} if self.base is None else self.base.headers.metadata)
            before, after = self.attributes, changed
            self._times_set = self._times_set or (before.mtime_ns, before.atime_ns) != (after.mtime_ns, after.atime_ns)
            self.attributes = changed
            self._attributes_dirty = True

    def restore_attributes(self, refused: Attributes) -> None:
        """Go back to those in the bucket, where ``refused`` cannot be stored. Changes made since, and data, stay."""
        with self._mutation, self._attributes_lock:
            if self.attributes is refused and self.base is not None and not self._content.dirty:
                self.attributes = decode_file(self.base, self._context.defaults)
                self._attributes_dirty = False

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

        Raises: ForeignVersion, because the delete would take another host's version.
        """
        with self._mutation:
            while not self._content.drop_stream():
                self.commit()  # under the old name
            old_key = None
            if self.base is not None:
                old_key = self.key
                if self._content.dirty:
                    must_be_new(self._context.client, self._context.config.conflict, self.base, self._is_own_attempt)
            if self.stored or replaces:
                self._commit_to(path, key, replaces=True)
            if old_key is not None:
                try:
                    self._context.client.delete_object(old_key)
                except BaseException:
                    self._attributes_dirty = True
                    raise
            self.path, self.key, self._exclusive = path, key, False

    def detach(self, path: str) -> None:
        """The name is gone or belongs to another file; the content lives on until the last handle closes."""
        with self._mutation:
            self.detached = True
            self.path = path

    def _commit_to(self, path: str, key: str, *, replaces: bool = False) -> None:
        """``replaces``: whatever is stored there makes room."""
        context = self._context
        with self._attributes_lock:
            attributes = self.attributes
            self._attributes_dirty = False
        headers: Optional[ObjectHeaders] = None
        try:
            headers = context.headers(path, attributes, self.base)
            try:
                info = self._store(key, headers, replaces=replaces)
            except (ForeignVersion, ObjectExists) as exc:
                if context.config.conflict is not Conflict.KEEP_BOTH or self._exclusive:
                    raise
                path, info = self._store_beside(headers, exc)
        except BaseException as exc:
            self._attributes_dirty = True
            if headers is not None:
                attempt = _Attempt(headers.metadata, self.size_bytes, self._modifications)
                self._attempts = [*self._attempts, attempt][-_ATTEMPTS:]
            context.cache.kernel_pages_unknown(self.path)  # they are of what may never be stored
            if isinstance(exc, (ObjectExists, StaleHandle)):
                context.cache.forget(self.path)
            raise
        self._exclusive, self._attempts, self._at_close_only = False, [], False
        self._rebase(info)
        if info.headers.metadata != headers.metadata:
            self._agree(info)
        context.name_changed(path, self.base or info)
        context.cache.kernel_pages_are(path, info.etag)

    def _store(self, key: str, headers: ObjectHeaders, *, replaces: bool) -> ObjectInfo:
        """Raises: ForeignVersion, ObjectExists, when another host has stored what this would replace."""
        context = self._context
        conflict = context.config.conflict
        if self.base is not None and not self._content.dirty:
            return context.copy(self.base, key, headers)
        if replaces:
            new = False
        elif self.base is None:
            new = self._exclusive or conflict is not Conflict.OVERWRITE
        else:
            new = must_be_new(context.client, conflict, self.base, self._is_own_attempt)
        self._stage_small_body(_AS_GOOD_AS_NEW_S)
        try:
            return self._upload(key, headers, new=new)
        except ObjectExists:
            try:
                own = self._is_own_attempt(context.client.head_object(key))
            except CosException:
                own = False
            if not own:
                raise
            return self._upload(key, headers, new=False)

    def _upload(self, key: str, headers: ObjectHeaders, *, new: bool) -> ObjectInfo:
        context = self._context
        with context.deletes.overwriting(key) as removed:
            committed = self._content.upload(key, context.with_tags(headers, self.base),
                                             forbid_overwrite=new and not removed)
        stored = self._streamed_headers if committed.streamed else headers
        return context.stored_info(key, stored, committed.stored, committed.size_bytes, base=self.base)

    def _agree(self, info: ObjectInfo) -> None:
        """An upload that began before the last byte was written could not say when that was, nor what changed since.

        The time of its completion serves, as the service tells it, unless a program has set another.
        """
        if not self._times_set:
            try:
                found = self._context.client.head_object(info.key)
                info = self.base = found if found.etag == info.etag else info
            except CosException as exc:
                log.info("%s: the service does not tell its time, ours is shown: %s", self.path, exc)
        stored = decode_file(info, self._context.defaults)
        with self._attributes_lock:
            if not self._times_set:
                self.attributes = replace(self.attributes, mtime_ns=stored.mtime_ns, atime_ns=stored.atime_ns,
                                          ctime_ns=stored.ctime_ns)
            self._attributes_dirty = self._attributes_dirty or self.attributes != stored

    def _store_beside(self, headers: ObjectHeaders, reason: Exception) -> Tuple[str, ObjectInfo]:
        """Store the file under a second name, under which it goes on; the first is left to the foreign version."""
        context = self._context
        self._stage_small_body(None)
        first = self.path
        for path in second_paths(first, context.clock()):
            key = context.tree.keys.file_key(path)
            try:
                info = self._upload(key, headers, new=True)
            except ObjectExists:
                continue
            log.warning("%s was changed by another host, whose version stays; ours is %s (%s)", first, path, reason)
            self.path, self.key = path, key
            self.on_renamed(first, self)
            context.cache.forget(first)
            context.cache.kernel_pages_unknown(first)
            context.touch_parent(path)
            return path, info
        raise AssertionError("the names end nowhere")

    def _is_own_attempt(self, found: ObjectInfo) -> bool:
        """Whether an object is what a failed commit was to store; by its checksum too, while that content is here."""
        for attempt in self._attempts:
            if (attempt.metadata, attempt.size_bytes) == (found.headers.metadata, found.size_bytes):
                checksum = self._content.checksum() if attempt.modifications == self._modifications else None
                return None in (checksum, found.crc64) or checksum == found.crc64
        return False

    def _stage_small_body(self, max_age_s: Optional[float]) -> None:
        """What was fetched with the headers of a small object need not be fetched again for its new version."""
        body = None if self.base is None else self._context.tree.bodies.get(
            self.base.key, self.base.etag, max_age_s=max_age_s)
        if body is not None:
            self._content.take_over(body)

    def _rebase(self, info: ObjectInfo) -> None:
        self.base = info
        self._content.rebase(info)

    # Resources

    def close(self) -> None:
        """Give everything back; the last handle is gone."""
        with self._mutation:
            self._content.close()

    def version(self) -> Optional[Tuple[str, str]]:
        """Key and ETag of the object version that the content is based on."""
        return None if self.base is None else (self.base.key, self.base.etag)
