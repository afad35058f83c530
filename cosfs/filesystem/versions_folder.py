"""The folder ``.versions`` in every folder of a mount of a versioned bucket: the old versions of what is there.

``DIR/.versions/NAME/`` holds the versions of ``DIR/NAME`` that are not the latest, each as a file (versions/names.py),
and the same of all folders that ever were in DIR. It is in no listing, so nothing walks into it, and nothing in it can
be changed (EROFS). What it holds is a second filesystem on ``HistoryClient``, in which ``DIR/NAME/VERSION`` is the path
of that file: so old versions are looked up, cached and read as files are.

It is there if the bucket has, or had, versioning, which is asked when a path with that name is first looked up, and if
the bucket has nothing of that name itself: else that is shown. To all other paths it costs a search in a string, to
reads and writes a comparison of numbers.

Threading: any thread.
"""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from typing import Callable, Dict, List, NamedTuple, Optional

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ListPage, ObjectClient, VersionedClient
from cosfs.errors import CosServiceError, InvalidAnswer, NoAttribute, ReadOnlyFilesystem
from cosfs.executor import ByteBudget
from cosfs.filesystem.core import CosFilesystem
from cosfs.filesystem.metadata import RESTORE
from cosfs.filesystem.table import Handle
from cosfs.filesystem.types import Attr, Caller, Data, Dirent, OpenResult, Purpose, StillHeld, Time, unknown_holders
from cosfs.namespace.children import add_page, directory_entry
from cosfs.namespace.entries import Entry
from cosfs.namespace.paths import join
from cosfs.versions.history import HistoryClient

log = logging.getLogger(__name__)

NAME = ".versions"
_MARK = f"/{NAME}"
_FIRST_HANDLE = 1 << 61
"""Far above those of files, and below those of control files."""

_ENTRIES_SHARE = 10
"""The part of the attribute cache's size that old versions may take on top."""

_ASKED_AGAIN_S = 60.0
"""After which a bucket without versioning may have got it."""


class _Place(NamedTuple):
    """What a path in ``.versions`` means: a path among old versions. ``is_top``: it is that of ``.versions`` itself."""

    path: str
    is_top: bool


class VersionedFilesystem(CosFilesystem):
    """``versions``: the same client as ``client``, if it is to be asked for old versions; None: there is no folder."""

    def __init__(self, client: ObjectClient, config: FilesystemConfig,
                 versions: Optional[VersionedClient] = None) -> None:
        super().__init__(client, config)
        self._past = None if versions is None else _Past(versions, config, self._context.ranges.budget)

    def tell_mount_point(self, mount_point: str) -> None:
        """For the commands that the log names."""
        self._context.archive.mount_point = mount_point
        if self._past is not None:
            self._past.tell_mount_point(mount_point)

    def stop(self) -> None:
        super().stop()
        if self._past is not None:
            self._past.stop()

    def refresh(self, path: str) -> None:
        super().refresh(path)
        if self._past is not None:
            self._past.refresh("/")

    def getattr(self, path: str, fh: Optional[int] = None, *,
                purpose: Callable[[], Purpose] = lambda: Purpose.UNKNOWN) -> Attr:
        if fh is not None and fh >= _FIRST_HANDLE:
            return self._of_past().getattr("", fh - _FIRST_HANDLE)
        place = self._place(path)
        if place is None:
            return super().getattr(path, fh, purpose=purpose)
        if place.is_top:
            return super().getattr(place.path)
        return self._of_past().getattr(place.path, purpose=purpose)

    def readdir(self, path: str) -> List[Dirent]:
        place = self._place(path)
        return super().readdir(path) if place is None else self._of_past().list(place.path, exists=place.is_top)

    def open(self, path: str, flags: int) -> OpenResult:
        place = self._place(path)
        if place is None:
            return super().open(path, flags)
        opened = self._of_past().open(place.path, flags)
        return replace(opened, fh=opened.fh + _FIRST_HANDLE)

    def read(self, fh: int, offset: int, size: int) -> Data:
        if fh >= _FIRST_HANDLE:
            return self._of_past().read(fh - _FIRST_HANDLE, offset, size)
        return super().read(fh, offset, size)

    def write(self, fh: int, offset: int, data: Data, *, append: bool = False) -> int:
        if fh >= _FIRST_HANDLE:
            return self._of_past().write(fh - _FIRST_HANDLE, offset, data, append=append)
        return super().write(fh, offset, data, append=append)

    def copy_range(self, fh_in: int, offset_in: int, fh_out: int, offset_out: int, length: int) -> int:
        if fh_in < _FIRST_HANDLE:
            return super().copy_range(fh_in, offset_in, fh_out, offset_out, length)
        past = self._of_past()
        return self._copies.copy_from(past.handle(fh_in - _FIRST_HANDLE), offset_in, fh_out, offset_out, length,
                                      past.key_beside)

    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        self._refuse(path)
        super().truncate(path, length, fh)

    def flush(self, fh: int, *, still_held: StillHeld = unknown_holders) -> None:
        if fh < _FIRST_HANDLE:
            super().flush(fh, still_held=still_held)

    def fsync(self, fh: int) -> None:
        if fh < _FIRST_HANDLE:
            super().fsync(fh)

    def release(self, fh: int) -> None:
        if fh >= _FIRST_HANDLE:
            self._of_past().release(fh - _FIRST_HANDLE)
        else:
            super().release(fh)

    def create(self, path: str, mode: int, flags: int, caller: Caller) -> OpenResult:
        self._refuse(path)
        return super().create(path, mode, flags, caller)

    def unlink(self, path: str) -> None:
        self._refuse(path)
        super().unlink(path)

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        self._refuse(path)
        super().mkdir(path, mode, caller)

    def rmdir(self, path: str) -> None:
        self._refuse(path)
        super().rmdir(path)

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:
        self._refuse(old)
        self._refuse(new)
        super().rename(old, new, no_replace=no_replace)

    def symlink(self, path: str, target: str, caller: Caller) -> None:
        self._refuse(path)
        super().symlink(path, target, caller)

    def readlink(self, path: str) -> str:
        place = self._place(path)
        return super().readlink(path) if place is None else self._of_past().readlink(place.path)

    def link(self, path: str) -> None:
        self._refuse(path)
        super().link(path)

    def mknod(self, path: str, mode: int, rdev: int, caller: Caller) -> None:
        self._refuse(path)
        super().mknod(path, mode, rdev, caller)

    def chmod(self, path: str, mode: int) -> None:
        self._refuse(path)
        super().chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._refuse(path)
        super().chown(path, uid, gid)

    def utimens(self, path: str, atime: Time, mtime: Time) -> None:
        self._refuse(path)
        super().utimens(path, atime, mtime)

    def getxattr(self, path: str, name: str) -> bytes:
        place = self._place(path)
        if place is not None and place.is_top:
            raise NoAttribute(f"{path} has none")
        return super().getxattr(path, name) if place is None else self._of_past().getxattr(place.path, name)

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        place = self._place(path)
        if place is None:
            super().setxattr(path, name, value, flags)
        elif name == RESTORE:
            self._of_past().setxattr(place.path, name, value, flags)
        else:
            self._refuse(path)

    def listxattr(self, path: str) -> List[str]:
        place = self._place(path)
        if place is not None and place.is_top:
            return []
        return super().listxattr(path) if place is None else self._of_past().listxattr(place.path)

    def removexattr(self, path: str, name: str) -> None:
        self._refuse(path)
        super().removexattr(path, name)

    def _place(self, path: str) -> Optional[_Place]:
        """What a path in ``.versions`` means; None for all others."""
        if self._past is None or _MARK not in path:
            return None
        folder, found, rest = f"{path}/".partition(f"{_MARK}/")
        if not found or self._context.tree.find(folder + _MARK) is not None or not self._past.exists():
            return None
        return _Place(f"{folder}/{rest}".rstrip("/") or "/", is_top=not rest)

    def _of_past(self) -> _Past:
        assert self._past is not None
        return self._past

    def _refuse(self, path: str) -> None:
        """Raises: ReadOnlyFilesystem, for a path among old versions."""
        if self._place(path) is not None:
            raise ReadOnlyFilesystem(f"{path} is an old version, or the folder of some")


