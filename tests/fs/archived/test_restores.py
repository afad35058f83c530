"""Restores of archived objects, without FUSE: what starts one, when it shows, and what its copy's expiry means."""

from __future__ import annotations

import os
from typing import Any, Callable

import pytest

from cosfs.archive import RestoreOrder, Tier
from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import InvalidArgument, IsADirectory, NotRestored, NotSupported, ObjectNotArchived
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.units import MIB
from tests.fs.archived.mount import Lines, Mount
from tests.support.memory_client import error

ME = Caller(0, 0)
WEEK = RestoreOrder(7, Tier.EXPEDITED)


def test_looking_ahead_starts_no_restores(make: Callable[..., Mount]) -> None:
    mount = make(restore=WEEK)
    for number in range(40):
        mount.client.add_archived(f"f{number:02}", 1000)
    for entry in list(mount.filesystem.readdir("/"))[:10]:
        mount.filesystem.getattr("/" + entry.name)
    for entry in list(mount.filesystem.readdir("/"))[:5]:
        with pytest.raises(NotRestored):
            mount.filesystem.open("/" + entry.name, os.O_RDONLY)
    assert sorted(call.key for call in mount.client.calls_of("restore_object")) == ["f00", "f01", "f02", "f03", "f04"]


def test_a_restored_file_is_readable_within_two_seconds_until_its_copy_expires(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("f")
    with pytest.raises(NotRestored):
        mount.read("/f")
    mount.restore("/f", "1")
    assert mount.told("/f") == 'ongoing-request="true"'
    with pytest.raises(NotRestored):
        mount.read("/f")
    mount.later(3598.5)
    with pytest.raises(NotRestored):
        mount.read("/f")
    mount.later(1.5)
    with pytest.raises(NotRestored):  # asked a moment ago
        mount.read("/f")
    mount.later(0.5)
    assert mount.read("/f") == bytes(100)
    assert "expiry-date" in mount.told("/f")
    mount.later(86400)
    with pytest.raises(NotRestored):
        mount.read("/f")
    assert mount.told("/f") == ""
    assert [line.partition(" and ")[2].partition(":")[0] for line in lines()] == [
        "cannot be read or copied until it is restored", "being restored; wait for it with",
        "cannot be read or copied until it is restored"]


def test_while_a_restore_goes_on_it_is_asked_for_at_most_every_two_seconds(mount: Mount) -> None:
    mount.client.add_archived("f")
    mount.restore("/f")
    mount.client.spent()
    for _ in range(100):
        with pytest.raises(NotRestored):
            mount.filesystem.open("/f", os.O_RDONLY)
        mount.later(0.1)
    assert mount.client.spent()["head_object"] <= 6


def test_a_restore_that_another_host_asked_for_shows_when_attributes_are_asked_again(mount: Mount) -> None:
    mount.client.add_archived("f")
    with pytest.raises(NotRestored):
        mount.read("/f")
    mount.client.restore_s = 0
    mount.client.restore_object("f", RestoreOrder(1))
    mount.later(59)
    with pytest.raises(NotRestored):
        mount.read("/f")
    mount.later(1)
    assert mount.read("/f") == bytes(100)


def test_reading_the_attribute_has_the_next_open_know(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("f")
    with pytest.raises(NotRestored):
        mount.read("/f")
    mount.client.restore_s = 0
    mount.client.restore_object("f", RestoreOrder(1))
    assert "expiry-date" in mount.told("/f")
    assert mount.read("/f") == bytes(100)
    assert len(lines()) == 1
    mount.later(86400)
    for _ in range(2):
        with pytest.raises(NotRestored):
            mount.read("/f")
    assert lines() == 2 * lines()[:1]  # that it is archived again is worth a line


def test_restored_files_are_renamed_and_changed_and_keep_their_class(mount: Mount) -> None:
    for name in ("d/a", "d/b", "c"):
        mount.client.add_archived(name, 3 * MIB)
        mount.restored("/" + name)
    mount.filesystem.rename("/d", "/e")
    mount.filesystem.rename("/c", "/e/c")
    assert {key: stored.info.storage_class for key, stored in mount.client.objects.items()} == dict.fromkeys(
        ("e/a", "e/b", "e/c"), "ARCHIVE")
    with pytest.raises(NotRestored):  # the service restores a version, and this is another one
        mount.read("/e/c")


def test_a_copy_that_expires_under_a_reader_is_refused_with_the_same_line(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("f", 8 * MIB)
    mount.restored("/f", "1")
    fh = mount.filesystem.open("/f", os.O_RDONLY).fh
    mount.later(86400)
    with pytest.raises(NotRestored):
        mount.filesystem.read(fh, 7 * MIB, 4096)
    mount.filesystem.release(fh)
    assert lines() == ["/f is archived (ARCHIVE) and cannot be read or copied until it is restored: cosfs restore /f"]


def test_a_copy_that_expires_under_a_writer_fails_its_close_and_loses_nothing(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("f", 8 * MIB)
    mount.restored("/f", "1")
    fh = mount.filesystem.open("/f", os.O_RDWR).fh
    mount.filesystem.write(fh, 0, b"new")
    mount.later(86400)
    with pytest.raises(NotRestored):
        mount.filesystem.flush(fh)
    assert len(lines()) == 1
    mount.client.restore_object("f", RestoreOrder(1))
    mount.later(mount.client.restore_s)
    mount.filesystem.flush(fh)
    mount.filesystem.release(fh)
    assert mount.client.body("f") == b"new" + bytes(8 * MIB - 3)
    assert mount.client.pending_uploads() == []


def test_with_the_option_opening_starts_a_restore_once_and_says_how_long_it_takes(
        make: Callable[..., Mount], lines: Lines) -> None:
    mount = make(restore=WEEK)
    mount.client.add_archived("a")
    mount.client.add_archived("b", storage_class="DEEP_ARCHIVE")
    for _ in range(100):
        for name in ("/a", "/b"):
            with pytest.raises(NotRestored):
                mount.filesystem.open(name, os.O_RDONLY)
    assert [(call.key, call.detail["order"]) for call in mount.client.calls_of("restore_object")] == [
        ("a", WEEK), ("b", RestoreOrder(7, Tier.STANDARD))]
    assert lines() == [
        "/a is archived (ARCHIVE); its restore was started, for 7 days, and by Expedited usually takes 1 to 5 minutes",
        "/b is archived (DEEP_ARCHIVE); its restore was started, for 7 days, and by Standard usually takes 12 to 24 "
        "hours"]
    mount.later(3600)
    assert mount.read("/a") == bytes(100)


def test_what_the_service_alone_knows_to_be_archived_is_restored_by_the_first_open(make: Callable[..., Mount],
                                                                                  lines: Lines) -> None:
    mount = make(restore=WEEK)
    mount.client.hidden = ("INTELLIGENT_TIERING",)
    mount.client.add_archived("small", 1000, "INTELLIGENT_TIERING")
    mount.client.add_archived("large", 8 * MIB, "INTELLIGENT_TIERING")
    for name in ("small", "large"):
        with pytest.raises(NotRestored):
            mount.filesystem.open("/" + name, os.O_RDONLY)
    assert [call.key for call in mount.client.calls_of("restore_object")] == ["small", "large"]
    assert all("; its restore was started, for 7 days, " in line for line in lines()) and len(lines()) == 2
    mount.restored("/small")
    assert len(mount.read("/small")) == 1000


def test_a_restore_that_goes_on_already_is_as_good_as_one_that_is_started(make: Callable[..., Mount]) -> None:
    mount = make(restore=WEEK)
    mount.client.add_archived("f")
    mount.client.restore_object("f", RestoreOrder(1))
    mount.restore("/f")
    with pytest.raises(NotRestored):
        mount.filesystem.truncate("/f", 1)
    assert mount.told("/f") == 'ongoing-request="true"'
    assert [call.detail["order"].days for call in mount.client.calls_of("restore_object")] == [1, 7]


def test_a_restore_that_is_refused_is_tried_again_after_a_minute_not_with_every_open(
        make: Callable[..., Mount], lines: Lines) -> None:
    mount = make(restore=WEEK)
    mount.client.add_archived("f")
    mount.client.fail("restore_object", error(403, "AccessDenied", "f"))
    for _ in range(20):
        with pytest.raises(NotRestored):
            mount.filesystem.open("/f", os.O_RDONLY)
    assert mount.client.count("restore_object") == len(lines()) == 1
    assert "its restore cannot be started: TEST f: HTTP 403 AccessDenied" in lines()[0]
    mount.later(60)
    with pytest.raises(NotRestored):
        mount.filesystem.open("/f", os.O_RDONLY)
    assert mount.told("/f") == 'ongoing-request="true"'


def test_renames_and_changes_of_attributes_start_no_restore(make: Callable[..., Mount]) -> None:
    mount = make(restore=WEEK)
    mount.client.add_archived("f")
    for change in (lambda: mount.filesystem.rename("/f", "/g"), lambda: mount.filesystem.chmod("/f", 0o600)):
        with pytest.raises(NotRestored):
            change()
    assert mount.client.count("restore_object") == 0


def test_listings_which_read_symbolic_links_start_no_restore(make: Callable[..., Mount]) -> None:
    mount = make(restore=WEEK)
    mount.client.add("link", b"target", ObjectHeaders({"mode": str(0o120777)}, {}, "ARCHIVE"))
    with pytest.raises(NotRestored):
        mount.filesystem.readlink("/link")
    assert mount.client.count("restore_object") == 0


def test_a_restored_copy_that_the_service_does_not_give_yet_is_not_waited_for_a_minute(mount: Mount) -> None:
    mount.client.add_archived("f")
    mount.restored("/f")
    mount.client.fail("get_object", error(403, "InvalidObjectState", "f"))
    with pytest.raises(NotRestored):
        mount.read("/f")
    assert mount.read("/f") == bytes(100)


@pytest.mark.parametrize(("value", "kind"), [
    ("", InvalidArgument), ("0", InvalidArgument), ("7:Fast", InvalidArgument), ("ä", InvalidArgument)])
def test_an_order_that_is_none_is_refused(mount: Mount, value: str, kind: type[Exception]) -> None:
    mount.client.add_archived("f")
    with pytest.raises(kind, match="takes a number of days"):
        mount.restore("/f", value)
    assert mount.client.count("restore_object") == 0


def test_what_cannot_be_restored_is_told(make: Callable[..., Mount]) -> None:
    mount = make()
    mount.client.add_archived("d/deep", storage_class="DEEP_ARCHIVE")
    mount.client.add("d/plain", b"x")
    with pytest.raises(IsADirectory):
        mount.restore("/d")
    with pytest.raises(InvalidArgument, match="DEEP_ARCHIVE, which knows no tier Expedited"):
        mount.restore("/d/deep", "1:Expedited")
    with pytest.raises(ObjectNotArchived):
        mount.restore("/d/plain")
    fh = mount.filesystem.create("/d/new", 0o644, os.O_WRONLY | os.O_CREAT, ME).fh
    with pytest.raises(InvalidArgument, match="not stored"):
        mount.restore("/d/new")
    mount.filesystem.release(fh)
    without = make(xattr=False)
    without.client.add_archived("f")
    with pytest.raises(NotSupported):
        without.restore("/f")


def test_a_restored_copy_is_kept_longer(mount: Mount) -> None:
    mount.client.add_archived("f")
    mount.restored("/f", "1")
    mount.restore("/f", "30")
    mount.later(29 * 86400)
    assert mount.read("/f") == bytes(100)


def test_headers_that_are_kept_over_mounts_do_not_hide_a_restore(make: Callable[..., Mount], tmp_path: Any) -> None:
    first = make(state_folder=str(tmp_path))
    first.client.add("f", b"cold", ObjectHeaders(storage_class="ARCHIVE"))
    first.later(10)
    first.filesystem.readdir("/")
    first.filesystem.getattr("/f")
    first.filesystem.stop()
    first.client.restore_s = 0
    first.client.restore_object("f", RestoreOrder(1))
    second = CosFilesystem(first.client, FilesystemConfig(state_folder=str(tmp_path)),
                           monotonic=lambda: first.client.now_s)
    second.readdir("/")
    fh = second.open("/f", os.O_RDONLY).fh
    assert second.read(fh, 0, 10) == b"cold"
    second.release(fh)
    second.stop()
    first.filesystem = make().filesystem
