"""The bucket seen as a tree: lookups and listings through the cache.

A directory is a marker object ``dir/``, or any key below ``dir/`` (an implicit directory), or one of the
old forms of the C++ tool: an object ``dir`` whose type says directory, or ``dir_$folder$`` (which only
listings show). Where there is an object of the same name, the directory has another one (paths.py).

Threading: any thread; no lock is held over a request.
"""

from __future__ import annotations

import logging
import threading
from itertools import chain
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from cosfs.cos.interface import ListedObject, ListPage, ObjectClient, ObjectInfo
from cosfs.errors import InvalidArgument, NoEntry, NotADirectory, ObjectNotFound
from cosfs.executor import WorkerPool
from cosfs.namespace.attributes import OLD_FOLDER_SUFFIX, Attributes, is_directory_object, is_old_directory
from cosfs.namespace.caches import ABSENT, Entry, Known, Listing, MetadataCache, entry_of_info, entry_of_row
from cosfs.namespace.children import add_page, directory_entry, possible_names, settle_twins
from cosfs.namespace.headers import HeaderSource
from cosfs.namespace.headers_db import HeadersDatabase
from cosfs.namespace.paths import (
    OWN_CONTENT,
    SHORTENED,
    KeySpace,
    component_to_name,
    has_path,
    is_beside,
    is_directory_name,
    is_inside,
    join,
    name_beside,
    split,
    unknown_begin,
    up_to,
)
from cosfs.namespace.walk import WalkDetector, marker_before, read_flat_page
from cosfs.units import MAX_LIST_KEYS

log = logging.getLogger(__name__)

_BEGUN_S = 1.0
"""How long the first page of a listing that was not gone on with serves the program that then lists the directory."""

_LIST_AT_MISS = 2
"""One lookup in a directory says little; the second one is worth a listing, which answers all that follow."""


