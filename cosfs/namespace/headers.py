"""The headers of objects whose names are known: from the database, else by HEAD or GET, ahead of who needs them.
For programs that read one small file after the other (``cat *``, ``grep -r``, ``tar c``) the contents, too.

A listing tells size, ETag and time of an object, but not its user metadata. What is missing is asked for once per
object version, and for a program that looks at one name after the other (``ls -l``, ``du``, ``rsync``) many at a
time, before it comes to them.

Threading: any thread; no lock is held over a request. Requests on behalf of others run in the pool.
"""

from __future__ import annotations

import logging
import stat
import threading
from functools import partial
from typing import Callable, Dict, Generator, Iterator, Mapping, Optional, Sequence, Set, Tuple

from cosfs.archive import is_archived
from cosfs.cos.interface import ListedObject, ObjectClient, ObjectInfo
from cosfs.errors import CosfsError, NoEntry, ObjectArchived, ObjectNotFound, PreconditionFailed
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.namespace.attributes import is_old_directory, stored_type
from cosfs.namespace.bodies import SMALL_BYTES, SmallBodies
from cosfs.namespace.caches import JUST_TOLD_S, MetadataCache
from cosfs.namespace.entries import ABSENT, Entry, entry_of_info, entry_of_row
from cosfs.namespace.headers_db import HeadersDatabase
from cosfs.namespace.lookahead import Flights, OrderDetector
from cosfs.namespace.paths import join, split
from cosfs.namespace.restores import Restored, RestoreStates
from cosfs.units import KIB

log = logging.getLogger(__name__)

_CONTENT_WINDOWS = (8, 32)
"""Contents fetched ahead of one program, at first and at most: 32 of 20 ms each are more than it can open meanwhile."""

_MOST_AHEAD_BYTES = 512 * KIB
"""Contents up to this size are fetched ahead: at 90 MB/s the bytes take 6 ms. Of larger ones the reader's own
look-ahead fills the line."""

_AHEAD_S = 2.0
"""How old what was fetched ahead may be when its file is opened. A program that takes 60 ms
for each file goes through a window in that time; a slower one gains little, and gets a smaller window."""

_FORGIVEN = 64
"""Contents fetched in vain before no more are: threads that share a folder are so far apart."""

_UNSUITABLE = 256
"""Names in a row that are not worth fetching (large, or known) after which no others are looked for."""


