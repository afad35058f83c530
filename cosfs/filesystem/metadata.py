"""Operations on attributes: chmod, chown, utimens, and extended attributes.

A change of a stored file is a copy of the object onto itself, which attribute_changes.py makes a moment later;
one of a directory is a PUT of its marker, made before the call returns.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Callable, List, Mapping, Optional

from cosfs.archive import ORDERS, RestoreOrder
from cosfs.cos.interface import ObjectInfo
from cosfs.errors import (
    EntryExists,
    InvalidArgument,
    IsADirectory,
    NoAttribute,
    NotSupported,
    PermissionRefused,
    ValueTooLarge,
)
from cosfs.filesystem.attribute_changes import AttributeChanges, Change
from cosfs.filesystem.context import Context
from cosfs.filesystem.names import NameOperations
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.types import NOW, Time
from cosfs.namespace.attributes import Attributes
from cosfs.namespace.entries import Entry
from cosfs.units import MAX_METADATA_BYTES

_UNSUPPORTED_XATTRS = ("system.", "security.selinux")
"""POSIX ACLs live in the first. Accepting them makes coreutils skip its chmod (measured: folders end up 0700).
SELinux labels a FUSE mount as a whole; ``ls -l`` asks for a label file by file until it is told that there are none
(measured: half of all calls)."""


OF_OBJECT = "user.cosfs."
"""Attributes that tell of the object, and can only be read, but for the one that a restore is asked for with. They are
not listed: programs that copy attributes would take them along, and fail to set them; and each could cost a request."""

RESTORE, _CLASS = OF_OBJECT + "restore", OF_OBJECT + "storage-class"

_TOLD: Mapping[str, Callable[[ObjectInfo], Optional[str]]] = {
    "etag": lambda info: info.etag or None,
    "crc64": lambda info: None if info.crc64 is None else str(info.crc64),
    "storage-class": lambda info: info.storage_class,
    "version-id": lambda info: info.version_id,
    "restore": lambda info: info.restore,
}


class MetadataOperations:
    def __init__(self, context: Context, names: NameOperations, changes: AttributeChanges) -> None:
        self._context = context
        self._names = names
        self._changes = changes

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
        if name.startswith(OF_OBJECT) and self._context.config.xattr:
            return self._of_object(path, name)
        self._check_xattr_name(name)
        value = self._attributes(path).xattrs.get(name) if self._context.config.xattr else None
        if value is None:
            raise NoAttribute(f"{path} has no {name}")
        return value

    def _of_object(self, path: str, name: str) -> bytes:
        """What the service tells of the object; one request if it is not known. Raises: NoAttribute."""
        tell = _TOLD.get(name[len(OF_OBJECT):])
        named = self._names.named(path)
        if name == _CLASS and isinstance(named, Entry) and named.info is None and not named.is_directory:
            return named.storage_class.encode()  # listings tell it
        if isinstance(named, OpenFile) and (named.dirty or name != RESTORE):
            info = None if named.dirty else named.base  # what was changed, and is not stored, is no object yet
        elif name == RESTORE:  # it changes without the version changing
            entry = self._context.tree.lookup(path) if isinstance(named, OpenFile) else named
            info = None if entry.is_directory else self._context.tree.current_info(path, entry)
        else:
            assert isinstance(named, Entry)
            info = self._context.tree.info(path, named)
        value = None if tell is None or info is None else tell(info)
        if value is None:
            raise NoAttribute(f"{path} has no {name}")
        return value.encode()

    def listxattr(self, path: str) -> List[str]:
        return list(self._attributes(path).xattrs) if self._context.config.xattr else []

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        self._check_xattr_name(name)
        if name == RESTORE:
            self._restore(path, value)
            return
        _refuse_of_object(name)
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

    def _restore(self, path: str, value: bytes) -> None:
        """Have a file restored, for ``DAYS[:TIER]``."""
        if not self._context.config.xattr:
            raise NotSupported("mounted without extended attributes")
        try:
            order = RestoreOrder.parse(value.decode("ascii"))
        except ValueError:
            raise InvalidArgument(f"{RESTORE} of {path} takes {ORDERS}") from None
        named = self._names.named(path)
        if isinstance(named, Entry) and named.is_directory:
            raise IsADirectory(path)
        if isinstance(named, OpenFile) and named.dirty:
            raise InvalidArgument(f"{path} has changes that are not stored: it is not archived")
        info = named.base if isinstance(named, OpenFile) else self._context.tree.info(path, named)
        assert info is not None, "a file that is stored has headers"
        self._context.archive.restore(info, path, order)

    def removexattr(self, path: str, name: str) -> None:
        self._check_xattr_name(name)
        _refuse_of_object(name)

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
        named = self._names.named(path)
        return named.attributes if isinstance(named, OpenFile) else self._names.attributes(path, named)

    def _change(self, path: str, change: Change) -> None:
        context = self._context
        context.check_writable()

        def stamped(old: Attributes) -> Attributes:
            return change(old).changed(context.now_ns())

        named = self._names.named(path)
        if isinstance(named, Entry) and named.is_directory:
            self._change_directory(path, named, stamped)
        else:
            self._changes.change(path, stamped)

    def _change_directory(self, path: str, entry: Entry, change: Change) -> None:
        context = self._context
        bare_root = path == "/" and not context.tree.keys.prefix
        local = context.tree.local_directory(path) is not None
        if not bare_root and not local:
            entry = entry._replace(info=context.tree.info(path, entry))
        attributes = change(self._names.attributes(path, entry))
        if bare_root:
            context.root_attributes = attributes
        elif local:
            context.tree.keep_locally(path, attributes)
        else:
            self._names.put_marker(path, attributes, entry)
        context.cache.directory_stored(path)


def _refuse_of_object(name: str) -> None:
    if name.startswith(OF_OBJECT):
        raise PermissionRefused(f"{name} tells of the object and cannot be changed")


def _time(wanted: Time, old_ns: int, now_ns: int) -> int:
    if isinstance(wanted, int):
        return wanted
    return now_ns if wanted is NOW else old_ns
