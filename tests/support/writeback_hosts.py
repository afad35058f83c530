"""Mounts of one host with writeback, one after the other, that end by a crash or by unmounting."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, List, Optional

from cosfs.config import FilesystemConfig
from cosfs.filesystem import CosFilesystem
from cosfs.filesystem.writeback_recovery import waiting_files
from cosfs.units import MIB
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import WAIT_S, MemoryClient

LATER = 3600.0
"""A delay after which no test waits for the upload: only unmounting, or need, brings it."""

DATA = random.Random(7).randbytes(3 * MIB)


class Hosts:
    """Filesystems of one machine on one bucket, one after the other."""

    def __init__(self, client: MemoryClient, folder: Path) -> None:
        self.client = client
        self.state = folder / "state"
        self.state.mkdir()
        self._staging = folder
        self._alive: List[CosFilesystem] = []

    def start(self, delay: Optional[float] = LATER, **settings: Any) -> FilesystemWorld:
        values = {"staging_folder": str(self._staging), "state_folder": str(self.state), "part_size_bytes": MIB,
                  "staging_reserve_bytes": 0, "writeback_delay_s": delay, **settings}
        filesystem = CosFilesystem(self.client, FilesystemConfig(**values))
        filesystem.start()
        self._alive.append(filesystem)
        return FilesystemWorld(filesystem)

    def stop(self, world: FilesystemWorld) -> None:
        self._alive.remove(world.filesystem)
        world.filesystem.stop()

    def crash(self, world: FilesystemWorld) -> None:
        """Nothing of the process is left but what is on the disk, and no lock is held any more."""
        filesystem = world.filesystem
        self._alive.remove(filesystem)
        writeback, journal = filesystem._writeback, filesystem._context.journal
        assert writeback is not None and journal is not None
        with writeback._changed:
            writeback._stopping = True
            writeback._changed.notify_all()
        if writeback._thread is not None:
            writeback._thread.join(WAIT_S)
        writeback._pool.close()
        if filesystem._changes._timer is not None:
            filesystem._changes._timer.cancel()
        journal._connection.close()
        os.close(journal._lock_descriptor)
        headers = filesystem._headers
        assert headers is not None
        with headers._connection_lock:
            headers._close_reader_locked()

    def close(self) -> None:
        for filesystem in self._alive:
            filesystem.stop()

    def waiting(self) -> List[str]:
        return [listed.path for listed in waiting_files(str(self.state))]

    def folders(self) -> List[str]:
        return sorted(path.name for path in self.state.glob("writeback-*"))


def write(w: FilesystemWorld, path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC) -> None:
    handle = w.open(path, os.O_WRONLY | flags, 0o644)
    w.pwrite(handle, data, 0)
    w.close(handle)


def read(w: FilesystemWorld, path: str) -> bytes:
    handle = w.open(path, os.O_RDONLY)
    try:
        return w.pread(handle, 1 << 20, 0)
    finally:
        w.close(handle)


def writes(client: MemoryClient) -> int:
    return sum(client.count(name) for name in ("put_object", "copy_object", "create_multipart_upload"))
