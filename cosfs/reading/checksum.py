"""The CRC-64 of what was fetched of one object version, against the service's CRC-64 of the whole.

Defined here and only here: what can be checked, and when. The service tells one checksum, of the whole object, so only
a version that was fetched from its first byte to its last can be compared with it: in whatever ranges and order, some
of them evicted and fetched again meanwhile. The CRC of each cell (128 KiB, more in objects over 8 GiB) is kept; when
all are there, they are combined and compared. A cell that is fetched again is compared with the first time, so what was
checked once is as good the next time. Parts of a cell are put together, but not compared with a cell that is known.

Threading: any thread. Nothing is computed under the lock.
"""

from __future__ import annotations

import threading
from typing import Dict, List, NamedTuple, Optional, Tuple

from cosfs.cos.crc64 import combine, crc64
from cosfs.units import KIB

_CELL_BYTES = 128 * KIB
_MAX_CELLS = 65_536
"""Eight bytes each: half a MiB for an object version, however large."""

_MAX_PARTIAL_CELLS = 1_024
"""Cells of which parts are remembered. Random reads leave such parts; what they touched is fetched whole, if it ever
is, and not in such parts again."""


class Mismatch(NamedTuple):
    """The bytes ``[start, stop)`` had the CRC ``found`` instead of ``expected``."""

    start: int
    stop: int
    found: int
    expected: int


class _Piece(NamedTuple):
    """The CRC of ``[start, stop)``, which lies in one cell."""

    start: int
    stop: int
    crc: int


class VersionChecksum:
    """``expected``: the service's CRC of the object, as far as it was told before."""

    def __init__(self, size_bytes: int, expected: Optional[int] = None) -> None:
        self._size_bytes = size_bytes
        self._expected = expected
        self._untold = False
        self._cell_bytes = _CELL_BYTES
        while -(-size_bytes // self._cell_bytes) > _MAX_CELLS:
            self._cell_bytes *= 2
        self._cells = -(-size_bytes // self._cell_bytes)
        self._lock = threading.Lock()
        self._crcs: Optional[memoryview] = None
        self._known = bytearray()
        self._missing = self._cells
        self._compared = False
        self._partial: Dict[int, Dict[int, _Piece]] = {}

    def tell(self, crc: Optional[int]) -> None:
        """What an answer of the service said; there are services that say nothing, and nothing can be checked then."""
        self._untold = crc is None and self._expected is None
        self._expected = self._expected if crc is None else crc

    def note(self, start: int, data: memoryview) -> Optional[Mismatch]:
        """Note bytes that were fetched from ``start`` on.

        Returns what is wrong, with these bytes or with the whole that they complete.
        """
        if self._untold:
            return None
        pieces = self._pieces(start, data)
        with self._lock:
            if self._crcs is None:  # zeroed by the system, page by page as it is used
                self._crcs, self._known = memoryview(bytearray(8 * self._cells)).cast("Q"), bytearray(self._cells)
            for piece in pieces:
                mismatch = self._note_locked(self._crcs, piece)
                if mismatch is not None:
                    return mismatch
            expected = self._expected
            if self._missing or self._compared or expected is None:
                return None
            self._compared = True
            crcs = self._crcs.tolist()
        found = combine((crc, min(self._cell_bytes, self._size_bytes - index * self._cell_bytes))
                        for index, crc in enumerate(crcs))
        return None if found == expected else Mismatch(0, self._size_bytes, found or 0, expected)

    def _pieces(self, start: int, data: memoryview) -> List[_Piece]:
        pieces = []
        position, stop = start, start + len(data)
        while position < stop:
            end = min((position // self._cell_bytes + 1) * self._cell_bytes, stop)
            pieces.append(_Piece(position, end, crc64(data[position - start:end - start])))
            position = end
        return pieces

    def _note_locked(self, crcs: memoryview, piece: _Piece) -> Optional[Mismatch]:
        cell = piece.start // self._cell_bytes
        first, last = self._bounds(cell)
        if piece.start > first or piece.stop < last:
            if self._known[cell]:
                return None
            whole = self._joined_locked(cell, piece)
            if whole is None:
                return None
            piece = whole
        elif self._known[cell]:
            known: int = crcs[cell]
            return None if piece.crc == known else Mismatch(first, last, piece.crc, known)
        self._partial.pop(cell, None)
        crcs[cell] = piece.crc
        self._known[cell] = 1
        self._missing -= 1
        return None

    def _joined_locked(self, cell: int, piece: _Piece) -> Optional[_Piece]:
        """Lay a piece of a cell down beside those that are known, over those that it overlaps; the cell when whole."""
        kept = self._partial.setdefault(cell, {})
        for other in list(kept.values()):
            if other.start < piece.stop and piece.start < other.stop:
                del kept[other.start]
        kept[piece.start] = piece
        if len(self._partial) > _MAX_PARTIAL_CELLS:
            del self._partial[next(iter(self._partial))]
        first, last = self._bounds(cell)
        position, parts = first, []
        while position < last:
            found = kept.get(position)
            if found is None:
                return None
            parts.append((found.crc, found.stop - found.start))
            position = found.stop
        return _Piece(first, last, combine(parts) or 0)

    def _bounds(self, cell: int) -> Tuple[int, int]:
        return cell * self._cell_bytes, min((cell + 1) * self._cell_bytes, self._size_bytes)
