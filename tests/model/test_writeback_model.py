"""Writeback mode under random programs and crashes: after each, the bucket has what was promised last, and no more."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from cosfs.units import MIB
from tests.support.memory_client import MemoryClient
from tests.support.writeback_hosts import LATER, Hosts

NAMES = st.sampled_from(["a", "b", "c", "d"])
DATA = st.binary(max_size=40)


class File:
    """``current``: what is read. ``kept``: what it may be after a crash; None for not at all."""

    def __init__(self, current: bytes, kept: Set[Optional[bytes]]) -> None:
        self.current = current
        self.kept = kept


class Handle(NamedTuple):
    fh: int
    file: File


class Writeback(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="cosfs-model-")
        self.client = MemoryClient(min_part_bytes=MIB)
        self.hosts = Hosts(self.client, Path(self.folder))
        self.files: Dict[str, File] = {}
        self.handles: List[Handle] = []
        self.steps = 0
        """Since the last start."""

    @initialize(delay=st.sampled_from([0.0, LATER]), size=st.sampled_from([0, 10, 5 * MIB]))
    def begin(self, delay: float, size: int) -> None:
        self.delay = delay
        self.client.add("a", os.urandom(size))
        self.files["a"] = File(self.client.body("a"), {self.client.body("a")})
        self.world = self.hosts.start(delay)

    def teardown(self) -> None:
        for handle in self.handles:
            self.world.close(handle.fh)
        self.hosts.close()
        shutil.rmtree(self.folder)

    # Programs

    @rule(name=NAMES, truncate=st.booleans(), exclusive=st.booleans())
    def open(self, name: str, truncate: bool, exclusive: bool) -> None:
        known = self.files.get(name)
        if len(self.handles) >= 6 or (exclusive and known):
            return
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if truncate else 0) | (os.O_EXCL if exclusive else 0)
        fh = self.world.open(f"/{name}", flags, 0o644)
        file = self.files.setdefault(name, File(b"", {None}))
        if truncate:
            file.current = b""
        self.handles.append(Handle(fh, file))

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 5), at=st.integers(0, 60), data=DATA)
    def write(self, which: int, at: int, data: bytes) -> None:
        fh, file = self.handles[which % len(self.handles)]
        self.steps += 1
        self.world.pwrite(fh, data, at)
        if data:
            file.current = file.current[:at].ljust(at, b"\0") + data + file.current[at + len(data):]

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 5), length=st.integers(0, 60))
    def ftruncate(self, which: int, length: int) -> None:
        fh, file = self.handles[which % len(self.handles)]
        self.world.ftruncate(fh, length)
        file.current = file.current[:length].ljust(length, b"\0")

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 5))
    def fsync(self, which: int) -> None:
        fh, file = self.handles[which % len(self.handles)]
        self.world.fsync(fh)
        file.kept = {file.current}

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 5))
    def close(self, which: int) -> None:
        fh, file = self.handles.pop(which % len(self.handles))
        self.world.close(fh)
        file.kept = {file.current}

    @rule(names=st.lists(NAMES, min_size=1, max_size=3, unique=True), data=DATA)
    def replace(self, names: List[str], data: bytes) -> None:
        """Write whole files, as most programs do; so that something is there for the other rules."""
        for name in names:
            fh = self.world.open(f"/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            self.world.pwrite(fh, data, 0)
            self.world.close(fh)
            file = self.files.setdefault(name, File(b"", {None}))
            file.current = data
            file.kept = {data}
        self.steps += 1

    @rule(name=NAMES, data=DATA)
    def save(self, name: str, data: bytes) -> None:
        """As editors do it."""
        self.replace(["d"], data)
        self.rename("d", name)

    @rule(name=NAMES)
    def unlink(self, name: str) -> None:
        if name in self.files:
            self.steps += 1
            self.world.unlink(f"/{name}")
            self.world.filesystem.fsyncdir()
            del self.files[name]

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old in self.files and old != new:
            self.steps += 1
            self.world.rename(f"/{old}", f"/{new}")
            self.world.filesystem.fsyncdir()
            file = self.files[new] = self.files.pop(old)
            file.kept |= {file.current}

    @rule(name=NAMES, mode=st.integers(0, 0o777))
    def chmod(self, name: str, mode: int) -> None:
        if name in self.files:
            self.world.chmod(f"/{name}", mode)
            assert self.world.stat(f"/{name}").mode & 0o777 == mode

    @rule()
    def look(self) -> None:
        assert sorted(self.world.readdir("/")) == sorted(self.files)
        for name, file in self.files.items():
            assert self.world.stat(f"/{name}").size == len(file.current)
            fh = self.world.open(f"/{name}", os.O_RDONLY)
            assert self.world.pread(fh, len(file.current) + 1, 0) == file.current
            self.world.filesystem.release(fh)

    # The machine

    @precondition(lambda self: self.steps > 3)
    @rule()
    def settle(self) -> None:
        writeback = self.world.filesystem._writeback
        assert writeback is not None
        writeback.settle()
        for file in self.files.values():
            file.kept |= {file.current}

    @precondition(lambda self: self.steps > 2)
    @rule()
    def crash(self) -> None:
        self.hosts.crash(self.world)
        self.start_again()

    @precondition(lambda self: self.steps > 5)
    @rule()
    def remount(self) -> None:
        self.hosts.stop(self.world)
        for file in self.files.values():
            file.kept = {file.current}
        self.start_again()

    def start_again(self) -> None:
        self.handles = []
        self.steps = 0
        self.world = self.hosts.start(self.delay)
        assert self.hosts.waiting() == []
        for name in "abcd":
            stored = self.client.body(name) if name in self.client.objects else None
            assert stored in (self.files[name].kept if name in self.files else {None}), name
        self.files = {name: File(stored.body, {stored.body}) for name, stored in self.client.objects.items()}
        self.look()


@pytest.mark.timeout(300)
def test_writeback(expected_logs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosfs.filesystem.held.READ_BYTES", 15)
    expected_logs("files that an ended mount had left")
    expected_logs("keeps its old attributes|is gone, removed by another host")
    run_state_machine_as_test(Writeback, settings=settings(settings.default, max_examples=100))
