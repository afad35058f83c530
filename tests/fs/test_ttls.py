"""How stale each cache may be, with a clock of the test's own: not at all with 0, and no longer than it says."""

from __future__ import annotations

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import NoEntry
from cosfs.filesystem import Caller, CosFilesystem
from tests.support.memory_client import MemoryClient

ME = Caller(0, 0)


class Bench:
    def __init__(self, **ttls):
        self.client = MemoryClient()
        self.now = 1000.0
        self.filesystem = CosFilesystem(self.client, FilesystemConfig(**ttls), monotonic=lambda: self.now)

    def size(self, path):
        return self.filesystem.getattr(path).size_bytes

    def names(self, path):
        return {entry.name for entry in self.filesystem.readdir(path)}

    def is_there(self, path):
        try:
            self.filesystem.getattr(path)
        except NoEntry:
            return False
        return True


@pytest.fixture
def bench():
    made = []

    def make(**ttls):
        made.append(Bench(**ttls))
        return made[-1]

    yield make
    for each in made:
        each.filesystem.stop()


def test_attributes_are_believed_for_their_time(bench):
    it = bench(stat_ttl_s=30, listing_ttl_s=1, negative_ttl_s=1)
    it.client.add("f", b"1")
    assert it.size("/f") == 1
    it.client.add("f", b"22")
    it.now += 29.9
    assert it.size("/f") == 1
    it.now += 0.2
    assert it.size("/f") == 2


def test_listings_are_believed_for_their_time(bench):
    it = bench(stat_ttl_s=60, listing_ttl_s=30, negative_ttl_s=1)
    it.client.add("d/a", b"")
    assert it.names("/d") == {"a"}
    it.client.add("d/b", b"")
    it.now += 29.9
    assert it.names("/d") == {"a"}
    assert not it.is_there("/d/b")
    it.now += 0.2
    assert it.names("/d") == {"a", "b"}
    assert it.is_there("/d/b")


def test_absence_is_believed_for_its_time(bench):
    it = bench(stat_ttl_s=1, listing_ttl_s=1, negative_ttl_s=30)
    assert not it.is_there("/f")
    it.client.add("f", b"")
    it.now += 29.9
    assert not it.is_there("/f")
    it.now += 0.2
    assert it.is_there("/f")


def test_with_zero_everything_is_asked_for_each_time(bench):
    it = bench(stat_ttl_s=0, listing_ttl_s=0, negative_ttl_s=0)
    assert not it.is_there("/f")
    it.client.add("f", b"1")
    assert it.size("/f") == 1
    it.client.add("f", b"22")
    assert it.size("/f") == 2
    assert it.names("/") == {"f"}
    it.client.add("g", b"")
    assert it.names("/") == {"f", "g"}
    it.client.delete_object("f")
    assert not it.is_there("/f")
    assert it.names("/") == {"g"}


def test_with_zero_a_file_that_others_made_again_after_an_own_removal_is_there(bench):
    it = bench(stat_ttl_s=0, listing_ttl_s=0, negative_ttl_s=0)
    it.client.add("d/f", b"1")
    it.client.add("d/g", b"1")
    it.filesystem.unlink("/d/f")
    it.now += 0.1
    assert not it.is_there("/d/f")
    it.client.add("d/f", b"22")
    assert it.size("/d/f") == 2


def test_with_zero_own_directories_are_there_and_gone_at_once_though_listings_lag(bench):
    it = bench(stat_ttl_s=0, listing_ttl_s=0, negative_ttl_s=0)
    it.filesystem.mkdir("/d", 0o755, ME)
    marker = it.client.objects.pop("d/")  # as a listing that lags has it
    assert it.is_there("/d")
    it.client.objects["d/"] = marker
    it.filesystem.rmdir("/d")
    it.client.objects["d/"] = marker
    assert not it.is_there("/d")
    assert "d" not in it.names("/")
