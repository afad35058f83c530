"""Two mounts and a foreign writer: what each shows after each step is allowed by ``docs/SEMANTICS.md``."""

from __future__ import annotations

import itertools
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ListPage, ObjectClient, ObjectHeaders
from cosfs.filesystem import CosFilesystem
from cosfs.namespace.caches import OVERLAY_S
from tests.conftest import MountFactory
from tests.model.beliefs import Staleness
from tests.model.two_mounts_files import TwoMountsMachine
from tests.model.two_mounts_machine import FILES, FOLDERS, Bucket
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import MemoryClient, Stored
from tests.support.mount import Mount
from tests.support.server import CosServer

PREFIX = "model/"
EPOCH_S = 1_700_000_000
LONGEST_LAG_S = 8.0
"""Shorter than the time for which own changes are laid over listings."""
TTL_S, KERNEL_S = 0.2, 0.1
"""Of the mounts' caches and of the kernel's."""
LATE_S = 1.0
"""By so much an answer may be older than the time that caches count from, on a machine that is busy."""

_numbers = itertools.count(1)
_TOLD = "as its close or fsync was told|keeps its old attributes|is gone, removed by another host before"
"""What the log says of changes that met those of somebody else."""


class LaggingClient(MemoryClient):
    """Its listings can be stopped: they go on to show the bucket as it was."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._listed: Optional[Dict[str, Stored]] = None

    def stop_listings(self, stopped: bool) -> None:
        with self._lock:
            self._listed = dict(self.objects) if stopped else None

    def list_objects(self, prefix: str, **more: Any) -> ListPage:
        with self._lock:
            now, self.objects = self.objects, self.objects if self._listed is None else self._listed
            try:
                return super().list_objects(prefix, **more)
            finally:
                self.objects = now


class TwoFilesystems(TwoMountsMachine):
    """Two ``CosFilesystem`` on one bucket in memory, and a clock that moves only when told."""

    def begin(self) -> None:
        self.now_s = 0.5
        self.stopped_s: Optional[float] = None
        self.moments = itertools.count()
        self.client = LaggingClient(lambda: EPOCH_S + self.now_s)
        self.bucket = Bucket(self.client, PREFIX)
        config = FilesystemConfig(prefix=PREFIX, staging_folder=tempfile.gettempdir(), parallel_parts=2,
                                  parallel_heads=2)
        self.staleness = Staleness(config.stat_ttl_s, config.listing_ttl_s, OVERLAY_S)
        self.filesystems = [CosFilesystem(self.client, config, clock=self.clock, monotonic=self.now)
                            for _ in range(2)]
        for filesystem in self.filesystems:
            filesystem.start()
        self.worlds = [FilesystemWorld(filesystem) for filesystem in self.filesystems]

    def now(self) -> float:
        return self.now_s

    def clock(self) -> float:
        """Of the mounts' own timestamps: no two changes are made in one nanosecond."""
        return EPOCH_S + self.now_s + 1e-6 * next(self.moments)

    def next_second(self) -> None:
        self.time_passes(1)

    def end(self) -> None:
        for filesystem in self.filesystems:
            filesystem.stop()

    @rule(seconds=st.sampled_from((0.25, 1, 4, 9, 11, 51, 61)))
    def time_passes(self, seconds: float) -> None:
        if self.stopped_s is not None and self.now_s + seconds - self.stopped_s > LONGEST_LAG_S:
            self.listings_go_on()
        self.now_s += seconds

    @rule(mount=st.integers(0, 1), path=st.sampled_from(FILES), seconds=st.sampled_from((9, 11, 59, 61)))
    def foreign_put_and_time_passes_between_two_looks(self, mount: int, path: str, seconds: float) -> None:
        self.look(mount, path)
        self.foreign_put(path, 700, 0o640)
        self.time_passes(seconds)
        self.look(mount, path)
        self.list(mount, path.rpartition("/")[0] or "/")

    @precondition(lambda self: self.stopped_s is None)
    @rule()
    def listings_stop(self) -> None:
        self.stopped_s = self.now_s
        self.staleness.lag_s = LONGEST_LAG_S
        self.client.stop_listings(True)

    @precondition(lambda self: self.stopped_s is not None)
    @rule()
    def listings_go_on(self) -> None:
        self.stopped_s = None
        self.client.stop_listings(False)

    def everybody_sees_the_same(self) -> None:
        self.client.stop_listings(False)
        self.now_s += 200
        for mount in range(len(self.worlds)):
            for folder in ("/", *FOLDERS):
                self.list(mount, folder)
            for path in FILES:
                self.look(mount, path)
                self.read_file(mount, path)
        assert self.client.pending_uploads() == []


