"""The kernel's table of mounts as text: names with anything in them, of this program's mounts and of others."""

from __future__ import annotations

import os

import pytest

from cosfs.mount_table import MountEntry, parse_mounts

OURS = b"91 22 0:51 / /mnt/bucket rw,nosuid - fuse.cosfs examplebucket-1250000000:/p rw\n"


def test_an_entry_has_number_device_point_type_and_source_whatever_optional_fields_there_are() -> None:
    table = OURS + b"92 22 0:52 /sub /mnt/b rw shared:1 master:2 - fuse.cosfs other rw,user_id=1000,group_id=5\n"
    assert parse_mounts(table) == [
        MountEntry(91, "0:51", "/mnt/bucket", "fuse.cosfs", "examplebucket-1250000000:/p"),
        MountEntry(92, "0:52", "/mnt/b", "fuse.cosfs", "other", 1000)]


@pytest.mark.parametrize(("field", "name"), [
    (rb"/mnt/a\040b\011c\012d\134e", "/mnt/a b\tc\nd\\e"), (rb"/mnt/a\134040", r"/mnt/a\040"),
    ("/mnt/文件".encode(), "/mnt/文件"), (b"/mnt/\xff", os.fsdecode(b"/mnt/\xff")),
    (b"/mnt/a\rb", "/mnt/a\rb"), (b"/mnt/a\x0b\x0cb", "/mnt/a\x0b\x0cb"),
    ("/mnt/\u2028\x85".encode(), "/mnt/\u2028\x85"),
])
def test_a_mount_point_may_have_any_name_and_hides_no_other(field: bytes, name: str) -> None:
    table = b"90 22 0:50 / " + field + b" rw - fuse.other x rw\n" + OURS
    assert [entry.point for entry in parse_mounts(table)] == [name, "/mnt/bucket"]


def test_types_and_sources_of_other_programs_may_be_anything() -> None:
    table = b"90 22 0:50 / /mnt/a rw - fuse.\xff  rw\n91 22 0:51 / /mnt/b rw - tmpfs a\\040b rw\n"
    assert [(entry.kind, entry.source) for entry in parse_mounts(table)] == [
        (os.fsdecode(b"fuse.\xff"), ""), ("tmpfs", "a b")]
