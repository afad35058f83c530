"""Paths of the mount and keys of the bucket: the only place where one becomes the other.

A path starts with ``/`` and is what the kernel sent, decoded as UTF-8 with surrogate escapes. A key is what
the service stores: UTF-8, at most 850 bytes. Both are components between slashes, and ordinary ones are the same.

*Names that a key cannot hold* ("Object overview": CR, LF, 0x18-0x1B, a leading backslash; and bytes that are no
UTF-8) are stored escaped: U+241B followed by two hexadecimal digits of the byte, and U+241B itself doubled. So
``a<LF>b`` is stored as ``a␛0Ab``, and every name comes back as it was.

*What no name stands for by that rule* is shown under reserved names, which come back as well (C: a component):

=====================  =========================================================================================
``␛-C``                C, which is ``.`` or ``..``, holds what should be escaped or an escape that should not be
                       there, or reads like one of these names.
``␛-``                 The directory whose component is empty: ``a//b`` is ``a/␛-/b``.
``␛+C``                The directory C beside an object C: ``a`` is the object, and ``a/b`` is ``␛+a/b``.
``␛+``                 The content of the object ``d/``, as a file in the directory ``d``.
``␛~-BEGIN~HASH``      ``␛-C`` or ``␛+C`` of more than 255 bytes: the beginning of C, and a hash by which it is
``␛~+BEGIN~HASH``      known once a listing has shown it (``Tree`` lists for one that is not known yet).
=====================  =========================================================================================

A reserved name that is none of these stands for nothing: there is no such file, and making one is EINVAL.
Keys without a path, which listings log: with a NUL or bytes that are no UTF-8, over 850 bytes, and such as would
address the bucket itself (``a/..``).

Threading: any thread. What the last 10,000 shortened names stand for is kept; it depends on nothing else.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import threading
from typing import Dict, List, Optional, Tuple

from cosfs.errors import InvalidArgument, NameTooLong
from cosfs.units import MAX_KEY_BYTES, MAX_NAME_BYTES

_ESCAPE = "\u241b"
_REFUSED = re.compile("[\r\n\x18-\x1b\udc80-\udcff" + _ESCAPE + "]")
_ESCAPED = re.compile(_ESCAPE + "(?:(0A|0D|1[89AB]|5C|[89A-F][0-9A-F])|" + _ESCAPE + ")")
_NO_NAMES = ("", ".", "..")
_ODD = re.compile("[\0\r\n\x18-\x1b\ud800-\udfff" + _ESCAPE + "]")
_NO_UTF8 = re.compile("[\ud800-\udfff]")
_SURELY_SHORT = MAX_NAME_BYTES // 4
"""Characters of UTF-8 that are a name whatever they are."""

_NOT_IN_NEW_KEYS = re.compile("[\0\r\n\x18-\x1b]")

NO_NAME = _ESCAPE + "-"
"""The directory whose component is empty."""

OWN_CONTENT = _ESCAPE + "+"
"""What is stored in a directory's marker, as a file in that directory."""

SHORTENED = _ESCAPE + "~"
"""What shortened names begin with."""

_AS_IT_IS, _BESIDE = NO_NAME, OWN_CONTENT
_RESERVED = (_AS_IT_IS, _BESIDE, SHORTENED)

_SHORT_FORM = re.compile(SHORTENED + "[-+](.*)~[0-9a-f]{32}", re.DOTALL)
_BEGIN_BYTES = 200
_MAX_SHORTENED = 10_000
"""20 MB at most, with names and components of the largest size."""

_shortened: Dict[str, str] = {}
"""``␛-C`` or ``␛+C`` by the shorter name under which it is shown, oldest first."""
_shortened_lock = threading.Lock()


def component_to_name(component: str, *, first: bool = False) -> Optional[str]:
    """The name of a key's component, None when it has none. ``first``: the key begins with it."""
    if component not in _NO_NAMES and len(component) <= (MAX_NAME_BYTES if component.isascii() else _SURELY_SHORT) \
            and not _ODD.search(component) and not (first and component.startswith("\\")):
        return component  # the rest of this function says the same of it, and takes six times as long
    if _NO_UTF8.search(component):
        return None
    name = _ESCAPED.sub(_unescape, component)
    if _is_name(name) and not name.startswith(_RESERVED) and _escaped(name, first=first) == component:
        return name
    return _reserved(_AS_IT_IS + component)


def name_beside(component: str) -> Optional[str]:
    """The name of a directory whose component is an object's as well; None when it has none."""
    return _reserved(_BESIDE + component)


def is_directory_name(name: str) -> bool:
    """Whether a name can mean a directory only, whatever is stored."""
    return name.startswith(_RESERVED) and (name == NO_NAME or is_beside(name))


def is_beside(name: str) -> bool:
    """Whether a name is one that ``name_beside`` gives."""
    return name.startswith((_BESIDE, SHORTENED + "+")) and name != OWN_CONTENT


