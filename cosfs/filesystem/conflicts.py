"""Two hosts change one file: what is asked before a changed file is stored, and the second name of ``keep-both``.

Used by ``OpenFile`` when it commits. The service has no conditional PUT for objects that exist ("PUT Object"), so
between the question and the upload another host may still slip in; for names that are to be new it has one
(``x-cos-forbid-overwrite``), which leaves no such moment, but is without effect in buckets that ever kept versions.
"""

from __future__ import annotations

import itertools
import os.path
import re
import socket
import time
from typing import Callable, Iterator

from cosfs.config import Conflict
from cosfs.cos.interface import ObjectClient, ObjectInfo
from cosfs.errors import ObjectNotFound, StaleHandle
from cosfs.namespace.paths import join, split
from cosfs.units import MAX_NAME_BYTES

_MAX_EXTENSION = 16
"""Characters; what comes after the last dot of a longer name is no file type."""


class ForeignVersion(StaleHandle):
    """The object in the bucket is not the version any more that the file was opened from."""


def must_be_new(client: ObjectClient, conflict: Conflict, base: ObjectInfo,
                is_own: Callable[[ObjectInfo], bool]) -> bool:
    """Whether the new version of ``base`` may only be stored where no object is; it may replace ``base`` otherwise.

    One request, none with ``overwrite``. ``is_own`` knows versions that an earlier attempt of the same file stored.

    Raises: ForeignVersion.
    """
    if conflict is Conflict.OVERWRITE:
        return False
    try:
        found = client.head_object(base.key)
    except ObjectNotFound as exc:
        if conflict is Conflict.KEEP_BOTH:
            return True
        raise ForeignVersion(f"{base.key} was removed from the bucket since it was opened") from exc
    if found.etag != base.etag and not is_own(found):
        raise ForeignVersion(f"{base.key} has changed in the bucket since it was opened")
    return False


def second_paths(path: str, now_s: float) -> Iterator[str]:
    """Names for a version that must not take ``path``: ``notes.conflict-HOST-20261122T210651Z.txt``, then ``…Z-2.txt``.

    The extension stays last, so that programs go on knowing the file's type.
    """
    parent, name = split(path)
    stem, extension = os.path.splitext(name)
    if len(extension) > _MAX_EXTENSION:
        stem, extension = name, ""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().partition(".")[0])[:32]
    mark = f".conflict-{host}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_s))}"
    for number in itertools.count(1):
        end = mark + (f"-{number}" if number > 1 else "") + extension
        while _bytes_of(stem + end) > MAX_NAME_BYTES:
            stem = stem[:-1]
        yield join(parent, stem + end)


def _bytes_of(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
