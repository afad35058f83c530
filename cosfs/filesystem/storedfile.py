"""The way of an open file into the bucket: which version it was made from, and what its next one is stored with.

The lower half of ``OpenFile`` (openfile.py), which adds what changes a file. A failed commit leaves the file dirty with
all its data, so the next fsync or close tries again, and the object in the bucket is what it was. When that is no
longer the version that was opened (``base``), conflicts.py says what holds: the file may go on under a second name,
beside the foreign version.

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
    ObjectArchived,
    ObjectExists,
    ObjectNotFound,
    StagingFailed,
    StagingFull,
    StaleHandle,
)
from cosfs.filesystem.conflicts import ForeignVersion, must_be_new, second_paths
from cosfs.filesystem.content import FileContent, NotReadable
from cosfs.filesystem.context import Context
from cosfs.filesystem.types import WRITE_BLOCK_BYTES, Attr
from cosfs.filesystem.writeback_journal import Journal, Record, Waiting
from cosfs.namespace.attributes import Attributes, decode_file

log = logging.getLogger(__name__)

AS_GOOD_AS_NEW_S = 0.1
"""Content that came this short a time ago came with the lookup of the same open(2) or truncate(2), and is used without
asking whether the object has changed since: asking again would leave a moment, too."""

_ATTEMPTS = 10
"""Failed commits of a file that are remembered."""

_STREAMED_PARTS = 4
"""A file that has grown by so many parts is one that grows: they begin to leave."""


class _Attempt(NamedTuple):
    """A commit that failed. ``modifications``: how many there were of the content before it."""

    metadata: Mapping[str, str]
    size_bytes: int
    modifications: int


class StoredFile:
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
        self.cut_short: Optional[CosfsError] = None
        """Why the last change failed: what is here is not what somebody meant to store."""
        self.on_renamed: Callable[[str], None] = lambda _old_path: None
        """Called when a commit has given the file another path."""
        self._exclusive = exclusive
        self._attempts: List[_Attempt] = []
        """The last commits that failed; an object that is as one of them was made by it, after all."""
        self._modifications = 0
        self._content = FileContent(context, base)
        self._attributes_lock = threading.Lock()
        self._attributes_dirty = base is None
        self._times_set = False
        """Whether a program has set the times, after the last change of the content."""
        self._at_close_only = False
        """Whether sending parts ahead of the commit was tried in vain."""
        self._streamed_headers = ObjectHeaders()
        """What was said of the object when the first part was sent ahead."""
        self._mutation = threading.RLock()
        self._journal = context.journal
        self._row: Optional[int] = None
        """Its row in the journal, when it was promised."""
        self._promised_modifications = 0
        self._promised_attributes = attributes

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
        attr = self._context.show(self.attributes, self.size_bytes, nlink=0 if self.detached else 1)
        return attr._replace(block_bytes=WRITE_BLOCK_BYTES) if self.content_dirty else attr

    def version(self) -> Optional[Tuple[str, str]]:
        """Key and ETag of the object version that the content is based on."""
        return None if self.base is None else (self.base.key, self.base.etag)

    # In writeback mode: into the journal

    @property
    def promised(self) -> bool:
        """Whether the journal has it, and stores it if this process cannot."""
        return self._row is not None

    @property
    def changed_since_promised(self) -> bool:
        return self._modifications != self._promised_modifications

    @property
    def all_promised(self) -> bool:
        """Whether the journal has it as it is now."""
        return self.promised and not self.changed_since_promised and self.attributes is self._promised_attributes

    @property
    def starved(self) -> bool:
        """Whether somebody who writes to it waits for room; nothing else can be done with it meanwhile."""
        return self._content.starved

    def promise(self) -> bool:
        """Have the journal keep the file as it is now; False, when it has to be stored instead.

        Raises: StagingFull, StagingFailed; what was promised before holds.
        """
        with self._mutation:
            if self._journal is None or self._content.borrows():  # other hosts may change what it borrows
                return False
            try:
                with self._content.holding() as local:
                    attributes = self.attributes
                    record = Record(self.path, self.key, local, attributes, self.base, self._exclusive)
                    self._row = self._journal.put(record, self._row, now_s=self._context.clock())
            except NotReadable:
                return False
            self._promised_modifications, self._promised_attributes = self._modifications, attributes
            return True

    def withdraw(self) -> None:
        """What was promised holds no more: the bucket has it, or its name is gone. Raises: StagingFailed."""
        with self._mutation:
            if self._row is not None and self._journal is not None:
                self._journal.remove(self._row)
                self._row = None
                self._content.let_go()

    def note_failure(self, failure: str) -> None:
        """Keep in the journal why the file could not be stored."""
        with self._mutation:
            if self._row is not None and self._journal is not None:
                self._journal.note_failure(self._row, failure)

    def take_up(self, journal: Journal, waiting: Waiting) -> None:
        """Be what another process has promised. Raises: StagingFailed, when its staged file is gone."""
        path = journal.staged_path(waiting.record)
        self._content.restore(waiting.record.local, self._context.staging.reopen(path) if path else None)
        self._journal, self._row = journal, waiting.number
        metadata = self._context.headers(self.path, self.attributes, self.base).metadata
        self._attempts = [_Attempt(metadata, self.size_bytes, self._modifications)]

    def commit_taken_up(self, promised_s: float) -> None:
        """Store it, unless that process did, and only did not come to note it.

        ``promised_s``: when it was promised, seconds since the epoch. That may be long ago, so what another host has
        stored after is not replaced, whatever ``conflict=`` says. Raises: ForeignVersion; as ``commit``.
        """
        with self._mutation:
            try:
                found = self._context.client.head_object(self.key)
            except ObjectNotFound:
                found = None
            if found is not None and self._is_own_attempt(found):
                self.withdraw()
                return
            if found is not None and found.last_modified_s > promised_s \
                    and (self.base is None or found.etag != self.base.etag) \
                    and self._context.config.conflict is Conflict.OVERWRITE:
                raise ForeignVersion(f"{self.key} was stored in the bucket after this was")
            self.commit()

    # Into the bucket

    @contextmanager
    def settled(self, timeout_s: float = -1) -> Iterator[bool]:
        """While inside, no commit is under way and none begins; waits for one that is.

        ``timeout_s``: False is yielded, and nothing of that holds, when it lasts longer.
        """
        settled = self._mutation.acquire(timeout=timeout_s)
        try:
            yield settled
        finally:
            if settled:
                self._mutation.release()

    def commit(self) -> None:
        """Store what is not stored; returns when the bucket has it. Nothing to do for clean files."""
        with self._mutation:
            while self.dirty:  # attributes may change meanwhile
                self._commit_to(self.path, self.key)

    def _send_ahead(self, parts: int = _STREAMED_PARTS) -> None:
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
        if self._content.overdue:
            log.info("%s is stored before it is closed, because it is being written for long", self.path)
            self.commit()

    def _commit_to(self, path: str, key: str, *, replaces: bool = False,
                   on_stored: Callable[[], None] = lambda: None) -> None:
        """``replaces``: whatever is stored there makes room. ``on_stored`` is called when the bucket has it, and the
        journal as well."""
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
                tried = [headers, self._streamed_headers] if self._streamed_headers.metadata else [headers]
                self._attempts += [_Attempt(one.metadata, self.size_bytes, self._modifications) for one in tried]
                del self._attempts[:-_ATTEMPTS]
            context.cache.kernel_pages_unknown(self.path)  # they are of what may never be stored
            if isinstance(exc, (ObjectExists, StaleHandle)):
                context.cache.forget(self.path)
            raise
        self._exclusive, self._attempts, self._at_close_only = False, [], False
        context.name_changed(path, info)  # before the open file is clean, and lookups ask there
        self._rebase(info)
        if info.headers.metadata != headers.metadata:
            self._agree(info)
            context.name_changed(path, self.base or info)
        context.cache.kernel_pages_are(path, info.etag)
        try:
            on_stored()
            self.withdraw()
        except (StagingFull, StagingFailed) as exc:
            log.warning("%s is stored, and will be once more by the next mount: %s", path, exc)

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
        self._stage_small_body(AS_GOOD_AS_NEW_S)
        try:
            return self._upload(key, headers, new=new)
        except ObjectArchived as exc:
            raise context.archive.refused(self.base, exc, self.path) from exc
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
        if not context.uploader.limits.multipart and self._content.dirty:
            self._content.fetch()  # the one request takes what it sends from the local disk
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
            self.on_renamed(first)
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
                dated = "mtime" in attempt.metadata  # to the nanosecond: no other object has the same
                return dated if None in (checksum, found.crc64) else checksum == found.crc64
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
