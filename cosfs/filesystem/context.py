"""What all parts of the filesystem share: client, caches, budgets, clock, and the small rules on top.

Made once per mount by ``CosFilesystem``. Lock order, outermost first: ``OpenFile`` mutation lock, its
content lock, the open-file table, the caches. Requests are made under the mutation lock of one file at
most, never under the table's or the caches' locks.
"""

from __future__ import annotations

import logging
import stat
from dataclasses import dataclass, replace
from typing import Callable, Optional
from urllib.parse import quote, urlencode

from cosfs.archive import is_archived
from cosfs.config import FilesystemConfig
from cosfs.cos.interface import TAGS_UNKNOWN, ObjectClient, ObjectHeaders, ObjectInfo, StoredObject
from cosfs.errors import (
    CosException,
    ObjectArchived,
    ObjectNotFound,
    PreconditionFailed,
    ReadOnlyFilesystem,
    StaleHandle,
)
from cosfs.executor import WorkerPool
from cosfs.filesystem.archived import ArchiveGate
from cosfs.filesystem.borrowed import Borrowed
from cosfs.filesystem.deletes import DeleteQueue
from cosfs.filesystem.types import Attr, Caller
from cosfs.filesystem.writeback_journal import Journal
from cosfs.namespace.attributes import Attributes, Defaults, decode, encode
from cosfs.namespace.caches import MetadataCache
from cosfs.namespace.content_type import guess_content_type
from cosfs.namespace.entries import Entry
from cosfs.namespace.paths import split
from cosfs.namespace.tree import Tree
from cosfs.reading.disk_cache import DiskCache
from cosfs.reading.ranges import RangeStore
from cosfs.reading.source import ObjectSource
from cosfs.reading.stream import ObjectReader
from cosfs.units import MAX_PUT_BYTES
from cosfs.writing.extents import ExtentMap
from cosfs.writing.staging import StagingArea
from cosfs.writing.uploader import Uploader

log = logging.getLogger(__name__)


