"""What open finds, and what a path means, when other hosts have stored or removed something meanwhile."""

from __future__ import annotations

import errno
import os

import pytest

from cosfs.config import FilesystemConfig
from cosfs.errors import StaleHandle
from cosfs.filesystem import CosFilesystem
from cosfs.units import MIB
from tests.support.hosts import change, close, create, hosts, read, refused
from tests.support.memory_client import MemoryClient


@pytest.fixture
def client():
    return MemoryClient()


@pytest.fixture
def start(client, tmp_path):
    with hosts(client, str(tmp_path)) as start:
        yield start


def test_append_goes_to_the_end_of_the_version_that_is_there_now(client, start):
    client.add("f", b"old\n")
    filesystem = start()
    assert filesystem.getattr("/f").size_bytes == 4
    client.add("f", b"old\nforeign\n")
    with pytest.raises(StaleHandle):  # the kernel looks up again, and learns the size
        filesystem.open("/f", os.O_WRONLY | os.O_APPEND)
    size = filesystem.getattr("/f").size_bytes
    fh = filesystem.open("/f", os.O_WRONLY | os.O_APPEND).fh
    filesystem.write(fh, size, b"ours\n", append=True)
    close(filesystem, fh)
    assert client.body("f") == b"old\nforeign\nours\n"


def test_append_ignores_where_the_kernel_believes_the_end(client, start):
    client.add("f", b"0123456789")
    filesystem = start()
    fh = filesystem.open("/f", os.O_WRONLY | os.O_APPEND).fh
    filesystem.write(fh, 3, b"+", append=True)
    close(filesystem, fh)
    assert client.body("f") == b"0123456789+"


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_writer_s_open_asks_once_and_finds_the_present_version(client, start, size):
    client.add("d/f", b"a" * size)
    filesystem = start()
    filesystem.readdir("/d")
    filesystem.getattr("/d/f")
    asked = client.count("head_object") + client.count("get_object")
    close(filesystem, change(filesystem, "/d/f", b"b", os.O_RDWR))
    assert client.body("d/f") == b"b" + b"a" * (size - 1)
    # a small object comes with the answer, of a large one the rest is fetched for the upload
    assert client.count("head_object") + client.count("get_object") == asked + (1 if size == 10 else 2)


@pytest.mark.parametrize("theirs", [None, b"a newer version"])
def test_a_large_file_that_was_looked_up_a_moment_ago_is_not_asked_for_by_a_writer_s_open(
        client, theirs, expected_logs):
    expected_logs("is not stored, as its close or fsync was told")
    now = [1000.0]
    client.add("f", b"a" * (3 * MIB))
    filesystem = CosFilesystem(client, FilesystemConfig(part_size_bytes=MIB), monotonic=lambda: now[0])
    filesystem.getattr("/f")
    now[0] += 0.09
    if theirs is not None:
        client.add("f", theirs)
    fh = change(filesystem, "/f", b"b", offset=3 * MIB)
    assert client.count("head_object") == 1
    if theirs is None:
        close(filesystem, fh)
        now[0] += 0.11
        close(filesystem, change(filesystem, "/f", b"c", offset=0))
        assert client.count("head_object") == 2
        assert client.body("f") == b"c" + b"a" * (3 * MIB - 1) + b"b"
    else:
        assert refused(close, filesystem, fh) == errno.ESTALE
        assert client.body("f") == theirs
    filesystem.stop()


def test_a_path_means_the_present_version_though_an_old_one_is_held_open(client, start):
    now = [1000.0]
    client.add("f", b"old")
    filesystem = CosFilesystem(client, FilesystemConfig(), monotonic=lambda: now[0])
    filesystem.getattr("/f")
    held = filesystem.open("/f", os.O_RDONLY).fh
    client.add("f", b"a newer one")
    now[0] += 61
    assert filesystem.getattr("/f").size_bytes == 11
    assert read(filesystem, "/f") == b"a newer one"
    assert filesystem.getattr("/f", held).size_bytes == 3
    filesystem.release(held)
    filesystem.stop()


def test_attributes_of_a_path_are_those_of_the_present_version_though_an_old_one_is_held_open(client):
    now = [1000.0]
    client.add("f", b"old")
    filesystem = CosFilesystem(client, FilesystemConfig(), monotonic=lambda: now[0])
    filesystem.setxattr("/f", "user.a", b"1", 0)
    filesystem.fsyncdir()
    held = filesystem.open("/f", os.O_RDONLY).fh
    other = CosFilesystem(client, FilesystemConfig())
    close(other, change(other, "/f", b"a newer one", os.O_WRONLY | os.O_TRUNC))
    other.setxattr("/f", "user.a", b"2", 0)
    other.setxattr("/f", "user.b", b"3", 0)
    other.stop()
    now[0] += 61
    assert filesystem.getxattr("/f", "user.a") == b"2"
    assert sorted(filesystem.listxattr("/f")) == ["user.a", "user.b"]
    assert refused(filesystem.setxattr, "/f", "user.b", b"4", os.XATTR_CREATE) == errno.EEXIST
    copies = client.count("copy_object")
    filesystem.chmod("/f", 0o600)
    filesystem.fsyncdir()
    assert client.count("copy_object") == copies + 1
    assert filesystem.getattr("/f", held).size_bytes == 3
    filesystem.release(held)
    filesystem.stop()


def test_a_content_that_came_a_while_ago_is_not_served_to_a_new_reader(client, start):
    now = [1000.0]
    client.add("d/f", b"old")
    filesystem = CosFilesystem(client, FilesystemConfig(), monotonic=lambda: now[0])
    filesystem.readdir("/d")
    filesystem.getattr("/d/f")  # fetches the content with the headers
    client.add("d/f", b"new")
    now[0] += 5
    with pytest.raises(StaleHandle):
        filesystem.open("/d/f", os.O_RDONLY)
    assert read(filesystem, "/d/f") == b"new"
    filesystem.stop()


def test_an_empty_file_that_was_filled_elsewhere_is_noticed_by_open(client, start):
    client.add("f", b"")
    filesystem = start()
    filesystem.getattr("/f")
    client.add("f", b"filled")
    with pytest.raises(StaleHandle):
        filesystem.open("/f", os.O_RDONLY)
    assert read(filesystem, "/f") == b"filled"


def test_a_file_that_was_removed_elsewhere_is_not_listed_though_it_is_held_open(client):
    now = [1000.0]
    client.add("d/f", b"x")
    client.add("d/g", b"x")
    filesystem = CosFilesystem(client, FilesystemConfig(), monotonic=lambda: now[0])
    filesystem.getattr("/d/f")
    held = filesystem.open("/d/f", os.O_RDONLY).fh
    new = create(filesystem, "/d/new", b"not stored yet")
    client.delete_object("d/f")
    now[0] += 61
    assert {entry.name for entry in filesystem.readdir("/d")} == {"g", "new"}
    assert refused(filesystem.getattr, "/d/f") == errno.ENOENT
    assert filesystem.read(held, 0, 10) == b"x"
    filesystem.release(held)
    close(filesystem, new)
    filesystem.stop()
