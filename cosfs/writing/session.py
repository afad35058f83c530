"""One multipart upload: parts in parallel, and the abort of everything unfinished.

Used by ``uploader`` for contents that are complete, and by ``streaming`` for files that are still being written.

Threading: everything may be used from any thread, but only one at a time starts parts. Memory of part bodies is taken
by the thread that hands a part to the pool, never by a worker, so no task of the pool waits for the budget and there is
always progress.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from types import TracebackType
from typing import Callable, Dict, List, Optional, Tuple, Type

from cosfs.cos import crc64
from cosfs.cos.interface import CopySource, ObjectClient, ObjectHeaders, StoredObject, UploadedPart
from cosfs.errors import CosException, IntegrityError
from cosfs.executor import ByteBudget, WorkerPool, wait_all
from cosfs.writing.part import PartContent
from cosfs.writing.pending import PendingUploads

log = logging.getLogger(__name__)

_PartFuture = concurrent.futures.Future[Optional[UploadedPart]]


class UploadSession:
    """As a context manager it is aborted unless it was completed.

    ::

        NEW --begin()--> OPEN --complete()--> COMPLETED
                           \\------abort()--> ABORTED (no part is in flight any more)

    Parts are started in any order; starting a number again replaces that part once the first has ended. The first
    part that fails keeps the others from being sent, and its error comes from the next ``start_*`` or ``complete``,
    unless ``forgive`` is called.

    ``on_part_ended`` is called, on whatever thread, when a part has arrived or failed.
    """

    def __init__(self, client: ObjectClient, budget: ByteBudget, pool: WorkerPool, key: str, headers: ObjectHeaders,
                 pending: PendingUploads, *, on_part_ended: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._budget = budget
        self._pool = pool
        self.key = key
        self._headers = headers
        self._pending = pending
        self._on_part_ended = on_part_ended
        self._upload_id = ""
        self._parts: Dict[int, _PartFuture] = {}
        self._failed = threading.Event()
        self._open = False

    def begin(self, *, forbid_overwrite: bool = False) -> None:
        """Ask the service for an upload. Raises: ObjectExists, other CosExceptions."""
        self._upload_id = self._client.create_multipart_upload(self.key, headers=self._headers,
                                                               forbid_overwrite=forbid_overwrite)
        self._open = True
        self._pending.add(self.key, self._upload_id, self.arrived_bytes)

    def __enter__(self) -> UploadSession:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.abort()

    @property
    def failed(self) -> bool:
        """Whether a part has failed; no other is sent then."""
        return self._failed.is_set()

    @property
    def in_flight(self) -> int:
        """How many parts have not ended."""
        return sum(not part.done() for part in list(self._parts.values()))

    def arrived(self, number: int) -> bool:
        """Whether the service has that part."""
        part = self._parts.get(number)
        return part is not None and part.done() and part.exception() is None and part.result() is not None

    def arrived_bytes(self) -> int:
        """How many bytes the service has in parts."""
        ended = [part for part in list(self._parts.values()) if part.done() and part.exception() is None]
        return sum(part.size_bytes for part in (future.result() for future in ended) if part is not None)

    def start_upload(self, number: int, content: PartContent) -> None:
        """Send a part in the background; blocks while there is no memory or no worker for it."""
        self._start(number, content.memory_bytes,
                    lambda: self._client.upload_part(self.key, self._upload_id, number, content.body()))

    def start_copy(self, number: int, source: CopySource) -> None:
        """Copy a part inside the service, in the background; blocks while there is no worker for it."""
        self._start(number, 0, lambda: self._client.upload_part_copy(self.key, self._upload_id, number, source))

    def wait(self, number: int) -> None:
        """Wait until a part has ended, in whatever way."""
        concurrent.futures.wait([self._parts[number]])

    def drop(self, number: int) -> None:
        """The object is to be made without that part; waits until it has ended."""
        self.wait(number)
        del self._parts[number]

    def forgive(self) -> List[int]:
        """Wait for all parts, and let the failure of some be no reason against others; those that did not arrive."""
        concurrent.futures.wait(self._parts.values())
        self._failed.clear()
        return [number for number in sorted(self._parts) if not self.arrived(number)]

    def complete(self, *, forbid_overwrite: bool = False) -> Tuple[StoredObject, Optional[int]]:
        """Wait for all parts and make the object of them. Returns it with its CRC-64, if that is known.

        Raises: the first error of a part, ObjectExists, UploadNotFound, IntegrityError (a part was never sent; the
        checksum that the service found for the object is not that of the parts).
        """
        parts = [part for part in wait_all(self._parts[number] for number in sorted(self._parts)) if part]
        if len(parts) < len(self._parts):
            missing = len(self._parts) - len(parts)
            raise IntegrityError(f"{self.key}: {missing} of {len(self._parts)} parts were not sent")
        stored = self._client.complete_multipart_upload(self.key, self._upload_id, parts,
                                                        forbid_overwrite=forbid_overwrite)
        self._open = False
        self._pending.remove(self._upload_id)
        checksum = crc64.combine((part.crc64, part.size_bytes) for part in parts)
        if None not in (checksum, stored.crc64) and checksum != stored.crc64:
            raise IntegrityError(f"{self.key}: the object has CRC-64 {stored.crc64}, its parts have {checksum}")
        return stored, checksum if stored.crc64 is None else stored.crc64

    def abort(self) -> None:
        """Wait until no part is in flight, then take the upload back. Nothing to do for one that is not open."""
        if not self._open:
            return
        self._open = False
        self._failed.set()
        try:
            concurrent.futures.wait(self._parts.values())
        finally:
            try:
                self._client.abort_multipart_upload(self.key, self._upload_id)
            except CosException as exc:
                log.warning("upload %s of %s stays pending, it could not be aborted: %s",
                            self._upload_id, self.key, exc)
            else:
                self._pending.remove(self._upload_id)

    def _start(self, number: int, memory_bytes: int, send: Callable[[], UploadedPart]) -> None:
        if self._failed.is_set():
            wait_all(self._parts.values())  # raises the error
        if number in self._parts:
            self.wait(number)
        self._budget.acquire(memory_bytes)
        try:
            self._parts[number] = self._pool.submit(self._run, memory_bytes, send)
        except BaseException:
            self._budget.release(memory_bytes)
            raise
        self._parts[number].add_done_callback(lambda _: self._on_part_ended())

    def _run(self, memory_bytes: int, send: Callable[[], UploadedPart]) -> Optional[UploadedPart]:
        """The task of one part; None if another one failed before it began."""
        try:
            return None if self._failed.is_set() else send()
        except BaseException:
            self._failed.set()
            raise
        finally:
            self._budget.release(memory_bytes)
