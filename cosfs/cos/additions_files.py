"""The files of additions: keys of the customer (one a line), headers by the end of the key (``ahbe_conf``).

Errors name files and line numbers, never what is in them.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Dict, List, Optional

from cosfs.cos.additions import (
    CUSTOMER_KEY_BYTES,
    SSE,
    Additions,
    CustomerKey,
    EncryptedBy,
    Encryption,
    HeaderRule,
)
from cosfs.cos.key_files import check_permissions, check_regular
from cosfs.errors import CredentialsError, InvalidParameter

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t -~]+")
_ADDED_OF_THE_SERVICE = ("x-cos-acl", "x-cos-grant-", "x-cos-website-redirect-location", "x-cos-traffic-limit")
_NOT_ADDED = frozenset((
    "accept-encoding", "authorization", "connection", "content-length", "content-md5", "content-range", "date",
    "expect", "host", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "range", "te", "trailer",
    "transfer-encoding", "upgrade", "user-agent"))
"""What a request says of itself; an object has none of these."""


def make_additions(encryption: Optional[Encryption], key_file: Optional[str], header_file: Optional[str], *,
                   acl: Optional[str] = None, client_info: bool = False) -> Additions:
    """The additions of a client. ``key_file``: further keys of the customer.

    Raises: CredentialsError, InvalidParameter.
    """
    headers: Dict[str, str] = {}
    keys: List[CustomerKey] = []
    encrypts = encryption is not None and encryption.by is EncryptedBy.CUSTOMER
    if encryption is not None and encryption.key_file is not None:
        keys += read_customer_keys(encryption.key_file)
    if key_file is not None:
        keys += read_customer_keys(key_file)
    if encryption is not None and not encrypts:
        headers[SSE] = encryption.by.value
        if encryption.key_id is not None:
            headers[f"{SSE}-cos-kms-key-id"] = encryption.key_id
    if encrypts and not keys:
        raise CredentialsError("use_sse=custom needs a key; name its file with use_sse=custom:FILE or load_sse_c=FILE")
    rules = read_header_rules(header_file) if header_file is not None else []
    return Additions(headers, tuple(dict.fromkeys(keys)), encrypts, acl, tuple(rules), client_info)


def read_customer_keys(path: str) -> List[CustomerKey]:
    """The keys of a file of mode 600: base64 (44 characters), hexadecimal (64) or plain (32), one a line.

    Raises: CredentialsError.
    """
    file = Path(path)
    if not file.exists():
        raise CredentialsError(f"key file {path} does not exist; write the key into it, base64 of {CUSTOMER_KEY_BYTES} "
                               "bytes, and set its mode to 600")
    check_regular(file)
    check_permissions(file)
    keys = []
    for number, line in enumerate(_lines(path, CredentialsError), 1):
        if line and not line.startswith("#"):
            key = _decoded_key(line)
            if key is None:
                raise CredentialsError(f"{path}, line {number}: no key; write base64 of {CUSTOMER_KEY_BYTES} bytes, "
                                       f"such as: openssl rand -base64 {CUSTOMER_KEY_BYTES} makes")
            keys.append(CustomerKey(key))
    if not keys:
        raise CredentialsError(f"{path} holds no key; write base64 of {CUSTOMER_KEY_BYTES} bytes into it")
    return keys


def _lines(path: str, error: type[CredentialsError] | type[InvalidParameter]) -> List[str]:
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as exc:
        raise error(f"{path} cannot be read ({exc.strerror}); name a file that the user who mounts can read") from None
    except UnicodeDecodeError:
        raise error(f"{path} is no text in UTF-8; write it anew") from None
    return [line.rstrip("\r") for line in text.split("\n")]


def _decoded_key(line: str) -> Optional[bytes]:
    try:
        if len(line) == 2 * CUSTOMER_KEY_BYTES:
            return bytes.fromhex(line)
        key = line.encode("ascii") if len(line) == CUSTOMER_KEY_BYTES else base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == CUSTOMER_KEY_BYTES else None


def read_header_rules(path: str) -> List[HeaderRule]:
    """The rules of a file with lines ``SUFFIX NAME VALUE``; a line that begins with a blank is for every object,
    ``reg:PATTERN`` instead of a suffix for keys in which that is found. Raises: InvalidParameter."""
    rules = []
    for number, line in enumerate(_lines(path, InvalidParameter), 1):
        if line.strip() and not line.startswith("#"):
            rules.append(_rule(line, f"{path}, line {number}"))
    return rules


def _rule(line: str, where: str) -> HeaderRule:
    fields = line.split(None, 1 if line[0].isspace() else 2)
    suffix, name, value = ["", *fields] if line[0].isspace() and len(fields) == 2 else [*fields, "", ""][:3]
    value = value.strip()
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise InvalidParameter(f"{where}: no rule; write SUFFIX HEADER VALUE, such as: .gz Content-Encoding gzip")
    lower = name.lower()
    if lower in _NOT_ADDED or (lower.startswith(("x-cos-", "x-amz-"))
                               and not lower.startswith(_ADDED_OF_THE_SERVICE)):
        raise InvalidParameter(f"{where}: {name} cannot be added, it is the mount's own; take the line out")
    if not suffix.startswith("reg:"):
        return HeaderRule(name, value, suffix)
    try:
        return HeaderRule(name, value, pattern=re.compile(suffix[len("reg:"):]))
    except re.error:
        raise InvalidParameter(f"{where}: {suffix} is no regular expression; correct what follows reg:") from None
