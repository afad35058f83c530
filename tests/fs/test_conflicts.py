"""Two hosts change one name: two filesystems over one bucket, and objects that others store under their feet."""

from __future__ import annotations

import errno
import os
import re
import threading

import pytest

from cosfs.config import Conflict, FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosfsError, StaleHandle, to_errno
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.filesystem.conflicts import second_paths
from cosfs.units import MIB
from tests.support.memory_client import MemoryClient, error

ME = Caller(0, 0)
NEW = os.O_WRONLY | os.O_CREAT
EXCLUSIVE = NEW | os.O_EXCL
SECOND_NAME = re.compile(r"f\.conflict-[A-Za-z0-9-]+-\d{8}T\d{6}Z\.txt")


@pytest.fixture
def client():
    return MemoryClient()


@pytest.fixture
def start(client, tmp_path):
    """``start(conflict)``: one more filesystem on the bucket."""
    started = []

    def start(conflict=Conflict.OVERWRITE, **settings):
        config = FilesystemConfig(conflict=conflict, staging_folder=str(tmp_path), **settings)
        filesystem = CosFilesystem(client, config)
        started.append(filesystem)
        return filesystem

    yield start
    for filesystem in started:
        filesystem.stop()


def create(filesystem, path, data, flags=NEW):
    fh = filesystem.create(path, 0o644, flags, ME).fh
    filesystem.write(fh, 0, data)
    return fh


def change(filesystem, path, data, flags=os.O_WRONLY, offset=0):
    fh = filesystem.open(path, flags).fh
    filesystem.write(fh, offset, data)
    return fh


def close(filesystem, fh):
    try:
        filesystem.flush(fh)
    finally:
        filesystem.release(fh)


def refused(call, *args):
    """The errno that a call fails with."""
    with pytest.raises(CosfsError) as caught:
        call(*args)
    return to_errno(caught.value)


def read(filesystem, path):
    filesystem.getattr(path)
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        return filesystem.read(fh, 0, 1 << 20)
    finally:
        filesystem.release(fh)


# Names that are to be new


def test_of_two_hosts_that_create_a_file_exclusively_one_wins(client, start, expected_logs):
    expected_logs("f.txt is not stored, as its close or fsync was told")
    first, second = start(), start()
    winner, loser = create(first, "/f.txt", b"first", EXCLUSIVE), create(second, "/f.txt", b"second", EXCLUSIVE)
    close(first, winner)
    assert refused(second.fsync, loser) == errno.EEXIST
    assert refused(second.flush, loser) == errno.EEXIST
    second.release(loser)
    assert client.body("f.txt") == b"first"
    assert read(second, "/f.txt") == b"first"
    assert [call.key for call in client.calls_of("put_object")].count("f.txt") == 4


def test_an_exclusive_file_of_many_parts_never_replaces_another(client, start, expected_logs):
    expected_logs("f is not stored, as its close or fsync was told")
    filesystem = start(part_size_bytes=MIB)
    fh = create(filesystem, "/f", bytes(5 * MIB), EXCLUSIVE)
    gate = client.block("complete_multipart_upload")
    outcome = []
    closing = threading.Thread(target=lambda: outcome.append(refused(filesystem.flush, fh)))
    closing.start()
    gate.wait_entered()
    client.add("f", b"theirs")
    gate.open()
    closing.join(10)
    filesystem.release(fh)
    assert outcome == [errno.EEXIST]
    assert client.body("f") == b"theirs"
    assert client.pending_uploads() == []


def test_a_file_that_is_not_exclusive_replaces_what_appeared_meanwhile(client, start):
    filesystem = start()
    fh = create(filesystem, "/f", b"ours")
    client.add("f", b"theirs")
    close(filesystem, fh)
    assert client.body("f") == b"ours"


def test_an_exclusive_file_is_one_put_and_changes_as_any_other_after_it(client, start):
    filesystem = start()
    fh = create(filesystem, "/f", b"1", EXCLUSIVE)
    filesystem.fsync(fh)
    filesystem.write(fh, 1, b"2")
    close(filesystem, fh)
    assert client.body("f") == b"12"
    assert client.count("put_object") == 2
    assert client.count("head_object") == 1  # the lookup


