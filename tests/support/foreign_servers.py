"""S3 servers that nobody here wrote, each in a process of its own on loopback: SeaweedFS, moto, ``rclone serve s3``.

Used by the mount tests in AWS V4 mode. Every server has one empty bucket; SeaweedFS and rclone check
signatures, moto does not. ``boto3`` here is the judge that reads what the mount has written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Type

import boto3
import botocore.exceptions
from botocore.config import Config

START_LIMIT_S = 60.0
"""SeaweedFS elects a master, registers a volume server and opens its filer before S3 answers: 3 to 8 s."""


class ForeignServer:
    """A running server; subclasses say how it is started. Context manager.

    ``directory_markers``: whether ``PUT dir/`` is taken and listed again.
    """

    name = ""
    directory_markers = True
    bucket = "examplebucket-1250000000"
    region = "us-east-1"
    access_key = "testaccesskey0123"
    secret_key = "testsecretkey0123456789abcdefghij"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self.log = directory / "server.log"
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> ForeignServer:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
            self._make_bucket()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._stop()

    def client(self) -> Any:
        """A boto3 S3 client for this server; boto3 has no types of its own."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name=self.region, aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=5,
                          read_timeout=30, request_checksum_calculation="when_required",
                          response_checksum_validation="when_required"))

    def keys(self, prefix: str = "") -> List[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [row["Key"] for page in pages for row in page.get("Contents", [])]

    def body(self, key: str) -> bytes:
        data: bytes = self.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    def pending_uploads(self) -> List[Dict[str, Any]]:
        rows: List[Dict[str, Any]] = self.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return rows

    def _start(self) -> None:
        raise NotImplementedError

    def _spawn(self, command: Sequence[str], environment: Optional[Dict[str, str]] = None) -> None:
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             cwd=self.directory, env={**os.environ, **(environment or {})},
                                             start_new_session=True)

    def _await(self, what: str, probe: Any) -> Any:
        """Poll ``probe`` until it returns something true; fails with the server's log at the limit."""
        assert self._process is not None
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit:
            found = probe()
            if found:
                return found
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{self.name}: no {what}\n{self.log.read_text(errors='replace')[-4000:]}")

    def _await_logged_url(self) -> str:
        found = self._await("address in its log", lambda: re.search(
            r"http://127\.0\.0\.1:[0-9]+", self.log.read_text(errors="replace")))
        return str(found.group(0))

    def _make_bucket(self) -> None:
        def attempt() -> bool:
            client = self.client()
            try:
                try:
                    client.create_bucket(Bucket=self.bucket)
                except client.exceptions.BucketAlreadyOwnedByYou:
                    pass
                # A volume server registers later than the gateway opens: only a written byte proves the whole.
                client.put_object(Bucket=self.bucket, Key="probe", Body=b"x")
                client.delete_object(Bucket=self.bucket, Key="probe")
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                return False
            return True
        self._await("bucket", attempt)

    def _stop(self) -> None:
        # Killed outright: an orderly end of SeaweedFS takes five seconds and nothing of it is kept.
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class SeaweedServer(ForeignServer):
    """``weed server -s3``: master, one volume server, filer and S3 gateway in one process, strict signatures."""

    name = "seaweedfs"

    def _start(self) -> None:
        weed = executable("weed")
        identities = {"identities": [{
            "name": "tests", "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
        config = self.directory / "identities.json"
        config.write_text(json.dumps(identities))
        (self.directory / "data").mkdir(exist_ok=True)
        self._ports = ports = free_ports(8)
        self.url = f"http://127.0.0.1:{ports[0]}"
        options = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": str(self.directory / "data"), "s3": "true",
            "s3.config": str(config), "s3.port": ports[0], "s3.port.grpc": ports[1], "s3.port.iceberg": 0,
            "s3.port.lance": 0, "s3.localSocket": str(self.directory / "s3.sock"), "master.port": ports[2],
            "master.port.grpc": ports[3], "master.telemetry": "false", "master.volumeSizeLimitMB": 512,
            "master.electionTimeout": "1s", "volume.port": ports[4], "volume.port.grpc": ports[5],
            "volume.max": 12, "filer.port": ports[6], "filer.port.grpc": ports[7],
            "filer.localSocket": str(self.directory / "filer.sock")}
        self._spawn([weed, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())])

    def _stop(self) -> None:
        super()._stop()
        for port in self._ports:  # sockets whose place no option sets
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                left.unlink()


class MotoServer(ForeignServer):
    """moto's S3 behind its threaded HTTP server; checks no signatures."""

    name = "moto"

    _PROGRAM = ("import sys, threading\n"
                "from moto.server import ThreadedMotoServer\n"
                "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)\n"
                "server.start()\n"
                "print('http://127.0.0.1:%d' % server.get_host_and_port()[1], flush=True)\n"
                "threading.Event().wait()\n")

    def _start(self) -> None:
        self._spawn([sys.executable, "-c", self._PROGRAM], {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(64 << 20)})
        self.url = self._await_logged_url()


class RcloneServer(ForeignServer):
    """``rclone serve s3`` over a folder; refuses ``PUT dir/`` and forgets user metadata when it ends."""

    name = "rclone"
    directory_markers = False

    def _start(self) -> None:
        (self.directory / "data").mkdir(exist_ok=True)
        self._spawn([executable("rclone"), "serve", "s3", str(self.directory / "data"), "--addr", "127.0.0.1:0",
                     "--auth-key", f"{self.access_key},{self.secret_key}", "--config", ""])
        self.url = self._await_logged_url()


def executable(name: str) -> str:
    """A program that a test requirement brings, beside the running interpreter or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing: install the test requirements"
    return found


def free_ports(count: int) -> List[int]:
    """Ports that were free just now, for servers that cannot take port 0."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
