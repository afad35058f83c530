"""How a version of an object is called where it is a file: ``2026-11-28T100000Z-ID.txt``. Pure.

When it was stored, in UTC, so that names sort by age; ``.1``, ``.2`` … after the Z where several were stored in that
second; its version id, percent-encoded where a name could not hold it; and the extension of the object's own name, for
programs that go by that. The name alone tells the version id.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import List, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import quote, unquote

_EXTENSION = re.compile(r"(?<=.)(\.tar)?\.[A-Za-z0-9]{1,12}$", re.DOTALL)
_STAMP = "%Y-%m-%dT%H%M%SZ"
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d{6}Z)(?:\.\d+)?-(.+)", re.DOTALL | re.ASCII)


class VersionName(NamedTuple):
    """What a name tells. ``stamp``: the second, as ``stamp_of`` has it."""

    stamp: str
    version_id: str


def version_names(key: str, versions: Sequence[Tuple[float, str]]) -> List[str]:
    """The names of versions of one object, given by Last-Modified and version id, the newest first."""
    in_second = Counter(stamp_of(modified_s) for modified_s, _ in versions)
    left = Counter(in_second)
    extension = _extension(key)
    names = []
    for modified_s, version_id in versions:
        stamp = stamp_of(modified_s)
        count = in_second[stamp]
        number = f".{left[stamp]:0{len(str(count))}}" if count > 1 else ""
        left[stamp] -= 1
        names.append(f"{stamp}{number}-{quote(version_id, safe='')}{extension}")
    return names


def parse_name(key: str, name: str) -> Optional[VersionName]:
    """None for a name that no version of the object can have."""
    extension = _extension(key)
    match = _NAME.fullmatch(name[:len(name) - len(extension)]) if name.endswith(extension) else None
    if match is None:
        return None
    version_id = unquote(match[2])
    return VersionName(match[1], version_id) if quote(version_id, safe="") == match[2] else None


def stamp_of(modified_s: float) -> str:
    return time.strftime(_STAMP, time.gmtime(modified_s))


def _extension(key: str) -> str:
    match = _EXTENSION.search(key.rpartition("/")[2])
    return match[0] if match else ""
