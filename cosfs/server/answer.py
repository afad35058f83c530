"""Sending answers: standard headers, dialect, latency, rate, faults of the answer, and the access log line.

The log line is written before the last bytes of the body, so that whoever has the whole answer finds it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import Iterator, Optional, Sequence

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from cosfs.server.access_log import AccessLog
from cosfs.server.blobs import slice_segments
from cosfs.server.call import Answer, Call, Headers, Pace
from cosfs.server.documents import error_document
from cosfs.server.errors import ApiError, Disconnected
from cosfs.server.faults import Fault
from cosfs.server.ids import http_date
from cosfs.server.wire import dialect_header
from cosfs.units import KIB

_IN_ONE_PIECE_BYTES = 256 * KIB
"""Up to here reading a body into memory is quicker than sendfile."""

_TAIL_BYTES = 64 * KIB
"""Kept back until the log line is written."""

_PACED_BYTES = 32 * KIB
"""Piece of a body sent at a limited rate: 1 MB/s still gives 30 a second."""

_RESET_GRACE_S = 0.05
"""What is on its way is usually read within this time; a reset destroys what is not."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def error_answer(call: Call, error: ApiError, *, status: Optional[int] = None) -> Answer:
    """The error as the service sends it; an answer to HEAD has no body."""
    headers = {"x-cos-trace-id": call.trace_id, **error.headers}
    answer = Answer(status or error.status, headers, error_code=error.code)
    if call.wire.method != "HEAD" and answer.status != 304:
        headers["Content-Type"] = "application/xml"
        answer.body = error_document(error, resource=f"{call.host}{call.wire.raw_path}", request_id=call.request_id,
                                     trace_id=call.trace_id)
    return answer


def html_answer() -> Answer:
    return Answer(502, {"Content-Type": "text/html"}, _HTML, error_code="html-502")


def _body_size(answer: Answer) -> int:
    return sum(s.length for s in answer.stored[1]) if answer.stored else len(answer.body)


def _spoil_headers(call: Call, answer: Answer) -> None:
    """Apply the faults that falsify what the answer says of its content."""
    headers = answer.headers
    if call.fault("wrong-crc"):
        if "x-cos-hash-crc64ecma" in headers:
            headers["x-cos-hash-crc64ecma"] = str(int(headers["x-cos-hash-crc64ecma"]) ^ 1)
        answer.body = re.sub(rb"<CRC64>\d+", lambda m: b"<CRC64>%d" % (int(m.group()[7:]) ^ 1), answer.body)
    if call.fault("wrong-etag") and "ETag" in headers:
        headers["ETag"] = '"' + "0" * 32 + '"'
    if call.fault("wrong-range") and "Content-Range" in headers and answer.stored:
        blobs, segments = answer.stored
        start, stop, total = map(int, re.findall(r"\d+", headers["Content-Range"]))
        headers["Content-Range"] = f"bytes {start + 1}-{stop}/{total}"
        answer.stored = blobs, slice_segments(segments, 1, stop + 1 - start)


def _final_headers(call: Call, answer: Answer) -> Headers:
    # values that came in by the query may hold line ends
    headers = {dialect_header(name, call.dialect): _CONTROL.sub(lambda match: f"%{ord(match.group()):02X}", value)
               for name, value in answer.headers.items()}
    headers["Date"] = http_date(call.now_s)
    if answer.error_code != "html-502":
        headers["Server"] = "tencent-cos"
        headers[dialect_header("x-cos-request-id", call.dialect)] = call.request_id
    return headers


_BODY_FAULTS = ("reset", "truncate", "corrupt")


def _touches_body(call: Call) -> bool:
    return any(f.kind in _BODY_FAULTS or (f.kind == "stall" and f.at is not None) for f in call.faults)


def hang_up(call: Call, *, reset: bool = False) -> web.StreamResponse:
    """End the connection, by a TCP reset or after what was written is out; the result is never sent."""
    transport = call.request.transport
    if transport is not None and reset:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()


class _NotModified(web.StreamResponse):
    """A 304 with ``Content-Length: 0``: the official SDK fails without, and aiohttp takes it out."""

    def __init__(self, headers: Headers) -> None:
        super().__init__(status=304, headers=headers)
        self._stays_open = False

    @property
    def keep_alive(self) -> bool:
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._stays_open = request.keep_alive
        await request.writer.write_headers("HTTP/1.1 304 Not Modified", self.headers)
        await request.writer.write_eof()
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """There is no body."""


