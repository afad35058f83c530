"""One open file: reading it, changing it, and what becomes of it when its name goes away.

All handles of a path share one ``OpenFile``, so that each sees what the others wrote. States::

    CLEAN  -- write, truncate, chmod … -->  DIRTY  -- commit -->  CLEAN
      |                                       |
      +----------- unlink, replaced ----------+-->  DETACHED     (never stored again)

The commit, and the locks, are in the lower half (storedfile.py).
"""

from __future__ import annotations

import logging
import stat
from typing import Callable, List, Optional, Tuple, Union

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import (
    CosfsError,
    FileTooLarge,
    NotRestored,
    ObjectArchived,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    StagingFailed,
    StagingFull,
    StaleHandle,
)
from cosfs.filesystem.conflicts import ForeignVersion, must_be_new
from cosfs.filesystem.content import NotReadable
from cosfs.filesystem.context import Context
from cosfs.filesystem.storedfile import AS_GOOD_AS_NEW_S, StoredFile
from cosfs.filesystem.types import Data
from cosfs.namespace.attributes import Attributes, decode_file, encode
from cosfs.reading.window import AccessWindow, Window
from cosfs.units import GIB, KIB, MAX_OBJECT_BYTES, MIB
from cosfs.writing.extents import Remote, Run, Zero

log = logging.getLogger(__name__)

MATERIALIZE_LIMIT_BYTES = GIB
"""An open file that is removed or replaced keeps its content if at most this much has to be fetched; the
handles of a larger one go stale, because removing it must not fill the local disk."""

_MAY_BE_COPIED_BYTES = 4 * MIB
"""From this size on a file that is opened may be wanted for a copy (see ``FilesystemConfig.copies``); the request that
looks at its version costs little beside the transfer."""

_FIRST_READ_BYTES = 128 * KIB
"""What the kernel asks for first of a file that is read from its beginning."""


