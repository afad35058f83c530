"""Paths of the mount and keys of the bucket: the only place where one becomes the other.

A path starts with ``/`` and is what the kernel sent, decoded as UTF-8 with surrogate escapes. A key is what
the service stores: UTF-8, no leading slash, at most 850 bytes. Ordinary names are the same in both.

Names that COS would refuse ("Object overview": CR, LF, 0x18-0x1B, a leading backslash; and bytes that are
no UTF-8) are stored escaped: U+241B followed by two hexadecimal digits of the byte, and U+241B itself
doubled. So ``a<LF>b`` is stored as ``a␛0Ab``, and every name comes back as it was.

Some keys have no path: an empty, ``.`` or ``..`` component, a NUL, a component over 255 bytes, or text
that looks like an escape and is none. ``component_to_name`` answers None for those; listings log them.
"""

from __future__ import annotations

import re
from typing import Optional, Tuple

from cosfs.errors import NameTooLong
from cosfs.units import MAX_KEY_BYTES, MAX_NAME_BYTES

_ESCAPE = "\u241b"
_REFUSED = re.compile("[\r\n\x18-\x1b\udc80-\udcff" + _ESCAPE + "]")
_ESCAPED = re.compile(_ESCAPE + "(?:(0A|0D|1[89AB]|5C|[89A-F][0-9A-F])|" + _ESCAPE + ")")


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    return _ESCAPE * 2 if char == _ESCAPE else f"{_ESCAPE}{ord(char) & 0xFF:02X}"


def _unescape(match: re.Match[str]) -> str:
    if match.group(1) is None:
        return _ESCAPE
    code = int(match.group(1), 16)
    return chr(code) if code < 0x80 else chr(0xDC00 + code)


def name_to_component(name: str) -> str:
    """The key component of a file name. Raises: NameTooLong (over 255 bytes)."""
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise NameTooLong(f"{name!r} is longer than {MAX_NAME_BYTES} bytes")
    return _REFUSED.sub(_escape, name)


def component_to_name(component: str) -> Optional[str]:
    """The file name of a key component, None when no path can hold it."""
    name = _ESCAPED.sub(_unescape, component)
    if name in ("", ".", "..") or "\0" in name:
        return None
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return None
    canonical = _REFUSED.sub(_escape, name)
    return name if component in (canonical, _guard_start(canonical)) else None


def _guard_start(key: str) -> str:
    """A key must not start with a backslash."""
    return f"{_ESCAPE}5C{key[1:]}" if key.startswith("\\") else key


class KeySpace:
    """The part of the bucket that is mounted: ``prefix`` is empty or ends with a slash."""

    def __init__(self, prefix: str = "") -> None:
        assert not prefix or prefix.endswith("/")
        self.prefix = prefix

    def file_key(self, path: str) -> str:
        """The key of the object that a path names. Raises: NameTooLong."""
        key = "/".join(name_to_component(name) for name in path.strip("/").split("/"))
        if not self.prefix:
            key = _guard_start(key)
        return self._checked(self.prefix + key)

    def directory_key(self, path: str) -> str:
        """The key of a directory's marker, which is also the prefix of its children; "" for a bare root."""
        if path == "/":
            return self.prefix
        return self._checked(self.file_key(path) + "/")

    @staticmethod
    def _checked(key: str) -> str:
        if len(key.encode("utf-8")) > MAX_KEY_BYTES:
            raise NameTooLong(f"key of {len(key.encode('utf-8'))} bytes; the service takes {MAX_KEY_BYTES}")
        return key


def split(path: str) -> Tuple[str, str]:
    """Parent path and name; the root is its own parent with an empty name."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


def is_inside(path: str, directory: str) -> bool:
    """True when ``path`` lies below ``directory`` (not for the directory itself)."""
    return path.startswith(directory.rstrip("/") + "/") and path != directory
