"""Listing pages against the plainest possible model, and what a page costs."""

from __future__ import annotations

import random
from typing import Any, Dict, Iterator, List, Optional

import pytest

from cosfs.server.listing import first_after, list_page, successor

Row = Dict[str, bytes]


class Keys:
    """A sorted set of keys that counts the rows it gave out."""

    def __init__(self, keys: List[bytes]) -> None:
        self._keys = sorted(keys)
        self.read = 0

    def scan(self, start: bytes, stop: Optional[bytes]) -> Iterator[Any]:
        for key in self._keys:
            if key >= start and (stop is None or key < stop):
                self.read += 1
                yield {"key": key}


def model(keys: List[bytes], prefix: bytes, delimiter: bytes) -> List[bytes]:
    entries = set()
    for key in keys:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            entries.add(key if cut < 0 else key[:cut + 1])
    return sorted(entries)


@pytest.mark.parametrize("seed", range(40))
def test_pages_together_are_the_whole_listing(seed: int) -> None:
    rng = random.Random(seed)
    alphabet = [b"a", b"b", b"/", b"\xc3\xa9", b"\xff"]
    keys = list({b"".join(rng.choices(alphabet, k=rng.randint(1, 5))) for _ in range(40)})
    prefix, delimiter = rng.choice([b"", b"a", b"a/", b"\xff"]), rng.choice([b"", b"/"])
    limit, seen, start = rng.randint(1, 5), [], b""  # type: ignore[var-annotated]
    for _ in range(100):
        page = list_page(Keys(keys).scan, prefix, delimiter, start, limit)
        entries = sorted([*(row["key"] for row in page.rows), *page.prefixes])
        seen += entries
        if not page.truncated:
            break
        assert len(entries) == limit
        last = page.last_prefix if page.last_prefix is not None else page.last_row["key"]
        assert last == entries[-1]
        start = first_after(last, prefix, delimiter)
    assert seen == model(keys, prefix, delimiter)


def test_a_common_prefix_is_not_scanned() -> None:
    keys = Keys([b"dir%d/%d" % (n % 3, n) for n in range(3000)])
    page = list_page(keys.scan, b"", b"/", b"", 1000)
    assert page.prefixes == [b"dir0/", b"dir1/", b"dir2/"]
    assert keys.read <= 4


@pytest.mark.parametrize("prefix, expected", [(b"a", b"b"), (b"a\xff", b"b"), (b"", None), (b"\xff", None)])
def test_successor(prefix: bytes, expected: Optional[bytes]) -> None:
    assert successor(prefix) == expected
