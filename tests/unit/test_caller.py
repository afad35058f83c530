"""What /proc tells of the caller's system call."""

import os
import platform
import threading
import time

import pytest

from cosfs import caller
from cosfs.caller import holds_open, purpose_of
from cosfs.filesystem import Purpose

KNOWN_MACHINE = platform.machine() in ("x86_64", "aarch64")


def await_purpose(thread_id, wanted):
    """The wanted purpose, or the last one seen within ten seconds."""
    deadline = time.monotonic() + 10
    while (seen := purpose_of(thread_id, "name")) is not wanted and time.monotonic() < deadline:
        time.sleep(0.001)
    return seen


@pytest.mark.skipif(not KNOWN_MACHINE, reason="no table of system calls for this machine")
def test_a_thread_that_waits_inside_open_is_seen_to_open(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: os.close(os.open(fifo, os.O_RDONLY)))
    reader.start()
    try:
        assert await_purpose(reader.native_id, Purpose.OPEN) is Purpose.OPEN
    finally:
        os.close(os.open(fifo, os.O_WRONLY))
        reader.join(10)


@pytest.mark.skipif(not KNOWN_MACHINE, reason="no table of system calls for this machine")
def test_a_thread_that_waits_inside_another_call_does_something_else():
    ends = os.pipe()
    reader = threading.Thread(target=lambda: os.read(ends[0], 1))
    reader.start()
    try:
        assert await_purpose(reader.native_id, Purpose.OTHER) is Purpose.OTHER
    finally:
        os.write(ends[1], b"x")
        reader.join(10)
        for end in ends:
            os.close(end)


@pytest.mark.parametrize("tid", [0, -1, 2**22 + 1])
def test_nothing_is_known_of_a_caller_out_of_sight(tid):
    assert purpose_of(tid, "name") is Purpose.UNKNOWN


def test_nothing_is_known_of_a_thread_that_does_not_wait():
    # it runs, in read(2) of procfs
    assert purpose_of(threading.get_native_id(), "name") in (Purpose.UNKNOWN, Purpose.OTHER)


def test_nothing_is_known_on_other_machines(monkeypatch):
    monkeypatch.setattr(caller, "_NUMBERS", {})
    assert purpose_of(threading.get_native_id(), "name") is Purpose.UNKNOWN


def test_a_process_holds_what_it_has_open_for_writing(tmp_path):
    path = str(tmp_path / "file")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    second = os.dup(descriptor)
    os.close(descriptor)
    assert holds_open(threading.get_native_id(), path)
    assert not holds_open(threading.get_native_id(), path + "2")
    os.close(second)
    assert not holds_open(threading.get_native_id(), path)
    reader = os.open(path, os.O_RDONLY)
    assert not holds_open(threading.get_native_id(), path)
    os.close(reader)


def test_nothing_is_held_by_whom_nobody_can_see_or_with_too_many_descriptors(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    assert not holds_open(0, path)
    with open(path, "w"):
        assert holds_open(os.getpid(), path)
        monkeypatch.setattr(caller, "_MOST_DESCRIPTORS", 2)
        assert not holds_open(os.getpid(), path)
