"""Changes of attributes of closed files: joined into one copy, carried by renames, dropped by removals."""

import os
import stat
import threading

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import AccessDenied, MetadataTooLarge, NoEntry
from cosfs.filesystem import Caller, CosFilesystem
from tests.support.memory_client import MemoryClient, error

ME = Caller(0, 0)
WRITES = ("put_object", "copy_object", "delete_object", "delete_objects")


@pytest.fixture
def client():
    client = MemoryClient()
    client.add("f", b"content", ObjectHeaders({"mode": str(stat.S_IFREG | 0o644), "foreign": "kept"},
                                              {"Cache-Control": "max-age=5"}, "STANDARD_IA"))
    return client


@pytest.fixture
def filesystem(client):
    filesystem = CosFilesystem(client, FilesystemConfig())
    yield filesystem
    filesystem.stop()


def change_all(filesystem, path):
    filesystem.chmod(path, 0o600)
    filesystem.chown(path, 5, 6)
    filesystem.utimens(path, 1, 2)
    filesystem.setxattr(path, "user.a", b"1", 0)


def writes(client):
    return {name: client.count(name) for name in WRITES if client.count(name)}


def stored_mode(client, key="f"):
    return stat.S_IMODE(int(client.objects[key].info.headers.metadata["mode"]))


def read(filesystem, path):
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        return filesystem.read(fh, 0, 1 << 20)
    finally:
        filesystem.release(fh)


def test_four_changes_are_one_copy_that_keeps_everything_else(client, filesystem):
    change_all(filesystem, "/f")
    filesystem.fsyncdir()
    assert writes(client) == {"copy_object": 1}
    info = client.objects["f"].info
    assert [info.headers.metadata[name] for name in ("uid", "mtime", "foreign")] == ["5", "0", "kept"]
    assert (info.headers.standard["Cache-Control"], info.storage_class) == ("max-age=5", "STANDARD_IA")
    assert client.body("f") == b"content"


def test_changes_show_at_once_and_leave_by_themselves(client, filesystem):
    gate = client.block("copy_object")
    change_all(filesystem, "/f")
    attr = filesystem.getattr("/f")
    assert (attr.mode & 0o777, attr.uid, attr.gid, attr.mtime_ns, attr.size_bytes) == (0o600, 5, 6, 2, 7)
    assert filesystem.getxattr("/f", "user.a") == b"1"
    gate.wait_entered()  # nobody asked for it
    gate.open()
    filesystem.fsyncdir()
    assert stored_mode(client) == 0o600


def test_what_waits_is_stored_when_the_mount_ends(client):
    filesystem = CosFilesystem(client, FilesystemConfig())
    change_all(filesystem, "/f")
    filesystem.stop()
    assert (writes(client), stored_mode(client)) == ({"copy_object": 1}, 0o600)


def test_a_rename_carries_changes_along_in_its_copy(client, filesystem):
    change_all(filesystem, "/f")
    filesystem.rename("/f", "/g")
    filesystem.fsyncdir()
    assert writes(client) == {"copy_object": 1, "delete_object": 1}
    assert (list(client.objects), stored_mode(client, "g")) == (["g"], 0o600)


def test_a_rename_of_a_file_that_another_host_has_changed_takes_both_changes_along(client, filesystem):
    filesystem.chmod("/f", 0o600)
    client.add("f", b"foreign", ObjectHeaders({"mode": str(stat.S_IFREG | 0o644), "by": "another"}))
    filesystem.rename("/f", "/g")
    filesystem.fsyncdir()
    assert (list(client.objects), client.body("g"), stored_mode(client, "g")) == (["g"], b"foreign", 0o600)


def test_a_removal_drops_changes_and_fetches_nothing(client, filesystem):
    change_all(filesystem, "/f")
    filesystem.unlink("/f")
    filesystem.fsyncdir()
    assert (writes(client), client.count("get_object")) == ({"delete_object": 1}, 0)
    with pytest.raises(NoEntry):
        filesystem.getattr("/f")


def test_a_file_replaced_by_a_rename_is_not_brought_back(client, filesystem):
    client.add("new", b"new")
    change_all(filesystem, "/f")
    filesystem.rename("/new", "/f")
    filesystem.fsyncdir()
    assert (list(client.objects), client.body("f")) == (["f"], b"new")


def test_a_renamed_folder_has_the_changes_of_its_files(client, filesystem):
    client.add("d/a", b"x")
    filesystem.chmod("/d/a", 0o600)
    filesystem.rename("/d", "/e")
    filesystem.fsyncdir()
    assert stored_mode(client, "e/a") == 0o600
    assert filesystem.getattr("/e/a").mode & 0o777 == 0o600


def test_an_open_file_takes_changes_into_its_upload(client, filesystem):
    fh = filesystem.open("/f", os.O_RDWR).fh
    filesystem.write(fh, 0, b"C")
    change_all(filesystem, "/f")
    filesystem.fsyncdir()
    assert writes(client) == {}
    filesystem.flush(fh)
    filesystem.release(fh)
    assert (writes(client), client.body("f"), stored_mode(client)) == ({"put_object": 1}, b"Content", 0o600)


def test_a_file_open_for_long_has_its_changes_stored_all_the_same(client, filesystem):
    fh = filesystem.open("/f", os.O_RDWR).fh
    filesystem.chmod("/f", 0o600)
    filesystem.fsyncdir()
    assert stored_mode(client) == 0o600
    filesystem.release(fh)
    assert writes(client) == {"copy_object": 1}


def test_opening_a_changed_file_stores_the_change_first(client, filesystem):
    filesystem.chmod("/f", 0o600)
    assert read(filesystem, "/f") == b"content"
    assert (writes(client), stored_mode(client)) == ({"copy_object": 1}, 0o600)


