"""Reading objects by ranges on a client in memory: right bytes, few requests, bounded memory, no deadlock."""

from __future__ import annotations

import random
import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest

from cosfs.errors import BadHandle, NetworkError, PreconditionFailed
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.reading.ranges import RangeStore
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import AccessWindow, Window
from cosfs.units import KIB, MIB
from tests.support.memory_client import WAIT_S, MemoryClient

STEP = 128 * KIB
DATA = random.Random(11).randbytes(64 * MIB)


class World:
    def __init__(self, budget_bytes: int = 256 * MIB) -> None:
        self.client = MemoryClient()
        self.pool = WorkerPool("fetch", 4, queue=64)
        self.budget = ByteBudget(budget_bytes)
        self.store = RangeStore(self.budget)
        self.readers: List[ObjectReader] = []
        self.threads: List[threading.Thread] = []

    def reader(self, key: str = "k", body: bytes = DATA, etag: str = "", **options: Any) -> ObjectReader:
        if key not in self.client.objects:
            self.client.add(key, body)
        info = self.client.objects[key].info
        self.readers.append(ObjectReader(self.client, self.store, self.pool, key, etag or info.etag, info.size_bytes,
                                         **options))
        return self.readers[-1]

    def start(self, function: Callable[[], Any]) -> Dict[str, Any]:
        """Run in a thread; the dict gets ``result`` or ``error``."""
        outcome: Dict[str, Any] = {}

        def run() -> None:
            try:
                outcome["result"] = function()
            except Exception as exc:  # noqa: BLE001 - the test looks at it
                outcome["error"] = exc

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return outcome

    def join(self) -> None:
        for thread in self.threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a reader hangs"

    def end(self) -> None:
        self.join()
        for reader in self.readers:
            reader.close()
        self.pool.close()
        assert self.budget.used_bytes == 0


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
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


def gets(world: World) -> List[int]:
    return [call.detail["stop"] - call.detail["start"] for call in world.client.calls_of("get_object")]


def read_through(reader: ObjectReader, step: int = STEP) -> bytes:
    window = AccessWindow()
    return b"".join(reader.read(offset, step, window.observe(offset, step))
                    for offset in range(0, reader.size_bytes, step))


def test_sequential_read_of_64_mib_uses_few_large_requests(world: World) -> None:
    assert read_through(world.reader()) == DATA
    assert len(gets(world)) <= 20
    assert sum(gets(world)) == len(DATA)