def test_an_exclusive_file_takes_the_name_that_this_mount_removed_a_moment_ago(client, start):
    filesystem = start()
    for number in range(3):
        close(filesystem, create(filesystem, f"/f{number}", b"old", EXCLUSIVE))
    for number in range(3):
        filesystem.unlink(f"/f{number}")
    for number in range(3):
        close(filesystem, create(filesystem, f"/f{number}", b"new", EXCLUSIVE))
    filesystem.fsyncdir()
    assert [client.body(f"f{number}") for number in range(3)] == [b"new"] * 3


def test_an_exclusive_file_that_is_renamed_before_it_is_stored_replaces_its_target(client, start):
    client.add("target", b"old")
    filesystem = start()
    fh = create(filesystem, "/f", b"new", EXCLUSIVE)
    filesystem.rename("/f", "/target")
    close(filesystem, fh)
    assert client.body("target") == b"new"
    fh = create(filesystem, "/g", b"newer", EXCLUSIVE)
    filesystem.rename("/g", "/h")
    client.add("h", b"theirs, which a rename replaces")
    close(filesystem, fh)
    assert client.body("h") == b"newer"


def test_an_exclusive_file_that_was_removed_before_it_was_stored_is_nowhere(client, start):
    filesystem = start()
    fh = create(filesystem, "/f", b"new", EXCLUSIVE)
    filesystem.unlink("/f")
    close(filesystem, fh)
    assert client.objects == {}


def test_an_exclusive_file_whose_first_upload_was_stored_after_all_is_no_stranger(client, start):
    filesystem = start()
    fh = create(filesystem, "/f", b"1", EXCLUSIVE)
    put = client.put_object

    def lose_answer(*args, **named):
        put(*args, **named)
        client.put_object = put
        raise error(500, "InternalError")

    client.put_object = lose_answer
    assert refused(filesystem.fsync, fh) == errno.EIO
    filesystem.write(fh, 1, b"2")
    client.fail("put_object", error(503, "SlowDown"))
    assert refused(filesystem.fsync, fh) == errno.EIO
    close(filesystem, fh)
    assert client.body("f") == b"12"


def test_keep_both_treats_an_exclusive_file_as_any_other_once_it_is_stored(client, start, expected_logs):
    expected_logs("f was changed by another host")
    filesystem = start(Conflict.KEEP_BOTH)
    fh = create(filesystem, "/f", b"1", EXCLUSIVE)
    filesystem.fsync(fh)
    client.add("f", b"theirs")
    filesystem.write(fh, 0, b"2")
    close(filesystem, fh)
    assert sorted(client.body(key) for key in client.objects) == [b"2", b"theirs"]


@pytest.mark.parametrize(("make", "key"), [
    (lambda filesystem: filesystem.mkdir("/n", 0o755, ME), "n/"),
    (lambda filesystem: filesystem.symlink("/n", "target", ME), "n"),
    (lambda filesystem: filesystem.mknod("/n", 0o010644, 0, ME), "n")])
def test_a_directory_link_or_fifo_that_another_host_made_meanwhile_is_eexist(client, start, make, key):
    first, second = start(), start()
    assert refused(second.getattr, "/n") == errno.ENOENT
    make(first)
    made = client.objects[key]
    assert refused(make, second) == errno.EEXIST
    assert client.objects[key] is made
    assert second.getattr("/n").mode == first.getattr("/n").mode


def test_a_directory_can_be_made_again_right_after_its_removal(client, start):
    filesystem = start()
    for _ in range(3):
        filesystem.mkdir("/a", 0o755, ME)
        filesystem.mkdir("/b", 0o755, ME)
        filesystem.rmdir("/a")
        filesystem.rmdir("/b")
    filesystem.fsyncdir()
    assert client.objects == {}


# Objects that changed since they were opened


def test_overwrite_lets_the_last_writer_win_without_a_request_more(client, start):
    client.add("f.txt", b"base")
    filesystem = start()
    fh = change(filesystem, "/f.txt", b"ours", os.O_WRONLY | os.O_TRUNC)
    client.add("f.txt", b"theirs")
    asked = client.count("head_object")
    close(filesystem, fh)
    assert client.body("f.txt") == b"ours"
    assert client.count("head_object") == asked


