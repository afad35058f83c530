"""Removals in bursts: the first is waited for, those behind it leave together."""

import os
import stat
import threading

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import AccessDenied, DirectoryNotEmpty, NoEntry
from cosfs.filesystem import Caller, CosFilesystem, Purpose
from tests.support.memory_client import MemoryClient, error

ME = Caller(0, 0)


@pytest.fixture
def client():
    return MemoryClient()


@pytest.fixture
def filesystem(client):
    filesystem = CosFilesystem(client, FilesystemConfig())
    yield filesystem
    filesystem.stop()


def names(filesystem, path):
    return sorted(entry.name for entry in filesystem.readdir(path))


def remove_tree(filesystem, path):
    """What rm -r does, as the kernel passes it on: a lookup before each removal."""
    for entry in filesystem.readdir(path):
        child = f"{path}/{entry.name}"
        if stat.S_ISDIR(entry.mode):
            filesystem.getattr(child)
            remove_tree(filesystem, child)
        else:
            filesystem.getattr(child, purpose=lambda: Purpose.REMOVE)
            filesystem.unlink(child)
    filesystem.rmdir(path)


def test_a_tree_of_1000_files_is_removed_by_a_handful_of_requests(client, filesystem):
    for number in range(1000):
        client.add(f"gone/d{number % 10}/f{number:04d}", b"x" * 4096)
    remove_tree(filesystem, "/gone")
    filesystem.fsyncdir()
    assert not client.objects
    assert [client.count(name) for name in ("get_object", "copy_object", "delete_object")] == [0, 0, 1]
    # A batch that leaves between a directory's last unlink and its rmdir finds it empty, and keeps it: once at most.
    assert client.count("put_object") <= 1
    assert client.count("head_object") + client.count("list_objects") <= 15
    assert client.count("delete_objects") <= 10


def test_the_first_removal_is_waited_for_and_tells_the_truth(client, filesystem):
    client.add("a", b"x")
    client.fail("delete_object", error(403, "AccessDenied"))
    with pytest.raises(AccessDenied):
        filesystem.unlink("/a")
    assert names(filesystem, "/") == ["a"]


def test_removals_behind_the_first_leave_as_one_request(client, filesystem):
    for number in range(50):
        client.add(f"f{number}", b"x")
    for number in range(50):
        filesystem.unlink(f"/f{number}")
    assert client.count("delete_object") == 1
    assert names(filesystem, "/") == []
    filesystem.fsyncdir()
    assert not client.objects
    assert client.count("delete_objects") <= 2


def test_names_come_back_with_a_log_line_when_a_batch_fails(client, filesystem, caplog, expected_logs):
    expected_logs("could not be deleted")
    for name in ("a", "d/b", "d/c", "e"):
        client.add(name, b"x")
    names(filesystem, "/d")
    client.fail("delete_objects", error(500, "InternalError"))
    for path in ("/a", "/d/b", "/d/c"):
        filesystem.unlink(path)
    filesystem.rmdir("/d")
    with pytest.raises(NoEntry):
        filesystem.getattr("/d")
    filesystem.fsyncdir()
    assert (names(filesystem, "/"), names(filesystem, "/d")) == (["d", "e"], ["b", "c"])
    assert "could not be deleted and are back" in caplog.text
    client.fail("delete_object", error(403, "AccessDenied"))
    with pytest.raises(AccessDenied):  # the burst is over: this one is waited for
        filesystem.unlink("/e")


def test_keys_that_may_not_delete_several_objects_at_once_delete_one_by_one(client, filesystem):
    for number in range(5):
        client.add(f"f{number}", b"x")
    client.fail("delete_objects", error(403, "AccessDenied"))
    for number in range(5):
        filesystem.unlink(f"/f{number}")
    filesystem.fsyncdir()
    assert not client.objects
    assert (client.count("delete_objects"), client.count("delete_object")) == (1, 5)


def test_what_cannot_be_deleted_one_by_one_either_comes_back(client, filesystem, expected_logs):
    expected_logs("could not be deleted")
    for name in ("a", "b", "c", "d"):
        client.add(name, b"x")
    filesystem.unlink("/a")
    client.fail("delete_objects", error(403, "AccessDenied"))
    client.fail("delete_object", error(403, "AccessDenied"), nth=2)
    for name in ("b", "c", "d"):
        filesystem.unlink("/" + name)
    filesystem.fsyncdir()
    assert sorted(client.objects) == names(filesystem, "/") == ["c"]
    client.fail("delete_objects", error(403, "AccessDenied"))
    client.fail("delete_object", error(403, "AccessDenied"), nth=2)
    client.add("e", b"x")
    client.add("f", b"x")
    filesystem.refresh("/")
    for name in ("c", "e", "f"):  # nothing is tried where the first is denied
        filesystem.unlink("/" + name)
    before = client.count("delete_object")
    filesystem.fsyncdir()
    assert sorted(client.objects) == names(filesystem, "/") == ["e", "f"]
    assert client.count("delete_object") == before + 1


