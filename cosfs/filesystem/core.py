"""``CosFilesystem``: the filesystem without FUSE, one method per operation.

It only composes: each method hands over to the part that knows (files, names, rename, metadata). Paths
start with ``/``; bytes of names that are no UTF-8 are surrogate escapes. All methods block, may be called
from many threads at once, and raise only ``CosfsError``; operations that change the same name at the same
time are serialised by the caller (the kernel does).
"""

from __future__ import annotations

import logging
import time
from typing import Callable, List, Optional, Tuple

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectClient
from cosfs.errors import StagingFailed, StagingFull
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.filesystem.archived import ArchiveGate
from cosfs.filesystem.attribute_changes import AttributeChanges
from cosfs.filesystem.borrowed import Borrowed
from cosfs.filesystem.context import Context
from cosfs.filesystem.copies import CopyOperations
from cosfs.filesystem.deletes import DeleteQueue
from cosfs.filesystem.files import FileOperations
from cosfs.filesystem.metadata import MetadataOperations
from cosfs.filesystem.names import NameOperations
from cosfs.filesystem.removals import RemovalOperations
from cosfs.filesystem.rename import RenameOperations
from cosfs.filesystem.rename_recovery import Recovered, recover_all
from cosfs.filesystem.status import Status, Values
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.types import (
    Attr,
    Caller,
    Data,
    Dirent,
    OpenResult,
    Purpose,
    Statfs,
    StillHeld,
    Time,
    unknown_holders,
)
from cosfs.filesystem.writeback import Writeback
from cosfs.filesystem.writeback_journal import Journal
from cosfs.filesystem.writeback_recovery import export_waiting, recover_waiting
from cosfs.namespace.caches import MetadataCache
from cosfs.namespace.headers_db import HeadersDatabase
from cosfs.namespace.paths import KeySpace
from cosfs.namespace.tree import Tree
from cosfs.reading.disk_cache import QUEUE_BYTES, DiskCache
from cosfs.reading.ranges import RangeStore
from cosfs.reading.window import limits_up_to
from cosfs.units import MAX_NAME_BYTES, MIB
from cosfs.writing.pending import PendingUploads
from cosfs.writing.plan import Limits
from cosfs.writing.staging import StagingArea
from cosfs.writing.uploader import Uploader

log = logging.getLogger(__name__)

_BLOCK_BYTES = 4096
_QUEUED_PARTS = 1024
"""Parts that wait for a worker; they take no memory. Files that are being written limit theirs further."""
_FILES = 1 << 40
"""Inodes that statfs reports: many, and exact in a double."""


_ROOM_BYTES = 64 * MIB
"""Disk space that the data cache makes at a time for unsent data: some parts of uploads."""


