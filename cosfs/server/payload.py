"""What AWS Signature V4 clients do to a body: hash it, checksum it, wrap it in ``aws-chunked`` pieces.

Source: AWS "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks"
and "Checking object integrity".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from typing import Callable, Dict, List, Mapping, Optional, Tuple

import anycrc

from cosfs.server.auth import Grant
from cosfs.server.blobs import Hasher
from cosfs.server.errors import ApiError

_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_STREAMING = "STREAMING-"
_MAX_LINE_BYTES = 4096


class _Crc:
    def __init__(self, calculate: Callable[[bytes, int], int], length_bytes: int) -> None:
        self._calculate = calculate
        self._length_bytes = length_bytes
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._calculate(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length_bytes, "big")


_CHECKSUMS: Dict[str, Callable[[], Hasher]] = {
    "x-amz-checksum-crc32": lambda: _Crc(zlib.crc32, 4),
    "x-amz-checksum-crc32c": lambda: _Crc(anycrc.Model("CRC32C").calc, 4),
    "x-amz-checksum-crc64nvme": lambda: _Crc(anycrc.Model("CRC64-NVME").calc, 8),
    "x-amz-checksum-sha1": hashlib.sha1,
    "x-amz-checksum-sha256": hashlib.sha256,
}


class ChunkDecoder:
    """Takes an ``aws-chunked`` body apart; ``trailers`` holds what came after the last chunk.

    States: line -> data -> line …, and after the chunk of length 0: trailer -> done.
    Raises: ApiError IncompleteBody (the framing is broken), SignatureDoesNotMatch.
    """

    def __init__(self, grant: Grant) -> None:
        self._signed = grant.payload_hash.startswith(_STREAMING + "AWS4")
        self._grant = grant
        self._previous = grant.seed
        self._buffer = b""
        self._left = 0
        self._state = "line"
        self._signature = ""
        self._chunk_hash = hashlib.sha256()
        self._trailer_text = ""
        self._owes_trailer_signature = self._signed and grant.payload_hash.endswith("-TRAILER")
        self.trailers: Dict[str, str] = {}

    def feed(self, data: bytes) -> List[bytes]:
        """The payload bytes that are in ``data``."""
        self._buffer += data
        found: List[bytes] = []
        while self._step(found):
            pass
        return found

    def finish(self) -> None:
        if self._state != "done":
            raise ApiError("IncompleteBody")

    def _step(self, found: List[bytes]) -> bool:
        if self._state == "data":
            return self._take_data(found)
        line = self._take_line() if self._state != "done" else None
        if line is None:
            return False
        if self._state == "line":
            self._begin_chunk(line)
        else:
            self._take_trailer(line)
        return True

    def _take_line(self) -> Optional[str]:
        line, ending, rest = self._buffer.partition(b"\r\n")
        if not ending:
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise ApiError("IncompleteBody", "The aws-chunked framing is broken.")
            return None
        self._buffer = rest
        return line.decode("latin-1")

    def _begin_chunk(self, line: str) -> None:
        match = re.fullmatch(r"([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?", line)
        if match is None:
            raise ApiError("IncompleteBody", "The aws-chunked framing is broken.")
        self._left = int(match.group(1), 16)
        self._signature = match.group(2) or ""
        self._chunk_hash = hashlib.sha256()
        self._state = "data"
        if not self._left:
            self._check_chunk()
            self._state = "trailer"

    def _take_data(self, found: List[bytes]) -> bool:
        data, self._buffer = self._buffer[:self._left], self._buffer[self._left:]
        if data:
            self._left -= len(data)
            if self._signed:
                self._chunk_hash.update(data)
            found.append(data)
        if self._left or len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise ApiError("IncompleteBody", "The aws-chunked framing is broken.")
        self._buffer = self._buffer[2:]
        self._check_chunk()
        self._state = "line"
        return True

    def _check_chunk(self) -> None:
        self._check("PAYLOAD", f"{_EMPTY_SHA256}\n{self._chunk_hash.hexdigest()}", self._signature)

    def _take_trailer(self, line: str) -> None:
        if line:
            name, _, value = line.partition(":")
            if name == "x-amz-trailer-signature":
                text = hashlib.sha256(self._trailer_text.encode("latin-1")).hexdigest()
                self._check("TRAILER", text, value.strip())
                self._owes_trailer_signature = False
            else:
                self.trailers[name.lower()] = value.strip()
                self._trailer_text += f"{name.lower()}:{value.strip()}\n"
            return
        if self._owes_trailer_signature:
            raise ApiError("SignatureDoesNotMatch")
        self._state = "done"

    def _check(self, what: str, text: str, given: str) -> None:
        if not self._signed or self._grant.sign_chunk is None:
            return
        expected = self._grant.sign_chunk(what, self._previous, text)
        if not hmac.compare_digest(expected.encode(), given.encode("latin-1")):
            raise ApiError("SignatureDoesNotMatch")
        self._previous = expected


class PayloadCheck:
    """The checks of one body: ``hashers`` are to be fed its bytes, ``verify`` then compares."""

    def __init__(self, headers: Mapping[str, str], grant: Grant) -> None:
        self._headers = headers
        hashed = re.fullmatch(r"[0-9a-f]{64}", grant.payload_hash)
        self._sha256: Optional[Tuple[str, Hasher]] = (grant.payload_hash, hashlib.sha256()) if hashed else None
        names = [name for name in _CHECKSUMS if name in headers or name == headers.get("x-cos-trailer", "").lower()]
        self._checksums = {name: _CHECKSUMS[name]() for name in names}
        streaming = headers.get("x-amz-content-sha256", "").startswith(_STREAMING)
        self.decoder = ChunkDecoder(grant) if streaming else None

    @property
    def hashers(self) -> List[Hasher]:
        return [*self._checksums.values(), *([self._sha256[1]] if self._sha256 else [])]

    def verify(self, md5: bytes) -> None:
        """Raises: ApiError BadDigest, InvalidDigest, XAmzContentSHA256Mismatch, IncompleteBody."""
        if self.decoder is not None:
            self.decoder.finish()
        if self._sha256 is not None and self._sha256[1].digest().hex() != self._sha256[0]:
            raise ApiError("XAmzContentSHA256Mismatch")
        expected_md5 = content_md5(self._headers)
        if expected_md5 is not None and expected_md5 != md5:
            raise ApiError("BadDigest")
        trailers = self.decoder.trailers if self.decoder is not None else {}
        for name, hasher in self._checksums.items():
            given = self._headers.get(name) or trailers.get(name, "")
            if given != base64.b64encode(hasher.digest()).decode():
                raise ApiError("BadDigest")


def content_md5(headers: Mapping[str, str]) -> Optional[bytes]:
    """The Content-MD5 that was sent. Raises: ApiError InvalidDigest."""
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise ApiError("InvalidDigest")
    return value
