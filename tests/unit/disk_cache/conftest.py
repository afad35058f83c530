import pytest

from cosfs.reading.disk_blocks import (
    prepare_folder,
)
from cosfs.reading.disk_cache import DiskCache
from tests.unit.disk_cache.folder import ETAG, KEY, SMALL, Clock, content


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "cache" / "blocks"
    prepare_folder(str(path))
    return path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_cache(folder, clock):
    """Makes started caches; all are closed at the end."""
    opened = []

    def make(**settings):
        cache = DiskCache(str(folder), clock_ns=clock.ns, monotonic=clock.monotonic, **settings)
        cache.start()
        opened.append(cache)
        return cache

    yield make
    for cache in opened:
        cache.close()


@pytest.fixture
def fill(open_cache):
    """``fill(numbers, **settings)``: blocks of those numbers, stored by a mount that has ended."""
    def run(numbers, *, size=SMALL, **settings):
        cache = open_cache(**settings)
        for number in numbers:
            cache.write(KEY, ETAG, number, content(number, size))
        cache.close()
    return run
