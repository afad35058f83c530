"""Copying one object of a directory rename with everything it has, in one request where that can be known.

The service copies metadata, standard headers and tags by itself. It does not copy the storage class, which
the listing tells, nor the encryption ("PUT Object - Copy"), of which listings say nothing. So a few objects
are asked for it first (``sample``); when one is encrypted, every object's headers are asked for and repeated.

Threading: ``copy`` from many threads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import List, Mapping, Optional, Sequence, Set

from cosfs.archive import is_archived
from cosfs.cos.interface import ListedObject, ObjectInfo
from cosfs.errors import ObjectNotFound, PreconditionFailed
from cosfs.filesystem.context import Context
from cosfs.filesystem.rename_journal import RenameJournal
from cosfs.units import MAX_PUT_BYTES

log = logging.getLogger(__name__)

_SAMPLED_ROWS = 64
"""Rows kept to choose the sample from: the middle one is then near the middle of the listing."""


@dataclass(frozen=True)
class Copied:
    """A copy that was made. ``info``: its headers, where they are known."""

    row: ListedObject
    info: Optional[ObjectInfo] = None


class Sample:
    """Some of the rows that pass by, whatever their number: the first, the last, and one from the middle."""

    def __init__(self) -> None:
        self._kept: List[str] = []
        self._stride = 1
        self._count = 0
        self._last = ""

    def add(self, key: str) -> None:
        if self._count % self._stride == 0:
            self._kept.append(key)
        if len(self._kept) > _SAMPLED_ROWS:
            self._kept = self._kept[::2]
            self._stride *= 2
        self._count += 1
        self._last = key

    def keys(self, *, with_middle: bool) -> Set[str]:
        if not self._kept:
            return set()
        return {self._kept[0], self._last} | ({self._kept[len(self._kept) // 2]} if with_middle else set())


class Copier:
    """``known``: headers that the cache holds, by key; those of the database are added while they can be kept."""

    def __init__(self, context: Context, journal: RenameJournal, known: Mapping[str, ObjectInfo]) -> None:
        self._context = context
        self._journal = journal
        self._known = dict(known)
        self._ask_all = False

    def sample(self, unknown: Sample) -> None:
        """Ask some of the objects whose headers are not known, standing for all, whether they are encrypted."""
        infos = [*self._known.values()]
        infos += filter(None, self._context.names_pool.map_all(self._head, unknown.keys(with_middle=not infos)))
        self._ask_all = any(info.headers.extra for info in infos)
        if self._ask_all:
            log.info("objects below %s are encrypted, which copies do not take along; each is asked for",
                     self._journal.old)

    def _head(self, key: str) -> Optional[ObjectInfo]:
        try:
            info = self._context.client.head_object(key)
        except ObjectNotFound:
            return None
        self._context.tree.restores.told(info)
        return info

    def recall(self, rows: Sequence[ListedObject]) -> None:
        """Learn from the database what is going to be copied, so that its copies need not be asked for."""
        unknown = [row for row in rows if row.key not in self._known]
        self._known.update(self._context.tree.headers.recorded(unknown))

    def copy(self, row: ListedObject, target: str) -> Optional[Copied]:
        """Copy an object, the version there is now; None when there is none."""
        known = self._known.get(row.key)
        if row.size_bytes > MAX_PUT_BYTES or is_archived(row.storage_class) or not row.etag \
                or not self._context.copies_on_server(row.key, target) \
                or (self._ask_all if known is None else bool(known.headers.extra)):
            return self._copy_with_headers(row, target)
        kept_class = None if row.storage_class == "STANDARD" else row.storage_class
        try:
            with self._context.deletes.overwriting(target):
                stored = self._context.client.copy_object(row.key, target, storage_class=kept_class, if_match=row.etag)
        except (ObjectNotFound, PreconditionFailed):
            # Another version than the listing's, or none; or a server that cannot copy markers (Context.copy).
            return self._copy_with_headers(row, target)
        if stored.etag != row.etag:
            if "-" not in stored.etag + row.etag:
                # The ETag of an object encrypted with a key of KMS is no MD5 ("PUT Object"); its copy's was.
                return self._copy_with_headers(row, target)
            self._journal.note(row.key, row.etag, stored.etag)
        modified_s = stored.last_modified_s
        copied = replace(row, key=target, etag=stored.etag,
                         last_modified_s=float(int(self._context.clock())) if modified_s is None else modified_s)
        version = None if known is None or not known.complete else (known.etag, known.last_modified_s)
        if known is None or version != (row.etag, row.last_modified_s):
            return Copied(copied)
        return Copied(copied, replace(known, key=target, etag=copied.etag, last_modified_s=copied.last_modified_s,
                                      crc64=stored.crc64, version_id=stored.version_id, restore=None))

    def _copy_with_headers(self, row: ListedObject, target: str) -> Optional[Copied]:
        context = self._context
        info = self._head(row.key)
        if info is None:
            return None
        copied = context.copy(info, target, context.headers_of(info))
        if not row.etag == info.etag == copied.etag:
            self._journal.note(row.key, info.etag, copied.etag)
        return Copied(ListedObject(target, copied.size_bytes, copied.etag, copied.last_modified_s,
                                   copied.storage_class), copied)
