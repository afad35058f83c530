"""One HTTP exchange: connections, time-outs, and the mapping of every failure to a class of errors.py.

The only importer of ``requests``; used by requester.py, which signs and repeats. ``requests.Session`` is
not used: it would read the environment, follow redirects, keep cookies and normalise paths, and costs
430 to 560 µs of CPU for a small request where this way takes 200, 250 with signing (measured, Python 3.11).

No failure carries the request it belongs to, and messages are made of host names and the innermost cause
only: neither headers nor queries get into exceptions, their causes or logs.

Threading: any thread may send. Connections belong to the process that opened them: after a fork the child
starts with none. Memory: an answer's body is held only by whoever reads it.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Iterable, Mapping, Optional, Tuple, Type, Union

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_match_hostname import CertificateError  # before Python 3.10 urllib3 compares names itself

from cosfs.cos.headers import HeaderList, Headers
from cosfs.errors import CosClientError, InvalidAnswer, InvalidParameter, NetworkError, RequestTimeout, TlsError

Payload = Union[bytes, bytearray, memoryview, Iterable[bytes], None]

_RECEIVE_BYTES = 256 * 1024  # small enough for an early first byte, large enough to cost no CPU
_DRAIN_BYTES = 64 * 1024  # reading this much is cheaper than a new connection
_MAX_TEXT_BYTES = 64 * 1024 * 1024  # a page of 1,000 keys of 850 bytes has 6 MB when percent-encoded

_CERTIFICATE_FAILURES = (ssl.SSLCertVerificationError, CertificateError)
_Failures = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)


class TransportFailure(Exception):
    """No answer. ``sent``: whether the service may have got the request, in whole or in part."""

    def __init__(self, error: CosClientError, *, sent: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.sent = sent


@dataclass(frozen=True)
class TransportSettings:
    """What all exchanges have in common; the fields are those of ClientConfig."""

    connect_timeout_s: float
    read_timeout_s: float
    pool_size: int
    verify: Union[bool, str]
    verify_hostname: bool
    proxies: Mapping[str, str]


class _Adapter(HTTPAdapter):
    """The adapter of requests without what one request to a known origin does not need."""

    def __init__(self, settings: TransportSettings) -> None:
        self._pool_arguments = {} if settings.verify_hostname else {"assert_hostname": False}
        self._pools: dict[str, Any] = {}
        super().__init__(settings.pool_size, settings.pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **self._pool_arguments, **pool_kwargs)

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, verify: Any,
                                        proxies: Any = None, cert: Any = None) -> Any:
        origin = request.origin  # type: ignore[attr-defined]
        pool = self._pools.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            self._pools[origin] = pool
        return pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        """The request target as we encoded it; requests would strip slashes."""
        if proxies.get("http") and request.origin.startswith("http://"):  # type: ignore[attr-defined]
            return str(request.url)
        return request.target  # type: ignore[attr-defined,no-any-return]

    def build_response(self, req: requests.PreparedRequest,  # noqa: ARG002 - of the base class
                       resp: Any) -> requests.Response:
        response = requests.Response()
        response.raw = resp
        return response


class Answer:
    """Status, headers and the body still to be read. Close it: that gives the connection back.

    Bodies are the bytes on the wire, less chunked coding: no Content-Encoding is undone.
    """

    def __init__(self, raw: Any, method: str, headers: Headers) -> None:
        self._raw = raw
        self.status: int = raw.status
        self.headers = headers
        self.length = 0 if method == "HEAD" or raw.status in (204, 304) else headers.integer("Content-Length")
        self._received = 0
        self._closed = False

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes; 0 at the end. Raises: NetworkError, RequestTimeout, InvalidAnswer."""
        error: CosClientError
        try:
            count: int = self._raw.readinto(view[:_RECEIVE_BYTES])
        except _Failures as exc:
            error = _error_of(exc, "the answer broke off")
        else:
            self._received += count
            if count or not view:
                return count
            if self.length is None or self._received >= self.length:
                return 0
            error = NetworkError(f"the answer broke off after {self._received} of {self.length} bytes")
        raise error

    def read(self, limit: int = _MAX_TEXT_BYTES) -> bytes:
        """The rest of the body. Raises: InvalidAnswer when it is longer than ``limit``."""
        parts = bytearray()
        buffer = memoryview(bytearray(min(limit, self.length if self.length is not None else 65536) or 1))
        while True:
            count = self.readinto(buffer)
            if not count:
                return bytes(parts)
            parts += buffer[:count]
            if len(parts) > limit:
                raise InvalidAnswer(f"the answer is longer than {limit} bytes")

    def close(self) -> None:
        """Give the connection back, or close it when too much is left to read."""
        if self._closed:
            return
        self._closed = True
        left = None if self.length is None else self.length - self._received
        if left is not None and left <= _DRAIN_BYTES:
            self._raw.drain_conn()
        else:
            self._raw.close()
        self._raw.release_conn()


