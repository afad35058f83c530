"""Deletes that need not be waited for: collected for a moment, then sent as one Delete Multiple.

Used for names that were removed while open, where the caller cannot tell a removal from the first half of
a replacement (operations.py, ``rename``): when a new object takes the key within the moment, nothing has
to be deleted, and there is no time at which the name is missing.

Threading: any thread. One timer thread, started with the first delete; ``close`` sends what is left.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Optional, Set

from cosfs.cos.interface import ObjectClient
from cosfs.errors import CosException
from cosfs.units import MAX_LIST_KEYS

log = logging.getLogger(__name__)

DELAY_S = 0.1
"""Long enough for the rename that follows a hide at once, and for a burst to gather; too short to notice."""


class DeleteQueue:
    def __init__(self, client: ObjectClient, on_failure: Callable[[str], None], *, delay_s: float = DELAY_S) -> None:
        self._client = client
        self._on_failure = on_failure
        self._delay_s = delay_s
        self._changed = threading.Condition()
        self._waiting: Dict[str, str] = {}
        self._sending: Set[str] = set()
        self._timer: Optional[threading.Timer] = None

    def schedule(self, key: str, path: str) -> None:
        """Delete an object soon. A failure is logged, and ``on_failure(path)`` brings the name back."""
        with self._changed:
            self._waiting[key] = path
            if self._timer is None:
                self._timer = threading.Timer(self._delay_s, self.settle)
                self._timer.name = "cosfs-deletes"
                self._timer.daemon = True
                self._timer.start()

    @contextmanager
    def overwriting(self, key: str) -> Iterator[None]:
        """While an object is stored under ``key``: a pending delete is dropped, one on its way is awaited.

        When storing fails the dropped delete is scheduled again.
        """
        with self._changed:
            self._changed.wait_for(lambda: key not in self._sending)
            path = self._waiting.pop(key, None)
        try:
            yield
        except BaseException:
            if path is not None:
                self.schedule(key, path)
            raise

    @contextmanager
    def replacing(self, key: str) -> Iterator[bool]:
        """While a file is renamed to ``key``: True if an object that was removed a moment ago is, or was, there.

        libfuse hides an open target before it asks for the rename. So the pending delete is dropped, and when the
        rename fails the object stays and ``on_failure`` brings its name back.
        """
        with self._changed:
            sending = key in self._sending
            self._changed.wait_for(lambda: key not in self._sending)
            path = self._waiting.pop(key, None)
        try:
            yield sending or path is not None
        except BaseException:
            if path is not None:
                self._on_failure(path)
            raise

    def settle(self) -> None:
        """Send what waits; blocks until nothing is pending. Failures are logged, not raised."""
        with self._changed:
            batch, self._waiting = self._waiting, {}
            self._sending |= batch.keys()
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        try:
            for failed in self._send(list(batch)):
                self._on_failure(batch[failed])
        finally:
            with self._changed:
                self._sending -= batch.keys()
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._sending)

    def _send(self, keys: List[str]) -> List[str]:
        """Delete keys; returns those that are still there."""
        failed: List[str] = []
        for start in range(0, len(keys), MAX_LIST_KEYS):
            chunk = keys[start:start + MAX_LIST_KEYS]
            try:
                if len(chunk) == 1:
                    self._client.delete_object(chunk[0])
                    continue
                failures = self._client.delete_objects(chunk)
            except CosException as exc:
                log.error("%d removed files could not be deleted and are back, the first is %r: %s",
                          len(chunk), chunk[0], exc)
                failed += chunk
                continue
            for failure in failures:
                log.error("removed file %r could not be deleted and is back: %s %s",
                          failure.key, failure.code, failure.message)
                failed.append(failure.key)
        return failed
