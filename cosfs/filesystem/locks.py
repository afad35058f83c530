"""A lock that many readers share and a writer holds alone."""

from __future__ import annotations

import threading
from typing import Callable, ContextManager


class SharedLock:
    """Readers share; a writer waits for them and keeps new ones out meanwhile. Not reentrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writers_waiting = 0
        self._writing = False
        self._shared = _Held(self._enter_shared, self._leave_shared)
        self._exclusive = _Held(self._enter_exclusive, self._leave_exclusive)

    def shared(self) -> ContextManager[None]:
        return self._shared

    def _enter_shared(self) -> None:
        with self._changed:
            while self._writing or self._writers_waiting:
                self._changed.wait()
            self._readers += 1

    def _leave_shared(self) -> None:
        with self._changed:
            self._readers -= 1
            if not self._readers and self._writers_waiting:
                self._changed.notify_all()

    def exclusive(self) -> ContextManager[None]:
        return self._exclusive

    def _enter_exclusive(self) -> None:
        with self._changed:
            self._writers_waiting += 1
            try:
                while self._writing or self._readers:
                    self._changed.wait()
            finally:
                self._writers_waiting -= 1
            self._writing = True

    def _leave_exclusive(self) -> None:
        with self._changed:
            self._writing = False
            self._changed.notify_all()


class _Held:
    """A way to hold the lock. It keeps nothing of a holder, so one serves all; every read and write of a program passes
    here, and a generator takes twice the time."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, *error: object) -> None:
        self._leave()
