"""A lock that many readers share and a writer holds alone."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import ContextManager, Iterator


class SharedLock:
    """Readers share; a writer waits for them and keeps new ones out meanwhile. Not reentrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writers_waiting = 0
        self._writing = False
        self._shared = _Shared(self)

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

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._changed:
            self._writers_waiting += 1
            try:
                self._changed.wait_for(lambda: not self._writing and not self._readers)
            finally:
                self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


class _Shared:
    """What all readers enter: a class, because every read and write of a program passes here, and a generator takes
    twice the time."""

    def __init__(self, lock: SharedLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock._enter_shared()

    def __exit__(self, *error: object) -> None:
        self._lock._leave_shared()
