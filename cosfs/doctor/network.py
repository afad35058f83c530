"""The way to the service: endpoint, name, connection, TLS, the first answer, and the clock by its date.

One request is sent, HEAD of the bucket, unsigned: whatever the answer, it came from there. It goes through the
transport of the mount, so proxies, authorities and options hold as they do for a mount.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from cosfs.config import ConnectionConfig
from cosfs.cos.endpoint import DEFAULT_PORTS, Addressing, ClientConfig, is_address, with_scheme, without_login
from cosfs.cos.headers import Headers, parse_http_date
from cosfs.cos.transport import Transport, TransportFailure, TransportSettings
from cosfs.doctor.findings import Check, Outcome, ok, warning
from cosfs.errors import RequestTimeout
from cosfs.preflight import CONNECT_TIMEOUT_S, MountError, explain, skewed, unreachable, unresolved
from cosfs.units import MAX_CLOCK_SKEW_S
from cosfs.version import __version__

SECTION = "Network"
SOON_S = 14 * 86400
"""A certificate that ends sooner should have been replaced; the usual tools do that thirty days before."""
DRIFT_S = 60.0
"""A clock that is set by the network is off by less than a second; a minute tells that nothing sets it."""
_SHOWN_ADDRESSES = 3


@dataclass(frozen=True)
class Hello:
    """The first answer. ``offset_s``: by how much the service's clock is ahead; None when the answer has no date."""

    status: int
    headers: Headers
    certificate: Mapping[str, Any]
    duration_s: float
    offset_s: Optional[float]


class Network:
    """The checks, and what they have learned for those after them."""

    def __init__(self, connection: ConnectionConfig, settings: ClientConfig) -> None:
        self._connection = connection
        self._target = settings.address().locate(connection.bucket)
        self._addressing = settings.address().addressing
        self._scheme, self._proxy = settings.address().scheme, settings.proxies.get(settings.address().scheme, "")
        self._transport = Transport(TransportSettings(
            min(settings.connect_timeout_s, CONNECT_TIMEOUT_S), min(settings.read_timeout_s, CONNECT_TIMEOUT_S), 1,
            settings.verify, settings.verify_hostname, settings.proxies))
        self.hello: Optional[Hello] = None

    def checks(self) -> List[Check]:
        return [
            Check(SECTION, "endpoint", self._endpoint),
            Check(SECTION, "dns", self._dns),
            Check(SECTION, "tcp", self._tcp, ("dns",)),
            Check(SECTION, "tls", self._tls, ("tcp",)),
            Check(SECTION, "answer", self._answer, ("tls",)),
            Check(SECTION, "clock", self._clock, ("answer",)),
        ]

    def close(self) -> None:
        self._transport.close()

    def _endpoint(self) -> Outcome:
        where = "path" if self._addressing is Addressing.PATH else "host name"
        text = f"{self._connection.url}, with the bucket in the {where}"
        if self._proxy:
            text += f", by the proxy {without_login(self._proxy)}"
        host = self._target.host_name
        if self._scheme == "http" and not (is_address(host) or "-internal." in host):
            return warning(f"{text}; contents and signatures travel unencrypted", "write https:// in url=")
        return ok(text)

    def _peer(self) -> Tuple[str, int]:
        """Host and port of the first connection: the proxy's, if there is one."""
        parts = urlsplit(self._target.connect_url)
        if self._proxy:
            parts = urlsplit(with_scheme(self._proxy))
        return parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 80)

    def _dns(self) -> Outcome:
        host, port = self._peer()
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            raise MountError(unresolved(host, self._proxy)) from None
        addresses = list(dict.fromkeys(str(row[4][0]) for row in rows))
        if addresses == [host]:
            return ok(f"{host} is an address")
        more = ", ..." if len(addresses) > _SHOWN_ADDRESSES else ""
        return ok(f"{host} is {', '.join(addresses[:_SHOWN_ADDRESSES])}{more}")

    def _tcp(self) -> Outcome:
        host, port = self._peer()
        started = time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
                address = connection.getpeername()[0]
        except OSError as exc:
            raise MountError(unreachable(self._connection.url, exc, self._proxy)) from None
        return ok(f"connected to {address} port {port} in {_milliseconds(time.monotonic() - started)}")

    def _tls(self) -> Outcome:
        if self._scheme != "https":
            return ok("not used: url= begins with http://")
        hello = self._ask()
        if not hello.certificate:
            return warning("the certificate is not checked, as no_check_certificate says",
                           "leave that option out, unless you trust the network")
        end_s = ssl.cert_time_to_seconds(hello.certificate["notAfter"])
        left_s = end_s - time.time()
        text = (f"certificate of {_name(hello.certificate, 'subject')} by {_name(hello.certificate, 'issuer')}, valid "
                f"until {time.strftime('%Y-%m-%d', time.gmtime(end_s))} ({left_s / 86400:.0f} days)")
        if left_s < SOON_S:
            return warning(text, "tell who runs the service to renew it; afterwards nothing can be reached")
        if not self._connection.verify_hostname:
            return warning(f"{text}; whether it is for this host is not checked",
                           "leave ssl_verify_hostname=0 out, unless you trust the network")
        return ok(text)

    def _ask(self) -> Hello:
        """Raises: MountError."""
        target = self._target
        headers = [("Host", target.host), ("User-Agent", f"cosfs/{__version__}")]
        started_s, started = time.time(), time.monotonic()
        try:
            answer = self._transport.send("HEAD", target.connect_url, target.raw_path, headers)
        except TransportFailure as exc:
            if isinstance(exc.error, RequestTimeout):  # the connection was made a moment ago
                raise MountError(f"no answer from {self._connection.url} in time; check url= and the network") from None
            raise MountError(explain(exc.error, self._connection)) from None
        with answer:
            duration_s = time.monotonic() - started
            date_s = parse_http_date(answer.headers.get("Date", ""))
            # a date has whole seconds, so on average the clock is half a second further
            offset_s = None if date_s is None else date_s + 0.5 - (started_s + duration_s / 2)
            self.hello = Hello(answer.status, answer.headers, answer.certificate, duration_s, offset_s)
            return self.hello

    def _answer(self) -> Outcome:
        hello = self.hello or self._ask()
        text = f"HTTP {hello.status} to a request without keys, in {_milliseconds(hello.duration_s)}"
        request_id = hello.headers.get("x-cos-request-id")
        if request_id:
            return ok(f"{text}, request id {request_id}")
        if self._connection.aws_v4:
            return ok(text)
        return warning(f"{text}, without the request id that COS gives each answer",
                       "check url=; another server or a proxy may have answered")

    def _clock(self) -> Outcome:
        assert self.hello is not None
        offset_s = self.hello.offset_s
        if offset_s is None:
            return warning("the answer has no date to compare the clock with", "see that this machine's clock is right")
        if abs(offset_s) > MAX_CLOCK_SKEW_S:
            raise MountError(skewed(offset_s))
        if abs(offset_s) > DRIFT_S:
            text, _, advice = skewed(offset_s).partition("; ")
            return warning(text, advice)
        return ok(f"within {max(1, round(abs(offset_s)))} s of the service's")


def _milliseconds(duration_s: float) -> str:
    return f"{duration_s * 1000:.0f} ms"


def _name(certificate: Mapping[str, Any], role: str) -> str:
    """Common name, else organisation, of a certificate's subject or issuer (``ssl.SSLSocket.getpeercert``)."""
    names = {name: value for group in certificate.get(role, ()) for name, value in group}
    return str(names.get("commonName") or names.get("organizationName") or "nobody that it names")
