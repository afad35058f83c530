"""Contents of the next small files, fetched ahead of a program that reads one after the other: what that costs, and
how old a content may be."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cosfs.config import FilesystemConfig
from cosfs.filesystem import Caller, CosFilesystem, Purpose
from cosfs.units import KIB, MIB
from tests.support.memory_client import MemoryClient, error

pytestmark = pytest.mark.timeout(60)

ME = Caller(0, 0)
WAIT_S = 10.0


class Bucket(MemoryClient):
    """Fails once for keys in ``failing``, if no program waits for them when they are asked for."""

    def __init__(self):
        super().__init__()
        self.failing = set()

    def get_object(self, key, buffer, **arguments):
        info = super().get_object(key, buffer, **arguments)
        if key in self.failing and threading.current_thread().name.startswith("cosfs-ahead"):
            self.failing.remove(key)
            raise error(503, "SlowDown")
        return info


class Mount:
    """A mount of a bucket in memory whose clock the test turns."""

    def __init__(self, **settings):
        self.client = Bucket()
        self.now = 1000.0
        self.filesystem = CosFilesystem(self.client, FilesystemConfig(**settings), monotonic=lambda: self.now)

    def add_files(self, count, size_bytes=4096, folder="d"):
        for number in range(count):
            self.client.add(f"{folder}/f{number:05d}", b"%05d" % number + bytes(size_bytes - 5))
        return [f"/{folder}/f{number:05d}" for number in range(count)]

    def read(self, path):
        """As cat does."""
        self.filesystem.getattr(path, purpose=lambda: Purpose.OPEN)
        fh = self.filesystem.open(path, os.O_RDONLY).fh
        try:
            return bytes(self.filesystem.read(fh, 0, 128 * KIB))
        finally:
            self.filesystem.release(fh)

    def fetched(self):
        """The keys that were fetched whole, in order."""
        return [call.key for call in self.client.calls if call.operation == "get_object"]

    def settle(self):
        """Wait for what is on its way."""
        self.filesystem.stop()


@pytest.fixture
def make_mount():
    mounts = []

    def make(**settings):
        mounts.append(Mount(**settings))
        return mounts[-1]

    yield make
    for mount in mounts:
        mount.filesystem.stop()


@pytest.fixture
def mount(make_mount):
    return make_mount()


def test_files_that_are_read_in_order_are_fetched_once_each(mount):
    paths = mount.add_files(1500)
    mount.filesystem.readdir("/d")
    assert [mount.read(path)[:5] for path in paths] == [b"%05d" % number for number in range(1500)]
    assert sorted(mount.fetched()) == [path[1:] for path in paths]
    assert mount.client.count("head_object") <= 2


def test_the_contents_come_before_the_program_asks(mount):
    paths = mount.add_files(40)
    mount.filesystem.readdir("/d")
    gate = mount.client.block("get_object", nth=3 + 8)
    for path in paths[:3]:
        mount.read(path)
    gate.wait_entered()
    assert sorted(mount.fetched()) == [path[1:] for path in paths[:11]]
    gate.open()


@pytest.mark.parametrize("threads", [2, 8])
def test_several_threads_through_one_folder_fetch_each_file_once(mount, threads):
    paths = mount.add_files(800)
    mount.filesystem.readdir("/d")
    with ThreadPoolExecutor(threads) as pool:
        shares = [pool.submit(lambda start=start: [mount.read(path) for path in paths[start::threads]])
                  for start in range(threads)]
        assert sum(len(share.result(WAIT_S)) for share in shares) == 800
    assert sorted(mount.fetched()) == [path[1:] for path in paths]


def test_files_that_are_read_in_any_other_order_are_fetched_by_their_readers_only(mount):
    paths = mount.add_files(2000)
    mount.filesystem.readdir("/d")
    chosen = random.Random(4).sample(paths, 300)
    for path in chosen:
        mount.read(path)
    mount.settle()
    assert len(mount.fetched()) <= 300 + 8


def test_a_program_that_picks_files_fetches_little_in_vain(mount):
    paths = mount.add_files(3000)
    mount.filesystem.readdir("/d")
    chosen = paths[::3]
    for path in chosen:
        mount.read(path)
    mount.settle()
    assert len(mount.fetched()) == len(set(mount.fetched())) <= 1000 + 500 + 128


def test_large_files_are_not_fetched_ahead_and_do_not_hide_the_small_ones(mount):
    small = mount.add_files(100)
    for path in small:
        mount.client.add(path[1:] + ".large", bytes(2 * MIB))
    mount.filesystem.readdir("/d")
    for path in small:
        mount.read(path)
    mount.settle()
    assert sorted(mount.fetched()) == [path[1:] for path in small]


def test_a_little_memory_is_not_exceeded(make_mount):
    mount = make_mount(memory_limit_bytes=MIB)
    paths = mount.add_files(500)
    mount.filesystem.readdir("/d")
    for path in paths:
        assert len(mount.read(path)) == 4096
    assert mount.client.count("get_object") + mount.client.count("head_object") <= 1010


def test_a_folder_that_was_read_is_read_again_without_a_request(mount):
    paths = mount.add_files(200)
    mount.filesystem.readdir("/d")
    for path in paths:
        mount.read(path)
    before = len(mount.client.calls)
    mount.now += 5
    for path in paths:
        mount.filesystem.release(mount.filesystem.open(path, os.O_RDONLY).fh)  # the kernel has the pages
    mount.settle()
    assert len(mount.client.calls) == before


def test_what_was_fetched_ahead_serves_for_two_seconds(mount):
    paths = mount.add_files(40)
    mount.filesystem.readdir("/d")
    for path in paths[:5]:
        mount.read(path)
    mount.client.add(paths[5][1:], b"theirs" + bytes(4090))
    mount.client.add(paths[6][1:], b"theirs" + bytes(4090))
    mount.now += 1.9
    assert mount.read(paths[5])[:5] == b"00005"
    mount.now += 0.2
    with pytest.raises(Exception, match="has changed"):
        mount.read(paths[6])  # ESTALE, upon which the kernel looks again
    assert mount.read(paths[6])[:6] == b"theirs"


def test_without_caching_nothing_is_fetched_ahead(make_mount):
    mount = make_mount(stat_ttl_s=0, listing_ttl_s=0, negative_ttl_s=0)
    paths = mount.add_files(50)
    for path in paths:
        mount.read(path)
    assert len(mount.fetched()) <= 50


def test_a_slow_program_is_not_fetched_for_in_vain(mount):
    paths = mount.add_files(300)
    mount.filesystem.readdir("/d")
    for path in paths:
        mount.read(path)
        mount.now += 0.5
    assert len(mount.fetched()) <= 300 + 60


def test_a_content_that_cannot_be_fetched_ahead_is_fetched_by_its_reader(mount):
    paths = mount.add_files(40)
    mount.filesystem.readdir("/d")
    mount.client.failing = {path[1:] for path in paths[5:15]}
    assert [mount.read(path)[:5] for path in paths] == [b"%05d" % number for number in range(40)]


def test_a_version_that_came_since_the_listing_is_read(mount):
    paths = mount.add_files(40)
    mount.filesystem.readdir("/d")
    for path in paths:
        mount.client.add(path[1:], b"theirs" + bytes(100))
    assert {mount.read(path) for path in paths} == {b"theirs" + bytes(100)}


def test_writers_are_not_taken_for_readers(mount):
    paths = mount.add_files(40)
    mount.filesystem.readdir("/d")
    for path in paths:
        mount.filesystem.release(mount.filesystem.open(path, os.O_WRONLY | os.O_TRUNC).fh)
    mount.settle()
    assert mount.client.count("get_object") <= 40