def test_random_reads_fetch_one_small_range_each(world: World) -> None:
    reader = world.reader()
    window = AccessWindow()
    blocks = random.Random(2).sample(range(1, len(DATA) // (64 * KIB)), 500)
    for block in blocks:
        offset = block * 64 * KIB
        assert reader.read(offset, 4096, window.observe(offset, 4096)) == DATA[offset:offset + 4096]
    assert len(gets(world)) == 500
    assert max(gets(world)) <= 68 * KIB


def test_reads_across_ranges_and_behind_the_end(world: World) -> None:
    reader = world.reader("small", DATA[:100_000], range_bytes=1000)
    rng = random.Random(4)
    for _ in range(300):
        offset, size = rng.randrange(110_000), rng.randrange(5000)
        window = Window(max(0, offset - 700), offset + size + 3000) if rng.random() < 0.5 else None
        assert reader.read(offset, size, window) == DATA[:100_000][offset:offset + size]
    assert sum(gets(world)) <= 100_000
    assert reader.read(100_000, 10) == b"" and reader.read(200_000, 10) == b""


def test_small_file_is_one_request(world: World) -> None:
    reader = world.reader("small", b"hello")
    assert reader.read(0, 4096, AccessWindow().observe(0, 4096)) == b"hello"
    assert reader.read(2, 2) == b"ll"
    assert gets(world) == [5]


def test_every_request_carries_the_etag_and_a_change_is_passed_on(world: World) -> None:
    reader = world.reader("k", DATA[:STEP])
    world.client.add("k", b"x" * STEP)
    for _ in range(2):
        with pytest.raises(PreconditionFailed):
            reader.read(0, 10)
    assert len(gets(world)) == 2


def test_bytes_are_handed_out_before_the_range_is_complete(world: World) -> None:
    reader = world.reader()
    gate = world.client.block("get_object", after_bytes=MIB)
    assert reader.read(0, STEP, Window(0, 4 * MIB)) == DATA[:STEP]
    gate.wait_entered()
    assert reader.read(MIB - STEP, STEP) == DATA[MIB - STEP:MIB]
    late = world.start(lambda: reader.read(MIB - 10, 20))
    assert not late
    gate.open()
    world.join()
    assert late["result"] == DATA[MIB - 10:MIB + 10]
    assert len(gets(world)) == 1


@pytest.mark.parametrize("size", [4096, MIB], ids=["inline", "pool"])
def test_concurrent_readers_of_one_block_make_one_request(world: World, size: int) -> None:
    reader = world.reader()
    gate = world.client.block("get_object")
    outcomes = [world.start(lambda: reader.read(0, size)) for _ in range(8)]
    gate.wait_entered()
    gate.open()
    world.join()
    assert all(outcome["result"] == DATA[:size] for outcome in outcomes)
    assert len(gets(world)) == 1


def test_an_error_reaches_all_who_wait_and_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = world.reader()
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


def test_a_failed_read_ahead_is_fetched_again_when_it_is_needed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = world.reader()
    ended = called_after(monkeypatch, world.store, "end_locked")
    world.client.fail("get_object", NetworkError("gone"), nth=2)
    assert reader.read(0, STEP, Window(0, 8 * MIB)) == DATA[:STEP]
    for _ in range(2):
        assert ended.acquire(timeout=WAIT_S)
    assert reader.read(5 * MIB, STEP, Window(5 * MIB, 6 * MIB)) == DATA[5 * MIB:5 * MIB + STEP]


def test_read_ahead_runs_while_the_reader_has_its_bytes(world: World) -> None:
    reader = world.reader()
    gates = [world.client.block("get_object", nth=nth) for nth in (2, 3, 4)]
    assert reader.read(0, STEP, Window(0, 16 * MIB)) == DATA[:STEP]
    for gate in gates:
        gate.wait_entered()
    for gate in gates:
        gate.open()


def test_read_ahead_begins_only_with_room_in_the_budget() -> None:
    world = World(budget_bytes=6 * MIB)
    reader = world.reader()
    assert reader.read(0, STEP, Window(0, 64 * MIB)) == DATA[:STEP]
    assert len(gets(world)) == 1
    assert reader.read(32 * MIB, STEP, Window(32 * MIB, 64 * MIB)) == DATA[32 * MIB:32 * MIB + STEP]
    assert world.budget.used_bytes <= 6 * MIB
    world.end()


def test_sequential_read_in_a_small_budget_is_right_and_reads_once() -> None:
    world = World(budget_bytes=9 * MIB)
    assert read_through(world.reader()) == DATA
    assert sum(gets(world)) == len(DATA)
    assert len(gets(world)) <= 40
    world.end()


def test_others_get_the_memory_of_what_nobody_reads(world: World) -> None:
    reader = world.reader()
    read_through(reader)
    assert world.budget.used_bytes == len(DATA)
    world.budget.acquire(world.budget.limit_bytes - MIB)
    assert world.budget.used_bytes <= world.budget.limit_bytes
    world.budget.release(world.budget.limit_bytes - MIB)


@pytest.mark.parametrize("limit", [3 * MIB, 200 * KIB], ids=["tight", "less than one window each"])
def test_200_readers_never_exceed_the_budget_and_never_hang(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(budget_bytes=limit)
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


def test_close_gives_back_at_once_what_is_idle_and_later_what_is_under_way(world: World) -> None:
    reader = world.reader()
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


def test_a_pool_that_takes_no_work_fails_the_read_and_leaks_nothing(world: World) -> None:
    reader = world.reader()
    world.pool.close()
    with pytest.raises(RuntimeError):
        reader.read(0, STEP, Window(0, 16 * MIB))
    assert world.budget.used_bytes == 0
    assert reader.read(0, 4096) == DATA[:4096]


def test_memory_is_asked_for_without_holding_any() -> None:
    world = World(budget_bytes=MIB)
    reader = world.reader()
    world.budget.acquire(MIB)
    outcome = world.start(lambda: reader.read(0, STEP, Window(0, 64 * MIB)))
    other = world.start(lambda: reader.read(0, STEP))
    assert world.budget.used_bytes == MIB
    world.budget.release(MIB)
    world.join()
    assert outcome["result"] == other["result"] == DATA[:STEP]
    world.end()
