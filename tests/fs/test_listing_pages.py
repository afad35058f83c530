"""Listings of several pages: what they cost, and what is left when one of them fails."""

from __future__ import annotations

from typing import Iterator

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import CosServiceError, DirectoryNotEmpty, NameTooLong
from cosfs.filesystem import CosFilesystem
from cosfs.units import MAX_LIST_KEYS
from tests.support.memory_client import MemoryClient, error

pytestmark = pytest.mark.timeout(60)
COUNT = 2 * MAX_LIST_KEYS + 1
PAGES = 3


@pytest.fixture
def client() -> MemoryClient:
    client = MemoryClient()
    for number in range(COUNT):
        client.add(f"d/{number:04d}", b"")
    return client


@pytest.fixture
def filesystem(client: MemoryClient) -> Iterator[CosFilesystem]:
    filesystem = CosFilesystem(client, FilesystemConfig())
    filesystem.readdir("/")
    client.calls.clear()
    yield filesystem
    filesystem.stop()


def listings(client: MemoryClient) -> int:
    return len(client.calls_of("list_objects"))


def test_a_listing_costs_one_request_a_page(client: MemoryClient, filesystem: CosFilesystem) -> None:
    assert len(filesystem.readdir("/d")) == COUNT
    assert listings(client) == PAGES


def test_what_is_not_empty_is_found_out_by_one_small_page(client: MemoryClient, filesystem: CosFilesystem) -> None:
    with pytest.raises(DirectoryNotEmpty):
        filesystem.rmdir("/d")
    filesystem.stop()
    assert listings(client) == 1


@pytest.mark.parametrize("nth", range(1, PAGES + 1))
def test_a_listing_that_fails_leaves_nothing_of_it_in_the_cache(
        client: MemoryClient, filesystem: CosFilesystem, nth: int) -> None:
    client.fail("list_objects", error(503, "SlowDown"), nth=nth)
    with pytest.raises(CosServiceError):
        filesystem.readdir("/d")
    assert listings(client) == nth
    assert len(filesystem.readdir("/d")) == COUNT


def test_a_rename_whose_listing_fails_moves_nothing(client: MemoryClient, filesystem: CosFilesystem) -> None:
    before = set(client.objects)
    client.fail("list_objects", error(503, "SlowDown"), nth=3)
    with pytest.raises(CosServiceError):
        filesystem.rename("/d", "/e")
    assert client.calls_of("list_objects")[-1].detail["marker"]
    assert set(client.objects) == before
    filesystem.rename("/d", "/e")
    assert len([key for key in client.objects if key.startswith("e/")]) == COUNT


def test_a_rename_that_stops_in_its_listing_leaves_no_request_behind(
        client: MemoryClient, filesystem: CosFilesystem) -> None:
    client.add("d/!" + "x" * 640, b"")
    with pytest.raises(NameTooLong):
        filesystem.rename("/d", "/" + "e" * 250)
    filesystem.stop()
    assert len([call for call in client.calls_of("list_objects") if call.key == "d/"]) <= 2
