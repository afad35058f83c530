"""Random reads: what they fetch, and when the rest of the object is fetched in the background."""

from __future__ import annotations

import random
import threading
from typing import Any, List

import pytest

from cosfs.cos.interface import ObjectInfo
from cosfs.reading.fill import FillPolicy
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import AccessWindow
from cosfs.units import KIB, MIB
from tests.support.memory_client import WAIT_S, MemoryClient
from tests.support.reading_world import ReadingWorld, RememberingCache

DATA = random.Random(13).randbytes(48 * MIB)
READ = 4 * KIB


class SlowClock:
    """Each look of the reader at it is 10 ms later: so a miss costs that. Fills, on other threads, cost nothing."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        if threading.current_thread() is threading.main_thread():
            self._now += 0.01
        return self._now


def read_at_random(reader: ObjectReader, count: int, seed: int = 1) -> None:
    rng, window = random.Random(seed), AccessWindow()
    window.observe(1, 1)
    for _ in range(count):
        offset = rng.randrange(1, len(DATA) // READ - 1) * READ
        assert reader.read(offset, READ, window.observe(offset, READ)) == DATA[offset:offset + READ]


def wait_for_fill(world: ReadingWorld) -> None:
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            with world.store.lock:
                if not world.store.fillers:
                    ended.set()
            ended.wait(0.01)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    assert ended.wait(WAIT_S), "the fill does not end"


def large(world: ReadingWorld) -> List[int]:
    return [size for size in world.gets() if size > 64 * KIB]


def test_without_room_each_random_read_is_one_small_request() -> None:
    world = ReadingWorld(32 * MIB, cache=RememberingCache(room=False), fillers=4)
    reader = world.reader("k", DATA, clock=SlowClock())
    rng, window = random.Random(5), AccessWindow()
    blocks = rng.sample(range(1, len(DATA) // (64 * KIB)), 500)
    for block in blocks:
        reader.read(block * 64 * KIB, READ, window.observe(block * 64 * KIB, READ))
    assert len(world.gets()) == 500
    assert max(world.gets()) <= 64 * KIB
    world.end()


@pytest.mark.parametrize("room", ["disk", "memory"])
def test_after_some_misses_the_rest_is_fetched_once_and_nothing_after_that(room: str) -> None:
    cache = RememberingCache() if room == "disk" else None
    world = ReadingWorld(32 * MIB if room == "disk" else 128 * MIB, cache=cache, fillers=4)
    reader = world.reader("k", DATA, clock=SlowClock())
    read_at_random(reader, 30)
    wait_for_fill(world)
    misses = len(world.gets()) - len(large(world))
    assert 2 <= misses <= 30
    assert len(DATA) * 0.9 <= sum(large(world)) <= len(DATA) + 2 * MIB
    assert len(large(world)) <= 48 + 30, "large requests, around what misses are fetching"
    count = len(world.gets())
    read_at_random(reader, 300, seed=2)
    assert len(world.gets()) <= count + 3, "blocks that a miss was fetching part of"
    world.end()


def test_a_few_misses_do_not_start_it() -> None:
    world = ReadingWorld(cache=RememberingCache(), fillers=4)
    reader = world.reader("k", DATA, clock=SlowClock())
    read_at_random(reader, 3)
    wait_for_fill(world)
    assert not large(world)
    world.end()


class HoldingClient(MemoryClient):
    """Holds large requests until ``go`` is set, after their first bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def get_object(self, key: str, buffer: memoryview, **options: Any) -> ObjectInfo:
        if len(buffer) > 64 * KIB:
            self.entered.set()
            assert self.go.wait(WAIT_S), "nobody lets it go on"
        return super().get_object(key, buffer, **options)


def test_it_ends_when_the_reader_goes() -> None:
    client = HoldingClient()
    world = ReadingWorld(client=client, cache=RememberingCache(), fillers=2)
    reader = world.reader("k", DATA, clock=SlowClock(), range_bytes=4 * MIB)
    rng = random.Random(3)
    while not client.entered.is_set():
        offset = rng.randrange(1, len(DATA) // READ - 1) * READ
        reader.read(offset, READ)
    reader.close()
    client.go.set()
    wait_for_fill(world)
    assert len(large(world)) <= 2
    world.end()


def test_a_fill_takes_no_memory_that_others_have() -> None:
    world = ReadingWorld(128 * MIB, fillers=4)
    world.budget.acquire(110 * MIB)
    reader = world.reader("k", DATA, clock=SlowClock())
    read_at_random(reader, 40)
    wait_for_fill(world)
    assert sum(large(world)) <= len(DATA)
    assert world.budget.peak_bytes <= world.budget.limit_bytes
    world.budget.release(110 * MIB)
    world.end()


def test_it_pays_when_misses_have_cost_what_the_rest_would() -> None:
    policy = FillPolicy(workers=10)
    gib = 1024 * MIB
    for _ in range(59):
        policy.note_miss(0.02)
    assert not policy.pays(gib)
    policy.note_miss(0.02)
    assert policy.pays(gib)
    policy.note_range(10 * MIB, 0.4)
    assert not policy.pays(gib) and policy.pays(gib, begun=True)
    for _ in range(9):
        policy.note_range(10 * MIB, 100.0)
    assert not policy.pays(gib, begun=True), "the line is slow, so it is much dearer than it seemed"


def test_bytes_that_stay_on_disk_are_worth_twice_the_misses() -> None:
    kept, passing = FillPolicy(workers=10, worth=2), FillPolicy(workers=10)
    for _ in range(30):
        kept.note_miss(0.02)
        passing.note_miss(0.02)
    assert kept.pays(1024 * MIB) and not passing.pays(1024 * MIB)


@pytest.mark.parametrize("kept", [True, False])
def test_the_disk_cache_is_filled_after_half_of_the_misses(kept: bool) -> None:
    world = ReadingWorld(128 * MIB, cache=RememberingCache() if kept else None, fillers=4)
    reader = world.reader("k", DATA, clock=SlowClock())
    rng, window = random.Random(9), AccessWindow()
    window.observe(1, 1)
    # 48 MiB on 4 connections of 90 MB/s each: 140 ms; a miss is taken to cost 10 ms
    for block in rng.sample(range(1, len(DATA) // (64 * KIB)), 10):
        reader.read(block * 64 * KIB, READ, window.observe(block * 64 * KIB, READ))
    wait_for_fill(world)
    assert bool(large(world)) is kept
    world.end()
