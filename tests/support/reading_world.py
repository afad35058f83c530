"""What reads objects, over a client in memory: readers, their memory and their threads.

``RememberingCache`` is a cache of blocks in memory, with the face of ``DiskCache``.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from cosfs.cos.interface import ObjectInfo
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.reading.ranges import RangeStore
from cosfs.reading.source import ObjectSource
from cosfs.reading.stream import ObjectReader
from cosfs.reading.window import AccessWindow
from cosfs.units import KIB, MIB
from tests.support.memory_client import WAIT_S, MemoryClient

STEP = 128 * KIB


class RememberingCache:
    def __init__(self, room: bool = True) -> None:
        self.blocks: Dict[Tuple[str, str, int], bytes] = {}
        self.room = room

    def read(self, key: str, etag: str, index: int, buffer: memoryview) -> bool:
        block = self.blocks.get((key, etag, index))
        if block is None:
            return False
        buffer[:] = block
        return True

    def contains(self, key: str, etag: str, index: int) -> bool:
        return (key, etag, index) in self.blocks

    def write(self, key: str, etag: str, index: int, data: memoryview, *, wait: bool = False) -> None:  # noqa: ARG002
        if self.room:
            self.blocks[key, etag, index] = bytes(data)

    def discard(self, key: str, etag: str, index: int) -> None:
        self.blocks.pop((key, etag, index), None)

    def has_room(self, count: int) -> bool:  # noqa: ARG002
        return self.room


class FlippingClient(MemoryClient):
    """Answers each GET that covers ``position`` with one bit flipped there, ``times`` times."""

    position = -1
    times = 0

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, **options: Any) -> ObjectInfo:
        info = super().get_object(key, buffer, start=start, **options)
        if self.times and start <= self.position < start + len(buffer):
            self.times -= 1
            buffer[self.position - start] ^= 1
        return info


class ReadingWorld:
    """``clock``: seconds for the cost of misses. ``end`` checks that all threads ended and all memory is back."""

    def __init__(self, budget_bytes: int = 256 * MIB, *, client: Optional[MemoryClient] = None,
                 cache: Optional[RememberingCache] = None, fillers: int = 0) -> None:
        self.client = client or MemoryClient()
        self.cache = cache
        self.pool = WorkerPool("fetch", 4, queue=64)
        self.fill_pool = WorkerPool("fill", fillers, queue=fillers) if fillers else None
        self.budget = ByteBudget(budget_bytes)
        self.store = RangeStore(self.budget, max_fillers=fillers)
        self.readers: List[ObjectReader] = []
        self.threads: List[threading.Thread] = []

    def reader(self, key: str = "k", body: bytes = b"", etag: str = "", **options: Any) -> ObjectReader:
        if key not in self.client.objects:
            self.client.add(key, body)
        info = self.client.objects[key].info
        source = ObjectSource(self.client, self.cache, key, etag or info.etag, info.size_bytes)
        self.readers.append(ObjectReader(source, self.store, self.pool, fill_pool=self.fill_pool, **options))
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

    def gets(self) -> List[int]:
        """The bytes of each GET."""
        return [call.detail["stop"] - call.detail["start"] for call in self.client.calls_of("get_object")]

    def end(self) -> None:
        self.join()
        for reader in self.readers:
            reader.close()
        self.pool.close()
        if self.fill_pool is not None:
            self.fill_pool.close()
        assert self.budget.used_bytes == 0


def read_through(reader: ObjectReader, step: int = STEP) -> bytes:
    window = AccessWindow()
    return b"".join(bytes(reader.read(offset, step, window.observe(offset, step)))
                    for offset in range(0, reader.size_bytes, step))
