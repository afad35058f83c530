"""Reading objects by ranges on a client in memory: right bytes, few requests, bounded memory, no deadlock."""

from __future__ import annotations

import random
import threading
from typing import Any, Iterator, List

import pytest

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import BadHandle, NetworkError, PreconditionFailed
from cosfs.reading.window import AccessWindow, Window
from cosfs.units import KIB, MIB
from tests.support.memory_client import WAIT_S, MemoryClient
from tests.support.reading_world import STEP, ReadingWorld, read_through

DATA = random.Random(11).randbytes(64 * MIB)


@pytest.fixture
def world() -> Iterator[ReadingWorld]:
    made = ReadingWorld()
    yield made
    made.end()


def called_after(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> threading.Semaphore:
    """A semaphore that every call of a method releases at its end."""
    calls = threading.Semaphore(0)
    method = getattr(owner, name)

    def wrapper(*args: Any) -> None:
        method(*args)
        calls.release()

    monkeypatch.setattr(owner, name, wrapper)
    return calls


def test_sequential_read_of_64_mib_uses_few_large_requests(world: ReadingWorld) -> None:
    assert read_through(world.reader("k", DATA)) == DATA
    assert len(world.gets()) <= 20
    assert sum(world.gets()) == len(DATA)


def test_random_reads_fetch_one_small_range_each(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA)
    window = AccessWindow()
    blocks = random.Random(2).sample(range(1, len(DATA) // (64 * KIB)), 500)
    for block in blocks:
        offset = block * 64 * KIB
        assert reader.read(offset, 4096, window.observe(offset, 4096)) == DATA[offset:offset + 4096]
    assert len(world.gets()) == 500
    assert max(world.gets()) <= 68 * KIB


def test_reads_across_ranges_and_behind_the_end(world: ReadingWorld) -> None:
    reader = world.reader("small", DATA[:100_000], range_bytes=1000)
    rng = random.Random(4)
    for _ in range(300):
        offset, size = rng.randrange(110_000), rng.randrange(5000)
        window = Window(max(0, offset - 700), offset + size + 3000) if rng.random() < 0.5 else None
        assert reader.read(offset, size, window) == DATA[:100_000][offset:offset + size]
    assert sum(world.gets()) <= 100_000
    assert reader.read(100_000, 10) == b"" and reader.read(200_000, 10) == b""


def test_small_file_is_one_request(world: ReadingWorld) -> None:
    reader = world.reader("small", b"hello")
    assert reader.read(0, 4096, AccessWindow().observe(0, 4096)) == b"hello"
    assert reader.read(2, 2) == b"ll"
    assert world.gets() == [5]


def test_every_request_carries_the_etag_and_a_change_is_passed_on(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA[:STEP])
    world.client.add("k", b"x" * STEP)
    for _ in range(2):
        with pytest.raises(PreconditionFailed):
            reader.read(0, 10)
    assert len(world.gets()) == 2


def test_bytes_are_handed_out_before_the_range_is_complete(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA)
    gate = world.client.block("get_object", after_bytes=MIB)
    assert reader.read(0, STEP, Window(0, 3 * MIB)) == DATA[:STEP]
    gate.wait_entered()
    assert reader.read(MIB - STEP, STEP) == DATA[MIB - STEP:MIB]
    late = world.start(lambda: reader.read(MIB - 10, 20))
    assert not late
    gate.open()
    world.join()
    assert late["result"] == DATA[MIB - 10:MIB + 10]
    assert len(world.gets()) == 1


@pytest.mark.parametrize("size", [4096, MIB], ids=["inline", "pool"])
def test_concurrent_readers_of_one_block_make_one_request(world: ReadingWorld, size: int) -> None:
    reader = world.reader("k", DATA)
    gate = world.client.block("get_object")
    outcomes = [world.start(lambda: reader.read(0, size)) for _ in range(8)]
    gate.wait_entered()
    gate.open()
    world.join()
    assert all(outcome["result"] == DATA[:size] for outcome in outcomes)
    assert len(world.gets()) == 1


def test_an_error_reaches_all_who_wait_and_is_forgotten(world: ReadingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = world.reader("k", DATA)
    pinned = called_after(monkeypatch, world.store, "pin_locked")
    gate = world.client.block("get_object")
    world.client.fail("get_object", NetworkError("gone"))
    outcomes = [world.start(lambda: reader.read(0, 4096)) for _ in range(3)]
    for _ in outcomes:
        assert pinned.acquire(timeout=WAIT_S)
    gate.open()
    world.join()
    assert [str(outcome["error"]) for outcome in outcomes] == ["gone"] * 3
    assert world.budget.used_bytes == 0
    assert reader.read(0, 4096) == DATA[:4096]


def test_a_failed_read_ahead_is_fetched_again_when_it_is_needed(
        world: ReadingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = world.reader("k", DATA, range_bytes=4 * MIB)
    ended = called_after(monkeypatch, world.store, "end_locked")
    world.client.fail("get_object", NetworkError("gone"), nth=2)
    assert reader.read(0, STEP, Window(0, 8 * MIB)) == DATA[:STEP]
    for _ in range(2):
        assert ended.acquire(timeout=WAIT_S)
    assert reader.read(5 * MIB, STEP, Window(5 * MIB, 6 * MIB)) == DATA[5 * MIB:5 * MIB + STEP]


class HoldingAhead(MemoryClient):
    """Holds all requests but that for the object's beginning until ``go`` is set; ``held`` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.go = threading.Semaphore(0), threading.Event()

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, **options: Any) -> ObjectInfo:
        if start:
            self.held.release()
            assert self.go.wait(WAIT_S), "nobody lets it go on"
        return super().get_object(key, buffer, start=start, **options)


def test_read_ahead_runs_while_the_reader_has_its_bytes() -> None:
    client = HoldingAhead()
    world = ReadingWorld(client=client)
    reader = world.reader("k", DATA, range_bytes=4 * MIB)
    assert reader.read(0, STEP, Window(0, 16 * MIB)) == DATA[:STEP]
    for _ in range(3):
        assert client.held.acquire(timeout=WAIT_S), "that part is not asked for"
    client.go.set()
    world.end()


@pytest.mark.parametrize("window_mib, sizes", [
    (3, [3]), (4, [1] * 4), (8, [2] * 4), (20, [5] * 4), (24, [5] * 4 + [4])])
def test_a_window_that_is_not_full_yet_comes_in_several_ranges(world: ReadingWorld, window_mib: int,
                                                               sizes: List[int]) -> None:
    reader = world.reader("k", bytes(24 * MIB))
    for start in range(0, window_mib * MIB, STEP):
        assert reader.read(start, STEP, Window(0, window_mib * MIB)) == bytes(STEP)
    assert sorted(world.gets()) == sorted(size * MIB for size in sizes)


def test_what_was_begun_is_begun_again_when_it_was_given_up(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA)
    window = Window(0, 8 * MIB)
    for _ in range(2):  # the second time nothing has to be begun
        for start in range(0, 8 * MIB, STEP):
            assert reader.read(start, STEP, window) == DATA[start:start + STEP]
    assert sum(world.gets()) == 8 * MIB
    world.budget.acquire(world.budget.limit_bytes)  # takes all ranges away
    world.budget.release(world.budget.limit_bytes)
    for start in range(0, 8 * MIB, STEP):
        assert reader.read(start, STEP, window) == DATA[start:start + STEP]
    assert sum(world.gets()) == 16 * MIB


def test_read_ahead_begins_only_with_room_in_the_budget() -> None:
    world = ReadingWorld(budget_bytes=6 * MIB)
    reader = world.reader("k", DATA, range_bytes=4 * MIB)
    assert reader.read(0, STEP, Window(0, 64 * MIB)) == DATA[:STEP]
    assert len(world.gets()) == 1
    assert reader.read(32 * MIB, STEP, Window(32 * MIB, 64 * MIB)) == DATA[32 * MIB:32 * MIB + STEP]
    assert world.budget.used_bytes <= 6 * MIB
    world.end()


def test_sequential_read_in_a_small_budget_is_right_and_reads_once() -> None:
    world = ReadingWorld(budget_bytes=9 * MIB)
    assert read_through(world.reader("k", DATA)) == DATA
    assert sum(world.gets()) == len(DATA)
    assert len(world.gets()) <= 70
    world.end()


def test_others_get_the_memory_of_what_nobody_reads(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA)
    read_through(reader)
    assert world.budget.used_bytes
    world.budget.acquire(world.budget.limit_bytes - MIB)
    assert world.budget.used_bytes <= world.budget.limit_bytes
    world.budget.release(world.budget.limit_bytes - MIB)


@pytest.mark.parametrize("limit", [3 * MIB, 200 * KIB], ids=["tight", "less than one window each"])
def test_200_readers_never_exceed_the_budget_and_never_hang(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ReadingWorld(budget_bytes=limit)
    seen: List[int] = []
    get_object = world.client.get_object

    def watched(key: str, buffer: memoryview, **options: Any) -> Any:
        seen.append(world.budget.used_bytes)
        return get_object(key, buffer, **options)

    monkeypatch.setattr(world.client, "get_object", watched)
    body = DATA[:768 * KIB]
    readers = [world.reader(f"k{index}", body, range_bytes=256 * KIB) for index in range(200)]
    outcomes = [world.start(lambda reader=reader: read_through(reader, 64 * KIB)) for reader in readers]  # type: ignore[misc]
    world.join()
    assert all(outcome["result"] == body for outcome in outcomes)
    assert max(seen) <= limit
    world.end()


def test_close_gives_back_at_once_what_is_idle_and_later_what_is_under_way(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA)
    reader.read(0, STEP, Window(0, 4 * MIB))
    gate = world.client.block("get_object", after_bytes=STEP)
    assert reader.read(8 * MIB, STEP, Window(8 * MIB, 9 * MIB)) == DATA[8 * MIB:8 * MIB + STEP]
    gate.wait_entered()
    waiting = world.start(lambda: reader.read(8 * MIB, MIB))
    reader.close()
    assert world.budget.used_bytes <= 5 * MIB
    gate.open()
    world.join()
    assert waiting.get("result", DATA[8 * MIB:9 * MIB]) == DATA[8 * MIB:9 * MIB]
    world.pool.close()
    assert world.budget.used_bytes == 0
    with pytest.raises(BadHandle):
        reader.read(0, 1)


def test_a_pool_that_takes_no_work_fails_the_read_and_leaks_nothing(world: ReadingWorld) -> None:
    reader = world.reader("k", DATA)
    world.pool.close()
    with pytest.raises(RuntimeError):
        reader.read(0, STEP, Window(0, 16 * MIB))
    assert world.budget.used_bytes == 0
    assert reader.read(0, 4096) == DATA[:4096]


def test_memory_is_asked_for_without_holding_any() -> None:
    world = ReadingWorld(budget_bytes=MIB)
    reader = world.reader("k", DATA)
    world.budget.acquire(MIB)
    outcome = world.start(lambda: reader.read(0, STEP, Window(0, 64 * MIB)))
    other = world.start(lambda: reader.read(0, STEP))
    assert world.budget.used_bytes == MIB
    world.budget.release(MIB)
    world.join()
    assert outcome["result"] == other["result"] == DATA[:STEP]
    world.end()
