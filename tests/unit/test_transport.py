"""Every failure of the libraries below becomes a class of ours, and says nothing that it must not."""

from __future__ import annotations

import http.client
import inspect
import socket
import ssl

import pytest
import requests
import urllib3

from cosfs.cos import transport, wire
from cosfs.cos.headers import Headers, object_info
from cosfs.errors import CosClientError, InvalidAnswer, InvalidParameter, NetworkError, RequestTimeout, TlsError

EXPECTED = {
    "RequestException": NetworkError, "ConnectionError": NetworkError, "HTTPError": NetworkError,
    "ProxyError": NetworkError,
    "SSLError": TlsError, "Timeout": RequestTimeout, "ConnectTimeout": RequestTimeout, "ReadTimeout": RequestTimeout,
    "URLRequired": InvalidParameter, "TooManyRedirects": InvalidAnswer, "MissingSchema": InvalidParameter,
    "InvalidSchema": InvalidParameter, "InvalidURL": InvalidParameter, "InvalidHeader": InvalidParameter,
    "InvalidProxyURL": InvalidParameter, "ChunkedEncodingError": NetworkError, "ContentDecodingError": InvalidAnswer,
    "StreamConsumedError": InvalidParameter, "RetryError": NetworkError, "UnrewindableBodyError": InvalidParameter,
    "InvalidJSONError": InvalidAnswer, "JSONDecodeError": InvalidAnswer,
}


def classes_of(module, base):
    return {name: found for name, found in vars(module).items()
            if inspect.isclass(found) and issubclass(found, base) and not issubclass(found, Warning)
            and found.__module__ == module.__name__}


def test_every_class_of_requests_is_mapped():
    assert set(classes_of(requests.exceptions, requests.RequestException)) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_mapping_of_requests(name):
    kind = getattr(requests.exceptions, name)
    error = kind("reason", "doc", 0) if name == "JSONDecodeError" else kind("reason")
    assert isinstance(error, transport._Failures)
    assert type(transport._error_of(error, "https://host")) is EXPECTED[name]


@pytest.mark.parametrize("kind", classes_of(urllib3.exceptions, Exception).values(), ids=lambda kind: kind.__name__)
def test_every_class_of_urllib3_is_caught_and_mapped(kind):
    error = kind.__new__(kind)
    assert isinstance(error, transport._Failures)
    assert isinstance(transport._error_of(error, "https://host"), CosClientError)


@pytest.mark.parametrize("error, expected", [
    (socket.gaierror(-2, "Name or service not known"), NetworkError),
    (ConnectionRefusedError(111, "refused"), NetworkError),
    (ConnectionResetError(104, "reset"), NetworkError), (BrokenPipeError(32, "pipe"), NetworkError),
    (socket.timeout("timed out"), RequestTimeout), (TimeoutError("t"), RequestTimeout),
    (OSError(113, "No route"), NetworkError),
    (ssl.SSLError(1, "handshake"), TlsError), (ssl.SSLEOFError(8, "eof"), NetworkError),
    (ssl.SSLCertVerificationError("certificate"), TlsError), (http.client.BadStatusLine("x"), InvalidAnswer),
    (http.client.RemoteDisconnected("gone"), NetworkError), (http.client.IncompleteRead(b""), NetworkError),
    (http.client.LineTooLong("header"), InvalidAnswer),
    (UnicodeEncodeError("latin-1", "x", 0, 1, "r"), InvalidParameter)])
@pytest.mark.parametrize("wrapped", [
    lambda error: error,
    lambda error: requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", error)),
    lambda error: requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/secret?path", error)),
], ids=["bare", "protocol-error", "max-retries"])
def test_innermost_cause_decides(error, expected, wrapped):
    mapped = transport._error_of(wrapped(error), "https://host")
    assert type(mapped) is expected
    assert "secret" not in str(mapped)


@pytest.mark.parametrize("name, value", [("x-cos-meta-a", "b\nc"), ("x-cos-meta-a", "b\rc"), ("x-cos-meta-a", "b\0c"),
                                         ("x-cos-meta-ü", "v"), ("", "v")])
def test_headers_that_cannot_be_sent_are_refused_without_their_value(name, value):
    with pytest.raises(InvalidParameter) as raised:
        wire.request_head("HEAD", "/key", [(name, value)])
    assert value not in str(raised.value)


def test_text_of_headers_goes_out_as_utf8():
    head = wire.request_head("HEAD", "/key", [("x-cos-meta-a", "中\udcff")])
    assert b"\r\nx-cos-meta-a: \xe4\xb8\xad\xff\r\n" in head


def test_headers_are_found_in_any_case_and_kept_as_received():
    as_read = "中文".encode().decode("latin-1")
    headers = Headers([("ETag", '"e"'), ("x-cos-meta-Name", as_read), ("Plain-Latin", "\xe9")])
    assert headers["etag"] == headers["ETAG"] == '"e"'
    assert list(headers) == ["ETag", "x-cos-meta-Name", "Plain-Latin"]
    assert headers["X-Cos-Meta-Name"] == "中文"
    assert headers["plain-latin"] == "é"
    assert headers.integer("etag") is None


def test_everything_needed_to_write_an_object_again_is_kept():
    pairs = [("ETag", '"e"'), ("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT"), ("Content-Type", "a/b"),
             ("Cache-Control", "no-cache"), ("Content-Disposition", "attachment"), ("x-cos-meta-Mode", "33188"),
             ("x-cos-storage-class", "ARCHIVE"), ("x-cos-server-side-encryption", "cos/kms"),
             ("x-cos-server-side-encryption-cos-kms-key-id", "key-id"),
             ("x-cos-hash-crc64ecma", "18446744073709551615"),
             ("x-cos-version-id", "v1"), ("x-cos-restore", 'ongoing-request="true"')]
    info = object_info("k", Headers(pairs), size_bytes=5, is_get=False)
    assert info.headers.metadata == {"mode": "33188"}
    assert info.headers.standard == {"Content-Type": "a/b", "Cache-Control": "no-cache",
                                     "Content-Disposition": "attachment"}
    assert info.headers.storage_class == info.storage_class == "ARCHIVE"
    assert info.headers.extra == {"x-cos-server-side-encryption": "cos/kms",
                                  "x-cos-server-side-encryption-cos-kms-key-id": "key-id"}
    assert (info.crc64, info.version_id, info.restore) == (2**64 - 1, "v1", 'ongoing-request="true"')
    got = object_info("k", Headers(pairs), size_bytes=5, is_get=True)
    assert "Content-Disposition" not in got.headers.standard
    assert (info.complete, got.complete) == (True, False)
    plain = [pair for pair in pairs if pair[0] != "Content-Disposition"]
    assert object_info("k", Headers(plain), size_bytes=5, is_get=True).complete
