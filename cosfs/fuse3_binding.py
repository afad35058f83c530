"""mfusepy, on libfuse 3: the other binding (``cosfs-fuse[fuse3]``). The only module that imports ``mfusepy``.

Beside fuse_binding.py a mount has writes and reads of 1 MiB, flags of rename, and copies inside the mount that the
server does (``copy_file_range``).

libfuse handles SIGTERM and SIGINT, which unmount, and SIGHUP, too, where signals.py has not blocked it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import partial
from typing import Any, Callable, Dict, FrozenSet, Tuple

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")  # where both are installed mfusepy would take libfuse 2
import mfusepy

from cosfs.config import FuseOptions
from cosfs.fuse_callbacks import THREADS, Callbacks

if mfusepy.fuse_version_major != 3:
    raise OSError(f"mfusepy has found libfuse {mfusepy.fuse_version_major}")

__all__ = ["COPIES", "caller_ids", "run"]

COPIES = True

_AUTO_INVAL_DATA, _SPLICE, _READDIRPLUS, _HANDLE_KILLPRIV = 1 << 12, 7 << 7, 3 << 13, 1 << 20
"""FUSE_CAP_... (fuse_common.h)."""
_UNWANTED = _AUTO_INVAL_DATA | _SPLICE | _READDIRPLUS | _HANDLE_KILLPRIV
"""What libfuse 3 asks of the kernel by itself. A new time does not mean new content here, and ``keep_cache`` says what
does; splicing costs copies when the bytes go to Python; a listing with attributes would ask for those of every file;
and taking away set-user-id bits on writing is left to the kernel."""

_GONE = frozenset(["big_writes", "atomic_o_trunc", "nonempty", "async_read", "noauto_cache"])
"""Options of libfuse 2 that are always so in libfuse 3."""
_OF_CONNECTION = ("max_write", "max_readahead", "max_background", "congestion_threshold")
"""Options of libfuse 2 that are fields of ``struct fuse_conn_info`` in libfuse 3; max_read is one, too, and must stand
in both places (fuse_common.h)."""
_ASYNC_READ = 1 << 0
_SET_IN_INIT = frozenset(["sync_read", "direct_io"])
"""Options of libfuse 2 that libfuse 3 is told of by ``init``."""

_LOOP_ENDED = 8
"""What fuse_main_real returns when a signal has ended the loop (libfuse 3, helper.c)."""


class _Fuse(Callbacks, mfusepy.FUSE):  # type: ignore[misc]  # mfusepy is not typed strictly
    _stat_type = mfusepy.c_stat
    _filler_flags = (0,)
    # mfusepy looks for these names first.
    init_fuse_3 = getattr_fuse_3 = readdir_fuse_3 = chmod_fuse_3 = chown_fuse_3 = truncate_fuse_3 = None
    utimens_fuse_3 = rename_fuse_3 = None

    def __init__(self, operations: Callable[..., Any], mount_point: str, read_ahead_bytes: int,
                 connection: Dict[str, int], in_init: FrozenSet[str], **options: Any) -> None:
        self._connection = connection
        self._in_init = in_init
        self._kept = threading.local()
        self._threads_left = THREADS
        self._prepare(operations, mount_point, read_ahead_bytes)
        self._began = False
        try:
            super().__init__(_Named(operations), mount_point, raw_fi=True, **options)
        except RuntimeError as exc:
            if not self._began or exc.args != (_LOOP_ENDED,):
                raise

    def _wrapper(self, function: Callable[..., Any], *args: Any) -> int:  # type: ignore[override]
        if not hasattr(self._kept, "state"):
            self._keep_state()
        return super()._wrapper(function, *args)

    def _keep_state(self) -> None:
        """Have Python keep its state of this thread, which libfuse has made and will not end before the mount does."""
        self._kept.state = True
        if self._threads_left > 0:
            self._threads_left -= 1
            ctypes.pythonapi.PyGILState_Ensure()

    def init(self, conn: Any, config: Any = None) -> None:
        self._began = True
        info = conn.contents
        info.want &= ~(_UNWANTED | (_ASYNC_READ if "sync_read" in self._in_init else 0))
        config.contents.direct_io |= "direct_io" in self._in_init
        for name, value in self._connection.items():
            setattr(info, name, min(value, getattr(info, name)) if name == "max_readahead" else value)
        super().init(conn, config)

    def copy_file_range(self, path_in: bytes, fip_in: Any, offset_in: int, path_out: bytes, fip_out: Any,
                        offset_out: int, length: int, flags: int) -> int:
        copied: int = self._call("copy_file_range", path_out, fip_in.contents, offset_in, fip_out.contents, offset_out,
                                 length)
        return copied


class _Named:
    """Operations as mfusepy calls them: as methods, each of which is a call of ``operations(name, ...)``."""

    use_ns = True

    def __init__(self, operations: Callable[..., Any]) -> None:
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        getattr(self._operations, name)  # AttributeError says which there are
        return partial(self._operations, name)


def caller_ids() -> Tuple[int, int, int]:
    """User, group and thread id of whoever made the request that this thread serves; 0 for an id out of sight."""
    uid, gid, tid = mfusepy.fuse_get_context()
    return uid, gid, tid


def run(operations: Callable[..., Any], mount_point: str, *, foreground: bool, threads: bool, options: FuseOptions,
        read_ahead_bytes: int = 0) -> None:
    """Mount, and serve until unmounted (``Binding.run``)."""
    connection = {name: int(options[name]) for name in _OF_CONNECTION if name in options}
    in_init = _SET_IN_INIT & options.keys()
    gone = _GONE | in_init | connection.keys()
    kept = {name: value for name, value in options.items() if name not in gone}
    if "max_read" in options:
        connection["max_read"] = int(options["max_read"])
    kept["max_idle_threads"] = THREADS
    if (mfusepy.fuse_version_major, mfusepy.fuse_version_minor) >= (3, 12):
        kept["max_threads"] = THREADS
    _Fuse(operations, mount_point, read_ahead_bytes, connection, in_init, foreground=foreground, nothreads=not threads,
          **kept)
