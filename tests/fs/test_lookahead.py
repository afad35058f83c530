"""Headers of many names: the requests that they cost, ahead of a program and after it; when they are not believed."""

import stat
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ListedObject, ListPage, ObjectHeaders
from cosfs.errors import CosServiceError, NoEntry
from cosfs.filesystem import Caller, CosFilesystem
from tests.support.memory_client import MemoryClient, Stored, error

pytestmark = pytest.mark.timeout(60)

ME = Caller(0, 0)
WAIT_S = 10.0
EPOCH_S = 1_700_000_000.0


class Bucket(MemoryClient):
    """A bucket whose clock the test turns, and mounts of it that share a state folder."""

    def __init__(self, state_folder):
        super().__init__(clock=lambda: self.now)
        self.now = EPOCH_S
        self._state_folder = state_folder
        self._mounts = []
        self.failing = set()
        self.ahead = 0
        self._before = {}

    def head_object(self, key):
        """Fails once for keys in ``failing``; ``ahead``: those that no program waits for when they begin."""
        self.ahead += threading.current_thread().name.startswith("cosfs-ahead")
        found = super().head_object(key)
        if key in self.failing:
            self.failing.remove(key)
            raise error(503, "SlowDown")
        return found

    def add_files(self, prefix, count, size_bytes=100_000):
        body = bytes(size_bytes)
        for number in range(count):
            self.add(f"{prefix}f{number:05d}", body)

    def change_headers(self, key, metadata):
        """As another host's copy of an object onto itself: the ETag stays."""
        old = self.objects[key]
        headers = ObjectHeaders(metadata=metadata)
        self.objects[key] = Stored(old.body, replace(old.info, headers=headers, last_modified_s=float(int(self.now))))

    def mount(self, **settings):
        settings = {"state_folder": self._state_folder, **settings}
        self._mounts.append(CosFilesystem(self, FilesystemConfig(**settings), monotonic=lambda: self.now))
        return self._mounts[-1]

    def unmount(self):
        while self._mounts:
            self._mounts.pop().stop()

    def spent(self):
        """Requests since the last call, by name."""
        now = {name: self.count(name) for name in ("head_object", "list_objects", "get_object")}
        spent = {name: count - self._before.get(name, 0) for name, count in now.items()}
        self._before = now
        return {name: count for name, count in spent.items() if count}

    def asked_for(self):
        """The keys whose headers were asked for, one by one or with their content."""
        return [call.key for call in self.calls if call.operation in ("head_object", "get_object")]


@pytest.fixture
def bucket(tmp_path):
    bucket = Bucket(str(tmp_path))
    yield bucket
    bucket.unmount()


def ls_l(filesystem, path):
    filesystem.getattr(path)
    return {entry.name: filesystem.getattr(f"{path.rstrip('/')}/{entry.name}")
            for entry in filesystem.readdir(path)}


def walk(filesystem, path, *, look):
    """As find does, and with ``look`` as du does."""
    if path != "/":
        filesystem.getattr(path)
    entries = filesystem.readdir(path)
    paths = {entry.name: f"{path.rstrip('/')}/{entry.name}" for entry in entries}
    if look:
        for child in paths.values():
            filesystem.getattr(child)
    return len(entries) + sum(walk(filesystem, paths[entry.name], look=look) for entry in entries
                              if stat.S_ISDIR(entry.mode))


def test_headers_of_a_listed_folder_are_asked_for_once_each(bucket):
    bucket.add_files("d/", 3000)
    shown = ls_l(bucket.mount(), "/d")
    assert len(shown) == 3000
    assert bucket.spent() == {"head_object": 1 + 3000, "list_objects": 1 + 3}
    assert len(set(bucket.asked_for())) == 3001


def test_small_files_that_are_looked_at_in_order_are_not_fetched(bucket):
    bucket.add_files("d/", 500, size_bytes=10)
    ls_l(bucket.mount(), "/d")
    spent = bucket.spent()
    assert spent["get_object"] <= 2
    assert spent["head_object"] + spent["get_object"] == 1 + 500


def test_after_the_ttl_and_after_a_remount_there_are_listings_only(bucket):
    bucket.add_files("d/", 3000)
    bucket.now += 5
    filesystem = bucket.mount()
    first = ls_l(filesystem, "/d")
    bucket.spent()
    for wait_s in (15, 70, 3600):
        bucket.now += wait_s
        assert ls_l(filesystem, "/d") == first
        # the folder itself was looked up again, but while a listing of its parent would tell
        assert bucket.spent() in ({"list_objects": 3}, {"list_objects": 4, "head_object": 1})
    bucket.unmount()
    assert ls_l(bucket.mount(), "/d") == first
    assert bucket.spent() == {"list_objects": 4, "head_object": 1}


