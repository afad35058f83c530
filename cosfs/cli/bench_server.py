"""The bucket of an embedded server that ``cosfs bench`` starts: as slow as wanted, and it counts requests.

Objects are put into the server's folder while it does not run, and cost no request. Their bytes are those of one
stored object, by hard link, so that filling a bucket takes no time and no room.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from cosfs.cli.bench_bucket import Bucket, Piece, Source, Traffic, crc64_of, md5_of
from cosfs.cli.bench_processes import Background, cpu_seconds
from cosfs.cli.mount import build, scan
from cosfs.cos.interface import ObjectClient
from cosfs.mount import open_client
from cosfs.server.blobs import Content, Segment
from cosfs.server.objects import NewObject
from cosfs.server.store import Store
from cosfs.units import MIB

_BUCKET = "bench-1250000000"
_SHELF = "source-1250000000"
"""A second bucket, which is never mounted: its one object holds the bytes of all seeded ones."""

_SOURCE = "source"
_MARK = "cosfs-bench"
"""Tells the benchmark's own requests from the mount's in the access log."""


class EmbeddedBucket(Bucket):
    """``folder``: an empty one. ``serve_options``: further words of ``cosfs serve``."""

    def __init__(self, folder: Path, source: Source, serve_options: Sequence[str]) -> None:
        self._folder = folder / "data"
        self._folder.mkdir()
        self._log = folder / "access.log"
        self._passwd = folder / "passwd"
        key_id, key = secrets.token_hex(18), secrets.token_hex(16)
        self._passwd.touch(0o600)
        self._passwd.write_text(f"{key_id}:{key}\n")
        command = [sys.executable, "-m", "cosfs", "serve", str(self._folder), "--bucket", _BUCKET,
                   "--secret-id", key_id, "--secret-key", key, "--access-log", str(self._log), *serve_options]
        self._server = Background("the server", command, folder / "server.log")
        self._client: Optional[ObjectClient] = None
        self._read_to = 0
        self._cpu_s = 0.0
        self._fill_shelf(source)

    def _fill_shelf(self, source: Source) -> None:
        store = Store(self._folder)
        store.create_bucket(_SHELF)
        shelf = store.bucket(_SHELF)
        blob = shelf.blobs.create()
        blob.write(bytes(source.data[start:start + MIB]) for start in range(0, len(source.data), MIB))
        shelf.objects.put(_SOURCE, NewObject(blob.finish()))
        store.close()

    def begin(self) -> None:
        self.close()
        shutil.rmtree(self._folder / _BUCKET, ignore_errors=True)
        self._log.write_bytes(b"")
        self._read_to = 0
        self._cpu_s = 0.0

    def seed(self, files: Mapping[str, Piece]) -> None:
        store = Store(self._folder)
        store.create_bucket(_BUCKET)
        bucket, shelf = store.bucket(_BUCKET), store.bucket(_SHELF)
        stored = shelf.objects.find(_SOURCE)
        assert stored is not None
        [whole] = bucket.blobs.adopt(shelf.blobs, stored.segments)
        for key, piece in files.items():
            pieces = (piece.data,)
            bucket.objects.put(key, NewObject(Content(
                len(piece.data), md5_of(pieces), crc64_of(pieces),
                (Segment(whole.blob, piece.start, len(piece.data)),))))
        store.close()

    def open(self) -> None:
        if not self._server.is_running():
            self._server.start(lambda: self._server.text().startswith("listening on ") and "\n" in self._server.text())
            config = build(scan([*self.mount_words(), os.curdir, "-o", f"user_agent_suffix={_MARK}"]))
            self._client = open_client(config.connection)

    def client(self) -> ObjectClient:
        assert self._client is not None
        return self._client

    def mount_words(self) -> List[str]:
        url = self._server.text().splitlines()[0].split()[-1]
        return [_BUCKET, "-o", f"url={url},passwd_file={self._passwd}"]

    def traffic(self) -> Traffic:
        with open(self._log, "rb") as log:
            log.seek(self._read_to)
            whole = log.read().rpartition(b"\n")
        self._read_to += len(whole[0]) + len(whole[1])
        lines: List[Dict[str, Any]] = [json.loads(line) for line in whole[0].splitlines()]
        lines = [line for line in lines if not str(line.get("user_agent")).endswith(_MARK)]
        before, self._cpu_s = self._cpu_s, cpu_seconds(self._server.pid)
        return Traffic(dict(Counter(line["op"] for line in lines)), sum(line["bytes_in"] for line in lines),
                       sum(line["bytes_out"] for line in lines), self._cpu_s - before)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._server.end()
