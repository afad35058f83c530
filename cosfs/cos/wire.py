"""HTTP/1.1 as it is on a connection: sending a request, receiving an answer. Used by transport.py only.

In urllib3 and http.client most of the CPU of a small request goes into ``email.parser``, copies of the headers
and checks of each (measured; figures in transport.py). The bodies of answers are left to http.client, but for large
ones without TLS: those come in few pieces, each of which costs waking a thread (``Response.readinto``). Nor are bytes
of files copied to be sent, without TLS (sendfile(2)).

Source: RFC 9112. An answer whose framing is in doubt is refused: folded or malformed headers, several
different lengths, codings other than chunked.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import struct
from contextlib import ExitStack, contextmanager
from typing import Iterable, Iterator, List, Optional, Tuple, Union

from cosfs.cos.headers import HeaderList, Headers
from cosfs.cos.interface import Body, FileBytes
from cosfs.errors import InvalidParameter, StagingFailed

Payload = Union[Body, Iterable[Union[Body, FileBytes]], None]

_MAX_HEAD_BYTES = 64 * 1024  # http.client's limit for one line; services limit the headers of an object to some KiB
_SEND_BYTES = 256 * 1024  # the time-out is for each of these
_JOINED_BYTES = 64 * 1024  # copying this much is cheaper than one more system call and packet
_WAKE_BYTES = 256 * 1024  # 3 ms of a connection of 90 MB/s
_LARGE_BYTES = 64 * 1024

_UNSENDABLE_TARGET = re.compile(r"[^!-~]")
_UNSENDABLE_VALUE = re.compile(r"[\r\n\0]")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_EMPTY_LINES = (b"\r\n", b"\n")
_HEADER_LINE = re.compile(r"^([!-9;-~]+):[ \t]*([^\r\n\0]*)\r?\n", re.MULTILINE)


def request_head(method: str, target: str, headers: HeaderList) -> bytes:
    """Request line and headers. Raises: InvalidParameter for what splits a header."""
    if _UNSENDABLE_TARGET.search(target):
        raise InvalidParameter("a request target is not encoded")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in {"Accept-Encoding": "identity", **dict(headers)}.items():
        if _UNSENDABLE_VALUE.search(value) or _UNSENDABLE_TARGET.search(name) or not name:
            raise InvalidParameter(f"header {name!r} cannot be sent: a line break, or a name that is not ASCII")
        lines.append(f"{name}: {value}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def exchange(sock: socket.socket, method: str, head: bytes, payload: Payload, *, chunked: bool,
             timeout_s: float) -> Response:
    """Send a request and receive the head of its answer. Raises: http.client.HTTPException, OSError."""
    if sock.gettimeout() != timeout_s:
        sock.settimeout(timeout_s)  # a system call
    sent = True
    try:
        _send(sock, head, payload, chunked=chunked)
    except (BrokenPipeError, ConnectionResetError):
        sent = False  # the answer may have come before all was
    response = Response(sock, method)
    response.begin()
    response.keeps = response.keeps and sent
    return response


def _send(sock: socket.socket, head: bytes, payload: Payload, *, chunked: bool) -> None:
    if payload is None:
        sock.sendall(head)
    elif isinstance(payload, (bytes, bytearray, memoryview)):
        body = memoryview(payload).cast("B")
        if len(body) <= _JOINED_BYTES:
            sock.sendall(b"".join((head, body)))
            return
        sock.sendall(head)
        for start in range(0, len(body), _SEND_BYTES):
            sock.sendall(body[start:start + _SEND_BYTES])
    else:
        sock.sendall(head)
        for piece in payload:
            if isinstance(piece, FileBytes):
                _send_file(sock, piece)
            elif piece:
                sock.sendall(b"".join((b"%x\r\n" % len(piece), piece, b"\r\n")) if chunked else piece)
        if chunked:
            sock.sendall(b"0\r\n\r\n")


def _send_file(sock: socket.socket, piece: FileBytes) -> None:
    """Raises: OSError; StagingFailed, when it is the file that cannot be read."""
    descriptor, start, stop = piece
    try:
        if type(sock) is not socket.socket:
            for position in range(start, stop, _SEND_BYTES):
                sock.sendall(_read_file(descriptor, position, min(_SEND_BYTES, stop - position)))
            return
        with _kernel_waits(sock, socket.SO_SNDTIMEO):
            while start < stop:
                count = os.sendfile(sock.fileno(), descriptor, start, stop - start)
                if not count:
                    raise StagingFailed(f"a file ends at byte {start}, before all was sent")
                start += count
    except BlockingIOError:
        raise socket.timeout("timed out") from None
    except OSError as exc:
        if exc.errno == errno.EIO:  # no connection fails like that
            raise StagingFailed(f"cannot read what is to be sent: {exc.strerror}") from exc
        raise


def _read_file(descriptor: int, start: int, count: int) -> bytes:
    data = os.pread(descriptor, count, start)
    if len(data) < count:
        raise StagingFailed(f"a file ends at byte {start + len(data)}, before all was sent")
    return data


@contextmanager
def _kernel_waits(sock: socket.socket, option: int) -> Iterator[None]:
    """Calls block with the time-out of the socket, instead of poll(2) before each; EAGAIN when nothing came of one.

    ``option``: SO_RCVTIMEO or SO_SNDTIMEO (socket(7)).
    """
    timeout_s = sock.gettimeout()
    seconds, rest = divmod(timeout_s or 0.0, 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(seconds), int(rest * 1e6)))
    sock.settimeout(None)
    try:
        yield
    finally:
        if sock.fileno() >= 0:
            sock.settimeout(timeout_s)


class Response(http.client.HTTPResponse):
    """An answer of which ``begin`` has received the head; the methods of http.client read the body.

    ``fields``: the headers. ``keeps``: another request may follow on the connection, once the body is read.
    """

    fields: Headers
    keeps: bool

    def __init__(self, sock: socket.socket, method: str) -> None:
        super().__init__(sock, method=method)
        self._bodiless = method == "HEAD"
        self._socket = sock if type(sock) is socket.socket and hasattr(socket, "SO_RCVLOWAT") else None
        self._direct = False
        self._wakes_late, self._may_wake_late = False, True
        self._waits = ExitStack()

    def begin(self) -> None:
        """Receive the head. Raises: http.client.HTTPException, OSError."""
        self.status = http.client.CONTINUE
        while self.status < http.client.OK:
            minor, self.status, pairs = self._receive_head()
        self.fields = Headers(pairs)
        coding = self.fields.get("Transfer-Encoding", "").lower()
        if coding not in ("", "chunked"):
            raise http.client.HTTPException("unknown transfer coding")
        self.chunked, self.chunk_left = bool(coding), None
        self.length = None if self.chunked else _length(pairs)
        if self._bodiless or self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
            self.length = 0
        connection = self.fields.get("Connection", "").lower()
        self.keeps = (("close" not in connection if minor else "keep-alive" in connection)
                      and (self.chunked or self.length is not None))
        self.will_close = not self.keeps

    def readinto(self, view: memoryview) -> int:  # type: ignore[override]  # of all buffers, what transport.py has
        """Receive some of the body; 0 at its end, and where it breaks off. Raises: http.client.HTTPException, OSError.

        A large one is received in whole pieces of ``view``, by one system call each, for which the kernel wakes the
        thread up when ``_WAKE_BYTES`` more are there (SO_RCVLOWAT, socket(7)). With a call, and what waits for it, for
        each packet or two, 1 GiB over 10 connections took 0.3 s more of CPU (measured).
        """
        if not self._direct:
            if self._socket is None or self.chunked or self.length is None \
                    or min(self.length, len(view)) < _LARGE_BYTES:
                return super().readinto(view)
            self._direct = True  # what came with the head, and one read(2) more: then nothing is buffered any more
            count = self.fp.readinto1(view[:self.length])
            self._waits.enter_context(_kernel_waits(self._socket, socket.SO_RCVTIMEO))
        else:
            count = self._receive(view)
        self.length = (self.length or 0) - count
        if not self.length or (view and not count):
            self._end_direct()
            self._close_conn()  # type: ignore[attr-defined]
        return count

    def _receive(self, view: memoryview) -> int:
        sock = self._socket
        assert sock is not None
        left = self.length or 0
        # Who waits for less than what wakes it up would wait forever, so the end of the body comes by itself.
        wake = _WAKE_BYTES if left > 2 * _WAKE_BYTES else 1
        if (wake > 1) != self._wakes_late and self._may_wake_late:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wake)
                self._wakes_late = wake > 1
            except OSError:  # a kernel that does not know it wakes the thread up more often
                if self._wakes_late:
                    raise
                self._may_wake_late = False
        try:
            return sock.recv_into(view[:left - _WAKE_BYTES if wake > 1 else left], 0, socket.MSG_WAITALL)
        except BlockingIOError:
            raise socket.timeout("timed out") from None

    def _end_direct(self) -> None:
        sock, self._direct = self._socket, False
        if sock is not None and sock.fileno() >= 0 and self._wakes_late:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._wakes_late = False
        self._waits.close()

    def drain(self) -> None:
        """Receive the rest of the body. Raises: http.client.HTTPException, OSError."""
        if self._direct:
            self._end_direct()
        self.read()

    def _receive_head(self) -> Tuple[int, int, HeaderList]:
        """Minor version, status, headers."""
        lines: List[bytes] = []
        left = _MAX_HEAD_BYTES
        while True:
            line = self.fp.readline(left)
            if line in _EMPTY_LINES:
                break
            left -= len(line)
            if not left:
                raise http.client.LineTooLong("head")
            if not lines and not line:
                raise http.client.RemoteDisconnected("")
            if not line.endswith(b"\n"):
                raise http.client.HTTPException("the head is cut off")
            lines.append(line)
        status = _STATUS_LINE.fullmatch(lines[0]) if lines else None
        if status is None:
            raise http.client.BadStatusLine("")
        pairs = _HEADER_LINE.findall(b"".join(lines[1:]).decode("latin-1"))
        if len(pairs) != len(lines) - 1:  # folded lines among them, which nobody sends who means well
            raise http.client.HTTPException("malformed header")
        return int(status[1]), int(status[2]), pairs


def _length(pairs: HeaderList) -> Optional[int]:
    """The length of a body that is not chunked. Raises: http.client.HTTPException."""
    found = {value.strip() for name, value in pairs if name.lower() == "content-length"}
    if not found:
        return None
    value = found.pop()
    if found or not (value.isascii() and value.isdigit()):
        raise http.client.HTTPException("unclear Content-Length")
    return int(value)
