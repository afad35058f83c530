"""Statements of ``docs/SEMANTICS.md`` about files and folders that no other test is named after, without FUSE."""

from __future__ import annotations

import os
import stat

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import FileTooLarge, NotRestored, StagingFull, StaleHandle
from cosfs.filesystem import Caller, CosFilesystem, openfile
from cosfs.units import MAX_OBJECT_BYTES
from tests.support.memory_client import MemoryClient, error

ME = Caller(0, 0)


class World:
    """A filesystem on a bucket in memory, under a clock that the test turns."""

    def __init__(self) -> None:
        self.client = MemoryClient()
        self.now_s = 0.0
        self.filesystem = CosFilesystem(self.client, FilesystemConfig(), monotonic=lambda: self.now_s)

    def write(self, path, data):
        fh = self.filesystem.create(path, 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
        self.filesystem.write(fh, 0, data)
        self.filesystem.flush(fh)
        self.filesystem.release(fh)

    def names(self, path):
        return sorted(entry.name for entry in self.filesystem.readdir(path))


@pytest.fixture
def world():
    world = World()
    yield world
    world.filesystem.stop()


def test_handles_of_a_removed_file_that_is_too_large_to_keep_get_estale(world, monkeypatch, expected_logs):
    expected_logs("too large to keep after its removal")
    monkeypatch.setattr(openfile, "MATERIALIZE_LIMIT_BYTES", 1 << 20)
    world.client.add("f", bytes(8 << 20))
    fh = world.filesystem.open("/f", os.O_RDONLY).fh
    world.filesystem.unlink("/f")
    with pytest.raises(StaleHandle):
        world.filesystem.read(fh, 7 << 20, 4096)
    world.filesystem.release(fh)


def test_between_the_copy_and_the_delete_of_a_rename_both_names_exist(world):
    world.write("/f", b"hello")
    world.client.fail("delete_object", error(403, "AccessDenied"))
    with pytest.raises(Exception, match="AccessDenied"):
        world.filesystem.rename("/f", "/g")
    assert {key: world.client.body(key) for key in world.client.objects} == {"f": b"hello", "g": b"hello"}


def test_a_file_that_was_never_stored_is_uploaded_once_under_its_new_name(world):
    fh = world.filesystem.create("/f", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    world.filesystem.write(fh, 0, b"hello")
    world.filesystem.rename("/f", "/g")
    world.filesystem.flush(fh)
    world.filesystem.release(fh)
    assert [call.key for call in world.client.calls_of("put_object")] == ["g"]
    assert world.client.count("copy_object") + world.client.count("delete_object") == 0


def test_a_folder_has_one_link_until_its_content_is_known(world):
    world.client.add("d/e/f", b"x")
    world.client.add("g/h", bytes(100_000))
    assert world.filesystem.getattr("/g").nlink in (1, 2)
    world.filesystem.readdir("/d")
    assert world.filesystem.getattr("/d").nlink == 3


def test_a_foreign_change_of_a_name_that_this_mount_changed_shows_after_20_s(world):
    world.write("/made", b"mine")
    world.write("/gone", b"mine")
    world.filesystem.unlink("/gone")
    world.filesystem.fsyncdir()
    del world.client.objects["made"]
    world.client.add("gone", b"theirs")
    world.now_s += 9.5
    world.names("/")
    world.now_s += 10.5
    assert world.names("/") == ["gone"]


def test_a_folder_made_here_is_taken_as_empty_for_10_s(world):
    world.filesystem.readdir("/")
    world.client.add("d/theirs", b"x")
    world.filesystem.mkdir("/d", 0o755, ME)
    assert world.names("/d") == []
    world.now_s += 10.5
    assert world.names("/d") == ["theirs"]


def test_stat_shows_size_and_attributes_of_one_version(world):
    old, new = ({"mode": str(0o100000 + mode), "mtime": "1"} for mode in (0o600, 0o640))
    world.client.add("d/f", b"", ObjectHeaders(metadata=old))
    world.filesystem.readdir("/d")
    world.client.add("d/f", b"longer", ObjectHeaders(metadata=new))
    found = world.filesystem.getattr("/d/f")
    assert (found.size_bytes, found.mode & 0o777) == (6, 0o640)


def foreign_chown(world, key):
    """Another host's: a copy of an object onto itself, which leaves the ETag."""
    world.client.copy_object(key, key, headers=ObjectHeaders(metadata={"mode": "33188", "uid": "7"}))


def stored_uid(world, key):
    return world.client.head_object(key).headers.metadata["uid"]


def test_a_foreign_change_of_attributes_alone_is_undone_by_an_own_one_within_their_time(world):
    keys = "d/changed", "d/renamed"
    for key in keys:
        world.client.add(key, b"x", ObjectHeaders(metadata={"mode": "33188", "uid": "5"}))
    world.names("/d")
    for key in keys:
        world.filesystem.getattr("/" + key)
        foreign_chown(world, key)
    world.filesystem.chmod("/d/changed", 0o600)
    world.filesystem.rename("/d/renamed", "/d/new")
    world.filesystem.fsyncdir()
    assert (stored_uid(world, "d/changed"), stored_uid(world, "d/new")) == ("5", "5")


def test_a_foreign_change_of_attributes_alone_is_seen_by_who_opens_to_write_and_kept_by_a_folder_s_rename(world):
    for key in ("d/written", "d/kept"):
        world.client.add(key, b"x", ObjectHeaders(metadata={"mode": "33188", "uid": "5"}))
        world.filesystem.getattr("/" + key)
        foreign_chown(world, key)
    fh = world.filesystem.open("/d/written", os.O_WRONLY).fh
    assert world.filesystem.getattr("/d/written").uid == 7
    world.filesystem.release(fh)
    world.filesystem.rename("/d", "/e")
    assert (stored_uid(world, "e/written"), stored_uid(world, "e/kept")) == ("7", "7")


def test_an_emptied_file_is_stored_though_it_was_empty_and_has_gone(world):
    world.write("/f", b"")
    del world.client.objects["f"]
    fh = world.filesystem.open("/f", os.O_WRONLY | os.O_TRUNC).fh
    world.filesystem.flush(fh)
    world.filesystem.release(fh)
    assert world.client.body("f") == b""


def test_the_last_file_of_a_folder_may_be_open_or_just_changed_when_it_goes(world):
    for key in ("d/f", "e/f"):
        world.client.add(key, b"x")
    for path in ("/d", "/e"):
        world.filesystem.getattr(path)  # as the kernel looks up what is on the way
    fh = world.filesystem.open("/d/f", os.O_RDONLY).fh
    world.filesystem.unlink("/d/f")
    world.filesystem.fsyncdir()
    world.filesystem.chmod("/e/f", 0o600)
    world.filesystem.unlink("/e/f")
    world.filesystem.fsyncdir()
    assert sorted(world.client.objects) == ["d/", "e/"]
    world.filesystem.release(fh)


def test_what_does_not_fit_is_refused_when_it_is_written(tmp_path):
    client = MemoryClient()
    settings = FilesystemConfig(staging_folder=str(tmp_path), staging_limit_bytes=1 << 20)
    filesystem = CosFilesystem(client, settings)
    fh = filesystem.create("/f", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    filesystem.write(fh, 0, b"old")
    with pytest.raises(FileTooLarge):
        filesystem.truncate("/f", MAX_OBJECT_BYTES + 1, fh)
    with pytest.raises(StagingFull):
        filesystem.write(fh, 0, bytes(2 << 20))
    with pytest.raises(StagingFull):
        filesystem.flush(fh)
    assert client.objects == {}
    filesystem.write(fh, 0, b"kept")
    filesystem.flush(fh)
    filesystem.release(fh)
    filesystem.stop()
    assert client.body("f") == b"kept"


def test_an_archived_object_is_shown_and_refused_to_readers(world, expected_logs):
    expected_logs("/d/f is archived")
    world.client.add("d/f", bytes(100_000))
    assert world.filesystem.getattr("/d/f").size_bytes == 100_000
    world.client.fail("get_object", error(403, "InvalidObjectState", "d/f"))
    with pytest.raises(NotRestored):
        world.filesystem.open("/d/f", os.O_RDONLY)


def test_an_old_folder_object_in_the_root_is_found_by_the_first_lookup(world):
    world.client.add("old_$folder$", b"")
    assert stat.S_ISDIR(world.filesystem.getattr("/old").mode)
