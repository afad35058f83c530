"""What the data cache on disk means to open files and to unsent data."""

import os

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import StaleHandle
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.reading.disk_blocks import prepare_folder
from cosfs.units import MIB
from tests.support.memory_client import MemoryClient

ME = Caller(0, 0)
SIZE = 3 * MIB + 1


def body(seed):
    return bytes([seed]) * SIZE


class Bench:
    """Mounts with one cache, one after the other; time is the test's."""

    def __init__(self, folder):
        self.client = MemoryClient()
        self.now = 1000.0
        self.cache = folder / "cache"
        self.staging = folder / "staging"
        self.staging.mkdir()
        prepare_folder(str(self.cache))
        self.filesystem = None

    def mount(self, **settings):
        self.end()
        settings = {"staging_reserve_bytes": 0, **settings}
        self.filesystem = CosFilesystem(self.client, FilesystemConfig(
            cache_folder=str(self.cache), staging_folder=str(self.staging), **settings), monotonic=lambda: self.now)
        self.filesystem.start()
        return self.filesystem

    def end(self):
        if self.filesystem is not None:
            self.filesystem.stop()
        self.filesystem = None

    def read(self, path):
        opened = self.filesystem.open(path, os.O_RDONLY)
        data = b"".join(bytes(self.filesystem.read(opened.fh, start, MIB)) for start in range(0, SIZE, MIB))
        self.filesystem.release(opened.fh)
        return data

    def stored_bytes(self):
        return sum(path.stat().st_size for path in self.cache.glob("???/*"))


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.end()


@pytest.fixture
def cached(bench):
    """A file whose present version is in the cache, in a new mount that was told of it a second ago."""
    bench.client.add("f", body(1))
    bench.mount()
    assert bench.read("/f") == body(1)
    bench.mount().getattr("/f")
    bench.now += 1
    bench.client.calls.clear()
    return bench


def test_opening_a_cached_file_asks_for_its_version_and_fetches_nothing(cached):
    assert cached.read("/f") == body(1)
    assert [call.operation for call in cached.client.calls] == ["head_object"]


def test_a_cached_version_is_not_opened_when_another_one_is_in_the_bucket(cached):
    cached.client.add("f", body(2))

    with pytest.raises(StaleHandle):  # and the kernel looks the name up again
        cached.filesystem.open("/f", os.O_RDONLY)
    cached.filesystem.getattr("/f")

    assert cached.read("/f") == body(2)


def test_a_read_over_the_edge_of_a_cached_block_gives_both_sides(cached):
    opened = cached.filesystem.open("/f", os.O_RDONLY)
    for offset in (MIB - 3, 2 * MIB - 1, 3 * MIB - 2, MIB // 2):
        assert cached.filesystem.read(opened.fh, offset, 7) == body(1)[offset:offset + 7]
    cached.filesystem.release(opened.fh)

    assert [call for call in cached.client.calls if call.operation == "get_object"] == []


def test_unsent_data_take_the_disk_of_cached_blocks(bench, monkeypatch):
    """The cache takes what the disk has above the floor, which staged data must leave free, too."""
    disk_bytes, floor_bytes = 20 * MIB, 8 * MIB
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(
        (1, 1, 0, 0, disk_bytes - bench.stored_bytes(), 0, 0, 0, 0, 255)))
    for number in range(5):
        bench.client.add(f"f{number}", body(number))
    bench.mount(staging_reserve_bytes=floor_bytes)
    for number in range(5):
        assert bench.read(f"/f{number}") == body(number)
    bench.mount(staging_reserve_bytes=floor_bytes)
    full_bytes = bench.stored_bytes()
    assert disk_bytes - full_bytes < floor_bytes + 2 * MIB

    opened = bench.filesystem.create("/new", 0o644, os.O_WRONLY, ME)
    for start in range(0, 4 * MIB, MIB):
        bench.filesystem.write(opened.fh, start, bytes(MIB))
    bench.filesystem.flush(opened.fh)
    bench.filesystem.release(opened.fh)

    assert bench.client.body("new") == bytes(4 * MIB)
    assert bench.stored_bytes() < full_bytes


def test_the_queue_of_the_cache_comes_out_of_the_memory_limit(bench):
    filesystem = bench.mount(memory_limit_bytes=64 * MIB)
    context = filesystem._context
    assert context.ranges.budget.limit_bytes + context.disk_cache.queue_bytes == 64 * MIB
