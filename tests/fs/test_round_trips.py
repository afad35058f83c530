"""How many requests the ordinary things cost, counted at the client."""

import os
import stat

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import NoEntry
from cosfs.filesystem import Caller, CosFilesystem
from tests.support.memory_client import MemoryClient

ME = Caller(0, 0)
REQUESTS = ("head_object", "list_objects", "get_object", "put_object", "copy_object", "delete_object", "delete_objects")


class Mount:
    def __init__(self, **settings):
        self.client = MemoryClient()
        self.now = 1000.0
        self.filesystem = CosFilesystem(self.client, FilesystemConfig(**settings), monotonic=lambda: self.now)
        self._before = {}

    def spent(self):
        """Requests since the last call, by name, without those that were not made."""
        now = {name: self.client.count(name) for name in REQUESTS}
        spent = {name: count - self._before.get(name, 0) for name, count in now.items()}
        self._before = now
        return {name: count for name, count in spent.items() if count}

    def create(self, path, data):
        with pytest.raises(NoEntry):
            self.filesystem.getattr(path)  # the kernel's lookup
        fh = self.filesystem.create(path, 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
        self.filesystem.write(fh, 0, data)
        self.filesystem.flush(fh)
        self.filesystem.release(fh)

    def read(self, path):
        self.filesystem.getattr(path)
        fh = self.filesystem.open(path, os.O_RDONLY).fh
        try:
            return self.filesystem.read(fh, 0, 1 << 20)
        finally:
            self.filesystem.release(fh)


@pytest.fixture
def mount():
    mount = Mount()
    yield mount
    mount.filesystem.stop()


def test_lookup_of_an_unknown_name_is_one_round_trip_and_none_while_absence_is_known(mount):
    for _ in range(2):
        with pytest.raises(NoEntry):
            mount.filesystem.getattr("/nothing")
    assert mount.spent() == {"head_object": 1, "list_objects": 1}


def test_a_fresh_listing_answers_lookups_of_absent_names(mount):
    mount.client.add("d/a", b"x")
    mount.filesystem.readdir("/d")
    mount.spent()
    with pytest.raises(NoEntry):
        mount.filesystem.getattr("/d/b")
    assert mount.spent() == {}


def test_second_lookup_in_a_directory_lists_it_and_the_next_ones_are_free(mount):
    for number in range(20):
        mount.client.add(f"d/f{number}", b"x")
    for name in ("x", "y", "z", "w"):
        with pytest.raises(NoEntry):
            mount.filesystem.getattr(f"/d/{name}")
    assert mount.spent() == {"head_object": 1, "list_objects": 2}


def test_a_directory_of_many_pages_is_not_listed_for_lookups(mount):
    for number in range(2500):
        mount.client.add(f"d/f{number:05d}", b"x")
    for name in ("x", "y", "z"):
        with pytest.raises(NoEntry):
            mount.filesystem.getattr(f"/d/{name}")
    assert mount.spent() == {"head_object": 3, "list_objects": 4}


def test_small_files_are_created_by_one_put_each(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.spent()
    for number in range(50):
        mount.create(f"/d/f{number}", b"x" * 4096)
    assert mount.spent() == {"put_object": 50}


def test_small_files_that_were_just_written_are_read_without_a_request(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    for number in range(50):
        mount.create(f"/d/f{number}", b"%d" % number)
    mount.spent()
    assert [mount.read(f"/d/f{number}") for number in range(50)] == [b"%d" % number for number in range(50)]
    assert mount.spent() == {}


def test_a_large_file_that_was_just_written_is_read_by_one_get(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.create("/d/f", bytes(100_000))
    mount.spent()
    assert mount.read("/d/f") == bytes(100_000)
    assert mount.spent() == {"get_object": 1}


def test_a_small_file_that_was_just_written_and_renamed_is_read_without_a_request(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.create("/d/f.lock", b"hello")
    mount.filesystem.rename("/d/f.lock", "/d/f")
    mount.spent()
    assert mount.read("/d/f") == b"hello"
    assert mount.spent() == {}


def test_attributes_changed_before_close_cost_nothing(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.spent()
    fh = mount.filesystem.create("/d/f", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    mount.filesystem.write(fh, 0, b"hello")
    mount.filesystem.chmod("/d/f", 0o600)
    mount.filesystem.chown("/d/f", 5, 6)
    mount.filesystem.utimens("/d/f", 1, 2)
    mount.filesystem.setxattr("/d/f", "user.a", b"1", 0)
    mount.filesystem.flush(fh)
    mount.filesystem.release(fh)
    assert mount.spent() == {"put_object": 1}
    attr = mount.filesystem.getattr("/d/f")
    assert (attr.mode & 0o777, attr.uid, attr.gid, attr.mtime_ns) == (0o600, 5, 6, 2)


def test_attributes_changed_after_close_are_one_copy_together(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.create("/d/f", b"hello")
    mount.spent()
    mount.filesystem.chmod("/d/f", 0o600)
    mount.filesystem.chown("/d/f", 5, 6)
    mount.filesystem.utimens("/d/f", 1, 2)
    mount.filesystem.setxattr("/d/f", "user.a", b"1", 0)
    mount.filesystem.fsyncdir()
    assert mount.spent() == {"copy_object": 1}


def test_rename_of_a_known_file_is_a_copy_and_a_delete(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.create("/d/f", b"hello")
    mount.spent()
    mount.filesystem.rename("/d/f", "/d/g")
    assert mount.spent() == {"copy_object": 1, "delete_object": 1}


def test_truncate_of_a_known_file_is_at_most_a_get_and_a_put(mount):
    mount.filesystem.mkdir("/d", 0o755, ME)
    mount.create("/d/f", b"hello")
    mount.now += 1.0
    mount.spent()
    mount.filesystem.truncate("/d/f", 3)
    assert mount.spent() == {"get_object": 1, "put_object": 1}
    mount.filesystem.truncate("/d/f", 0)
    assert mount.spent() == {"put_object": 1}


def walk(filesystem, path):
    """All paths below a directory, depth first, as fts(3) goes."""
    found = []
    for entry in filesystem.readdir(path):
        child = f"{path.rstrip('/')}/{entry.name}"
        found.append(child)
        if stat.S_ISDIR(entry.mode):
            found += walk(filesystem, child)
    return found


def test_a_walk_over_400_folders_takes_a_handful_of_flat_listings(mount):
    keys = [f"t/a{a:02d}/b{b:02d}/f{f}" for a in range(20) for b in range(20) for f in range(10)]
    for key in keys:
        mount.client.add(key, b"x")
    found = walk(mount.filesystem, "/t")
    folders = {key.rpartition("/")[0] for key in keys} | {key[:5] for key in keys}
    assert set(found) == {"/" + path for path in [*keys, *folders]}
    assert mount.spent() == {"head_object": 1, "list_objects": 8}


def test_a_walk_over_folders_of_many_pages_costs_one_listing_more(mount):
    keys = [f"t/a/b{b}/f{f:04d}" for b in range(3) for f in range(1500)]
    for key in keys:
        mount.client.add(key, b"x")
    assert len(walk(mount.filesystem, "/t")) == len(keys) + 4
    assert mount.spent() == {"head_object": 1, "list_objects": 1 + 2 + 1 + 3 * 2}


def test_a_small_listed_file_is_read_by_one_get(mount):
    for number in range(5):
        mount.client.add(f"d/f{number}", b"hello %d" % number)
    mount.filesystem.readdir("/d")
    mount.spent()
    assert [mount.read(f"/d/f{number}") for number in range(5)] == [b"hello %d" % number for number in range(5)]
    assert mount.spent() == {"get_object": 5}


def test_a_large_listed_file_is_not_fetched_for_its_attributes(mount):
    mount.client.add("d/f", bytes(100_000))
    mount.filesystem.readdir("/d")
    mount.spent()
    mount.filesystem.getattr("/d/f")
    assert mount.spent() == {"head_object": 1}


def test_truncate_of_a_small_listed_file_is_a_get_and_a_put(mount):
    mount.client.add("d/f", b"hello")
    mount.filesystem.readdir("/d")
    mount.spent()
    mount.filesystem.getattr("/d/f")
    mount.filesystem.truncate("/d/f", 3)
    assert mount.spent() == {"get_object": 1, "put_object": 1}
    assert mount.client.body("d/f") == b"hel"


def test_a_listed_file_that_changed_since_is_served_as_it_is_now(mount):
    mount.client.add("d/f", b"old")
    mount.filesystem.readdir("/d")
    mount.client.add("d/f", b"newer")
    assert mount.read("/d/f") == b"newer"


def test_a_content_disposition_survives_a_chmod_after_a_read(mount):
    mount.client.add("d/f", b"hello", ObjectHeaders(standard={"Content-Disposition": "inline"}))
    mount.filesystem.readdir("/d")
    assert mount.read("/d/f") == b"hello"
    mount.spent()
    mount.filesystem.chmod("/d/f", 0o600)
    mount.filesystem.fsyncdir()
    assert mount.spent() == {"head_object": 1, "copy_object": 1}
    assert mount.client.head_object("d/f").headers.standard["Content-Disposition"] == "inline"


def test_an_append_to_a_small_file_asks_at_open_and_stores_at_close(mount):
    mount.client.add("d/f", b"old")
    mount.filesystem.readdir("/d")
    mount.filesystem.getattr("/d/f")
    mount.now += 30
    mount.spent()
    fh = mount.filesystem.open("/d/f", os.O_WRONLY | os.O_APPEND).fh
    mount.filesystem.write(fh, 3, b"+", append=True)
    mount.filesystem.flush(fh)
    mount.filesystem.release(fh)
    assert mount.spent() == {"get_object": 1, "put_object": 1}
    assert mount.client.body("d/f") == b"old+"


def test_a_file_that_is_replaced_whole_is_not_asked_for(mount):
    mount.client.add("d/f", b"old")
    mount.filesystem.readdir("/d")
    mount.filesystem.getattr("/d/f")
    mount.spent()
    fh = mount.filesystem.open("/d/f", os.O_WRONLY | os.O_TRUNC).fh
    mount.filesystem.write(fh, 0, b"new")
    mount.filesystem.flush(fh)
    mount.filesystem.release(fh)
    assert mount.spent() == {"put_object": 1}


@pytest.fixture
def listing_mount():
    mount = Mount(attributes_by_listing=True)
    yield mount
    mount.filesystem.stop()


def test_by_listing_a_folder_of_many_files_is_shown_without_a_request_per_file(listing_mount):
    for number in range(2500):
        listing_mount.client.add(f"d/f{number:05d}", bytes(number % 7), ObjectHeaders(metadata={"mode": "33152"}))
    sizes = {entry.name: listing_mount.filesystem.getattr(f"/d/{entry.name}").size_bytes
             for entry in listing_mount.filesystem.readdir("/d")}
    assert sizes == {f"f{number:05d}": number % 7 for number in range(2500)}
    assert listing_mount.spent() == {"list_objects": 4}


def test_by_listing_a_change_of_attributes_keeps_those_that_are_not_shown(listing_mount):
    stored = {"mode": "33216", "uid": "7", "gid": "8", "mtime": "5"}
    listing_mount.client.add("d/f", b"x", ObjectHeaders(metadata=stored))
    listing_mount.client.add("d/e/", b"", ObjectHeaders(metadata={**stored, "mode": "16832"}))
    listing_mount.filesystem.readdir("/d")
    for path, key in (("/d/f", "d/f"), ("/d/e", "d/e/")):
        assert listing_mount.filesystem.getattr(path).uid == 0
        listing_mount.filesystem.chown(path, 9, -1)
        listing_mount.filesystem.fsyncdir()
        metadata = listing_mount.client.head_object(key).headers.metadata
        assert (metadata["uid"], metadata["gid"], int(metadata["mode"]) & 0o777) == ("9", "8", 0o700)
