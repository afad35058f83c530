"""Receiving request bodies: into a blob, however large, or into memory when they are documents.

Memory: at most two batches of an upload are held, whatever its size.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import AsyncIterator, List, Optional

from aiohttp import web

from cosfs.server.blobs import BlobWriter, Content
from cosfs.server.call import Call, Pace
from cosfs.server.errors import ApiError, Disconnected
from cosfs.server.payload import PayloadCheck, content_md5
from cosfs.units import MAX_PUT_BYTES, MIB

_BATCH_BYTES = MIB
"""Large enough that handing a batch to another thread (some 50 µs) does not count."""

_MAX_DOCUMENT_BYTES = 8 * MIB
"""10,000 parts, or 1,000 keys of 850 bytes percent-encoded, and room to spare."""


def require_length(call: Call, *, allow_chunked: bool) -> None:
    """Raises: ApiError MissingContentLength."""
    chunked = allow_chunked and "chunked" in call.header("transfer-encoding").lower()
    if not chunked and not call.header("content-length").isdecimal():
        raise ApiError("MissingContentLength")


def payload_length(call: Call) -> Optional[int]:
    """The bytes of payload that the request announces; None for a chunked body."""
    text = call.header("x-cos-decoded-content-length") or call.header("content-length")
    return int(text) if text.isdecimal() else None


async def _received(call: Call) -> AsyncIterator[bytes]:
    """The body's bytes as they come over the wire."""
    if call.awaits_continue:
        call.awaits_continue = False
        await call.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.request.writer.output_size = 0
    pace = Pace(call.settings.rate_bytes_s)
    reset = call.fault("reset")
    try:
        while not call.request.content.at_eof():
            data = await call.request.content.readany()
            call.bytes_in += len(data)
            if reset is not None and call.bytes_in >= (reset.at or 0):
                raise Disconnected
            await pace.spend(len(data))
            yield data
    except ConnectionError:
        raise Disconnected from None
    except web.RequestPayloadError:
        raise ApiError("IncompleteBody") from None


async def _payload(call: Call, check: PayloadCheck) -> AsyncIterator[bytes]:
    async for data in _received(call):
        if check.decoder is None:
            yield data
        else:
            for piece in check.decoder.feed(data):
                yield piece


async def _write_payload(call: Call, check: PayloadCheck, writer: BlobWriter) -> None:
    loop = asyncio.get_running_loop()
    pending: Optional[asyncio.Future[None]] = None
    batch: List[bytes] = []
    batch_bytes = 0
    try:
        async for data in _payload(call, check):
            batch.append(data)
            batch_bytes += len(data)
            if writer.size_bytes + batch_bytes > MAX_PUT_BYTES:
                raise ApiError("EntityTooLarge")
            if batch_bytes >= _BATCH_BYTES:
                if pending is not None:
                    await pending
                pending = loop.run_in_executor(None, writer.write, batch)
                batch, batch_bytes = [], 0
    finally:
        if pending is not None:
            await pending
    writer.write(batch)


@asynccontextmanager
async def received_blob(call: Call) -> AsyncIterator[Content]:
    """The body as a stored blob, for the block to commit; if the block fails the blob goes."""
    length = payload_length(call)
    if length is not None and length > MAX_PUT_BYTES:
        raise ApiError("EntityTooLarge")
    content_md5(call.headers)
    check = PayloadCheck(call.headers, call.grant)
    writer = call.bucket.blobs.create(check.hashers)
    try:
        await _write_payload(call, check, writer)
        check.verify(writer.md5)
        if length is not None and writer.size_bytes != length:
            raise ApiError("IncompleteBody")
    except BaseException:
        writer.discard()
        raise
    content = writer.finish()
    try:
        yield content
    except BaseException:
        call.bucket.discard(content)
        raise


async def received_document(call: Call) -> bytes:
    """The body in memory. Raises: ApiError MalformedXML when it is larger than any document may be."""
    check = PayloadCheck(call.headers, call.grant)
    md5 = hashlib.md5()
    pieces: List[bytes] = []
    size = 0
    async for data in _payload(call, check):
        size += len(data)
        if size > _MAX_DOCUMENT_BYTES:
            raise ApiError("MalformedXML", "The document is too large.")
        for hasher in (md5, *check.hashers):
            hasher.update(data)
        pieces.append(data)
    check.verify(md5.digest())
    return b"".join(pieces)
