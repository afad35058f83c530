"""``CosFilesystem``: the filesystem without FUSE, one method per operation.

It only composes: each method hands over to the part that knows (files, names, rename, metadata). Paths
start with ``/``; bytes of names that are no UTF-8 are surrogate escapes. All methods block, may be called
from many threads at once, and raise only ``CosfsError``; operations that change the same name at the same
time are serialised by the caller (the kernel does).
"""

from __future__ import annotations

import time
from typing import Callable, List, Optional

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectClient
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.filesystem.attribute_changes import AttributeChanges
from cosfs.filesystem.context import Context
from cosfs.filesystem.deletes import DeleteQueue
from cosfs.filesystem.files import FileOperations
from cosfs.filesystem.metadata import MetadataOperations
from cosfs.filesystem.names import NameOperations
from cosfs.filesystem.removals import RemovalOperations
from cosfs.filesystem.rename import RenameOperations
from cosfs.filesystem.rename_recovery import Recovered, recover_all
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.types import Attr, Caller, Dirent, OpenResult, Purpose, Statfs, Time
from cosfs.namespace.caches import MetadataCache
from cosfs.namespace.headers_db import HeadersDatabase
from cosfs.namespace.paths import KeySpace
from cosfs.namespace.tree import Tree
from cosfs.reading.ranges import RangeStore
from cosfs.units import MAX_NAME_BYTES
from cosfs.writing.plan import Limits
from cosfs.writing.staging import StagingArea
from cosfs.writing.uploader import Uploader

_BLOCK_BYTES = 4096
_FILES = 1 << 40
"""Inodes that statfs reports: many, and exact in a double."""


class CosFilesystem:
    """``clock``: seconds since the epoch for timestamps; ``monotonic``: seconds for the caches' TTLs."""

    def __init__(self, client: ObjectClient, config: FilesystemConfig, *, clock: Callable[[], float] = time.time,
                 monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        cache = MetadataCache(stat_ttl_s=config.stat_ttl_s, negative_ttl_s=config.negative_ttl_s,
                              listing_ttl_s=config.listing_ttl_s, max_entries=config.max_stat_entries,
                              clock=monotonic)
        budget = ByteBudget(config.memory_limit_bytes)
        lookups = WorkerPool("cosfs-lookup", config.parallel_heads, queue=config.parallel_heads)
        fetches = WorkerPool("cosfs-fetch", config.parallel_parts, queue=config.parallel_parts)
        uploads = WorkerPool("cosfs-upload", config.parallel_parts)
        ahead = WorkerPool("cosfs-ahead", config.parallel_heads, queue=config.parallel_heads)
        self._pools = [ahead, lookups, fetches, uploads, WorkerPool("cosfs-names", config.parallel_heads)]
        # Where listings alone are to be shown, what is shown must not depend on what was seen before.
        folder = None if config.attributes_by_listing else config.state_folder
        self._headers = None if folder is None else HeadersDatabase(folder)
        self._context = Context(
            client=client, config=config, cache=cache,
            tree=Tree(client, KeySpace(config.prefix), cache, lookups, ahead, config.parallel_heads,
                      database=self._headers, list_first=config.attributes_by_listing),
            pool=lookups, fetch_pool=fetches,
            ranges=RangeStore(budget, max_ahead=config.parallel_parts),
            staging=StagingArea(config.staging_folder, config.staging_limit_bytes,
                                config.staging_reserve_bytes),
            uploader=Uploader(client, budget, uploads, Limits(
                part_size_bytes=config.part_size_bytes, min_part_bytes=config.min_part_bytes)),
            deletes=DeleteQueue(client), names_pool=self._pools[-1], clock=clock,
            started_ns=int(clock() * 1_000_000_000))
        self._table = OpenFileTable()
        self._files = FileOperations(self._context, self._table)
        self._names = NameOperations(self._context, self._table, self._files)
        self._removals = RemovalOperations(self._context, self._table, self._names)
        self._changes = AttributeChanges(self._context, self._table, self._files)
        self._rename = RenameOperations(self._context, self._table, self._removals, self._changes)
        self._metadata = MetadataOperations(self._context, self._names, self._changes)

    def start(self) -> None:
        """Called in the process that serves the mount, after any fork. Threads start as they are needed.

        What directory renames have left that a crash cut off is dealt with first.
        """
        self.recover()

    def recover(self) -> List[Recovered]:
        """Finish or undo directory renames that a crash cut off. What cannot be done now is logged, and kept."""
        return recover_all(self._context)

    def stop(self) -> None:
        """Settle what is pending and end the threads. Data that cannot be stored is logged as lost."""
        self._changes.settle()
        for file in self._table.all():
            self._files.commit_untold(file)
            file.close()
        self._context.deletes.settle()
        self._context.tree.headers.cancel()
        for pool in self._pools:
            pool.close()
        if self._headers is not None:
            self._headers.close()

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

    def read(self, fh: int, offset: int, size: int) -> bytes:
        return self._files.read(fh, offset, size)

    def write(self, fh: int, offset: int, data: bytes, *, append: bool = False) -> int:
        """``append``: the caller opened the file with O_APPEND; ``offset`` is where the kernel believes its end."""
        return self._files.write(fh, offset, data, append=append)

    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        self._files.truncate(path, length, fh)

    def flush(self, fh: int) -> None:
        self._files.flush(fh)

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

    def rename(self, old: str, new: str) -> None:
        self._rename.rename(old, new)

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
