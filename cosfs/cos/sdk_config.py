"""``CosConfig``: the constructor of the official Python SDK, turned into an endpoint and a key provider.

Keywords, aliases and precedence are those of the SDK, of the seed's time and of today. One addition: the
environment variable ``COSFS_ENDPOINT_URL`` (``http://HOST:PORT``) takes the place of the region's address
where no Endpoint, Domain or IP is given, so that a program runs unchanged against ``cosfs serve``.
"""
# ruff: noqa: N803 - the names of the keywords are the SDK's

from __future__ import annotations

import os
import re
from typing import Any, Mapping, Optional, Tuple, Union

from cosfs.cos.endpoint import Addressing, Endpoint
from cosfs.cos.signing import Credentials
from cosfs.errors import CosClientError, InvalidParameter
from cosfs.units import MAX_PUT_BYTES

ENDPOINT_VARIABLE = "COSFS_ENDPOINT_URL"

_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]*[A-Za-z0-9]")
_BUCKET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?")
_OLD_REGIONS = frozenset(("cn-north", "cn-south", "cn-east", "cn-south-2", "cn-southwest", "sg"))
_ALIASES = {
    "cossh": "ap-shanghai", "cosgz": "ap-guangzhou", "cosbj": "ap-beijing", "costj": "ap-beijing-1",
    "coscd": "ap-chengdu", "cossgp": "ap-singapore", "coshk": "ap-hongkong", "cosca": "na-toronto",
    "cosger": "eu-frankfurt",
}


def region_host(region: str, *, old_domain: bool = True, internal_domain: bool = True) -> str:
    """The endpoint of a region. Raises: InvalidParameter."""
    if not isinstance(region, str) or not _REGION.fullmatch(region):
        raise InvalidParameter(f"Region {region!r} may have letters, digits, dots and hyphens only")
    if "cos." in region or region in _OLD_REGIONS:
        name = region
    else:
        prefix = "cos-internal." if internal_domain and not old_domain else "cos."
        name = prefix + _ALIASES.get(region, region)
    return f"{name}.{'myqcloud.com' if old_domain else 'tencentcos.cn'}"


