"""A ``MemoryClient`` that refuses the bytes of archived objects until they are restored, as the service does.

Its clock is the service's; a restore takes ``restore_s`` of it, and the restored copy stays for ``day_s`` a day.
"""

from __future__ import annotations

import email.utils
from dataclasses import replace
from typing import Any, Dict, Tuple

from cosfs.archive import RestoreOrder, is_archived
from cosfs.cos.interface import CopySource, ObjectHeaders, ObjectInfo, StoredObject, UploadedPart
from tests.support.memory_client import MemoryClient, error


class ArchiveClient(MemoryClient):
    """``hidden``: classes whose objects are archived, too, without HEAD and listings telling."""

    def __init__(self, *, restore_s: float = 3600.0, day_s: float = 86400.0) -> None:
        self.now_s = 1_700_000_000.0
        super().__init__(clock=lambda: self.now_s)
        self.restore_s = restore_s
        self.day_s = day_s
        self.hidden: Tuple[str, ...] = ()
        self._restores: Dict[Tuple[str, str], Tuple[float, float]] = {}

    def add_archived(self, key: str, size_bytes: int = 100, storage_class: str = "ARCHIVE") -> ObjectInfo:
        return self.add(key, bytes(size_bytes), ObjectHeaders(storage_class=storage_class))

    def spent(self) -> Dict[str, int]:
        """How many requests of each kind there were since this was asked last."""
        counts = {name: count for name, count in self._counts.items() if count}
        self._counts.clear()
        return counts

    def head_object(self, key: str) -> ObjectInfo:
        info = super().head_object(key)
        ready_s, expiry_s = self._restores.get((key, info.etag), (0.0, 0.0))
        if self.now_s >= expiry_s:
            return info
        return replace(info, restore='ongoing-request="true"' if self.now_s < ready_s else
                       f'ongoing-request="false", expiry-date="{email.utils.formatdate(expiry_s, usegmt=True)}"')

    def get_object(self, key: str, buffer: memoryview, **arguments: Any) -> ObjectInfo:
        self._refuse_archived("get_object", key)
        return super().get_object(key, buffer, **arguments)

    def copy_object(self, source_key: str, key: str, **arguments: Any) -> StoredObject:
        self._refuse_archived("copy_object", source_key)
        return super().copy_object(source_key, key, **arguments)

    def upload_part_copy(self, key: str, upload_id: str, number: int, source: CopySource) -> UploadedPart:
        self._refuse_archived("upload_part_copy", source.key)
        return super().upload_part_copy(key, upload_id, number, source)

    def restore_object(self, key: str, order: RestoreOrder) -> bool:
        self._enter("restore_object", key, order=order)
        info = self._find(key).info
        if not self._archived(info):
            raise error(405, "RestoreNonArchiveObject", key)
        ready_s, expiry_s = self._restores.get((key, info.etag), (0.0, 0.0))
        if self.now_s < ready_s:
            raise error(409, "RestoreAlreadyInProgress", key)
        begins = self.now_s >= expiry_s
        ready_s = self.now_s + self.restore_s if begins else ready_s
        self._restores[key, info.etag] = ready_s, max(ready_s, self.now_s) + order.days * self.day_s
        return begins

    def _archived(self, info: ObjectInfo) -> bool:
        return is_archived(info.storage_class) or info.storage_class in self.hidden

    def _refuse_archived(self, operation: str, key: str) -> None:
        found = self.objects.get(key)
        if found is None or not self._archived(found.info):
            return
        ready_s, expiry_s = self._restores.get((key, found.info.etag), (0.0, 0.0))
        if not ready_s <= self.now_s < expiry_s:
            self._enter(operation, key, refused=True)
            raise error(403, "InvalidObjectState", key)
