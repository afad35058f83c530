"""``HistoryClient``: a bucket that has the old versions of another one as its objects.

=======================  ===========================================================================================
key here                 what it is there
=======================  ===========================================================================================
``a/f.txt/TIME-ID.txt``  The version ID of ``a/f.txt`` (names.py), if it is neither the latest nor a delete marker.
                         Size, ETag, headers and bytes are that version's.
``a/f.txt/``             Prefix of those, for each object that has any, whether it exists now or was deleted.
``a/b/``                 Prefix of what is below it there, deleted or not; and, where the folder ever had a marker, an
                         empty object with the headers of the newest one, which tell its mode and owner.
=======================  ===========================================================================================

A listing with delimiter is one of Get Bucket Object Versions, page by page. What its pages tell of single objects is
kept for a while, so listing the versions of each costs nothing more. Where that is not known, a folder's listing begins
with a short one, of the versions of an object with the folder's own name. Listings without delimiter, in which keys
here and there are in different order, are answered by a page without rows that is not the last, whereupon the caller
goes folder by folder; but for those of one row, which ask whether there is anything.

Threading: any thread. Memory: ``_MOST_ROWS`` rows of 500 bytes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple

from cosfs.archive import RestoreOrder
from cosfs.cos.interface import (
    ListedObject,
    ListedVersion,
    ListPage,
    ObjectInfo,
    ProgressCallback,
    VersionedClient,
    VersionMarker,
    VersionsPage,
    version_key,
)
from cosfs.units import MAX_LIST_KEYS
from cosfs.versions.names import VersionName, parse_name, stamp_of, version_names
from cosfs.versions.read_only import FEW, ReadOnlyClient, listed_object, not_found, versions_of

if TYPE_CHECKING:
    from cosfs.cos.interface import ObjectClient

_Rows = Dict[str, List[ListedVersion]]
"""Versions by key, the newest of each first."""

_MOST_ROWS = 20_000
_MOST_LISTINGS = 16
"""Listings under way at once that know of the end of their last page; others ask once more."""

_OWN_PAGE = 100
"""Rows asked for where a folder's name may be an object's, too: it seldom is, and then the rows are of others."""

_FROM_START: VersionMarker = ("", "")
_OWN, _BELOW = "own", "below"
"""The two parts of a folder's listing: versions of the object of its name, then what is below it."""


class HistoryClient(ReadOnlyClient):
    """``prefix``: keys outside it are not looked at. ``ttl_s``: how long a listing is believed."""

    def __init__(self, client: VersionedClient, prefix: str, *, ttl_s: float,
                 clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(client)
        self._prefix = prefix
        self._known = _Known(ttl_s, clock)

    def forget(self) -> None:
        """Believe no listing any longer."""
        self._known.clear()

    def known(self, prefix: str) -> Optional[Tuple[ListedObject, ...]]:
        """All that is below a prefix, if a listing has told a moment ago that it is versions of one object."""
        return self._known.get(prefix)

    def head_object(self, key: str) -> ObjectInfo:
        if key.endswith("/"):
            return self._head_marker(key)
        there, name = self._place(key)
        info = self._client.head_object(there, version_id=name.version_id)
        if stamp_of(info.last_modified_s) != name.stamp:
            raise not_found(key)
        return replace(info, key=key, version_id=name.version_id)

    def _head_marker(self, key: str) -> ObjectInfo:
        """Without the bytes that other tools may keep in it: they are among its versions."""
        for row in versions_of(self._client, key) if self._known.get(key) is None else ():
            if not row.is_marker:
                return replace(self._client.head_object(key, version_id=row.version_id), size_bytes=0)
        raise not_found(key)

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, if_match: Optional[str] = None,
                   on_progress: Optional[ProgressCallback] = None) -> ObjectInfo:
        there, name = self._place(key)
        info = self._client.get_object(there, buffer, start=start, if_match=if_match, on_progress=on_progress,
                                       version_id=name.version_id)
        return replace(info, key=key, version_id=name.version_id)

    def restore_object(self, key: str, order: RestoreOrder) -> bool:
        there, name = self._place(key)
        return self._client.restore_object(there, order, version_id=name.version_id)

    def list_objects(self, prefix: str, *, delimiter: str = "", marker: str = "", max_keys: int = 1000,
                     on_next: Optional[Callable[[str], None]] = None) -> ListPage:  # noqa: ARG002 - of the protocol
        if delimiter:
            return self._folder(prefix, marker)
        return self._first(prefix) if max_keys == 1 else ListPage((), (), prefix)

    def version_key(self, key: str) -> str:
        """What names the version that an object here is to the other bucket's client. Raises: ObjectNotFound."""
        there, name = self._place(key)
        return version_key(there, name.version_id)

    def _place(self, key: str) -> Tuple[str, VersionName]:
        """Which object's version an object here is, and which of them. Raises: ObjectNotFound."""
        there, slash, last = key.rpartition("/")
        name = parse_name(there, last) if slash else None
        if name is None or self._object_of(there + "/") is None:
            raise not_found(key)
        return there, name

    def _object_of(self, prefix: str) -> Optional[str]:
        """The object whose versions a prefix would have."""
        inside = prefix.endswith("/") and prefix.startswith(self._prefix) and prefix != self._prefix
        return prefix[:-1] if inside else None

    def _first(self, prefix: str) -> ListPage:
        rows = self._client.list_object_versions(prefix, max_keys=FEW).versions
        if rows:
            return ListPage(_marker_in(rows, prefix) or (_empty_object(rows[0].key + "/", rows[0]),), ())
        there = self._object_of(prefix)
        for row in versions_of(self._client, there) if there else ():
            if _is_old(row):
                return ListPage(tuple(_objects_of([row])), ())
        return ListPage((), ())

    def _folder(self, prefix: str, marker: str) -> ListPage:
        part, *position = marker.split("\0") if marker else (_OWN, *_FROM_START)
        begin: VersionMarker = (position[0], position[1])
        objects: List[ListedObject] = []
        if part == _OWN:
            known = self._known.get(prefix)
            if known is not None:
                return ListPage(known, ())
            there = self._object_of(prefix)
            own = None if there is None else self._client.list_object_versions(there, marker=begin, max_keys=_OWN_PAGE)
            rows = () if own is None else own.versions
            objects = _objects_of([row for row in rows if row.key == there])
            if own is not None and own.next_marker is not None and rows and rows[-1].key == there:
                return ListPage(tuple(objects), (), "\0".join((_OWN, *own.next_marker)))
            begin = _FROM_START
        page = self._client.list_object_versions(prefix, delimiter="/", marker=begin)
        self._remember(prefix, page, begin)
        objects[:0] = _marker_in(page.versions, prefix)
        prefixes = {row.key + "/" for row in page.versions if _is_old(row)}.union(page.prefixes)
        return ListPage(tuple(objects), tuple(sorted(prefixes, key=_bytes_of)),
                        None if page.next_marker is None else "\0".join((_BELOW, *page.next_marker)))

    def _remember(self, prefix: str, page: VersionsPage, begin: VersionMarker) -> None:
        """Keep the versions of objects of which this page and those before have all, unless a folder has the name, too.

        Of some only the next page can tell: more versions may follow, or the folder, which comes after ``a.b``, say.
        """
        versions = self._known.take_undecided(prefix, begin)
        whole = {*versions, *(row.key for row in page.versions if row.key != begin[0])}
        for row in page.versions:
            versions.setdefault(row.key, []).append(row)
        end = None if page.next_marker is None else _bytes_of(page.next_marker[0])
        undecided: _Rows = {}
        for key in whole.difference(folder[:-1] for folder in page.prefixes):
            folder = key + "/"
            if end is None or end > _bytes_of(folder):
                self._known.put(folder, tuple(_objects_of(versions[key])))
            elif len(versions[key]) <= MAX_LIST_KEYS:
                undecided[key] = versions[key]
        if page.next_marker is not None:
            self._known.leave_undecided(prefix, page.next_marker, undecided)


