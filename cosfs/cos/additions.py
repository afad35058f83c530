"""What a client adds to the requests that store objects: encryption, ACL, headers by the end of the key.

Defined here and only here: which of them a request gets (``Additions.stored``). Pure; adding.py sends them,
additions_files.py reads the files that they come from. Sources: COS documentation "Server-side encryption"
(product/436/18145), "Common request headers" (product/436/7728).
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

SSE = "x-cos-server-side-encryption"
CUSTOMER_KEY_MD5 = f"{SSE}-customer-key-MD5"
CUSTOMER_KEY_BYTES = 32


class EncryptedBy(enum.Enum):
    """Whose key an object is encrypted with."""

    SERVICE = "AES256"
    KMS = "cos/kms"
    CUSTOMER = "customer"


@dataclass(frozen=True)
class Encryption:
    """How new objects are to be encrypted. ``key_id``: of KMS, None for the service's own; ``key_file``: with keys
    of the customer, None when they are given otherwise."""

    by: EncryptedBy
    key_id: Optional[str] = None
    key_file: Optional[str] = None


@dataclass(frozen=True)
class CustomerKey:
    """A key that is sent with each request for an object encrypted with it."""

    key: bytes = field(repr=False)

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.key, usedforsecurity=False).digest()).decode("ascii")

    def headers(self, *, of_source: bool = False) -> List[Tuple[str, str]]:
        """``of_source``: for the object that is copied from."""
        prefix = SSE.replace("x-cos-", "x-cos-copy-source-", 1) if of_source else SSE
        return [(f"{prefix}-customer-algorithm", "AES256"),
                (f"{prefix}-customer-key", base64.b64encode(self.key).decode("ascii")),
                (f"{prefix}-customer-key-MD5", self.md5)]


@dataclass(frozen=True)
class HeaderRule:
    """A header of all objects whose key ends with ``suffix``, or in which ``pattern`` is found."""

    name: str
    value: str
    suffix: str = ""
    pattern: Optional[re.Pattern[str]] = None

    def matches(self, key: str) -> bool:
        return key.endswith(self.suffix) if self.pattern is None else self.pattern.search(key) is not None


@dataclass(frozen=True)
class Additions:
    """All of a client's. ``customer_keys``: those that objects may be encrypted with; with ``encrypts`` the first
    one is for what is stored. ``client_info``: whether deletes tell who makes them."""

    encryption: Mapping[str, str] = field(default_factory=dict)
    customer_keys: Sequence[CustomerKey] = ()
    encrypts: bool = False
    acl: Optional[str] = None
    rules: Sequence[HeaderRule] = ()
    client_info: bool = False

    def __bool__(self) -> bool:
        return bool(self.encryption or self.customer_keys or self.acl or self.rules or self.client_info)

    def stored(self, key: str, given: Sequence[Tuple[str, str]], source_key: Optional[CustomerKey] = None, *,
               keeps_headers: bool = False) -> Tuple[List[Tuple[str, str]], Optional[CustomerKey]]:
        """The headers of a request that stores ``key``, without the customer's key, and that key.

        ``given``: those of the request. What they say of encryption is how the object is encrypted already, and stays
        so, but for the customer's key, which the first one takes the place of. ``source_key``: the customer's key of
        what is copied. ``keeps_headers``: the service copies the source's headers, none can be given.
        """
        headers = {name: value for name, value in given if name.lower() != CUSTOMER_KEY_MD5.lower()}
        if not keeps_headers:
            headers = _replaced(headers, {rule.name: rule.value for rule in self.rules if rule.matches(key)})
        if self.acl is not None and not _names(headers, "x-cos-acl", "x-cos-grant-"):
            headers["x-cos-acl"] = self.acl
        if _names(headers, SSE):
            return list(headers.items()), None
        md5 = next((value for name, value in given if name.lower() == CUSTOMER_KEY_MD5.lower()), None)
        customer_key = self._customer_key(md5, source_key)
        if customer_key is None:
            headers.update(self.encryption)
        return list(headers.items()), customer_key

    def _customer_key(self, md5: Optional[str], source_key: Optional[CustomerKey]) -> Optional[CustomerKey]:
        if self.encrypts:
            return self.customer_keys[0]
        return next((key for key in self.customer_keys if key.md5 == md5), source_key)


def _names(headers: Mapping[str, str], *prefixes: str) -> bool:
    return any(name.lower().startswith(prefixes) for name in headers)


def _replaced(headers: Dict[str, str], others: Mapping[str, str]) -> Dict[str, str]:
    names = {name.lower() for name in others}
    return {**{name: value for name, value in headers.items() if name.lower() not in names}, **others}