class CosFilesystem:
    """``clock``: seconds since the epoch for timestamps; ``monotonic``: seconds for the caches' TTLs. ``budget``: of
    another filesystem in this process, whose memory is used."""

    def __init__(self, client: ObjectClient, config: FilesystemConfig, *, clock: Callable[[], float] = time.time,
                 monotonic: Callable[[], float] = time.monotonic, budget: Optional[ByteBudget] = None) -> None:
        self._config = config
        cache = MetadataCache(stat_ttl_s=config.stat_ttl_s, negative_ttl_s=config.negative_ttl_s,
                              listing_ttl_s=config.listing_ttl_s, max_entries=config.max_stat_entries,
                              clock=monotonic)
        disk_cache = _disk_cache(config)
        if budget is None:
            budget = ByteBudget(config.memory_limit_bytes - (disk_cache.queue_bytes if disk_cache else 0))
        lookups = WorkerPool("cosfs-lookup", config.parallel_heads, queue=config.parallel_heads)
        fetches = WorkerPool("cosfs-fetch", config.parallel_parts, queue=config.parallel_parts)
        fills = WorkerPool("cosfs-fill", config.parallel_parts, queue=config.parallel_parts)
        uploads = WorkerPool("cosfs-upload", config.parallel_parts, queue=_QUEUED_PARTS)
        ahead = WorkerPool("cosfs-ahead", config.parallel_heads, queue=config.parallel_heads)
        self._pools = [ahead, lookups, fills, fetches, uploads, WorkerPool("cosfs-names", config.parallel_heads)]
        # Where listings alone are to be shown, what is shown must not depend on what was seen before.
        folder = None if config.attributes_by_listing else config.state_folder
        self._headers = None if folder is None else HeadersDatabase(folder)
        self._pending = PendingUploads(config.state_folder)
        tree = Tree(client, KeySpace(config.prefix), cache, lookups, ahead, config.parallel_heads,
                    budget=budget, database=self._headers, list_first=config.attributes_by_listing)
        self._context = Context(
            client=client, config=config, cache=cache, tree=tree,
            pool=lookups, fetch_pool=fetches, fill_pool=fills,
            ranges=RangeStore(budget, max_ahead=config.parallel_parts, max_fillers=config.parallel_parts),
            staging=StagingArea(config.staging_folder, config.staging_limit_bytes,
                                config.staging_reserve_bytes),
            uploader=Uploader(client, budget, uploads, Limits(
                part_size_bytes=config.part_size_bytes, min_part_bytes=config.min_part_bytes,
                put_threshold_bytes=config.put_threshold_bytes, multipart=config.multipart,
                server_copies=config.server_copies), self._pending),
            deletes=DeleteQueue(client), borrowed=Borrowed(), names_pool=self._pools[-1], disk_cache=disk_cache,
            archive=ArchiveGate(client, tree.restores, order=config.restore, prefix=config.prefix, clock=monotonic),
            clock=clock, started_ns=int(clock() * 1_000_000_000))
        self._table = OpenFileTable(limits_up_to(config.prefetch_limit_bytes))
        self._writeback: Optional[Writeback] = None
        if config.writeback_delay_s is not None and not config.read_only:
            self._writeback = Writeback(self._context, self._table, config.writeback_delay_s)
        self._files = FileOperations(self._context, self._table, self._writeback)
        self._names = NameOperations(self._context, self._table, self._files)
        self._removals = RemovalOperations(self._context, self._table, self._names)
        self._copies = CopyOperations(self._context, self._table)
        self._changes = AttributeChanges(self._context, self._table, self._files)
        self._rename = RenameOperations(self._context, self._table, self._removals, self._changes, self._files)
        self._metadata = MetadataOperations(self._context, self._names, self._changes)

    def start(self) -> None:
        """Called in the process that serves the mount, after any fork. Threads start as they are needed.

        What a crash has left is dealt with first: renames of directories, uploads.
        """
        cache, staging = self._context.disk_cache, self._context.staging
        if cache is not None:
            cache.start()
            if cache.shares_disk(staging.folder):
                staging.add_relief(_CacheRelief(cache))
        self.recover()
        if not self._config.read_only:
            self._pending.abort_leftovers(self._context.client)
        if self._writeback is not None:
            self._begin_journal()

    def _begin_journal(self) -> None:
        try:
            if self._config.state_folder is None:
                raise StagingFailed("there is no folder for what outlives the mount")
            journal = Journal.create(self._config.state_folder, self._config.prefix)
        except (StagingFull, StagingFailed) as exc:
            log.error("files are stored before their close returns, because writeback is not possible: %s", exc)
            return
        self._context.journal = journal
        self._context.staging.use_names_in(journal.folder)

    def recover(self) -> List[Recovered]:
        """Finish or undo directory renames that a crash cut off, and store the files that waited for that in writeback
        mode. What cannot be done now is logged, and kept."""
        return recover_all(self._context) + recover_waiting(self._context)

    def export_waiting(self, target: str, *, discard: bool) -> List[Tuple[str, str]]:
        """See writeback_recovery.py."""
        return export_waiting(self._context, target, discard=discard)

    def stop(self) -> None:
        """Settle what is pending and end the threads. Data that cannot be stored is logged as lost, or as kept in the
        journal of writeback mode."""
        self._changes.settle()
        for file in self._table.all():
            self._files.commit_untold(file)
        if self._writeback is not None:
            self._writeback.stop()
        for file in self._table.all():
            file.close()
        if self._context.journal is not None:
            self._context.journal.close()
        self._context.deletes.settle()
        self._context.tree.headers.cancel()
        for pool in self._pools:
            pool.close()
        self._pending.close()
        if self._context.disk_cache is not None:
            self._context.disk_cache.close()
        if self._headers is not None:
            self._headers.close()

    @property
    def started_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._context.started_ns

    def status(self) -> Values:
        """What it has in memory and under way; see status.py."""
        return Status(self._context, self._table, self._pending, self._writeback).told()

    def refresh(self, path: str) -> None:
        """Forget what the bucket has told of a path and all below it: it is asked again."""
        self._context.cache.refresh(path)

    def getattr(self, path: str, fh: Optional[int] = None, *,
                purpose: Callable[[], Purpose] = lambda: Purpose.UNKNOWN) -> Attr:
        """``purpose``: asked only when the answer may save a request."""
        return self._names.getattr(path, purpose) if fh is None else self._table.handle(fh).file.stat()

    def readdir(self, path: str) -> List[Dirent]:
        return self._names.readdir(path)

    def open(self, path: str, flags: int) -> OpenResult:
        return self._files.open(path, flags)

    def create(self, path: str, mode: int, flags: int, caller: Caller) -> OpenResult:
        return self._files.create(path, mode, flags, caller)

    def read(self, fh: int, offset: int, size: int) -> Data:
        return self._files.read(fh, offset, size)

    def write(self, fh: int, offset: int, data: Data, *, append: bool = False) -> int:
        """``data`` is not kept. ``append``: the caller opened the file with O_APPEND; ``offset`` is where the kernel
        believes its end."""
        return self._files.write(fh, offset, data, append=append)

    def copy_range(self, fh_in: int, offset_in: int, fh_out: int, offset_out: int, length: int) -> int:
        """Copy bytes from one open file to another, or to another place of it, where the two do not overlap."""
        return self._copies.copy_range(fh_in, offset_in, fh_out, offset_out, length)

    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        self._files.truncate(path, length, fh)

    def flush(self, fh: int, *, still_held: StillHeld = unknown_holders) -> None:
        self._files.flush(fh, still_held)

    def fsync(self, fh: int) -> None:
        self._files.fsync(fh)

    def fsyncdir(self) -> None:
        """Send the removals and the changes of attributes that wait; names are durable otherwise."""
        self._changes.settle()
        self._context.deletes.settle()

    def release(self, fh: int) -> None:
        self._files.release(fh)

    def unlink(self, path: str) -> None:
        self._removals.unlink(path)

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        self._names.mkdir(path, mode, caller)

    def rmdir(self, path: str) -> None:
        self._removals.rmdir(path)

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:
        """``no_replace``: EEXIST for a name that is taken."""
        self._rename.rename(old, new, no_replace=no_replace)

    def symlink(self, path: str, target: str, caller: Caller) -> None:
        self._names.symlink(path, target, caller)

    def readlink(self, path: str) -> str:
        return self._names.readlink(path)

    def link(self, path: str) -> None:
        self._names.link(path)

    def mknod(self, path: str, mode: int, rdev: int, caller: Caller) -> None:
        self._names.mknod(path, mode, rdev, caller)

    def chmod(self, path: str, mode: int) -> None:
        self._metadata.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._metadata.chown(path, uid, gid)

    def utimens(self, path: str, atime: Time, mtime: Time) -> None:
        self._metadata.utimens(path, atime, mtime)

    def getxattr(self, path: str, name: str) -> bytes:
        return self._metadata.getxattr(path, name)

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        self._metadata.setxattr(path, name, value, flags)

    def listxattr(self, path: str) -> List[str]:
        return self._metadata.listxattr(path)

    def removexattr(self, path: str, name: str) -> None:
        self._metadata.removexattr(path, name)

    def statfs(self) -> Statfs:
        return Statfs(_BLOCK_BYTES, self._config.bucket_size_bytes // _BLOCK_BYTES, _FILES, MAX_NAME_BYTES)


def _disk_cache(config: FilesystemConfig) -> Optional[DiskCache]:
    if config.cache_folder is None:
        return None
    return DiskCache(config.cache_folder, limit_bytes=config.cache_limit_bytes,
                     min_free_bytes=config.staging_reserve_bytes, wipe=config.wipe_cache,
                     queue_bytes=min(QUEUE_BYTES, config.memory_limit_bytes // 8))


class _CacheRelief:
    """Unsent data take the disk space of cached blocks when there is no other: those can be fetched again."""

    in_flight = False

    def __init__(self, cache: DiskCache) -> None:
        self._cache = cache

    def give_up_sent(self) -> int:
        return self._cache.make_room(_ROOM_BYTES)
