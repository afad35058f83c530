"""What the tests of the folder ``.versions`` share: a folder of a versioned bucket, and the use of a mount on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Counter, Dict, List

from cosfs.config import FilesystemConfig
from cosfs.cos.client import BucketClient
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import NoEntry
from cosfs.filesystem import Caller, VersionedFilesystem
from cosfs.units import MIB
from tests.conftest import make_client, new_folder
from tests.support.server import CosServer

OWNER = Caller(0, 0)


class Bucket:
    """A folder of a versioned bucket, changed by another host."""

    def __init__(self, server: CosServer) -> None:
        self.server = server
        self.client = make_client(server)
        self.prefix = new_folder()

    def put(self, name: str, *bodies: bytes, **metadata: str) -> None:
        for body in bodies:
            self.client.put_object(self.prefix + name, body, headers=ObjectHeaders(metadata=metadata))

    def delete(self, name: str) -> None:
        self.client.delete_object(self.prefix + name)


def filesystem_on(client: BucketClient, prefix: str, staging: Path, **settings: Any) -> VersionedFilesystem:
    config = FilesystemConfig(prefix=prefix, staging_folder=str(staging), default_mode=0o755, **settings)
    filesystem = VersionedFilesystem(client, config, client)
    filesystem.start()
    return filesystem


def names(filesystem: VersionedFilesystem, path: str) -> List[str]:
    return sorted(entry.name for entry in filesystem.readdir(path))


def read(filesystem: VersionedFilesystem, path: str) -> bytes:
    size = filesystem.getattr(path).size_bytes
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        return b"".join(bytes(filesystem.read(fh, start, MIB)) for start in range(0, size, MIB))
    finally:
        filesystem.flush(fh)
        filesystem.release(fh)


def write(filesystem: VersionedFilesystem, path: str, data: bytes) -> None:
    try:
        fh = filesystem.open(path, os.O_RDWR | os.O_TRUNC).fh
    except NoEntry:
        fh = filesystem.create(path, 0o644, os.O_RDWR | os.O_CREAT, OWNER).fh
    filesystem.write(fh, 0, data)
    filesystem.flush(fh)
    filesystem.release(fh)


def bodies(filesystem: VersionedFilesystem, folder: str) -> List[bytes]:
    """What the versions in a folder hold, in the order of their names."""
    return [read(filesystem, f"{folder}/{name}") for name in names(filesystem, folder)]


def requests(server: CosServer) -> Dict[str, int]:
    return dict(Counter(str(row["op"]) for row in server.requests()))
