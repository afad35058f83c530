"""The control folder ``.cosfs`` in the root of a mount: a filesystem with files that tell of it and steer it.

It is in no listing, so nothing walks into it, and what is in it cannot be made, removed or renamed. Keys below
``.cosfs/`` in the bucket are out of reach. What the files are is in control_files.py.

To all other paths it costs one comparison of strings, to reads and writes one of numbers. The files have no size, like
those of proc(5): the kernel is told to ask for bytes until there are no more (``direct_io``), and these are what the
file told when it was opened.

Threading: any thread.
"""

from __future__ import annotations

import itertools
import logging
import os
import stat
import threading
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectClient, VersionedClient
from cosfs.errors import (
    BadHandle,
    InvalidArgument,
    NoAttribute,
    NoEntry,
    NotADirectory,
    NotSupported,
    PermissionRefused,
)
from cosfs.filesystem.control_files import BY_LINE, MODES, ControlFiles
from cosfs.filesystem.status import Values
from cosfs.filesystem.types import Attr, Caller, Data, Dirent, OpenResult, Purpose, StillHeld, Time, unknown_holders
from cosfs.filesystem.versions_folder import VersionedFilesystem
from cosfs.metrics import About, Refusals, RequestMeter
from cosfs.units import KIB

log = logging.getLogger(__name__)

NAME = ".cosfs"
FOLDER = "/" + NAME
_FIRST_HANDLE = 1 << 62
"""Far above those of files."""
_LONGEST_LINE_BYTES = 64 * KIB
"""Of paths the kernel takes 4 KiB."""


@dataclass
class _Opened:
    """``content``: at that time. ``rest``: the begin of a line that was written, and is not complete."""

    name: str
    content: bytes
    rest: bytes = b""