class _Past(CosFilesystem):
    """The old versions. ``budget``: what the filesystem beside it uses."""

    def __init__(self, client: VersionedClient, config: FilesystemConfig, budget: ByteBudget) -> None:
        self._versions = client
        # What is past changes rarely, and a walk through it should not have to ask for a listing twice.
        listing_ttl_s = max(config.listing_ttl_s, config.stat_ttl_s)
        self._history = HistoryClient(client, config.prefix, ttl_s=listing_ttl_s)
        super().__init__(self._history, replace(
            config, read_only=True, writeback_delay_s=None, state_folder=None, cache_folder=None,
            listing_ttl_s=listing_ttl_s, max_stat_entries=-(-config.max_stat_entries // _ENTRIES_SHARE)), budget=budget)
        self._versioned = False
        self._ask_again_at = 0.0
        self._warned = False
        self._changes_seen = 0

    def exists(self) -> bool:
        """Whether the bucket has, or had, versioning; a request a minute at most, until it has."""
        now = self._context.cache.now()
        if not self._versioned and now >= self._ask_again_at:
            try:
                self._changes_seen = self._versions.changes
                self._versioned = bool(self._versions.get_bucket_versioning())
            except (CosServiceError, InvalidAnswer) as exc:
                if not self._warned:
                    log.warning("there is no %s, because the bucket does not tell of its versioning: %s", NAME, exc)
                self._warned = True
            self._ask_again_at = now + _ASKED_AGAIN_S
        return self._versioned

    def tell_mount_point(self, mount_point: str) -> None:
        self._context.archive.mount_point = mount_point + _MARK

    def refresh(self, path: str) -> None:
        self._history.forget()
        super().refresh(path)

    def handle(self, fh: int) -> Handle:
        return self._table.handle(fh)

    def key_beside(self, key: str) -> str:
        """What an old version is called to the client of the filesystem beside this one."""
        return self._history.version_key(key)

    def list(self, path: str, *, exists: bool) -> List[Dirent]:
        """The names in a folder, as they are after all that this mount has changed.

        ``exists``: there is a folder of that path in the bucket now.
        """
        changes = self._versions.changes
        if changes != self._changes_seen:
            self._changes_seen = changes
            self.refresh("/")
        cache, keys = self._context.cache, self._context.tree.keys
        if exists and path != "/" and not isinstance(cache.lookup(path), Entry):
            cache.insert(path, Entry(keys.directory_key(path), is_directory=True), asked_at=cache.now())
        asked_at = cache.now()
        names = self.readdir(path)
        for name, mode in names:
            if stat.S_ISDIR(mode):
                self._take_in(join(path, name), asked_at)
        return names

    def _take_in(self, path: str, asked_at: float) -> None:
        """Have the versions of a file as a listing, if the listing above has told them. A program that walks through
        them then gets their headers asked for ahead."""
        cache = self._context.cache
        prefix = self._context.tree.keys.directory_key(path)
        known = self._history.known(prefix) if cache.listing(path) is None else None
        if known is not None:
            names: Dict[str, Entry] = {}
            add_page(names, prefix, ListPage(known, ()), [])
            cache.insert(path, directory_entry(prefix, marker=False), asked_at=asked_at)
            cache.insert_listing(path, names, asked_at=asked_at)