def test_headers_stay_known_after_the_listing_without_a_database(bucket):
    bucket.add_files("d/", 1000)
    bucket.now += 5
    filesystem = bucket.mount(state_folder=None)
    ls_l(filesystem, "/d")
    bucket.spent()
    bucket.now += 15
    ls_l(filesystem, "/d")
    assert bucket.spent() == {"list_objects": 1}


@pytest.mark.parametrize("remount", [False, True])
def test_a_renamed_folder_s_files_are_not_asked_for_again(bucket, remount):
    bucket.add_files("d/", 50)
    bucket.now += 5
    filesystem = bucket.mount()
    names = set(ls_l(filesystem, "/d"))
    bucket.now += 61
    if remount:
        bucket.unmount()
        filesystem = bucket.mount()
    filesystem.rename("/d", "/e")
    bucket.spent()
    assert set(ls_l(filesystem, "/e")) == names
    assert bucket.spent() == {"list_objects": 1, "head_object": 1}  # whether the folder has a marker


@pytest.mark.parametrize("remount", [False, True])
@pytest.mark.parametrize("later_s", [0, 1])
def test_a_change_of_headers_within_the_second_of_the_last_change_is_seen(bucket, remount, later_s):
    """The row of the listing is the same as before it."""
    bucket.add_files("d/", 10)
    filesystem = bucket.mount()
    assert ls_l(filesystem, "/d")["f00007"].mode & 0o777 == 0o777
    bucket.change_headers("d/f00007", {"mode": str(stat.S_IFREG | 0o600)})
    bucket.now += later_s
    if remount:
        bucket.unmount()
        filesystem = bucket.mount()
    else:
        bucket.now += 61
    assert ls_l(filesystem, "/d")["f00007"].mode & 0o777 == 0o600


def test_a_change_of_headers_within_the_second_of_an_own_write_is_seen_in_the_time_of_attributes(bucket):
    filesystem = bucket.mount()
    filesystem.mkdir("/d", 0o755, ME)
    fh = filesystem.create("/d/f", 0o644, 0o1101, ME).fh
    filesystem.flush(fh)
    filesystem.release(fh)
    bucket.change_headers("d/f", {"mode": str(stat.S_IFREG | 0o600)})
    for wait_s in (30, 29, 2):
        bucket.now += wait_s
        shown = ls_l(filesystem, "/d")["f"].mode & 0o777
    assert shown == 0o600


def test_a_change_of_headers_in_a_later_second_is_seen(bucket):
    bucket.add_files("d/", 10)
    bucket.now += 5
    ls_l(bucket.mount(), "/d")
    bucket.unmount()
    bucket.change_headers("d/f00007", {"mode": str(stat.S_IFREG | 0o600)})
    bucket.spent()
    assert ls_l(bucket.mount(), "/d")["f00007"].mode & 0o777 == 0o600
    assert bucket.spent() == {"list_objects": 2, "head_object": 2}


def test_a_move_to_another_storage_class_is_seen(bucket):
    bucket.add_files("d/", 10)
    bucket.now += 5
    ls_l(bucket.mount(), "/d")
    bucket.unmount()
    old = bucket.objects["d/f00007"]
    bucket.objects["d/f00007"] = replace(old, info=replace(old.info, storage_class="STANDARD_IA"))
    bucket.spent()
    ls_l(bucket.mount(), "/d")
    assert bucket.spent() == {"list_objects": 2, "head_object": 2}


def test_symbolic_links_that_were_seen_once_are_told_by_a_listing_after_a_remount(bucket):
    bucket.add("d/link", b"target", ObjectHeaders(metadata={"mode": str(stat.S_IFLNK | 0o777)}))
    bucket.add("d/file", b"target")
    bucket.now += 5
    filesystem = bucket.mount()
    assert {entry.name: entry.mode for entry in filesystem.readdir("/d")} == {
        "link": stat.S_IFREG, "file": stat.S_IFREG}
    ls_l(filesystem, "/d")
    bucket.unmount()
    assert {entry.name: entry.mode for entry in bucket.mount().readdir("/d")} == {
        "link": stat.S_IFLNK, "file": stat.S_IFREG}


def test_own_symbolic_links_are_told_by_the_next_listing(bucket):
    filesystem = bucket.mount()
    filesystem.mkdir("/d", 0o755, ME)
    filesystem.symlink("/d/link", "target", ME)
    bucket.now += 30
    assert [entry.mode for entry in filesystem.readdir("/d")] == [stat.S_IFLNK]


