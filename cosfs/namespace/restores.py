"""Which archived versions can be read, as far as the service has told: for how long that is believed, and how many.

Headers are cached, and kept over mounts; the state of a restore changes without them. So it is kept here, beside them,
with the time at which it was told: while a restore goes on for ``ONGOING_S``, else as long as attributes are believed.
headers.py and tree.py note what each HEAD tells, the filesystem (archived.py) asks before bytes are wanted.

Threading: one lock over dictionary work. Memory: some 300 bytes for each of at most ``_MOST_VERSIONS``.
"""

from __future__ import annotations

import enum
import threading
from collections import OrderedDict
from typing import Callable, NamedTuple, Optional, Tuple

from cosfs.archive import is_archived, parse_restore_header
from cosfs.cos.interface import ObjectInfo

ONGOING_S = 2.0
"""The fastest restore takes a minute; so one that has ended shows at once, and programs that try again and again cost
little."""

_MOST_VERSIONS = 10_000

Version = Tuple[str, str]
"""Key and ETag."""


class Restored(enum.Enum):
    """What can be done with the bytes of an object."""

    NO = "archived"
    ONGOING = "being restored"
    YES = "readable"


class _Told(NamedTuple):
    """``until_s``: of a restored copy, where it is known."""

    state: Restored
    since_s: float
    until_s: Optional[float] = None


class RestoreStates:
    """``clock``: monotonic seconds. ``believed_s``: how long it is believed that nothing is restored."""

    def __init__(self, clock: Callable[[], float], believed_s: float) -> None:
        self._clock = clock
        self._believed_s = believed_s
        self._lock = threading.Lock()
        self._versions: OrderedDict[Version, _Told] = OrderedDict()

    def told(self, info: ObjectInfo) -> Restored:
        """Take in what HEAD told just now; returns what that means."""
        told = parse_restore_header(info.restore)
        if told is None and not is_archived(info.storage_class):
            return Restored.YES
        now_s = self._clock()
        if told is None:
            found = _Told(Restored.NO, now_s)
        elif told.ongoing:
            found = _Told(Restored.ONGOING, now_s)
        elif told.expiry_s is None or info.served_s is None:
            found = _Told(Restored.YES, now_s, now_s + self._believed_s)
        else:  # the service's two times, whatever our clock says
            left_s = told.expiry_s - info.served_s
            found = _Told(Restored.YES, now_s, now_s + left_s) if left_s > 0 else _Told(Restored.NO, now_s)
        self._note((info.key, info.etag), found)
        return found.state

    def note(self, version: Version, state: Restored) -> None:
        """Take in what another answer than that to HEAD has shown: NO or ONGOING."""
        self._note(version, _Told(state, self._clock()))

    def forget(self, version: Version) -> None:
        """Have it asked again."""
        with self._lock:
            self._versions.pop(version, None)

    def known(self, version: Version) -> Optional[Restored]:
        """What is believed; None when the service has to be asked."""
        with self._lock:
            told = self._versions.get(version)
            if told is None:
                return None
            self._versions.move_to_end(version)
        now_s = self._clock()
        if told.until_s is not None:
            return told.state if now_s < told.until_s else None
        limit_s = min(ONGOING_S, self._believed_s) if told.state is Restored.ONGOING else self._believed_s
        return told.state if now_s - told.since_s < limit_s else None

    def _note(self, version: Version, told: _Told) -> None:
        with self._lock:
            self._versions[version] = told
            self._versions.move_to_end(version)
            if len(self._versions) > _MOST_VERSIONS:
                self._versions.popitem(last=False)
