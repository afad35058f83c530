"""The folder ``.versions``: what it shows, in which buckets, that nothing in it changes, and copying from it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Callable, List

import pytest

from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosfsError, NoEntry, to_errno
from cosfs.filesystem import Caller, VersionedFilesystem
from cosfs.units import MIB
from tests.conftest import make_client
from tests.fs.versions_folder.bucket import OWNER, Bucket, bodies, filesystem_on, names, read, requests, write
from tests.support.past import set_versioning
from tests.support.server import CosServer


def test_it_shows_the_old_versions_of_files_that_are_there_and_of_deleted_ones(
        bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("d/report.txt", b"one", b"two, longer", b"three")
    bucket.put("d/single", b"only")
    bucket.put("d/deleted", b"last")
    bucket.delete("d/deleted")
    bucket.put("d/gone/inner", b"inner")
    bucket.delete("d/gone/inner")
    assert names(mount, "/d") == ["report.txt", "single"]
    assert names(mount, "/d/.versions") == ["deleted", "gone", "report.txt"]
    assert bodies(mount, "/d/.versions/report.txt") == [b"one", b"two, longer"]
    assert bodies(mount, "/d/.versions/deleted") == [b"last"]
    assert bodies(mount, "/d/.versions/gone/inner") == bodies(mount, "/.versions/d/gone/inner") == [b"inner"]
    assert names(mount, "/.versions") == ["d"]
    for name in names(mount, "/d/.versions/report.txt"):
        assert name.endswith(".txt")
        assert stat.S_ISREG(mount.getattr(f"/d/.versions/report.txt/{name}").mode)
    for path in ("/d/.versions/single", "/d/.versions/none", "/d/.versions/report.txt/none", "/none/.versions/x"):
        with pytest.raises(NoEntry):
            mount.getattr(path)


def test_a_version_has_the_size_time_mode_and_attributes_that_it_was_stored_with(
        bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("f", b"first", mode=str(stat.S_IFREG | 0o640), uid="12", gid="13", mtime="1600000000")
    bucket.put("f", b"", mode=str(stat.S_IFREG | 0o600))
    bucket.put("link", b"target", mode=str(stat.S_IFLNK | 0o777))
    bucket.delete("link")
    first = bucket.client.list_object_versions(bucket.prefix + "f").versions[1]
    [name] = names(mount, "/.versions/f")
    path = f"/.versions/f/{name}"
    attr = mount.getattr(path)
    assert (attr.mode, attr.uid, attr.gid, attr.size_bytes) == (stat.S_IFREG | 0o640, 12, 13, 5)
    assert attr.mtime_ns == 1_600_000_000 * 10**9
    assert mount.getxattr(path, "user.cosfs.version-id").decode() == first.version_id
    assert mount.getxattr(path, "user.cosfs.etag").decode() == first.etag
    assert mount.listxattr(path) == mount.listxattr("/.versions") == []
    [name] = names(mount, "/.versions/link")
    assert mount.readlink(f"/.versions/link/{name}") == "target"
    assert stat.S_ISLNK(mount.getattr(f"/.versions/link/{name}").mode)


def test_without_a_stored_time_a_version_has_that_of_its_upload(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("f", b"first", b"second")
    first = bucket.client.list_object_versions(bucket.prefix + "f").versions[1]
    [name] = names(mount, "/.versions/f")
    assert mount.getattr(f"/.versions/f/{name}").mtime_ns == first.last_modified_s * 10**9


def test_folders_keep_the_modes_that_they_had_also_when_they_are_gone(
        bucket: Bucket, mount: VersionedFilesystem) -> None:
    mount.mkdir("/private", 0o700, Caller(12, 13))
    write(mount, "/private/f", b"secret")
    mount.unlink("/private/f")
    assert mount.getattr("/private/.versions").mode == stat.S_IFDIR | 0o700
    assert mount.getattr("/.versions/private").mode == stat.S_IFDIR | 0o700
    mount.rmdir("/private")
    mount.fsyncdir()
    assert names(mount, "/.versions") == ["private"]
    attr = mount.getattr("/.versions/private")
    assert (attr.mode, attr.uid, attr.gid) == (stat.S_IFDIR | 0o700, 12, 13)
    assert bodies(mount, "/.versions/private/f") == [b"secret"]


@pytest.mark.parametrize("name", ["with blank", "ü 键.txt", "a\nb", ".hidden", "x.tar.gz", "%41+&=?#", "b\\c"])
def test_odd_names(bucket: Bucket, mount: VersionedFilesystem, name: str) -> None:
    write(mount, f"/{name}", b"old")
    write(mount, f"/{name}", b"newer")
    assert names(mount, "/.versions") == [name]
    assert bodies(mount, f"/.versions/{name}") == [b"old"]


def test_a_file_and_a_folder_of_one_name_and_empty_components(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("a", b"file", b"now")
    bucket.put("a/b", b"inside", b"now")
    bucket.put("c//e", b"empty component", b"now")
    bucket.put("d/", b"content of a marker", b"")
    assert names(mount, "/.versions") == ["a", "c", "d"]
    [version] = [name for name in names(mount, "/.versions/a") if name != "b"]
    assert read(mount, f"/.versions/a/{version}") == b"file"
    assert bodies(mount, "/.versions/a/b") == [b"inside"]
    [empty] = names(mount, "/.versions/c")
    assert bodies(mount, f"/.versions/c/{empty}/e") == [b"empty component"]
    [empty] = names(mount, "/.versions/d")
    assert bodies(mount, f"/.versions/d/{empty}") == [b"content of a marker"]


def test_a_large_old_version_is_read_in_ranges(bucket: Bucket, mount: VersionedFilesystem) -> None:
    old = os.urandom(5 * MIB + 17)
    bucket.put("large", old, b"small now")
    [name] = names(mount, "/.versions/large")
    assert read(mount, f"/.versions/large/{name}") == old
    fh = mount.open(f"/.versions/large/{name}", os.O_RDONLY).fh
    assert bytes(mount.read(fh, 5 * MIB, 100)) == old[5 * MIB:]
    assert bytes(mount.read(fh, 1000, 10)) == old[1000:1010]
    mount.release(fh)


def read_on(mount: VersionedFilesystem, fh: int) -> None:
    for start in range(0, 3 * MIB, 1 << 17):
        mount.read(fh, start, 1 << 17)


def test_a_version_that_is_deleted_for_good_is_told_truthfully(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("f", os.urandom(3 * MIB), b"now")
    [name] = names(mount, "/.versions/f")
    path = f"/.versions/f/{name}"
    version = bucket.client.list_object_versions(bucket.prefix + "f").versions[1]
    fh = mount.open(path, os.O_RDONLY).fh
    assert bucket.server.request("DELETE", version.key, [("versionId", version.version_id)])[0] == 204
    with pytest.raises(CosfsError) as caught:
        read_on(mount, fh)
    assert to_errno(caught.value) == errno.ESTALE
    mount.release(fh)
    mount.refresh("/")
    with pytest.raises(NoEntry):
        mount.getattr(path)


def test_an_archived_old_version_is_refused_until_it_is_restored(
        bucket: Bucket, mount: VersionedFilesystem, expected_logs: Callable[[str], None],
        caplog: pytest.LogCaptureFixture) -> None:
    expected_logs("is archived")
    mount.tell_mount_point("/mnt")
    bucket.client.put_object(bucket.prefix + "f", b"then" * MIB, headers=ObjectHeaders(storage_class="ARCHIVE"))
    bucket.put("f", b"now")
    [name] = names(mount, "/.versions/f")
    path = f"/.versions/f/{name}"
    for _ in range(2):
        with pytest.raises(CosfsError) as caught:
            read(mount, path)
        assert to_errno(caught.value) == errno.EACCES
    [line] = caplog.messages
    assert line.endswith(f"until it is restored: cosfs restore /mnt{path}")
    mount.setxattr(path, "user.cosfs.restore", b"3", 0)
    assert 'ongoing-request="false"' in mount.getxattr(path, "user.cosfs.restore").decode()
    assert read(mount, path) == b"then" * MIB
    assert bucket.client.head_object(bucket.prefix + "f").restore is None, "the latest version is not concerned"


def test_nothing_in_it_can_be_changed(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("f", b"old", b"now")
    [name] = names(mount, "/.versions/f")
    path = f"/.versions/f/{name}"
    changes: List[Callable[[], object]] = [
        lambda: mount.open(path, os.O_RDWR), lambda: mount.open(path, os.O_WRONLY | os.O_TRUNC),
        lambda: mount.create("/.versions/new", 0o644, os.O_RDWR | os.O_CREAT, OWNER), lambda: mount.unlink(path),
        lambda: mount.mkdir("/.versions/new", 0o755, OWNER), lambda: mount.rmdir("/.versions/f"),
        lambda: mount.rmdir("/.versions"), lambda: mount.mkdir("/.versions", 0o755, OWNER),
        lambda: mount.rename(path, "/g"), lambda: mount.rename("/f", "/.versions/f/new"),
        lambda: mount.rename("/.versions", "/g"), lambda: mount.symlink("/.versions/new", "f", OWNER),
        lambda: mount.mknod("/.versions/new", stat.S_IFIFO, 0, OWNER), lambda: mount.link("/.versions/new"),
        lambda: mount.chmod(path, 0o600), lambda: mount.chown(path, 1, 1), lambda: mount.utimens(path, 0, 0),
        lambda: mount.truncate(path, 0), lambda: mount.setxattr(path, "user.x", b"", 0),
        lambda: mount.removexattr(path, "user.x")]
    bucket.server.clear_requests()
    for change in changes:
        with pytest.raises(CosfsError) as caught:
            change()
        assert to_errno(caught.value) == errno.EROFS
    assert {row["method"] for row in bucket.server.requests()} <= {"GET", "HEAD"}
    assert read(mount, path) == b"old"


def test_an_entry_of_that_name_in_the_bucket_is_shown_instead(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("f", b"old", b"now")
    bucket.put("d/.versions/theirs", b"theirs")
    bucket.put("e/.versions", b"a file")
    assert names(mount, "/d") == [".versions"]
    assert names(mount, "/d/.versions") == ["theirs"]
    assert read(mount, "/d/.versions/theirs") == b"theirs"
    write(mount, "/d/.versions/mine", b"mine")
    assert names(mount, "/d/.versions") == ["mine", "theirs"]
    assert read(mount, "/e/.versions") == b"a file"
    assert names(mount, "/.versions") == ["d", "e", "f"]
    mount.unlink("/e/.versions")
    mount.fsyncdir()
    assert names(mount, "/e/.versions") == [".versions"]


def test_a_bucket_that_never_had_versioning_has_none_and_takes_the_name(tmp_path: Path) -> None:
    with CosServer() as server:
        client = make_client(server)
        mount = filesystem_on(client, "", tmp_path)
        client.put_object("f", b"x", headers=ObjectHeaders())
        for _ in range(3):
            with pytest.raises(NoEntry):
                mount.getattr("/.versions")
        assert requests(server)["get_bucket_versioning"] == 1
        mount.mkdir("/.versions", 0o755, OWNER)
        write(mount, "/.versions/f", b"mine")
        assert names(mount, "/") == [".versions", "f"]
        assert read(mount, "/.versions/f") == b"mine"
        mount.stop()
        client.close()


def test_it_is_there_when_versioning_was_enabled_after_the_mount(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosfs.filesystem.versions_folder._ASKED_AGAIN_S", 0.0)
    with CosServer() as server:
        client = make_client(server)
        mount = filesystem_on(client, "", tmp_path)
        write(mount, "/f", b"before")
        with pytest.raises(NoEntry):
            mount.getattr("/.versions")
        set_versioning(server)
        write(mount, "/f", b"after")
        assert bodies(mount, "/.versions/f") == [b"before"]
        mount.stop()
        client.close()


def test_each_close_of_a_changed_file_makes_a_version(bucket: Bucket, mount: VersionedFilesystem) -> None:
    fh = mount.create("/f", 0o644, os.O_RDWR | os.O_CREAT, OWNER).fh
    mount.flush(fh)  # a shell's > has a second descriptor, and closes the first one before the command writes
    mount.write(fh, 0, b"text")
    mount.flush(fh)
    mount.flush(fh)
    mount.release(fh)
    bucket.delete("f")
    assert bodies(mount, "/.versions/f") == [b"", b"text"]


def test_versions_called_null_are_there_when_versioning_is_suspended(tmp_path: Path) -> None:
    with CosServer() as server:
        client = make_client(server)
        client.put_object("f", b"before", headers=ObjectHeaders())
        set_versioning(server)
        client.put_object("f", b"between", headers=ObjectHeaders())
        set_versioning(server, "Suspended")
        mount = filesystem_on(client, "", tmp_path)
        [name] = names(mount, "/.versions/f")
        assert name.endswith("-null")
        assert read(mount, f"/.versions/f/{name}") == b"before"
        mount.stop()
        client.close()


def test_keys_that_may_not_ask_for_versioning_have_no_folder_and_the_log_says_so_once(
        bucket: Bucket, mount: VersionedFilesystem, expected_logs: Callable[[str], None],
        caplog: pytest.LogCaptureFixture) -> None:
    expected_logs("does not tell of its versioning")
    bucket.server.set_faults("kind=status,op=get_bucket_versioning,status=403,code=AccessDenied")
    try:
        for _ in range(2):
            with pytest.raises(NoEntry):
                mount.getattr("/.versions")
    finally:
        bucket.server.clear_faults()
    assert caplog.text.count("does not tell of its versioning") == 1


def copy(mount: VersionedFilesystem, source: int, offset: int, target: int, at: int, length: int) -> None:
    """As the kernel does: until there is no more."""
    while length:
        done = mount.copy_range(source, offset, target, at, length)
        assert done
        offset, at, length = offset + done, at + done, length - done


def test_what_is_copied_from_an_old_version_is_copied_by_the_service(bucket: Bucket, tmp_path: Path) -> None:
    old, now = os.urandom(8 * MIB + 5), os.urandom(6 * MIB)
    bucket.put("f", old, b"small now")
    bucket.put("g", now)
    mount = filesystem_on(bucket.client, bucket.prefix, tmp_path, copies=True)
    [name] = names(mount, "/.versions/f")
    source = mount.open(f"/.versions/f/{name}", os.O_RDONLY).fh
    bucket.server.clear_requests()
    whole = mount.open("/f", os.O_WRONLY | os.O_TRUNC).fh
    copy(mount, source, 0, whole, 0, len(old))
    part = mount.open("/g", os.O_RDWR).fh
    copy(mount, source, 2 * MIB, part, MIB, 3 * MIB)
    assert bytes(mount.read(part, 2 * MIB, 1000)) == old[3 * MIB:3 * MIB + 1000]
    for fh in (whole, part):
        mount.flush(fh)
        mount.release(fh)
    mount.release(source)
    counts = requests(bucket.server)
    assert counts["copy_object"] == 1
    assert counts["upload_part_copy"] >= 2
    assert sum(row["bytes_in"] for row in bucket.server.requests()) < 100_000
    mount.stop()
    for key, body in (("f", old), ("g", now[:MIB] + old[2 * MIB:5 * MIB] + now[4 * MIB:])):
        buffer = bytearray(len(body))
        bucket.client.get_object(bucket.prefix + key, memoryview(buffer))
        assert bytes(buffer) == body


def test_a_copy_of_a_version_that_is_gone_by_then_is_told_at_close(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("f", os.urandom(8 * MIB), b"small now")
    mount = filesystem_on(bucket.client, bucket.prefix, tmp_path, copies=True)
    [name] = names(mount, "/.versions/f")
    source = mount.open(f"/.versions/f/{name}", os.O_RDONLY).fh
    target = mount.open("/f", os.O_WRONLY | os.O_TRUNC).fh
    copy(mount, source, 0, target, 0, 8 * MIB)
    version = bucket.client.list_object_versions(bucket.prefix + "f").versions[1]
    bucket.server.request("DELETE", version.key, [("versionId", version.version_id)])
    with pytest.raises(CosfsError) as caught:
        mount.flush(target)
    assert to_errno(caught.value) == errno.ESTALE
    assert bucket.client.head_object(bucket.prefix + "f").size_bytes == len(b"small now")
    mount.truncate("/f", 0, target)
    mount.flush(target)
    mount.release(target)
    mount.release(source)
    mount.stop()
