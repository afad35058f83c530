"""One page of a listing: prefix, delimiter, marker and limit over rows in key order. Pure.

A common prefix costs one seek past everything below it, not a scan of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from cosfs.server.index import Row

Scan = Callable[[bytes, Optional[bytes]], Iterator[Row]]
"""Rows with a ``key``, of the keys in ``[start, stop)``, in byte order."""


@dataclass(frozen=True)
class Page:
    """Rows and common prefixes; ``last`` is the last entry of a truncated page: a row or a prefix."""

    rows: Sequence[Row]
    prefixes: Sequence[bytes]
    truncated: bool
    last_row: Optional[Row] = None
    last_prefix: Optional[bytes] = None


def successor(prefix: bytes) -> Optional[bytes]:
    """The first byte string after all that begin with ``prefix``; None when there is no end."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


def first_after(marker: bytes, prefix: bytes, delimiter: bytes) -> Optional[bytes]:
    """Where a listing goes on after ``marker``, itself left out; None: nowhere, it is at the end.

    A marker that is a common prefix stands for all below it (COS documentation "GET Bucket").
    """
    if delimiter and marker.startswith(prefix) and marker.find(delimiter, len(prefix)) == len(marker) - len(delimiter):
        return successor(marker)
    return marker + b"\0"


def list_page(scan: Scan, prefix: bytes, delimiter: bytes, start: Optional[bytes], limit: int) -> Page:
    """Up to ``limit`` entries, rows and common prefixes together, of the keys from ``start`` on."""
    stop = successor(prefix)
    entries: List[Tuple[Optional[Row], Optional[bytes]]] = []
    position = None if start is None else max(start, prefix)
    while position is not None and limit:
        rows = scan(position, stop)
        position = None
        for row in rows:
            if len(entries) == limit:
                return _page(entries, truncated=True)
            cut = row["key"].find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                entries.append((row, None))
                continue
            common = row["key"][:cut + len(delimiter)]
            entries.append((None, common))
            position = successor(common)
            break
    return _page(entries, truncated=False)


def _page(entries: List[Tuple[Optional[Row], Optional[bytes]]], *, truncated: bool) -> Page:
    last_row, last_prefix = entries[-1] if truncated else (None, None)
    return Page([row for row, _ in entries if row is not None],
                [common for _, common in entries if common is not None], truncated, last_row, last_prefix)
