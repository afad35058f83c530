"""Where requests go: host forms, path style, the encoding of keys; and ``ClientConfig``.

Defined here and only here: the way from (bucket, key) to a URL. Used by requester.py; the composition
root and sdk_config.py make the configurations. Sources: COS documentation "Regions and access endpoints"
(product/436/6224), and what the official SDKs send, where it is silent.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Mapping, Optional, Union
from urllib.parse import urlsplit

from cosfs.cos.additions import Additions
from cosfs.cos.retry import RetryPolicy
from cosfs.cos.signing import percent_encode
from cosfs.errors import InvalidParameter
from cosfs.units import MAX_KEY_BYTES

if TYPE_CHECKING:
    from cosfs.cos.credentials import CredentialsProvider

DEFAULT_PORTS = {"http": 80, "https": 443}


class Addressing(Enum):
    """Where the bucket's name stands: before the endpoint's host, first in the path, or nowhere."""

    VIRTUAL_HOST = "virtual-host"
    PATH = "path"
    DOMAIN = "domain"


@dataclass(frozen=True)
class Target:
    """One addressed resource.

    ``connect_url``: scheme, host and port to connect to. ``host``: the Host header, with a port that is not
    the scheme's default. ``path``: decoded, as the COS scheme signs it. ``raw_path``: as it goes out.
    ``bucket_in_path``: the bucket's name is part of both.
    """

    connect_url: str
    host: str
    path: str
    raw_path: str
    bucket_in_path: bool = False

    @property
    def host_name(self) -> str:
        """The host without the port, lower case, as COS signs it."""
        name, colon, port = self.host.rpartition(":")
        return (name if colon and port.isdigit() else self.host).lower()

    @property
    def url(self) -> str:
        """For error texts and presigned URLs; no query."""
        return self.connect_url + self.raw_path


@dataclass(frozen=True)
class Endpoint:
    """A service's address. ``host`` may carry a port; ``connect_to`` is another address to connect to;
    ``service_path`` stands before every path, "" or as ``/base``."""

    scheme: str
    host: str
    addressing: Addressing = Addressing.VIRTUAL_HOST
    connect_to: Optional[str] = None
    service_path: str = ""

    @classmethod
    def parse(cls, url: str, *, path_style: Optional[bool] = None, default_scheme: str = "https",
              service_path: str = "") -> Endpoint:
        """From ``[scheme://]host[:port][/]``. ``path_style`` None: for an IP address and localhost.

        Raises: InvalidParameter.
        """
        parts = urlsplit(url if "://" in url else f"{default_scheme}://{url}")
        try:
            port, name = parts.port, parts.hostname
        except ValueError:
            port, name = None, None
        if (parts.scheme not in DEFAULT_PORTS or not name or parts.username or parts.path not in ("", "/")
                or parts.query or parts.fragment):
            raise InvalidParameter("an endpoint is written [http://|https://]HOST[:PORT]")
        host = f"[{name}]" if ":" in name else name
        if port is not None and port != DEFAULT_PORTS[parts.scheme]:
            host = f"{host}:{port}"
        if path_style is None:
            path_style = is_address(name)
        return cls(parts.scheme, host, Addressing.PATH if path_style else Addressing.VIRTUAL_HOST,
                   service_path=service_path)

    def locate(self, bucket: str, key: Optional[str] = None, *, safe_dots: bool = True) -> Target:
        """The address of an object, or with no key of the bucket itself. ``safe_dots``: see encode_key."""
        host, path = self.host, f"{self.service_path}/"
        raw_path = percent_encode(path, safe="/") if self.service_path else path
        if self.addressing is Addressing.VIRTUAL_HOST:
            host = f"{bucket}.{host}"
        elif self.addressing is Addressing.PATH:
            path, raw_path = f"{path}{bucket}", f"{raw_path}{percent_encode(bucket)}"
        if key is not None:
            path = f"{path.rstrip('/')}/{key}"
            raw_path = f"{raw_path.rstrip('/')}/{encode_key(key, safe_dots=safe_dots)}"
        return Target(f"{self.scheme}://{self.connect_to or host}", host, path, raw_path,
                      self.addressing is Addressing.PATH)

    def service(self) -> Target:
        """The address of requests that are of no bucket (list buckets)."""
        path = f"{self.service_path}/"
        raw_path = percent_encode(path, safe="/")
        return Target(f"{self.scheme}://{self.connect_to or self.host}", self.host, path, raw_path)


def with_scheme(proxy: str) -> str:
    """A proxy as the environment names it, which may leave ``http://`` out."""
    return proxy if "://" in proxy else f"http://{proxy}"


def without_login(url: str) -> str:
    """A URL without the name and password that may be in it: for people, and for logs."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def is_address(host: str) -> bool:
    """Whether a host (no port, no brackets) is an IP address or localhost, which cannot take a prefix."""
    if host.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def encode_key(key: str, *, safe_dots: bool = True) -> str:
    """Percent-encode a key for a path; ``/`` stays.

    ``safe_dots`` writes ``./`` as ``.%2F`` as the official SDKs do, so that nothing on the way takes ``..``
    for a parent folder. AWS V4 signs the path as it is written, and servers rebuild it from the decoded
    key, so there it must be off.
    """
    raw = percent_encode(key, safe="/")
    return raw.replace("./", ".%2F") if safe_dots else raw


def check_key(key: str) -> str:
    """Refuse keys that cannot be sent or would address the bucket. Raises: InvalidParameter."""
    size = len(key.encode("utf-8", "surrogateescape"))
    if not 0 < size <= MAX_KEY_BYTES:
        raise InvalidParameter(f"a key has 1 to {MAX_KEY_BYTES} bytes, this one has {size}")
    depth = 0
    for name in key.split("/"):
        if name == "..":
            depth = max(0, depth - 1)
        elif name not in ("", "."):
            depth += 1
    if depth == 0:
        raise InvalidParameter(f"key {key!r} would be taken for the bucket itself")
    return key


@dataclass(frozen=True)
class ClientConfig:
    """One bucket, and how to speak to its service."""

    bucket: str
    """Full name: with the APPID on COS. "" where every request names its own."""

    endpoint: str
    """``[scheme://]HOST[:PORT]``, without the bucket; https when no scheme is given."""

    credentials: Optional[CredentialsProvider] = None
    """None: requests are not signed."""

    signature: str = "cos"
    """``cos``, or ``v4`` for AWS Signature V4 with ``x-amz-*`` headers."""

    v4_region: str = "us-east-1"
    """Region in the scope of V4 signatures; COS and most servers do not check it."""

    path_style: Optional[bool] = None
    """None: when the endpoint is an IP address or localhost."""

    verify: Union[bool, str] = True
    """Check certificates; a text is the path of a file or folder of authorities."""

    verify_hostname: bool = True
    """Check that the certificate is for this host."""

    connect_timeout_s: float = 10.0
    """Includes the TLS handshake. A healthy endpoint takes milliseconds."""

    read_timeout_s: float = 60.0
    """Longest pause between two bytes of an answer, and the longest wait for its first."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """When failed requests are sent again."""

    pool_size: int = 128
    """Idle connections kept; no limit on those in use. More than any sensible number of threads."""

    user_agent_suffix: str = ""
    """Added to ``cosfs/VERSION``."""

    content_md5: bool = True
    """Send Content-MD5 with bodies: 1.6 ms per MiB; the service then refuses what arrived damaged."""

    additions: Additions = field(default_factory=Additions)
    """Sent along with requests that store objects, and keys that reading some of them needs."""

    service_path: str = ""
    """Stands before every path, "" or as ``/base``."""

    trace: bool = False
    """Log a line for each exchange (trace.py)."""

    proxies: Mapping[str, str] = field(default_factory=dict)
    """Proxy URL by scheme (``http``, ``https``). The environment is not looked at."""

    def __post_init__(self) -> None:
        if "/" in self.bucket:
            raise InvalidParameter(f"bucket {self.bucket!r} is no bucket name")
        if self.signature not in ("cos", "v4"):
            raise InvalidParameter(f"signature {self.signature!r} is neither cos nor v4")
        self.address()

    def address(self) -> Endpoint:
        return Endpoint.parse(self.endpoint, path_style=self.path_style, service_path=self.service_path)
