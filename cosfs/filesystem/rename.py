"""Rename: what rename(2) refuses, and files; directories are in rename_directory.py.

A file's rename is a copy on the server, with everything the object has, then a delete; a file that is not
stored yet just changes its path. That is not atomic on an object store (docs/SEMANTICS.md).
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Optional

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import (
    DirectoryNotEmpty,
    EntryExists,
    InvalidArgument,
    IsADirectory,
    NoEntry,
    NotADirectory,
    StaleHandle,
)
from cosfs.filesystem.attribute_changes import AttributeChanges
from cosfs.filesystem.context import Context
from cosfs.filesystem.files import FileOperations
from cosfs.filesystem.removals import RemovalOperations
from cosfs.filesystem.rename_directory import DirectoryRename
from cosfs.filesystem.table import OpenFileTable
from cosfs.namespace.entries import Entry
from cosfs.namespace.paths import is_inside

_HIDDEN_NAME = re.compile(r"/\.fuse_hidden[0-9a-f]{16}$")
"""What libfuse 2 calls an open file that it wants out of sight (fuse.c, hidden_name)."""


class RenameOperations:
    def __init__(self, context: Context, table: OpenFileTable, removals: RemovalOperations,
                 changes: AttributeChanges, files: FileOperations) -> None:
        self._context = context
        self._files = files
        self._table = table
        self._removals = removals
        self._changes = changes

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:
        self._context.check_writable()
        if old == new:
            return
        if _HIDDEN_NAME.search(new) and self._table.get(old) is not None:
            self._removals.hide(old, new)
            return
        if is_inside(new, old):
            raise InvalidArgument(f"{new} lies inside {old}")
        with self._files.pinned(old), self._files.pinned(new):
            self._rename(old, new, no_replace=no_replace)

    def _rename(self, old: str, new: str, *, no_replace: bool) -> None:
        source = self._entry(old)
        if source is None and self._table.get(old) is None:
            raise NoEntry(old)
        replaces = self._check_target(source is not None and source.is_directory, new, no_replace=no_replace)
        self._settle_copies(old, new, source)
        if source is not None and source.is_directory:
            self._changes.settle(old)
            target = self._context.tree.find(new) if replaces else None
            DirectoryRename(self._context, self._table, old, new).run(source, target)
            self._removals.removed(old)
        else:
            try:
                self._rename_file(old, new, source, replaces=replaces, no_replace=no_replace)
            except StaleHandle:
                if not self._changes.settle_file(old):
                    raise
                # Only a change of attributes waited on a version that is no more; it is on the present one now.
                self._rename_file(old, new, self._entry(old), replaces=replaces, no_replace=no_replace)
        self._context.touch_parent(old)
        self._context.touch_parent(new)

    def _settle_copies(self, old: str, new: str, source: Optional[Entry]) -> None:
        """What was copied from objects that are about to go, or to be replaced, is stored first."""
        keys, borrowed = self._context.tree.keys, self._context.borrowed
        if source is not None and source.is_directory:
            borrowed.settle_below(keys.directory_key(old))
            return
        file = self._table.get(old)
        if file is not None:
            borrowed.settle(file.key)
        elif source is not None:
            borrowed.settle(source.key)
        borrowed.settle(keys.file_key(new))

    def _entry(self, path: str) -> Optional[Entry]:
        """The stored entry; None for nothing and for a file that was not stored yet."""
        file = self._table.get(path)
        return None if file is not None and not file.stored else self._context.tree.find(path)

    def _check_target(self, source_is_directory: bool, new: str, *, no_replace: bool) -> bool:
        """Refuse what rename(2) refuses; returns whether there is a target to be replaced."""
        open_target = self._table.get(new)
        target = self._context.tree.find(new) if open_target is None else None
        if open_target is None and target is None:
            if source_is_directory:  # absence may be what a listing told a while ago: two trees must not be mixed
                self._check_absent(new)
            return False
        if no_replace:
            raise EntryExists(new)
        target_is_directory = target is not None and target.is_directory
        if source_is_directory and not target_is_directory:
            raise NotADirectory(new)
        if target_is_directory and not source_is_directory:
            raise IsADirectory(new)
        if target_is_directory:
            self._removals.check_empty(new)
        return True

    def _check_absent(self, new: str) -> None:
        try:
            self._removals.check_empty(new)
        except DirectoryNotEmpty:
            self._context.cache.forget(new)
            raise

    def _rename_file(self, old: str, new: str, source: Optional[Entry], *, replaces: bool, no_replace: bool) -> None:
        replaced = self._table.get(new)
        file = self._table.get(old)
        key = self._context.tree.keys.file_key(new)
        old_key = None
        # A commit of the replaced file must not come after ours.
        with self._context.deletes.replacing(key) as hidden, \
                replaced.settled() if replaced is not None else nullcontext():
            if replaced is not None and self._table.in_use(replaced):
                replaced.materialize()
            if file is not None:
                file.move(new, key, replaces=replaces or hidden,
                          on_stored=replaced.withdraw if replaced is not None else lambda: None)
            else:
                assert source is not None
                old_key = self._copy_file(old, new, source, no_replace=no_replace and not hidden)
            if replaced is not None:
                self._table.forget(new)
                replaced.detach(new)
        if file is not None:
            self._table.renamed(file, old)
        if old_key is None:
            self._removals.removed(old)
        else:
            self._removals.renamed(old, old_key)

    def _copy_file(self, old: str, new: str, source: Entry, *, no_replace: bool) -> str:
        """Copy what ``old`` is at this moment; returns the key that it was copied from.

        ``no_replace``: another host may have taken the name since it was seen to be free. Raises: ObjectExists.
        """
        context = self._context
        key = context.tree.keys.file_key(new)
        try:
            info = self._info(old, source)
            stored = context.copy(info, key, context.headers_of(info), forbid_overwrite=no_replace)
        except StaleHandle:
            info = self._info(old, context.tree.refresh(old))
            stored = context.copy(info, key, context.headers_of(info), forbid_overwrite=no_replace)
        context.name_changed(new, stored)
        context.cache.kernel_pages_moved(old, info.etag, stored.etag, new)
        return info.key

    def _info(self, path: str, entry: Optional[Entry]) -> ObjectInfo:
        info = None if entry is None or entry.is_directory else self._context.tree.info(path, entry)
        if info is None:
            raise NoEntry(path)
        return info
