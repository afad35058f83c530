"""Directories listed: which requests tell the children of one, and what of that is kept.

``of`` answers from the cache; else with the pages of LIST delimiter=/ (List Objects v1, 1,000 names each), or in a
walk (walk.py) with one page of LIST without delimiter, which tells the directories that come next as well. Either
way complete listings go into the cache, and whether a directory has a marker, which its first row tells.
``if_small`` makes the first of those requests only, for lookups; a page that turns out to be one of many is kept for
a second, for the program that then lists the directory. ``walk`` and ``has_children`` ask the bucket and keep
nothing. Used by tree.py only.

Threading: any thread, but no task of ``pool``; no lock is held over a request.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from itertools import chain
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from cosfs.cos.interface import ListedObject, ListPage, ObjectClient
from cosfs.executor import WorkerPool
from cosfs.namespace.caches import MetadataCache
from cosfs.namespace.children import add_page, directory_entry, possible_names, settle_twins
from cosfs.namespace.entries import ABSENT, Entry, Listing
from cosfs.namespace.headers import HeaderSource
from cosfs.namespace.pages import read_ahead
from cosfs.namespace.paths import KeySpace, is_inside, join, split, up_to
from cosfs.namespace.walk import WalkDetector, marker_before, read_flat_page

log = logging.getLogger(__name__)

_BEGUN_S = 1.0
"""How long the first page of a listing that was not gone on with serves the program that then lists the directory."""

_FEW_KEYS = 10
"""Enough to tell whether a directory is empty, even with its marker and what this mount has just removed."""


class DirectoryLister:
    """``pool``: for pages asked for ahead. ``twins_pool``: for the requests that twins cost (children.py)."""

    def __init__(self, client: ObjectClient, keys: KeySpace, cache: MetadataCache, headers: HeaderSource,
                 pool: WorkerPool, twins_pool: WorkerPool) -> None:
        self._client = client
        self._keys = keys
        self._cache = cache
        self._headers = headers
        self._pool = pool
        self._twins_pool = twins_pool
        self._walk = WalkDetector()
        self._walk_top: Optional[str] = None
        self._walk_lock = threading.Lock()
        self._begun: Dict[str, Tuple[float, ListPage]] = {}
        self._refreshed = ""

    @property
    def in_walk(self) -> bool:
        """Whether directories are being gone through in order."""
        return self._walk_top is not None

    def of(self, path: str) -> Listing:
        """All children of a directory that exists, by name."""
        with self._walk_lock:
            top = self._walk_top = self._walk.listed(path)
        names = self._cache.listing(path)
        if names is None and top is not None:
            names = self._list_flat(path, top)
        if names is not None:
            return names
        prefix = self._keys.directory_key(path)
        asked_at, begun = self._begun.pop(path, (0.0, None))
        if begun is None or self._cache.now() - asked_at > _BEGUN_S:
            return self._insert_pages(path, self._pages(prefix), asked_at=self._cache.now())
        pages = chain([begun], self._pages(prefix, begun.next_marker or ""))
        return self._insert_pages(path, pages, asked_at=asked_at)

    def if_small(self, path: str) -> None:
        """List a directory whose names are being looked up, unless that takes more than one request."""
        prefix = self._keys.directory_key(path)
        asked_at = self._cache.now()
        page = self._client.list_objects(prefix, delimiter="/")
        if page.next_marker is None:
            self._insert_pages(path, [page], asked_at=asked_at)
        else:
            self._begun = {path: (asked_at, page)}
            self._learn_marker(path, prefix, page.objects, asked_at=asked_at)

    def refresh(self, path: str) -> None:
        """List a directory again whose listing is too old to tell what is absent, unless that takes many requests.

        A program that goes from one to the next beside it (``tar x``) needs theirs, too: a flat listing tells them all.
        """
        parent, last, self._refreshed = split(path)[0], self._refreshed, path
        siblings = last not in ("", path) and split(last)[0] == parent
        if not siblings or self._list_flat(path, parent) is None:
            self.if_small(path)

    def looked_at(self, path: str) -> None:
        """List a directory that a program looks at, and is likely to go on into; the others too in a walk."""
        top = self._walk_top
        if top is None or not is_inside(path, top) or self._list_flat(path, top) is None:
            self.if_small(path)

    def learn_names(self, path: str, begin: str) -> None:
        """List the children whose components begin with ``begin``, for the names that they make known (paths.py)."""
        prefix = self._keys.directory_key(path)
        self._names_of(path, prefix, self._pages(prefix + begin))

    def has_children(self, path: str) -> bool:
        """Ask the bucket whether anything lies below a directory, its own marker aside.

        What this mount removed a moment ago does not count, though a lagging listing may still show it.
        """
        prefix = self._keys.directory_key(path)
        own = self._cache.own_changes(path)
        if any(isinstance(known, Entry) for known in own.values()):
            return True
        first = self._client.list_objects(prefix, max_keys=_FEW_KEYS)
        others = self.walk(prefix, first.next_marker) if first.next_marker is not None else ()
        for row in chain(first.objects, others):
            names = possible_names(row, prefix)
            if names and all(name is None or own.get(name) is not ABSENT for name in names):
                return True
        return False

    def walk(self, prefix: str, marker: str = "") -> Iterator[ListedObject]:
        """All objects whose keys start with ``prefix``, in key order, two pages of memory at a time."""
        for page in read_ahead(partial(self._client.list_objects, prefix), self._pool, marker):
            yield from page.objects

    def _pages(self, prefix: str, marker: str = "") -> Iterator[ListPage]:
        return read_ahead(partial(self._client.list_objects, prefix, delimiter="/"), self._pool, marker)

    def _insert_pages(self, path: str, pages: Iterable[ListPage], *, asked_at: float) -> Listing:
        """Keep the complete listing of a directory."""
        prefix = self._keys.directory_key(path)
        pages = iter(pages)
        first = next(pages)
        self._learn_marker(path, prefix, first.objects, asked_at=asked_at)
        names = self._names_of(path, prefix, chain([first], pages))
        return self._cache.insert_listing(path, self._headers.with_specials(prefix, names), asked_at=asked_at)

    def _learn_marker(self, path: str, prefix: str, rows: Sequence[ListedObject], *, asked_at: float) -> None:
        """The first row below a directory is its marker, or it has none."""
        known = self._cache.lookup(path)
        if isinstance(known, Entry) and known.is_directory and known.marker is None:
            stored = bool(rows) and rows[0].key == prefix
            self._cache.insert(path, directory_entry(prefix, rows[0] if stored else False), asked_at=asked_at)

    def _list_flat(self, path: str, top: str) -> Optional[Listing]:
        """The listing of a directory in a walk, from one page that tells those that follow as well, if it can."""
        top_prefix, marker = self._keys.directory_key(top), marker_before(self._keys.directory_key(path))
        asked_at = self._cache.now()
        page = self._client.list_objects(top_prefix, marker=marker)
        truncated = page.next_marker is not None
        paths = {self._keys.directory_key(parent): parent for parent in up_to(path, top)}
        flat = read_flat_page(page.objects, top_prefix, paths, marker, truncated=truncated)
        _log_hidden(top_prefix, flat.hidden)
        for directory, names in list(flat.listings.items()):
            for gone in self._settle_twins(directory, names):
                for inside in [inside for inside in flat.listings if (inside + "/").startswith(gone + "/")]:
                    del flat.listings[inside]
        if truncated and path not in flat.listings:
            self._refreshed = ""
            with self._walk_lock:
                if top == self._walk_top:
                    self._walk.was_too_large()
                    self._walk_top = None
        found: Optional[Listing] = None
        markers = {row.key: (row,) for row in page.objects if row.key.endswith("/")}
        for directory, names in flat.listings.items():
            prefix = self._keys.directory_key(directory)
            self._learn_marker(directory, prefix, markers.get(prefix, ()), asked_at=asked_at)
            if directory == path or not self._cache.listing_is_young(directory):
                listing = self._cache.insert_listing(directory, self._headers.with_specials(prefix, names),
                                                     asked_at=asked_at)
                found = listing if directory == path else found
        return found

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
        prefix, own = self._keys.directory_key(path), self._cache.own_changes(path)
        return [join(path, name) for name in settle_twins(names, prefix, own, self._client, self._twins_pool)]


def _log_hidden(prefix: str, hidden: Sequence[str]) -> None:
    if hidden:
        log.warning("%d keys below %r have no path, the first is %r",
                    len(hidden), prefix, hidden[0])
