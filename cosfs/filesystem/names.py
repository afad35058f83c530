"""Operations that show and make names: lookup, readdir, mkdir, symlink, mknod. Those that remove: removals.py."""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from typing import Callable, Dict, List, Optional, Union

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import (
    CosServiceError,
    EntryExists,
    InvalidArgument,
    NameTooLong,
    ObjectExists,
    PermissionRefused,
)
from cosfs.filesystem.context import Context
from cosfs.filesystem.files import FileOperations
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.types import Attr, Caller, Dirent, Purpose
from cosfs.namespace.attributes import NS, Attributes, decode, decode_file, stored_type
from cosfs.namespace.entries import Entry
from cosfs.namespace.paths import split

log = logging.getLogger(__name__)

PATH_MAX = 4096
"""limits.h; a symbolic link's target, which is the body of its object, is shorter."""

_MARKER_REFUSALS = (400, 405, 501)
"""Answers of servers that know no directory markers (measured: rclone serve s3)."""


class NameOperations:
    def __init__(self, context: Context, table: OpenFileTable, files: FileOperations) -> None:
        self._context = context
        self._table = table
        self._files = files

    def named(self, path: str) -> Union[OpenFile, Entry]:
        """What a path means now: the open file, unless the bucket has another version. Raises: NoEntry."""
        file = self._table.get(path)
        if file is not None and (file.dirty or file.detached):
            return file
        entry = self._context.tree.lookup(path)
        return entry if file is None or (entry.key, entry.etag) != file.version() else file

    def getattr(self, path: str, purpose: Callable[[], Purpose]) -> Attr:
        entry = self.named(path)
        if isinstance(entry, OpenFile):
            return entry.stat()
        if entry.is_directory:
            return self._directory_attr(path, entry)
        asks = entry.info is None and not self._context.config.attributes_by_listing
        wanted = purpose() if asks else Purpose.UNKNOWN
        if wanted is Purpose.REMOVE and not self._owners_matter(path):
            return self._attr_to_remove(entry)
        info = self._info_to_show(path, entry, to_open=wanted is Purpose.OPEN)
        if info is None:
            return self._context.show(self._default_attributes(path, entry), entry.size_bytes)
        # All of one version, which may be a newer one than the listing's.
        return self._context.show(decode_file(info, self._context.defaults), info.size_bytes)

    def _info_to_show(self, path: str, entry: Entry, *, to_open: bool = False) -> Optional[ObjectInfo]:
        by_listing = self._context.config.attributes_by_listing
        return entry.info if by_listing else self._context.tree.info_to_show(path, entry, to_open=to_open)

    def _attr_to_remove(self, entry: Entry) -> Attr:
        """What unlink(2) needs to see of a listed file: that it is one. Should the removal fail, the kernel shows this
        for its second, so it lets nobody in."""
        time_ns = int(entry.last_modified_s * NS)
        defaults = self._context.defaults
        return Attr(stat.S_IFREG, defaults.uid, defaults.gid, entry.size_bytes, time_ns, time_ns, time_ns)

    def _owners_matter(self, path: str) -> bool:
        """Whether the directory is sticky: then the kernel compares owners before a removal."""
        parent = split(path)[0]
        return bool(self.attributes(parent, self._context.tree.lookup(parent)).mode & stat.S_ISVTX)

    def attributes(self, path: str, entry: Entry) -> Attributes:
        """The attributes of an entry: stored ones or the mount's defaults, and when a directory's names changed."""
        attributes = self._stored_attributes(path, entry)
        changed_ns = self._context.cache.directory_time(path) if entry.is_directory else None
        if changed_ns is None:
            return attributes
        return replace(attributes, mtime_ns=changed_ns, ctime_ns=max(changed_ns, attributes.ctime_ns))

    def _stored_attributes(self, path: str, entry: Entry) -> Attributes:
        context = self._context
        if path == "/" and context.root_attributes is not None:
            return context.root_attributes
        local = context.tree.local_directory(path)
        if local is not None:
            return local
        info = self._info_to_show(path, entry)
        if info is None:
            return self._default_attributes(path, entry)
        return (decode if entry.is_directory else decode_file)(info, context.defaults)

    def _default_attributes(self, path: str, entry: Entry) -> Attributes:
        """What is shown of a directory without a marker, or of anything of which just a listing was seen."""
        context = self._context
        defaults = context.defaults
        mode = defaults.mode
        if path == "/":
            mode = 0o777 & ~context.config.mp_umask if context.config.allow_other else 0o700
        time_ns = int(entry.last_modified_s * NS) or context.started_ns
        kind = stat.S_IFDIR if entry.is_directory else stat.S_IFREG
        return Attributes(kind | mode, defaults.uid, defaults.gid, time_ns, time_ns, time_ns)

    def _directory_attr(self, path: str, entry: Entry) -> Attr:
        # A link count of 1 says "not counted"; find(1) then trusts it for nothing.
        folders = self._context.cache.folder_count(path)
        nlink = 1 if folders is None else 2 + folders
        return self._context.show(self.attributes(path, entry), 0, nlink=nlink)

    def readdir(self, path: str) -> List[Dirent]:
        # Looked for before the listing: what is stored meanwhile is in it. Clean ones are, or others have removed them.
        unstored = [file for file in self._table.children(path) if file.dirty]
        names: Dict[str, Dirent] = {
            name: Dirent(name, self._type_bits(entry))
            for name, entry in self._context.tree.list(path).items()}
        for file in unstored:
            name = split(file.path)[1]
            names[name] = Dirent(name, stat.S_IFMT(file.attributes.mode))
        return list(names.values())

    def _type_bits(self, entry: Entry) -> int:
        """Listings do not tell symbolic links and special files from regular ones: only known headers do."""
        if entry.is_directory:
            return stat.S_IFDIR
        if entry.info is not None and not entry.key.endswith("/"):
            return stored_type(entry.info)
        return stat.S_IFREG

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        context = self._context
        self._check_absent(path)
        attributes = context.new_attributes(path, stat.S_IFDIR | stat.S_IMODE(mode), caller)
        try:
            self.put_marker_or_keep(path, attributes, new=True)
        except ObjectExists:
            if context.tree.refresh(path) is not None:
                raise
            # gone again, or never there: SeaweedFS keeps a folder whose marker was deleted, and shows it to nobody
            self.put_marker_or_keep(path, attributes)
        context.cache.insert_listing(path, {})
        context.touch_parent(path)

    def put_marker_or_keep(self, path: str, attributes: Attributes, *, new: bool = False) -> None:
        """Store a directory's marker; where the server takes none, keep the directory while the mount lives."""
        try:
            self.put_marker(path, attributes, new=new)
        except CosServiceError as exc:
            if exc.status not in _MARKER_REFUSALS:
                raise
            log.warning("the server takes no directory markers (%s): %s exists in this mount only "
                        "until a file is in it", exc.code, path)
            self._context.tree.keep_locally(path, attributes)

    def put_marker(self, path: str, attributes: Attributes, entry: Entry = Entry("", True), *,
                   new: bool = False) -> None:
        """Store a directory's marker; with the headers of the one that ``entry`` has, if any.

        Raises: ObjectExists, with ``new``, when another host has made the directory.
        """
        context = self._context
        key = context.tree.keys.marker_key(path)
        if entry.info is not None and entry.key == key:
            headers = context.headers(path, attributes, entry.info)
        else:
            headers = context.headers(path, attributes, None)
        if entry.info is not None and entry.info.size_bytes:
            info = context.copy(entry.info, key, headers)  # other tools may keep something in it
        else:
            with context.deletes.overwriting(key) as removed:
                stored = context.client.put_object(key, b"", headers=context.with_tags(headers, entry.info),
                                                   forbid_overwrite=new and not removed)
            info = context.stored_info(key, headers, stored, 0, base=entry.info)
        if entry.info is not None and entry.key != key:
            context.client.delete_object(entry.key)
        context.name_changed(path, info, is_directory=True)

    def symlink(self, path: str, target: str, caller: Caller) -> None:
        body = target.encode("utf-8", "surrogateescape")
        if len(body) >= PATH_MAX:
            raise NameTooLong(f"target of {path}")
        self._make(path, stat.S_IFLNK | 0o777, body, caller)

    def readlink(self, path: str) -> str:
        fh = self._files.open(path, 0).fh
        try:
            attributes = self._table.handle(fh).file.attributes
            if not stat.S_ISLNK(attributes.mode):
                raise InvalidArgument(f"{path} is no symbolic link")
            return bytes(self._files.read(fh, 0, PATH_MAX)).decode("utf-8", "surrogateescape")
        finally:
            self._files.release(fh)

    def mknod(self, path: str, mode: int, rdev: int, caller: Caller) -> None:
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
            raise InvalidArgument(f"{path}: no file type {stat.S_IFMT(mode):#o}")
        self._make(path, mode if stat.S_IFMT(mode) else mode | stat.S_IFREG, b"", caller, rdev=rdev)

    def link(self, path: str) -> None:
        raise PermissionRefused(f"{path}: an object store has no hard links")

    def _make(self, path: str, mode: int, body: bytes, caller: Caller, *, rdev: int = 0) -> None:
        """Store a new file at once."""
        self._check_absent(path)
        file = self._files.new_file(path, mode, caller, rdev=rdev, exclusive=True)
        try:
            file.write(0, body)
            file.commit()
        finally:
            file.close()
        self._context.touch_parent(path)

    def _check_absent(self, path: str) -> None:
        self._context.check_writable()
        if self._table.get(path) is not None or self._context.tree.find(path) is not None:
            raise EntryExists(path)
