"""The memory of ranges.

Defined here and only here. Large buffers are mappings of their own: given back, they are gone from the process, and the
system may serve them by huge pages, which takes a tenth of the time that small ones take to clear (measured).
"""

from __future__ import annotations

import mmap
import sys
from typing import Union

from cosfs.units import MIB

Buffer = Union[bytearray, mmap.mmap]

NO_BUFFER: Buffer = bytearray()

_MAPPED_BYTES = MIB
_HUGE_BYTES = 2 * MIB


def new_buffer(size_bytes: int) -> Buffer:
    if size_bytes < _MAPPED_BYTES:
        return bytearray(size_bytes)
    made = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size_bytes >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        made.madvise(mmap.MADV_HUGEPAGE)
    return made


def lend(buffer: Buffer, start: int, stop: int) -> memoryview:
    """A read-only view of part of a buffer, which counts as lent until the view is gone."""
    return memoryview(buffer)[start:stop].toreadonly()


def is_lent(buffer: Buffer) -> bool:
    """Whether somebody has a view of a buffer that is otherwise an attribute of one object and known to nobody else.

    Every view of ``lend`` holds a reference of its own. A reference more for another reason only delays an eviction.
    """
    return sys.getrefcount(buffer) > _UNLENT


class _Holder:
    buffer = None


def _references(buffer: object) -> int:
    return sys.getrefcount(buffer)


def _unlent() -> int:
    """The references that ``is_lent`` sees of an attribute; versions of Python differ."""
    holder = _Holder()
    holder.buffer = bytearray(1)  # type: ignore[assignment]
    return _references(holder.buffer)


_UNLENT = _unlent()
