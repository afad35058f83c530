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
from typing import Callable, Deque, Dict, Generic, Hashable, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

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

_FOR_EACH = 4
"""Items asked for, for each one begun in vain that is forgiven."""

_TRAILS = 8
"""Programs followed at once. Each holds its window, and the names of the listing that it is in."""


@dataclass
class _Trail(Generic[T]):
    """One program's way through the order. The first ``begun`` items of ``upcoming`` were handed out.

    ``passed``: items that it went past, though they were handed out or, if ``skipped``, will be: another thread of it
    may come to them. The window grows to ``limit``.
    """

    order: Iterator[T]
    last: T
    limit: int
    run: int = 1
    window: int = 0
    begun: int = 0
    upcoming: Deque[T] = field(default_factory=deque)
    passed: Set[T] = field(default_factory=set)
    skipped: List[T] = field(default_factory=list)


class OrderDetector(Generic[T]):
    """Finds items asked for in the order of ``follow``, which gives what comes after an item.

    ``windows``: how many items are begun ahead, at first and at most. ``forgiven``: so many of them, for each
    ``_FOR_EACH`` times as many that it asks for, a program may leave out for good; beyond that nothing is handed out.
    Memory: at most ``_TRAILS`` × (the last window + ``_REACH`` + those forgiven) items, and what the iterators hold.
    """

    def __init__(self, follow: Callable[[T], Iterator[T]],
                 windows: Tuple[int, int] = (_FIRST_WINDOW, _LAST_WINDOW), forgiven: int = _LAST_WINDOW) -> None:
        self._follow = follow
        self._forgiven = forgiven
        self._first_window, self._last_window = windows
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
            for other in self._trails:
                other.passed.discard(item)
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
                trail.passed.clear()
                trail.skipped.clear()

    def too_early(self, item: T) -> None:
        """What was begun ahead is too old when its program comes to it: stay closer to that program."""
        trail = self._expected.get(item)
        if trail is not None and trail.begun:
            trail.limit = max(1, trail.window // 4)

    def _start(self, item: T) -> None:
        trail = _Trail(self._follow(item), item, self._last_window)
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
            begun, trail.begun = trail.begun > 0, max(0, trail.begun - 1)
            if self._expected.get(passed) is trail:
                del self._expected[passed]
            if passed == item:
                break
            trail.passed.add(passed)
            if not begun:
                trail.skipped.append(passed)
        trail.last = item
        trail.run += 1
        if trail.run % (_FOR_EACH * self._forgiven) == 0:
            trail.passed.clear()
        if self._trails[-1] is not trail:
            self._trails.remove(trail)
            self._trails.append(trail)

    def _hand_out(self, trail: _Trail[T]) -> List[T]:
        """What lies in the window and was not begun yet; nothing while more than half of the window was.

        Nothing either to a program that leaves too much of it out.
        """
        if trail.begun > trail.window // 2 or len(trail.passed) > self._forgiven:
            return []
        trail.window = min(max(self._first_window, 2 * trail.window), trail.limit)
        self._expect(trail, trail.window)
        ahead = list(islice(trail.upcoming, trail.begun, trail.window))
        trail.begun += len(ahead)
        skipped, trail.skipped = [item for item in trail.skipped if item in trail.passed], []
        return skipped + ahead

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

    def wait_for(self, item: T) -> None:
        """Return when no work on an item is under way."""
        with self._lock:
            if item not in self._flights:
                return
            landed = self._flights[item] = self._flights[item] or threading.Event()
        landed.wait()

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
