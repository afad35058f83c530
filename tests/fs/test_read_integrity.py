"""What was received is compared with the service's CRC-64: wrong bytes are an error, never an answer."""

from __future__ import annotations

import os
import random
from typing import Callable, Iterator

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import IntegrityError
from cosfs.filesystem import CosFilesystem
from cosfs.reading.window import AccessWindow, Window
from cosfs.units import KIB, MIB
from tests.support.reading_world import STEP, FlippingClient, ReadingWorld, RememberingCache, read_through

DATA = random.Random(12).randbytes(40 * MIB + 5000)
MIDDLE = 17 * MIB + 77

ExpectLogs = Callable[[str], None]


@pytest.fixture
def client() -> FlippingClient:
    made = FlippingClient()
    made.position = MIDDLE
    return made


@pytest.fixture
def world(client: FlippingClient) -> Iterator[ReadingWorld]:
    made = ReadingWorld(client=client, cache=RememberingCache())
    yield made
    made.end()


def received(reader: object, whole: bytes = DATA) -> int:
    """Read from the start to the end or an error; returns how many bytes came."""
    window, offset = AccessWindow(), 0
    while offset < len(whole):
        try:
            offset += len(reader.read(offset, STEP, window.observe(offset, STEP)))  # type: ignore[attr-defined]
        except IntegrityError:
            break
    return offset


@pytest.mark.parametrize("position", [0, MIDDLE, len(DATA) - 1])
def test_a_flipped_bit_anywhere_fails_the_read_that_would_complete_the_object(
        world: ReadingWorld, client: FlippingClient, expected_logs: ExpectLogs, position: int) -> None:
    expected_logs("CRC-64")
    client.position, client.times = position, 1
    corrupted = []
    reader = world.reader("k", DATA, on_corrupted=lambda: corrupted.append(1))
    assert received(reader) < len(DATA)
    assert corrupted


def test_the_log_names_key_version_and_both_checksums(
        world: ReadingWorld, client: FlippingClient, caplog: pytest.LogCaptureFixture,
        expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    client.times = 1
    reader = world.reader("k", DATA)
    received(reader)
    info = client.objects["k"].info
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert all(word in line.getMessage() for word in ("'k'", info.etag, str(info.crc64), "EIO"))


def test_whoever_may_have_got_wrong_bytes_gets_no_more_and_a_new_reader_fetches_anew(
        world: ReadingWorld, client: FlippingClient, expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    client.times = 1
    reader = world.reader("k", DATA)
    received(reader)
    with pytest.raises(IntegrityError):
        reader.read(0, STEP)
    assert reader.corrupted and not world.cache.blocks  # type: ignore[union-attr]
    assert read_through(world.reader("k")) == DATA


def test_ranges_that_were_evicted_meanwhile_are_part_of_the_check(expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    client = FlippingClient()
    client.position, client.times = MIDDLE, 1
    world = ReadingWorld(4 * MIB, client=client)
    assert received(world.reader("k", DATA)) < len(DATA)
    assert read_through(world.reader("k")) == DATA
    world.end()


def test_a_second_whole_read_is_checked_though_only_evicted_ranges_are_fetched_again(
        expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    client = FlippingClient()
    client.position = MIDDLE
    world = ReadingWorld(4 * MIB, client=client)
    reader = world.reader("k", DATA)
    assert read_through(reader) == DATA
    client.times = 1
    assert received(reader) < len(DATA)
    world.end()


def test_blocks_of_the_disk_cache_are_part_of_the_check(
        world: ReadingWorld, client: FlippingClient, expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    first = world.reader("k", DATA)
    first.read(0, STEP, Window(0, 30 * MIB))
    read_through(first)
    first.close()
    cached = world.cache.blocks  # type: ignore[union-attr]
    name = next(name for name in cached if name[2] == 3)
    cached[name] = bytes(MIB)
    missing = next(name for name in cached if name[2] == 30)
    del cached[missing]  # the service is asked, and tells the checksum
    assert received(world.reader("k")) < len(DATA)


def test_random_reads_among_sequential_ones_do_not_disturb_the_check(
        world: ReadingWorld, client: FlippingClient, expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    rng = random.Random(6)
    for flips in (0, 1):
        reader = world.reader("k", DATA)
        world.cache.blocks.clear()  # type: ignore[union-attr]
        for _ in range(200):
            offset = rng.randrange(len(DATA) - 4 * KIB)
            assert reader.read(offset, 4 * KIB, Window(offset, offset + 4 * KIB)) == DATA[offset:offset + 4 * KIB]
        client.times = flips
        assert (received(reader) == len(DATA)) == (not flips)
        reader.close()


def test_a_service_without_checksums_is_read_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ReadingWorld()
    world.client.add("k", DATA)
    info = world.client.objects["k"].info
    object.__setattr__(info, "crc64", None)
    assert read_through(world.reader("k")) == DATA
    world.end()


def all_of(filesystem: CosFilesystem, fh: int) -> bytes:
    return b"".join(bytes(filesystem.read(fh, offset, STEP)) for offset in range(0, len(DATA), STEP))


def test_a_file_is_read_right_after_a_corruption_by_who_opens_it_again(
        client: FlippingClient, expected_logs: ExpectLogs) -> None:
    expected_logs("CRC-64")
    filesystem = CosFilesystem(client, FilesystemConfig())
    filesystem.start()
    client.add("f", DATA)
    filesystem.getattr("/f")
    filesystem.release(filesystem.open("/f", os.O_RDONLY).fh)
    client.times = 1
    opened = filesystem.open("/f", os.O_RDONLY)
    assert opened.keep_cache
    with pytest.raises(IntegrityError):
        all_of(filesystem, opened.fh)
    again = filesystem.open("/f", os.O_RDONLY)
    assert not again.keep_cache, "the kernel would go on showing the wrong bytes"
    assert all_of(filesystem, again.fh) == DATA
    with pytest.raises(IntegrityError):
        filesystem.read(opened.fh, 0, STEP)
    for fh in (opened.fh, again.fh):
        filesystem.release(fh)
    filesystem.stop()