def test_fail_reports_the_change_and_leaves_the_foreign_version(client, start, expected_logs):
    expected_logs("f.txt is not stored, as its close or fsync was told")
    client.add("f.txt", b"base")
    filesystem = start(Conflict.FAIL)
    fh = change(filesystem, "/f.txt", b"ours", os.O_WRONLY | os.O_TRUNC)
    client.add("f.txt", b"theirs")
    assert refused(filesystem.fsync, fh) == errno.ESTALE
    assert refused(filesystem.flush, fh) == errno.ESTALE
    assert filesystem.read(fh, 0, 100) == b"ours"
    filesystem.release(fh)
    assert client.body("f.txt") == b"theirs"
    assert read(filesystem, "/f.txt") == b"theirs"


def test_fail_reports_a_removal_and_an_object_that_appeared(client, start, expected_logs):
    expected_logs("is not stored, as its close or fsync was told")
    client.add("f", b"base")
    filesystem = start(Conflict.FAIL)
    fh = change(filesystem, "/f", b"ours")
    client.delete_object("f")
    assert refused(close, filesystem, fh) == errno.ESTALE
    fh = create(filesystem, "/g", b"ours")
    client.add("g", b"theirs")
    assert refused(close, filesystem, fh) == errno.EEXIST
    assert {key: client.body(key) for key in client.objects} == {"g": b"theirs"}


def test_fail_costs_one_request_for_a_change_and_none_for_a_new_file(client, start):
    filesystem = start(Conflict.FAIL)
    close(filesystem, create(filesystem, "/f", b"1"))
    asked = client.count("head_object") + client.count("get_object")
    fh = filesystem.open("/f", os.O_WRONLY | os.O_TRUNC).fh
    assert client.count("head_object") + client.count("get_object") == asked + 1  # as open does for every writer
    filesystem.write(fh, 0, b"2")
    close(filesystem, fh)
    assert client.count("head_object") + client.count("get_object") == asked + 2
    assert client.body("f") == b"2"


def test_fail_does_not_take_an_own_upload_whose_answer_was_lost_for_a_stranger(client, start):
    client.add("f", b"base")
    filesystem = start(Conflict.FAIL)
    fh = change(filesystem, "/f", b"1", os.O_WRONLY | os.O_TRUNC)
    put = client.put_object

    def lose_answer(*args, **named):
        put(*args, **named)
        client.put_object = put
        raise error(500, "InternalError")

    client.put_object = lose_answer
    assert refused(filesystem.fsync, fh) == errno.EIO
    close(filesystem, fh)
    assert client.body("f") == b"1"


@pytest.mark.parametrize("theirs", [b"12", b"2"])
def test_fail_does_not_take_another_s_object_with_the_same_headers_for_a_lost_own_upload(
        client, start, theirs, expected_logs):
    expected_logs("f is not stored, as its close or fsync was told")
    client.add("f", b"base")
    filesystem = start(Conflict.FAIL)
    fh = change(filesystem, "/f", b"1", os.O_WRONLY | os.O_TRUNC)
    client.fail("put_object", error(500, "InternalError"))
    assert refused(filesystem.fsync, fh) == errno.EIO
    client.add("f", theirs, client.calls_of("put_object")[-1].detail["headers"])
    assert refused(close, filesystem, fh) == errno.ESTALE
    assert client.body("f") == theirs


def test_keep_both_stores_the_own_version_under_a_second_name(client, start, expected_logs):
    expected_logs("f.txt was changed by another host, whose version stays; ours is /d/f.conflict-.*txt")
    client.add("d/f.txt", b"base", ObjectHeaders(metadata={"author": "someone"}))
    filesystem = start(Conflict.KEEP_BOTH)
    fh = change(filesystem, "/d/f.txt", b"ours", os.O_WRONLY | os.O_TRUNC)
    client.add("d/f.txt", b"theirs")
    filesystem.fsync(fh)
    assert client.body("d/f.txt") == b"theirs"
    second = next(key for key in client.objects if SECOND_NAME.fullmatch(key[2:]))
    assert client.body(second) == b"ours"
    assert client.objects[second].info.headers.metadata["author"] == "someone"
    filesystem.write(fh, 4, b", and more")  # the handle goes on with the second name
    close(filesystem, fh)
    assert client.body(second) == b"ours, and more"
    assert len(client.objects) == 2
    assert read(filesystem, "/d/f.txt") == b"theirs"
    assert read(filesystem, "/" + second) == b"ours, and more"
    assert {entry.name for entry in filesystem.readdir("/d")} == {"f.txt", second[2:]}