@pytest.mark.timeout(300)
def test_two_filesystems(expected_logs: Callable[[str], None]) -> None:
    expected_logs(_TOLD)
    profile = settings.get_profile(settings.get_current_profile_name())
    run_state_machine_as_test(TwoFilesystems, settings=settings(profile, max_examples=profile.max_examples * 3))


class TwoKernelMounts(TwoMountsMachine):
    """Two mounts by the command, each example in a folder of its own, with short times that really pass."""

    attributes_are_exact = False
    mounts: Tuple[Mount, ...]
    client: ObjectClient
    server: CosServer
    prefix: str

    def begin(self) -> None:
        self.listings_go_on()
        name = f"{next(_numbers)}"
        self.client.put_object(f"{self.prefix}{name}/", b"", headers=ObjectHeaders(metadata={"mode": "16877"}))
        self.bucket = Bucket(self.client, f"{self.prefix}{name}/")
        self.staleness = Staleness(TTL_S + KERNEL_S + LATE_S, TTL_S + KERNEL_S + LATE_S, OVERLAY_S)
        self.worlds = [mount.world("/" + name) for mount in self.mounts]
        for mount in self.mounts:
            mount.wait_for((mount.point / name).exists, "folder of the example", 10)

    def now(self) -> float:
        return time.monotonic()

    def end(self) -> None:
        self.listings_go_on()

    @rule(seconds=st.sampled_from((TTL_S / 2, TTL_S + 2 * KERNEL_S)))
    def time_passes(self, seconds: float) -> None:
        """Looking on all the while."""
        until = self.now() + seconds
        while self.now() < until:
            self.what_is_watched_is_as_it_may_be()
            for mount in range(len(self.worlds)):
                self.look(mount, FILES[0])

    @rule()
    def listings_stop(self) -> None:
        self.staleness.lag_s = LONGEST_LAG_S
        self.server.set_faults("kind=stale-list,op=list_objects*,seconds=3600")

    @rule()
    def listings_go_on(self) -> None:
        self.server.clear_faults()


@pytest.fixture
def two_mounts(make_mount: MountFactory, client: ObjectClient, server: CosServer, folder: str) -> Iterator[None]:
    options = [f"stat_cache_expire={TTL_S}", *(f"{name}_timeout={KERNEL_S}" for name in ("attr", "entry", "negative"))]
    TwoKernelMounts.mounts = make_mount(*options), make_mount(*options)
    for mount in TwoKernelMounts.mounts:
        mount.expect_log(_TOLD)
    TwoKernelMounts.client, TwoKernelMounts.server, TwoKernelMounts.prefix = client, server, folder
    yield
    del TwoKernelMounts.mounts, TwoKernelMounts.client, TwoKernelMounts.server, TwoKernelMounts.prefix


@pytest.mark.mount
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("two_mounts")
def test_two_kernel_mounts() -> None:
    profile = settings.get_profile(settings.get_current_profile_name())
    run_state_machine_as_test(TwoKernelMounts, settings=settings(
        profile, max_examples=max(20, profile.max_examples // 4), stateful_step_count=25))
