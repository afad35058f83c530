"""Archived objects, without FUSE: what is refused, at the cost of which requests, what is logged, and what goes on."""

from __future__ import annotations

import logging
import os
import re
from typing import Any, Callable, Dict, Iterator, List

import pytest

from cosfs.archive import RestoreOrder, Tier
from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import (
    InvalidArgument,
    IsADirectory,
    NoAttribute,
    NotRestored,
    NotSupported,
    ObjectNotArchived,
    to_errno,
)
from cosfs.filesystem import Caller, CosFilesystem, Purpose
from cosfs.units import MIB
from tests.support.archive_client import ArchiveClient
from tests.support.memory_client import error

ME = Caller(0, 0)
TRUNCATED = os.O_WRONLY | os.O_TRUNC
RESTORE, CLASS = "user.cosfs.restore", "user.cosfs.storage-class"
Lines = Callable[[], List[str]]
WEEK = RestoreOrder(7, Tier.EXPEDITED)
LINE = r"^{} is archived \({}\) and cannot be read or copied until it is restored: cosfs restore {}$"


class Mount:
    """A filesystem on a bucket in memory; the test turns the clock of both."""

    def __init__(self, **settings: Any) -> None:
        self.client = ArchiveClient()
        self.filesystem = CosFilesystem(self.client, FilesystemConfig(**settings), clock=lambda: self.client.now_s,
                                        monotonic=lambda: self.client.now_s)

    def later(self, seconds: float) -> None:
        self.client.now_s += seconds

    def read(self, path: str) -> bytes:
        fh = self.filesystem.open(path, os.O_RDONLY).fh
        try:
            return bytes(self.filesystem.read(fh, 0, 1 << 20))
        finally:
            self.filesystem.release(fh)

    def replace(self, path: str, data: bytes) -> None:
        fh = self.filesystem.open(path, TRUNCATED).fh
        self.filesystem.write(fh, 0, data)
        self.filesystem.flush(fh)
        self.filesystem.release(fh)

    def told(self, path: str, name: str = RESTORE) -> str:
        try:
            return self.filesystem.getxattr(path, name).decode()
        except NoAttribute:
            return ""

    def restore(self, path: str, order: str = "7") -> None:
        self.filesystem.setxattr(path, RESTORE, order.encode(), 0)

    def restored(self, path: str, order: str = "7") -> None:
        self.restore(path, order)
        self.later(self.client.restore_s)


@pytest.fixture
def make(expected_logs: Callable[[str], None]) -> Iterator[Callable[..., Mount]]:
    expected_logs(" is archived")
    made: List[Mount] = []

    def mount(**settings: Any) -> Mount:
        made.append(Mount(**settings))
        return made[-1]
    yield mount
    for one in made:
        one.filesystem.stop()


@pytest.fixture
def mount(make: Callable[..., Mount]) -> Mount:
    return make()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was logged at WARNING and above."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("by_listing", [False, True], ids=["meta=full", "meta=list"])
@pytest.mark.parametrize("storage_class", ["ARCHIVE", "DEEP_ARCHIVE", "MAZ_ARCHIVE", "MAZ_DEEP_ARCHIVE"])
def test_opening_fails_at_once_with_one_line_and_no_request_for_the_body(
        make: Callable[..., Mount], lines: Lines, storage_class: str, by_listing: bool) -> None:
    mount = make(attributes_by_listing=by_listing, prefix="p/")
    mount.client.add_archived("p/d/f f", 100_000, storage_class)
    mount.filesystem.readdir("/d")
    assert mount.filesystem.getattr("/d/f f").size_bytes == 100_000
    for _ in range(100):
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY):
            with pytest.raises(NotRestored) as raised:
                mount.filesystem.open("/d/f f", flags)
            assert os.strerror(to_errno(raised.value)) == "Permission denied"
            mount.later(0.01)
    spent = mount.client.spent()
    assert set(spent) == {"list_objects", "head_object"} and mount.client.calls_of("get_object") == []
    assert len(lines()) == 1
    assert re.search(LINE.format(r"/d/f f \(key p/d/f f\)", storage_class, "'/d/f f'"), lines()[0])


