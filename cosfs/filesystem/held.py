"""The staged bytes of a file that the journal of writeback mode names, and that therefore must not change.

Threading: the content lock of the file guards it.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

from cosfs.units import KIB
from cosfs.writing.extents import STAGED, ExtentMap, Run
from cosfs.writing.staging import StagingFile

_END = 1 << 63

READ_BYTES = 64 * KIB
"""Staged bytes that lie in the journal itself; it is faster to write them twice than to sync another file."""


class LocalBytes(NamedTuple):
    """A content on the local disk. Its staged bytes lie in the file ``name``, or are, in their order, ``body``."""

    runs: Tuple[Run, ...]
    name: str
    body: bytes

    @classmethod
    def read(cls, extents: ExtentMap, staging: Optional[StagingFile]) -> LocalBytes:
        """Few bytes, to be kept elsewhere. Raises: StagingFailed."""
        runs = tuple(extents.runs())
        body = b"" if staging is None else b"".join(
            staging.read(run.start, run.stop - run.start) for run in runs if run.source is STAGED)
        return cls(runs, "", body)

    @classmethod
    def keep(cls, extents: ExtentMap, staging: StagingFile) -> LocalBytes:
        """Have the staging file on the disk for good. Raises: StagingFull, StagingFailed."""
        staging.sync()
        staging.keep()
        return cls(tuple(extents.runs()), staging.name, b"")

    def write_to(self, staging: StagingFile) -> None:
        """Raises: StagingFull, StagingFailed."""
        rest = memoryview(self.body)
        for run in self.runs if rest else ():
            if run.source is STAGED:
                staging.write(run.start, rest[:run.stop - run.start])
                rest = rest[run.stop - run.start:]


class HeldBytes:
    """``extents``: the map of which the staged bytes are held; None when nothing is.

    They lie in the staging file that the content uses, until it goes on in another one (``set_aside``).
    """

    def __init__(self, extents: Optional[ExtentMap] = None) -> None:
        self._extents = extents
        self._aside: Optional[StagingFile] = None

    @property
    def active(self) -> bool:
        return self._extents is not None

    def hinder(self, start: int, stop: int = _END) -> bool:
        """Whether some of ``[start, stop)`` in the staging file that is used must stay as it is."""
        return (self._extents is not None and self._aside is None
                and self._extents.unstaged_bytes(start, stop) < stop - start)

    def set_aside(self, staging: StagingFile) -> None:
        """The file that they lie in is used no more."""
        self._aside = staging

    def release(self) -> None:
        """Nobody needs them any more."""
        if self._aside is not None:
            self._aside.close()
        self._extents = self._aside = None
