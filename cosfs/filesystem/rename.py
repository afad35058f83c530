"""Rename: a copy on the server, then a delete; a file that is not stored yet just changes its path.

A file's copy carries everything the object has. A directory is renamed by copying every key below it, in
parallel, and deleting the old ones only when all copies are there; if a copy fails, the copies that were
made are deleted and nothing has changed. Neither is atomic on an object store (docs/SEMANTICS.md).
"""

from __future__ import annotations

import logging
import re
from contextlib import nullcontext
from typing import Dict, List, Optional, Sequence

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import (
    CosException,
    CosfsError,
    CosServiceError,
    InvalidArgument,
    IsADirectory,
    NoEntry,
    NotADirectory,
    ObjectNotFound,
    StaleHandle,
    service_error,
)
from cosfs.executor import wait_all
from cosfs.filesystem.context import Context
from cosfs.filesystem.names import NameOperations
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import OpenFileTable
from cosfs.namespace.caches import Entry
from cosfs.namespace.paths import is_inside
from cosfs.units import MAX_LIST_KEYS

log = logging.getLogger(__name__)

_HIDDEN_NAME = re.compile(r"/\.fuse_hidden[0-9a-f]{16}$")
"""What libfuse 2 calls an open file that it wants out of sight (fuse.c, hidden_name)."""


