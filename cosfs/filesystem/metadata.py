"""Operations on attributes: chmod, chown, utimens, and extended attributes.

A change of a stored file is one copy of the object onto itself, made before the call returns. A file that
is open with unsent data takes the change along in its next upload.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Callable, List

from cosfs.errors import (
    EntryExists,
    NoAttribute,
    NoEntry,
    NotSupported,
    StaleHandle,
    ValueTooLarge,
)
from cosfs.filesystem.context import Context
from cosfs.filesystem.names import NameOperations
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.types import NOW, Time
from cosfs.namespace.attributes import Attributes, decode
from cosfs.namespace.caches import Entry
from cosfs.units import MAX_METADATA_BYTES

Change = Callable[[Attributes], Attributes]

_UNSUPPORTED_XATTRS = ("system.",)
"""POSIX ACLs live there. Accepting them makes coreutils skip its chmod (measured: folders end up 0700)."""


class MetadataOperations:
    def __init__(self, context: Context, table: OpenFileTable, names: NameOperations) -> None:
        self._context = context
        self._table = table
        self._names = names

    def chmod(self, path: str, mode: int) -> None:
        self._change(path, lambda old: replace(old, mode=stat.S_IFMT(old.mode) | stat.S_IMODE(mode)))

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._change(path, lambda old: replace(old, uid=old.uid if uid == -1 else uid,
                                               gid=old.gid if gid == -1 else gid))

    def utimens(self, path: str, atime: Time, mtime: Time) -> None:
        now_ns = self._context.now_ns()

        def change(old: Attributes) -> Attributes:
            return replace(old, atime_ns=_time(atime, old.atime_ns, now_ns),
                           mtime_ns=_time(mtime, old.mtime_ns, now_ns))

        self._change(path, change)

    def getxattr(self, path: str, name: str) -> bytes:
        self._check_xattr_name(name)
        value = self._attributes(path).xattrs.get(name) if self._context.config.xattr else None
        if value is None:
            raise NoAttribute(f"{path} has no {name}")
        return value

    def listxattr(self, path: str) -> List[str]:
        return list(self._attributes(path).xattrs) if self._context.config.xattr else []

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        self._check_xattr_name(name)
        if not self._context.config.xattr:
            return
        if len(value) > MAX_METADATA_BYTES:
            raise ValueTooLarge(f"{name} of {len(value)} bytes; one object stores {MAX_METADATA_BYTES}")

        def change(old: Attributes) -> Attributes:
            if flags & os.XATTR_CREATE and name in old.xattrs:
                raise EntryExists(f"{path} has {name} already")
            if flags & os.XATTR_REPLACE and name not in old.xattrs:
                raise NoAttribute(f"{path} has no {name}")
            return replace(old, xattrs={**old.xattrs, name: value})

        self._change(path, change)

    def removexattr(self, path: str, name: str) -> None:
        self._check_xattr_name(name)

        def change(old: Attributes) -> Attributes:
            if name not in old.xattrs:
                raise NoAttribute(f"{path} has no {name}")
            return replace(old, xattrs={key: value for key, value in old.xattrs.items() if key != name})

        self._change(path, change)

    @staticmethod
    def _check_xattr_name(name: str) -> None:
        if name.startswith(_UNSUPPORTED_XATTRS):
            raise NotSupported(f"{name} is not stored")

    def _attributes(self, path: str) -> Attributes:
        file = self._table.get(path)
        if file is not None:
            return file.attributes
        return self._names.attributes(path, self._context.tree.lookup(path))

    def _change(self, path: str, change: Change) -> None:
        context = self._context
        context.check_writable()

        def stamped(old: Attributes) -> Attributes:
            return replace(change(old), ctime_ns=context.now_ns())

        file = self._table.get(path)
        if file is not None:
            file.change_attributes(stamped)
            return
        entry = context.tree.lookup(path)
        try:
            self._change_entry(path, entry, stamped)
        except StaleHandle:
            fresh = context.tree.refresh(path)
            if fresh is None:
                raise NoEntry(path) from None
            self._change_entry(path, fresh, stamped)

    def _change_entry(self, path: str, entry: Entry, change: Change) -> None:
        """Copy the object onto itself with new metadata and everything else as it is."""
        context = self._context
        if entry.is_directory:
            self._change_directory(path, entry, change)
            return
        info = context.tree.info(path, entry)
        if info is None:
            raise NoEntry(path)
        headers = context.headers(path, change(decode(info, context.defaults)), info)
        stored = context.copy(info, info.key, headers)
        context.name_changed(path, stored)
        context.cache.kernel_pages_moved(path, info.etag, stored.etag)

    def _change_directory(self, path: str, entry: Entry, change: Change) -> None:
        context = self._context
        bare_root = path == "/" and not context.tree.keys.prefix
        local = context.tree.local_directory(path) is not None
        if not bare_root and not local:
            entry = replace(entry, info=context.tree.info(path, entry))
        attributes = change(self._names.attributes(path, entry))
        if bare_root:
            context.root_attributes = attributes
        elif local:
            context.tree.keep_locally(path, attributes)
        else:
            self._names.put_marker(path, attributes, entry)
        context.cache.directory_stored(path)


def _time(wanted: Time, old_ns: int, now_ns: int) -> int:
    if isinstance(wanted, int):
        return wanted
    return now_ns if wanted is NOW else old_ns