class Sender:
    """Sends answers over aiohttp."""

    def __init__(self, log: AccessLog) -> None:
        self._log = log

    def log(self, call: Call, error: str) -> None:
        """Write the line of a request that gets no answer; its status is 0."""
        self._log.write(call, Answer(0), 0, error)

    async def send(self, call: Call, answer: Answer) -> web.StreamResponse:
        _spoil_headers(call, answer)
        if answer.stored is None:
            return await self._send(call, answer)
        blobs, segments = answer.stored
        with blobs.pinned(segments):
            return await self._send(call, answer)

    async def _send(self, call: Call, answer: Answer) -> web.StreamResponse:
        size = _body_size(answer)
        stall = call.fault("stall")
        delay_s = call.settings.latency_s + (stall.seconds if stall and stall.at is None else 0)
        if delay_s:
            await asyncio.sleep(delay_s)
        for kind in ("lost-answer", "reset", "truncate"):
            if call.fault(kind) and (kind == "lost-answer" or not size):
                self._log.write(call, answer, 0, kind)
                return hang_up(call, reset=kind == "reset")
        headers = _final_headers(call, answer)
        if not size:
            return await self._send_headers(call, answer, headers)
        slow = call.settings.rate_bytes_s is not None or _touches_body(call)
        if answer.chunked or slow or size > _IN_ONE_PIECE_BYTES:
            return await self._stream(call, answer, headers, by_pieces=slow or not answer.stored)
        body = b"".join(answer.stored[0].read(answer.stored[1])) if answer.stored else answer.body
        self._log.write(call, answer, size)
        return web.Response(status=answer.status, headers=headers, body=body)

    async def _send_headers(self, call: Call, answer: Answer, headers: Headers) -> web.StreamResponse:
        if answer.status != 204:
            headers["Content-Length"] = str(answer.head_length_bytes)
        self._log.write(call, answer, 0)
        if answer.status == 304:
            return _NotModified(headers)
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(call.request)
        await response.write_eof()
        return response

    async def _stream(self, call: Call, answer: Answer, headers: Headers, *, by_pieces: bool) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        if answer.chunked and call.request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        else:
            response.content_length = _body_size(answer)
        stream = _Stream(call, answer, response, self._log)
        try:
            await response.prepare(call.request)
            await (stream.send_pieces() if by_pieces else stream.send_files())
            await response.write_eof()
        except ConnectionError:
            stream.log("disconnected")
        except Disconnected as exc:
            stream.log(str(exc))
        return response


class _Stream:
    """One long body under way."""

    def __init__(self, call: Call, answer: Answer, response: web.StreamResponse, log: AccessLog) -> None:
        self._call = call
        self._answer = answer
        self._response = response
        self._log = log
        self._logged = False
        self._size = _body_size(answer)
        self._sent = 0

    def log(self, error: str = "") -> None:
        if not self._logged:
            self._log.write(self._call, self._answer, self._sent, error)
            self._logged = True

    async def _finish(self, data: bytes) -> None:
        self._sent += len(data)
        self.log()
        await self._response.write(data)

    async def send_files(self) -> None:
        """Send all but the tail by sendfile."""
        assert self._answer.stored is not None
        blobs, segments = self._answer.stored
        loop = asyncio.get_running_loop()
        for segment in slice_segments(segments, 0, self._size - _TAIL_BYTES):
            transport = self._call.request.transport
            if transport is None:
                raise ConnectionResetError
            with open(blobs.path(segment.blob), "rb", buffering=0) as file:
                self._sent += await loop.sendfile(transport, file, segment.offset, segment.length)
        await self._finish(b"".join(blobs.read(slice_segments(segments, self._size - _TAIL_BYTES, self._size))))

    async def send_pieces(self) -> None:
        """Send the body piece by piece, at the rate allowed, with the faults that strike inside it."""
        pace = Pace(self._call.settings.rate_bytes_s)
        strikes = {min(fault.at or 0, self._size - 1): fault for fault in self._call.faults
                   if fault.kind in ("reset", "truncate") or (fault.kind == "stall" and fault.at is not None)}
        for piece in self._pieces(sorted(strikes)):
            if self._sent in strikes:
                await self._strike(strikes[self._sent])
            await pace.spend(len(piece))
            if self._sent + len(piece) == self._size:
                await self._finish(piece)
                return
            await self._response.write(piece)
            self._sent += len(piece)

    def _pieces(self, cuts: Sequence[int]) -> Iterator[bytes]:
        """The body in small pieces, with a boundary at each of ``cuts`` and the corruption asked for."""
        corrupt = self._call.fault("corrupt")
        flip = -1 if corrupt is None else min(corrupt.at or 0, self._size - 1)
        start = 0
        while start < self._size:
            stop = min([start + _PACED_BYTES, self._size, *(cut for cut in cuts if cut > start)])
            piece = self._read(start, stop)
            if start <= flip < stop:
                at = flip - start
                piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1:]
            yield piece
            start = stop

    def _read(self, start: int, stop: int) -> bytes:
        if not self._answer.stored:
            return self._answer.body[start:stop]
        blobs, segments = self._answer.stored
        return b"".join(blobs.read(slice_segments(segments, start, stop)))

    async def _strike(self, fault: Fault) -> None:
        if fault.kind == "stall":
            await asyncio.sleep(fault.seconds)
            return
        await asyncio.sleep(_RESET_GRACE_S)
        hang_up(self._call, reset=fault.kind == "reset")
        raise Disconnected(fault.kind)
