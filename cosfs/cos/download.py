"""One ranged GET into a buffer: checks, progress, and going on where it broke."""

from __future__ import annotations

import re
from typing import Optional

from cosfs.cos.crc64 import crc64
from cosfs.cos.headers import Headers, object_info, strip_quotes
from cosfs.cos.interface import ObjectInfo, ProgressCallback
from cosfs.cos.requester import Request
from cosfs.cos.retry import Retrying
from cosfs.cos.signing import Pairs
from cosfs.cos.transport import Answer
from cosfs.errors import IntegrityError, InvalidParameter, NetworkError, service_error

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Download:
    """The state of one ``get_object`` over all its sendings.

    Invariant: ``buffer[:received]`` holds bytes of the version ``etag``, which is fixed by the first answer.
    """

    def __init__(self, key: str, buffer: memoryview, start: int, if_match: Optional[str],
                 on_progress: Optional[ProgressCallback], retrying: Retrying, *, conditional: bool = True,
                 params: Pairs = ()) -> None:
        if not len(buffer) or start < 0:
            raise InvalidParameter("a range has at least one byte and starts at 0 or later")
        self._key = key
        self._buffer = buffer.cast("B") if buffer.format != "B" else buffer
        self._start = start
        self._stop = start + len(self._buffer)
        self._etag = if_match
        self._conditional = conditional
        self._params = params
        self._on_progress = on_progress
        self._retrying = retrying
        self._received = 0

    def request(self) -> Request:
        """The request for what is still missing."""
        headers = [("Range", f"bytes={self._start + self._received}-{self._stop - 1}")]
        if self._etag is not None and self._conditional:
            headers.append(("If-Match", f'"{self._etag}"'))
        return Request("Get Object", "GET", self._key, params=self._params, headers=headers)

    def receive(self, answer: Answer) -> ObjectInfo:
        """Check an answer and take its body. Raises: IntegrityError, PreconditionFailed, NetworkError."""
        if not self._conditional:
            self._pin_version(answer.headers)  # another version may be shorter than the range
        size_bytes = self._checked_size(answer)
        self._pin_version(answer.headers)
        info = object_info(self._key, answer.headers, size_bytes=size_bytes, is_get=True)
        while self._received < len(self._buffer):
            count = answer.readinto(self._buffer[self._received:])
            if not count:
                raise NetworkError(f"the answer broke off {len(self._buffer) - self._received} bytes early")
            self._received += count
            self._retrying.progressed()
            if self._received == len(self._buffer):
                self._check_whole(info)
            if self._on_progress is not None:
                self._on_progress(self._received)
        return info

    def _check_whole(self, info: ObjectInfo) -> None:
        """Compare the checksum, which is that of the whole object; its last bytes are not handed out before."""
        if info.crc64 is None or len(self._buffer) != info.size_bytes or crc64(self._buffer) == info.crc64:
            return
        self._received = 0
        raise IntegrityError(f"{self._key!r} came with bytes that its CRC-64 does not fit")

    def _checked_size(self, answer: Answer) -> int:
        """The size of the whole object, from an answer that is exactly the range asked for."""
        first, expected = self._start + self._received, self._stop - self._start - self._received
        whole = answer.status == 200 and first == 0 and answer.length == expected
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if whole:
            return expected
        # rclone serve s3 sends a right range with status 200
        if match is None or answer.length not in (None, expected):
            raise IntegrityError(f"asked for bytes {first} to {self._stop} of {self._key!r}, got HTTP "
                                 f"{answer.status} with {answer.length} bytes")
        got_first, got_last, size_bytes = (int(text) for text in match.groups())
        if (got_first, got_last + 1) != (first, self._stop):
            raise IntegrityError(f"asked for bytes {first} to {self._stop} of {self._key!r}, got "
                                 f"{got_first} to {got_last + 1} of {size_bytes}")
        return size_bytes

    def _pin_version(self, headers: Headers) -> None:
        """Hold every answer to the first one's ETag: some servers ignore If-Match."""
        etag = strip_quotes(headers.get("ETag", ""))
        if not etag and not self._conditional:
            raise IntegrityError(f"{self._key!r} came without an ETag from a server that takes no If-Match")
        if self._etag is None:
            self._etag = etag or None
        elif etag and etag != self._etag:
            raise service_error("GET", {"code": "PreconditionFailed", "message": "the object is another version",
                                        "resource": self._key,
                                        "requestid": headers.get("x-cos-request-id", "")}, 412)
