"""Two hosts change one file: what ``conflict=`` makes of an object that others stored under the feet of a writer."""

from __future__ import annotations

import errno
import os
import re

import pytest

from cosfs.config import Conflict
from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem.conflicts import second_paths
from cosfs.units import MIB
from tests.support.hosts import EXCLUSIVE, change, close, create, hosts, lose_next_put_answer, read, refused
from tests.support.memory_client import MemoryClient, error

SECOND_NAME = re.compile(r"f\.conflict-[A-Za-z0-9-]+-\d{8}T\d{6}Z\.txt")


@pytest.fixture
def client():
    return MemoryClient()


@pytest.fixture
def start(client, tmp_path):
    with hosts(client, str(tmp_path)) as start:
        yield start


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
    lose_next_put_answer(client)
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
