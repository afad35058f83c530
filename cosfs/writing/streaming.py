"""The upload of a file that is still being written: parts leave as soon as the writer is past them.

Used by the content of an open file (filesystem/content.py), which says when the file has grown and before it changes
bytes that were there.

Staged bytes stay until the file is committed while there is room for them, so a part can be changed and sent again.
Under pressure those that have arrived are given up: they are in a part of an upload that nobody can read before it is
completed. Who wants to read or change some of them commits first.

Threading: ``arrived_ranges`` and ``in_flight`` may be called from any thread, everything else by whoever holds the
mutation lock of the open file.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass
from typing import List, Optional, Tuple

from cosfs.cos.interface import CopySource, ObjectClient, StoredObject
from cosfs.writing.extents import ExtentMap
from cosfs.writing.part import PartContent
from cosfs.writing.plan import CopyRange, Limits, Part, plan_prefix, plan_rest, streamed_part_bytes
from cosfs.writing.session import UploadSession
from cosfs.writing.staging import StagingFile

_QUEUED_PARTS = 32
"""Parts of one file that are in flight or wait for a worker: more would keep those of other files waiting."""


@dataclass
class _SentPart:
    """``changed``: since it was started, so it has to be sent again. ``last``: part of an attempt to finish."""

    part: Part
    changed: bool = False
    last: bool = False


class StreamingUpload:
    """Parts ``1 … n`` of the file cover ``[0, until)``."""

    def __init__(self, client: ObjectClient, session: UploadSession, staging: StagingFile, limits: Limits) -> None:
        self._client = client
        self._session = session
        self._staging = staging
        self._limits = limits
        self._lock = threading.Lock()
        self._parts: List[_SentPart] = []

    @property
    def key(self) -> str:
        return self._session.key

    @property
    def until(self) -> int:
        """Bytes before this are in parts that were started."""
        return self._parts[-1].part.stop if self._parts else 0

    @property
    def in_flight(self) -> int:
        return self._session.in_flight

    def advance(self, extents: ExtentMap) -> None:
        """Start the parts that have become whole, as far as there is room in the queue; does not wait."""
        if extents.size_bytes - self.until < streamed_part_bytes(len(self._parts) + 1, self._limits) \
                or self._session.failed or self.in_flight >= _QUEUED_PARTS:
            return
        for part in plan_prefix(extents, self.until, len(self._parts) + 1, self._limits):
            self._append(part, extents)
            if self._session.failed or self.in_flight >= _QUEUED_PARTS:
                return

    def take_back(self, start: int, stop: int) -> List[int]:
        """The bytes ``[start, stop)`` are going to be changed: their parts are not given up any more.

        Returns the numbers of these parts; ``wait`` for each before the bytes change.
        """
        if start >= self.until:
            return []
        with self._lock:
            numbers = self._numbers(start, stop)
            for number in numbers:
                self._parts[number - 1].changed = True
        return numbers

    def touched(self, start: int, stop: int) -> Tuple[int, int]:
        """The bytes of all parts that have some of ``[start, stop)``; the range itself outside of parts."""
        numbers = self._numbers(start, stop)
        if not numbers:
            return start, stop
        return min(start, self._parts[numbers[0] - 1].part.start), max(stop, self._parts[numbers[-1] - 1].part.stop)

    def wait(self, number: int) -> None:
        """Wait until the part is no longer being sent."""
        self._session.wait(number)

    def cut(self, size_bytes: int) -> None:
        """The file ends at ``size_bytes`` now: parts behind that, or over it, are no parts any more."""
        while self._parts and self._parts[-1].part.stop > size_bytes:
            self._session.drop(len(self._parts))
            with self._lock:
                self._parts.pop()

    def arrived_ranges(self) -> List[Tuple[int, int]]:
        """The bytes that may be given up: unchanged in parts that have arrived, whatever happens next."""
        with self._lock:
            sent = list(enumerate(self._parts, 1))
        return [(item.part.start, item.part.stop) for number, item in sent
                if not item.changed and not item.last and self._session.arrived(number)]

    def finish(self, extents: ExtentMap, *, forbid_overwrite: bool) -> Tuple[StoredObject, Optional[int]]:
        """Send what is missing, and what failed or was changed, and make the object; with its CRC-64, if known.

        Raises: as ``UploadSession.complete``; FileTooLarge, StagingFailed. The upload stays open then, and may be
        advanced or finished again.
        """
        again = set(self._session.forgive())
        again.update(number for number, item in enumerate(self._parts, 1) if item.changed)
        rest = plan_rest(extents, self.until, len(self._parts) + 1, self._limits)
        whole = len(self._parts)
        try:
            for number in sorted(again):
                self._start(number, self._parts[number - 1].part, extents)
                with self._lock:
                    self._parts[number - 1].changed = False
            for part in rest:
                self._append(part, extents, last=True)
            return self._session.complete(forbid_overwrite=forbid_overwrite)
        except BaseException:
            while len(self._parts) > whole:  # the last one may be too short for what follows
                self._session.drop(len(self._parts))
                with self._lock:
                    self._parts.pop()
            raise

    def abort(self) -> None:
        self._session.abort()

    def _append(self, part: Part, extents: ExtentMap, *, last: bool = False) -> None:
        self._start(len(self._parts) + 1, part, extents)
        with self._lock:
            self._parts.append(_SentPart(part, last=last))

    def _start(self, number: int, part: Part, extents: ExtentMap) -> None:
        start_part(self._session, number, part, self._client, self._staging, extents, self._limits)

    def _numbers(self, start: int, stop: int) -> List[int]:
        """Parts that have bytes of ``[start, stop)``."""
        starts = [item.part.start for item in self._parts]
        first = max(0, bisect_right(starts, start) - 1)
        return [number for number in range(first + 1, bisect_right(starts, stop - 1) + 1)
                if self._parts[number - 1].part.stop > start]


def start_part(session: UploadSession, number: int, part: Part, client: ObjectClient,
               staging: Optional[StagingFile], extents: ExtentMap, limits: Limits) -> None:
    """Send or copy one part of what ``extents`` describes, in the background."""
    if isinstance(part, CopyRange):
        offset = part.source.offset
        session.start_copy(number, CopySource(part.source.key, offset, offset + part.stop - part.start,
                                              if_match=part.source.etag))
    else:
        session.start_upload(number, PartContent(client, staging, extents.runs(part.start, part.stop), limits))
