"""The directory that the server keeps everything in: one folder for each bucket.

``DIR/NAME-APPID/index.db`` is the bucket's index, ``DIR/NAME-APPID/blobs/`` holds the bytes. Keys never
become file names, so no key can lead out of DIR; bucket names are checked before they do.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from bisect import bisect_left
from collections import deque
from pathlib import Path
from typing import Deque, Dict, Iterator, List, Optional, Tuple

from cosfs.server.errors import ApiError
from cosfs.server.index import Index, Row
from cosfs.server.objects import ObjectTable
from cosfs.server.uploads import UploadTable

BUCKET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?-[0-9]{1,20}")
"""``<name>-<appid>`` (COS documentation "Bucket overview")."""


class Bucket:
    """One bucket: ``objects``, ``uploads`` and ``blobs``.

    ``keep_history_s``: how far back ``scan_past`` can look; 0 keeps nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._index = Index(folder)
        self._history: Deque[Tuple[float, bytes, Optional[Row]]] = deque()
        self.keep_history_s = 0.0
        self.blobs = self._index.blobs
        self.objects = ObjectTable(self._index, self._remember)
        self.uploads = UploadTable(self._index, self.objects)
        self.discard = self._index.discard

    @property
    def created_s(self) -> float:
        return float(self._index.setting("created_s") or 0)

    def close(self) -> None:
        self._index.close()

    def _remember(self, key: bytes, row: Optional[Row]) -> None:
        now = time.monotonic()
        while self._history and self._history[0][0] < now - self.keep_history_s:
            self._history.popleft()
        if self.keep_history_s:
            self._history.append((now, key, row))

    def scan_past(self, age_s: float, start: bytes, stop: Optional[bytes]) -> Iterator[Row]:
        """As ``objects.scan``, but the state of ``age_s`` seconds ago."""
        since = time.monotonic() - age_s
        then: Dict[bytes, Optional[Row]] = {}
        for when, key, row in self._history:
            if when >= since:
                then.setdefault(key, row)
        keys = sorted(key for key, row in then.items() if row is not None)
        index = bisect_left(keys, start)
        for row in self.objects.scan(start, stop):
            while index < len(keys) and keys[index] < row["key"]:
                yield then[keys[index]]
                index += 1
            if row["key"] not in then:
                yield row
        for key in keys[index:]:
            if stop is None or key < stop:
                yield then[key]


class Store:
    """All buckets under one directory. One process at a time may have it open."""

    def __init__(self, root: Path) -> None:
        """Raises: OSError (the directory is missing, not writable, or in use: BlockingIOError)."""
        self._root = root
        self._lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._buckets: Dict[str, Bucket] = {}
        self._history_s = 0.0
        for folder in sorted(root.iterdir()):
            if BUCKET_NAME.fullmatch(folder.name) and (folder / "index.db").exists():
                self._buckets[folder.name] = Bucket(folder)

    def close(self) -> None:
        for bucket in self._buckets.values():
            bucket.close()
        os.close(self._lock)

    def buckets(self) -> List[Bucket]:
        return [self._buckets[name] for name in sorted(self._buckets)]

    def bucket(self, name: str) -> Bucket:
        """Raises: ApiError NoSuchBucket."""
        try:
            return self._buckets[name]
        except KeyError:
            raise ApiError("NoSuchBucket") from None

    def find_bucket(self, name: str) -> Optional[Bucket]:
        return self._buckets.get(name)

    def create_bucket(self, name: str) -> None:
        """Raises: ApiError InvalidBucketName, BucketAlreadyOwnedByYou."""
        if not BUCKET_NAME.fullmatch(name):
            raise ApiError("InvalidBucketName")
        if name in self._buckets:
            raise ApiError("BucketAlreadyOwnedByYou")
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        self._buckets[name] = Bucket(folder)
        self._buckets[name].keep_history_s = self._history_s

    def delete_bucket(self, name: str) -> None:
        """Raises: ApiError NoSuchBucket, BucketNotEmpty."""
        bucket = self.bucket(name)
        if not (bucket.objects.is_empty() and bucket.uploads.is_empty()):
            raise ApiError("BucketNotEmpty")
        bucket.close()
        del self._buckets[name]
        shutil.rmtree(self._root / name)

    def keep_history(self, seconds: float) -> None:
        """Let listings of the past reach back so far, from now on."""
        self._history_s = seconds
        for bucket in self._buckets.values():
            bucket.keep_history_s = seconds