class Transport:
    """Sends requests as they are given, one exchange each."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._adapter: Optional[_Adapter] = None
        self._process = 0

    def send(self, method: str, connect_url: str, target: str, headers: HeaderList, payload: Payload = None, *,
             read_timeout_s: Optional[float] = None) -> Tuple[Any, HeaderList]:
        """Send, and receive the head of the answer: its raw form and its headers.

        ``target``: path and query, encoded. ``headers`` must hold Host and, with a body of known length,
        Content-Length. Raises: TransportFailure, InvalidParameter.
        """
        request = requests.PreparedRequest()
        request.method = method
        request.url = connect_url + target
        request.headers = _wire_headers(headers)  # type: ignore[assignment]  # any mapping does
        request.body = payload  # type: ignore[assignment]
        request.origin = connect_url  # type: ignore[attr-defined]
        request.target = target  # type: ignore[attr-defined]
        settings = self._settings
        timeout = (settings.connect_timeout_s, read_timeout_s or settings.read_timeout_s)
        try:
            raw = self._own_adapter().send(request, stream=True, timeout=timeout, verify=settings.verify,
                                           proxies=settings.proxies).raw
        except _Failures as exc:
            failure = TransportFailure(_error_of(exc, connect_url), sent=not _is_before_sending(exc))
        else:
            return raw, list(raw.headers.items())
        raise failure

    def close(self) -> None:
        with self._lock:
            adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()

    def _own_adapter(self) -> _Adapter:
        adapter = self._adapter
        if adapter is None or self._process != os.getpid():
            with self._lock:
                if self._adapter is None or self._process != os.getpid():
                    self._adapter, self._process = _Adapter(self._settings), os.getpid()
                adapter = self._adapter
        return adapter


def _wire_headers(headers: HeaderList) -> dict[str, Union[str, bytes]]:
    """As the connection takes them: UTF-8 where needed. Raises: InvalidParameter for what splits a header."""
    # Without these two, the libraries below would add their own.
    wire: dict[str, Union[str, bytes]] = {"Accept-Encoding": "identity", "User-Agent": "cosfs"}
    for name, value in headers:
        if any(character in value for character in "\r\n\0") or not name.isascii() or not name.strip():
            raise InvalidParameter(f"header {name!r} cannot be sent: a line break, or a name that is not ASCII")
        wire[name] = value if value.isascii() else value.encode("utf-8", "surrogateescape")
    return wire


def _causes(exc: BaseException) -> Iterable[BaseException]:
    """The exception and those inside it, outermost first; urllib3 and requests nest them in several ways."""
    seen = set()
    todo = [exc]
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (getattr(current, "reason", None), *current.args, current.__cause__, current.__context__)
        todo += [item for item in inner if isinstance(item, BaseException)]


def _is_before_sending(exc: BaseException) -> bool:
    before = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError,
              urllib3.exceptions.ProxyError, *_CERTIFICATE_FAILURES)
    return any(isinstance(cause, before) for cause in _causes(exc))


# The first class that the exception or a cause of it belongs to decides; requests' own classes are last.
_MAPPING: Tuple[Tuple[Tuple[Type[BaseException], ...], Type[CosClientError], str], ...] = (
    ((socket.gaierror,), NetworkError, "the host name is not known"),
    # before the time-outs: urllib3's NewConnectionError, which it comes in, is one of them
    ((ConnectionRefusedError,), NetworkError, "connection refused"),
    (_CERTIFICATE_FAILURES, TlsError, "the certificate is refused"),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), NetworkError, "the connection was lost"),
    ((socket.timeout, TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError),
     RequestTimeout, "no answer within the time-out"),
    ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), NetworkError, "the proxy does not answer"),
    ((ssl.SSLError, requests.exceptions.SSLError, urllib3.exceptions.SSLError), TlsError, "TLS does not work"),
    ((ConnectionError, http.client.RemoteDisconnected, http.client.IncompleteRead,
      urllib3.exceptions.IncompleteRead), NetworkError, "the connection was lost"),
    ((http.client.HTTPException, urllib3.exceptions.ResponseError, urllib3.exceptions.HeaderParsingError,
      urllib3.exceptions.DecodeError, requests.exceptions.ContentDecodingError,
      requests.exceptions.InvalidJSONError, requests.TooManyRedirects),
     InvalidAnswer, "the answer is no HTTP"),
    ((requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema,
      requests.exceptions.InvalidHeader, requests.URLRequired, requests.exceptions.UnrewindableBodyError,
      requests.exceptions.StreamConsumedError, urllib3.exceptions.LocationValueError, UnicodeError),
     InvalidParameter, "the request cannot be sent"),
    ((requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.exceptions.RetryError,
      requests.HTTPError, urllib3.exceptions.HTTPError, OSError), NetworkError, "the network does not work"),
    ((ValueError,), InvalidParameter, "the request cannot be sent"),
)


def _error_of(exc: BaseException, where: str) -> CosClientError:
    """The error for a failure of the libraries below."""
    causes = list(_causes(exc))
    for kinds, error_class, text in _MAPPING:
        if any(isinstance(cause, kinds) for cause in causes):
            detail = next((cause.strerror for cause in reversed(causes)
                           if type(cause) in _OS_ERRORS and isinstance(cause, OSError) and cause.strerror), "")
            return error_class(f"{where}: {text}" + (f" ({detail})" if detail else ""))
    return NetworkError(f"{where}: {type(exc).__name__}")


_OS_ERRORS = (OSError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError, socket.gaierror,
              ssl.SSLError, ssl.SSLCertVerificationError)