class OpenFile(StoredFile):
    def __init__(self, context: Context, path: str, key: str, attributes: Attributes,
                 base: Optional[ObjectInfo], *, exclusive: bool = False) -> None:
        """``exclusive``: a new file that must not replace one that another host made (O_EXCL)."""
        super().__init__(context, path, key, attributes, base, exclusive=exclusive)
        self._content.readers.on_corrupted = self._forget_pages

    # Content

    def read(self, offset: int, size: int, window: Optional[Window] = None) -> Data:
        """Up to ``size`` bytes; fewer only at the end of the file. ``window``: what will be wanted soon.

        Raises: StaleHandle when the object changed in the bucket after bytes of it were delivered.
        """
        while True:
            version = self.version()
            try:
                return self._content.read(offset, size, window)
            except NotReadable:
                self._commit_sent()
            except ObjectArchived as exc:
                raise self._not_restored(exc) from exc
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
            if self._context.config.copies and self.size_bytes >= _MAY_BE_COPIED_BYTES:
                self._check_version()
            elif first:
                if self._is_on_disk():
                    self._check_version()
                self._content.read(0, first, pattern.observe(0, first), max_age_s=AS_GOOD_AS_NEW_S)
            else:
                self._check_version()
        except ObjectArchived as exc:
            raise self._not_restored(exc) from exc
        except (PreconditionFailed, ObjectNotFound, StaleHandle) as exc:
            self._context.cache.forget(self.path)
            raise StaleHandle(f"{self.path} has changed in the bucket") from exc

    def _not_restored(self, exc: ObjectArchived) -> NotRestored:
        """What a reader is told; listings, which read symbolic links, start no restore."""
        return self._context.archive.refused(self.base, exc, self.path, opens=stat.S_ISREG(self.attributes.mode))

    def _is_on_disk(self) -> bool:
        """Whether the data cache has the first bytes, so that reading them makes no request."""
        cache, base = self._context.disk_cache, self.base
        return cache is not None and base is not None and cache.contains(base.key, base.etag, 0)

    def _check_version(self) -> None:
        base = self.base
        if base is not None and not (base.size_bytes and self._context.cache.just_told(self.path, base.etag)) \
                and self._context.client.head_object(self.key).etag != base.etag:
            raise StaleHandle(f"{self.path} is another one in the bucket")

    @property
    def corrupted(self) -> bool:
        """Whether wrong bytes may have been handed out. Who opens the file now is to get another ``OpenFile``."""
        return self._content.readers.corrupted

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

    def write(self, offset: int, data: Data, *, append: bool = False) -> None:
        """Stage bytes. ``append``: at the end, wherever the kernel takes that to be.

        Raises: StagingFull, StagingFailed, FileTooLarge.
        """
        with self._mutation:
            if append and offset != self.size_bytes:
                offset = self.size_bytes
                self._context.cache.kernel_pages_unknown(self.path)
            self._check_size(offset + len(data))
            try:
                self._change(lambda: self._content.write(offset, data))
            except (StagingFull, StagingFailed) as exc:
                self.cut_short = exc
                raise
            self._send_ahead()

    def truncate(self, size_bytes: int) -> None:
        """Cut or lengthen (with a hole). Raises: FileTooLarge."""
        self._check_size(size_bytes)
        with self._mutation:
            self._change(lambda: self._content.truncate(size_bytes))

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > MAX_OBJECT_BYTES:
            raise FileTooLarge(f"{self.path}: an object holds at most {MAX_OBJECT_BYTES} bytes")

    def _change(self, change: Callable[[], None]) -> None:
        """Change the content."""
        try:
            change()
        except NotReadable:
            self._commit_sent()
            if self.promised:  # and too large to be held beside the change
                self.commit()
            change()
        except StagingFull as exc:
            if self.promised:
                self._commit_for_room(exc)
            elif self._content.grows(1):
                self._send_ahead(1)
            else:
                raise
            change()
        now = self._context.now_ns()
        with self._attributes_lock:
            self.attributes = self.attributes.written(now)
            self._attributes_dirty = True
            self._times_set = False
        self._modifications += 1
        self.failure_told, self.cut_short = False, None

    def _commit_for_room(self, reason: StagingFull) -> None:
        """What waits for its upload has to be stored now. Raises: ``reason``, when it cannot be."""
        try:
            self.commit()
        except CosfsError as exc:
            raise reason from exc

    # Copies

    def runs(self, start: int, stop: int) -> List[Run]:
        """Where the bytes ``[start, stop)`` lie, to be copied from there; none of them only in sent parts."""
        while True:
            try:
                return self._content.runs(start, stop)
            except NotReadable:
                self._commit_sent()

    def refer(self, start: int, stop: int, source: Union[Remote, Zero]) -> None:
        """Have ``[start, stop)`` be bytes that lie in the bucket, or zeros. Raises: FileTooLarge."""
        self._check_size(stop)
        with self._mutation:
            self._change(lambda: self._content.refer(start, stop, source))

    def stand_alone(self, key: str) -> None:
        """The object ``key``, of which this may be a copy, is about to change or to go: need it no longer."""
        with self._mutation:
            if not self._content.borrows(key):
                return
            try:
                if self.detached:
                    self._content.fetch()
                else:
                    log.info("%s is stored before it is closed, because what it was copied from changes", self.path)
                    self.commit()
            except CosfsError as exc:
                log.warning("%s cannot be stored before what it was copied from changes: %s", self.path, exc)

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

    # The name

    def move(self, path: str, key: str, *, replaces: bool, on_stored: Callable[[], None] = lambda: None) -> None:
        """Give the file a new name: store it there if there is, or it replaces, an object, and delete the old one.

        A file that was never stored and replaces nothing stays unstored: the bucket sees it under its new name
        only. One whose old object cannot be deleted keeps its old name, and its next commit stores it there.

        ``on_stored`` is called when it is stored there, if it is, before the old object goes.
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
                self._commit_to(path, key, replaces=True, on_stored=on_stored)
            if old_key is not None:
                try:
                    self._context.client.delete_object(old_key)
                except BaseException:
                    self._attributes_dirty = True
                    raise
            before = self.path, self.key, self._exclusive
            self.path, self.key, self._exclusive = path, key, False
            try:
                if self.promised and not self.promise():
                    self.commit()
            except BaseException:
                self.path, self.key, self._exclusive = before
                raise

    def detach(self, path: str) -> None:
        """The name is gone or belongs to another file; the content lives on until the last handle closes."""
        with self._mutation:
            self.withdraw()
            self.detached = True
            self.path = path

    # Resources

    def close(self) -> None:
        """Give everything back; the last handle is gone."""
        with self._mutation:
            self._content.close()