class CosConfig:
    """Who talks to which endpoint, and how. ``repr`` shows no key."""

    def __init__(self, Appid: Optional[str] = None, Region: Optional[str] = None, SecretId: Optional[str] = None,
                 SecretKey: Optional[str] = None, Token: Optional[str] = None, CredentialInstance: Any = None,
                 Scheme: Optional[str] = None, Timeout: Union[float, Tuple[float, float], None] = None,
                 Access_id: Optional[str] = None, Access_key: Optional[str] = None, Secret_id: Optional[str] = None,
                 Secret_key: Optional[str] = None, Endpoint: Optional[str] = None,
                 IP: Optional[str] = None, Port: Optional[int] = None, Anonymous: Optional[bool] = None,
                 UA: Optional[str] = None, Proxies: Optional[Mapping[str, str]] = None,
                 Domain: Optional[str] = None, ServiceDomain: Optional[str] = None, KeepAlive: bool = True,
                 PoolConnections: int = 10, PoolMaxSize: int = 10, AllowRedirects: bool = False,
                 SignHost: bool = True, EndpointCi: Optional[str] = None, EndpointPic: Optional[str] = None,
                 EnableOldDomain: bool = True, EnableInternalDomain: bool = True, SignParams: bool = True,
                 AutoSwitchDomainOnRetry: bool = False, VerifySSL: Union[bool, str, None] = None,
                 SSLCert: Any = None) -> None:
        """Raises: CosClientError, for what is missing, malformed or not supported here."""
        del PoolConnections, EndpointCi, EndpointPic  # one pool serves all; there are no calls of those services
        refused = {"AllowRedirects": AllowRedirects, "AutoSwitchDomainOnRetry": AutoSwitchDomainOnRetry,
                   "SSLCert": SSLCert}
        for name, value in refused.items():
            if value:
                raise InvalidParameter(f"CosConfig of cosfs does not support {name}")
        self.appid = Appid
        self.ua = UA
        self.timeout_s = Timeout
        self.proxies: Mapping[str, str] = dict(Proxies or {})
        self.keep_alive = KeepAlive
        self.pool_size = PoolMaxSize
        self.sign_host, self.sign_params = SignHost, SignParams
        self.verify: Union[bool, str] = True if VerifySSL is None else VerifySSL
        self.old_domain, self.internal_domain = EnableOldDomain, EnableInternalDomain
        self.service_domain = ServiceDomain
        self.copy_part_threshold_bytes = MAX_PUT_BYTES
        if Scheme not in (None, "http", "https"):
            raise InvalidParameter("Scheme can be only set to http/https")
        self._set_address(Scheme, Region, Endpoint, Domain)
        self._ip, self._port = IP, Port
        self._set_keys(((SecretId, SecretKey), (Secret_id, Secret_key), (Access_id, Access_key)), Token,
                       CredentialInstance, anonymous=bool(Anonymous))

    def __repr__(self) -> str:
        return f"CosConfig({self.endpoint.scheme}://{self.endpoint.host})"

    def _set_address(self, scheme: Optional[str], region: Optional[str], host: Optional[str],
                     domain: Optional[str]) -> None:
        instead = os.environ.get(ENDPOINT_VARIABLE)
        if domain is not None:
            self._address = Endpoint(scheme or "https", domain, Addressing.DOMAIN)
        elif host:
            self._address = Endpoint.parse(host, default_scheme=scheme or "https")
        elif not region:
            raise InvalidParameter("Region or Endpoint is required not empty!")
        else:
            found = region_host(region, old_domain=self.old_domain, internal_domain=self.internal_domain)
            self._address = Endpoint.parse(instead or found, default_scheme=scheme or "https")

    def _set_keys(self, pairs: Tuple[Tuple[Optional[str], Optional[str]], ...], token: Optional[str],
                  instance: Any, *, anonymous: bool) -> None:
        self._instance: Any = None
        self._credentials: Optional[Credentials] = None
        for secret_id, secret_key in pairs:
            if secret_id and secret_key:
                self.set_credential(secret_id, secret_key, token)
                return
        if all(hasattr(instance, name) for name in ("secret_id", "secret_key", "token")):
            self._instance = instance
        elif not anonymous:
            raise InvalidParameter("SecretId and SecretKey is Required!")

    @property
    def anonymous(self) -> bool:
        return self._credentials is None and self._instance is None

    def set_credential(self, SecretId: str, SecretKey: str, Token: Optional[str] = None) -> None:
        """Sign with these keys from the next sending on."""
        for value in (SecretId, SecretKey):
            if value != value.strip():
                raise InvalidParameter("SecretId and SecretKey must not begin or end with spaces")
        self._credentials = Credentials(SecretId, SecretKey, Token or None)

    def set_ip_port(self, IP: str, Port: Optional[int] = None) -> None:
        """Connect to this address, whatever the host's name resolves to. Before a client is made."""
        self._ip, self._port = IP, Port

    def set_copy_part_threshold_size(self, size: int) -> None:
        """``copy`` works in parts from this size on."""
        if size > 0:
            self.copy_part_threshold_bytes = size

    @property
    def endpoint(self) -> Endpoint:
        address = self._address
        if self._ip is None:
            return address
        connect_to = self._ip if self._port is None else f"{self._ip}:{self._port}"
        return Endpoint(address.scheme, address.host, address.addressing, connect_to)

    def bucket_name(self, bucket: str) -> str:
        """The long name of a bucket. Raises: InvalidParameter."""
        if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
            raise InvalidParameter(f"Bucket {bucket!r} may have letters, digits and hyphens only")
        if not self.appid or bucket.endswith(f"-{self.appid}"):
            return bucket
        return f"{bucket}-{self.appid}"

    def get_host(self, Bucket: str) -> str:
        return self.endpoint.locate(self.bucket_name(Bucket)).host

    def uri(self, bucket: str, path: Optional[str] = None) -> str:
        """The URL of a bucket or an object, not signed."""
        key = None if path is None else key_name(path)
        return self.endpoint.locate(self.bucket_name(bucket), key).url

    def copy_source_endpoint(self, source: Mapping[str, str]) -> Endpoint:
        """The address that a CopySource names by Endpoint or Region. Raises: InvalidParameter."""
        own = self.endpoint
        host = source.get("Endpoint") or ""
        if not host and not source.get("Region"):
            raise InvalidParameter("Region or Endpoint is required not empty!")
        if not host and own.addressing is Addressing.PATH:
            return own  # a local service, which has no regions
        host = host or region_host(source["Region"], old_domain=self.old_domain, internal_domain=self.internal_domain)
        found = Endpoint.parse(host, default_scheme=own.scheme)
        return own if found.host == own.host else found  # its own may be connected to in another way

    # The provider of the client's keys, so that set_credential and a CredentialInstance take effect at once.

    def get(self) -> Credentials:
        """The keys to sign with now."""
        if self._credentials is not None:
            return self._credentials
        instance = self._instance
        try:
            return Credentials(instance.secret_id, instance.secret_key, instance.token or None)
        except AttributeError as exc:
            raise CosClientError(f"the CredentialInstance has no {exc.name if hasattr(exc, 'name') else 'keys'}"
                                 ) from None

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:  # noqa: ARG002 - of the protocol
        """The keys anew: an instance may have fetched others."""
        return self.get()


def key_name(key: Any) -> str:
    """A key as it is sent: one leading slash is dropped. Raises: InvalidParameter."""
    if not isinstance(key, str):
        raise InvalidParameter("key is not string")
    if not key:
        raise InvalidParameter("Key is required not empty")
    return key[1:] if key.startswith("/") else key


