"""What the tests of archived objects share: a mount whose test turns the clock."""

from __future__ import annotations

import os
from typing import Any, Callable, List

from cosfs.config import FilesystemConfig
from cosfs.errors import NoAttribute
from cosfs.filesystem import CosFilesystem
from tests.support.archive_client import ArchiveClient

TRUNCATED = os.O_WRONLY | os.O_TRUNC
RESTORE = "user.cosfs.restore"
Lines = Callable[[], List[str]]


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
