"""The readers of the object versions that one open file is made of: its own, and those it was copied from.

Threading: any thread.
"""

from __future__ import annotations

import threading
from typing import Callable, Dict, Optional, Tuple

from cosfs.cos.interface import ObjectInfo
from cosfs.filesystem.context import Context
from cosfs.filesystem.types import Data
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import Window
from cosfs.writing.extents import Remote


class VersionReaders:
    """``on_corrupted`` is called when bytes turn out to be wrong, from any thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._readers: Dict[Tuple[str, str], ObjectReader] = {}
        """By key and ETag."""
        self._lock = threading.Lock()
        self.on_corrupted: Callable[[], None] = lambda: None

    def read(self, source: Remote, length: int, ahead: Optional[Window], max_age_s: Optional[float],
             base: Optional[ObjectInfo]) -> Data:
        """As ``FileContent.read``. ``base``: the file's own version, whose checksum is known."""
        body = self._context.tree.bodies.get(source.key, source.etag, max_age_s=max_age_s, ahead=True)
        if body is not None:
            self._context.ranges.rate.hits.add()
            return body[source.offset:source.offset + length]
        return self._reader(source, base).read(source.offset, length, ahead)

    def _reader(self, source: Remote, base: Optional[ObjectInfo]) -> ObjectReader:
        version = (source.key, source.etag)
        reader = self._readers.get(version)
        if reader is None:
            with self._lock:
                reader = self._readers.get(version)
                if reader is None:
                    checksum = base.crc64 if base is not None and base.etag == source.etag else None
                    reader = self._readers[version] = self._context.reader(
                        source.key, source.etag, source.object_bytes, checksum, self.on_corrupted)
        return reader

    @property
    def corrupted(self) -> bool:
        """Whether wrong bytes may have been handed out; nothing more of their version is."""
        return any([reader.corrupted for reader in list(self._readers.values())])

    def close(self) -> None:
        with self._lock:
            readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()
