"""Carries out upload plans: part bodies under the byte budget, parallel parts, abort of everything unfinished.

The filesystem calls :meth:`Uploader.commit`; :class:`UploadSession` is one multipart upload, of whatever source.

Threading: everything may be used from any thread. Memory of part bodies is taken by the thread that hands a part to
the pool, never by a worker, so no task of the pool waits for the budget and there is always progress. At any time the
bodies hold at most ``min(budget, (workers + queue + committing threads) * part size)`` bytes; a part (or PUT) larger
than the budget goes alone.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Callable, Dict, Optional, Tuple, Type

from cosfs.cos import crc64
from cosfs.cos.interface import CopySource, ObjectClient, ObjectHeaders, StoredObject, UploadedPart
from cosfs.errors import CosException, IntegrityError, ObjectNotFound, PreconditionFailed, StaleHandle
from cosfs.executor import ByteBudget, WorkerPool, wait_all
from cosfs.writing.extents import STAGED, ZERO, ExtentMap, Remote
from cosfs.writing.plan import (
    DEFAULT_LIMITS,
    CopyRange,
    CopyWhole,
    Limits,
    Multipart,
    PutWhole,
    plan_fetches,
    plan_upload,
)
from cosfs.writing.staging import StagingFile

log = logging.getLogger(__name__)

Fill = Callable[[memoryview], None]
"""Writes the body of a part into the buffer, all of it; the buffer holds zeros before."""


@dataclass(frozen=True)
class Committed:
    """What is in the bucket now. ``crc64``: of the whole object, None when nobody knows it."""

    stored: StoredObject
    size_bytes: int
    crc64: Optional[int]


class Uploader:
    """Brings the content of open files into the bucket."""

    def __init__(self, client: ObjectClient, budget: ByteBudget, pool: WorkerPool,
                 limits: Limits = DEFAULT_LIMITS) -> None:
        self._client = client
        self._budget = budget
        self._pool = pool
        self.limits = limits

    def commit(self, key: str, extents: ExtentMap, staging: Optional[StagingFile], headers: ObjectHeaders, *,
               forbid_overwrite: bool = False) -> Committed:
        """Store the content that ``extents`` describes as ``key``; blocks until it is in the bucket.

        The caller holds the lock that guards ``extents`` and ``staging``; both stay as they are (call ``rebase`` and
        ``clear`` after). ``staging`` may be None when nothing is staged. An object that unchanged runs refer to and
        that changed or went away meanwhile is StaleHandle with the service's answer as cause: what the file should
        contain cannot be had any more, and the object in the bucket stays as it is.

        Raises: StaleHandle, FileTooLarge, ObjectExists (``forbid_overwrite``), StagingFailed, CosException. No upload
        is left pending then.
        """
        plan = plan_upload(extents, self.limits)
        content = _Content(self._client, extents, staging, self.limits)
        try:
            if isinstance(plan, CopyWhole):
                stored = self._client.copy_object(plan.source.key, key, headers=headers, if_match=plan.source.etag,
                                                  forbid_overwrite=forbid_overwrite)
                checksum = stored.crc64
            elif isinstance(plan, PutWhole):
                with self._budget.reserve(plan.size_bytes):
                    body = content.body(0, plan.size_bytes)
                    stored = self._client.put_object(key, body, headers=headers, forbid_overwrite=forbid_overwrite)
                checksum = stored.crc64
            else:
                with self.session(key, headers, forbid_overwrite=forbid_overwrite) as session:
                    _start_parts(session, plan, content)
                    stored, checksum = session.complete()
        except (PreconditionFailed, ObjectNotFound) as exc:
            raise StaleHandle(f"{key}: the object it was made from has changed or is gone") from exc
        return Committed(stored, extents.size_bytes, checksum)

    def session(self, key: str, headers: ObjectHeaders, *, forbid_overwrite: bool = False) -> UploadSession:
        return UploadSession(self._client, self._budget, self._pool, key, headers, forbid_overwrite)


class UploadSession:
    """One multipart upload; a context manager that aborts it unless it was completed.

    ::

        OPEN --complete()--> COMPLETED
          \\--left in any other way: no part is in flight any more--> ABORTED

    Parts are started in any order; starting a number again replaces that part once the first has ended. The first
    part that fails keeps the others from being sent, and its error comes from the next ``start_*`` or ``complete``.
    """

    def __init__(self, client: ObjectClient, budget: ByteBudget, pool: WorkerPool, key: str, headers: ObjectHeaders,
                 forbid_overwrite: bool) -> None:
        self._client = client
        self._budget = budget
        self._pool = pool
        self._key = key
        self._headers = headers
        self._forbid_overwrite = forbid_overwrite
        self._upload_id = ""
        self._parts: Dict[int, concurrent.futures.Future[Optional[UploadedPart]]] = {}
        self._failed = threading.Event()
        self._completed = False

    def __enter__(self) -> UploadSession:
        self._upload_id = self._client.create_multipart_upload(self._key, headers=self._headers,
                                                               forbid_overwrite=self._forbid_overwrite)
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        if self._completed:
            return
        self._failed.set()
        try:
            concurrent.futures.wait(self._parts.values())
        finally:
            try:
                self._client.abort_multipart_upload(self._key, self._upload_id)
            except CosException as exc:
                log.warning("upload %s of %s stays pending, it could not be aborted: %s",
                            self._upload_id, self._key, exc)

    def start_upload(self, number: int, size_bytes: int, fill: Fill) -> None:
        """Send a part in the background; blocks while there is no memory or no worker for it."""
        def send() -> UploadedPart:
            body = bytearray(size_bytes)
            fill(memoryview(body))
            return self._client.upload_part(self._key, self._upload_id, number, body)

        self._start(number, size_bytes, send)

    def start_copy(self, number: int, source: CopySource) -> None:
        """Copy a part inside the service, in the background; blocks while there is no worker for it."""
        self._start(number, 0, lambda: self._client.upload_part_copy(self._key, self._upload_id, number, source))

    def complete(self) -> Tuple[StoredObject, Optional[int]]:
        """Wait for all parts and make the object of them. Returns it with its CRC-64, if that is known.

        Raises: the first error of a part, ObjectExists, UploadNotFound, IntegrityError (the checksum that the service
        found for the object is not that of the parts).
        """
        parts = [part for part in wait_all(self._parts[number] for number in sorted(self._parts)) if part]
        stored = self._client.complete_multipart_upload(self._key, self._upload_id, parts,
                                                        forbid_overwrite=self._forbid_overwrite)
        self._completed = True
        checksum = crc64.combine((part.crc64, part.size_bytes) for part in parts)
        if None not in (checksum, stored.crc64) and checksum != stored.crc64:
            raise IntegrityError(f"{self._key}: the object has CRC-64 {stored.crc64}, its parts have {checksum}")
        return stored, checksum if stored.crc64 is None else stored.crc64

    def _start(self, number: int, memory_bytes: int, send: Callable[[], UploadedPart]) -> None:
        if self._failed.is_set():
            wait_all(self._parts.values())  # raises the error
        if number in self._parts:
            self._parts[number].result()
        self._budget.acquire(memory_bytes)
        try:
            self._parts[number] = self._pool.submit(self._run, memory_bytes, send)
        except BaseException:
            self._budget.release(memory_bytes)
            raise

    def _run(self, memory_bytes: int, send: Callable[[], UploadedPart]) -> Optional[UploadedPart]:
        """The task of one part; None if another one failed before it began."""
        try:
            return None if self._failed.is_set() else send()
        except BaseException:
            self._failed.set()
            raise
        finally:
            self._budget.release(memory_bytes)


class _Content:
    """The bytes of a file for part bodies: staged bytes from the disk, unchanged ones from the bucket."""

    def __init__(self, client: ObjectClient, extents: ExtentMap, staging: Optional[StagingFile],
                 limits: Limits) -> None:
        self._client = client
        self._extents = extents
        self._staging = staging
        self._limits = limits

    def body(self, start: int, stop: int) -> bytearray:
        body = bytearray(stop - start)
        self.fill(start, memoryview(body))
        return body

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer``, which holds zeros, with the bytes of the file from ``start`` on."""
        stop = start + len(buffer)
        fetched = start  # bytes up to here may have been overwritten by a fetch
        for run in plan_fetches(self._extents, start, stop, self._limits):
            assert isinstance(run.source, Remote)
            self._client.get_object(run.source.key, buffer[run.start - start:run.stop - start],
                                    start=run.source.offset, if_match=run.source.etag)
            fetched = run.stop
        for run in self._extents.runs(start, stop):
            part = buffer[run.start - start:run.stop - start]
            if run.source is STAGED:
                assert self._staging is not None
                self._staging.read_into(run.start, part)
            elif run.source is ZERO and run.start < fetched:
                part[:] = bytes(len(part))


def _start_parts(session: UploadSession, plan: Multipart, content: _Content) -> None:
    for number, part in enumerate(plan.parts, 1):
        if isinstance(part, CopyRange):
            offset = part.source.offset
            session.start_copy(number, CopySource(part.source.key, offset, offset + part.stop - part.start,
                                                  if_match=part.source.etag))
        else:
            session.start_upload(number, part.stop - part.start, _filler(content, part.start))


def _filler(content: _Content, start: int) -> Fill:
    return lambda buffer: content.fill(start, buffer)
