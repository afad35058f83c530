"""Which open files are made of other objects' bytes: those that were copied, but are not stored yet.

A copy inside the mount (copies.py) is made when its target is stored. Until then its source must not change or go:
who is about to do that here says so first (``settle``), and the copy is made then. What other hosts do is found when
the copy is made: a file that cannot be had any more is ESTALE.

Threading: any thread. ``settle`` waits for requests; the caller holds no lock of an open file.
"""

from __future__ import annotations

import threading
from typing import Dict, List, Protocol
from weakref import WeakSet


class Borrower(Protocol):
    def stand_alone(self, key: str) -> None:
        """Need the object ``key`` no longer."""


class Borrowed:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._borrowers: Dict[str, WeakSet[Borrower]] = {}

    def add(self, key: str, borrower: Borrower) -> None:
        """Bytes of the object ``key`` are going to be used for another."""
        with self._lock:
            self._borrowers.setdefault(key, WeakSet()).add(borrower)

    def settle(self, key: str) -> None:
        """The object is going to change, or to go. Nothing is raised: who was to be copied tells its own caller."""
        if self._borrowers:
            self._settle([key])

    def settle_below(self, prefix: str) -> None:
        """The same for all objects whose keys begin so."""
        if self._borrowers:
            with self._lock:
                keys = [key for key in self._borrowers if key.startswith(prefix)]
            self._settle(keys)

    def _settle(self, keys: List[str]) -> None:
        for key in keys:
            with self._lock:
                borrowers = list(self._borrowers.pop(key, ()))
            for borrower in borrowers:
                borrower.stand_alone(key)
