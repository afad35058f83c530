"""The kernel's read-ahead: which device's, and what happens to those who may not change it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cosfs import read_ahead
from cosfs.read_ahead import raise_read_ahead

MOUNTS = r"""22 1 0:21 / /proc rw - proc proc rw
90 22 0:50 / /mnt/a\040b rw,nosuid - fuse.cosfs below rw
91 22 0:51 / /mnt/a\040b rw,nosuid - fuse.cosfs examplebucket rw
92 22 0:52 / /mnt/a rw - fuse.cosfs other rw
"""
ANOTHER = "93 22 0:53 / /mnt/a\rb\x0b\x85\u2028 rw - fuse.other other rw\n"
"""Of another program, in a folder with a strange name."""


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(read_ahead, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(read_ahead, "DEVICES", tmp_path)
    (tmp_path / "mountinfo").write_bytes((ANOTHER + MOUNTS).encode())
    for device in ("0:50", "0:51", "0:52"):
        (tmp_path / device).mkdir()
        (tmp_path / device / "read_ahead_kb").write_text("128\n")
    return tmp_path


def test_it_is_set_for_the_mount_on_top(devices: Path) -> None:
    assert raise_read_ahead("/mnt/a b", 1 << 20)

    assert [(devices / device / "read_ahead_kb").read_text() for device in ("0:50", "0:51", "0:52")] == \
        ["128\n", "1024\n", "128\n"]


def test_who_may_not_gets_what_the_kernel_gives_and_a_line_in_the_log(
        devices: Path, caplog: pytest.LogCaptureFixture) -> None:
    (devices / "0:52" / "read_ahead_kb").unlink()
    (devices / "0:52" / "read_ahead_kb").mkdir()
    caplog.set_level(logging.INFO)

    assert not raise_read_ahead("/mnt/a", 1 << 20)
    assert not raise_read_ahead("/mnt/unknown", 1 << 20)

    assert len(caplog.records) == 2