def test_keep_both_of_a_new_file_whose_name_was_taken_meanwhile(client, start, expected_logs):
    expected_logs("f.txt was changed by another host")
    first, second = start(Conflict.KEEP_BOTH), start(Conflict.KEEP_BOTH)
    handles = create(first, "/f.txt", b"first"), create(second, "/f.txt", b"second")
    close(first, handles[0])
    close(second, handles[1])
    assert sorted(client.body(key) for key in client.objects) == [b"first", b"second"]
    assert client.body("f.txt") == b"first"


def test_keep_both_still_fails_an_exclusive_creation(client, start, expected_logs):
    expected_logs("is not stored, as its close or fsync was told")
    filesystem = start(Conflict.KEEP_BOTH)
    fh = create(filesystem, "/lock", b"ours", EXCLUSIVE)
    client.add("lock", b"theirs")
    assert refused(close, filesystem, fh) == errno.EEXIST
    assert list(client.objects) == ["lock"]


def test_keep_both_stores_a_changed_file_again_that_was_removed_elsewhere(client, start):
    client.add("f", b"base")
    filesystem = start(Conflict.KEEP_BOTH)
    fh = change(filesystem, "/f", b"ours", os.O_WRONLY | os.O_TRUNC)
    client.delete_object("f")
    close(filesystem, fh)
    assert {key: client.body(key) for key in client.objects} == {"f": b"ours"}


def test_keep_both_takes_the_unchanged_rest_of_a_small_file_from_memory(client, start, expected_logs):
    expected_logs("f.txt was changed by another host")
    client.add("f.txt", b"0123456789")
    filesystem = start(Conflict.KEEP_BOTH)
    filesystem.getattr("/f.txt")
    fh = change(filesystem, "/f.txt", b"xy", os.O_RDWR, offset=4)
    client.add("f.txt", b"theirs")
    close(filesystem, fh)
    assert sorted(client.body(key) for key in client.objects) == [b"0123xy6789", b"theirs"]


@pytest.mark.parametrize("conflict", list(Conflict))
def test_an_edit_in_the_middle_of_a_large_object_never_mixes_two_versions(client, start, conflict, expected_logs):
    expected_logs("f is not stored, as its close or fsync was told")
    client.add("f", b"a" * (12 * MIB))
    filesystem = start(conflict, part_size_bytes=MIB)
    fh = change(filesystem, "/f", b"edit", os.O_RDWR, offset=6 * MIB)
    client.add("f", b"b" * (12 * MIB))
    assert refused(filesystem.flush, fh) == errno.ESTALE
    filesystem.release(fh)
    assert client.body("f") == b"b" * (12 * MIB)
    assert list(client.objects) == ["f"]
    assert client.pending_uploads() == []


@pytest.mark.parametrize("conflict", [Conflict.FAIL, Conflict.KEEP_BOTH])
def test_a_rename_of_a_changed_file_never_deletes_a_foreign_version(client, start, conflict, expected_logs):
    expected_logs("is not stored, as its close|was changed by another host")
    client.add("f.txt", b"base")
    filesystem = start(conflict)
    fh = change(filesystem, "/f.txt", b"ours", os.O_WRONLY | os.O_TRUNC)
    client.add("f.txt", b"theirs")
    assert refused(filesystem.rename, "/f.txt", "/g.txt") == errno.ESTALE
    assert client.body("f.txt") == b"theirs"
    assert "g.txt" not in client.objects
    if conflict is Conflict.KEEP_BOTH:
        close(filesystem, fh)
    else:
        assert refused(close, filesystem, fh) == errno.ESTALE
    assert client.body("f.txt") == b"theirs"


def test_second_names_keep_the_extension_and_the_limit_of_a_name():
    found = second_paths("/d/notes.txt", 1_795_381_611)
    assert re.fullmatch(r"/d/notes\.conflict-[A-Za-z0-9-]+-20261122T210651Z\.txt", next(found))
    assert next(found).endswith("Z-2.txt")
    assert next(second_paths("/.profile", 0)).startswith("/.profile.conflict-")
    for name in ("ä" * 127 + "x", "a" * 200 + "." + "b" * 54, "\udcff" * 255):
        second = next(second_paths("/" + name, 0))[1:]
        assert len(second.encode("utf-8", "surrogateescape")) <= 255


# What open finds


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