def test_a_program_slower_than_the_listing_ttl_does_not_ask_again(bucket):
    bucket.add_files("d/", 2000)
    filesystem = bucket.mount()
    names = [entry.name for entry in filesystem.readdir("/d")]
    bucket.spent()
    for name in names:
        filesystem.getattr(f"/d/{name}")
        bucket.now += 0.02
    assert bucket.spent() == {"head_object": 2000}


def test_a_file_that_is_gone_costs_its_own_head_only(bucket):
    bucket.add_files("d/", 100)
    filesystem = bucket.mount()
    names = [entry.name for entry in filesystem.readdir("/d")]
    bucket.spent()
    del bucket.objects["d/f00050"]
    for name in names:
        if name == "f00050":
            with pytest.raises(NoEntry):
                filesystem.getattr(f"/d/{name}")
        else:
            filesystem.getattr(f"/d/{name}")
    assert bucket.spent() == {"head_object": 100}


def test_the_headers_of_marked_folders_are_asked_for_ahead(bucket):
    for number in range(300):
        bucket.add(f"d/s{number:03d}/", b"", ObjectHeaders(metadata={"mode": str(stat.S_IFDIR | 0o750)}))
        bucket.add(f"d/s{number:03d}/f", b"x")
    shown = ls_l(bucket.mount(), "/d")
    assert {attr.mode for attr in shown.values()} == {stat.S_IFDIR | 0o750}
    keys = bucket.asked_for()
    assert len(keys) == len(set(keys)) == 1 + 300
    assert bucket.count("list_objects") <= 2 + 2


def test_opening_each_file_after_looking_at_it_costs_one_get_each(bucket):
    bucket.add_files("d/", 50, size_bytes=10)
    filesystem = bucket.mount()
    names = [entry.name for entry in filesystem.readdir("/d")]
    bucket.spent()
    for name in names:
        filesystem.getattr(f"/d/{name}")
        fh = filesystem.open(f"/d/{name}", 0).fh
        assert filesystem.read(fh, 0, 100) == bytes(10)
        filesystem.release(fh)
    assert bucket.spent() == {"get_object": 50}


@pytest.mark.parametrize(("look", "most_listings"), [(False, 10), (True, 12)])
def test_a_walk_over_400_folders_is_answered_by_flat_listings(bucket, look, most_listings):
    files = [f"t/a{a:02d}/b{b:02d}/f{f}" for a in range(20) for b in range(20) for f in range(10)]
    for key in files:
        bucket.add(key, bytes(40_000))
    assert walk(bucket.mount(), "/t", look=look) == len(files) + 420
    keys = bucket.asked_for()
    assert len(keys) == len(set(keys))
    assert bucket.count("list_objects") <= most_listings
    folders = [key for key in keys if key.endswith("/")]
    assert len(folders) <= (40 if look else 0)
    assert len(keys) - len(folders) - 1 == (len(files) if look else 0)


def test_the_files_of_the_next_folders_are_asked_for_ahead_in_a_walk(bucket):
    """Two files a folder are no order by themselves."""
    for number in range(300):
        for name in ("x", "y"):
            bucket.add(f"t/b{number:03d}/{name}", bytes(40_000))
    assert walk(bucket.mount(), "/t", look=True) == 900
    keys = bucket.asked_for()
    assert len(keys) == len(set(keys))
    assert bucket.ahead > 0.9 * 600


def test_by_listing_nothing_is_asked_for(bucket):
    bucket.add_files("d/", 10_000, size_bytes=10)
    ls_l(bucket.mount(attributes_by_listing=True), "/d")
    assert bucket.spent() == {"list_objects": 1 + 10}


@pytest.fixture
def background():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_two_who_look_at_one_file_share_one_head(bucket, background):
    bucket.add_files("d/", 2)
    filesystem = bucket.mount()
    filesystem.readdir("/d")
    bucket.spent()
    gate = bucket.block("head_object")
    first = background.submit(filesystem.getattr, "/d/f00000")
    gate.wait_entered()
    second = background.submit(filesystem.getattr, "/d/f00000")
    gate.open()
    assert first.result(WAIT_S) == second.result(WAIT_S)
    assert bucket.spent() == {"head_object": 1}


def test_who_comes_to_a_file_that_is_being_asked_for_ahead_waits_for_that(bucket, background):
    bucket.add_files("d/", 40)
    filesystem = bucket.mount(parallel_heads=1)
    filesystem.readdir("/d")
    bucket.spent()
    gate = bucket.block("head_object", nth=4)
    for number in range(3):
        filesystem.getattr(f"/d/f{number:05d}")
    gate.wait_entered()
    waiting = background.submit(filesystem.getattr, "/d/f00003")
    gate.open()
    assert waiting.result(WAIT_S).size_bytes == 100_000
    filesystem.getattr("/d/f00018")
    assert len(bucket.asked_for()) == len(set(bucket.asked_for()))


