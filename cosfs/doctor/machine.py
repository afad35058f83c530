"""This machine: versions, FUSE, the mount point, and the folders with their free space. Nothing here asks the network.

Nothing is left behind: what a mount would make is not made, but for an empty folder that is removed at once.
"""

from __future__ import annotations

import os
import platform
import tempfile
from typing import List, Optional

from cosfs.config import MountConfig
from cosfs.doctor.findings import Check, Outcome, failure, ok, skipped, warning
from cosfs.doctor.updatedb import look_at_updatedb
from cosfs.fuse_library import find_binding
from cosfs.preflight import (
    FUSE_DEVICE,
    MountError,
    check_allow_other,
    check_cache_folder,
    check_device,
    check_helper,
    check_mime_file,
    check_mount_point,
    check_staging_folder,
    find_helper,
)
from cosfs.state import bucket_folder, cache_folder
from cosfs.units import GIB, MIB
from cosfs.version import __version__

FUSE = "FUSE"
LOCAL = "This machine"
LOCAL_LIMIT_S = 5.0
"""For a folder to be looked at, also one of a busy server's."""


class Machine:
    """The checks. ``with_mount_point``: one was given; else that of ``config`` means nothing."""

    def __init__(self, config: MountConfig, *, with_mount_point: bool) -> None:
        self._config = config
        self._with_mount_point = with_mount_point

    def checks(self) -> List[Check]:
        point = self._config.mount_point
        hung = (f"{point} does not answer: what is mounted there hangs; end its process, and clear it with: "
                f"{'umount -l' if os.geteuid() == 0 else 'fusermount -uz'} {point}")
        return [
            Check(FUSE, "device", self._device),
            Check(FUSE, "libfuse 2", lambda: self._library(2)),
            Check(FUSE, "libfuse 3", lambda: self._library(3)),
            Check(FUSE, "fusermount", self._helper),
            Check(FUSE, "allow_other", self._allow_other),
            Check(LOCAL, "versions", self._versions),
            Check(LOCAL, "mount point", self._mount_point, limit_s=LOCAL_LIMIT_S, late=hung),
            Check(LOCAL, "tmpdir", self._staging),
            Check(LOCAL, "use_cache", self._cache),
            Check(LOCAL, "state_dir", self._state),
            Check(LOCAL, "logfile", self._log_file),
            *([Check(LOCAL, "mime", self._mime_file)] if self._config.mime_file else []),
            Check(LOCAL, "updatedb", self._updatedb),
        ]

    def _device(self) -> Outcome:
        check_device()
        return ok(f"{FUSE_DEVICE} can be opened")

    def _library(self, version: int) -> Outcome:
        wanted = self._config.libfuse
        try:
            binding = find_binding(version)
        except MountError as exc:
            if wanted == version or (wanted is None and version == 2 and not self._has_library(3)):
                raise
            text, _, advice = str(exc).partition("; ")
            return skipped(f"{text}; a mount uses libfuse {5 - version}", f"to use it, {advice}")
        used = wanted in (None, version) and find_binding(wanted) is binding
        return ok("there, with its Python package" + ("; a mount uses it" if used else ""))

    @staticmethod
    def _has_library(version: int) -> bool:
        try:
            find_binding(version)
        except MountError:
            return False
        return True

    def _helper(self) -> Outcome:
        check_helper()
        return ok(find_helper() or "not there; root mounts without")

    def _allow_other(self) -> Outcome:
        if not self._config.filesystem.allow_other:
            return skipped("not asked for")
        check_allow_other()
        return ok("root may" if os.geteuid() == 0 else "user_allow_other is set")

    def _versions(self) -> Outcome:
        return ok(f"cosfs {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}")

    def _mount_point(self) -> Outcome:
        if not self._with_mount_point:
            return skipped("not given", "name MOUNTPOINT as the second word to have it looked at")
        path = self._config.mount_point
        try:
            check_mount_point(path, nonempty=self._config.nonempty)
        except MountError as exc:
            found = failure(str(exc))
            return warning(found.text, found.advice) if "is mounted already" in found.text else found
        return ok(f"{path} is {'there' if self._config.nonempty else 'an empty folder'}")

    def _staging(self) -> Outcome:
        folder = self._config.filesystem.staging_folder
        check_staging_folder(folder)
        return self._space(folder, "tmpdir=", "files cannot be written")

    def _cache(self) -> Outcome:
        folder = self._config.cache_folder
        if folder is None:
            return skipped("not asked for")
        connection = self._config.connection
        if os.path.isdir(cache_folder(folder, connection.url, connection.bucket)):
            check_cache_folder(folder, connection)
        else:
            reason = _refusal(folder)
            if reason:
                raise MountError(f"the data cache cannot be kept in {folder} ({reason}); give another use_cache=, or "
                                 "none")
        return self._space(folder, "use_cache=", "nothing is kept")

    def _state(self) -> Outcome:
        config = self._config
        folder = bucket_folder(config.state_folder, config.connection.url, config.connection.bucket)
        reason = _refusal(folder)
        if not reason:
            return ok(folder)
        text = f"nothing can be kept in {folder} ({reason})"
        if config.filesystem.writeback_delay_s is not None:
            raise MountError(f"{text}, and writeback needs it; give another state_dir=, or leave writeback out")
        return warning(f"{text}: what a crash cuts off cannot be finished", "give another state_dir=")

    def _log_file(self) -> Outcome:
        path = self._config.log_file
        if path is None:
            return skipped("not given; a mount logs to syslog, with -f to standard error")
        reason = _refusal(os.path.dirname(path))
        if os.path.isdir(path) or (os.path.exists(path) and not os.access(path, os.W_OK)):
            reason = "it cannot be opened for writing"
        if reason:
            raise MountError(f"log file {path} cannot be written to ({reason}); give another logfile=")
        return ok(path)

    def _mime_file(self) -> Outcome:
        path = str(self._config.mime_file)
        check_mime_file(path)
        return ok(path)

    def _updatedb(self) -> Outcome:
        config = self._config
        return look_at_updatedb(config.mount_point if self._with_mount_point else None,
                                let_in=os.geteuid() == 0 or config.filesystem.allow_other,
                                guarded=any(name.startswith("updatedb") for name in config.scanners))

    def _space(self, folder: str, option: str, effect: str) -> Outcome:
        """Free space on the disk of ``folder``, or of the folder that it would be made in."""
        found = os.statvfs(_nearest(folder))
        free_bytes, reserve_bytes = found.f_bavail * found.f_frsize, self._config.filesystem.staging_reserve_bytes
        text = f"{folder}, {_size(free_bytes)} free"
        if free_bytes > reserve_bytes:
            return ok(text)
        return warning(f"{text}, of which ensure_diskfree keeps {_size(reserve_bytes)}: {effect}",
                       f"remove something, or give another {option}")


def _nearest(folder: str) -> str:
    """The folder, or the nearest one above it that exists."""
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def _refusal(folder: str) -> Optional[str]:
    """Why nothing can be kept there; None when it can. Tries it, as permissions do not tell all."""
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".cosfs-doctor-", dir=_nearest(folder)))
    except OSError as exc:
        return exc.strerror
    return None


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
