"""CRC-64/XZ, the checksum that the service returns as ``x-cos-hash-crc64ecma``.

Check value: ``crc64(b"123456789") == 11051210869376104954``. Empty input gives 0, so partial values chain
and combine without special cases.
"""

from __future__ import annotations

from typing import Iterable, Optional, Tuple, Union, cast

import anycrc

_MODEL = anycrc.Model("CRC64-XZ")


def crc64(data: Union[bytes, bytearray, memoryview], start: int = 0) -> int:
    """The CRC of ``data`` appended to bytes whose CRC is ``start``."""
    return cast(int, _MODEL.calc(data, start))


def combine(parts: Iterable[Tuple[Optional[int], int]]) -> Optional[int]:
    """The CRC of the concatenation of parts, each given as (CRC, length in bytes).

    None when the CRC of any part is unknown.
    """
    total = 0
    for crc, length in parts:
        if crc is None:
            return None
        total = cast(int, _MODEL.combine(total, crc, length))
    return total
