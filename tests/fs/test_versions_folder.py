"""The folder ``.versions``: what it shows, what it costs, and that nothing in it changes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, Callable, Counter, Dict, Iterator, List

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.client import BucketClient
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosfsError, NoEntry, to_errno
from cosfs.filesystem import Caller, VersionedFilesystem
from cosfs.units import MIB
from tests.conftest import make_client, new_folder
from tests.support.past import set_versioning
from tests.support.server import CosServer

OWNER = Caller(0, 0)


@pytest.fixture(scope="module")
def versioned() -> Iterator[CosServer]:
    with CosServer() as server:
        set_versioning(server)
        yield server


class Bucket:
    """A folder of a versioned bucket, changed by another host."""

    def __init__(self, server: CosServer) -> None:
        self.server = server
        self.client = make_client(server)
        self.prefix = new_folder()

    def put(self, name: str, *bodies: bytes, **metadata: str) -> None:
        for body in bodies:
            self.client.put_object(self.prefix + name, body, headers=ObjectHeaders(metadata=metadata))

    def delete(self, name: str) -> None:
        self.client.delete_object(self.prefix + name)


@pytest.fixture
def bucket(versioned: CosServer) -> Iterator[Bucket]:
    made = Bucket(versioned)
    yield made
    made.client.close()


@pytest.fixture
def mount(bucket: Bucket, tmp_path: Path) -> Iterator[VersionedFilesystem]:
    client = make_client(bucket.server)
    filesystem = filesystem_on(client, bucket.prefix, tmp_path)
    yield filesystem
    filesystem.stop()
    client.close()


def filesystem_on(client: BucketClient, prefix: str, staging: Path, **settings: Any) -> VersionedFilesystem:
    config = FilesystemConfig(prefix=prefix, staging_folder=str(staging), default_mode=0o755, **settings)
    filesystem = VersionedFilesystem(client, config, client)
    filesystem.start()
    return filesystem


def names(filesystem: VersionedFilesystem, path: str) -> List[str]:
    return sorted(entry.name for entry in filesystem.readdir(path))


def read(filesystem: VersionedFilesystem, path: str) -> bytes:
    size = filesystem.getattr(path).size_bytes
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        return b"".join(bytes(filesystem.read(fh, start, MIB)) for start in range(0, size, MIB))
    finally:
        filesystem.flush(fh)
        filesystem.release(fh)


def write(filesystem: VersionedFilesystem, path: str, data: bytes) -> None:
    try:
        fh = filesystem.open(path, os.O_RDWR | os.O_TRUNC).fh
    except NoEntry:
        fh = filesystem.create(path, 0o644, os.O_RDWR | os.O_CREAT, OWNER).fh
    filesystem.write(fh, 0, data)
    filesystem.flush(fh)
    filesystem.release(fh)


def bodies(filesystem: VersionedFilesystem, folder: str) -> List[bytes]:
    """What the versions in a folder hold, in the order of their names."""
    return [read(filesystem, f"{folder}/{name}") for name in names(filesystem, folder)]


def requests(server: CosServer) -> Dict[str, int]:
    return dict(Counter(str(row["op"]) for row in server.requests()))


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


def test_whoever_does_not_look_at_it_pays_nothing(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("d/f", b"content")
    bucket.server.clear_requests()
    names(mount, "/")
    names(mount, "/d")
    read(mount, "/d/f")
    write(mount, "/d/g", b"new")
    mount.mkdir("/e", 0o755, OWNER)
    mount.unlink("/d/g")
    mount.fsyncdir()
    assert not {"get_bucket_versioning", "list_object_versions"} & set(requests(bucket.server))


def test_what_it_costs(bucket: Bucket, mount: VersionedFilesystem) -> None:
    for number in range(20):
        bucket.put(f"d/{number:02}.txt", b"old", b"older now", b"now")
    names(mount, "/d")
    bucket.server.clear_requests()
    shown = names(mount, "/d/.versions")
    assert requests(bucket.server) == {"get_bucket_versioning": 1, "list_object_versions": 2}
    versions = [f"/d/.versions/{name}/{version}" for name in shown for version in names(mount, f"/d/.versions/{name}")]
    assert len(versions) == 40
    assert requests(bucket.server)["list_object_versions"] == 2
    sizes = [mount.getattr(path).size_bytes for path in versions]
    assert sorted(sizes) == [3] * 20 + [9] * 20
    assert [len(read(mount, path)) for path in versions] == sizes
    counts = requests(bucket.server)
    assert counts.pop("head_object", 0) + counts.pop("get_object") <= 80
    assert counts == {"get_bucket_versioning": 1, "list_object_versions": 2}
    names(mount, "/d/.versions")
    assert requests(bucket.server)["list_object_versions"] == 2


def test_a_program_that_walks_through_them_has_their_headers_asked_for_ahead(
        bucket: Bucket, mount: VersionedFilesystem) -> None:
    for number in range(40):
        bucket.put(f"d/{number:02}.txt", b"old", b"older now", b"now")
    folders = [f"/d/.versions/{name}" for name in names(mount, "/d/.versions")]
    bucket.server.clear_requests()
    for folder in folders:
        mount.getattr(folder)
        for name in names(mount, folder):
            mount.getattr(f"{folder}/{name}")
    counts = requests(bucket.server)
    assert counts["head_object"] + counts.get("get_object", 0) == 80
    assert counts.get("get_object", 0) < 20  # of those that are met unprepared the content comes along
    assert set(counts) == {"head_object", "get_object"}


def test_one_version_named_by_its_path_costs_few_requests(bucket: Bucket, mount: VersionedFilesystem,
                                                          tmp_path: Path) -> None:
    bucket.put("d/f", b"old", b"now")
    [name] = names(mount, "/d/.versions/f")
    other = filesystem_on(bucket.client, bucket.prefix, tmp_path)
    names(other, "/d")
    other.getattr("/d/.versions")
    bucket.server.clear_requests()
    other.getattr("/d/.versions/f")
    assert read(other, f"/d/.versions/f/{name}") == b"old"
    assert sum(requests(bucket.server).values()) <= 6
    other.stop()


def test_what_this_mount_has_changed_shows_at_once(bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("d/f", b"one")
    assert names(mount, "/d/.versions") == []
    write(mount, "/d/f", b"two")
    assert bodies(mount, "/d/.versions/f") == [b"one"]
    write(mount, "/d/f", b"three")
    assert bodies(mount, "/d/.versions/f") == [b"one", b"two"]
    mount.unlink("/d/f")
    assert bodies(mount, "/d/.versions/f") == [b"one", b"two", b"three"]


def test_what_others_have_changed_shows_when_the_listing_is_old_or_refreshed(
        bucket: Bucket, mount: VersionedFilesystem) -> None:
    bucket.put("f", b"one", b"two")
    assert len(names(mount, "/.versions/f")) == 1
    other = make_client(bucket.server)
    other.put_object(bucket.prefix + "f", b"three", headers=ObjectHeaders())
    other.close()
    assert len(names(mount, "/.versions/f")) == 1
    mount.refresh("/")
    assert len(names(mount, "/.versions/f")) == 2


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


def test_memory_for_reading_is_shared_with_the_files(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("f", os.urandom(3 * MIB), b"now")
    mount = filesystem_on(bucket.client, bucket.prefix, tmp_path)
    before = mount.status()["memory"]
    [name] = names(mount, "/.versions/f")
    read(mount, f"/.versions/f/{name}")
    peak = mount._context.ranges.budget.peak_bytes
    assert peak >= 3 * MIB
    assert before == {"used_bytes": 0, "limit_bytes": mount.status()["memory"]["limit_bytes"]}
    mount.stop()


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


def test_without_a_cache_it_shows_what_others_do_at_once(bucket: Bucket, tmp_path: Path) -> None:
    client = make_client(bucket.server)
    mount = filesystem_on(client, bucket.prefix, tmp_path, stat_ttl_s=0, listing_ttl_s=0, negative_ttl_s=0)
    for number in range(3):
        bucket.put("d/f", str(number).encode())
        assert len(bodies(mount, "/d/.versions/f") if number else names(mount, "/d/.versions")) == number
    mount.stop()
    client.close()