class HeaderSource:
    """``workers``: requests made ahead at once. ``budget``: for contents. ``in_walk``: whether directories are being
    gone through in order."""

    def __init__(self, client: ObjectClient, cache: MetadataCache, pool: WorkerPool, workers: int, *,
                 budget: ByteBudget, database: Optional[HeadersDatabase] = None,
                 in_walk: Callable[[], bool] = lambda: False) -> None:
        self._client = client
        self._cache = cache
        self._database = database
        self._in_walk = in_walk
        self.bodies = SmallBodies(budget, cache.now)
        self.restores = RestoreStates(cache.now, cache.stat_ttl_s)
        self._ahead_bytes = min(_MOST_AHEAD_BYTES, self.bodies.limit_bytes // (2 * _CONTENT_WINDOWS[1]))
        self._flights = Flights(pool, workers, self._fetch)
        self._to_read: Set[str] = set()
        self._order = OrderDetector(self._following)
        self._reads = OrderDetector(self._unread_following, _CONTENT_WINDOWS, _FORGIVEN)
        self._order_lock = threading.Lock()

    def looked_at(self, path: str, entry: Entry) -> bool:
        """Note that a program looks at a name; begins what it will ask for next.

        True when it goes from name to name, and so is not likely to read this one.
        """
        missed = not entry.headers_known
        if not missed and not self._order.expects(path):
            return False
        with self._order_lock:
            ahead = self._order.asked(path, missed=missed)
        if ahead:
            self._begin(ahead)
        return ahead is not None

    def opened(self, path: str) -> None:
        """Note that a program opens the file it looked at: it does not only look."""
        with self._order_lock:
            self._order.interrupted(path)

    def to_be_read(self, path: str, entry: Entry) -> None:
        """Note that a program opens a file to read it; begins what it will read next.

        Waits for the content if that is on its way.
        """
        if not self._fetchable(entry):
            return
        self._flights.wait_for(path)
        self._to_read.discard(path)
        in_time = self.bodies.came_in_time(entry.key, entry.etag)
        with self._order_lock:
            if in_time is False:
                self._reads.too_early(path)
            ahead = self._reads.asked(path, missed=not in_time and not self._cache.kernel_has(path, entry.etag))
        if ahead:
            self._to_read.update(ahead)
            self._flights.begin(ahead)

    def get(self, path: str, entry: Entry, *, with_body: bool) -> Optional[ObjectInfo]:
        """The headers of an entry's object, None for an implicit directory; one request, shared by all who wait for it.

        ``with_body``: a small object may be fetched whole. Raises: NoEntry when the object is gone meanwhile.
        """
        while not entry.headers_known:
            first = self._flights.enter(path)
            try:
                known = self._cache.lookup(path)
                if isinstance(known, Entry) and known.headers_known and known.key == entry.key:
                    return known.info
                if first:
                    recalled = self._recall([(path, entry)]).get(path)
                    if recalled is None:
                        self._cache.rate.misses.add()
                    return recalled or self.ask(path, entry, with_body=with_body)
            finally:
                if first:
                    self._flights.leave(path)
        return entry.info

    def ask(self, path: str, entry: Entry, *, with_body: bool) -> Optional[ObjectInfo]:
        """Like ``get``, by a request of its own, whatever is known."""
        return self._ask(path, entry, self._get_small if with_body else _no_content)

    def _ask(self, path: str, entry: Entry, get: Callable[[Entry], Optional[ObjectInfo]]) -> Optional[ObjectInfo]:
        """``get``: the headers together with the content; None for headers alone."""
        asked_at = self._cache.now()
        try:
            info = get(entry) or self._client.head_object(entry.key)
        except ObjectNotFound as exc:
            if entry.is_directory and not entry.marker:
                self._cache.insert(path, entry._replace(marker=False), asked_at=asked_at)
                return None
            if entry.is_directory:
                self._cache.forget(path)
            else:
                self._cache.insert(path, ABSENT, asked_at=asked_at)
            raise NoEntry(path) from exc
        self.restores.told(info)
        self._cache.insert(path, _known_entry(entry, info), asked_at=asked_at)
        if self._database is not None:
            self._database.put(info, special=stored_type(info) not in (stat.S_IFREG, stat.S_IFDIR))
        return info

    def recorded(self, rows: Sequence[ListedObject]) -> Dict[str, ObjectInfo]:
        """What the database has of listed versions, by key."""
        infos = {} if self._database is None else self._database.get([row.key for row in rows])
        return {row.key: infos[row.key] for row in rows
                if row.key in infos and entry_of_row(row).is_version_of(infos[row.key])}

    def with_specials(self, prefix: str, names: Mapping[str, Entry]) -> Mapping[str, Entry]:
        """A listing in which symbolic links and special files are what the database tells that they are."""
        if self._database is None:
            return names
        infos = self._database.specials(prefix)
        known = {name: entry_of_info(infos[entry.key], is_directory=False) for name, entry in names.items()
                 if entry.key in infos and entry.is_version_of(infos[entry.key])} if infos else {}
        return {**names, **known} if known else names

    def cancel(self) -> None:
        """Make no more requests ahead."""
        self._flights.cancel()

    def _get_small(self, entry: Entry) -> Optional[ObjectInfo]:
        """Fetch a small listed object whole: its headers come along, and it is likely to be read next.

        None when it is not small, or archived, or another version than the listing said.
        """
        if entry.is_directory or not entry.etag or not 0 < entry.size_bytes <= SMALL_BYTES \
                or is_archived(entry.storage_class):
            return None
        return self._get_content(entry, ahead_s=0.0)

    def _get_content(self, entry: Entry, *, ahead_s: float) -> Optional[ObjectInfo]:
        receive = partial(self._client.get_object, entry.key, if_match=entry.etag)
        try:
            return self.bodies.fetch(entry.key, entry.etag, entry.size_bytes, receive, ahead_s=ahead_s)
        except ObjectArchived:
            self.restores.note((entry.key, entry.etag), Restored.NO)
            return None
        except PreconditionFailed:
            return None

    def _fetchable(self, entry: Entry) -> bool:
        """Whether the content is one to be fetched ahead."""
        return not entry.is_directory and bool(entry.etag) and 0 < entry.size_bytes <= self._ahead_bytes \
            and not is_archived(entry.storage_class) \
            and (entry.info is None or stored_type(entry.info) == stat.S_IFREG)

    def _at_hand(self, path: str, entry: Entry) -> bool:
        """Whether a reader needs no request."""
        return self._cache.kernel_has(path, entry.etag) or \
            self.bodies.get(entry.key, entry.etag, max_age_s=JUST_TOLD_S, ahead=True) is not None

    def _unread_following(self, path: str) -> Iterator[str]:
        """Those of the names that follow whose contents are worth fetching."""
        unsuitable = 0
        for following in self._following(path):
            known = self._cache.lookup(following)
            if isinstance(known, Entry) and self._fetchable(known) and not self._at_hand(following, known):
                unsuitable = 0
                yield following
            else:
                unsuitable += 1
                if unsuitable > _UNSUITABLE:
                    return

    def _begin(self, paths: Sequence[str]) -> None:
        """Get the headers of names that will be looked at: those of the database now, the others in the background."""
        missing = []
        for path in paths:
            known = self._cache.lookup(path)
            if isinstance(known, Entry) and not known.headers_known:
                missing.append((path, known))
        recalled = self._recall(missing)
        self._flights.begin(path for path, _ in missing if path not in recalled)

    def _recall(self, missing: Sequence[Tuple[str, Entry]]) -> Dict[str, ObjectInfo]:
        """Take headers from the database where they are those of the listed version; returns them by path."""
        if self._database is None:
            return {}
        asked_at = self._cache.now()
        infos = self._database.get([entry.key for _, entry in missing if entry.etag])
        recalled = {}
        for path, entry in missing:
            info = infos.get(entry.key)
            if info is not None and entry.is_version_of(info):
                self._cache.insert(path, _known_entry(entry, info), asked_at=asked_at)
                recalled[path] = info
        return recalled

    def _fetch(self, path: str) -> None:
        """Ask ahead of a program. A failure is nobody's: whoever needs the answer asks again."""
        to_read = path in self._to_read
        self._to_read.discard(path)
        known = self._cache.lookup(path)
        if not isinstance(known, Entry) or (known.headers_known and not to_read):
            return
        try:
            if not known.headers_known:
                self._ask(path, known, self._content_ahead if to_read else _no_content)
            elif self._fetchable(known) and not self._at_hand(path, known):
                self._content_ahead(known)
        except CosfsError as exc:
            log.debug("looking ahead at %s: %s", path, exc)

    def _content_ahead(self, entry: Entry) -> Optional[ObjectInfo]:
        return self._get_content(entry, ahead_s=min(_AHEAD_S, self._cache.stat_ttl_s))

    def _following(self, path: str) -> Iterator[str]:
        """The names that a depth-first program looks at after a name, as far as they are listed.

        First the rest of its directory; beyond that only while directories are gone through as well.
        """
        directory, name = split(path)
        names = self._cache.names(directory)
        if names is None or name not in names:
            return
        yield from (join(directory, following) for following in names[names.index(name) + 1:])
        if not self._in_walk() or not (yield from self._below(directory, "")):
            return
        while directory != "/":
            directory, name = split(directory)
            if not (yield from self._below(directory, name)):
                return

    def _below(self, directory: str, after: str) -> Generator[str, None, bool]:
        """What lies in the subdirectories that come after one of them; False where that is not listed."""
        folders = self._cache.folders(directory)
        if folders is None or (after and after not in folders):
            return False
        for folder in folders[folders.index(after) + 1 if after else 0:]:
            path = join(directory, folder)
            names = self._cache.names(path)
            if names is None:
                return False
            yield from (join(path, name) for name in names)
            if not (yield from self._below(path, "")):
                return False
        return True


def _known_entry(listed: Entry, info: ObjectInfo) -> Entry:
    return entry_of_info(info, is_directory=listed.is_directory or is_old_directory(info))


def _no_content(_: Entry) -> Optional[ObjectInfo]:
    return None
