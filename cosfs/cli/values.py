"""The value syntaxes of mount options: text in, checked value out. Pure, but for user and group names.

A ``Value`` says what is allowed in words, so that every mistake gets the same helpful message
(cosfs/cli/mount.py); its ``parse`` raises ``ValueError`` or ``KeyError`` for anything else.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping, Tuple
from urllib.parse import urlsplit

from cosfs.archive import ORDERS, RestoreOrder
from cosfs.config import SCANNERS
from cosfs.cos.additions import EncryptedBy, Encryption
from cosfs.log_levels import LEVELS, NAMES, level_named
from cosfs.metrics import DEFAULT_PRICES, Prices
from cosfs.units import GIB, KIB, MIB


@dataclass(frozen=True)
class Value:
    """A value syntax. ``metavar``: its name in --help; ``allowed``: completes "give …". For completion in a shell
    ``words``: those that it may be, or begin with; ``names``: else what it names, file, folder, user or group."""

    metavar: str
    allowed: str
    parse: Callable[[str], Any]
    words: Tuple[str, ...] = ()
    names: str = ""


def _checked(condition: bool, value: Any) -> Any:
    if not condition:
        raise ValueError(value)
    return value


def whole(low: int, high: int, metavar: str = "N") -> Value:
    """A whole number from ``low`` to ``high``."""
    def parse(text: str) -> int:
        number = int(_checked(text.isascii() and text.isdigit(), text))
        return int(_checked(low <= number <= high, number))
    return Value(metavar, f"a whole number from {low} to {high}", parse)


def capped(low: int, high: int, *, least: int = 0) -> Value:
    """A whole number; those over ``high`` count as that, those under ``least`` as that: the C++ tool takes them."""
    def parse(text: str) -> int:
        number = int(_checked(text.isascii() and text.isdigit(), text))
        return max(least, min(int(_checked(low <= number, number)), high))
    return Value("N", f"a whole number, {low} or more", parse)


def scaled(unit: Value, factor: int) -> Value:
    """The same syntax, in units of ``factor``."""
    return Value(unit.metavar, unit.allowed, lambda text: unit.parse(text) * factor)


def seconds(low: float) -> Value:
    """Seconds, with decimals; more than a year counts as one."""
    def parse(text: str) -> float:
        number = float(_checked(re.fullmatch(r"\d+(\.\d*)?", text, re.ASCII) is not None, text))
        return min(float(_checked(low <= number, number)), 366 * 86400.0)
    return Value("SECONDS", f"seconds, {low:g} or more", parse)


def _host_and_port(text: str) -> Tuple[str, int]:
    host, _, port = text.rpartition(":")
    number = int(_checked(port.isascii() and port.isdigit(), port))
    return host or "127.0.0.1", int(_checked(0 < number < 65536 and not host.startswith("["), number))


def _prices(text: str) -> Prices:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?::(\d+(?:\.\d+)?)(?::([^\s:]{1,8}))?)?", text, re.ASCII)
    if match is None:
        raise ValueError(text)
    read, write, currency = match.groups()
    return Prices(float(read), float(read if write is None else write), currency or DEFAULT_PRICES.currency)


def _programs(text: str) -> Tuple[str, ...]:
    """Names joined by colons; those with a sign change the usual ones."""
    items = text.split(":")
    _checked(all(re.fullmatch(r"[+-]?[^+/\s-][^/\s]*", item) for item in items), text)
    found = [] if any(item[0] not in "+-" for item in items) else list(SCANNERS)
    for item in items:
        name = item.lstrip("+-")
        if item[0] != "-":
            found.append(name)
        else:
            found.remove(name)  # ValueError for one that is not in it
    return tuple(dict.fromkeys(found))


def choice(spellings: Mapping[str, Any]) -> Value:
    """One of the words, in any letter case."""
    return Value("|".join(spellings), "one of " + ", ".join(spellings), lambda text: spellings[text.lower()],
                 tuple(spellings))


_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": KIB * GIB, "P": MIB * GIB}


def size(low_bytes: int, *, plain: str) -> Value:
    """Bytes with a unit letter (powers of 1,024); a number without a unit counts in ``plain``."""
    def parse(text: str) -> int:
        match = re.fullmatch(r"(\d+)([KMGTP]?)(?:i?B)?", text, re.IGNORECASE | re.ASCII)
        if match is None:
            raise ValueError(text)
        count = int(match[1]) * _UNITS[match[2].upper() or plain]
        return int(_checked(low_bytes <= count < 1 << 63, count))
    unit = {"": "bytes", "M": "MiB"}[plain]
    return Value("SIZE", f"a size such as 512M or 2G (without a letter: {unit}), "
                         f"{low_bytes // _UNITS[plain]} {unit} or more", parse)


def _mask(base: int) -> Callable[[str], int]:
    """``base`` 0: as strtol(3) has it, octal after a 0, hexadecimal after 0x."""
    def parse(text: str) -> int:
        _checked(re.fullmatch(r"0[xX][\dA-Fa-f]+|\d+" if base == 0 else r"\d+", text, re.ASCII) is not None, text)
        number = int("0o" + text[1:] if base == 0 and re.fullmatch(r"0\d+", text) else text, base)
        return int(_checked(number <= 0o777, number))
    return parse


def _identity(lookup: Callable[[str], int]) -> Callable[[str], int]:
    def parse(text: str) -> int:
        return int(_checked(int(text) < 2**32 - 1, text)) if text.isascii() and text.isdigit() else lookup(text)
    return parse


def _url(text: str) -> str:
    """Scheme, host and port; a bare host gets https, a trailing slash goes."""
    text = text.strip()
    whole_url = (text if "://" in text else "https://" + text).rstrip("/")
    parts = urlsplit(whole_url)
    valid = parts.scheme in ("http", "https") and parts.hostname and not (
        parts.path or parts.query or parts.fragment or parts.username) and (parts.port is None or parts.port > 0)
    return str(_checked(bool(valid), whole_url))


def _address(text: str) -> str:
    """The same with a path."""
    whole_url = text.strip().rstrip("/")
    parts = urlsplit(whole_url)
    return str(_checked(bool(parts.scheme in ("http", "https") and parts.hostname and not (
        parts.query or parts.fragment or parts.username)) and (parts.port is None or parts.port > 0), whole_url))


def _service_path(text: str) -> str:
    """``/a/b``; "" for the root."""
    names = text.strip("/")
    return str(_checked(re.search(r"[?#\s]|//|(^|/)\.\.?(/|$)", names) is None, f"/{names}" if names else ""))


def _encryption(text: str) -> Encryption:
    kind, colon, detail = text.partition(":")
    known = {"1": EncryptedBy.SERVICE, "kmsid": EncryptedBy.KMS, "k": EncryptedBy.KMS,
             "custom": EncryptedBy.CUSTOMER, "c": EncryptedBy.CUSTOMER}[kind]
    _checked(bool(detail) if colon else True, text)
    if known is EncryptedBy.CUSTOMER:
        return Encryption(known, key_file=_path(detail) if colon else None)
    _checked(known is EncryptedBy.KMS or not colon, text)
    return Encryption(known, key_id=detail or None)


def _non_empty(text: str) -> str:
    return str(_checked(text != "", text))


def _path(text: str) -> str:
    """Absolute, because a mount in the background leaves the current folder."""
    return os.path.abspath(os.path.expanduser(_non_empty(text)))


STORAGE_CLASSES = {
    # not sent: in a bucket of several zones the plain name would be refused, and without it both mean standard
    "standard": None,
    **{name: name.upper() for name in (
        "standard_ia", "intelligent_tiering", "archive", "deep_archive", "maz_standard", "maz_standard_ia",
        "maz_intelligent_tiering", "maz_archive", "maz_deep_archive", "reduced_redundancy", "nearline")},
}

TEXT = Value("TEXT", "a text that is not empty", _non_empty)
PATH = Value("PATH", "a path", _path, names="file")
FOLDER = replace(PATH, names="folder")
URL = Value("URL", "an endpoint such as https://cos.ap-guangzhou.myqcloud.com, without a path", _url)
ADDRESS = Value("URL", "an address such as http://127.0.0.1:8080/roles", _address)
SERVICE_PATH = Value("PATH", "a path such as /base", _service_path)
ENCRYPTION = Value("1|kmsid[:ID]|custom[:FILE]", "1, kmsid, kmsid:ID, custom or custom:FILE", _encryption,
                   ("1", "kmsid", "custom"))
ACL = replace(choice({name: name for name in (
    "private", "public-read", "default", "public-read-write", "authenticated-read", "bucket-owner-read",
    "bucket-owner-full-control")}), metavar="ACL")
SWITCH = choice({"0": False, "1": True})
OCTAL = Value("MODE", "an octal number from 0 to 777", _mask(8))
C_OCTAL = Value("MODE", "a number from 0 to 0777, octal only with a leading 0", _mask(0))
USER = Value("USER", "a user's number or name", _identity(lambda name: pwd.getpwnam(name).pw_uid), names="user")
GROUP = Value("GROUP", "a group's number or name", _identity(lambda name: grp.getgrnam(name).gr_gid), names="group")
HOST_AND_PORT = Value("[HOST:]PORT", "a port from 1 to 65535, or HOST:PORT", _host_and_port)
RESTORE = Value("no|DAYS[:TIER]", f"no, {ORDERS}",
                lambda text: None if text.lower() == "no" else RestoreOrder.parse(text))
PRICES = Value("READ[:WRITE[:CURRENCY]]", "prices of 10,000 requests, such as 0.01 or 0.01:0.05:EUR", _prices)
PROGRAMS = Value("NAME[:NAME...]", "names of programs joined by colons, +NAME for one more than the usual ones, or "
                                   "-NAME for one of those less", _programs)
LOG_LEVEL = Value("LEVEL", "one of " + ", ".join(LEVELS), level_named, NAMES)
STORAGE_CLASS = Value("CLASS", "one of " + ", ".join(STORAGE_CLASSES), lambda text: STORAGE_CLASSES[text.lower()],
                      tuple(STORAGE_CLASSES))
