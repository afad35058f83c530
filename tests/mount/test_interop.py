"""Objects that other tools wrote, read through the mount, and the bytes and headers that the mount writes.

The formats are those of Tencent's C++ cosfs (decimal modes, whole seconds, percent-encoded xattr), of s3sync, s3fs
and rclone, and of the COS console.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Dict

import pytest

from cosfs.cos.interface import ObjectHeaders
from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

SECOND = 1_000_000_000
OWNED = {"uid": "1000", "gid": "1001", "mtime": "1700000000"}


def test_file_of_the_cpp_tool(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"content", {"mode": "33188", **OWNED})
    found = mounted.stat("/f")
    assert found.mode == stat.S_IFREG | 0o644
    assert (found.uid, found.gid, found.mtime_ns) == (1000, 1001, 1_700_000_000 * SECOND)
    assert mounted.read_file("/f") == b"content"


def test_mode_without_type_bits_is_a_file_by_its_key(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"content", {"mode": "420", **OWNED})
    assert mounted.stat("/f").mode == stat.S_IFREG | 0o644


def test_directory_of_the_cpp_tool(mounted: OsWorld, store: CosStore) -> None:
    store.put("d/", b"", {"mode": "493", **OWNED}, "application/octet-stream")
    found = mounted.stat("/d")
    assert found.mode == stat.S_IFDIR | 0o755
    assert (found.uid, found.mtime_ns) == (1000, 1_700_000_000 * SECOND)
    assert mounted.readdir("/d") == {}


def test_directory_with_type_bits_in_its_mode(mounted: OsWorld, store: CosStore) -> None:
    store.put("d/", b"", {"mode": "16877"}, "application/x-directory")
    assert mounted.stat("/d").mode == stat.S_IFDIR | 0o755


def test_symbolic_link_of_the_cpp_tool(mounted: OsWorld, store: CosStore) -> None:
    store.put("link", b"../some/target", {"mode": "41471", **OWNED}, "application/octet-stream")
    assert mounted.stat("/link").mode == stat.S_IFLNK | 0o777
    assert mounted.readlink("/link") == "../some/target"
    assert mounted.stat("/link").size == len("../some/target")


def test_special_files_of_the_cpp_tool(mounted: OsWorld, store: CosStore) -> None:
    kinds = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "block": stat.S_IFBLK}
    for name, kind in kinds.items():
        store.put(name, b"", {"mode": str(kind | 0o600), **OWNED})
    for name, kind in kinds.items():
        assert mounted.stat("/" + name).mode == kind | 0o600


def test_extended_attributes_of_the_cpp_tool(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"", {"mode": "33188", "xattr": "%7B%22user.k%22%3A%22dgD/%22%2C%22user.z%22%3A%22Mg%3D%3D%22%7D"})
    assert set(mounted.listxattr("/f")) == {"user.k", "user.z"}
    assert mounted.getxattr("/f", "user.k") == b"v\0\xff"
    assert mounted.getxattr("/f", "user.z") == b"2"


def test_old_style_directory_object(mounted: OsWorld, store: CosStore) -> None:
    store.put("old", b"", {"mode": "493"}, "application/x-directory")
    store.put("old/f", b"x")
    assert mounted.stat("/old").mode == stat.S_IFDIR | 0o755
    assert mounted.readdir("/old") == {"f": stat.S_IFREG} or set(mounted.readdir("/old")) == {"f"}
    assert mounted.readdir("/")["old"] == stat.S_IFDIR
    mounted.write_file("/old/g", b"y")
    assert mounted.read_file("/old/f") == b"x"


def test_old_style_directory_object_without_children(mounted: OsWorld, store: CosStore) -> None:
    store.put("old", b"", {}, "application/x-directory")
    assert mounted.stat("/old").type == stat.S_IFDIR
    assert mounted.readdir("/old") == {}
    mounted.rmdir("/old")
    assert not mounted.exists("/old")
    assert store.keys() == []


def test_folder_suffix_objects(mounted: OsWorld, store: CosStore) -> None:
    store.put("hadoop_$folder$", b"")
    store.put("hadoop/f", b"x")
    store.put("empty_$folder$", b"")
    assert set(mounted.readdir("/")) == {"hadoop", "empty"}
    assert mounted.stat("/hadoop").type == stat.S_IFDIR
    assert mounted.stat("/empty").type == stat.S_IFDIR
    assert mounted.readdir("/empty") == {}
    mounted.chmod("/empty", 0o700)
    assert mounted.stat("/empty").mode == stat.S_IFDIR | 0o700
    mounted.rmdir("/empty")
    mounted.unlink("/hadoop/f")
    mounted.rmdir("/hadoop")
    assert mounted.readdir("/") == {}
    assert store.keys() == []


def test_s3sync_names(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"x", {"permissions": "416", "owner": "33", "group": "34"})
    found = mounted.stat("/f")
    assert (found.mode, found.uid, found.gid) == (stat.S_IFREG | 0o640, 33, 34)


def test_fractional_mtime_of_s3fs_and_rclone(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"x", {"mode": "33188", "mtime": "1700000000.123456789"})
    assert mounted.stat("/f").mtime_ns == 1_700_000_000_123_456_789


def test_object_of_the_console(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"x")
    store.put("folder/", b"")
    found = mounted.stat("/f")
    assert found.permissions == 0o777
    assert (found.uid, found.gid) == (os.getuid(), os.getgid())
    assert abs(found.mtime_ns - time.time_ns()) < 100 * SECOND
    assert mounted.stat("/folder").type == stat.S_IFDIR


def test_metadata_that_makes_no_sense_counts_as_absent(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"x", {"mode": "rw-r--r--", "uid": "root", "gid": "", "mtime": "yesterday", "xattr": "{broken"})
    assert mounted.stat("/f").permissions == 0o777
    assert mounted.read_file("/f") == b"x"
    assert mounted.listxattr("/f") == []


def test_stale_exact_time_of_a_file_that_the_cpp_tool_changed_is_not_believed(mounted: OsWorld,
                                                                             store: CosStore) -> None:
    mounted.write_file("/f", b"x")
    mounted.utimens("/f", 3 * SECOND, 1_600_000_000_111_222_333)
    metadata = store.metadata("f")
    assert metadata["mtime"] == "1600000000"
    store.put("g", b"y", {**metadata, "mtime": "1700000000"})
    assert mounted.stat("/g").mtime_ns == 1_700_000_000 * SECOND


def parsed(metadata: Dict[str, str]) -> Dict[str, str]:
    """The headers that the C++ tool reads."""
    return {name: metadata[name] for name in ("mode", "uid", "gid", "mtime", "xattr") if name in metadata}


def test_file_that_the_cpp_tool_can_read(mounted: OsWorld, store: CosStore) -> None:
    mounted.write_file("/f", b"content\0\xff", 0o640)
    mounted.chown("/f", 1000, 1001)
    mounted.utimens("/f", 0, 1_700_000_000_999_999_999)
    assert parsed(store.metadata("f")) == {"mode": "33184", "uid": "1000", "gid": "1001", "mtime": "1700000000"}
    assert store.body("f") == b"content\0\xff"


def test_extended_attributes_that_the_cpp_tool_can_read(mounted: OsWorld, store: CosStore) -> None:
    mounted.write_file("/f", b"")
    mounted.setxattr("/f", "user.k", b"v\0\xff")
    mounted.setxattr("/f", "user.z", b"2")
    assert store.metadata("f")["xattr"] == "%7B%22user.k%22%3A%22dgD/%22%2C%22user.z%22%3A%22Mg%3D%3D%22%7D"


def test_directory_that_the_cpp_tool_can_read(mounted: OsWorld, store: CosStore) -> None:
    mounted.mkdir("/d", 0o750)
    info = store.head("d/")
    assert info.size_bytes == 0
    assert int(info.headers.metadata["mode"]) & 0o7777 == 0o750
    assert info.headers.standard["Content-Type"] == "application/x-directory"


def test_symbolic_link_that_the_cpp_tool_can_read(mounted: OsWorld, store: CosStore) -> None:
    mounted.symlink("/link", "../tärget")
    assert store.body("link") == "../tärget".encode()
    assert store.metadata("link")["mode"] == "41471"


def test_content_type_comes_from_the_name(mounted: OsWorld, store: CosStore) -> None:
    for name, expected in (("page.html", "text/html"), ("picture.png", "image/png"), ("data.json", "application/json"),
                           ("noextension", "application/octet-stream"), ("a.unknownext", "application/octet-stream")):
        mounted.write_file("/" + name, b"x")
        assert store.head(name).headers.standard["Content-Type"] == expected


def test_content_type_follows_no_rename_of_foreign_headers(mounted: OsWorld, store: CosStore) -> None:
    headers = ObjectHeaders(metadata={"mode": "33188", "project": "apollo"}, storage_class="STANDARD_IA",
                            standard={"Content-Type": "text/x-own", "Content-Encoding": "gzip",
                                      "Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="x"',
                                      "Content-Language": "de", "Expires": "Wed, 21 Oct 2037 07:28:00 GMT"})
    store.put_with("f", b"zipped", headers)
    mounted.rename("/f", "/g")
    mounted.chmod("/g", 0o600)
    mounted.setxattr("/g", "user.x", b"1")
    with mounted.opened("/g", os.O_WRONLY | os.O_APPEND) as handle:
        mounted.append(handle, b" more")
    after = store.head("g")
    assert after.headers.metadata["project"] == "apollo"
    assert after.storage_class == "STANDARD_IA"
    assert {name: after.headers.standard.get(name) for name in headers.standard} == dict(headers.standard)
    assert store.body("g") == b"zipped more"


def test_rename_of_a_folder_keeps_foreign_headers_of_what_is_in_it(mounted: OsWorld, store: CosStore) -> None:
    headers = ObjectHeaders(metadata={"project": "apollo"}, storage_class="STANDARD_IA",
                            standard={"Content-Type": "text/x-own", "Cache-Control": "no-store"})
    store.put_with("d/f", b"x", headers)
    mounted.rename("/d", "/e")
    after = store.head("e/f")
    assert after.headers.metadata["project"] == "apollo"
    assert after.storage_class == "STANDARD_IA"
    assert after.headers.standard["Cache-Control"] == "no-store"


def test_key_with_body_below_a_trailing_slash_is_not_lost(mounted: OsWorld, store: CosStore) -> None:
    store.put("d/", b"a body where none should be")
    assert mounted.stat("/d").type == stat.S_IFDIR
    mounted.write_file("/d/f", b"x")
    mounted.unlink("/d/f")
    assert mounted.readdir("/d") == {"\u241b+": stat.S_IFREG}


def test_file_and_folder_of_one_name(mounted: OsWorld, store: CosStore) -> None:
    store.put("both", b"file")
    store.put("both/inside", b"inside")
    assert list(mounted.readdir("/")).count("both") == 1
    assert mounted.stat("/both").type == stat.S_IFREG
    assert mounted.read_file("/both") == b"file"


@pytest.mark.parametrize(("key", "content_type"), [
    ("old", "application/x-directory"), ("old_$folder$", ""), ("old/f", ""), ("old/", "application/octet-stream")])
def test_a_change_of_any_form_of_directory_leaves_one_marker(mounted: OsWorld, store: CosStore, key: str,
                                                            content_type: str) -> None:
    store.put(key, b"", {}, content_type)
    assert set(mounted.readdir("/")) == {"old"}  # no lookup asks for the form with a suffix, only listings tell of it
    mounted.chmod("/old", 0o750)
    kept = ["old/f"] if key == "old/f" else []
    assert sorted(store.keys()) == ["old/", *kept]
    marker = store.head("old/")
    assert (marker.size_bytes, marker.headers.metadata["mode"]) == (0, str(stat.S_IFDIR | 0o750))
    assert mounted.stat("/old").mode == stat.S_IFDIR | 0o750


def test_marker_without_metadata_is_a_directory_of_the_mounting_user(mounted: OsWorld, store: CosStore) -> None:
    store.put("d/", b"")
    found = mounted.stat("/d")
    assert found.mode == stat.S_IFDIR | 0o777
    assert (found.uid, found.gid) == (os.getuid(), os.getgid())


@pytest.mark.parametrize("target", [b"target\n", b" target ", b"a" * 4095, b"\xff/not text"])
def test_symbolic_link_is_its_body_byte_by_byte(mounted: OsWorld, store: CosStore, target: bytes) -> None:
    store.put("theirs", target, {"mode": "41471"}, "application/octet-stream")
    assert os.fsencode(mounted.readlink("/theirs")) == target
    mounted.symlink("/ours", os.fsdecode(target))
    assert store.body("ours") == target
    assert store.head("ours").headers.standard["Content-Type"] == "application/octet-stream"


def test_special_file_that_the_cpp_tool_can_read(mounted: OsWorld, store: CosStore) -> None:
    mounted.mknod("/fifo", stat.S_IFIFO | 0o640)
    info = store.head("fifo")
    assert (info.size_bytes, info.headers.metadata["mode"]) == (0, str(stat.S_IFIFO | 0o640))


def test_no_attribute_of_the_cpp_tool_is_lost_when_we_change_one(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", b"x", {"mode": "33188", **OWNED, "xattr": "%7B%22user.k%22%3A%22dgD/%22%7D", "other-tool": "kept"})
    mounted.chmod("/f", 0o600)
    assert mounted.getxattr("/f", "user.k") == b"v\0\xff"
    mounted.fsyncdir("/")
    metadata = store.metadata("f")
    assert parsed(metadata) == {"mode": "33152", **OWNED, "xattr": "%7B%22user.k%22%3A%22dgD/%22%7D"}
    assert metadata["other-tool"] == "kept"
    mounted.removexattr("/f", "user.k")
    mounted.fsyncdir("/")
    assert "xattr" not in store.metadata("f")


def test_change_of_the_cpp_tool_shows_whatever_it_leaves_of_our_headers(mounted: OsWorld, store: CosStore) -> None:
    """It passes on headers that it does not know, and stores its own beside them."""
    mounted.write_file("/f", b"ours")
    mounted.utimens("/f", 3 * SECOND + 1, 4 * SECOND + 5)
    mounted.fsyncdir("/")
    ours = store.metadata("f")
    store.put("chmod", b"ours", {**ours, "mode": "33152"})
    store.put("written", b"theirs", {**ours, "mtime": "1700000000"})
    assert mounted.stat("/chmod").permissions == 0o600
    assert (mounted.stat("/chmod").mtime_ns, mounted.stat("/chmod").atime_ns) == (4 * SECOND + 5, 3 * SECOND + 1)
    found = mounted.stat("/written")
    assert (found.mtime_ns, found.atime_ns) == (1_700_000_000 * SECOND, 1_700_000_000 * SECOND)
