"""The bucket that ``cosfs bench`` fills, mounts and checks: what all kinds share, and the real one.

It is filled and checked by the benchmark itself, never through the mount. Contents are pieces of one ``Source`` of
random bytes. bench_server.py has the other kind, a bucket of the embedded server.

Threading: one thread, but for the uploads of ``RealBucket.seed``.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import secrets
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cosfs.cli.bench_processes import BenchError
from cosfs.cli.mount import build, scan
from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ListedObject, ObjectClient, ObjectHeaders
from cosfs.errors import CosException
from cosfs.mount import open_client
from cosfs.units import MAX_LIST_KEYS, MIB

_UPLOADS = 16
_STEP = 4099
"""A prime, so that files of one benchmark differ from each other."""


class Piece(NamedTuple):
    """Bytes of the source, from ``start`` on."""

    start: int
    data: memoryview


Pieces = Tuple[memoryview, ...]
"""The content of a file, in pieces."""

Contents = Mapping[str, Pieces]
"""What files hold, by their path below the mount point."""


class Source:
    """A file of random bytes, always the same ones, from which all contents are cut."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        numbers = random.Random(size_bytes)
        with open(path, "wb") as file:
            for start in range(0, size_bytes, MIB):
                file.write(numbers.randbytes(min(MIB, size_bytes - start)))
        with open(path, "rb") as file:
            self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def piece(self, number: int, size_bytes: int) -> Piece:
        """The content of file ``number``; of number 0 the first bytes."""
        start = number * _STEP % max(1, len(self.data) - size_bytes)
        return Piece(start, self.data[start:start + size_bytes])


class Traffic(NamedTuple):
    """Requests by kind, and the bytes of their bodies; of a real bucket neither is known."""

    requests: Optional[Dict[str, int]] = None
    up_bytes: Optional[int] = None
    down_bytes: Optional[int] = None
    server_cpu_s: Optional[float] = None


class Bucket(ABC):
    """What is stored below ``prefix``. ``begin`` makes it empty; ``seed`` may follow, then ``open``, then all else."""

    prefix = ""

    @abstractmethod
    def begin(self) -> None:
        """Start anew, with nothing stored."""

    @abstractmethod
    def seed(self, files: Mapping[str, Piece]) -> None:
        """Store files."""

    @abstractmethod
    def open(self) -> None:
        """Make it answer. Raises: BenchError."""

    @abstractmethod
    def client(self) -> ObjectClient:
        """The benchmark's own client."""

    @abstractmethod
    def mount_words(self) -> List[str]:
        """The words of the mount command that stand for this bucket."""

    @abstractmethod
    def traffic(self) -> Traffic:
        """What the mount has caused since the last call."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""

    def difference(self, folder: str, expected: Contents) -> Optional[str]:
        """What is not as expected among the objects in ``folder``, in a few words; None when all is."""
        prefix = self.prefix + folder
        found = {row.key[len(self.prefix):]: row for row in self.listed(prefix) if not row.key.endswith("/")}
        sizes = {name: sum(map(len, pieces)) for name, pieces in expected.items()}
        for name in sorted(sizes.keys() | found.keys()):
            if name not in found:
                return f"{name} is not in the bucket"
            if name not in sizes:
                return f"{name} is still in the bucket"
            if found[name].size_bytes != sizes[name]:
                return f"{name} has {found[name].size_bytes} bytes in the bucket instead of {sizes[name]}"
            if not self._has_content(found[name], expected[name]):
                return f"wrong bytes in {name} in the bucket"
        return None

    def _has_content(self, row: ListedObject, pieces: Pieces) -> bool:
        """By the cheapest proof there is: an ETag that is the MD5, the CRC-64, the bytes."""
        if row.etag == md5_of(pieces):
            return True
        info = self.client().head_object(row.key)
        if info.crc64 is not None:
            return info.crc64 == crc64_of(pieces)
        buffer = bytearray(row.size_bytes)
        if buffer:
            self.client().get_object(row.key, memoryview(buffer))
        return hashlib.md5(buffer).hexdigest() == md5_of(pieces)

    def listed(self, prefix: str) -> List[ListedObject]:
        rows: List[ListedObject] = []
        marker: Optional[str] = ""
        while marker is not None:
            page = self.client().list_objects(prefix, marker=marker)
            rows += page.objects
            marker = page.next_marker
        return rows


def md5_of(pieces: Pieces) -> str:
    md5 = hashlib.md5()
    for piece in pieces:
        md5.update(piece)
    return md5.hexdigest()


def crc64_of(pieces: Pieces) -> int:
    value = 0
    for piece in pieces:
        value = crc64(piece, value)
    return value


class RealBucket(Bucket):
    """A bucket that exists, under a prefix of its own which is deleted at the end.

    ``word``: bucket and prefix as the mount command takes them. Requests are not counted: nobody tells.
    """

    def __init__(self, word: str, options: Sequence[str]) -> None:
        """Raises: UsageError, MountError."""
        config = build(scan([word, os.curdir, "-o", ",".join(options)]))
        self._name = config.connection.bucket
        self._client = open_client(config.connection)
        self._home = f"{config.filesystem.prefix}cosfs-bench-{secrets.token_hex(4)}/"
        self._begun = 0

    def client(self) -> ObjectClient:
        return self._client

    def begin(self) -> None:
        self._delete()
        self._begun += 1
        self.prefix = f"{self._home}{self._begun}/"

    def seed(self, files: Mapping[str, Piece]) -> None:
        def put(name: str) -> None:
            self._client.put_object(self.prefix + name, files[name].data, headers=ObjectHeaders())
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(put, files))

    def open(self) -> None:
        """Nothing to start."""

    def mount_words(self) -> List[str]:
        return [f"{self._name}:/{self.prefix}"]

    def traffic(self) -> Traffic:
        return Traffic()

    def close(self) -> None:
        """Raises: BenchError when something is left."""
        try:
            self._delete()
        except CosException as exc:
            raise BenchError(f"{exc}; delete what is left below {self._home} in {self._name}") from exc
        finally:
            self._client.close()

    def _delete(self) -> None:
        """Everything below the prefix of the benchmark."""
        if self._begun:
            for upload in self._client.list_multipart_uploads(self._home):
                self._client.abort_multipart_upload(upload.key, upload.upload_id)
            keys = [row.key for row in self.listed(self._home)]
            for start in range(0, len(keys), MAX_LIST_KEYS):
                self._client.delete_objects(keys[start:start + MAX_LIST_KEYS])
