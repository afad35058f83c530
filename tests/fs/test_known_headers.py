"""Headers that were asked for once: how long they are believed, also by the next mount, and when not."""

import stat
from dataclasses import replace

import pytest

from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem import Caller
from tests.support.headers_bucket import HeadersBucket, ls_l

pytestmark = pytest.mark.timeout(60)

ME = Caller(0, 0)


@pytest.fixture
def bucket(tmp_path):
    bucket = HeadersBucket(str(tmp_path))
    yield bucket
    bucket.unmount()


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
