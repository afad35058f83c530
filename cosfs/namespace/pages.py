"""The pages of a listing, each asked for as soon as the one before it tells its marker.

While one page is parsed by the thread that received it and another one is used by the consumer, the request for
the next is already on its way. Nothing runs further ahead than that: a page is asked for when the consumer waits
for the one before it. Used by listing.py.

Threading: one consumer; the requests are made by a pool, of which the consumer must not be a task.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, Generator, Optional, Protocol

from cosfs.cos.interface import ListPage
from cosfs.executor import WorkerPool

_LEAVE_S = 0.005
"""A thread that parses a page keeps the interpreter until it is through (switches take 5 ms), so it lets the one that
sends the next request go first; not for longer, since the consumer may be busy. Measured: ten pages at 20 ms per
request take 255 ms, without this 360 ms, which is what they take one after the other."""


class PageCall(Protocol):
    """``ObjectClient.list_objects``, less what stays the same from page to page."""

    def __call__(self, *, marker: str, on_next: Callable[[str], None]) -> ListPage: ...


def read_ahead(list_page: PageCall, pool: WorkerPool, marker: str = "") -> Generator[ListPage, None, None]:
    """All pages after ``marker``, in order. Who stops early waits for the one request that may be under way.

    What a request raises is raised where its page would be.
    """
    current: Optional[_Flight] = None
    following: Optional[_Flight] = _Flight(list_page, pool, marker)
    try:
        while following is not None:
            current, following = following, None
            early = current.early_marker.result()
            if early is not None:
                following = _Flight(list_page, pool, early, on_leaving=current.next_leaves.set)
            page = current.page.result()
            if following is not None and following.marker != page.next_marker:
                following.end()  # the answer that told it had to be asked for again, and was another one then
                following = None
            if following is None and page.next_marker is not None:
                following = _Flight(list_page, pool, page.next_marker)
            yield page
    finally:
        for flight in (current, following):
            if flight is not None:
                flight.end()


class _Flight:
    """One page under way. ``early_marker``: of the next one; None when that is not known before the page is."""

    def __init__(self, list_page: PageCall, pool: WorkerPool, marker: str, *,
                 on_leaving: Callable[[], None] = lambda: None) -> None:
        self.marker = marker
        self.early_marker: Future[Optional[str]] = Future()
        self.next_leaves = threading.Event()
        self._list_page = list_page
        self._on_leaving = on_leaving
        self.page = pool.submit(self._fetch)

    def end(self) -> None:
        """Take the request back, or wait for its answer."""
        if not self.page.cancel():
            self.page.exception()

    def _fetch(self) -> ListPage:
        self._on_leaving()
        try:
            return self._list_page(marker=self.marker, on_next=self._tell)
        finally:
            if not self.early_marker.done():
                self.early_marker.set_result(None)

    def _tell(self, marker: str) -> None:
        if not self.early_marker.done():
            self.early_marker.set_result(marker)
            self.next_leaves.wait(_LEAVE_S)