class ControlledFilesystem(VersionedFilesystem):
    """A filesystem with the control folder. ``meter``: of the client's requests; ``refusals``: of programs."""

    def __init__(self, client: ObjectClient, config: FilesystemConfig, meter: RequestMeter, about: About,
                 refusals: Optional[Refusals] = None, *, versions: Optional[VersionedClient] = None) -> None:
        super().__init__(client, config, versions)
        self.tell_mount_point(about.mount_point.rstrip("/"))
        self._owner = config.default_uid if config.uid is None else config.uid
        self._group = config.default_gid if config.gid is None else config.gid
        self._control = ControlFiles(self.status, self.refresh, meter, about, refusals=refusals)
        self._opened: Dict[int, _Opened] = {}
        self._handles = itertools.count(_FIRST_HANDLE)
        self._hiding = threading.Event()
        """Set when the log was told that a name of the bucket is hidden."""

    def stats(self) -> Values:
        """What the file ``stats`` tells."""
        return self._control.stats()

    def getattr(self, path: str, fh: Optional[int] = None, *,
                purpose: Callable[[], Purpose] = lambda: Purpose.UNKNOWN) -> Attr:
        if path.startswith(FOLDER) and _is_ours(path):
            return self._attr(stat.S_IFDIR | 0o500 if path == FOLDER else stat.S_IFREG | MODES[_name(path)])
        if fh is not None and fh >= _FIRST_HANDLE:
            return self._attr(stat.S_IFREG | MODES[self._handle(fh).name])
        return super().getattr(path, fh, purpose=purpose)

    def readdir(self, path: str) -> List[Dirent]:
        if path == FOLDER:
            return [Dirent(name, stat.S_IFREG) for name in MODES]
        _refuse_folder(path)
        found = super().readdir(path)
        if path == "/" and any(entry.name == NAME for entry in found):
            if not self._hiding.is_set():
                self._hiding.set()
                log.warning("%s in the bucket cannot be seen: the mount has its control folder there", NAME)
            return [entry for entry in found if entry.name != NAME]
        return found

    def open(self, path: str, flags: int) -> OpenResult:
        if not _is_ours(path):
            return super().open(path, flags)
        name = _name(path)
        readable, writable = MODES[name] & 0o400, MODES[name] & 0o200
        writes, reads = flags & os.O_ACCMODE != os.O_RDONLY, flags & os.O_ACCMODE != os.O_WRONLY
        if (writes and not writable) or (reads and not readable):  # root is not asked for modes
            raise PermissionRefused(f"{path} cannot be {'written to' if writes and not writable else 'read'}")
        fh = next(self._handles)
        self._opened[fh] = _Opened(name, self._control.content(name))
        return OpenResult(fh, keep_cache=False, direct_io=True)

    def read(self, fh: int, offset: int, size: int) -> Data:
        if fh >= _FIRST_HANDLE:
            return self._handle(fh).content[offset:offset + size]
        return super().read(fh, offset, size)

    def write(self, fh: int, offset: int, data: Data, *, append: bool = False) -> int:
        if fh < _FIRST_HANDLE:
            return super().write(fh, offset, data, append=append)
        opened, text = self._handle(fh), bytes(data)
        if opened.name == BY_LINE:  # a long list comes in pieces that end anywhere
            lines, end, rest = text.rpartition(b"\n")
            text, opened.rest = (opened.rest + lines + end if end else b""), (rest if end else opened.rest + rest)
        if len(opened.rest) > _LONGEST_LINE_BYTES:
            opened.rest = b""
            raise InvalidArgument("no end of a line")
        self._command(opened, text)
        return len(data)

    def flush(self, fh: int, *, still_held: StillHeld = unknown_holders) -> None:
        """Of a control file: the last line may be without an end."""
        if fh < _FIRST_HANDLE:
            super().flush(fh, still_held=still_held)
            return
        opened = self._handle(fh)
        text, opened.rest = opened.rest, b""
        self._command(opened, text)

    def _command(self, opened: _Opened, text: bytes) -> None:
        if text:
            self._control.command(opened.name, text.decode("utf-8", "surrogateescape"))

    def fsync(self, fh: int) -> None:
        if fh < _FIRST_HANDLE:
            super().fsync(fh)

    def release(self, fh: int) -> None:
        if fh < _FIRST_HANDLE:
            super().release(fh)
        else:
            self._opened.pop(fh, None)

    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        """Of a control file: what was written is done already, and there is nothing to cut."""
        if fh is not None and fh >= _FIRST_HANDLE:
            return
        if not _is_ours(path):
            super().truncate(path, length, fh)
        elif not MODES[_name(path)] & 0o200:
            raise PermissionRefused(path)

    def copy_range(self, fh_in: int, offset_in: int, fh_out: int, offset_out: int, length: int) -> int:
        if max(fh_in, fh_out) >= _FIRST_HANDLE:
            raise NotSupported("control files are read and written")
        return super().copy_range(fh_in, offset_in, fh_out, offset_out, length)

    def create(self, path: str, mode: int, flags: int, caller: Caller) -> OpenResult:
        _refuse(path)
        return super().create(path, mode, flags, caller)

    def unlink(self, path: str) -> None:
        _refuse(path)
        super().unlink(path)

    def mkdir(self, path: str, mode: int, caller: Caller) -> None:
        _refuse(path)
        super().mkdir(path, mode, caller)

    def rmdir(self, path: str) -> None:
        _refuse(path)
        super().rmdir(path)

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:
        _refuse(old)
        _refuse(new)
        super().rename(old, new, no_replace=no_replace)

    def symlink(self, path: str, target: str, caller: Caller) -> None:
        _refuse(path)
        super().symlink(path, target, caller)

    def mknod(self, path: str, mode: int, rdev: int, caller: Caller) -> None:
        _refuse(path)
        super().mknod(path, mode, rdev, caller)

    def chmod(self, path: str, mode: int) -> None:
        _refuse(path)
        super().chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        _refuse(path)
        super().chown(path, uid, gid)

    def utimens(self, path: str, atime: Time, mtime: Time) -> None:
        _refuse(path)
        super().utimens(path, atime, mtime)

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        _refuse(path)
        super().setxattr(path, name, value, flags)

    def removexattr(self, path: str, name: str) -> None:
        _refuse(path)
        super().removexattr(path, name)

    def getxattr(self, path: str, name: str) -> bytes:
        if _is_ours(path):
            raise NoAttribute(f"{path} has none")
        return super().getxattr(path, name)

    def listxattr(self, path: str) -> List[str]:
        return [] if _is_ours(path) else super().listxattr(path)

    def _attr(self, mode: int) -> Attr:
        time_ns = self.started_ns
        return Attr(mode, self._owner, self._group, 0, time_ns, time_ns, time_ns)

    def _handle(self, fh: int) -> _Opened:
        opened = self._opened.get(fh)
        if opened is None:
            raise BadHandle(f"no file handle {fh}")
        return opened


def _is_ours(path: str) -> bool:
    return path.startswith(FOLDER) and path[len(FOLDER):len(FOLDER) + 1] in ("", "/")


def _name(path: str) -> str:
    """The control file that a path names. Raises: NoEntry."""
    name = path[len(FOLDER) + 1:]
    if name not in MODES:
        raise NoEntry(path)
    return name


def _refuse(path: str) -> None:
    """Raises: PermissionRefused, for a path of the control folder."""
    if _is_ours(path):
        raise PermissionRefused(f"{path} belongs to the mount itself")


def _refuse_folder(path: str) -> None:
    """Raises: NotADirectory, NoEntry, for a path in the control folder."""
    if _is_ours(path):
        raise NotADirectory(f"{path}/{_name(path)}")
