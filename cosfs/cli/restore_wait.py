"""Waiting until files are restored, with progress on standard error; used by ``cosfs restore --wait``.

Restores take minutes to days, and each look at a file is a request. So a few files are looked at, ever more seldom, and
the others when these are readable: files whose restore began together are readable at about the same time.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Callable, Deque, List, Optional, Protocol, Sequence

from cosfs.archive import RestoreTold
from cosfs.cli.pending import printable

_FIRST_S, _LONGEST_S, _GROWTH = 1.0, 60.0, 1.5
_LOOKED_AT = 20
"""Files that are not readable yet, looked at each time."""

_BEGINS_S = 60.0
"""So long after its restore was asked for the service may not tell of it yet."""


class Looked(Protocol):
    """See restore.py."""

    @property
    def path(self) -> str: ...
    @property
    def told(self) -> Optional[RestoreTold]: ...
    @property
    def failure(self) -> str: ...
    @property
    def gone(self) -> bool: ...
    @property
    def archived(self) -> bool: ...


def wait_for(paths: Sequence[str], look: Callable[[str], Optional[Looked]], complain: Callable[[str], None], *,
             clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep) -> int:
    """Return when all are readable, or cannot be any more; how many those are."""
    progress = _Progress(len(paths))
    left: Deque[str] = deque(paths)
    began_s, interval_s, failed = clock(), _FIRST_S, 0
    try:
        while left:
            waiting: List[str] = []
            while left and len(waiting) < _LOOKED_AT:
                path = left.popleft()
                seen = look(path)
                lost = _lost(seen, young=clock() - began_s < _BEGINS_S)
                if lost:
                    failed += 1
                    progress.clear()
                    complain(f"{printable(path)}: {lost}")
                elif seen is not None and (seen.failure or seen.told is None or seen.told.ongoing) \
                        and (seen.failure or seen.archived):
                    waiting.append(path)
            left.extendleft(reversed(waiting))
            progress.show(len(paths) - len(left) - failed, clock() - began_s)
            if left:
                pause(interval_s)
                interval_s = min(interval_s * _GROWTH, _LONGEST_S)
    except KeyboardInterrupt:
        progress.clear()
        complain(f"{len(left)} of {len(paths)} are still being restored, and go on; see them with --status")
        raise
    progress.clear()
    print(f"{len(paths) - failed} of {len(paths)} readable")
    return failed


def _lost(seen: Optional[Looked], *, young: bool) -> str:
    """Why a file will not become readable, in words; empty while it may, or has."""
    if seen is None:
        return "is no file any more"
    if seen.failure:  # the network may come back
        return seen.failure if seen.gone else ""
    return "" if seen.told is not None or not seen.archived or young else "is not being restored any more"


class _Progress:
    """A line that changes on a terminal; elsewhere one whenever more files are readable."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._shown: Optional[int] = None

    def show(self, readable: int, used_s: float) -> None:
        text = f"{readable} of {self._total} readable"
        if self._terminal:
            minutes, seconds = divmod(int(used_s), 60)
            print(f"\r\x1b[K{text}, after {minutes // 60}:{minutes % 60:02}:{seconds:02}", end="", file=sys.stderr,
                  flush=True)
        elif readable != self._shown and readable < self._total:
            print(f"waiting: {text}", file=sys.stderr, flush=True)
        self._shown = readable

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
