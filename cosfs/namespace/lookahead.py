"""Looking ahead of a program that goes through names in order: which come next, and fetching each once.

``OrderDetector`` says what will be asked next, whatever that is; it is pure, without I/O, clock or lock, and
guarded by its user. ``Flights`` carries work on items out in the background, and lets those who need an item
wait for the work that is under way instead of doing it again.

Threading: ``Flights`` may be used from any thread; its lock is held for dictionary work only.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Callable, Deque, Dict, Generic, Hashable, Iterable, Iterator, List, Optional, TypeVar

from cosfs.executor import WorkerPool

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Hashable)

_IN_ORDER = 3
"""Items asked for in order that make a pattern: two are asked for by whoever looks at a file and the one beside it."""

_REACH = 4
"""How many items a program may pass over and still be in order: those that it knows, or that do not concern it."""

_FIRST_WINDOW = 16
_LAST_WINDOW = 256
"""Items begun ahead: some four for each request that is in flight, so that none waits for the program's next step."""

_TRAILS = 8
"""Programs followed at once. Each holds its window, and the names of the listing that it is in."""


@dataclass
class _Trail(Generic[T]):
    """One program's way through the order. The first ``begun`` items of ``upcoming`` were handed out."""

    order: Iterator[T]
    last: T
    run: int = 1
    window: int = 0
    begun: int = 0
    upcoming: Deque[T] = field(default_factory=deque)


class OrderDetector(Generic[T]):
    """Finds items asked for in the order of ``follow``, which gives what comes after an item.

    Memory: at most ``_TRAILS`` × (``_LAST_WINDOW`` + ``_REACH``) items, and what the iterators hold.
    """

    def __init__(self, follow: Callable[[T], Iterator[T]]) -> None:
        self._follow = follow
        self._trails: List[_Trail[T]] = []
        self._expected: Dict[T, _Trail[T]] = {}

    def expects(self, item: T) -> bool:
        return item in self._expected

    def asked(self, item: T, *, missed: bool) -> Optional[List[T]]:
        """Note that an item was asked for; ``missed``: and has to be fetched.

        Returns what to fetch now, ahead of the program that asks; None when there is no order in what it does.
        """
        trail = self._expected.get(item)
        if trail is None:
            if missed:
                self._start(item)
            return None
        self._pass(trail, item)
        in_order = trail.run >= _IN_ORDER
        ahead = self._hand_out(trail) if in_order else []
        self._expect(trail, trail.window + _REACH)
        if not trail.upcoming:
            self._trails.remove(trail)
        return ahead if in_order else None

    def interrupted(self, item: T) -> None:
        """Something else was done with an item than going on to the next: that makes no pattern."""
        for trail in self._trails:
            if trail.last == item:
                trail.run = 0

    def _start(self, item: T) -> None:
        trail = _Trail(self._follow(item), item)
        self._expect(trail, _REACH)
        if not trail.upcoming:
            return
        self._trails.append(trail)
        if len(self._trails) > _TRAILS:
            for expected in self._trails.pop(0).upcoming:
                self._expected.pop(expected, None)

    def _pass(self, trail: _Trail[T], item: T) -> None:
        """The program is at ``item``; what came before it is behind."""
        while True:
            passed = trail.upcoming.popleft()
            trail.begun = max(0, trail.begun - 1)
            if self._expected.get(passed) is trail:
                del self._expected[passed]
            if passed == item:
                break
        trail.last = item
        trail.run += 1
        if self._trails[-1] is not trail:
            self._trails.remove(trail)
            self._trails.append(trail)

    def _hand_out(self, trail: _Trail[T]) -> List[T]:
        """What lies in the window and was not begun yet; nothing while more than half of the window was."""
        if trail.begun > trail.window // 2:
            return []
        trail.window = min(max(_FIRST_WINDOW, 2 * trail.window), _LAST_WINDOW)
        self._expect(trail, trail.window)
        ahead = list(islice(trail.upcoming, trail.begun, trail.window))
        trail.begun += len(ahead)
        return ahead

    def _expect(self, trail: _Trail[T], count: int) -> None:
        for item in islice(trail.order, max(0, count - len(trail.upcoming))):
            if item not in self._expected:
                self._expected[item] = trail
                trail.upcoming.append(item)


class Flights(Generic[T]):
    """Work on items under way, each item once at a time.

    ``work`` is what ``begin`` lets at most ``workers`` threads of the pool do; what it raises is a defect, and logged.
    With ``enter`` and ``leave`` others do it on their own threads.
    """

    def __init__(self, pool: WorkerPool, workers: int, work: Callable[[T], None]) -> None:
        self._pool = pool
        self._workers = workers
        self._work = work
        self._lock = threading.Lock()
        self._flights: Dict[T, Optional[threading.Event]] = {}  # the event of those who wait, if there are any
        self._waiting: Deque[T] = deque()
        self._running = 0

    def begin(self, items: Iterable[T]) -> None:
        """Do the work on items in the background, in this order, but for those under way. Does not block."""
        with self._lock:
            for item in items:
                if item not in self._flights:
                    self._flights[item] = None
                    self._waiting.append(item)
            starting = max(0, min(self._workers - self._running, len(self._waiting)))
            self._running += starting
        for _ in range(starting):
            self._pool.submit(self._run)

    def enter(self, item: T) -> bool:
        """Take an item for this thread, which is to ``leave`` it; False, after a wait, when others had it."""
        with self._lock:
            if item not in self._flights:
                self._flights[item] = None
                return True
            landed = self._flights[item] = self._flights[item] or threading.Event()
        landed.wait()
        return False

    def leave(self, item: T) -> None:
        with self._lock:
            landed = self._flights.pop(item)
        if landed is not None:
            landed.set()

    def cancel(self) -> None:
        """Drop what was not begun."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for item in waiting:
            self.leave(item)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                item = self._waiting.popleft()
            try:
                self._work(item)
            except Exception:  # whoever waits for the other items must not wait for ever
                log.exception("fetching %r ahead", item)
            finally:
                self.leave(item)
