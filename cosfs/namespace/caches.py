"""What the mount believes of the bucket's names, and for how long: the one metadata cache.

Three kinds of knowledge, each with its TTL: what a path is (``Entry``), that a path is absent
(``ABSENT``), and the whole listing of a directory, which answers for every name in it, absent ones too.
A listing that is too old to tell which names there are goes on telling what those in it are, for as long as
attributes are believed: a program that looks at each of very many names takes longer than one listing holds.
Of an object that only a listing showed some 430 bytes are kept, name and key of 10 bytes each included (measured over
300,000 of them, CPython 3.11); headers take about 1,300 more.

Own changes are written through to all three, and are kept apart for ``OVERLAY_S`` as well, because a
listing may lag behind them ("GET Bucket": eventually consistent) or may have been on its way when they
were made; within that time they win over what a listing or a lookup says.

Threading: one lock, held for dictionary work only, never over I/O.
"""

from __future__ import annotations

import threading
from typing import Callable, Dict, List, Mapping, MutableMapping, NamedTuple, Optional, Sequence, Set, Tuple

from cachetools import LRUCache, TTLCache

from cosfs.cos.interface import ObjectInfo
from cosfs.metrics import HitRate
from cosfs.namespace.entries import ABSENT, Absence, Entry, Known, Listing
from cosfs.namespace.paths import is_inside, join, split

OVERLAY_S = 10.0
"""Longer than the seconds by which listings were seen to lag; short enough that a foreign change shows."""


class _Listed(NamedTuple):
    """A complete listing, those that are directories, and until when it tells which names there are not."""

    names: Dict[str, Entry]
    folders: Set[str]
    complete_until_s: float


JUST_TOLD_S = 0.1
"""What the bucket told so long ago, at most, need not be asked again between the lookup and the open of one open(2)."""
_MOST_JUST_TOLD = 1000


