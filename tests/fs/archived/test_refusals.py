"""Archived objects, without FUSE: what is refused, at the cost of which requests, what is logged, and what goes on."""

from __future__ import annotations

import os
import re
from typing import Callable, Dict

import pytest

from cosfs.errors import NotRestored, to_errno
from cosfs.filesystem import Caller, CosFilesystem, Purpose
from cosfs.units import MIB
from tests.fs.archived.mount import Lines, Mount

ME = Caller(0, 0)
CLASS = "user.cosfs.storage-class"
LINE = r"^{} is archived \({}\) and cannot be read or copied until it is restored: cosfs restore {}$"


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


def test_a_name_with_control_characters_is_one_line(mount: Mount, lines: Lines) -> None:
    mount.client.add_archived("a\nb")
    [entry] = mount.filesystem.readdir("/")
    with pytest.raises(NotRestored):
        mount.filesystem.open("/" + entry.name, os.O_RDONLY)
    [line] = lines()
    assert line.isprintable()


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