def name_to_component(name: str, *, first: bool = False) -> str:
    """The key component of a file name. Raises: NameTooLong (over 255 bytes), InvalidArgument (stands for nothing)."""
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise NameTooLong(f"{name!r} is longer than {MAX_NAME_BYTES} bytes")
    if not name.startswith(_RESERVED):
        return _escaped(name, first=first)
    full = _shortened.get(name, name)
    component = full[len(_AS_IT_IS):]
    shown = name_beside(component) if full.startswith(_BESIDE) else component_to_name(component, first=first)
    if shown != name:
        raise InvalidArgument(f"{name!r} is reserved and stands for no key")
    return component


def unknown_begin(name: str) -> Optional[str]:
    """How the component of a shortened name begins that no listing has shown yet; None for all other names."""
    match = _SHORT_FORM.fullmatch(name) if name not in _shortened else None
    return match and match.group(1)


def has_path(key: str) -> bool:
    """Whether the client sends requests for a key; its components may still have no name."""
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return False
    # Whatever normalises URLs on the way would take ``a/..`` for the bucket.
    return key[-1:] not in "./" or posixpath.normpath("/./" + key) != "/"


def _is_name(name: str) -> bool:
    raw = name.encode("utf-8", "surrogateescape")
    # Escaped bytes that together are UTF-8 do not come back as such from the kernel.
    return name not in _NO_NAMES and b"\0" not in raw and len(raw) <= MAX_NAME_BYTES \
        and raw.decode("utf-8", "surrogateescape") == name


def _escaped(name: str, *, first: bool) -> str:
    component = _REFUSED.sub(_escape, name)
    return f"{_ESCAPE}5C{component[1:]}" if first and component.startswith("\\") else component


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    return _ESCAPE * 2 if char == _ESCAPE else f"{_ESCAPE}{ord(char) & 0xFF:02X}"


def _unescape(match: re.Match[str]) -> str:
    if match.group(1) is None:
        return _ESCAPE
    code = int(match.group(1), 16)
    return chr(code) if code < 0x80 else chr(0xDC00 + code)


def _reserved(full: str) -> Optional[str]:
    """``␛-C`` or ``␛+C``, shortened when it is too long; None when it cannot be a name."""
    if "\0" in full or _NO_UTF8.search(full):
        return None
    raw = full.encode("utf-8")
    if len(raw) <= MAX_NAME_BYTES:
        return full
    begin = full[2:].encode("utf-8")[:_BEGIN_BYTES].decode("utf-8", "ignore")
    name = f"{SHORTENED}{full[1]}{begin}~{hashlib.sha256(raw).hexdigest()[:32]}"
    with _shortened_lock:
        _shortened.pop(name, None)
        _shortened[name] = full
        if len(_shortened) > _MAX_SHORTENED:
            del _shortened[next(iter(_shortened))]
    return name


class KeySpace:
    """The part of the bucket that is mounted: ``prefix`` is empty or ends with a slash."""

    def __init__(self, prefix: str = "") -> None:
        assert not prefix or prefix.endswith("/")
        self.prefix = prefix

    def object_key(self, path: str) -> str:
        """The key of the object that a path names, to look it up. Raises: NameTooLong, InvalidArgument."""
        names = path.strip("/").split("/")
        if OWN_CONTENT in names[:-1]:
            raise InvalidArgument(f"{path!r}: what a directory's marker holds is no directory")
        first = not self.prefix
        return self._checked(self.prefix + "/".join(
            name_to_component(name, first=first and index == 0) for index, name in enumerate(names)))

    def file_key(self, path: str) -> str:
        """The key of an object that is to be made. Raises: NameTooLong, InvalidArgument (no object can be there)."""
        key = self.object_key(path)
        if key == self.prefix or key.endswith("/") or is_directory_name(split(path)[1]):
            raise InvalidArgument(f"{path!r} is a reserved name, under which no file can be made")
        return self._storable(key)

    def directory_key(self, path: str) -> str:
        """The key of a directory's marker, which is also the prefix of its children; "" for a bare root."""
        if path == "/":
            return self.prefix
        if split(path)[1] == OWN_CONTENT:
            raise InvalidArgument(f"{path!r}: what a directory's marker holds is no directory")
        return self._checked(self.object_key(path) + "/")

    def marker_key(self, path: str) -> str:
        """The same for a directory whose marker is to be stored. Raises: NameTooLong, InvalidArgument."""
        return self._storable(self.directory_key(path))

    @staticmethod
    def _checked(key: str) -> str:
        size = len(key.encode("utf-8"))
        if size > MAX_KEY_BYTES:
            raise NameTooLong(f"key of {size} bytes; the service takes {MAX_KEY_BYTES}")
        return key

    @staticmethod
    def _storable(key: str) -> str:
        """Refuse what the service would refuse ("Object overview")."""
        if key[:1] in ("/", "\\") or _NOT_IN_NEW_KEYS.search(key) or not has_path(key):
            raise InvalidArgument(f"the service stores nothing under the key {key!r}")
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


def up_to(path: str, top: str) -> List[str]:
    """A path and those above it, up to ``top``."""
    paths = [path]
    while paths[-1] != top:
        paths.append(split(paths[-1])[0])
    return paths
