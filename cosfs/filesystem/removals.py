"""Removing names: unlink, rmdir, the hiding of open files, and what becomes of the folder that a name leaves.

The first removal of a burst is waited for; those behind it leave together, a moment later (deletes.py). A
directory that loses its last child stays: when nothing else keeps an implicit directory alive, its marker
is written, once the removal has reached the bucket.

Threading: the kernel serialises who changes a name, but the markers that a burst leaves to write come on the
thread that sends it: ``_keeping`` are the directories for which that may be under way, ``_leaving`` those that
``rmdir`` is about to remove.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import Collection, Dict, Iterator, List, Optional, Sequence

from cosfs.errors import CosException, DirectoryNotEmpty, InvalidArgument, IsADirectory, NoEntry, NotADirectory
from cosfs.filesystem.context import Context
from cosfs.filesystem.names import NameOperations
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import OpenFileTable
from cosfs.namespace.entries import ABSENT
from cosfs.namespace.paths import split

log = logging.getLogger(__name__)


class RemovalOperations:
    def __init__(self, context: Context, table: OpenFileTable, names: NameOperations) -> None:
        self._context = context
        self._table = table
        self._names = names
        self._changed = threading.Condition()
        self._keeping: List[str] = []
        self._leaving: List[str] = []
        context.deletes.listen(self.failed, self.after_batch)

    def unlink(self, path: str) -> None:
        self._context.check_writable()
        file = self._table.get(path)
        if file is None:
            entry = self._context.tree.lookup(path)
            if entry.is_directory:
                raise IsADirectory(path)
            self._context.borrowed.settle(entry.key)
            self._delete(path, [entry.key])
        elif file.detached:
            self._table.forget(path)
        else:
            self._context.borrowed.settle(file.key)
            with file.settled():
                if self._table.in_use(file):
                    file.materialize()
                self._delete(path, [file.key] if file.stored else [], file)

    def rmdir(self, path: str) -> None:
        context = self._context
        context.check_writable()
        if path == "/":
            raise InvalidArgument("the root of the mount cannot be removed")
        with self._not_kept(path):
            entry = context.tree.lookup(path)
            if not entry.is_directory:
                raise NotADirectory(path)
            # An empty listing is believed: should somebody have put a file there meanwhile, it keeps the directory.
            if self._table.inside(path) or (context.cache.listing(path) != {} and context.tree.has_children(path)):
                raise DirectoryNotEmpty(path)
            self._delete(path, [] if entry.marker is False else {entry.key, context.tree.keys.directory_key(path)})
        context.tree.forget_locally(path)
        context.cache.directory_removed(path)

    @contextmanager
    def _not_kept(self, path: str) -> Iterator[None]:
        """While inside, no marker is written to keep a directory; waits for one that is on its way."""
        with self._changed:
            self._leaving.append(path)
            self._changed.wait_for(lambda: path not in self._keeping)
        try:
            yield
        finally:
            with self._changed:
                self._leaving.remove(path)

    def _delete(self, path: str, keys: Collection[str], file: Optional[OpenFile] = None) -> None:
        """Delete what a name stands for, ``file`` if it is open. Raises what goes wrong, but in a burst of removals."""
        context = self._context
        if context.deletes.bursting():
            self._detach(path, file)
            self._gone(path)
            for key in keys:
                context.deletes.schedule(key, path)
            if not keys:
                context.deletes.report(path)
            return
        for key in keys:
            context.client.delete_object(key)
        if keys:
            context.deletes.succeeded()
        self._detach(path, file)
        self.removed(path)

    def renamed(self, path: str, key: str) -> None:
        """Delete the object of a name whose content has another name by now. In a burst it leaves with the others."""
        self._delete(path, [key])

    def _detach(self, path: str, file: Optional[OpenFile]) -> None:
        """Take an open file's name away, before its parent is looked at: it does not keep that any more."""
        if file is not None:
            self._table.forget(path)
            file.detach(path)

    def _gone(self, path: str) -> None:
        self._context.tree.removed(path)
        self._context.touch_parent(path)

    def removed(self, path: str) -> None:
        """Record that a name, and its object, went away."""
        self._gone(path)
        self.keep_parent(path)

    def after_batch(self, paths: Sequence[str]) -> None:
        """The objects of removed names have gone as well."""
        self._context.cache.still_removed(paths)
        by_parent: Dict[str, str] = {split(path)[0]: path for path in paths}
        self._context.names_pool.map_all(self.keep_parent, by_parent.values())

    def failed(self, path: str) -> None:
        """The object of a removed name is still there: show it again, and the directories that it keeps."""
        while True:
            self._context.cache.forget(path)
            path = split(path)[0]
            if self._context.cache.lookup(path) is not ABSENT:
                return

    def hide(self, path: str, hidden: str) -> None:
        """libfuse's way to remove or replace an open file: move it out of sight until its last close."""
        context = self._context
        file = self._table.get(path)
        if file is None:
            raise NoEntry(path)
        context.borrowed.settle(file.key)
        with file.settled():
            file.materialize()
            self._gone(path)
            if file.stored:
                context.deletes.schedule(file.key, path, hidden=True)
            else:
                context.deletes.report(path)
            file.detach(hidden)
            self._table.renamed(file, path)

    def check_empty(self, path: str) -> None:
        """Raises: DirectoryNotEmpty, by the bucket's word and that of the files not stored yet."""
        context = self._context
        context.deletes.settle()
        if self._table.inside(path) or context.tree.has_children(path):
            raise DirectoryNotEmpty(path)

    def keep_parent(self, path: str) -> None:
        """Write the marker of the parent when its last child is gone and it has none.

        The removal itself is done by then, so a failure is logged and not raised.
        """
        parent = split(path)[0]
        with self._changed:
            if parent in self._leaving:
                return
            self._keeping.append(parent)
        try:
            self._keep(parent)
        except (CosException, InvalidArgument) as exc:
            log.warning("%s may vanish: its last child is gone and its marker cannot be written: %s", parent, exc)
        finally:
            with self._changed:
                self._keeping.remove(parent)
                self._changed.notify_all()

    def _keep(self, parent: str) -> None:
        context = self._context
        entry = context.tree.find(parent)
        if parent == "/" or entry is None or entry.marker or context.tree.local_directory(parent) is not None:
            return
        if context.cache.listing(parent) or self._table.inside(parent):
            return
        if context.tree.info(parent, entry) is None and not context.tree.has_children(parent):
            self._names.put_marker_or_keep(parent, self._names.attributes(parent, entry))