def test_a_head_that_fails_ahead_is_asked_again_by_who_needs_it(bucket):
    bucket.add_files("d/", 40)
    filesystem = bucket.mount()
    names = [entry.name for entry in filesystem.readdir("/d")]
    bucket.spent()
    bucket.failing = {f"d/f{number:05d}" for number in range(10, 20)}
    assert [filesystem.getattr(f"/d/{name}").size_bytes for name in names] == [100_000] * 40
    assert bucket.spent() == {"head_object": 50}


def test_the_error_of_an_own_request_is_raised_and_not_remembered(bucket):
    bucket.add_files("d/", 2)
    filesystem = bucket.mount()
    filesystem.readdir("/d")
    bucket.fail("head_object", error(403, "AccessDenied"))
    with pytest.raises(CosServiceError):
        filesystem.getattr("/d/f00000")
    assert filesystem.getattr("/d/f00000").size_bytes == 100_000


def test_who_waits_for_a_request_that_fails_makes_one_of_its_own(bucket, background):
    bucket.add_files("d/", 2)
    filesystem = bucket.mount()
    filesystem.readdir("/d")
    bucket.fail("head_object", error(403, "AccessDenied"))
    gate = bucket.block("head_object")
    first = background.submit(filesystem.getattr, "/d/f00000")
    gate.wait_entered()
    second = background.submit(filesystem.getattr, "/d/f00000")
    gate.open()
    assert isinstance(first.exception(WAIT_S), CosServiceError)
    assert second.result(WAIT_S).size_bytes == 100_000


def test_an_own_change_during_a_look_ahead_wins(bucket):
    bucket.add_files("d/", 40)
    filesystem = bucket.mount()
    filesystem.readdir("/d")
    for number in range(2):
        filesystem.getattr(f"/d/f{number:05d}")
    bucket.spent()
    gate = bucket.block("head_object", nth=2)
    filesystem.getattr("/d/f00002")
    gate.wait_entered()
    filesystem.mkdir("/d/e", 0o755, ME)
    fh = filesystem.create("/d/f00003", 0o644, 0o1101, ME).fh
    filesystem.write(fh, 0, b"new")
    filesystem.flush(fh)
    filesystem.release(fh)
    gate.open()
    assert filesystem.getattr("/d/f00003").size_bytes == 3


def test_a_file_known_from_before_keeps_the_tags_that_it_was_given_since(bucket):
    bucket.add("d/f", b"old")
    bucket.now += 5
    ls_l(bucket.mount(), "/d")
    bucket.unmount()
    old = bucket.objects["d/f"]
    bucket.objects["d/f"] = replace(old, info=replace(old.info, tag_count=1))
    bucket._tags["d/f"] = (("colour", "blue"),)
    filesystem = bucket.mount()
    ls_l(filesystem, "/d")
    fh = filesystem.open("/d/f", 0o1001).fh
    filesystem.write(fh, 0, b"new")
    filesystem.flush(fh)
    filesystem.release(fh)
    assert bucket.body("d/f") == b"new"
    assert bucket.get_object_tagging("d/f") == (("colour", "blue"),)


class Endless(MemoryClient):
    """A folder ``d`` of many objects that are made up page by page."""

    def __init__(self, count):
        super().__init__()
        self.rows = count

    def list_objects(self, prefix, *, delimiter="", marker="", max_keys=1000, on_next=None):  # noqa: ARG002
        self._enter("list_objects", prefix, marker=marker)
        if prefix != "d/":
            return ListPage((), ("d/",) if not prefix else ())
        start = int(marker[3:]) + 1 if marker else 0
        stop = min(start + max_keys, self.rows)
        rows = tuple(ListedObject(f"d/f{number:07d}", number, f"{number:032x}", EPOCH_S + number)
                     for number in range(start, stop))
        return ListPage(rows, (), rows[-1].key if stop < self.rows else None)


def test_a_listed_name_takes_the_memory_that_is_stated():
    count = 50_000
    filesystem = CosFilesystem(Endless(count), FilesystemConfig(), monotonic=lambda: 0.0)
    tracemalloc.start()
    try:
        assert len(filesystem.readdir("/d")) == count
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        filesystem.stop()
    assert kept / count < 550, kept / count
    assert peak / count < 1000, peak / count


def test_a_lookup_in_a_folder_of_a_million_objects_does_not_list_it():
    client = Endless(1_000_000)
    filesystem = CosFilesystem(client, FilesystemConfig())
    for number in range(5):
        with pytest.raises(NoEntry):
            filesystem.getattr(f"/d/nothing{number}")
    pages = [call for call in client.calls_of("list_objects") if call.key == "d/"]
    filesystem.stop()
    assert len(pages) == 1
