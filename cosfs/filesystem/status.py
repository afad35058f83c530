"""What a running filesystem tells of itself, as plain values: caches, budgets, open files, uploads under way.

Used by the control folder (control_files.py). No request is made, and no lock is held over more than dictionary work.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Dict, List, Optional

from cosfs.filesystem.context import Context
from cosfs.filesystem.table import OpenFileTable
from cosfs.filesystem.writeback import Writeback
from cosfs.writing.pending import PendingUploads

Values = Dict[str, object]


@dataclass(frozen=True)
class Status:
    """The parts of a filesystem that have something to tell."""

    context: Context
    table: OpenFileTable
    pending: PendingUploads
    writeback: Optional[Writeback]

    def told(self) -> Values:
        context = self.context
        disk = context.disk_cache
        budget, staging = context.ranges.budget, context.staging
        return {
            "caches": {"metadata": context.cache.rate.told(), "data": context.ranges.rate.told(),
                       "disk": None if disk is None else disk.rate.told()},
            "memory": {"used_bytes": budget.used_bytes, "limit_bytes": budget.limit_bytes},
            "staging": {"used_bytes": staging.used_bytes, "limit_bytes": staging.limit_bytes},
            "open_files": self.table.open_count(),
            "pending": {"uploads": self._uploads(), "waiting": self._waiting()},
        }

    def _uploads(self) -> List[Values]:
        files = {file.key: file for file in self.table.all()}
        found: List[Values] = []
        for upload in self.pending.told():
            file = files.get(upload.key)
            found.append({
                "key": upload.key, "path": None if file is None else file.path,
                "size_bytes": None if file is None else file.size_bytes, "sent_bytes": upload.sent_bytes(),
                "age_s": round(time.monotonic() - upload.since_s, 1)})
        return found

    def _waiting(self) -> List[Values]:
        return [] if self.writeback is None else [
            {"path": waiting.file.path, "size_bytes": waiting.file.size_bytes, "age_s": round(waiting.age_s, 1),
             "failures": waiting.failures, "cause": waiting.cause} for waiting in self.writeback.told()]
