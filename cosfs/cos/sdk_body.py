"""Bodies of the public API: what may be uploaded, and ``StreamBody``, what is downloaded."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import uuid
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterable, Iterator, Optional, Union

from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import Body
from cosfs.cos.requester import StreamedBody
from cosfs.cos.transport import Answer
from cosfs.errors import IntegrityError, InvalidAnswer, InvalidParameter
from cosfs.units import MAX_PUT_BYTES, MIB

_CHUNK_BYTES = MIB


class Upload:
    """A body given by the user: str, bytes, a file from where it stands, or an iterable of str or bytes.

    Files that can seek are sent again from there when need be; others, and iterables, are sent once, in
    chunks. ``crc`` is that of what was sent last.
    """

    def __init__(self, source: Any, length: Optional[str] = None) -> None:
        """``length``: the user's ContentLength. Raises: InvalidParameter, over 5 GB too."""
        self.crc = 0
        self._start: Optional[int] = None
        self.body: Union[Body, StreamedBody]
        if isinstance(source, str):
            source = source.encode("utf-8")
        if isinstance(source, (bytes, bytearray, memoryview)):
            size: Optional[int] = memoryview(source).nbytes
            self.body, self.crc = source, crc64(source)
        elif hasattr(source, "read"):
            self._start = _position(source)
            size = _bytes_left(source, self._start) if length is None else int(length)
            self.body = StreamedBody(lambda: self._chunks(_read_chunks(source, size), size), size,
                                     None if self._start is None else lambda: source.seek(self._start))
        elif isinstance(source, Iterable):
            size = None if length is None else int(length)
            self.body = StreamedBody(lambda: self._chunks(source, size), size)
        else:
            raise InvalidParameter(f"a Body is str, bytes, a file or an iterable, not {type(source).__name__}")
        if size is not None and size > MAX_PUT_BYTES:
            raise InvalidParameter(
                "The object size you upload can not be larger than 5GB in put_object or upload_part")
        self._source = source

    def _chunks(self, chunks: Iterable[Union[str, bytes]], size: Optional[int]) -> Iterator[bytes]:
        """The chunks, one behind: more than ``size`` bytes would pass for the next request.

        Raises: InvalidParameter, before the last is sent, unless there are just that many.
        """
        self.crc = 0
        count, last = 0, b""
        for chunk in chunks:
            data = chunk.encode("utf-8") if isinstance(chunk, str) else chunk
            count += len(data)
            if size is not None and count > size:
                raise InvalidParameter(f"the Body is longer than the {size} bytes of ContentLength")
            if data:
                self.crc = crc64(data, self.crc)
                if last:
                    yield last
                last = data
        if size is not None and count < size:
            raise InvalidParameter(f"the Body ended {size - count} bytes early")
        if last:
            yield last

    def content_md5(self) -> str:
        """Raises: InvalidParameter for a body that can be read only once."""
        digest = hashlib.md5(usedforsecurity=False)
        if not isinstance(self.body, StreamedBody):
            digest.update(self.body)
        elif self.body.rewind is None:
            raise InvalidParameter("the MD5 of a Body that cannot seek is not known before it is sent")
        else:
            for chunk in self.body.chunks():
                digest.update(chunk)
            self.body.rewind()
        return base64.b64encode(digest.digest()).decode("ascii")


def _position(source: Any) -> Optional[int]:
    try:
        return int(source.tell()) if source.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None


def _bytes_left(source: Any, start: Optional[int]) -> Optional[int]:
    """None for a stream, and for a text file, whose length in bytes is not known."""
    if start is None or isinstance(source, io.TextIOBase):
        return None
    stop: int = source.seek(0, os.SEEK_END)
    source.seek(start)
    return max(0, stop - start)


def _read_chunks(source: Any, size: Optional[int]) -> Iterator[Union[str, bytes]]:
    """At most ``size`` bytes: a file that grows must not send more than was announced."""
    left = size
    while left is None or left > 0:
        chunk = source.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left))
        if not chunk:
            return
        if left is not None:
            left -= len(chunk)
        yield chunk


