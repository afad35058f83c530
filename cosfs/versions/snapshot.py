"""``SnapshotClient``: a versioned bucket as it was at one time.

An object is there if the newest of its versions that is not younger than that time is no delete marker; it is that
version. Times are those of listings (Last-Modified), in whole seconds: of several versions stored in that second the
last one counts.

Requests: a listing is one of Get Bucket Object Versions, a page of all versions at a time, and one more for each folder
that shows, because all in it may be younger or deleted. HEAD and GET name the version; which one it is they know from a
listing, or else ask (one request, if the object has few versions).

Threading: any thread. Memory: ``_MOST_KNOWN`` keys with their version ids, some 300 bytes each, and half as much for as
many folders.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Callable, Generic, List, Optional, Sequence, Tuple, TypeVar

from cosfs.archive import RestoreOrder
from cosfs.cos.interface import (
    ListedObject,
    ListPage,
    ObjectInfo,
    ProgressCallback,
    VersionedClient,
    VersionMarker,
)
from cosfs.errors import ObjectNotFound
from cosfs.executor import WorkerPool
from cosfs.units import MAX_LIST_KEYS
from cosfs.versions.read_only import FEW, ReadOnlyClient, listed_object, not_found, versions_of

if TYPE_CHECKING:
    from cosfs.cos.interface import ObjectClient

T = TypeVar("T")

_MOST_KNOWN = 100_000


class SnapshotClient(ReadOnlyClient):
    """``time_s``: seconds since the epoch. ``workers``: requests about folders that are made at once."""

    def __init__(self, client: VersionedClient, time_s: float, *, workers: int) -> None:
        super().__init__(client)
        self._time_s = time_s
        self._version_ids: _Recent[str] = _Recent()
        self._folders: _Recent[bool] = _Recent()
        self._pool = WorkerPool("cosfs-snapshot", workers)

    def head_object(self, key: str) -> ObjectInfo:
        return self._of_version(key, lambda version_id: self._client.head_object(key, version_id=version_id))

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, if_match: Optional[str] = None,
                   on_progress: Optional[ProgressCallback] = None) -> ObjectInfo:
        return self._of_version(key, lambda version_id: self._client.get_object(
            key, buffer, start=start, if_match=if_match, on_progress=on_progress, version_id=version_id))

    def restore_object(self, key: str, order: RestoreOrder) -> bool:
        return self._client.restore_object(key, order, version_id=self._version_ids.get(key) or self._find(key))

    def list_objects(self, prefix: str, *, delimiter: str = "", marker: str = "", max_keys: int = 1000,
                     on_next: Optional[Callable[[str], None]] = None) -> ListPage:  # noqa: ARG002 - of the protocol
        objects: List[ListedObject] = []
        prefixes: List[str] = []
        position: Optional[VersionMarker] = (marker, "")
        decided = marker
        limit = max(max_keys, FEW)
        while position is not None:
            page = self._client.list_object_versions(prefix, delimiter=delimiter, marker=position, max_keys=limit)
            for row in page.versions:
                if row.key != decided and row.last_modified_s <= self._time_s:
                    decided = row.key
                    if not row.is_marker:
                        self._version_ids.set(row.key, row.version_id)
                        objects.append(listed_object(row.key, row))
            prefixes += self._existing(page.prefixes)
            position = page.next_marker
            if position is not None and position[0] == decided:
                position = (decided, "")  # the older versions of that key do not matter
            if position is not None and not position[1] and (objects or prefixes):
                break
            limit = MAX_LIST_KEYS
        return _cut(ListPage(tuple(objects), tuple(prefixes), None if position is None else position[0]), max_keys)

    def close(self) -> None:
        self._pool.close()
        super().close()

    def _of_version(self, key: str, get: Callable[[str], ObjectInfo]) -> ObjectInfo:
        """Ask for the version of an object that counts. Raises: ObjectNotFound."""
        known = self._version_ids.get(key)
        version_id = known or self._find(key)
        try:
            info = get(version_id)
        except ObjectNotFound:
            version_id = self._find(key)  # somebody may have deleted the one that was listed
            if version_id == known or known is None:
                raise
            info = get(version_id)
        return replace(info, version_id=version_id)

    def _find(self, key: str) -> str:
        """The id of the version that counts, asked for. Raises: ObjectNotFound."""
        for row in versions_of(self._client, key):
            if row.last_modified_s <= self._time_s:
                if row.is_marker:
                    break
                self._version_ids.set(key, row.version_id)
                return row.version_id
        raise not_found(key)

    def _existing(self, prefixes: Sequence[str]) -> List[str]:
        """Those below which there was anything."""
        known = {prefix: self._folders.get(prefix) for prefix in prefixes}
        asked = [prefix for prefix, exists in known.items() if exists is None]
        for prefix, exists in zip(asked, self._pool.map_all(self._exists, asked)):
            self._folders.set(prefix, exists)
            known[prefix] = exists
        return [prefix for prefix, exists in known.items() if exists]

    def _exists(self, prefix: str) -> bool:
        return bool(self.list_objects(prefix, max_keys=1).objects)


def _cut(page: ListPage, max_keys: int) -> ListPage:
    """A page of at most so many entries."""
    entries: List[Tuple[str, Optional[ListedObject]]] = [*((row.key, row) for row in page.objects),
                                                         *((prefix, None) for prefix in page.prefixes)]
    if len(entries) <= max_keys:
        return page
    entries.sort(key=lambda entry: entry[0].encode("utf-8", "surrogateescape"))
    kept = entries[:max_keys]
    return ListPage(tuple(row for _, row in kept if row is not None),
                    tuple(name for name, row in kept if row is None), kept[-1][0])


class _Recent(Generic[T]):
    """A mapping that forgets what was not set or got for longest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> Optional[T]:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def set(self, key: str, value: T) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > _MOST_KNOWN:
                self._values.popitem(last=False)


if TYPE_CHECKING:
    def _conforms(client: SnapshotClient) -> ObjectClient:
        return client
