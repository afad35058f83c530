"""The bytes of one part (or PUT) of a file, as the uploader sends them.

Staged bytes and holes are read from the local disk, once for the checksums and once, by the kernel, for the wire, so
they take no memory. What has to be fetched from the bucket first, and what is small, is sent from memory.

Threading: the runs are a snapshot; nobody may change the staged bytes of a part while it is being sent.
"""

from __future__ import annotations

from typing import Iterable, Iterator, Optional, Tuple, Union

from cosfs.cos.interface import FileBytes, ObjectClient, UploadBody
from cosfs.errors import StagingFailed
from cosfs.units import KIB, MIB
from cosfs.writing.extents import STAGED, ZERO, Remote, Run, Source
from cosfs.writing.plan import Limits, plan_fetches
from cosfs.writing.staging import StagingFile

_CHUNK_BYTES = 1024 * KIB
_IN_MEMORY_BYTES = MIB
"""Up to this a body is read once instead of twice."""


class PartContent:
    """``staging`` may be None when none of the runs is staged."""

    def __init__(self, client: ObjectClient, staging: Optional[StagingFile], runs: Iterable[Run],
                 limits: Limits) -> None:
        self._client = client
        self._staging = staging
        self._runs: Tuple[Run, ...] = tuple(runs)
        self._limits = limits
        self._start = self._runs[0].start if self._runs else 0
        self.size_bytes = self._runs[-1].stop - self._start if self._runs else 0

    @property
    def memory_bytes(self) -> int:
        """What its body will take of the memory."""
        if self.size_bytes <= _IN_MEMORY_BYTES or any(isinstance(run.source, Remote) for run in self._runs):
            return self.size_bytes
        return 0

    def body(self) -> UploadBody:
        """Fetches what is in the bucket only. Raises: StagingFailed, PreconditionFailed, other CosExceptions."""
        return self._in_memory() if self.memory_bytes else self

    def chunks(self) -> Iterator[memoryview]:
        """All bytes, none of which is in the bucket only. Raises: StagingFailed."""
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, self.size_bytes)))
        filled = 0
        for run in self._runs:
            position = run.start
            while position < run.stop:
                piece = buffer[filled:filled + run.stop - position]
                self._read(run.source, position, piece)
                position += len(piece)
                filled += len(piece)
                if filled == len(buffer):
                    yield buffer
                    filled = 0
        if filled:
            yield buffer[:filled]

    def pieces(self) -> Iterator[Union[memoryview, FileBytes]]:
        """As ``chunks``, but staged bytes, where they lie."""
        for run in self._runs:
            if run.source is STAGED and self._staging is not None:
                yield self._staging.bytes_of(run.start, run.stop)
            else:
                yield from PartContent(self._client, None, (run,), self._limits).chunks()

    def _in_memory(self) -> bytearray:
        body = bytearray(self.size_bytes)
        view, start = memoryview(body), self._start
        for run in plan_fetches(self._runs, self._limits):
            assert isinstance(run.source, Remote)
            self._client.get_object(run.source.key, view[run.start - start:run.stop - start],
                                    start=run.source.offset, if_match=run.source.etag)
        for run in self._runs:
            if not isinstance(run.source, Remote):  # may have been fetched over
                self._read(run.source, run.start, view[run.start - start:run.stop - start])
        return body

    def _read(self, source: Source, position: int, buffer: memoryview) -> None:
        if source is STAGED and self._staging is not None:
            self._staging.read_into(position, buffer)
        elif source is ZERO:
            buffer[:] = bytes(len(buffer))
        else:
            raise StagingFailed(f"byte {position} is not on the local disk: {source}")
