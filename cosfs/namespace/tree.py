"""The bucket seen as a tree: lookups through the cache; listings (listing.py) with what only this mount has.

A directory is a marker object ``dir/``, or any key below ``dir/`` (an implicit directory), or one of the
old forms of the C++ tool: an object ``dir`` whose type says directory, or ``dir_$folder$`` (which only
listings show). Where there is an object of the same name, the directory has another one (paths.py).

Threading: any thread; no lock is held over a request.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Sequence, Set

from cosfs.cos.interface import ListedObject, ObjectClient, ObjectInfo
from cosfs.errors import InvalidArgument, NoEntry, NotADirectory, ObjectNotFound
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.namespace.attributes import OLD_FOLDER_SUFFIX, Attributes, is_directory_object, is_old_directory
from cosfs.namespace.caches import MetadataCache
from cosfs.namespace.children import directory_entry
from cosfs.namespace.entries import ABSENT, Entry, Known, Listing, entry_of_info, entry_of_row
from cosfs.namespace.headers import HeaderSource
from cosfs.namespace.headers_db import HeadersDatabase
from cosfs.namespace.listing import DirectoryLister
from cosfs.namespace.paths import (
    OWN_CONTENT,
    SHORTENED,
    KeySpace,
    component_to_name,
    has_path,
    is_beside,
    is_directory_name,
    join,
    name_beside,
    split,
    unknown_begin,
)
from cosfs.namespace.walk import marker_before, read_flat_page
from cosfs.units import MAX_LIST_KEYS

_LIST_AT_MISS = 2
"""One lookup in a directory says little; the second one is worth a listing, which answers all that follow."""


class Tree:
    """``ahead_pool``: for at most ``ahead`` requests for headers at once that nobody waits for yet. ``list_first``:
    what a listing tells of a name is all that is wanted."""

    def __init__(self, client: ObjectClient, keys: KeySpace, cache: MetadataCache, pool: WorkerPool,
                 ahead_pool: WorkerPool, ahead: int, *, budget: ByteBudget, database: Optional[HeadersDatabase] = None,
                 list_first: bool = False) -> None:
        self.keys = keys
        self.cache = cache
        self._client = client
        self._pool = pool
        self.headers = HeaderSource(client, cache, ahead_pool, ahead, budget=budget, database=database,
                                    in_walk=lambda: self._lister.in_walk)
        self.bodies = self.headers.bodies
        self.restores = self.headers.restores
        self._lister = DirectoryLister(client, keys, cache, self.headers, pool, ahead_pool)
        self.has_children = self._lister.has_children
        self.walk = self._lister.walk
        self._list_at_miss = 1 if list_first else _LIST_AT_MISS
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
        (self.cache.rate.misses if known is None else self.cache.rate.hits).add()
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
        names = self.cache.names(parent) if misses == 1 else None
        if names is not None and len(names) <= MAX_LIST_KEYS:
            self._lister.refresh(parent)
            known = self.cache.lookup(path)
        elif misses == self._list_at_miss:
            self._lister.if_small(parent)
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
                self._lister.learn_names(parent, begin)
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

    def info_to_show(self, path: str, entry: Entry, *, to_open: bool = False) -> Optional[ObjectInfo]:
        """Like ``info``, for a program that looks at a name, and perhaps at those that follow, or opens it at once."""
        in_order = not to_open and self.headers.looked_at(path, entry)
        if entry.is_directory and entry.marker is None and not in_order and path != "/":
            self._lister.looked_at(path)  # which tells whether it has a marker
            known = self.cache.lookup(path)
            entry = known if isinstance(known, Entry) and known.is_directory else entry
        return self.headers.get(path, entry, with_body=not in_order)

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
        names = self._lister.of(path)
        local = {name: Entry(self.keys.directory_key(local), is_directory=True, marker=False)
                 for local in list(self._local) for parent, name in (split(local),)
                 if parent == path and name not in names}
        return {**names, **local} if local else names

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
        if info is not None:
            self.restores.told(info)
        if info is not None and key.endswith(OLD_FOLDER_SUFFIX) and not info.size_bytes:
            info = None  # it makes a directory of the name without that suffix
        if info is not None and not is_directory_object(info):
            return entry_of_info(info, is_directory=False)
        found = below.result()
        if info is not None and not (isinstance(found, Entry) and found.marker):
            return entry_of_info(info, is_directory=True)
        return found

    def _ask_directory_in_root(self, path: str, key: str) -> Known:
        self._lister.if_small("/")
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
