"""A ``MemoryClient`` that refuses the keys that the real client refuses to send."""

from __future__ import annotations

from typing import Any, Optional

from cosfs.cos.endpoint import check_key
from tests.support.memory_client import Gate, MemoryClient


class StrictClient(MemoryClient):
    def _enter(self, operation: str, key: str, **detail: Any) -> Optional[Gate]:
        if operation not in ("list_objects", "delete_objects"):
            check_key(key)
        return super()._enter(operation, key, **detail)