class _Known:
    """What listings have told: the objects below prefixes, by prefix, oldest first."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._folders: OrderedDict[str, Tuple[float, Tuple[ListedObject, ...]]] = OrderedDict()
        self._count = 0
        self._undecided: OrderedDict[Tuple[str, VersionMarker], _Rows] = OrderedDict()

    def take_undecided(self, prefix: str, begin: VersionMarker) -> _Rows:
        """What the page before the one that begins there has left."""
        with self._lock:
            return self._undecided.pop((prefix, begin), {})

    def leave_undecided(self, prefix: str, end: VersionMarker, versions: _Rows) -> None:
        """Have versions at the end of a page looked at again together with the next page."""
        with self._lock:
            self._undecided[prefix, end] = versions
            if len(self._undecided) > _MOST_LISTINGS:
                self._undecided.popitem(last=False)

    def get(self, prefix: str) -> Optional[Tuple[ListedObject, ...]]:
        with self._lock:
            told_at, objects = self._folders.get(prefix, (0.0, None))
            return objects if self._clock() - told_at < self._ttl_s else None

    def put(self, prefix: str, objects: Tuple[ListedObject, ...]) -> None:
        with self._lock:
            self._count += 1 + len(objects) - self._size_locked(self._folders.pop(prefix, None))
            self._folders[prefix] = (self._clock(), objects)
            while self._count > _MOST_ROWS:
                self._count -= self._size_locked(self._folders.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._folders.clear()
            self._undecided.clear()
            self._count = 0

    @staticmethod
    def _size_locked(kept: Optional[Tuple[float, Tuple[ListedObject, ...]]]) -> int:
        return 0 if kept is None else 1 + len(kept[1])


def _is_old(row: ListedVersion) -> bool:
    """Whether a row is an object here. The empty marker of a folder, of which there is one for each change of its
    attributes, is none."""
    return not row.is_latest and not row.is_marker and (bool(row.size_bytes) or not row.key.endswith("/"))


def _objects_of(rows: Sequence[ListedVersion]) -> List[ListedObject]:
    """What the versions of one object, the newest first, are here: in the order of their names, in which programs go
    through them."""
    versions = [row for row in rows if not row.is_marker]
    names = version_names(versions[0].key if versions else "",
                          [(row.last_modified_s, row.version_id) for row in versions])
    return [listed_object(f"{row.key}/{name}", row) for row, name in zip(versions[::-1], names[::-1]) if _is_old(row)]


def _marker_in(rows: Sequence[ListedVersion], prefix: str) -> Tuple[ListedObject, ...]:
    """A folder's marker, if the bucket has any version of it: the first row of its listing."""
    versions = (row for row in rows if row.key == prefix and not row.is_marker)
    return tuple(_empty_object(prefix, row) for row in islice(versions, 1))


def _empty_object(key: str, row: ListedVersion) -> ListedObject:
    return ListedObject(key, 0, row.etag, row.last_modified_s)


def _bytes_of(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


if TYPE_CHECKING:
    def _conforms(client: HistoryClient) -> ObjectClient:
        return client