def test_a_change_is_made_on_the_version_that_is_there(client, filesystem):
    filesystem.getattr("/f")
    client.add("f", b"foreign content", ObjectHeaders({"mode": str(stat.S_IFREG | 0o644), "by": "another"}))
    filesystem.chmod("/f", 0o600)
    filesystem.fsyncdir()
    assert (client.body("f"), stored_mode(client)) == (b"foreign content", 0o600)
    assert client.objects["f"].info.headers.metadata["by"] == "another"
    assert filesystem.getattr("/f").size_bytes == 15


def test_a_change_of_a_file_that_is_gone_is_logged(client, filesystem, caplog, expected_logs):
    expected_logs("/f is gone, removed by another host before its new attributes were stored")
    filesystem.getattr("/f")
    del client.objects["f"]
    filesystem.chmod("/f", 0o600)
    filesystem.fsyncdir()
    assert [record.levelname for record in caplog.records if "/f is gone" in record.getMessage()] == ["WARNING"]
    assert "keeps its old attributes" not in caplog.text
    assert not client.objects


def test_attributes_come_back_when_they_cannot_be_stored_and_the_next_change_is_waited_for(
        client, filesystem, caplog, expected_logs):
    expected_logs("keeps its old attributes")
    client.fail("copy_object", error(403, "AccessDenied"))
    filesystem.chmod("/f", 0o600)
    filesystem.fsyncdir()
    assert filesystem.getattr("/f").mode & 0o777 == 0o644
    assert "/f keeps its old attributes" in caplog.text
    client.fail("copy_object", error(403, "AccessDenied"))
    with pytest.raises(AccessDenied):
        filesystem.chmod("/f", 0o600)
    filesystem.chmod("/f", 0o640)  # waited for, and it succeeds
    assert stored_mode(client) == 0o640
    filesystem.chmod("/f", 0o600)
    assert stored_mode(client) == 0o640
    filesystem.fsyncdir()
    assert stored_mode(client) == 0o600


def test_attributes_that_are_too_large_are_refused_before_anything_is_sent(client, filesystem):
    with pytest.raises(MetadataTooLarge):
        filesystem.setxattr("/f", "user.big", b"x" * 1900, 0)
    filesystem.fsyncdir()
    assert writes(client) == {}
    assert filesystem.listxattr("/f") == []


def test_many_changed_files_are_stored_at_once(client, filesystem):
    for number in range(30):
        client.add(f"d/{number}", b"x")
    gates = [client.block("copy_object", nth=number + 1) for number in range(10)]
    for number in range(30):
        filesystem.chmod(f"/d/{number}", 0o600)
    settler = threading.Thread(target=filesystem.fsyncdir)
    settler.start()
    for gate in gates:
        gate.wait_entered()  # all of them under way together
    for gate in gates:
        gate.open()
    settler.join(30)
    assert {stored_mode(client, f"d/{number}") for number in range(30)} == {0o600}
    assert client.count("copy_object") == 30


def test_a_change_while_the_last_one_is_stored_is_not_lost(client, filesystem):
    gate = client.block("copy_object")
    filesystem.chmod("/f", 0o600)
    settler = threading.Thread(target=filesystem.fsyncdir)
    settler.start()
    gate.wait_entered()
    filesystem.chmod("/f", 0o640)
    gate.open()
    settler.join(30)
    filesystem.fsyncdir()
    assert (stored_mode(client), filesystem.getattr("/f").mode & 0o777) == (0o640, 0o640)


def test_a_symbolic_link_is_changed_like_a_file(client, filesystem):
    filesystem.symlink("/l", "f", ME)
    filesystem.chown("/l", 7, 8)
    filesystem.utimens("/l", 1, 2)
    filesystem.fsyncdir()
    assert client.count("copy_object") == 1
    assert (filesystem.readlink("/l"), filesystem.getattr("/l").uid) == ("f", 7)


def test_what_is_half_written_is_not_stored_for_the_sake_of_a_change(client, filesystem):
    fh = filesystem.open("/f", os.O_RDWR).fh
    filesystem.chmod("/f", 0o600)
    filesystem.write(fh, 0, b"HALF")
    filesystem.fsyncdir()
    assert (client.body("f"), filesystem.getattr("/f").mode & 0o777) == (b"content", 0o600)
    filesystem.flush(fh)
    filesystem.release(fh)
    assert (writes(client), client.body("f"), stored_mode(client)) == ({"put_object": 1}, b"HALFent", 0o600)


def test_a_reader_sees_the_old_attributes_again_and_closes_without_an_error(client, filesystem, expected_logs):
    expected_logs("keeps its old attributes")
    fh = filesystem.open("/f", os.O_RDONLY).fh
    client.fail("copy_object", error(403, "AccessDenied"))
    filesystem.chmod("/f", 0o600)
    filesystem.fsyncdir()
    assert filesystem.getattr("/f").mode & 0o777 == filesystem.getattr("/f", fh).mode & 0o777 == 0o644
    filesystem.flush(fh)
    filesystem.release(fh)
    assert writes(client) == {"copy_object": 1}


def test_a_change_made_while_another_one_fails_is_stored(client, filesystem, expected_logs):
    expected_logs("keeps its old attributes")
    client.fail("copy_object", error(403, "AccessDenied"))
    gate = client.block("copy_object")
    filesystem.chmod("/f", 0o600)
    gate.wait_entered()
    filesystem.utimens("/f", 1, 2)
    gate.open()
    filesystem.fsyncdir()
    assert filesystem.getattr("/f").mtime_ns == 2
