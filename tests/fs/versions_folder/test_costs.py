"""The folder ``.versions``: what it costs in requests and memory, and how soon it shows changes."""

from __future__ import annotations

import os
from pathlib import Path

from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem import VersionedFilesystem
from cosfs.units import MIB
from tests.conftest import make_client
from tests.fs.versions_folder.bucket import OWNER, Bucket, bodies, filesystem_on, names, read, requests, write


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


def test_without_a_cache_it_shows_what_others_do_at_once(bucket: Bucket, tmp_path: Path) -> None:
    client = make_client(bucket.server)
    mount = filesystem_on(client, bucket.prefix, tmp_path, stat_ttl_s=0, listing_ttl_s=0, negative_ttl_s=0)
    for number in range(3):
        bucket.put("d/f", str(number).encode())
        assert len(bodies(mount, "/d/.versions/f") if number else names(mount, "/d/.versions")) == number
    mount.stop()
    client.close()