def test_a_reader_costs_one_head_in_a_minute_however_often_it_tries(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("f")
    mount.filesystem.readdir("/")
    mount.client.spent()
    for _ in range(100):
        mount.filesystem.getattr("/f", purpose=lambda: Purpose.OPEN)
        with pytest.raises(NotRestored):
            mount.filesystem.open("/f", os.O_RDONLY)
    assert mount.client.spent() == {"head_object": 1}
    assert len(lines()) == 1


CHANGES: Dict[str, Callable[[CosFilesystem], object]] = {
    "truncate": lambda filesystem: filesystem.truncate("/d/f", 5),
    "rename": lambda filesystem: filesystem.rename("/d/f", "/d/g"),
    "rename of its folder": lambda filesystem: filesystem.rename("/d", "/e"),
    "chmod": lambda filesystem: filesystem.chmod("/d/f", 0o600),
    "utimens": lambda filesystem: filesystem.utimens("/d/f", 1, 1),
    "setxattr": lambda filesystem: filesystem.setxattr("/d/f", "user.a", b"1", 0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_needs_the_bytes_is_refused_before_anything_is_sent(mount: Mount, lines: Lines, name: str) -> None:
    mount.client.add_archived("d/f")
    mount.client.add("d/a", b"readable")
    before = dict(mount.client.objects)
    mount.filesystem.readdir("/d")
    with pytest.raises(NotRestored):
        CHANGES[name](mount.filesystem)
    mount.filesystem.fsyncdir()
    assert set(mount.client.spent()) <= {"list_objects", "head_object"}
    assert mount.client.objects == before
    [line] = lines()
    assert re.search(LINE.format("/d/f", "ARCHIVE", "/d/f"), line)


def test_what_does_not_need_the_bytes_goes_on(mount: Mount, lines: Lines) -> None:
    for name in ("seen", "gone", "cut", "replaced"):
        mount.client.add_archived(name)
    mount.client.add("other", b"moved here")
    assert mount.filesystem.getattr("/seen").size_bytes == 100
    assert mount.told("/seen", CLASS) == "ARCHIVE"
    mount.filesystem.unlink("/gone")
    mount.filesystem.truncate("/cut", 0)
    mount.replace("/replaced", b"new")
    mount.filesystem.rename("/other", "/seen")
    mount.filesystem.fsyncdir()
    found = mount.client.objects
    assert set(found) == {"seen", "cut", "replaced"}
    assert [found[name].body for name in ("seen", "cut", "replaced")] == [b"moved here", b"", b"new"]
    assert found["replaced"].info.storage_class == "ARCHIVE"
    assert lines() == []


def test_an_empty_archived_file_has_no_bytes_to_wait_for(mount: Mount) -> None:
    mount.client.add_archived("d/f", 0)
    assert mount.read("/d/f") == b""
    mount.filesystem.chmod("/d/f", 0o600)
    mount.filesystem.fsyncdir()
    mount.filesystem.rename("/d/f", "/d/g")
    mount.filesystem.rename("/d", "/e")
    assert mount.client.objects["e/g"].info.storage_class == "ARCHIVE"
    assert mount.client.objects["e/g"].info.headers.metadata["mode"] == str(0o100600)


def test_the_class_is_told_from_the_listing_without_a_request(make: Callable[..., Mount]) -> None:
    mount = make(attributes_by_listing=True)
    mount.client.add_archived("f", storage_class="DEEP_ARCHIVE")
    mount.filesystem.readdir("/")
    mount.client.spent()
    assert mount.told("/f", CLASS) == "DEEP_ARCHIVE"
    assert mount.client.spent() == {}


def test_a_program_that_reads_file_by_file_has_no_archived_bodies_fetched_ahead(mount: Mount, lines: Lines) -> None:
    for number in range(40):
        mount.client.add_archived(f"f{number:02}", 1000)
        mount.client.add(f"f{number:02}x", b"readable")
    refused = 0
    for entry in mount.filesystem.readdir("/"):
        mount.filesystem.getattr("/" + entry.name, purpose=lambda: Purpose.OPEN)
        try:
            mount.read("/" + entry.name)
        except NotRestored:
            refused += 1
    assert refused == len(lines()) == 40
    assert all(call.key.endswith("x") for call in mount.client.calls_of("get_object"))


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


@pytest.mark.parametrize("size_bytes", [1000, 8 * MIB])
def test_what_the_service_alone_knows_to_be_archived_is_asked_for_once_a_minute(
        mount: Mount, lines: Lines, size_bytes: int) -> None:
    mount.client.hidden = ("INTELLIGENT_TIERING",)
    mount.client.add_archived("f", size_bytes, "INTELLIGENT_TIERING")
    for _ in range(20):
        with pytest.raises(NotRestored):
            mount.filesystem.open("/f", os.O_RDONLY)
    assert mount.client.count("get_object") <= 2
    assert lines() == ["/f is archived (INTELLIGENT_TIERING) and cannot be read or copied until it is restored: "
                     "cosfs restore /f"]
    mount.restored("/f")
    assert len(mount.read("/f")) == min(size_bytes, MIB)


def test_a_copy_that_the_service_alone_refuses_is_told_as_well(mount: Mount, lines: Lines) -> None:
    mount.client.hidden = ("INTELLIGENT_TIERING",)
    mount.client.add_archived("f", storage_class="INTELLIGENT_TIERING")
    for _ in range(3):
        with pytest.raises(NotRestored):
            mount.filesystem.rename("/f", "/g")
    assert len(lines()) == mount.client.count("copy_object") == 1


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


def test_a_name_with_control_characters_is_one_line(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("a\nb")
    [entry] = mount.filesystem.readdir("/")
    with pytest.raises(NotRestored):
        mount.filesystem.open("/" + entry.name, os.O_RDONLY)
    [line] = lines()
    assert line.isprintable()


def test_a_restored_copy_that_the_service_does_not_give_yet_is_not_waited_for_a_minute(mount: Mount) -> None:
    mount.client.add_archived("f")
    mount.restored("/f")
    mount.client.fail("get_object", error(403, "InvalidObjectState", "f"))
    with pytest.raises(NotRestored):
        mount.read("/f")
    assert mount.read("/f") == bytes(100)


def test_a_program_that_opens_a_whole_archive_does_not_flood_the_log(mount: Mount, lines: Lines) -> None:
    for number in range(300):
        mount.client.add_archived(f"f{number:03}")
    mount.client.add_archived("last")
    names = [f"/f{number:03}" for number in range(300)]
    mount.filesystem.readdir("/")
    for name in names:
        with pytest.raises(NotRestored):
            mount.filesystem.open(name, os.O_RDONLY)
    assert len(lines()) == 100
    mount.later(61)
    with pytest.raises(NotRestored):
        mount.filesystem.open("/last", os.O_RDONLY)
    assert lines()[-1].endswith("cosfs restore /last (200 like this were not logged)")


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


def test_what_is_stored_in_an_archive_class_is_archived_at_once(make: Callable[..., Mount], lines: Lines) -> None:
    mount = make(storage_class="ARCHIVE")
    fh = mount.filesystem.create("/f", 0o644, os.O_RDWR | os.O_CREAT, ME).fh
    mount.filesystem.write(fh, 0, b"cold")
    assert mount.filesystem.read(fh, 0, 10) == b"cold"
    mount.filesystem.flush(fh)
    mount.filesystem.release(fh)
    with pytest.raises(NotRestored):
        mount.read("/f")
    assert len(lines()) == 1


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
