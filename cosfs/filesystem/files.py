"""Operations on open files: open, create, read, write, truncate, flush, fsync, release.

Data is durable when ``flush`` (close) or ``fsync`` returns: they commit, and raise what went wrong. In writeback mode
they have the file safe on the local disk instead (writeback.py).
``release`` can report nothing, so it commits only what no flush saw (pages of a shared mapping that the
kernel wrote back after the last close).
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Callable, Iterator, Optional, Tuple

from cosfs.config import Conflict
from cosfs.cos.interface import ObjectInfo
from cosfs.errors import BadHandle, CosfsError, EntryExists, IsADirectory, NoEntry, StaleHandle
from cosfs.filesystem.context import Context
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import Handle, OpenFileTable
from cosfs.filesystem.types import Caller, Data, OpenResult, StillHeld, unknown_holders
from cosfs.filesystem.writeback import Writeback
from cosfs.namespace.attributes import decode_file, encode, stored_type
from cosfs.namespace.entries import Entry, entry_of_info

log = logging.getLogger(__name__)


class FileOperations:
    def __init__(self, context: Context, table: OpenFileTable, writeback: Optional[Writeback] = None) -> None:
        self._context = context
        self._table = table
        self._writeback = writeback
        self.before_open: Callable[[str], object] = lambda _: None
        """Called before a path is opened: what waits to be stored of its file has to be by then."""

    def open(self, path: str, flags: int) -> OpenResult:
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self._context.check_writable()
        handle = self._join(path, flags)
        if handle is not None:
            return self._begin(handle, keep=True)
        if flags & os.O_ACCMODE != os.O_RDONLY and not self._replaces_all(flags):
            self._check_current(path)
        return self._begin(*self._open_stored(path, flags))

    def _join(self, path: str, flags: int) -> Optional[Handle]:
        """A handle on a file that is open and has more than the bucket."""
        self.before_open(path)
        return self._table.join(path, flags, lambda file: file.dirty or file.detached)

    def hold(self, path: str) -> Tuple[Handle, bool]:
        """A handle that neither reads nor writes; and whether the kernel's pages are of the version that it is on."""
        known = self._context.cache.lookup(path)
        version = (known.key, known.etag) if isinstance(known, Entry) else None
        handle = self._table.join(path, os.O_PATH,
                                  lambda file: file.dirty or file.detached or file.version() == version)
        return self._open_stored(path, os.O_PATH) if handle is None else (handle, True)

    def _replaces_all(self, flags: int) -> bool:
        """Whether it does not matter which version is opened."""
        return bool(flags & os.O_TRUNC) and self._context.config.conflict is Conflict.OVERWRITE

    def _begin(self, handle: Handle, keep: bool) -> OpenResult:
        """What open(2) does to the content; the handle is given back when that fails."""
        try:
            if handle.flags & os.O_TRUNC:
                handle.file.truncate(0)
            elif not handle.writable and not keep:
                handle.file.begin_reading(handle.window)
        except BaseException as exc:
            self.release(handle.fh)
            if isinstance(exc, StaleHandle):
                self._let_go(handle.file)
            raise
        return OpenResult(handle.fh, keep)

    def _check_current(self, path: str) -> None:
        """See that what is going to be changed is still what the kernel was told of: it appends at the size it knows.

        One request, whatever is cached; none for a large object that was looked up a moment ago. What is stored of
        its changes is copied from the version that is open, and refused if that is gone.

        Raises: StaleHandle, with which the kernel looks the name up again.
        """
        context = self._context
        known = context.cache.lookup(path)
        entry = context.tree.lookup(path)
        if entry.is_directory:
            raise IsADirectory(path)
        told = known is None or (entry.size_bytes > context.uploader.limits.put_bytes
                                 and context.cache.just_told(path, entry.etag))
        info = (context.tree.info if told else context.tree.current_info)(path, entry)
        if info is None:
            raise NoEntry(path)
        if entry.etag not in ("", info.etag):
            current = self._table.get(path)
            if current is not None:
                self._let_go(current)
            raise StaleHandle(f"{path} has changed in the bucket")

    def _let_go(self, file: OpenFile) -> None:
        """Leave a version that was replaced in the bucket to its handles: the path means what is there now."""
        with file.settled():
            if not file.dirty and self._table.get(file.path) is file:
                self._table.forget(file.path)

    def _open_stored(self, path: str, flags: int) -> Tuple[Handle, bool]:
        context = self._context
        while True:
            current = self._table.get(path)
            # While a commit is under way, the cache and the open file may name different versions.
            with nullcontext() if current is None else current.settled():
                info = self._file_info(path)
                if not flags & (os.O_TRUNC | os.O_PATH):
                    # Listings read symbolic links.
                    context.archive.check(info, path, opens=stored_type(info) == stat.S_IFREG)
                if flags & os.O_ACCMODE != os.O_RDONLY:
                    # What cannot be stored with its attributes is refused now, not at close.
                    encode(decode_file(info, context.defaults), info.headers.metadata)
                handle = self._table.open(path, flags, partial(_is_current, info, current),
                                          partial(self._stored_file, path, info))
            if flags & (os.O_ACCMODE | os.O_TRUNC | os.O_PATH) == os.O_RDONLY:
                context.tree.headers.to_be_read(path, entry_of_info(info, is_directory=False))
            base = handle.file.base or info
            known = context.cache.lookup(path)
            if handle.file.dirty or not isinstance(known, Entry) or known.etag in ("", base.etag):
                break
            self.release(handle.fh)  # another thread stored a new version since we asked
        keep = context.cache.kernel_pages_are(path, base.etag)
        if not flags & os.O_PATH:  # the kernel was told nothing by that, and readers may be there
            handle.file.keep_cache = keep
        return handle, keep

    def _stored_file(self, path: str, info: ObjectInfo) -> OpenFile:
        return OpenFile(self._context, path, info.key, decode_file(info, self._context.defaults), info)

    def _file_info(self, path: str) -> ObjectInfo:
        entry = self._context.tree.lookup(path)
        if entry.is_directory:
            raise IsADirectory(path)
        self._context.tree.headers.opened(path)
        info = self._context.tree.info(path, entry)
        if info is None:
            raise NoEntry(path)
        return info

    def create(self, path: str, mode: int, flags: int, caller: Caller) -> OpenResult:
        """Make a new file. No request: the object is stored when the file is closed; or else (``create=eager``) one."""
        context = self._context
        context.check_writable()
        existing = self._table.get(path)
        if existing is not None or context.tree.find(path) is not None:
            if flags & os.O_EXCL:
                raise EntryExists(path)
            return self.open(path, flags)
        file = self.new_file(path, stat.S_IFREG | stat.S_IMODE(mode), caller, exclusive=bool(flags & os.O_EXCL))
        if context.config.eager_create:
            file.commit()
        handle = self._table.open(path, flags, lambda _: False, lambda: file)
        context.touch_parent(path)
        return OpenResult(handle.fh, keep_cache=True)

    def new_file(self, path: str, mode: int, caller: Caller, *, rdev: int = 0, exclusive: bool = False) -> OpenFile:
        context = self._context
        key = context.tree.keys.file_key(path)
        attributes = context.new_attributes(path, mode, caller, rdev=rdev)
        return OpenFile(context, path, key, attributes, None, exclusive=exclusive)

    def read(self, fh: int, offset: int, size: int) -> Data:
        handle = self._table.handle(fh)
        return handle.file.read(offset, size, handle.window.observe(offset, size))

    def write(self, fh: int, offset: int, data: Data, *, append: bool = False) -> int:
        handle = self._table.handle(fh)
        if not handle.writable:
            raise BadHandle(f"{handle.file.path} is open for reading only")
        handle.file.write(offset, data, append=append)
        return len(data)

    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        self._context.check_writable()
        if fh is not None:
            self._table.handle(fh).file.truncate(length)
            return
        with self.pinned(path):
            file = self._table.get(path)
            if file is not None:
                if length and file.base is not None and not file.content_dirty:
                    self._context.archive.check(file.base, path)
                file.truncate(length)
                if not self._table.has_writer(file):
                    self._commit_told(file)
                return
        handle, keep = self._open_stored(path, os.O_WRONLY if length else os.O_WRONLY | os.O_TRUNC)
        try:
            handle.file.truncate(length)
            self.flush(handle.fh)
        finally:
            self.release(handle.fh)
            if not keep:  # the kernel was not told of this open
                self._context.cache.kernel_pages_unknown(path)

    @contextmanager
    def pinned(self, path: str) -> Iterator[None]:
        """While inside, a file that waits for its upload stays in the table, though it may be stored meanwhile."""
        handle = None
        if self._writeback is not None:
            handle = self._table.join(path, os.O_PATH, lambda file: not file.detached)
        try:
            yield
        finally:
            if handle is not None:
                self.release(handle.fh)

    def flush(self, fh: int, still_held: StillHeld = unknown_holders) -> None:
        """Commit: close(2) waits for that and gets its error. A reader leaves it to the writers, if there are any.

        Shells open the file that output goes to, duplicate that, and close the first: an empty file is left to the
        close of the second then.

        What lacks the bytes of a failed write, after which nothing was changed, is not stored, as the error of that
        write comes again. (``fsync`` stores it: it makes room.)
        """
        handle = self._table.handle(fh)
        if handle.writable or not self._table.has_writer(handle.file):
            if handle.file.dirty and handle.file.cut_short is not None:
                handle.file.failure_told = True
                raise handle.file.cut_short
            if handle.writable and not handle.file.size_bytes and handle.file.dirty \
                    and self._table.is_only(handle) and still_held(handle.file.path):
                return
            self._commit_told(handle.file)

    def fsync(self, fh: int) -> None:
        self._commit_told(self._table.handle(fh).file)

    def _commit_told(self, file: OpenFile) -> None:
        """Commit for a caller who gets the error."""
        try:
            self.store(file)
        except CosfsError:
            file.failure_told = True
            raise

    def store(self, file: OpenFile) -> None:
        """Have what the bucket lacks in the bucket; in writeback mode, safe."""
        self._settle_copies(file)
        if self._writeback is None:
            file.commit()
        else:
            self._writeback.accept(file)

    def release(self, fh: int) -> None:
        """Forget a handle; the last one stores what no flush has seen, and frees the file's resources."""
        file = self._table.close(fh)
        if file is None:
            return
        self.commit_untold(file)
        if self._drop(file):
            file.close()

    def _drop(self, file: OpenFile) -> bool:
        return self._table.drop(file) if self._writeback is None else self._table.drop(file, self._writeback.keeps)

    def _settle_copies(self, file: OpenFile) -> None:
        """Files that were copied from the stored version of one that is going to be stored again are stored first."""
        if file.dirty:
            self._context.borrowed.settle(file.key)

    def commit_untold(self, file: OpenFile) -> None:
        """Commit where nobody can be told of an error but by the log."""
        try:
            if file.cut_short is not None:
                raise file.cut_short
            self.store(file)
        except CosfsError as exc:
            if file.failure_told:
                log.warning("%s is not stored, as its close or fsync was told: %s", file.path, exc)
            else:
                log.error("%s: what was written after the last close is lost (%d bytes in all): %s",
                          file.path, file.size_bytes, exc)


def _is_current(info: ObjectInfo, seen: Optional[OpenFile], file: OpenFile) -> bool:
    """Whether to join a file; one that was opened since ``info`` was asked for may be newer than that."""
    return file.dirty or file is not seen or (file.version() == (info.key, info.etag) and not file.corrupted)