def test_one_key_that_a_batch_refuses_comes_back_alone(client, filesystem, expected_logs):
    expected_logs("could not be deleted")
    for name in ("a", "b", "c"):
        client.add(name, b"x")
    client.refuse_delete("b", "AccessDenied")
    for name in ("a", "b", "c"):
        filesystem.unlink("/" + name)
    filesystem.fsyncdir()
    assert names(filesystem, "/") == ["b"]


def test_a_file_made_in_a_burst_of_removals_stays(client, filesystem):
    for name in ("a", "b"):
        client.add(name, b"old")
    for name in ("a", "b"):
        filesystem.unlink("/" + name)
    fh = filesystem.create("/b", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    filesystem.write(fh, 0, b"new")
    filesystem.flush(fh)
    filesystem.release(fh)
    filesystem.fsyncdir()
    assert client.body("b") == b"new"


def test_a_folder_made_in_a_burst_of_removals_stays(client, filesystem):
    client.add("a", b"x")
    client.add("d/", b"")
    filesystem.getattr("/d")
    filesystem.unlink("/a")
    filesystem.rmdir("/d")
    filesystem.mkdir("/d", 0o755, ME)
    filesystem.fsyncdir()
    assert list(client.objects) == ["d/"]


def test_the_folder_stays_when_a_burst_removes_its_last_file(client, filesystem):
    for name in ("d/a", "d/b", "d/c"):
        client.add(name, b"x")
    for name in ("a", "b", "c"):
        filesystem.unlink("/d/" + name)
    assert stat.S_ISDIR(filesystem.getattr("/d").mode)
    filesystem.fsyncdir()
    assert list(client.objects) == ["d/"]


def test_what_waits_is_sent_when_the_mount_ends(client):
    filesystem = CosFilesystem(client, FilesystemConfig())
    for name in ("a", "b"):
        client.add(name, b"x")
    for name in ("a", "b"):
        filesystem.unlink("/" + name)
    filesystem.stop()
    assert not client.objects


def test_a_burst_never_holds_more_than_one_batch(client, filesystem):
    for number in range(2100):
        client.add(f"f{number:04d}", b"x")
    names(filesystem, "/")
    for number in range(2100):
        filesystem.unlink(f"/f{number:04d}")
    filesystem.fsyncdir()
    assert not client.objects
    assert all(len(call.detail["keys"]) <= 1000 for call in client.calls_of("delete_objects"))


def test_rmdir_asks_the_bucket_when_the_listing_is_not_empty(client, filesystem):
    client.add("d/", b"")
    client.add("d/a", b"x")
    names(filesystem, "/d")
    with pytest.raises(DirectoryNotEmpty):
        filesystem.rmdir("/d")
    del client.objects["d/a"]
    filesystem.rmdir("/d")
    filesystem.fsyncdir()
    assert not client.objects


def test_a_foreign_file_in_a_removed_folder_is_not_lost(client, filesystem):
    client.add("d/", b"")
    filesystem.getattr("/d")
    assert names(filesystem, "/d") == []
    client.add("d/foreign", b"x")
    filesystem.rmdir("/d")
    filesystem.fsyncdir()
    assert client.body("d/foreign") == b"x"


def test_a_lookup_for_a_removal_asks_for_no_headers_unless_the_folder_is_sticky():
    now_s = [1_700_000_000.0]
    client = MemoryClient(clock=lambda: now_s[0])
    filesystem = CosFilesystem(client, FilesystemConfig())
    client.add("d/", b"", ObjectHeaders(metadata={"mode": str(stat.S_IFDIR | 0o755), "uid": "5"}))
    client.add("s/", b"", ObjectHeaders(metadata={"mode": str(stat.S_IFDIR | 0o1777), "uid": "5"}))
    for name in ("d/a", "s/a"):
        client.add(name, b"x" * 100_000, ObjectHeaders(metadata={"mode": str(stat.S_IFREG | 0o644), "uid": "7"}))
    now_s[0] += 10  # what changed within the last second may change again within it, and is asked for again
    for folder in ("/d", "/s"):
        filesystem.getattr(folder)
        names(filesystem, folder)
    before = client.count("head_object")
    plain = filesystem.getattr("/d/a", purpose=lambda: Purpose.REMOVE)
    assert (plain.mode, client.count("head_object")) == (stat.S_IFREG, before)
    assert filesystem.getattr("/s/a", purpose=lambda: Purpose.REMOVE).uid == 7
    assert filesystem.getattr("/d/a", purpose=lambda: Purpose.OTHER).uid == 7
    filesystem.stop()


def test_a_folder_removed_while_its_marker_is_written_is_gone(client, filesystem):
    """Its last file left in a burst, so the folder is about to be kept when rmdir comes."""
    client.add("d/a", b"x")
    client.add("d/b", b"x")
    names(filesystem, "/d")
    filesystem.unlink("/d/a")
    gate = client.block("put_object")
    filesystem.unlink("/d/b")
    gate.wait_entered()
    remover = threading.Thread(target=filesystem.rmdir, args=("/d",))
    remover.start()
    remover.join(0.2)  # long enough to go wrong
    gate.open()
    remover.join(10)
    filesystem.fsyncdir()
    assert not client.objects
    with pytest.raises(NoEntry):
        filesystem.getattr("/d")


def test_a_removed_name_is_back_with_a_log_line_when_a_rename_to_it_fails(client, filesystem, caplog, expected_logs):
    expected_logs("is back")
    for name in ("a", "b", "new"):
        client.add(name, b"x")
    filesystem.unlink("/a")
    filesystem.unlink("/b")
    client.fail("copy_object", error(403, "AccessDenied"))
    with pytest.raises(AccessDenied):
        filesystem.rename("/new", "/b")
    filesystem.fsyncdir()
    assert names(filesystem, "/") == sorted(client.objects) == ["b", "new"]
    assert "removed file '/b' is back" in caplog.text


def test_names_whose_delete_took_long_do_not_come_back_when_it_is_done(client):
    now_s = [1000.0]
    filesystem = CosFilesystem(client, FilesystemConfig(), monotonic=lambda: now_s[0])
    for name in ("a", "b", "c"):
        client.add("d/" + name, b"x")
    names(filesystem, "/d")
    filesystem.unlink("/d/a")
    gate = client.block("delete_objects")
    filesystem.unlink("/d/b")
    filesystem.unlink("/d/c")
    gate.wait_entered()
    now_s[0] += 11  # longer than own changes win over listings
    assert names(filesystem, "/d") == ["b", "c"]  # as the bucket has it
    gate.open()
    filesystem.fsyncdir()
    assert names(filesystem, "/d") == []
    filesystem.stop()


def test_old_names_of_renamed_files_leave_as_one_request(client, filesystem):
    for number in range(20):
        client.add(f"d/f{number}", b"%d" % number)
    for number in range(20):
        filesystem.rename(f"/d/f{number}", f"/d/g{number}")
    assert names(filesystem, "/d") == sorted(f"g{number}" for number in range(20))
    assert (client.count("copy_object"), client.count("delete_object")) == (20, 1)
    filesystem.fsyncdir()
    assert {key: stored.body for key, stored in client.objects.items()} == {
        f"d/g{number}": b"%d" % number for number in range(20)}
    assert client.count("delete_objects") <= 2


def test_an_old_name_that_cannot_be_deleted_is_back_beside_the_new_one(client, filesystem, expected_logs):
    expected_logs("could not be deleted")
    client.add("a", b"a")
    client.add("b", b"b")
    filesystem.rename("/a", "/a2")
    client.fail("delete_object", error(403, "AccessDenied"))
    filesystem.rename("/b", "/b2")
    filesystem.fsyncdir()
    assert names(filesystem, "/") == ["a2", "b", "b2"]


def test_a_new_file_takes_the_old_name_of_a_renamed_one_at_once(client, filesystem):
    client.add("other", b"x")
    filesystem.unlink("/other")
    for number in range(3):
        fh = filesystem.create("/f.lock", 0o644, os.O_WRONLY | os.O_CREAT | os.O_EXCL, ME).fh
        filesystem.write(fh, 0, b"%d" % number)
        filesystem.flush(fh)
        filesystem.release(fh)
        filesystem.rename("/f.lock", "/f")
    filesystem.fsyncdir()
    assert {key: stored.body for key, stored in client.objects.items()} == {"f": b"2"}