@dataclass
class Context:
    """Shared by reference.

    Pools: ``pool`` runs the second request of lookups and the pages of listings, ``fetch_pool`` ranged reads,
    ``fill_pool`` those that nobody waits for,
    the uploader has its own, ``names_pool`` runs the copies of directory renames, which use the uploader.
    """

    client: ObjectClient
    config: FilesystemConfig
    cache: MetadataCache
    tree: Tree
    pool: WorkerPool
    fetch_pool: WorkerPool
    fill_pool: WorkerPool
    ranges: RangeStore
    staging: StagingArea
    uploader: Uploader
    deletes: DeleteQueue
    borrowed: Borrowed
    names_pool: WorkerPool
    disk_cache: Optional[DiskCache]
    archive: ArchiveGate
    clock: Callable[[], float]
    started_ns: int
    journal: Optional[Journal] = None
    """Of writeback mode, from ``CosFilesystem.start`` on."""
    root_attributes: Optional[Attributes] = None
    """Attributes given to the root of a whole bucket, for which there is no key; lost with the mount."""

    def now_ns(self) -> int:
        return int(self.clock() * 1_000_000_000)

    def reader(self, key: str, etag: str, size_bytes: int, crc64: Optional[int],
               on_corrupted: Callable[[], None]) -> ObjectReader:
        """A reader of an object version. ``crc64``: the service's, if it is known."""
        source = ObjectSource(self.client, self.disk_cache, key, etag, size_bytes, crc64)
        limit_bytes = self.config.prefetch_limit_bytes
        return ObjectReader(source, self.ranges, self.fetch_pool, on_corrupted=on_corrupted,
                            fill_pool=self.fill_pool if limit_bytes is None or size_bytes <= limit_bytes else None)

    def check_writable(self) -> None:
        if self.config.read_only:
            raise ReadOnlyFilesystem("mounted read-only")

    @property
    def defaults(self) -> Defaults:
        config = self.config
        return Defaults(config.default_mode, config.default_uid, config.default_gid)

    def new_attributes(self, path: str, mode: int, caller: Caller, *, rdev: int = 0) -> Attributes:
        """Attributes of something created at ``path``; a setgid directory hands down its group."""
        now = self.now_ns()
        gid = caller.gid
        parent_path = split(path)[0]
        parent = self.tree.find(parent_path)
        if parent is not None and parent.info is not None:
            inherited = decode(parent.info, self.defaults)
            if inherited.mode & stat.S_ISGID:
                gid = inherited.gid
                if stat.S_ISDIR(mode):
                    mode |= stat.S_ISGID
        return Attributes(mode, caller.uid, gid, now, now, now, rdev)

    def headers(self, path: str, attributes: Attributes, base: Optional[ObjectInfo], *,
                times: bool = True) -> ObjectHeaders:
        """What is stored with the next version of a file: all that the last one had, and the attributes.

        ``times``: False leaves them out. Raises: MetadataTooLarge.
        """
        if base is not None:
            if base.key.endswith("/"):  # what a directory's marker holds is written: it stays one
                attributes = replace(attributes, mode=stat.S_IFDIR | stat.S_IMODE(attributes.mode))
            return replace(self.headers_of(base), metadata=encode(attributes, base.headers.metadata, times=times))
        return ObjectHeaders(metadata=encode(attributes, {}, times=times),
                             standard={"Content-Type": guess_content_type(path, attributes.mode)},
                             storage_class=self.config.storage_class)

    def headers_of(self, info: ObjectInfo) -> ObjectHeaders:
        """The headers that keep an object as it is when it is written again; asked for if not all are known.

        The storage class is named, because a copy or a new PUT falls back to STANDARD ("Put Object - Copy").
        Whether the object is another one meanwhile is for copies to find out; a new PUT does not care.
        """
        if not info.complete:
            try:
                info = self.client.head_object(info.key)
            except ObjectNotFound:
                log.debug("%s is gone; its last known headers are kept", info.key)
        kept = None if info.storage_class == "STANDARD" else info.storage_class
        return replace(info.headers, storage_class=kept)

    def with_tags(self, headers: ObjectHeaders, base: Optional[ObjectInfo]) -> ObjectHeaders:
        """Headers for an upload that takes the place of ``base``: copies keep its tags, uploads have to name them."""
        if base is None or not base.tag_count:
            return headers
        try:
            if base.tag_count == TAGS_UNKNOWN and not self.client.head_object(base.key).tag_count:
                return headers
            tags = self.client.get_object_tagging(base.key)
        except ObjectNotFound:
            return headers
        return replace(headers, extra={**headers.extra, "x-cos-tagging": urlencode(tags, quote_via=quote)})

    def copies_on_server(self, source_key: str, key: str) -> bool:
        """Whether the service may copy an object, to another key or onto itself; else it is fetched and sent."""
        return self.config.server_copies and (self.config.server_renames or source_key == key)

    def copy(self, info: ObjectInfo, key: str, headers: ObjectHeaders, *,
             forbid_overwrite: bool = False) -> ObjectInfo:
        """Copy one object version on the server, by parts when it is too large for one copy.

        Raises: StaleHandle when the object has changed since, or is gone; ObjectExists (``forbid_overwrite``);
        NotRestored.
        """
        self.archive.check(info)
        with self.deletes.overwriting(key) as removed:
            new = forbid_overwrite and not removed
            if info.size_bytes == 0 and (info.key.endswith("/") or is_archived(info.storage_class)):
                # There are servers that keep markers but cannot copy them (measured: SeaweedFS, NoSuchKey). And what
                # is archived cannot be copied before it is restored.
                stored = self.client.put_object(key, b"", headers=self.with_tags(headers, info),
                                                forbid_overwrite=new)
            elif info.size_bytes > MAX_PUT_BYTES or not self.copies_on_server(info.key, key):
                content = ExtentMap.of_object(info.key, info.etag, info.size_bytes)
                stored = self.uploader.commit(key, content, None, self.with_tags(headers, info),
                                              forbid_overwrite=new,
                                              by_copy=self.copies_on_server(info.key, key)).stored
            else:
                try:
                    stored = self.client.copy_object(info.key, key, headers=headers, if_match=info.etag,
                                                     forbid_overwrite=new)
                except ObjectArchived as exc:
                    raise self.archive.refused(info, exc) from exc
                except (ObjectNotFound, PreconditionFailed) as exc:
                    done = self._copied_before(info, headers) if info.key == key else None
                    if done is None:
                        raise StaleHandle(f"{info.key} has changed or is gone") from exc
                    return done
        self.tree.bodies.copied((info.key, info.etag), (key, stored.etag))
        return self.stored_info(key, headers, stored, info.size_bytes, base=info)

    def _copied_before(self, info: ObjectInfo, headers: ObjectHeaders) -> Optional[ObjectInfo]:
        """The object, when an earlier sending of its copy onto itself, whose answer was lost, has made it."""
        try:
            found = self.client.head_object(info.key)
        except CosException:
            return None
        same = found.crc64 is not None and (found.crc64, found.size_bytes) == (info.crc64, info.size_bytes)
        return found if same and found.headers.metadata == headers.metadata else None

    def stored_info(self, key: str, headers: ObjectHeaders, stored: StoredObject, size_bytes: int, *,
                    base: Optional[ObjectInfo]) -> ObjectInfo:
        """What HEAD would tell of an object that was stored just now, in place of ``base``."""
        modified_s = stored.last_modified_s
        return ObjectInfo(key=key, size_bytes=size_bytes, etag=stored.etag,
                          last_modified_s=float(int(self.clock())) if modified_s is None else modified_s,
                          headers=headers, storage_class=headers.storage_class or "STANDARD",
                          crc64=stored.crc64, version_id=stored.version_id,
                          tag_count=0 if base is None else base.tag_count)

    def name_changed(self, path: str, info: ObjectInfo, *, is_directory: bool = False) -> Entry:
        """Record that ``path`` now is the object of ``info``."""
        return self.tree.changed(path, info, is_directory=is_directory)

    def touch_parent(self, path: str) -> None:
        """A name was created in, or removed from, the parent of ``path``."""
        self.cache.directory_changed(split(path)[0], self.now_ns())

    def show(self, attributes: Attributes, size_bytes: int, *, nlink: int = 1) -> Attr:
        """Attributes as the caller sees them: with the mount's uid, gid and umask."""
        config = self.config
        mode = attributes.mode
        if config.umask is not None:
            mode = stat.S_IFMT(mode) | 0o777 & ~config.umask
        return Attr(mode=mode, uid=attributes.uid if config.uid is None else config.uid,
                    gid=attributes.gid if config.gid is None else config.gid,
                    size_bytes=size_bytes, mtime_ns=attributes.mtime_ns, atime_ns=attributes.atime_ns,
                    ctime_ns=attributes.ctime_ns, nlink=nlink, rdev=attributes.rdev)

