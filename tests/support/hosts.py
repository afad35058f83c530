"""Filesystems of several hosts over one bucket in memory, and what a program on one of them does."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List

import pytest

from cosfs.config import Conflict, FilesystemConfig
from cosfs.errors import CosfsError, to_errno
from cosfs.filesystem import Caller, CosFilesystem
from tests.support.memory_client import MemoryClient, error

ME = Caller(0, 0)
NEW = os.O_WRONLY | os.O_CREAT
EXCLUSIVE = NEW | os.O_EXCL

Start = Callable[..., CosFilesystem]


@contextmanager
def hosts(client: MemoryClient, folder: str) -> Iterator[Start]:
    """``start(conflict)``: one more filesystem on the bucket."""
    started: List[CosFilesystem] = []

    def start(conflict: Conflict = Conflict.OVERWRITE, **settings: Any) -> CosFilesystem:
        config = FilesystemConfig(conflict=conflict, staging_folder=folder, **settings)
        started.append(CosFilesystem(client, config))
        return started[-1]

    yield start
    for filesystem in started:
        filesystem.stop()


def create(filesystem: CosFilesystem, path: str, data: bytes, flags: int = NEW) -> int:
    fh = filesystem.create(path, 0o644, flags, ME).fh
    filesystem.write(fh, 0, data)
    return fh


def change(filesystem: CosFilesystem, path: str, data: bytes, flags: int = os.O_WRONLY, offset: int = 0) -> int:
    fh = filesystem.open(path, flags).fh
    filesystem.write(fh, offset, data)
    return fh


def close(filesystem: CosFilesystem, fh: int) -> None:
    try:
        filesystem.flush(fh)
    finally:
        filesystem.release(fh)


def read(filesystem: CosFilesystem, path: str) -> bytes:
    filesystem.getattr(path)
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        return bytes(filesystem.read(fh, 0, 1 << 20))
    finally:
        filesystem.release(fh)


def refused(call: Callable[..., object], *args: object) -> int:
    """The errno that a call fails with."""
    with pytest.raises(CosfsError) as caught:
        call(*args)
    number = to_errno(caught.value)
    assert number is not None
    return number


def lose_next_put_answer(client: MemoryClient) -> None:
    """The next PUT stores its object, and the answer gets lost."""
    put = client.put_object

    def lose_answer(*args: Any, **named: Any) -> None:
        put(*args, **named)
        client.put_object = put  # type: ignore[method-assign]
        raise error(500, "InternalError")

    client.put_object = lose_answer  # type: ignore[method-assign,assignment]
