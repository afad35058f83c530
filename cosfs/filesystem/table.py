"""The open-file table: which files are open, under which path, and through which handles.

Threading: one lock over dictionary work only. Whoever opens or removes the same path at the same time is
serialised by the kernel (it holds the folder's lock) and by libfuse's locks on paths.
"""

from __future__ import annotations

import itertools
import os
import threading
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, List, Optional

from cosfs.errors import BadHandle, StaleHandle
from cosfs.filesystem.openfile import OpenFile
from cosfs.namespace.paths import is_inside, split
from cosfs.reading.window import DEFAULT_LIMITS, AccessWindow, WindowLimits


@dataclass(frozen=True)
class Handle:
    """One open(2). ``window`` follows its pattern of reads."""

    fh: int
    file: OpenFile
    flags: int
    window: AccessWindow

    @property
    def writable(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY


class OpenFileTable:
    def __init__(self, window_limits: WindowLimits = DEFAULT_LIMITS) -> None:
        self._window_limits = window_limits
        self._lock = threading.Lock()
        self._by_path: Dict[str, OpenFile] = {}
        self._handles: Dict[int, Handle] = {}
        self._counts: Dict[OpenFile, int] = {}
        self._numbers = itertools.count(1)

    def join(self, path: str, flags: int, accept: Callable[[OpenFile], bool]) -> Optional[Handle]:
        """A handle on the file that is open at ``path``, if there is one and ``accept`` takes it.

        Raises: StaleHandle for a file that was removed and closed since the kernel looked it up: the kernel repeats
        the lookup then.
        """
        with self._lock:
            file = self._by_path.get(path)
            if file is not None and file.detached and not self._counts.get(file):
                raise StaleHandle(f"{path} was removed")
            return self._add_locked(file, flags) if file is not None and accept(file) else None

    def open(self, path: str, flags: int, accept: Callable[[OpenFile], bool],
             make: Callable[[], OpenFile]) -> Handle:
        """Like ``join``; makes the file when there is none to join, or one that does not do."""
        with self._lock:
            file = self._by_path.get(path)
            if file is None or not accept(file):
                file = self._by_path[path] = make()
                file.on_renamed = partial(self.renamed, file)
            return self._add_locked(file, flags)

    def _add_locked(self, file: OpenFile, flags: int) -> Handle:
        handle = Handle(next(self._numbers), file, flags, AccessWindow(self._window_limits))
        self._handles[handle.fh] = handle
        self._counts[file] = self._counts.get(file, 0) + 1
        return handle

    def handle(self, fh: int) -> Handle:
        handle = self._handles.get(fh)
        if handle is None:
            raise BadHandle(f"no file handle {fh}")
        return handle

    def close(self, fh: int) -> Optional[OpenFile]:
        """Forget a handle. Returns its file if no other is left; the path keeps it until ``drop``."""
        with self._lock:
            file = self.handle(fh).file
            del self._handles[fh]
            self._counts[file] -= 1
            return None if self._counts[file] else file

    def drop(self, file: OpenFile, is_kept: Callable[[OpenFile], bool] = lambda _: False) -> bool:
        """Take a file without handles out of the table; False when it was opened again meanwhile.

        ``is_kept``, which is asked under the lock, says that somebody else needs it: who opened the file, changed and
        closed it has told them before the last handle was gone.
        """
        with self._lock:
            if self._counts.get(file) or is_kept(file):
                return False
            self._counts.pop(file, None)
            # The hidden name of a removed file stays until libfuse removes that too (``forget``).
            if self._by_path.get(file.path) is file and not file.detached:
                del self._by_path[file.path]
            return True

    def get(self, path: str) -> Optional[OpenFile]:
        """The file that is open at ``path``."""
        return self._by_path.get(path)

    def open_count(self) -> int:
        """How many handles may read or write."""
        with self._lock:
            return sum(not handle.flags & os.O_PATH for handle in self._handles.values())

    def has_writer(self, file: OpenFile) -> bool:
        """Whether some handle will commit the file when it is closed."""
        with self._lock:
            return any(handle.file is file and handle.writable for handle in self._handles.values())

    def is_only(self, handle: Handle) -> bool:
        """Whether its file has no other handle."""
        with self._lock:
            return self._counts.get(handle.file) == 1

    def in_use(self, file: OpenFile) -> bool:
        """Whether some handle may read or write it."""
        with self._lock:
            return any(handle.file is file and not handle.flags & os.O_PATH for handle in self._handles.values())

    def renamed(self, file: OpenFile, old_path: str) -> None:
        """Move a file to the path that it has taken on, if it is still open."""
        with self._lock:
            if self._by_path.get(old_path) is file:
                del self._by_path[old_path]
            if file in self._counts:
                self._by_path[file.path] = file

    def forget(self, path: str) -> Optional[OpenFile]:
        """Take the file away from its path; handles keep it."""
        with self._lock:
            return self._by_path.pop(path, None)

    def children(self, directory: str) -> List[OpenFile]:
        """Attached files that are open directly in a directory."""
        with self._lock:
            return [file for path, file in self._by_path.items()
                    if not file.detached and split(path)[0] == directory]

    def inside(self, directory: str, *, detached: bool = False) -> List[OpenFile]:
        """Attached files, or else hidden ones, that are open anywhere below a directory."""
        with self._lock:
            return [file for path, file in self._by_path.items()
                    if file.detached == detached and is_inside(path, directory)]

    def all(self) -> List[OpenFile]:
        """Those too whose path another version has taken."""
        with self._lock:
            return list(dict.fromkeys([*self._by_path.values(), *self._counts]))
