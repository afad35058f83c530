"""The headers of many names: the requests that they cost, ahead of a program that looks from name to name."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosServiceError, NoEntry
from cosfs.filesystem import Caller
from tests.support.headers_bucket import HeadersBucket, ls_l
from tests.support.memory_client import error

pytestmark = pytest.mark.timeout(60)

ME = Caller(0, 0)

WAIT_S = 10.0


@pytest.fixture
def bucket(tmp_path):
    bucket = HeadersBucket(str(tmp_path))
    yield bucket
    bucket.unmount()


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
