"""Brings the content of open files into the bucket: at once (``commit``), or while it is being written (``stream``).

Threading: everything may be used from any thread. At any time bodies in memory hold at most
``min(budget, (workers + queue + committing threads) * part size)`` bytes; one larger than the budget goes alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Optional

from cosfs.cos.interface import ObjectClient, ObjectHeaders, StoredObject
from cosfs.errors import ObjectNotFound, PreconditionFailed, StaleHandle
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.writing.extents import ExtentMap
from cosfs.writing.part import PartContent
from cosfs.writing.pending import PendingUploads
from cosfs.writing.plan import DEFAULT_LIMITS, CopyWhole, Limits, PutWhole, plan_upload
from cosfs.writing.session import UploadSession
from cosfs.writing.staging import StagingFile
from cosfs.writing.streaming import StreamingUpload, start_part


@dataclass(frozen=True)
class Committed:
    """What is in the bucket now. ``crc64``: of the whole object, None when nobody knows it.

    ``streamed``: it has the headers that were given when the upload began.
    """

    stored: StoredObject
    size_bytes: int
    crc64: Optional[int]
    streamed: bool = False


class Uploader:
    def __init__(self, client: ObjectClient, budget: ByteBudget, pool: WorkerPool, limits: Limits = DEFAULT_LIMITS,
                 pending: Optional[PendingUploads] = None) -> None:
        """``pending``: where uploads are noted that a crash would leave behind."""
        self._client = client
        self._budget = budget
        self._pool = pool
        self.limits = limits
        self._pending = pending or PendingUploads(None)

    def commit(self, key: str, extents: ExtentMap, staging: Optional[StagingFile], headers: ObjectHeaders, *,
               forbid_overwrite: bool = False, by_copy: bool = True) -> Committed:
        """Store the content that ``extents`` describes as ``key``; blocks until it is in the bucket.

        The caller holds the lock that guards ``extents`` and ``staging``; both stay as they are (call ``rebase`` and
        ``clear`` after). ``staging`` may be None when nothing is staged. An object that unchanged runs refer to and
        that changed or went away meanwhile is StaleHandle with the service's answer as cause: what the file should
        contain cannot be had any more, and the object in the bucket stays as it is. ``by_copy``: False has nothing
        copied by the service, everything fetched and sent.

        Raises: StaleHandle, FileTooLarge, ObjectExists (``forbid_overwrite``), StagingFailed, CosException. No upload
        is left pending then.
        """
        limits = self.limits if by_copy else replace(self.limits, server_copies=False)
        plan = plan_upload(extents, limits)
        try:
            if isinstance(plan, CopyWhole):
                stored = self._client.copy_object(plan.source.key, key, headers=headers, if_match=plan.source.etag,
                                                  forbid_overwrite=forbid_overwrite)
                checksum = stored.crc64
            elif isinstance(plan, PutWhole):
                content = PartContent(self._client, staging, extents.runs(), limits)
                with self._budget.reserve(content.memory_bytes):
                    stored = self._client.put_object(key, content.body(), headers=headers,
                                                     forbid_overwrite=forbid_overwrite)
                checksum = stored.crc64
            else:
                with self.session(key, headers) as session:
                    session.begin(forbid_overwrite=forbid_overwrite)
                    for number, part in enumerate(plan.parts, 1):
                        start_part(session, number, part, self._client, staging, extents, limits)
                    stored, checksum = session.complete(forbid_overwrite=forbid_overwrite)
        except (PreconditionFailed, ObjectNotFound) as exc:
            raise _stale(key) from exc
        return Committed(stored, extents.size_bytes, checksum)

    def stream(self, key: str, headers: ObjectHeaders, staging: StagingFile,
               on_part_ended: Callable[[], None]) -> StreamingUpload:
        """Begin the upload of a file that is still being written. Raises: CosException."""
        session = self.session(key, headers, on_part_ended)
        session.begin()
        return StreamingUpload(self._client, session, staging, self.limits)

    @staticmethod
    def finish(upload: StreamingUpload, extents: ExtentMap, *, forbid_overwrite: bool) -> Committed:
        """Complete such an upload; blocks until the object is in the bucket.

        Raises: as ``commit``; the upload stays open then.
        """
        try:
            stored, checksum = upload.finish(extents, forbid_overwrite=forbid_overwrite)
        except (PreconditionFailed, ObjectNotFound) as exc:
            raise _stale(upload.key) from exc
        return Committed(stored, extents.size_bytes, checksum, streamed=True)

    def session(self, key: str, headers: ObjectHeaders,
                on_part_ended: Callable[[], None] = lambda: None) -> UploadSession:
        return UploadSession(self._client, self._budget, self._pool, key, headers, self._pending,
                             on_part_ended=on_part_ended)


def _stale(key: str) -> StaleHandle:
    return StaleHandle(f"{key}: the object it was made from has changed or is gone")
