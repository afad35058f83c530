"""The pipeline of listing pages: what is on its way when, and that nothing is left behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Callable, Iterator, List

import pytest

from cosfs.cos.interface import ListPage
from cosfs.errors import CosServiceError
from cosfs.executor import WorkerPool
from cosfs.namespace.pages import PageCall, read_ahead
from tests.support.memory_client import WAIT_S, MemoryClient, error

pytestmark = pytest.mark.timeout(60)
KEYS = [f"d/{number}" for number in range(8)]
PAGES = 4


@pytest.fixture
def client() -> MemoryClient:
    client = MemoryClient()
    for key in KEYS:
        client.add(key, b"")
    return client


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool("test-pages", 2, queue=2)
    yield pool
    pool.close()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def call_of(client: MemoryClient) -> PageCall:
    return partial(client.list_objects, "d/", max_keys=len(KEYS) // PAGES)


def keys_of(page: ListPage) -> List[str]:
    return [row.key for row in page.objects]


def all_keys(pages: Iterator[ListPage]) -> List[str]:
    return [key for page in pages for key in keys_of(page)]


def test_all_pages_come_in_order_by_one_request_each(client: MemoryClient, pool: WorkerPool) -> None:
    assert all_keys(read_ahead(call_of(client), pool)) == KEYS
    pool.close()
    assert client.count("list_objects") == PAGES


def test_a_listing_may_begin_after_a_marker(client: MemoryClient, pool: WorkerPool) -> None:
    assert all_keys(read_ahead(call_of(client), pool, KEYS[3])) == KEYS[4:]
    assert client.count("list_objects") == PAGES // 2


def test_nothing_is_asked_for_before_the_first_page_is(client: MemoryClient, pool: WorkerPool) -> None:
    read_ahead(call_of(client), pool)
    pool.close()
    assert client.count("list_objects") == 0


def test_the_next_page_is_on_its_way_while_one_is_used(client: MemoryClient, pool: WorkerPool) -> None:
    gate = client.block("list_objects", nth=2)
    pages = read_ahead(call_of(client), pool)
    assert keys_of(next(pages)) == KEYS[:2]
    gate.wait_entered()
    gate.open()
    assert all_keys(pages) == KEYS[2:]


def test_the_next_request_leaves_before_the_rows_are_read(
        client: MemoryClient, pool: WorkerPool, background: ThreadPoolExecutor) -> None:
    gate = client.block("list_objects", nth=2)
    parsed = threading.Event()

    def list_slowly(*, marker: str, on_next: Callable[[str], None]) -> ListPage:
        page = call_of(client)(marker=marker, on_next=on_next)
        assert parsed.wait(WAIT_S)
        return page

    pages = background.submit(all_keys, read_ahead(list_slowly, pool))
    gate.wait_entered()
    assert not pages.done()
    gate.open()
    parsed.set()
    assert pages.result(WAIT_S) == KEYS


def test_one_page_is_asked_for_ahead_and_no_more(client: MemoryClient, pool: WorkerPool) -> None:
    pages = read_ahead(call_of(client), pool)
    next(pages)
    pool.close()
    assert client.count("list_objects") == 2
    pages.close()


def test_without_an_early_marker_the_page_tells_it(client: MemoryClient, pool: WorkerPool) -> None:
    def list_page(*, marker: str, on_next: Callable[[str], None]) -> ListPage:
        return call_of(client)(marker=marker, on_next=lambda _: None)

    assert all_keys(read_ahead(list_page, pool)) == KEYS
    assert client.count("list_objects") == PAGES


def test_who_stops_early_waits_for_the_request_under_way(
        client: MemoryClient, pool: WorkerPool, background: ThreadPoolExecutor) -> None:
    gate = client.block("list_objects", nth=2)
    answered: List[str] = []

    def list_page(*, marker: str, on_next: Callable[[str], None]) -> ListPage:
        page = call_of(client)(marker=marker, on_next=on_next)
        answered.append(marker)
        return page

    pages = read_ahead(list_page, pool)
    next(pages)
    gate.wait_entered()
    stopping = background.submit(pages.close)
    assert not stopping.done()
    gate.open()
    stopping.result(WAIT_S)
    assert answered == ["", KEYS[1]]
    pool.close()
    assert client.count("list_objects") == 2


def test_who_stops_early_takes_a_request_back_that_has_not_left(client: MemoryClient) -> None:
    pool = WorkerPool("test-pages", 1, queue=2)
    busy = threading.Event()

    def list_page(*, marker: str, on_next: Callable[[str], None]) -> ListPage:
        pool.submit(busy.wait, WAIT_S)  # the only worker's next task
        return call_of(client)(marker=marker, on_next=on_next)

    pages = read_ahead(list_page, pool)
    next(pages)
    pages.close()
    busy.set()
    pool.close()
    assert client.count("list_objects") == 1


@pytest.mark.parametrize("nth", [1, 2, PAGES])
def test_a_failure_is_raised_where_its_page_would_be(client: MemoryClient, pool: WorkerPool, nth: int) -> None:
    client.fail("list_objects", error(503, "SlowDown"), nth=nth)
    pages = read_ahead(call_of(client), pool)
    assert [keys_of(next(pages)) for _ in range(nth - 1)] == [[KEYS[2 * at], KEYS[2 * at + 1]] for at in range(nth - 1)]
    with pytest.raises(CosServiceError):
        next(pages)
    pool.close()
    assert client.count("list_objects") == nth
    assert list(pages) == []


def test_a_page_that_fails_after_it_told_its_marker_leaves_nothing_running(
        client: MemoryClient, pool: WorkerPool, background: ThreadPoolExecutor) -> None:
    gate = client.block("list_objects", nth=2)

    def list_page(*, marker: str, on_next: Callable[[str], None]) -> ListPage:
        page = call_of(client)(marker=marker, on_next=on_next)
        if not marker:
            gate.wait_entered()
            raise error(500, "InternalError")
        return page

    failing = background.submit(all_keys, read_ahead(list_page, pool))
    gate.wait_entered()
    gate.open()
    assert isinstance(failing.exception(WAIT_S), CosServiceError)
    pool.close()
    assert client.count("list_objects") == 2


def test_a_page_that_had_to_be_asked_for_again_counts_as_it_came_at_last(
        client: MemoryClient, pool: WorkerPool) -> None:
    """The first answer told a marker that lies further on: its rows are unknown."""
    def list_page(*, marker: str, on_next: Callable[[str], None]) -> ListPage:
        if not marker:
            on_next(KEYS[5])
        return call_of(client)(marker=marker, on_next=on_next)

    assert all_keys(read_ahead(list_page, pool)) == KEYS
    assert client.count("list_objects") == PAGES + 1
