"""Modes, owners, times, extended attributes, links, special files, statfs."""

from __future__ import annotations

import errno
import os
import stat
import struct
import time

from tests.support.scenarios import refused, scenario
from tests.support.stores import Store
from tests.support.worlds import NOW, OMIT, World

SECOND = 1_000_000_000


@scenario()
def test_new_file_has_the_mode_it_was_made_with(w: World, store: Store) -> None:
    w.write_file("/f", b"x", 0o640)
    assert w.stat("/f").mode == stat.S_IFREG | 0o640
    assert store.metadata("f")["mode"] == str(stat.S_IFREG | 0o640)


@scenario()
def test_new_file_belongs_to_its_maker(w: World, store: Store) -> None:
    w.write_file("/f", b"x")
    assert (w.stat("/f").uid, w.stat("/f").gid) == (os.getuid(), os.getgid())
    metadata = store.metadata("f")
    assert (metadata["uid"], metadata["gid"]) == (str(os.getuid()), str(os.getgid()))


@scenario()
def test_new_file_has_the_time_of_now(w: World, store: Store) -> None:
    before = time.time_ns() - SECOND
    w.write_file("/f", b"x")
    for moment in w.stat("/f")[4:7]:
        assert before <= moment <= time.time_ns() + SECOND


@scenario("copy")
def test_chmod_of_a_closed_file(w: World, store: Store) -> None:
    w.write_file("/f", b"content")
    for mode in (0o600, 0o4755, 0o1777, 0o000, 0o644):
        w.chmod("/f", mode)
        assert w.stat("/f").mode == stat.S_IFREG | mode
    assert store.body("f") == b"content"


@scenario("copy")
def test_chown_of_a_closed_file(w: World, store: Store) -> None:
    w.write_file("/f", b"content")
    w.chown("/f", 1234, 5678)
    assert (w.stat("/f").uid, w.stat("/f").gid) == (1234, 5678)
    w.chown("/f", -1, 99)
    assert (w.stat("/f").uid, w.stat("/f").gid) == (1234, 99)
    w.chown("/f", 7, -1)
    assert (w.stat("/f").uid, w.stat("/f").gid) == (7, 99)
    assert w.read_file("/f") == b"content"


@scenario("copy")
def test_times_keep_their_nanoseconds(w: World, store: Store) -> None:
    w.write_file("/f", b"content")
    w.utimens("/f", 1_600_000_000_123_456_789, 1_700_000_000_987_654_321)
    after = w.stat("/f")
    assert (after.atime_ns, after.mtime_ns) == (1_600_000_000_123_456_789, 1_700_000_000_987_654_321)
    assert store.metadata("f")["mtime"] == "1700000000"