class Tree:
    """``ahead_pool``: for at most ``ahead`` requests for headers at once that nobody waits for yet. ``list_first``:
    what a listing tells of a name is all that is wanted."""

    def __init__(self, client: ObjectClient, keys: KeySpace, cache: MetadataCache, pool: WorkerPool,
                 ahead_pool: WorkerPool, ahead: int, *, database: Optional[HeadersDatabase] = None,
                 list_first: bool = False) -> None:
        self.keys = keys
        self.cache = cache
        self._client = client
        self._pool = pool
        self._ahead_pool = ahead_pool
        self.headers = HeaderSource(client, cache, ahead_pool, ahead, database=database,
                                    in_walk=lambda: self._walk_top is not None)
        self.bodies = self.headers.bodies
        self._list_at_miss = 1 if list_first else _LIST_AT_MISS
        self._walk = WalkDetector()
        self._walk_top: Optional[str] = None
        self._begun: Dict[str, Tuple[float, ListPage]] = {}
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
        known = self.cache.lookup(path)
        if isinstance(known, Entry):
            return known
        try:
            if SHORTENED in path:
                self._learn_names(path)
            key = self.keys.object_key(path)
        except InvalidArgument:
            return None  # a reserved name that stands for nothing
        parent = split(path)[0]
        misses = self.cache.count_miss(parent) if known is None else 0
        if misses == self._list_at_miss:
            self._list_if_small(parent)
            known = self.cache.lookup(path)
        if known is None:
            asked_at = self.cache.now()
            answer = self._ask(path, key, list_root=parent == "/" and misses == 1)
            known = self.cache.insert(path, answer, asked_at=asked_at)
        if isinstance(known, Entry):
            return known
        if path in self._local:
            return Entry(key + "/", is_directory=True, marker=False)
        return self._no_longer_beside(path, key)

    def _no_longer_beside(self, path: str, key: str) -> Optional[Entry]:
        """A directory got its plain name when the object beside it went; programs may still use the other one."""
        parent, name = split(path)
        if not is_beside(name):
            return None
        component = key.rpartition("/")[2]
        plain = component_to_name(component, first=component == key)
        entry = None if plain is None else self.find(join(parent, plain))
        return entry if entry is not None and entry.is_directory else None

    def _learn_names(self, path: str) -> None:
        """List for the shortened names in a path that no listing has shown yet. Raises: InvalidArgument."""
        parent = "/"
        for name in path[1:].split("/"):
            begin = unknown_begin(name)
            if begin is not None:
                prefix = self.keys.directory_key(parent)
                self._names_of(parent, prefix, self._pages(prefix + begin))
            parent = join(parent, name)

    def root(self) -> Entry:
        """The directory that is mounted; it always exists. A bare bucket has no key for its marker."""
        known = self.cache.lookup("/")
        if isinstance(known, Entry):
            return known
        return Entry(self.keys.prefix, is_directory=True, marker=None if self.keys.prefix else False)

    def info(self, path: str, entry: Entry) -> Optional[ObjectInfo]:
        """The headers of an entry's object, asked for when only a listing was seen; a small one is fetched whole.

        None for an implicit directory. Raises: NoEntry when the object is gone meanwhile.
        """
        return self.headers.get(path, entry, with_body=True)

    def current_info(self, path: str, entry: Entry) -> Optional[ObjectInfo]:
        """Like ``info``, by one request whatever is cached."""
        return self.headers.ask(path, entry, with_body=True)

    def info_to_show(self, path: str, entry: Entry) -> Optional[ObjectInfo]:
        """Like ``info``, for a program that looks at a name, and perhaps at those that follow."""
        in_order = self.headers.looked_at(path, entry)
        if entry.is_directory and entry.marker is None and not in_order and path != "/":
            entry = self._list_to_show(path, entry)
        return self.headers.get(path, entry, with_body=not in_order)

    def _list_to_show(self, path: str, entry: Entry) -> Entry:
        """Find out by a listing whether a directory has a marker: who looks at one is likely to go on into it."""
        top = self._walk_top
        if top is None or not is_inside(path, top) or self._list_flat(path, top) is None:
            self._list_if_small(path)
        known = self.cache.lookup(path)
        return known if isinstance(known, Entry) and known.is_directory else entry

    def refresh(self, path: str) -> Optional[Entry]:
        """Ask the bucket again, whatever is cached."""
        self.cache.forget(path)
        return self.find(path)

    def list(self, path: str) -> Listing:
        """All children of a directory, by name. Raises: NoEntry, NotADirectory."""
        entry = self.lookup(path)
        if not entry.is_directory:
            raise NotADirectory(path)
        self.headers.opened(path)
        with self._walk_lock:
            top = self._walk_top = self._walk.listed(path)
        names = self.cache.listing(path)
        if names is None and top is not None:
            names = self._list_flat(path, top)
        if names is None:
            asked_at, begun = self._begun.pop(path, (0.0, None))
            if begun is None or self.cache.now() - asked_at > _BEGUN_S:
                asked_at, begun = self.cache.now(), None
            names = self._insert_pages(path, self._pages(self.keys.directory_key(path), begun), asked_at=asked_at)
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
            names = possible_names(row, prefix)
            if names and all(name is None or own.get(name) is not ABSENT for name in names):
                return True
        return False

    def removed(self, path: str) -> None:
        """Record that this mount removed what a path names."""
        parent, name = split(path)
        self.cache.changed(path, ABSENT)
        if name == OWN_CONTENT:
            self.cache.changed(parent, Entry(self.keys.directory_key(parent), is_directory=True, marker=False))
            return
        beside = name_beside(self.keys.object_key(path).rpartition("/")[2])
        known = None if beside is None else self.cache.lookup(join(parent, beside))
        if beside is not None and isinstance(known, Entry):
            # As long as our removal hides the plain name; a program (``rm -r``) may be about to go there.
            self.cache.changed(join(parent, beside), known)

    def changed(self, path: str, info: ObjectInfo, *, is_directory: bool) -> Entry:
        """Record that this mount stored ``info`` under a path; a directory's marker may have two."""
        entry = entry_of_info(info, is_directory=is_directory)
        self.cache.changed(path, entry)
        parent, name = split(path)
        if name == OWN_CONTENT:
            self.cache.changed(parent, entry_of_info(info, is_directory=True))
        elif is_directory and info.size_bytes:
            self.cache.changed(join(path, OWN_CONTENT), entry_of_info(info, is_directory=False))
        return entry

    def own_keys(self, directory: str) -> Set[str]:
        """The keys below a directory that this mount made a moment ago; a lagging listing may lack them."""
        return {known.key for known in self.cache.own_changes_inside(directory).values()
                if isinstance(known, Entry) and known.marker is not False}

    def entries(self, directory: str, rows: Sequence[ListedObject],
                infos: Mapping[str, ObjectInfo]) -> Dict[str, Entry]:
        """The paths of objects below a directory, all of them, in order; ``infos``: headers, by key."""
        prefix = self.keys.directory_key(directory)
        flat = read_flat_page(rows, prefix, {prefix: directory}, marker_before(prefix), truncated=False)
        known = {directory: Entry(prefix, is_directory=True)}
        known.update((directory, entry_of_row(row, is_directory=True)) for row in rows[:1] if row.key == prefix)
        for parent, names in flat.listings.items():
            known.update((join(parent, name), entry) for name, entry in names.items())
        for path, entry in known.items():
            info = infos.get(entry.key)
            if info is not None:
                known[path] = entry_of_info(info, is_directory=entry.is_directory or is_old_directory(info))
        return known

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
            self._insert_pages(path, [page], asked_at=asked_at)
        else:
            self._begun = {path: (asked_at, page)}
            self._learn_marker(path, prefix, page.objects, asked_at=asked_at)

    def _insert_pages(self, path: str, pages: Iterable[ListPage], *, asked_at: float) -> Listing:
        """Keep the complete listing of a directory."""
        prefix = self.keys.directory_key(path)
        pages = iter(pages)
        first = next(pages)
        self._learn_marker(path, prefix, first.objects, asked_at=asked_at)
        names = self._names_of(path, prefix, chain([first], pages))
        return self.cache.insert_listing(path, self.headers.with_specials(prefix, names), asked_at=asked_at)

    def _learn_marker(self, path: str, prefix: str, rows: Sequence[ListedObject], *, asked_at: float) -> None:
        """The first row below a directory is its marker, or it has none."""
        known = self.cache.lookup(path)
        if isinstance(known, Entry) and known.is_directory and known.marker is None:
            stored = bool(rows) and rows[0].key == prefix
            self.cache.insert(path, directory_entry(prefix, rows[0] if stored else False), asked_at=asked_at)

    def _ask(self, path: str, key: str, *, list_root: bool = False) -> Known:
        """HEAD of the key and LIST of what lies below it, at once; one of them for names that leave no choice.

        ``list_root``: list the root instead, which tells as much of this name, and all about the others there.
        """
        name = split(path)[1]
        if name == OWN_CONTENT:
            return self._ask_own_content(key)
        if is_directory_name(name) or not has_path(key):
            return self._ask_directory(key + "/")
        below = self._pool.submit(self._ask_directory_in_root, path, key) if list_root else \
            self._pool.submit(self._ask_directory, key + "/")
        try:
            info: Optional[ObjectInfo] = self._client.head_object(key)
        except ObjectNotFound:
            info = None
        finally:
            below.exception()  # never leave it running behind an error
        if info is not None and key.endswith(OLD_FOLDER_SUFFIX) and not info.size_bytes:
            info = None  # it makes a directory of the name without that suffix
        if info is not None and not is_directory_object(info):
            return entry_of_info(info, is_directory=False)
        found = below.result()
        if info is not None and not (isinstance(found, Entry) and found.marker):
            return entry_of_info(info, is_directory=True)
        return found

    def _ask_directory_in_root(self, path: str, key: str) -> Known:
        self._list_if_small("/")
        known = self.cache.lookup(path)
        if known is None:
            return self._ask_directory(key + "/")
        return known if isinstance(known, Entry) and known.is_directory else ABSENT

    def _ask_own_content(self, key: str) -> Known:
        """What a directory's marker holds; most hold nothing."""
        try:
            info = self._client.head_object(key) if has_path(key) else None
        except ObjectNotFound:
            info = None
        return ABSENT if info is None or not info.size_bytes else entry_of_info(info, is_directory=False)

    def _ask_directory(self, prefix: str) -> Known:
        page = self._client.list_objects(prefix, max_keys=1)
        if not page.objects:
            return ABSENT
        first = page.objects[0]
        return directory_entry(prefix, first if first.key == prefix else False)

    def _list_flat(self, path: str, top: str) -> Optional[Listing]:
        """The listing of a directory in a walk, from one page that tells those that follow as well, if it can."""
        top_prefix, marker = self.keys.directory_key(top), marker_before(self.keys.directory_key(path))
        asked_at = self.cache.now()
        page = self._client.list_objects(top_prefix, marker=marker)
        truncated = page.next_marker is not None
        paths = {self.keys.directory_key(parent): parent for parent in up_to(path, top)}
        flat = read_flat_page(page.objects, top_prefix, paths, marker, truncated=truncated)
        _log_hidden(top_prefix, flat.hidden)
        for directory, names in list(flat.listings.items()):
            for gone in self._settle_twins(directory, names):
                for inside in [inside for inside in flat.listings if (inside + "/").startswith(gone + "/")]:
                    del flat.listings[inside]
        if truncated and path not in flat.listings:
            with self._walk_lock:
                self._walk.was_too_large()
                self._walk_top = None
        found: Optional[Listing] = None
        markers = {row.key: (row,) for row in page.objects if row.key.endswith("/")}
        for directory, names in flat.listings.items():
            prefix = self.keys.directory_key(directory)
            self._learn_marker(directory, prefix, markers.get(prefix, ()), asked_at=asked_at)
            if directory == path or self.cache.listing(directory) is None:
                listing = self.cache.insert_listing(directory, self.headers.with_specials(prefix, names),
                                                    asked_at=asked_at)
                found = listing if directory == path else found
        return found

    def _pages(self, prefix: str, page: Optional[ListPage] = None) -> Iterator[ListPage]:
        """All pages of a listing; ``page``: the first one, if it is here."""
        page = page or self._client.list_objects(prefix, delimiter="/")
        yield page
        while page.next_marker is not None:
            page = self._client.list_objects(prefix, delimiter="/", marker=page.next_marker)
            yield page

    def _names_of(self, path: str, prefix: str, pages: Iterable[ListPage]) -> Dict[str, Entry]:
        """The children that a complete listing shows; keys that have no path are logged."""
        names: Dict[str, Entry] = {}
        hidden: List[str] = []
        for page in pages:
            add_page(names, prefix, page, hidden)
        self._settle_twins(path, names)
        _log_hidden(prefix, hidden)
        return names

    def _settle_twins(self, path: str, names: Dict[str, Entry]) -> List[str]:
        """Returns the paths that turned out to be no directories of their own."""
        prefix, own = self.keys.directory_key(path), self.cache.own_changes(path)
        return [join(path, name) for name in settle_twins(names, prefix, own, self._client, self._ahead_pool)]


def _log_hidden(prefix: str, hidden: Sequence[str]) -> None:
    if hidden:
        log.warning("%d keys below %r have no path, the first is %r",
                    len(hidden), prefix, hidden[0])
