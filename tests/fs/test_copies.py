"""Copies from file to file inside the mount: no bytes move, and nothing is lost when the source goes meanwhile."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import BadHandle, StaleHandle
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.units import MIB
from tests.support.memory_client import MemoryClient

ME = Caller(0, 0)
LARGE = random.Random(77).randbytes(24 * MIB)
PART_BYTES = MIB


@dataclass
class World:
    client: MemoryClient
    filesystem: CosFilesystem

    def source(self, data: bytes = LARGE, name: str = "source") -> int:
        if name not in self.client.objects:
            self.client.add(name, data)
        return self.filesystem.open(f"/{name}", os.O_RDONLY).fh

    def target(self, name: str = "target") -> int:
        return self.filesystem.create(f"/{name}", 0o644, os.O_RDWR | os.O_CREAT, ME).fh

    def close(self, *handles: int) -> None:
        for fh in handles:
            try:
                self.filesystem.flush(fh)
            finally:
                self.filesystem.release(fh)

    def moved(self) -> List[str]:
        """Requests that carried content."""
        return [call.operation for call in self.client.calls
                if call.operation in ("get_object", "put_object", "upload_part")]


@pytest.fixture
def world() -> Iterator[World]:
    client = MemoryClient()
    filesystem = CosFilesystem(client, FilesystemConfig(copies=True, part_size_bytes=PART_BYTES))
    yield World(client, filesystem)
    filesystem.stop()


def copy(world: World, source: int, target: int, *, start: int = 0, at: int = 0, length: int = len(LARGE)) -> int:
    return world.filesystem.copy_range(source, start, target, at, length)


def test_a_whole_copy_is_one_request_that_moves_nothing(world: World) -> None:
    source, target = world.source(), world.target()

    assert copy(world, source, target) == len(LARGE)
    assert copy(world, source, target, start=len(LARGE), at=len(LARGE)) == 0
    world.close(target, source)

    assert world.client.body("target") == LARGE
    assert world.moved() == []
    assert world.client.count("copy_object") == 1


def test_the_copy_has_the_attributes_of_a_new_file(world: World) -> None:
    world.client.add("source", LARGE)
    world.filesystem.chmod("/source", 0o600)
    world.filesystem.fsyncdir()
    source, target = world.filesystem.open("/source", os.O_RDONLY).fh, world.target()

    copy(world, source, target)
    world.close(target, source)

    assert world.filesystem.getattr("/target").mode & 0o777 == 0o644


def test_a_copy_can_be_read_before_it_is_stored(world: World) -> None:
    source, target = world.source(), world.target()
    copy(world, source, target, start=5 * MIB, length=3 * MIB)

    assert bytes(world.filesystem.read(target, MIB, 1000)) == LARGE[6 * MIB:6 * MIB + 1000]
    assert world.filesystem.getattr("/target", target).size_bytes == 3 * MIB
    world.close(target, source)
    assert world.client.body("target") == LARGE[5 * MIB:8 * MIB]


def test_pieces_of_several_files_holes_and_written_bytes_come_together(world: World) -> None:
    other = random.Random(78).randbytes(8 * MIB)
    world.client.add("other", other)
    one, two, target = world.source(), world.source(other, "other"), world.target()
    world.filesystem.write(target, 0, b"head")
    copy(world, one, target, start=2 * MIB, at=4, length=9 * MIB)
    copy(world, two, target, start=0, at=10 * MIB, length=4 * MIB)
    world.filesystem.truncate("/target", 16 * MIB, target)
    copy(world, target, target, start=13 * MIB, at=20 * MIB, length=2 * MIB)  # a part of it a hole
    copy(world, two, target, start=7 * MIB, at=24 * MIB, length=5 * MIB)  # ends with the source
    expected = bytearray(25 * MIB)
    expected[:4] = b"head"
    expected[4:4 + 9 * MIB] = LARGE[2 * MIB:11 * MIB]
    expected[10 * MIB:14 * MIB] = other[:4 * MIB]
    expected[20 * MIB:22 * MIB] = expected[13 * MIB:15 * MIB]
    expected[24 * MIB:25 * MIB] = other[7 * MIB:]

    assert bytes(world.filesystem.read(target, 0, 25 * MIB)) == bytes(expected)
    world.close(target, one, two)
    assert world.client.body("target") == bytes(expected)


def test_what_the_source_has_not_stored_yet_is_copied_too(world: World) -> None:
    source, target = world.target("source"), world.target()
    world.filesystem.write(source, 0, b"not stored")
    world.filesystem.truncate("/source", 20, source)

    assert copy(world, source, target, start=4) == 16
    world.filesystem.write(source, 4, b"changed since")
    world.close(target, source)

    assert world.client.body("target") == b"stored" + bytes(10)


def test_nothing_is_copied_from_behind_the_end(world: World) -> None:
    source, target = world.source(b"12345"), world.target()

    assert copy(world, source, target, start=3) == 2
    assert copy(world, source, target, start=9, at=2) == 0
    world.close(target, source)

    assert world.client.body("target") == b"45"


@pytest.mark.parametrize("swap", [False, True])
def test_handles_that_are_not_open_for_that_are_refused(world: World, swap: bool) -> None:
    source = world.source(b"1")
    target = world.filesystem.create("/target", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh

    with pytest.raises(BadHandle):
        copy(world, *((target, target) if swap else (source, source)))
    world.close(target, source)


def unlink(world: World) -> None:
    world.filesystem.unlink("/source")


def hide(world: World) -> None:
    world.filesystem.rename("/source", "/.fuse_hidden0000000100000001")


def rename(world: World) -> None:
    world.filesystem.rename("/source", "/elsewhere")


def replace(world: World) -> None:
    world.close(world.target("new"))
    world.filesystem.rename("/new", "/source")


def overwrite(world: World) -> None:
    fh = world.filesystem.open("/source", os.O_WRONLY | os.O_TRUNC).fh
    world.filesystem.write(fh, 0, b"other")
    world.close(fh)


def edit(world: World) -> None:
    fh = world.filesystem.open("/source", os.O_RDWR).fh
    world.filesystem.write(fh, 100, b"other")
    world.close(fh)


def truncate(world: World) -> None:
    world.filesystem.truncate("/source", 5)


@pytest.mark.parametrize(("change", "closed"), [
    (hide, False),  # libfuse hides open files only
    *[(change, closed) for change in (unlink, rename, replace, overwrite, edit, truncate) for closed in (False, True)]])
def test_a_copy_outlives_its_source(world: World, change: Callable[[World], None], closed: bool) -> None:
    source, target = world.source(), world.target()
    copy(world, source, target)
    if closed:
        world.close(source)

    change(world)
    world.close(target, *([] if closed else [source]))

    assert world.client.body("target") == LARGE
    if closed and change not in (edit, truncate):  # which move some of it; what goes while it is open is all fetched
        assert "get_object" not in world.moved()


def test_a_copy_outlives_the_rename_of_its_source_s_folder(world: World) -> None:
    source, target = world.source(name="folder/source"), world.target()
    copy(world, source, target)
    world.close(source)

    world.filesystem.rename("/folder", "/elsewhere")
    world.close(target)

    assert world.client.body("target") == LARGE
    assert world.client.body("elsewhere/source") == LARGE


def test_a_copy_that_was_removed_itself_outlives_its_source(world: World) -> None:
    source, target = world.source(), world.target()
    copy(world, source, target)
    world.filesystem.rename("/target", "/.fuse_hidden0000000100000001")
    world.close(source)

    unlink(world)

    assert bytes(world.filesystem.read(target, 7 * MIB, 10)) == LARGE[7 * MIB:7 * MIB + 10]
    world.close(target)


@pytest.mark.parametrize("foreign", [b"another version", None])
def test_a_source_that_changes_elsewhere_before_the_copy_is_made_is_told_at_close(
        world: World, foreign: Optional[bytes], expected_logs: Callable[[str], None]) -> None:
    expected_logs("target")
    source, target = world.source(), world.target()
    copy(world, source, target)
    if foreign is None:
        world.client.delete_object("source")
    else:
        world.client.add("source", foreign)

    with pytest.raises(StaleHandle):
        world.filesystem.flush(target)
    world.filesystem.release(target)
    world.close(source)
    assert "target" not in world.client.objects


def test_a_copy_into_a_file_that_streams_is_right(world: World) -> None:
    source, target = world.source(), world.target()
    written = random.Random(79).randbytes(8 * MIB)
    for start in range(0, len(written), MIB):
        world.filesystem.write(target, start, written[start:start + MIB])
    copy(world, source, target, start=MIB, at=3 * MIB, length=2 * MIB)
    copy(world, source, target, at=len(written))
    world.close(target, source)

    expected = bytearray(written + LARGE)
    expected[3 * MIB:5 * MIB] = LARGE[MIB:3 * MIB]
    assert world.client.body("target") == bytes(expected)


def test_a_written_buffer_is_not_kept(world: World) -> None:
    """libfuse's own buffer is handed down, and used for something else after."""
    target = world.target()
    buffer = bytearray(random.Random(80).randbytes(MIB))
    expected = b""
    for number in range(12):
        expected += bytes(buffer)
        with memoryview(buffer) as view:
            world.filesystem.write(target, number * MIB, view)
        buffer.append(0)  # BufferError while somebody has a view of it
        buffer[:] = random.Random(number).randbytes(MIB)
    world.close(target)
    assert world.client.body("target") == expected