@scenario("copy")
def test_times_before_1970_and_after_2038(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    for moment in (-5 * SECOND, -5 * SECOND + 250_000_000, 0, 2**31 * SECOND + 1, 2**32 * SECOND + 5, 2**33 * SECOND):
        w.utimens("/f", moment, moment)
        after = w.stat("/f")
        assert (after.atime_ns, after.mtime_ns) == (moment, moment)


@scenario("copy")
def test_utime_omit_keeps_and_utime_now_sets(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    w.utimens("/f", 3 * SECOND, 4 * SECOND)
    w.utimens("/f", OMIT, 6 * SECOND)
    assert (w.stat("/f").atime_ns, w.stat("/f").mtime_ns) == (3 * SECOND, 6 * SECOND)
    w.utimens("/f", 7 * SECOND, OMIT)
    assert (w.stat("/f").atime_ns, w.stat("/f").mtime_ns) == (7 * SECOND, 6 * SECOND)
    before = time.time_ns() - SECOND
    w.utimens("/f", OMIT, NOW)
    assert w.stat("/f").atime_ns == 7 * SECOND
    assert before <= w.stat("/f").mtime_ns <= time.time_ns() + SECOND
    w.utimens("/f", OMIT, OMIT)
    assert w.stat("/f").atime_ns == 7 * SECOND


@scenario("copy")
def test_write_moves_mtime_and_chmod_moves_ctime(w: World, store: Store) -> None:
    w.write_file("/f", b"old")
    w.utimens("/f", SECOND, SECOND)
    changed = w.stat("/f").ctime_ns
    w.chmod("/f", 0o600)
    assert w.stat("/f").mtime_ns == SECOND
    assert w.stat("/f").ctime_ns >= changed > SECOND
    with w.opened("/f", os.O_WRONLY) as handle:
        w.write_all(handle, b"new", 0)
    assert w.stat("/f").mtime_ns > time.time_ns() - 100 * SECOND


@scenario()
def test_attributes_of_a_file_not_yet_uploaded_show_and_are_uploaded(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    w.write_all(handle, b"content", 0)
    w.fchmod(handle, 0o751)
    w.futimens(handle, 11 * SECOND, 12 * SECOND + 5)
    for shown in (w.fstat(handle), w.stat("/f")):
        assert (shown.permissions, shown.atime_ns, shown.mtime_ns) == (0o751, 11 * SECOND, 12 * SECOND + 5)
    w.close(handle)
    after = w.stat("/f")
    assert (after.permissions, after.atime_ns, after.mtime_ns) == (0o751, 11 * SECOND, 12 * SECOND + 5)
    assert store.metadata("f")["mode"] == str(stat.S_IFREG | 0o751)
    assert store.metadata("f")["mtime"] == "12"


@scenario("copy")
def test_rewriting_the_content_keeps_mode_and_owner(w: World, store: Store) -> None:
    w.write_file("/f", b"old")
    w.chmod("/f", 0o755)
    w.chown("/f", 12, 34)
    w.write_file("/f", b"new")
    after = w.stat("/f")
    assert (after.permissions, after.uid, after.gid) == (0o755, 12, 34)


@scenario()
def test_mode_changes_of_missing_files_are_enoent(w: World, store: Store) -> None:
    with refused(errno.ENOENT):
        w.chmod("/missing", 0o600)
    with refused(errno.ENOENT):
        w.chown("/missing", 1, 1)
    with refused(errno.ENOENT):
        w.utimens("/missing", SECOND, SECOND)
    assert store.keys() == []


@scenario("copy")
def test_extended_attributes_are_kept(w: World, store: Store) -> None:
    w.write_file("/f", b"content")
    w.setxattr("/f", "user.color", b"blue")
    w.setxattr("/f", "user.empty", b"")
    w.setxattr("/f", "user.binary", bytes(range(256)))
    assert w.getxattr("/f", "user.color") == b"blue"
    assert w.getxattr("/f", "user.empty") == b""
    assert w.getxattr("/f", "user.binary") == bytes(range(256))
    assert set(w.listxattr("/f")) == {"user.color", "user.empty", "user.binary"}
    assert "xattr" in store.metadata("f")
    w.removexattr("/f", "user.color")
    assert set(w.listxattr("/f")) == {"user.empty", "user.binary"}
    assert store.body("f") == b"content"


@scenario("copy")
def test_extended_attribute_flags_and_errors(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    with refused(errno.ENODATA):
        w.getxattr("/f", "user.none")
    with refused(errno.ENODATA):
        w.removexattr("/f", "user.none")
    with refused(errno.ENODATA):
        w.setxattr("/f", "user.none", b"x", os.XATTR_REPLACE)
    w.setxattr("/f", "user.a", b"1", os.XATTR_CREATE)
    with refused(errno.EEXIST):
        w.setxattr("/f", "user.a", b"2", os.XATTR_CREATE)
    w.setxattr("/f", "user.a", b"3", os.XATTR_REPLACE)
    assert w.getxattr("/f", "user.a") == b"3"
    with refused(errno.ENOENT):
        w.getxattr("/missing", "user.a")


@scenario("copy")
def test_posix_acls_are_not_supported(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    # version 2; owner rwx, user 7 r, group r, mask r, others none (linux/posix_acl_xattr.h)
    nobody = 2**32 - 1
    acl = struct.pack("<I" + "HHI" * 5, 2, 1, 7, nobody, 2, 4, 7, 4, 4, nobody, 16, 4, nobody, 32, 0, nobody)
    with refused(errno.EOPNOTSUPP):
        w.setxattr("/f", "system.posix_acl_access", acl)
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        with refused(errno.EOPNOTSUPP):
            w.getxattr("/f", name)
    assert w.listxattr("/f") == []


@scenario("copy")
def test_extended_attribute_too_large_is_refused_and_changes_nothing(w: World, store: Store) -> None:
    w.write_file("/f", b"content")
    w.setxattr("/f", "user.small", b"kept")
    try:
        w.setxattr("/f", "user.large", bytes(3000))
    except OSError as exc:
        assert exc.errno in (errno.ENOSPC, errno.E2BIG)
    else:
        raise AssertionError("3000 bytes do not fit 2048")
    assert w.listxattr("/f") == ["user.small"]
    assert w.getxattr("/f", "user.small") == b"kept"
    assert store.body("f") == b"content"


@scenario()
def test_extended_attribute_of_an_open_file_rides_in_the_upload(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT)
    w.setxattr("/f", "user.a", b"early")
    w.write_all(handle, b"x", 0)
    assert w.getxattr("/f", "user.a") == b"early"
    w.close(handle)
    assert w.getxattr("/f", "user.a") == b"early"
    assert "xattr" in store.metadata("f")


@scenario("directory_metadata")
def test_directories_keep_attributes_times_and_extended_attributes(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.chown("/d", 21, 22)
    w.setxattr("/d", "user.a", b"1")
    w.chmod("/d", 0o711)
    w.utimens("/d", 5 * SECOND, 6 * SECOND + 7)
    after = w.stat("/d")
    assert (after.permissions, after.uid, after.gid) == (0o711, 21, 22)
    assert (after.atime_ns, after.mtime_ns) == (5 * SECOND, 6 * SECOND + 7)
    assert w.getxattr("/d", "user.a") == b"1"


@scenario("directory_metadata")
def test_times_set_on_a_directory_after_its_files_stay(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"x")
    w.utimens("/d", 5 * SECOND, 6 * SECOND + 7)
    assert w.stat("/d").mtime_ns == 6 * SECOND + 7
    w.chmod("/d", 0o700)
    assert w.stat("/d").mtime_ns == 6 * SECOND + 7
    w.write_file("/d/f", b"y")
    w.rename("/d", "/e")
    assert w.stat("/e").mtime_ns == 6 * SECOND + 7


@scenario("directory_metadata")
def test_chmod_of_an_implicit_directory_writes_its_marker(w: World, store: Store) -> None:
    store.put("d/f", b"x")
    w.chmod("/d", 0o700)
    assert w.stat("/d").mode == stat.S_IFDIR | 0o700
    assert w.read_file("/d/f") == b"x"
    assert "d/" in store.keys()


@scenario("directory_metadata")
def test_the_root_takes_mode_and_times(w: World, store: Store) -> None:
    w.chmod("/", 0o750)
    w.utimens("/", 8 * SECOND, 9 * SECOND)
    after = w.stat("/")
    assert (after.mode, after.mtime_ns) == (stat.S_IFDIR | 0o750, 9 * SECOND)


@scenario()
def test_symbolic_links(w: World, store: Store) -> None:
    for number, target in enumerate(("file", "/absolute/path", "../up", "nirgends/ü", "x" * 1000, " space ")):
        w.symlink(f"/link{number}", target)
        found = w.stat(f"/link{number}")
        assert found.type == stat.S_IFLNK
        assert found.size == len(target.encode())
        assert w.readlink(f"/link{number}") == target
        assert store.body(f"link{number}") == target.encode()
    with refused(errno.EEXIST):
        w.symlink("/link0", "other")


@scenario()
def test_readlink_of_a_file_is_einval(w: World, store: Store) -> None:
    w.write_file("/f", b"target?")
    with refused(errno.EINVAL):
        w.readlink("/f")


@scenario("copy")
def test_symbolic_link_has_times_and_owner_of_its_own(w: World, store: Store) -> None:
    w.write_file("/f", b"x")
    w.symlink("/link", "f")
    w.utimens("/link", SECOND, 2 * SECOND)
    w.chown("/link", 5, 6)
    assert w.stat("/link").mtime_ns == 2 * SECOND
    assert (w.stat("/link").uid, w.stat("/link").gid) == (5, 6)
    assert w.stat("/f").mtime_ns != 2 * SECOND
    assert w.readlink("/link") == "f"


@scenario()
def test_special_files_keep_type_and_number(w: World, store: Store) -> None:
    w.mknod("/fifo", stat.S_IFIFO | 0o600)
    w.mknod("/block", stat.S_IFBLK | 0o640, os.makedev(8, 300))
    w.mknod("/char", stat.S_IFCHR | 0o644, os.makedev(1, 3))
    w.mknod("/socket", stat.S_IFSOCK | 0o700)
    assert w.stat("/fifo").mode == stat.S_IFIFO | 0o600
    assert (w.stat("/block").mode, w.stat("/block").rdev) == (stat.S_IFBLK | 0o640, os.makedev(8, 300))
    assert (w.stat("/char").mode, w.stat("/char").rdev) == (stat.S_IFCHR | 0o644, os.makedev(1, 3))
    assert w.stat("/socket").mode == stat.S_IFSOCK | 0o700


@scenario()
def test_mknod_of_a_regular_file(w: World, store: Store) -> None:
    w.mknod("/f", stat.S_IFREG | 0o604)
    assert w.stat("/f").mode == stat.S_IFREG | 0o604
    assert store.body("f") == b""
    with refused(errno.EEXIST):
        w.mknod("/f", stat.S_IFREG | 0o604)
    w.write_file("/f", b"now with content")
    assert store.body("f") == b"now with content"


@scenario()
def test_statfs_is_large_and_finite(w: World, store: Store) -> None:
    found = w.statvfs()
    total = found["f_blocks"] * found["f_frsize"]
    assert 1 << 40 <= total <= 1 << 53
    assert 0 < found["f_bavail"] <= found["f_bfree"] <= found["f_blocks"]
    assert found["f_namemax"] == 255
    assert found["f_files"] >= found["f_ffree"] > 0
    assert found["f_bsize"] == 4096


@scenario("copy")
def test_attributes_and_content_survive_a_chain_of_changes(w: World, store: Store) -> None:
    w.write_file("/f", b"one", 0o600)
    w.setxattr("/f", "user.a", b"1")
    w.chmod("/f", 0o640)
    with w.opened("/f", os.O_WRONLY | os.O_APPEND) as handle:
        w.append(handle, b" two")
    w.utimens("/f", SECOND, SECOND)
    w.rename("/f", "/g")
    w.chown("/g", 3, 4)
    after = w.stat("/g")
    assert (after.permissions, after.uid, after.gid, after.size, after.mtime_ns) == (0o640, 3, 4, 7, SECOND)
    assert w.getxattr("/g", "user.a") == b"1"
    assert w.read_file("/g") == b"one two"
