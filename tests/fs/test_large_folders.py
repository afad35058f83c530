"""Folders of very many objects: what a listed name takes, and what is not listed."""

import tracemalloc

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ListedObject, ListPage
from cosfs.errors import NoEntry
from cosfs.filesystem import CosFilesystem
from tests.support.memory_client import MemoryClient

pytestmark = pytest.mark.timeout(60)

EPOCH_S = 1_700_000_000.0


class Endless(MemoryClient):
    """A folder ``d`` of many objects that are made up page by page."""

    def __init__(self, count):
        super().__init__()
        self.rows = count

    def list_objects(self, prefix, *, delimiter="", marker="", max_keys=1000, on_next=None):  # noqa: ARG002
        self._enter("list_objects", prefix, marker=marker)
        if prefix != "d/":
            return ListPage((), ("d/",) if not prefix else ())
        start = int(marker[3:]) + 1 if marker else 0
        stop = min(start + max_keys, self.rows)
        rows = tuple(ListedObject(f"d/f{number:07d}", number, f"{number:032x}", EPOCH_S + number)
                     for number in range(start, stop))
        return ListPage(rows, (), rows[-1].key if stop < self.rows else None)


def test_a_listed_name_takes_the_memory_that_is_stated():
    count = 50_000
    filesystem = CosFilesystem(Endless(count), FilesystemConfig(), monotonic=lambda: 0.0)
    tracemalloc.start()
    try:
        assert len(filesystem.readdir("/d")) == count
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        filesystem.stop()
    assert kept / count < 550, kept / count
    assert peak / count < 1000, peak / count


def test_a_lookup_in_a_folder_of_a_million_objects_does_not_list_it():
    client = Endless(1_000_000)
    filesystem = CosFilesystem(client, FilesystemConfig())
    for number in range(5):
        with pytest.raises(NoEntry):
            filesystem.getattr(f"/d/nothing{number}")
    pages = [call for call in client.calls_of("list_objects") if call.key == "d/"]
    filesystem.stop()
    assert len(pages) == 1