class RenameOperations:
    def __init__(self, context: Context, table: OpenFileTable, names: NameOperations) -> None:
        self._context = context
        self._table = table
        self._names = names

    def rename(self, old: str, new: str) -> None:
        self._context.check_writable()
        if old == new:
            return
        if _HIDDEN_NAME.search(new) and self._table.get(old) is not None:
            self._names.hide(old, new)
            return
        if is_inside(new, old):
            raise InvalidArgument(f"{new} lies inside {old}")
        source = self._entry(old)
        if source is None and self._table.get(old) is None:
            raise NoEntry(old)
        replaces = self._check_target(source is not None and source.is_directory, new)
        if source is not None and source.is_directory:
            self._rename_directory(old, new, source)
        else:
            self._rename_file(old, new, source, replaces=replaces)
        self._context.touch_parent(old)
        self._context.touch_parent(new)

    def _entry(self, path: str) -> Optional[Entry]:
        """The stored entry; None for nothing and for a file that was not stored yet."""
        file = self._table.get(path)
        return None if file is not None and not file.stored else self._context.tree.find(path)

    def _check_target(self, source_is_directory: bool, new: str) -> bool:
        """Refuse what rename(2) refuses; returns whether there is a target to be replaced."""
        open_target = self._table.get(new)
        target = self._context.tree.find(new) if open_target is None else None
        if open_target is None and target is None:
            return False
        target_is_directory = target is not None and target.is_directory
        if source_is_directory and not target_is_directory:
            raise NotADirectory(new)
        if target_is_directory and not source_is_directory:
            raise IsADirectory(new)
        if target_is_directory:
            self._names.check_empty(new)
        return True

    # Files

    def _rename_file(self, old: str, new: str, source: Optional[Entry], *, replaces: bool) -> None:
        replaced = self._table.get(new)
        file = self._table.get(old)
        key = self._context.tree.keys.file_key(new)
        old_key = None
        # A commit of the replaced file must not come after ours.
        with self._context.deletes.replacing(key) as hidden, \
                replaced.settled() if replaced is not None else nullcontext():
            if replaced is not None:
                replaced.materialize()
            if file is not None:
                file.move(new, key, replaces=replaces or hidden)
            else:
                assert source is not None
                old_key = self._copy_file(old, new, source)
            if replaced is not None:
                self._table.forget(new)
                replaced.detach(new)
        if file is not None:
            self._table.renamed(old, file)
        if old_key is not None:
            self._context.client.delete_object(old_key)
        self._names.removed(old)

    def _copy_file(self, old: str, new: str, source: Entry) -> str:
        """Copy what ``old`` is at this moment; returns the key that it was copied from."""
        context = self._context
        key = context.tree.keys.file_key(new)
        try:
            info = self._info(old, source)
            stored = context.copy(info, key, context.headers_of(info))
        except StaleHandle:
            info = self._info(old, context.tree.refresh(old))
            stored = context.copy(info, key, context.headers_of(info))
        context.name_changed(new, stored)
        return info.key

    def _info(self, path: str, entry: Optional[Entry]) -> ObjectInfo:
        info = None if entry is None or entry.is_directory else self._context.tree.info(path, entry)
        if info is None:
            raise NoEntry(path)
        return info

    # Directories

    def _rename_directory(self, old: str, new: str, source: Entry) -> None:
        context = self._context
        context.deletes.settle()
        old_prefix = context.tree.keys.directory_key(old)
        new_prefix = context.tree.keys.directory_key(new)
        open_files = self._table.inside(old)
        open_keys = {file.key for file in open_files if file.stored}
        keys = {row.key for row in context.tree.walk(old_prefix)} | context.tree.own_keys(old)
        closed = {key: new_prefix + key[len(old_prefix):] for key in keys if key not in open_keys}
        if not source.key.endswith("/"):
            closed[source.key] = new_prefix
        if len(keys) > MAX_LIST_KEYS:
            log.info("renaming %s to %s: %d objects", old, new, len(keys))
        copied = self._copy_all(closed)
        try:
            self._move_open_files(open_files, old, new)
        except BaseException:
            self._undo([info.key for info in copied.values()])
            raise
        try:
            self._delete_all(list(copied))
        finally:
            context.cache.forget_tree(old)
            context.cache.forget_tree(new)
            infos = list(copied.values()) + [file.base for file in open_files if file.base is not None]
            context.cache.changed_all(context.tree.entries(new, infos))
        local = context.tree.local_directory(old)
        if local is not None:
            context.tree.keep_locally(new, local)
            context.tree.forget_locally(old)
        self._names.removed(old)

    def _move_open_files(self, files: Sequence[OpenFile], old: str, new: str) -> None:
        """Move files from below ``old`` to below ``new``. If one fails, those that had moved go back."""
        for index, file in enumerate(files):
            try:
                self._move_open_file(file, old, new)
            except BaseException:
                for moved in files[:index]:
                    try:
                        self._move_open_file(moved, new, old)
                    except CosfsError as exc:
                        log.error("an unfinished rename left the open file %s behind: %s", moved.path, exc)
                raise
        for hidden in self._table.inside(old, detached=True):
            old_path = hidden.path
            hidden.detach(new + old_path[len(old):])
            self._table.renamed(old_path, hidden)

    def _move_open_file(self, file: OpenFile, old: str, new: str) -> None:
        path = new + file.path[len(old):]
        old_path = file.path
        file.move(path, self._context.tree.keys.file_key(path), replaces=False)
        self._table.renamed(old_path, file)

    def _copy_all(self, targets: Dict[str, str]) -> Dict[str, ObjectInfo]:
        """Copy objects to their new keys at once. If one fails, none is left.

        Returns the copies by their old keys: just these may be deleted. One that was not there when it was to be
        copied is left out, and whatever somebody stores there afterwards stays.
        """
        context = self._context

        def copy(key: str) -> Optional[ObjectInfo]:
            try:
                info = context.client.head_object(key)
            except ObjectNotFound:
                return None  # removed; the listing lags behind
            return context.copy(info, targets[key], context.headers_of(info))

        futures = [context.names_pool.submit(copy, key) for key in targets]
        try:
            return {key: info for key, info in zip(targets, wait_all(futures)) if info is not None}
        except BaseException:
            done = [future.result() for future in futures if future.exception() is None]
            self._undo([info.key for info in done if info is not None])
            raise

    def _undo(self, keys: List[str]) -> None:
        try:
            self._delete_all(keys)
        except CosException as exc:
            log.error("copies of an unfinished rename are left in the bucket, the first is %r: %s", keys[0], exc)

    def _delete_all(self, keys: List[str]) -> None:
        """Raises: CosServiceError when a key is left."""
        for start in range(0, len(keys), MAX_LIST_KEYS):
            failures = self._context.client.delete_objects(keys[start:start + MAX_LIST_KEYS])
            if failures:
                raise _delete_error(failures[0].key, failures[0].code, failures[0].message)


def _delete_error(key: str, code: str, message: str) -> CosServiceError:
    status = 403 if code == "AccessDenied" else 409
    return service_error("POST ?delete", {"code": code, "message": message, "resource": key,
                                          "requestid": "", "traceid": ""}, status)
