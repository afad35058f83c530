"""aws-chunked bodies, taken apart however the network cuts them."""

from __future__ import annotations

import hashlib
from typing import List

import pytest

from cosfs.server.auth import Grant
from cosfs.server.errors import ApiError
from cosfs.server.payload import ChunkDecoder

UNSIGNED = Grant("id", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
SIGNED = Grant("id", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "seed",
               lambda what, previous, text: hashlib.sha256(f"{what}/{previous}/{text}".encode()).hexdigest())
EMPTY = hashlib.sha256().hexdigest()


def signed_body(chunks: List[bytes], trailer: str) -> bytes:
    assert SIGNED.sign_chunk is not None
    previous, body = SIGNED.seed, b""
    for chunk in [*chunks, b""]:
        previous = SIGNED.sign_chunk("PAYLOAD", previous, f"{EMPTY}\n{hashlib.sha256(chunk).hexdigest()}")
        body += b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode()) + chunk + (b"\r\n" if chunk else b"")
    final = SIGNED.sign_chunk("TRAILER", previous, hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
    return body + f"{trailer}\r\nx-amz-trailer-signature:{final}\r\n\r\n".encode()


def decode(grant: Grant, body: bytes, step: int) -> tuple[bytes, dict[str, str]]:
    decoder = ChunkDecoder(grant)
    data = b"".join(piece for at in range(0, len(body), step) for piece in decoder.feed(body[at:at + step]))
    decoder.finish()
    return data, decoder.trailers


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_chunks_come_apart_at_any_cut(step: int) -> None:
    unsigned = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
    assert decode(UNSIGNED, unsigned, step) == (b"hello world", {"x-amz-checksum-crc32": "DUoRhQ=="})
    signed = signed_body([b"hello", b"\r\n0\r\n"], "x-amz-checksum-crc32:abc")
    assert decode(SIGNED, signed, step) == (b"hello\r\n0\r\n", {"x-amz-checksum-crc32": "abc"})


def test_every_changed_byte_of_a_signed_stream_is_noticed() -> None:
    body = signed_body([b"hello", b"world"], "x-amz-checksum-crc32:abc")
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        with pytest.raises(ApiError):
            decode(SIGNED, changed, 1000)


@pytest.mark.parametrize("body", [b"5\r\nhel", b"5\r\nhello\r\n", b"zz\r\n", b"5\r\nhelloXX0\r\n\r\n", b"a" * 5000])
def test_broken_framing_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="IncompleteBody"):
        decode(UNSIGNED, body, 100)
