"""Names that are to be new, which another host may take meanwhile."""

from __future__ import annotations

import errno
import threading

import pytest

from cosfs.config import Conflict
from cosfs.units import MIB
from tests.support.hosts import EXCLUSIVE, ME, close, create, hosts, lose_next_put_answer, read, refused
from tests.support.memory_client import MemoryClient, error


@pytest.fixture
def client():
    return MemoryClient()


@pytest.fixture
def start(client, tmp_path):
    with hosts(client, str(tmp_path)) as start:
        yield start


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
    lose_next_put_answer(client)
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
