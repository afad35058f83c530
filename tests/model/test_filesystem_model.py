"""The state machine on ``CosFilesystem`` over a bucket in memory, with changes made by other hosts."""

from __future__ import annotations

import os
import stat
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem import CosFilesystem
from tests.model.machine import SIZES, FilesystemMachine, Target, content, known
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import MemoryClient
from tests.support.worlds import World

PREFIX = "model/"


class FilesystemOverMemory(FilesystemMachine):
    """Foreign changes advance the clock past every cache's time, and leave open files alone."""

    def make_world(self) -> World:
        self.client = MemoryClient()
        self.now_s = 0.0
        return self._world()

    def _world(self) -> FilesystemWorld:
        # The smallest parts, so that files of 2 MiB are uploaded by multipart and edited by part copies.
        config = FilesystemConfig(prefix=PREFIX, part_size_bytes=1 << 20, staging_folder=tempfile.gettempdir(),
                                  memory_limit_bytes=32 << 20, parallel_parts=3, parallel_heads=3)
        self.filesystem = CosFilesystem(self.client, config, monotonic=lambda: self.now_s)
        self.filesystem.start()
        return FilesystemWorld(self.filesystem)

    def remade_world(self) -> World:
        self.filesystem.stop()
        return self._world()

    def release_world(self) -> None:
        self.filesystem.stop()

    def check_store(self) -> None:
        assert self.client.pending_uploads() == []

    @rule(target_path=known, seed=st.integers(0, 4095), size=st.sampled_from(SIZES))
    def foreign_put(self, target_path: Target, seed: int, size: int) -> None:
        path = self.resolve(target_path)
        parent = path.rpartition("/")[0] or "/"
        if (self._leads_through_link(path) or self._is_open(path) or not self._kind_is(parent, stat.S_IFDIR)
                or self._exists_and_is_no_file(path)):
            return
        data = content(seed, size)
        self.filesystem.fsyncdir()
        self.reference.write_file(path, data)
        self.reference.chmod(path, 0o640)
        self.reference.chown(path, 5, 6)
        self.reference.utimens(path, 1, 10**9)
        for name in self.reference.listxattr(path):
            self.reference.removexattr(path, name)
        self.client.add(PREFIX + path[1:], data, ObjectHeaders(
            metadata={"mode": str(stat.S_IFREG | 0o640), "uid": "5", "gid": "6", "mtime": "1"}))
        self.now_s += 3600

    @rule(target_path=known)
    def foreign_delete(self, target_path: Target) -> None:
        path = self.resolve(target_path)
        if not self._leads_through_link(path) and not self._is_open(path) and self._kind_is(path, stat.S_IFREG):
            self.filesystem.fsyncdir()
            self.reference.unlink(path)
            self.client.objects.pop(PREFIX + path[1:], None)
            self.now_s += 3600

    @rule(seconds=st.sampled_from((1, 11, 61)))
    def time_passes(self, seconds: int) -> None:
        self.filesystem.fsyncdir()  # what is sent within a moment has been sent then
        self.now_s += seconds

    def _is_open(self, path: str) -> bool:
        try:
            inode = os.lstat(self.reference.real(path))
        except OSError:
            return False
        return any(os.fstat(twins.reference).st_ino == inode.st_ino for twins in self.handles)

    def _exists_and_is_no_file(self, path: str) -> bool:
        return self.reference.exists(path) and not self._kind_is(path, stat.S_IFREG)


TestFilesystemModel = FilesystemOverMemory.TestCase
TestFilesystemModel.settings = settings.get_profile(settings.get_current_profile_name())
