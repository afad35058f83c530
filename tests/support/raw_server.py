"""A server that answers with exactly the bytes a test gives it: malformed, cut, stalled, reset.

It runs in threads of the test's process and knows nothing of the protocol. Each request takes the next
reply of the script; a request beyond the script is answered with 599.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Union


@dataclass(frozen=True)
class Reply:
    """Bytes, and what becomes of the connection: ``keep``, ``close``, ``reset``, or ``stall`` (held open)."""

    data: bytes
    then: str = "keep"


@dataclass(frozen=True)
class RawRequest:
    method: str
    target: str
    headers: Dict[str, str]
    body: bytes = field(repr=False)


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A well-formed answer of the service; an underscore in a header's name stands for a hyphen."""
    found = {"Content_Length": str(len(body)), "x_cos_request_id": "NWU5X3JlcXVlc3Q=", "Server": "tencent-cos",
             "Date": "Tue, 14 Nov 2023 22:13:20 GMT", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in found.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status} Reason", *lines, "", ""]).encode("utf-8") + body


def error(status: int, code: str, message: str = "no reason given", **headers: str) -> bytes:
    body = (f"<?xml version='1.0' encoding='utf-8' ?><Error><Code>{code}</Code><Message>{message}</Message>"
            "<Resource>/key</Resource><RequestId>NWU5</RequestId><TraceId>OGVm</TraceId></Error>").encode()
    return answer(status, body, Content_Type="application/xml", **headers)


Step = Union[bytes, Reply, Callable[[RawRequest], bytes]]


class RawServer:
    """Listens from construction on; ``requests`` holds what has arrived, in order.

    ``tls``: speak TLS with this context. ``greeting``: sent to each connection before anything is read.
    """

    def __init__(self, *script: Step, tls: Optional[ssl.SSLContext] = None, greeting: bytes = b"") -> None:
        self._script: List[Step] = list(script)
        self._tls = tls
        self._greeting = greeting
        self.requests: List[RawRequest] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True, name="raw-server")
        self._thread.start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would keep the port open
        self._thread.join(timeout=20)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="raw-connection").start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.sendall(self._greeting)
        except OSError:
            connection.close()
            return
        with connection, connection.makefile("rb") as stream:
            while True:
                try:
                    request = _read_request(stream)
                except (OSError, ValueError):
                    return
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                    step = self._script.pop(0) if self._script else Reply(answer(599), "close")
                if callable(step):
                    step = step(request)
                if not self._reply(connection, step if isinstance(step, Reply) else Reply(step)):
                    return

    def _reply(self, connection: socket.socket, reply: Reply) -> bool:
        """Send, and tell whether the connection goes on."""
        try:
            connection.sendall(reply.data)
        except OSError:
            return False
        if reply.then == "stall":
            self._closing.wait(timeout=20)
        elif reply.then == "reset":
            # a time of zero makes close() send RST instead of FIN (socket(7), SO_LINGER)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RD)
        elif reply.then == "close":
            connection.shutdown(socket.SHUT_WR)
        return reply.then == "keep"


def _read_request(stream) -> Union[RawRequest, None]:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    for raw in iter(stream.readline, b"\r\n"):
        name, _, value = raw.decode("utf-8").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = int(stream.readline(), 16)
            chunk = stream.read(size)
            stream.readline()
            body += chunk
            if not size:
                break
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return RawRequest(method, target, headers, body)
