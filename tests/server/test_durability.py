"""What was acknowledged survives SIGKILL, whole; what was not leaves nothing behind."""

from __future__ import annotations

import hashlib
import http.client
import random
import sqlite3
import threading
from pathlib import Path
from typing import Dict, List, Tuple
from xml.etree import ElementTree

import pytest

from tests.support.server import CosServer


class Writer(threading.Thread):
    """Puts, overwrites, copies and deletes objects until the server is gone, and remembers what it was told.

    ``expected``: digest by key, None where the last answer said that the key is deleted. ``doubtful``: the
    key whose request got no answer.
    """

    def __init__(self, server: CosServer, number: int) -> None:
        super().__init__(name=f"writer-{number}")
        self._server = server
        self._rng = random.Random(number)
        self._prefix = f"w{number}/"
        self.expected: Dict[str, str | None] = {}
        self.doubtful = ""
        self.answered = 0

    def run(self) -> None:
        while True:
            try:
                self._step()
            except (OSError, http.client.HTTPException):
                return
            self.answered += 1

    def _step(self) -> None:
        key = self.doubtful = f"{self._prefix}{self._rng.randrange(40)}"
        known = [name for name, digest in self.expected.items() if digest and name != key]
        choice = self._rng.random()
        if choice < 0.15:
            status, after = self._server.request("DELETE", key)[0], None
        elif choice < 0.3 and known:
            source = self._rng.choice(known)
            headers = {"x-cos-copy-source": f"{self._server.bucket}.cos.x.com/{source}"}
            status, after = self._server.request("PUT", key, headers=headers)[0], self.expected[source]
        else:
            body = self._rng.randbytes(self._rng.choice([0, 10, 5000, 300_000]))
            status, after = self._server.request("PUT", key, body=body)[0], hashlib.md5(body).hexdigest()
        assert status in (200, 204)
        self.expected[key] = after
        self.doubtful = ""


@pytest.mark.parametrize("delay_s", [0.3, 0.7])
def test_acknowledged_writes_survive_sigkill(tmp_path: Path, delay_s: float) -> None:
    server = CosServer(tmp_path / "data").start()
    writers = [Writer(server, number) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        while writer.answered < 20 / delay_s and writer.is_alive():
            writer.join(0.01)
    server.kill()
    for writer in writers:
        writer.join(30)
    server.start()
    try:
        for writer in writers:
            assert writer.answered >= 20
            for key, digest in writer.expected.items():
                status, _, body = server.request("GET", key)
                if key != writer.doubtful:
                    assert (hashlib.md5(body).hexdigest() if status == 200 else None) == digest, key
        assert _rows_without_bytes(server) == []
        assert _unreferenced(server) == []
    finally:
        server.stop()


def _rows_without_bytes(server: CosServer) -> List[str]:
    """Listed keys whose body is not what the listing says."""
    body = server.request("GET", params=[("encoding-type", "url")])[2]
    rows: List[Tuple[str, str]] = [(row.findtext("Key") or "", (row.findtext("ETag") or "").strip('"'))
                                   for row in ElementTree.fromstring(body).iterfind("Contents")]
    return [key for key, etag in rows if hashlib.md5(server.request("GET", key)[2]).hexdigest() != etag]


def _unreferenced(server: CosServer) -> List[str]:
    """Blob files on the disk that no object uses."""
    folder = server.directory / server.bucket
    database = sqlite3.connect(str(folder / "index.db"))
    used = {str(row[0]) for row in database.execute("SELECT number FROM blob")}
    database.close()
    return sorted({path.name for path in (folder / "blobs").iterdir()} ^ used)


def test_half_an_upload_is_swept_at_the_next_start(tmp_path: Path) -> None:
    server = CosServer(tmp_path / "data").start()
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.putrequest("PUT", "/half", skip_host=True)
    for name, value in server.signed_headers("PUT", "half", headers={"Content-Length": "8000000"}).items():
        connection.putheader(name, value)
    connection.endheaders(b"x" * 4_000_000)
    blobs = server.directory / server.bucket / "blobs"
    for _ in range(1000):
        if any(blobs.iterdir()):
            break
        server.request("HEAD")
    assert any(blobs.iterdir())
    server.kill()
    connection.close()
    server.start()
    assert server.request("GET", "half")[0] == 404 and not any(blobs.iterdir())
    server.stop()


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    server = CosServer(tmp_path / "data").start()
    server.request("PUT", "a b", body=b"abc", headers={"x-cos-meta-m": "1", "x-cos-storage-class": "ARCHIVE"})
    upload = ElementTree.fromstring(server.request("POST", "big", [("uploads", "")])[2]).findtext("UploadId") or ""
    server.request("PUT", "big", [("partNumber", "1"), ("uploadId", upload)], b"part")
    before = server.request("HEAD", "a b")[1]
    server.restart()
    after = server.request("HEAD", "a b")[1]
    for name in ("ETag", "Last-Modified", "x-cos-meta-m", "x-cos-storage-class", "x-cos-hash-crc64ecma"):
        assert after[name] == before[name]
    assert server.pending_uploads() == [("big", upload)]
    parts = ElementTree.fromstring(server.request("GET", "big", [("uploadId", upload)])[2])
    assert parts.findtext("Part/Size") == "4"
    server.stop()
