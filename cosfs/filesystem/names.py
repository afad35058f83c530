"""Operations on names: lookup, readdir, mkdir, rmdir, unlink, symlink, mknod.

A directory that holds the last file of its kind stays when that file goes: when nothing else keeps an
implicit directory alive, its marker is written.
"""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from typing import Dict, List

from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import (
    CosException,
    CosServiceError,
    DirectoryNotEmpty,
    EntryExists,
    InvalidArgument,
    IsADirectory,
    NameTooLong,
    NoEntry,
    NotADirectory,
    PermissionRefused,
)
from cosfs.filesystem.context import Context
from cosfs.filesystem.files import FileOperations
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.types import Attr, Caller, Dirent
from cosfs.namespace.attributes import NS, Attributes, decode, encode
from cosfs.namespace.caches import ABSENT, Entry
from cosfs.namespace.content_type import guess_content_type
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

    def getattr(self, path: str) -> Attr:
        file = self._table.get(path)
        if file is not None:
            return file.stat()
        entry = self._context.tree.lookup(path)
        if entry.is_directory:
            return self._directory_attr(path, entry)
        return self._context.show(self.attributes(path, entry), entry.size_bytes)

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
        info = entry.info if context.config.attributes_by_listing else context.tree.info(path, entry)
        return self._default_attributes(path, entry) if info is None else decode(info, context.defaults)

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
        listing = self._context.cache.listing(path)
        nlink = 1 if listing is None else 2 + sum(child.is_directory for child in listing.values())
        return self._context.show(self.attributes(path, entry), 0, nlink=nlink)

    def readdir(self, path: str) -> List[Dirent]:
        names: Dict[str, Dirent] = {
            name: Dirent(name, self._type_bits(entry))
            for name, entry in self._context.tree.list(path).items()}
        for file in self._table.children(path):
            name = split(file.path)[1]
            names[name] = Dirent(name, stat.S_IFMT(file.attributes.mode))
        return list(names.values())

    def _type_bits(self, entry: Entry) -> int:
        """Listings do not tell symbolic links and special files from small regular ones, unless these are ignored."""
        if entry.is_directory:
            return stat.S_IFDIR
        if entry.info is not None:
            return stat.S_IFMT(decode(entry.info, self._context.defaults).mode)
        regular = entry.size_bytes >= PATH_MAX or self._context.config.attributes_by_listing
        return stat.S_IFREG if regular else 0

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        context = self._context
        self._check_absent(path)
        attributes = context.new_attributes(path, stat.S_IFDIR | stat.S_IMODE(mode), caller)
        self._put_marker_or_keep(path, attributes)
        context.cache.insert_listing(path, {})
        context.touch_parent(path)

    def _put_marker_or_keep(self, path: str, attributes: Attributes) -> None:
        """Store a directory's marker; where the server takes none, keep the directory while the mount lives."""
        try:
            self.put_marker(path, attributes)
        except CosServiceError as exc:
            if exc.status not in _MARKER_REFUSALS:
                raise
            log.warning("the server takes no directory markers (%s): %s exists in this mount only "
                        "until a file is in it", exc.code, path)
            self._context.tree.keep_locally(path, attributes)

    def put_marker(self, path: str, attributes: Attributes, entry: Entry = Entry("", True)) -> None:
        """Store a directory's marker; with the headers of the one that ``entry`` has, if any."""
        context = self._context
        key = context.tree.keys.directory_key(path)
        if entry.info is not None and entry.key == key:
            headers = context.headers(path, attributes, entry.info)
        else:
            headers = ObjectHeaders(encode(attributes, {}), {"Content-Type": guess_content_type(path, attributes.mode)})
        if entry.info is not None and entry.info.size_bytes:
            info = context.copy(entry.info, key, headers)  # other tools may keep something in it
        else:
            with context.deletes.overwriting(key):
                stored = context.client.put_object(key, b"", headers=headers)
            info = context.stored_info(key, headers, stored, 0)
        if entry.info is not None and entry.key != key:
            context.client.delete_object(entry.key)
        context.name_changed(path, info, is_directory=True)

    def rmdir(self, path: str) -> None:
        context = self._context
        context.check_writable()
        if path == "/":
            raise InvalidArgument("the root of the mount cannot be removed")
        entry = context.tree.lookup(path)
        if not entry.is_directory:
            raise NotADirectory(path)
        self.check_empty(path)
        for key in {entry.key, context.tree.keys.directory_key(path)}:
            context.client.delete_object(key)
        context.tree.forget_locally(path)
        context.cache.forget_tree(path)
        context.cache.changed(path, ABSENT)
        context.touch_parent(path)
        self.keep_parent(path)

    def check_empty(self, path: str) -> None:
        """Raises: DirectoryNotEmpty, by the bucket's word and that of the files not stored yet."""
        context = self._context
        context.deletes.settle()
        if self._table.inside(path) or context.tree.has_children(path):
            raise DirectoryNotEmpty(path)

    def unlink(self, path: str) -> None:
        context = self._context
        context.check_writable()
        file = self._table.get(path)
        if file is not None and file.detached:
            self._table.forget(path)
            return
        if file is None:
            entry = context.tree.lookup(path)
            if entry.is_directory:
                raise IsADirectory(path)
            context.client.delete_object(entry.key)
        else:
            with file.settled():
                file.materialize()
                if file.stored:
                    context.client.delete_object(file.key)
                self._table.forget(path)
                file.detach(path)
        self.removed(path)

    def removed(self, path: str) -> None:
        """Record that a name went away."""
        context = self._context
        context.cache.changed(path, ABSENT)
        context.touch_parent(path)
        self.keep_parent(path)

    def hide(self, path: str, hidden: str) -> None:
        """libfuse's way to remove or replace an open file: move it out of sight until its last close."""
        context = self._context
        file = self._table.get(path)
        if file is None:
            raise NoEntry(path)
        with file.settled():
            file.materialize()
            if file.stored:
                context.deletes.schedule(file.key, path)
            file.detach(hidden)
            self._table.renamed(path, file)
        self.removed(path)

    def keep_parent(self, path: str) -> None:
        """Write the marker of the parent when its last child is gone and it has none.

        The removal itself is done by then, so a failure is logged and not raised.
        """
        try:
            self._keep_parent(path)
        except CosException as exc:
            log.warning("%s may vanish: its last child is gone and its marker cannot be written: %s",
                        split(path)[0], exc)

    def _keep_parent(self, path: str) -> None:
        context = self._context
        parent = split(path)[0]
        entry = context.tree.find(parent)
        if parent == "/" or entry is None or entry.marker or context.tree.local_directory(parent) is not None:
            return
        listing = context.cache.listing(parent)
        if listing or self._table.inside(parent):
            return
        if context.tree.info(parent, entry) is None and not context.tree.has_children(parent):
            self._put_marker_or_keep(parent, self.attributes(parent, entry))

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
            return self._files.read(fh, 0, PATH_MAX).decode("utf-8", "surrogateescape")
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
        file = self._files.new_file(path, mode, caller, rdev=rdev)
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
