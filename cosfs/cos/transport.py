"""One HTTP exchange: connections, time-outs, and the mapping of every failure to a class of errors.py.

The only importer of ``requests``; used by requester.py, which signs and repeats. Proxies, TLS and idle
connections are left to requests' adapter and urllib3's pools; the exchange itself is that of wire.py.
``requests.Session`` is not used: it would read the environment, follow redirects, keep cookies and normalise
paths, and takes twice the CPU of the adapter alone. What passes through adapter and pool takes 2.5 times the
CPU of this way (measured, Python 3.11, 64 threads, signing and decoding included: HEAD 300 to 450 µs there,
120 to 170 here; PUT and GET of 4 KiB 400 to 450 there, 170 to 210 here).

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
from typing import Any, Callable, Iterable, Mapping, Optional, Tuple, Type, Union

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_match_hostname import CertificateError  # before Python 3.10 urllib3 compares names itself

from cosfs.cos.headers import HeaderList
from cosfs.cos.wire import Payload, Response, exchange, request_head
from cosfs.errors import CosClientError, InvalidAnswer, InvalidParameter, NetworkError, RequestTimeout, TlsError

_RECEIVE_BYTES = 256 * 1024  # small enough for an early first byte
_LATER_BYTES = 1024 * 1024  # large enough to cost no CPU
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
    """What requests and urllib3 know of proxies and TLS, and urllib3's pools of idle connections."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._pool_arguments = {} if settings.verify_hostname else {"assert_hostname": False}
        self._pools: dict[str, Any] = {}
        super().__init__(settings.pool_size, settings.pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **self._pool_arguments, **pool_kwargs)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **self._pool_arguments, **proxy_kwargs)

    def pool(self, origin: str) -> Any:
        pool = self._pools.get(origin)
        if pool is None:
            request = requests.Request("GET", origin).prepare()
            verify = self._settings.verify
            pool = self.get_connection_with_tls_context(request, verify, self._settings.proxies)
            self.cert_verify(pool, origin, verify, None)  # type: ignore[no-untyped-call]
            self._pools[origin] = pool
        return pool

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        super().close()


class Answer:
    """Status, headers and the body still to be read. Close it: that gives the connection back.

    Bodies are the bytes on the wire, less chunked coding: no Content-Encoding is undone. ``on_received`` is told of the
    bytes as they arrive.
    """

    def __init__(self, response: Response, connection: Any, pool: Any) -> None:
        self._response = response
        self._connection = connection
        self._pool = pool
        self.status = response.status
        self.headers = response.fields
        self.length = response.length
        self.on_received: Callable[[int], None] = _not_counted
        self._received = 0
        self._broken = False
        self._closed = False

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    @property
    def certificate(self) -> Mapping[str, Any]:
        """The server's, as ``ssl.SSLSocket.getpeercert`` has it, until the answer is closed.

        Empty without TLS, and when it was not checked.
        """
        describe = getattr(self._connection.sock, "getpeercert", None)
        return {} if describe is None else describe() or {}

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes; 0 at the end. Raises: NetworkError, RequestTimeout, InvalidAnswer."""
        error: CosClientError
        try:
            count = self._response.readinto(view[:_RECEIVE_BYTES if self._received < _LATER_BYTES else _LATER_BYTES])
        except _Failures as exc:
            error = _error_of(exc, "the answer broke off")
        else:
            self._received += count
            self.on_received(count)
            if count or not view or self.length is None or self._received >= self.length:
                if self._response.isclosed():
                    self.close()
                return count
            error = NetworkError(f"the answer broke off after {self._received} of {self.length} bytes")
        self._broken = True
        self.close()
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
        reusable = self._response.keeps and not self._broken and self._received_whole()
        self._response.close()
        if reusable:
            self._pool._put_conn(self._connection)
        else:
            self._connection.close()

    def _received_whole(self) -> bool:
        """Whether nothing is left on the connection; a small rest is received here."""
        if self._response.isclosed() or self.length == 0:
            return True
        if self.length is None or self.length - self._received > _DRAIN_BYTES:
            return False
        try:
            self._response.drain()
        except _Failures:
            return False
        self.on_received(self.length - self._received)
        return True


def _not_counted(count: int) -> None:
    """Nobody counts the bytes of this answer."""


class Transport:
    """Sends requests as they are given, one exchange each."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._adapter: Optional[_Adapter] = None
        self._process = 0

    def send(self, method: str, connect_url: str, target: str, headers: HeaderList, payload: Payload = None, *,
             read_timeout_s: Optional[float] = None) -> Answer:
        """Send, and receive the head of the answer.

        ``target``: path and query, encoded. ``headers`` must hold Host and, with a body, Content-Length or
        ``Transfer-Encoding: chunked``. Raises: TransportFailure, InvalidParameter.
        """
        sent = False
        try:
            pool = self._own_adapter().pool(connect_url)
            if pool.proxy is not None and connect_url.startswith("http:"):
                target, headers = connect_url + target, [*headers, *pool.proxy_headers.items()]
            head = request_head(method, target, headers)
            connection = pool._get_conn()
            try:
                if connection.sock is None:
                    self._connect(connection, pool, connect_url)
                sent = True
                chunked = ("Transfer-Encoding", "chunked") in headers
                response = exchange(connection.sock, method, head, payload, chunked=chunked,
                                    timeout_s=read_timeout_s or self._settings.read_timeout_s)
            except BaseException:
                connection.close()
                raise
        except _Failures as exc:
            failure = TransportFailure(_error_of(exc, connect_url), sent=sent)
        else:
            return Answer(response, connection, pool)
        raise failure

    def _connect(self, connection: Any, pool: Any, connect_url: str) -> None:
        connection.timeout = self._settings.connect_timeout_s
        if pool.proxy is not None and connect_url.startswith("https:"):
            pool._prepare_proxy(connection)  # CONNECT, and TLS with the service
        else:
            connection.connect()

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