class _AnswerStream(io.RawIOBase):
    """The body of an answer as a raw stream; gives the connection back at its end."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._answer.readinto(memoryview(buffer).cast("B"))
        if not count:
            self._answer.close()
        return count

    def close(self) -> None:
        if not self.closed:
            self._answer.close()
        super().close()


class StreamBody:
    """The body of ``get_object``. It is read once, by one of its methods; ``len()`` is Content-Length.

    ``get_stream``, iteration and ``auto_decompress=True`` undo a gzip or deflate Content-Encoding; the rest
    gives the bytes as stored. A body that ends early is a ``CosClientError`` (where the official SDK raises
    ``IOError``), and so is a whole object whose CRC-64 is not the one that the service names.
    """

    def __init__(self, answer: Answer) -> None:
        if answer.length is None and "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
            answer.close()
            raise InvalidAnswer("the answer has neither Content-Length nor Transfer-Encoding")
        self._length = answer.length
        self._encoding = answer.headers.get("Content-Encoding", "").strip().lower()
        self._crc = answer.headers.integer("x-cos-hash-crc64ecma") if answer.status == 200 else None
        self._stream = io.BufferedReader(_AnswerStream(answer), 64 * 1024)
        self._decoded: Optional[Iterator[bytes]] = None

    def __len__(self) -> int:
        return self._length or 0

    def __iter__(self) -> Iterator[bytes]:
        return self.get_stream()

    def get_raw_stream(self) -> BinaryIO:
        """A file of the bytes as stored."""
        return self._stream

    def get_stream(self, chunk_size: int = 1024) -> Iterator[bytes]:
        """Chunks with Content-Encoding undone."""
        return _decoded_chunks(self._stream, chunk_size, self._encoding)

    def read(self, chunk_size: int = 1024, auto_decompress: bool = False) -> bytes:
        """The next chunk; empty at the end."""
        if not (auto_decompress and self._encoding):
            return self._stream.read(chunk_size)
        if self._decoded is None:
            self._decoded = self.get_stream(chunk_size)
        return next(self._decoded, b"")

    def get_stream_to_file(self, file_name: str, disable_tmp_file: bool = False, auto_decompress: bool = False) -> None:
        """Save to a file, which is replaced when everything has arrived and not before."""
        target = Path(file_name)
        path = target if disable_tmp_file else target.with_name(f"{target.name}_{uuid.uuid4().hex}")
        try:
            with path.open("wb") as file:
                self._save(file, None, auto_decompress=auto_decompress)
        except BaseException:
            if not disable_tmp_file:
                path.unlink(missing_ok=True)
            raise
        if not disable_tmp_file:
            path.replace(target)

    def pget_stream_to_file(self, fdst: BinaryIO, offset: int, expected_len: int,
                            auto_decompress: bool = False) -> None:
        """Write to an open file from an offset on."""
        fdst.seek(offset)
        self._save(fdst, expected_len, auto_decompress=auto_decompress)

    def _save(self, file: BinaryIO, expected: Optional[int], *, auto_decompress: bool) -> None:
        received = crc = 0
        decoding = auto_decompress and bool(self._encoding)
        for chunk in iter(lambda: self.read(_CHUNK_BYTES, auto_decompress), b""):
            file.write(chunk)
            received += len(chunk)
            if not decoding and self._crc is not None:
                crc = crc64(chunk, crc)
        expected = self._length if expected is None else expected
        if not decoding and expected is not None and received != expected:
            raise IntegrityError(f"download failed with incomplete file: {received} of {expected} bytes")
        if not decoding and self._crc not in (None, crc):
            raise IntegrityError("download failed: the CRC-64 of what arrived is not that of the object")


def _decoded_chunks(stream: BinaryIO, chunk_size: int, encoding: str) -> Iterator[bytes]:
    wbits: Dict[str, int] = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
    chunks = iter(lambda: stream.read(chunk_size), b"")
    if encoding not in wbits:
        yield from chunks
        return
    decoder = zlib.decompressobj(wbits[encoding])
    try:
        for chunk in chunks:
            data = decoder.decompress(chunk)
            if data:
                yield data
        tail = decoder.flush()
    except zlib.error as exc:
        raise IntegrityError(f"the body is not {encoding}: {exc}") from None
    if tail:
        yield tail