class MetadataCache:
    """Cached knowledge by path. ``clock`` is monotonic seconds; sizes are numbers of entries."""

    def __init__(self, *, stat_ttl_s: float, negative_ttl_s: float, listing_ttl_s: float, max_entries: int,
                 clock: Callable[[], float]) -> None:
        self._clock = clock
        self.rate = HitRate()
        """Counted by who asks: names that were known, names and headers that somebody waited for."""
        self.stat_ttl_s = stat_ttl_s
        self._listing_ttl_s = listing_ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._lock = threading.Lock()
        self._entries: MutableMapping[str, Entry] = TTLCache(max_entries, stat_ttl_s, timer=clock)
        self._absent: MutableMapping[str, Absence] = TTLCache(max_entries, negative_ttl_s, timer=clock)
        # Counted by entries, not by directories: one huge directory must not be free of charge. A listing
        # larger than the cache cannot be kept at all (cachetools refuses it).
        self._listings: TTLCache[str, _Listed] = TTLCache(
            10 * max_entries, max(listing_ttl_s, stat_ttl_s), timer=clock,
            getsizeof=lambda listed: 1 + len(listed.names))
        self._own: MutableMapping[str, Dict[str, Tuple[float, Known]]] = TTLCache(
            max_entries, OVERLAY_S, timer=clock)
        self._just_told: MutableMapping[str, str] = TTLCache(_MOST_JUST_TOLD, JUST_TOLD_S, timer=clock)
        self._misses: MutableMapping[str, int] = TTLCache(max_entries, listing_ttl_s, timer=clock)
        self._directory_times: MutableMapping[str, int] = LRUCache(max_entries)
        self._kernel_pages: MutableMapping[str, str] = LRUCache(max_entries)

    def now(self) -> float:
        return self._clock()

    def lookup(self, path: str) -> Optional[Known]:
        """What a path is; None when that has to be asked."""
        parent, name = split(path)
        with self._lock:
            listed = self._listings.get(parent)
            if listed is not None and name:
                row = listed.names.get(name)
                if row is not None:
                    return self._believed_locked(path, row)
                if self._clock() < listed.complete_until_s:
                    return ABSENT
            entry = self._entries.get(path)
            if entry is not None:
                return entry
            own = self._own_locked(parent).get(name)
            # A file is asked for by HEAD, which does not lag: it may have been changed elsewhere since.
            if own is not None and isinstance(own[1], Entry) and own[1].is_directory:
                return own[1]
            if own is not None and own[1] is ABSENT and self._clock() - own[0] < self._negative_ttl_s:
                return own[1]
            return self._absent.get(path)

    def listing(self, path: str) -> Optional[Listing]:
        """The complete children of a directory, by name; None when they have to be listed."""
        with self._lock:
            listed = self._listings.get(path)
            return None if listed is None or self._clock() >= listed.complete_until_s else dict(listed.names)

    def listing_is_young(self, path: str) -> bool:
        """Whether a complete listing has half of its time left, so that a newer one need not take its place."""
        with self._lock:
            listed = self._listings.get(path)
            return listed is not None and listed.complete_until_s - self._clock() > self._listing_ttl_s / 2

    def names(self, path: str) -> Optional[List[str]]:
        """The names of the last listing of a directory, in its order, if that is still here."""
        with self._lock:
            listed = self._listings.get(path)
            return None if listed is None else list(listed.names)

    def folder_count(self, path: str) -> Optional[int]:
        """How many directories ``listing`` has."""
        with self._lock:
            listed = self._listings.get(path)
            return None if listed is None or self._clock() >= listed.complete_until_s else len(listed.folders)

    def folders(self, path: str) -> Optional[List[str]]:
        """Those of ``names`` that are directories."""
        with self._lock:
            listed = self._listings.get(path)
            return None if listed is None else [name for name in listed.names if name in listed.folders]

    def insert(self, path: str, known: Known, *, asked_at: float) -> Known:
        """Store the answer to a lookup sent at ``asked_at``; returns what holds, own changes included."""
        parent, name = split(path)
        with self._lock:
            changes = self._own_locked(parent)
            since_s, own = changes.get(name, (0.0, None))
            # Of directories listings tell, which may lag behind a removal.
            lags = own is ABSENT and isinstance(known, Entry) and known.is_directory
            file = own if isinstance(own, Entry) and not own.is_directory else None
            forgotten = file is not None and not file.etag
            if own is not None and (lags or (since_s >= asked_at and not forgotten)):
                return own
            if file is not None and isinstance(known, Entry):  # of files HEAD tells, which does not lag
                changes[name] = since_s, known._replace(info=None)
            elif file is not None:
                del changes[name]
            self._store_locked(path, known)
            self._update_listing_locked(parent, name, known)
            if isinstance(known, Entry) and known.info is not None:
                self._just_told[path] = known.etag
            return known

    def just_told(self, path: str, etag: str) -> bool:
        """Whether the bucket has told a moment ago that this is the version of a file."""
        with self._lock:
            return self._just_told.get(path) == etag

    def insert_listing(self, path: str, names: Mapping[str, Entry], *, asked_at: Optional[float] = None) -> Listing:
        """Store a complete listing, begun at ``asked_at``; returns it with own recent changes laid over it.

        One that took so long that own changes during it may be forgotten is not kept.
        """
        merged = dict(names)
        fresh = asked_at is None or self._clock() - asked_at < OVERLAY_S / 2
        with self._lock:
            for name, (_, known) in self._own_locked(path).items():
                if known is ABSENT:
                    merged.pop(name, None)
                elif isinstance(known, Entry):
                    merged[name] = known
            for name, entry in merged.items():
                self._keep_info_locked(path, name, merged, entry)
            if fresh and 1 + len(merged) <= self._listings.maxsize:
                folders = {name for name, entry in merged.items() if entry.is_directory}
                self._listings[path] = _Listed(merged, folders, self._clock() + self._listing_ttl_s)
            return dict(merged)

    def changed(self, path: str, known: Known) -> None:
        """Record what this mount itself did: created or altered a name, or removed it (``ABSENT``)."""
        parent, name = split(path)
        with self._lock:
            self._store_locked(path, known)
            if not name:
                return
            self._note_own_locked(parent, {name: known})

    def still_removed(self, paths: Sequence[str]) -> None:
        """Removals of this mount have reached the bucket just now; what was made there meanwhile stays."""
        with self._lock:
            for path in paths:
                parent, name = split(path)
                if self._own_locked(parent).get(name, (0.0, ABSENT))[1] is ABSENT:
                    self._store_locked(path, ABSENT)
                    self._note_own_locked(parent, {name: ABSENT})

    def changed_all(self, entries: Mapping[str, Known]) -> None:
        """``changed`` for many paths at once."""
        by_parent: Dict[str, Dict[str, Known]] = {}
        for path, known in entries.items():
            parent, name = split(path)
            by_parent.setdefault(parent, {})[name] = known
        with self._lock:
            for parent, names in by_parent.items():
                for name, known in names.items():
                    self._store_locked(join(parent, name), known)
                self._note_own_locked(parent, names)

    def count_miss(self, directory: str) -> int:
        """Count a lookup in a directory that had to be asked; returns how many there were within a listing's TTL."""
        with self._lock:
            count = self._misses.get(directory, 0) + 1
            self._misses[directory] = count
            return count

    def own_changes(self, path: str) -> Mapping[str, Known]:
        """What this mount changed in a directory a moment ago, by name."""
        with self._lock:
            return {name: known for name, (_, known) in self._own_locked(path).items()}

    def own_changes_inside(self, directory: str) -> Dict[str, Known]:
        """The same for everything below a directory, by path."""
        with self._lock:
            parents = [parent for parent in self._own if parent == directory or is_inside(parent, directory)]
            return {join(parent, name): known for parent in parents
                    for name, (_, known) in self._own_locked(parent).items()}

    def infos_inside(self, directory: str) -> Dict[str, ObjectInfo]:
        """All headers that are known of objects at or below a directory, by key."""
        with self._lock:
            return {entry.info.key: entry.info for path, entry in self._entries.items()
                    if entry.info is not None and (path == directory or is_inside(path, directory))}

    def directory_changed(self, path: str, time_ns: int) -> None:
        """A name in a directory came, went or changed; the bucket has no place to store that time."""
        with self._lock:
            self._directory_times[path] = time_ns

    def directory_stored(self, path: str) -> None:
        """A directory's marker was written, with its times."""
        with self._lock:
            self._directory_times.pop(path, None)

    def directory_time(self, path: str) -> Optional[int]:
        """The last ``directory_changed`` of a directory since its times were stored; None for none."""
        with self._lock:
            return self._directory_times.get(path)

    def kernel_pages_are(self, path: str, etag: str) -> bool:
        """Note the version that the kernel's pages of a file are from; whether it was that one before."""
        with self._lock:
            same = self._kernel_pages.get(path) == etag
            self._kernel_pages[path] = etag
            return same

    def kernel_has(self, path: str, etag: str) -> bool:
        """Whether the kernel's pages of a file are from that version."""
        with self._lock:
            return self._kernel_pages.get(path) == etag

    def kernel_pages_unknown(self, path: str) -> None:
        """The kernel may hold pages that are of no version in the bucket."""
        with self._lock:
            self._kernel_pages.pop(path, None)

    def kernel_pages_moved(self, path: str, old_etag: str, etag: str, new_path: Optional[str] = None) -> None:
        """The same bytes have become version ``etag``, and the file ``new_path``, if it was renamed."""
        with self._lock:
            same = self._kernel_pages.get(path) == old_etag
            if new_path is not None:
                self._kernel_pages.pop(path, None)
                self._kernel_pages.pop(new_path, None)
            if same:
                self._kernel_pages[new_path or path] = etag

    def forget(self, path: str) -> None:
        """Ask again next time, whatever this mount did. That it stored a file there, listings may not tell yet."""
        parent, name = split(path)
        with self._lock:
            self._entries.pop(path, None)
            self._absent.pop(path, None)
            self._listings.pop(parent, None)
            changes = self._own_locked(parent)
            since_s, own = changes.get(name, (0.0, ABSENT))
            if isinstance(own, Entry) and not own.is_directory:
                changes[name] = since_s, own._replace(etag="", info=None)
            else:
                changes.pop(name, None)

    def directory_removed(self, path: str) -> None:
        """Forget what an empty directory held; what is known of its own name stays."""
        with self._lock:
            listed = self._listings.pop(path, None)
            for name in () if listed is None else listed.names:
                self._entries.pop(join(path, name), None)
            self._directory_times.pop(path, None)
            self._misses.pop(path, None)

    def refresh(self, path: str) -> None:
        """``forget`` a path and all below it. That this mount stored a file there stays known."""
        for own in list(self.own_changes_inside(path)):
            self.forget(own)
        self.forget(path)
        with self._lock:
            caches: Tuple[MutableMapping[str, object], ...] = (
                self._entries, self._absent, self._listings, self._just_told, self._misses)  # type: ignore[assignment]
            for cache in caches:
                for known in [known for known in cache if known == path or is_inside(known, path)]:
                    cache.pop(known, None)

    def forget_tree(self, path: str) -> None:
        """Forget a directory and everything below it."""
        self.forget(path)
        with self._lock:
            caches: Tuple[MutableMapping[str, object], ...] = (
                self._entries, self._absent, self._listings, self._own,
                self._directory_times, self._kernel_pages)  # type: ignore[assignment]
            for cache in caches:
                for known in [known for known in cache if known == path or is_inside(known, path)]:
                    cache.pop(known, None)

    def _note_own_locked(self, parent: str, names: Mapping[str, Known]) -> None:
        own = self._own_locked(parent)
        now = self._clock()
        for name, known in names.items():
            own.pop(name, None)
            own[name] = (now, known)
            self._update_listing_locked(parent, name, known)
        self._own[parent] = own

    def _own_locked(self, parent: str) -> Dict[str, Tuple[float, Known]]:
        """Own recent changes in a directory, oldest first, without those that are too old."""
        names = self._own.get(parent, {})
        limit = self._clock() - OVERLAY_S
        while names:
            oldest = next(iter(names))
            if names[oldest][0] >= limit:
                break
            del names[oldest]
        return names

    def _store_locked(self, path: str, known: Known) -> None:
        if isinstance(known, Entry):
            self._entries[path] = known
            self._absent.pop(path, None)
        else:
            self._entries.pop(path, None)
            self._absent[path] = known

    def _update_listing_locked(self, parent: str, name: str, known: Known) -> None:
        """A cached listing is always the newest that is known, so that it can answer first."""
        listed = self._listings.get(parent)
        if listed is None or not name:
            return
        listed.folders.discard(name)
        if isinstance(known, Entry):
            listed.names[name] = known
            if known.is_directory:
                listed.folders.add(name)
        else:
            listed.names.pop(name, None)

    def _keep_info_locked(self, path: str, name: str, merged: Dict[str, Entry], entry: Entry) -> None:
        """A row of the version whose headers are known need not be asked again.

        What a HEAD told too soon after the object's last change is not believed again (``ObjectInfo.settled``); what
        this mount wrote itself is, while its attributes are.
        """
        if entry.info is not None:
            return
        known = self._entries.get(f"{path.rstrip('/')}/{name}")
        if known is not None and known.info is not None and entry.is_version_of(known.info) \
                and known.is_directory == entry.is_directory and (known.info.settled or known.info.served_s is None):
            merged[name] = known

    def _believed_locked(self, path: str, row: Entry) -> Entry:
        """What a listing says of a name, with what has a time of its own.

        A listing does not tell whether a directory has a marker, and does not prove the headers that this mount wrote:
        another host may have changed them within the same second.
        """
        if row.is_directory and row.marker is None:
            known = self._entries.get(path)
            return known if known is not None and known.is_directory else row
        if row.info is not None and row.info.served_s is None and path not in self._entries:
            return row._replace(info=None)
        return row
