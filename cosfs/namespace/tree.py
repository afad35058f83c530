"""The bucket seen as a tree: lookups and listings through the cache.

A directory is a marker object ``dir/``, or any key below ``dir/`` (an implicit directory), or one of the
old forms of the C++ tool: an object ``dir`` whose type says directory, or ``dir_$folder$``. When a file
and a directory have the same name, the file is what the name means.

Threading: any thread; no lock is held over a request.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set

from cosfs.cos.interface import ListedObject, ListPage, ObjectClient, ObjectInfo
from cosfs.errors import NoEntry, NotADirectory, ObjectArchived, ObjectNotFound, PreconditionFailed
from cosfs.executor import WorkerPool
from cosfs.namespace.attributes import Attributes, is_directory_object
from cosfs.namespace.caches import (
    ABSENT,
    Entry,
    Known,
    Listing,
    MetadataCache,
    SmallBodies,
    entry_of_info,
    entry_of_row,
)
from cosfs.namespace.paths import KeySpace, component_to_name, join, split
from cosfs.namespace.walk import WalkDetector, add_object, marker_before, read_flat_page
from cosfs.units import KIB, MAX_LIST_KEYS, MIB

log = logging.getLogger(__name__)

SMALL_BYTES = 32 * KIB
"""Objects up to this size are fetched instead of asked for: at 90 MB/s the bytes take 0.4 ms, a request 20 and more."""

_SMALL_BODIES_BYTES = 4 * MIB
"""Contents kept for their reader: 128 of the largest, more than any look-ahead of one program."""

_LIST_AT_MISS = 2
"""One lookup in a directory says little; the second one is worth a listing, which answers all that follow."""


class Tree:
    def __init__(self, client: ObjectClient, keys: KeySpace, cache: MetadataCache, pool: WorkerPool) -> None:
        self.keys = keys
        self.cache = cache
        self._client = client
        self._pool = pool
        self.bodies = SmallBodies(_SMALL_BODIES_BYTES, cache.now)
        self._walk = WalkDetector()
        self._walk_lock = threading.Lock()
        self._local: Dict[str, Attributes] = {}

    def lookup(self, path: str) -> Entry:
        """What a path names; at most one round trip. Raises: NoEntry, NameTooLong."""
        known = self.find(path)
        if known is None:
            raise NoEntry(path)
        return known

    def find(self, path: str) -> Optional[Entry]:
        """Like ``lookup``; None when there is nothing."""
        if path == "/":
            return self.root()
        key = self.keys.file_key(path)
        known = self.cache.lookup(path)
        parent = split(path)[0]
        if known is None and self.cache.count_miss(parent) == _LIST_AT_MISS:
            self._list_if_small(parent)
            known = self.cache.lookup(path)
        if known is None:
            asked_at = self.cache.now()
            known = self.cache.insert(path, self._ask(key), asked_at=asked_at)
        if isinstance(known, Entry):
            return known
        return Entry(key + "/", is_directory=True, marker=False) if path in self._local else None

    def root(self) -> Entry:
        """The directory that is mounted; it always exists. A bare bucket has no key for its marker."""
        known = self.cache.lookup("/")
        if isinstance(known, Entry):
            return known
        return Entry(self.keys.prefix, is_directory=True, marker=None if self.keys.prefix else False)

    def info(self, path: str, entry: Entry) -> Optional[ObjectInfo]:
        """The headers of an entry's object, asked for when only a listing was seen.

        None for an implicit directory. Raises: NoEntry when the object is gone meanwhile.
        """
        if entry.info is not None or entry.marker is False:
            return entry.info
        asked_at = self.cache.now()
        try:
            info: Optional[ObjectInfo] = self._get_small(entry) or self._client.head_object(entry.key)
        except ObjectNotFound as exc:
            info = None
            if not entry.is_directory or entry.marker:
                self.cache.forget(path)
                raise NoEntry(path) from exc
        if info is None:
            self.cache.insert(path, replace(entry, marker=False), asked_at=asked_at)
        else:
            self.cache.insert(path, entry_of_info(info, is_directory=entry.is_directory), asked_at=asked_at)
        return info

    def _get_small(self, entry: Entry) -> Optional[ObjectInfo]:
        """Fetch a small listed object whole: its headers come along, and it is likely to be read next.

        None when it is not small, or another version than the listing said.
        """
        if entry.is_directory or not 0 < entry.size_bytes <= SMALL_BYTES:
            return None
        body = bytearray(entry.size_bytes)
        try:
            info = self._client.get_object(entry.key, memoryview(body), if_match=entry.etag)
        except (PreconditionFailed, ObjectArchived):
            return None
        self.bodies.put(entry.key, entry.etag, bytes(body))
        return info

    def refresh(self, path: str) -> Optional[Entry]:
        """Ask the bucket again, whatever is cached."""
        self.cache.forget(path)
        return self.find(path)

    def list(self, path: str) -> Listing:
        """All children of a directory, by name. Raises: NoEntry, NotADirectory."""
        entry = self.lookup(path)
        if not entry.is_directory:
            raise NotADirectory(path)
        names = self.cache.listing(path)
        if names is None:
            names = self._list_in_walk(path)
        if names is None:
            prefix = self.keys.directory_key(path)
            asked_at = self.cache.now()
            names = self.cache.insert_listing(path, self._names_of(prefix, self._pages(prefix)), asked_at=asked_at)
        local = {name: Entry(self.keys.directory_key(local), is_directory=True, marker=False)
                 for local in list(self._local) for parent, name in (split(local),)
                 if parent == path and name not in names}
        return {**names, **local} if local else names

    def has_children(self, path: str) -> bool:
        """Ask the bucket whether anything lies below a directory, its own marker aside.

        What this mount removed a moment ago does not count, though a lagging listing may still show it.
        """
        prefix = self.keys.directory_key(path)
        own = self.cache.own_changes(path)
        if any(isinstance(known, Entry) for known in own.values()):
            return True
        for row in self.walk(prefix, page_size=10):
            name = component_to_name(row.key[len(prefix):].partition("/")[0])
            if row.key != prefix and (name is None or own.get(name) is not ABSENT):
                return True
        return False

    def own_keys(self, directory: str) -> Set[str]:
        """The keys below a directory that this mount made a moment ago; a lagging listing may lack them."""
        return {known.key for known in self.cache.own_changes_inside(directory).values()
                if isinstance(known, Entry) and known.marker is not False}

    def entries(self, directory: str, infos: Sequence[ObjectInfo]) -> Dict[str, Entry]:
        """The paths of objects below a directory, and of the implicit directories between."""
        prefix = self.keys.directory_key(directory)
        entries: Dict[str, Entry] = {directory: Entry(prefix, is_directory=True)}
        for info in infos:
            names = [component_to_name(part) for part in info.key[len(prefix):].rstrip("/").split("/")]
            path = directory
            for name in names if info.key != prefix else ():
                if name is None:
                    break
                path = join(path, name)
                entries.setdefault(path, Entry(self.keys.directory_key(path), is_directory=True))
            else:
                entries[path] = entry_of_info(info, is_directory=is_directory_object(info))
        return entries

    def local_directory(self, path: str) -> Optional[Attributes]:
        """Attributes of a directory that the server has no place for; None for all others."""
        return self._local.get(path)

    def keep_locally(self, path: str, attributes: Attributes) -> None:
        self._local[path] = attributes

    def forget_locally(self, path: str) -> None:
        self._local.pop(path, None)

    def walk(self, prefix: str, *, page_size: int = MAX_LIST_KEYS) -> Iterator[ListedObject]:
        """All objects whose keys start with ``prefix``, in key order, one page of memory at a time."""
        marker: Optional[str] = ""
        while marker is not None:
            page = self._client.list_objects(prefix, marker=marker, max_keys=page_size)
            yield from page.objects
            marker, page_size = page.next_marker, MAX_LIST_KEYS

    def _list_if_small(self, path: str) -> None:
        """List a directory whose names are being looked up, unless that takes more than one request."""
        prefix = self.keys.directory_key(path)
        asked_at = self.cache.now()
        page = self._client.list_objects(prefix, delimiter="/")
        if page.next_marker is None:
            self.cache.insert_listing(path, self._names_of(prefix, [page]), asked_at=asked_at)

    def _ask(self, key: str) -> Known:
        """HEAD of the key and LIST of what lies below it, at once."""
        below = self._pool.submit(self._first_below, key + "/")
        try:
            info: Optional[ObjectInfo] = self._client.head_object(key)
        except ObjectNotFound:
            info = None
        finally:
            below.exception()  # never leave it running behind an error
        if info is not None and not is_directory_object(info):
            return entry_of_info(info, is_directory=False)
        first = below.result()
        if first is not None and first.key == key + "/":
            return entry_of_row(first, is_directory=True)
        if info is not None:
            return entry_of_info(info, is_directory=True)
        return ABSENT if first is None else Entry(key + "/", is_directory=True, marker=False)

    def _first_below(self, prefix: str) -> Optional[ListedObject]:
        page = self._client.list_objects(prefix, max_keys=1)
        return page.objects[0] if page.objects else None

    def _list_in_walk(self, path: str) -> Optional[Listing]:
        """The listing of a directory in a walk, from one page that tells those that follow as well, if it can."""
        with self._walk_lock:
            top = self._walk.listed(path)
        if top is None:
            return None
        top_prefix, marker = self.keys.directory_key(top), marker_before(self.keys.directory_key(path))
        asked_at = self.cache.now()
        page = self._client.list_objects(top_prefix, marker=marker)
        truncated = page.next_marker is not None
        flat = read_flat_page(page.objects, top, top_prefix, marker, truncated=truncated)
        _log_hidden(top_prefix, flat.hidden)
        if truncated and path not in flat.listings:
            with self._walk_lock:
                self._walk.was_too_large()
        found: Optional[Listing] = None
        for directory, names in flat.listings.items():
            if directory == path or self.cache.listing(directory) is None:
                listing = self.cache.insert_listing(directory, names, asked_at=asked_at)
                found = listing if directory == path else found
        return found

    def _pages(self, prefix: str) -> Iterator[ListPage]:
        marker: Optional[str] = ""
        while marker is not None:
            page = self._client.list_objects(prefix, delimiter="/", marker=marker)
            yield page
            marker = page.next_marker

    def _names_of(self, prefix: str, pages: Iterable[ListPage]) -> Dict[str, Entry]:
        """The children that a complete listing shows; keys that no path can name are logged."""
        names: Dict[str, Entry] = {}
        hidden: List[str] = []
        for page in pages:
            self._add_page(prefix, page, names, hidden)
        _log_hidden(prefix, hidden)
        return names

    @staticmethod
    def _add_page(prefix: str, page: ListPage, names: Dict[str, Entry], hidden: List[str]) -> None:
        for common in page.prefixes:
            name = component_to_name(common[len(prefix):-1])
            if name is None:
                hidden.append(common)
            else:
                names.setdefault(name, Entry(common, is_directory=True))
        for row in page.objects:
            if row.key == prefix:
                continue
            if not add_object(names, row, row.key[len(prefix):]):
                hidden.append(row.key)


def _log_hidden(prefix: str, hidden: Sequence[str]) -> None:
    if hidden:
        log.warning("%d keys below %r have no name that a path can hold, the first is %r",
                    len(hidden), prefix, hidden[0])
