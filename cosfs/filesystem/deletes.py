"""Deletes that need not be waited for: collected for a moment, then sent as one Delete Multiple.

Two kinds of names come here. Those of a burst: the first removal is waited for by who asked, and tells the
truth; while it lasts (``bursting``) the next ones leave together. And names that were removed while open,
where the caller cannot tell a removal from the first half of a replacement (operations.py, ``rename``):
when a new object takes the key within the moment, nothing has to be deleted, and there is no time at
which the name is missing.

Keys that may not delete several objects at once (that is a permission of its own, name/cos:DeleteMultipleObjects)
delete one by one.

When a batch fails the failed names come back (``on_failure``), and the burst is over: the next removal is
waited for again.

Threading: any thread. One timer thread at a time, started with the first delete that waits; ``settle``
sends what is left. The callbacks run on the thread that sent the batch, without a lock.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set

from cosfs.cos.interface import DeleteFailure, ObjectClient
from cosfs.errors import AccessDenied, CosException, CosServiceError
from cosfs.units import MAX_LIST_KEYS

log = logging.getLogger(__name__)

DELAY_S = 0.1
"""Long enough for the rename that follows a hide at once, and for a burst to gather; too short to notice."""

_MAX_ON_THE_WAY = 4
"""Batches. Where the service is so slow that more would be under way, removals are waited for again."""


class DeleteQueue:
    def __init__(self, client: ObjectClient, *, delay_s: float = DELAY_S,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._on_failure: Callable[[str], None] = lambda _: None
        self._on_removed: Callable[[Sequence[str]], None] = lambda _: None
        self._delay_s = delay_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: Dict[str, str] = {}
        self._hidden: Set[str] = set()
        self._removed: List[str] = []
        self._sending: Set[str] = set()
        self._on_the_way: Set[object] = set()
        self._timer: Optional[threading.Timer] = None
        self._burst_until_s = float("-inf")

    def listen(self, on_failure: Callable[[str], None], on_removed: Callable[[Sequence[str]], None]) -> None:
        """``on_failure(path)``: the object of a removed name is still there. ``on_removed(paths)``: these are gone."""
        self._on_failure, self._on_removed = on_failure, on_removed

    def bursting(self) -> bool:
        """Whether a delete succeeded so short a time ago that the next one may be ``schedule``\\ d."""
        with self._changed:
            return self._clock() < self._burst_until_s and len(self._on_the_way) < _MAX_ON_THE_WAY

    def succeeded(self) -> None:
        """A delete that was waited for succeeded: a burst may begin."""
        with self._changed:
            self._burst_until_s = self._clock() + self._delay_s

    def schedule(self, key: str, path: str, *, hidden: bool = False) -> None:
        """Delete an object soon; blocks only while a full batch is sent. ``hidden``: libfuse has hidden it."""
        with self._changed:
            self._waiting[key] = path
            (self._hidden.add if hidden else self._hidden.discard)(key)
            self._prolong_locked()
            full = len(self._waiting) >= MAX_LIST_KEYS
        if full:
            self._flush()

    def report(self, path: str) -> None:
        """Name a path to ``on_removed`` with the next batch, though no object has to be deleted for it."""
        with self._changed:
            self._removed.append(path)
            self._prolong_locked()

    def _prolong_locked(self) -> None:
        if self._clock() < self._burst_until_s:
            self._burst_until_s = self._clock() + self._delay_s
        if self._timer is None:
            self._timer = threading.Timer(self._delay_s, self._flush)
            self._timer.name = "cosfs-deletes"
            self._timer.daemon = True
            self._timer.start()

    @contextmanager
    def overwriting(self, key: str) -> Iterator[bool]:
        """While an object is stored under ``key``: a pending delete is dropped, one on its way is awaited.

        True when one was dropped: the object of a removed name is still there. When storing fails the delete is
        scheduled again.
        """
        with self._changed:
            self._changed.wait_for(lambda: key not in self._sending)
            path = self._waiting.pop(key, None)
        try:
            yield path is not None
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
            path, hidden = self._waiting.pop(key, None), key in self._hidden
        try:
            yield sending or path is not None
        except BaseException:
            if path is not None:
                if not hidden:
                    log.warning("removed file %r is back: a rename to its name failed", path)
                self._on_failure(path)
            raise

    def settle(self) -> None:
        """Send what waits; blocks until all that was scheduled before is done. Failures are logged, not raised."""
        earlier = self._flush()
        with self._changed:
            self._changed.wait_for(lambda: earlier.isdisjoint(self._on_the_way))

    def _flush(self) -> Set[object]:
        """Send what waits now, and tell of it; returns the batches that were on their way before."""
        flush = object()
        with self._changed:
            earlier = set(self._on_the_way)
            batch, self._waiting, self._hidden = self._waiting, {}, set()
            removed, self._removed = self._removed, []
            self._sending |= batch.keys()
            self._on_the_way.add(flush)
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        failed = set(batch)
        try:
            failed = self._send(list(batch))
        finally:
            with self._changed:
                self._sending -= batch.keys()
                self._changed.notify_all()
            try:
                self._tell(batch, failed, removed)
            finally:
                with self._changed:
                    self._on_the_way.remove(flush)
                    self._changed.notify_all()
        return earlier

    def _tell(self, batch: Mapping[str, str], failed: Set[str], removed: List[str]) -> None:
        removed += [path for key, path in batch.items() if key not in failed]
        if removed:
            self._on_removed(removed)
        for key, path in batch.items():
            if key in failed:
                self._on_failure(path)  # last: it brings back directories, too, that are removed for the caller

    def _send(self, keys: List[str]) -> Set[str]:
        """Delete keys; returns those that are still there."""
        failed: Set[str] = set()
        for start in range(0, len(keys), MAX_LIST_KEYS):
            chunk = keys[start:start + MAX_LIST_KEYS]
            try:
                if len(chunk) == 1:
                    self._client.delete_object(chunk[0])
                    continue
                failures = delete_together(self._client, chunk)
            except CosException as exc:
                log.error("%d removed files could not be deleted and are back, the first is %r: %s",
                          len(chunk), chunk[0], exc)
                failed.update(chunk)
                continue
            for failure in failures:
                log.error("removed file %r could not be deleted and is back: %s %s",
                          failure.key, failure.code, failure.message)
                failed.add(failure.key)
        if failed:
            with self._changed:
                self._burst_until_s = float("-inf")
        return failed


def delete_together(client: ObjectClient, keys: Sequence[str]) -> Sequence[DeleteFailure]:
    """Delete up to 1,000 objects with one request, or, where that is denied, with one for each.

    Returns those that are still there. Raises: AccessDenied, when the first may not be deleted either; other
    CosExceptions of the first kind of request.
    """
    try:
        return client.delete_objects(keys)
    except AccessDenied as exc:
        client.delete_object(keys[0])
        log.info("%d objects are deleted one by one: %s", len(keys), exc)
    failures = []
    for key in keys[1:]:
        try:
            client.delete_object(key)
        except CosServiceError as exc:
            failures.append(DeleteFailure(key, exc.code, exc.get_error_msg()))
    return failures
