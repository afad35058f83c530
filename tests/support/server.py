"""The embedded server as tests use it: ``python -m cosfs serve`` in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from cosfs.cos.signing import Credentials, cos_authorization

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 20.0
STOP_LIMIT_S = 20.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
"""With which ``python -m cosfs`` is found from any folder."""


class CosServer:
    """A server on a free port of 127.0.0.1; use it in a ``with`` block, or ``start()`` and ``stop()`` it.

    ``directory``: what it serves, by default a temporary one that goes with ``stop()``; the access log lies
    beside it. ``args``: further options of ``cosfs serve``.
    """

    bucket = "examplebucket-1250000000"
    secret_id = "AKIDEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAM"
    secret_key = "EXAMPLEKEYEXAMPLEKEYEXAMPLEKEY00"

    def __init__(self, directory: Optional[Path] = None, *, args: Sequence[str] = (), buckets: Sequence[str] = (),
                 anonymous: bool = False, token: Optional[str] = None, latency_ms: float = 0,
                 mbps: Optional[float] = None, faults: Sequence[str] = ()) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="cosfs-server-")
        self.directory = directory or Path(self._temporary.name) / "data"  # type: ignore[union-attr]
        self.directory.mkdir(exist_ok=True)
        self.access_log = self.directory.parent / f"{self.directory.name}-access.log"
        self.host = "127.0.0.1"
        self.port = 0
        self.token = token
        self._read_from = 0
        self._process: Optional[subprocess.Popen[str]] = None
        self._args = ["--host", self.host, "--bucket", self.bucket, "--secret-id", self.secret_id, "--secret-key",
                      self.secret_key, "--access-log", str(self.access_log), "--control", *args]
        for name in buckets:
            self._args += ["--bucket", name]
        for spec in faults:
            self._args += ["--fault", spec]
        if anonymous:
            self._args.append("--anonymous")
        if token:
            self._args += ["--token", token]
        if latency_ms:
            self._args += ["--latency-ms", str(latency_ms)]
        if mbps:
            self._args += ["--mbps", str(mbps)]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.secret_id, self.secret_key, self.token)

    def __enter__(self) -> CosServer:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> CosServer:
        """Start the process and wait until it answers. A server started again keeps its port."""
        command = [sys.executable, "-m", "cosfs", "serve", str(self.directory), "--port", str(self.port), *self._args]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        assert self._process.stdout is not None
        watchdog = threading.Timer(START_LIMIT_S, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        if not line.startswith("listening on http://"):
            raise RuntimeError(f"cosfs serve did not start; status {self._process.wait()}")
        self.port = int(line.rsplit(":", 1)[1])
        return self

    def stop(self) -> int:
        """End the server as a user would, by SIGTERM; returns its exit status. The directory goes with it."""
        status = self._end(signal.SIGTERM)
        if self._temporary is not None:
            self._temporary.cleanup()
        return status

    def kill(self) -> None:
        """End the server by SIGKILL; what it had acknowledged must outlive that."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End the server if it runs, and start it again on the same port and directory, without faults set since."""
        self._end(signal.SIGTERM)
        self.start()

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def requests(self, **equal: Any) -> List[Dict[str, Any]]:
        """The access log since the last ``clear_requests``, those lines whose fields equal ``equal``."""
        with open(self.access_log, "rb") as log:
            log.seek(self._read_from)
            whole = log.read().rpartition(b"\n")[0]  # the last line may be half written
        lines = [json.loads(line) for line in whole.split(b"\n") if line]
        return [line for line in lines if all(line[name] == value for name, value in equal.items())]

    def clear_requests(self) -> None:
        self._read_from = self.access_log.stat().st_size

    def set_faults(self, *specs: str) -> None:
        """Put these faults in force in place of all others (``cosfs serve --help`` has the language)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        connection.request("PUT", "/-/faults", json.dumps(specs))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise ValueError(body.decode())

    def clear_faults(self) -> None:
        self.set_faults()

    def set_keys(self, *keys: Credentials, expires_s: Optional[Dict[str, float]] = None) -> None:
        """Accept these and no others; ``expires_s``: until when, by secret id."""
        accepted = {key.secret_id: {"secret_key": key.secret_key, "token": key.token,
                                    "expires_s": (expires_s or {}).get(key.secret_id)} for key in keys}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        connection.request("PUT", "/-/keys", json.dumps(accepted))
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise ValueError(f"HTTP {status}")

    def request(self, method: str, key: str = "", params: Sequence[Tuple[str, str]] = (), body: bytes = b"",
                headers: Optional[Dict[str, str]] = None, *, bucket: Optional[str] = None,
                ) -> Tuple[int, Dict[str, str], bytes]:
        """One request signed in the COS scheme, sent as plainly as can be: no retries, nothing added."""
        sent = self.signed_headers(method, key, params, {"Content-Length": str(len(body)), **(headers or {})},
                                   bucket=bucket)
        path = "/" + quote(key, safe="/-_.~") + ("?" + urlencode(list(params)) if params else "")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def signed_headers(self, method: str, key: str = "", params: Sequence[Tuple[str, str]] = (),
                       headers: Optional[Dict[str, str]] = None, *, bucket: Optional[str] = None) -> Dict[str, str]:
        """``headers`` with Host and a signature in the COS scheme."""
        signed = {"Host": f"{bucket or self.bucket}.cos.ap-local.myqcloud.com", **(headers or {})}
        if self.token:
            signed["x-cos-security-token"] = self.token
        now = int(time.time())
        # a header's value goes out in Latin-1, and the server reads it as UTF-8
        as_read = [(name, value.encode("latin-1").decode("utf-8", "replace")) for name, value in signed.items()]
        signed["Authorization"] = cos_authorization(
            self.credentials, method, f"/{key}", list(params), as_read, start_s=now - 60, end_s=now + 600)
        return signed

    def pending_uploads(self) -> List[Tuple[str, str]]:
        """Key and id of each multipart upload that was neither completed nor aborted."""
        _, _, body = self.request("GET", params=[("uploads", ""), ("max-uploads", "1000")])
        return [(item.findtext("Key") or "", item.findtext("UploadId") or "")
                for item in ElementTree.fromstring(body).findall("Upload")]


def bucket_client(server: CosServer, *, attempts: Optional[int] = None, **settings: Any) -> Any:
    """A ``BucketClient`` of the server's bucket. ``attempts``: sendings in all; None: the default policy."""
    from cosfs.cos.client import BucketClient
    from cosfs.cos.credentials import StaticCredentials
    from cosfs.cos.endpoint import ClientConfig
    from cosfs.cos.retry import RetryPolicy

    retry = RetryPolicy() if attempts is None else RetryPolicy(attempts=attempts)
    config = {"credentials": StaticCredentials(server.credentials), "retry": retry, **settings}
    return BucketClient(ClientConfig(server.bucket, server.url, **config))
