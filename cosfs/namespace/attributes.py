"""File attributes and the ``x-cos-meta-*`` headers that hold them.

The headers are those of Tencent's C++ cosfs, so both tools read each other's objects: ``mode``, ``uid``,
``gid``, ``mtime`` as plain decimals (mode with its type bits, mtime in whole seconds) and ``xattr`` as a
percent-encoded JSON object of base64 values. Beside them stand headers that the other tool passes through
untouched: ``mtime-ns``, ``atime`` and ``ctime`` as ``<seconds>.<nanoseconds>`` and ``rdev``. The three
times are believed only while the seconds of ``mtime-ns`` equal ``mtime``: a tool that knows nothing of
them leaves them stale when it changes the file. They are left out, ``ctime`` first, where the service's
limit for the metadata of one object leaves no room for them.

Read as well: s3sync's ``permissions``, ``owner``, ``group``, and decimal fractions in ``mtime`` (s3fs, rclone).
"""

from __future__ import annotations

import base64
import binascii
import json
import stat
from dataclasses import dataclass, field, replace
from typing import Dict, Mapping, Optional
from urllib.parse import quote, unquote

from cosfs.cos.interface import ObjectInfo
from cosfs.errors import MetadataTooLarge
from cosfs.units import MAX_METADATA_BYTES

NS = 1_000_000_000
OWN_NAMES = frozenset(("mode", "uid", "gid", "mtime", "mtime-ns", "atime", "ctime", "rdev", "xattr",
                       "permissions", "owner", "group"))
_DIRECTORY_TYPES = ("application/x-directory", "httpd/unix-directory")
DIRECTORY_CONTENT_TYPE = _DIRECTORY_TYPES[0]
OLD_FOLDER_SUFFIX = "_$folder$"


@dataclass(frozen=True)
class Attributes:
    """What chmod, chown, utimens, mknod and setxattr change; ``mode`` includes the type bits."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    rdev: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def written(self, now_ns: int) -> Attributes:
        """After a change of the content. (``replace`` takes four times as long, and this is done with every write.)"""
        return Attributes(self.mode, self.uid, self.gid, now_ns, self.atime_ns, now_ns, self.rdev, self.xattrs)

    def changed(self, now_ns: int) -> Attributes:
        return Attributes(self.mode, self.uid, self.gid, self.mtime_ns, self.atime_ns, now_ns, self.rdev, self.xattrs)


@dataclass(frozen=True)
class Defaults:
    """Shown for objects that carry no attributes. ``mode``: permission bits."""

    mode: int
    uid: int
    gid: int


def decode(info: ObjectInfo, defaults: Defaults) -> Attributes:
    """Read the attributes of an object; headers that make no sense count as absent."""
    metadata = info.headers.metadata
    modified_ns = int(info.last_modified_s * NS)
    mtime_ns = _parse_time(metadata.get("mtime"))
    exact_ns = _parse_time(metadata.get("mtime-ns"))
    exact = exact_ns is not None and mtime_ns is not None and exact_ns // NS == mtime_ns // NS
    if exact:
        mtime_ns = exact_ns
    if mtime_ns is None:
        mtime_ns = modified_ns
    atime_ns = _parse_time(metadata.get("atime")) if exact else None
    ctime_ns = _parse_time(metadata.get("ctime")) if exact else None
    return Attributes(
        mode=_decode_mode(info, defaults),
        uid=_first_number(metadata, defaults.uid, "uid", "owner"),
        gid=_first_number(metadata, defaults.gid, "gid", "group"),
        mtime_ns=mtime_ns,
        atime_ns=mtime_ns if atime_ns is None else atime_ns,
        ctime_ns=max(mtime_ns, modified_ns) if ctime_ns is None else ctime_ns,
        rdev=_first_number(metadata, 0, "rdev"),
        xattrs=decode_xattrs(metadata.get("xattr", "")),
    )


def encode(attributes: Attributes, foreign: Mapping[str, str], *, times: bool = True) -> Dict[str, str]:
    """The user metadata of an object; ``foreign`` is what other tools stored, which is kept.

    Without ``times`` that of the object itself counts (Last-Modified).

    Raises: MetadataTooLarge, when it does not fit without the exact times either.
    """
    metadata = {name: value for name, value in foreign.items() if name not in OWN_NAMES}
    metadata.update(mode=str(attributes.mode), uid=str(attributes.uid), gid=str(attributes.gid),
                    mtime=str(attributes.mtime_ns // NS))
    if attributes.rdev:
        metadata["rdev"] = str(attributes.rdev)
    if attributes.xattrs:
        metadata["xattr"] = encode_xattrs(attributes.xattrs)
    fits = not (attributes.xattrs or foreign)  # numbers alone do
    size = 0 if fits else sum(_size(name, value) for name, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise MetadataTooLarge(f"attributes take {size} bytes of metadata; the service stores {MAX_METADATA_BYTES}")
    if not times:
        del metadata["mtime"]
        return metadata
    exact = {"mtime-ns": attributes.mtime_ns, "atime": attributes.atime_ns, "ctime": attributes.ctime_ns}
    for name, time_ns in exact.items():
        value = _format_time(time_ns)
        size += 0 if fits else _size(name, value)
        if size > MAX_METADATA_BYTES:
            break
        metadata[name] = value
    return metadata


def _size(name: str, value: str) -> int:
    return len("x-cos-meta-") + len(name.encode()) + len(value.encode())


def decode_file(info: ObjectInfo, defaults: Defaults) -> Attributes:
    """The attributes of a file: of an object, or of what a directory's marker holds."""
    attributes = decode(info, defaults)
    if info.key.endswith("/"):
        return replace(attributes, mode=stat.S_IFREG | stat.S_IMODE(attributes.mode))
    return attributes


def is_directory_object(info: ObjectInfo) -> bool:
    """True for a marker, and for the old directory objects: ``dir`` by its type, ``dir_$folder$``."""
    if info.key.endswith("/"):
        return True
    mode = _first_number(info.headers.metadata, 0, "mode", "permissions")
    if stat.S_IFMT(mode):
        return stat.S_ISDIR(mode)
    if info.key.endswith(OLD_FOLDER_SUFFIX) and not info.size_bytes:
        return True
    return info.headers.standard.get("Content-Type") in _DIRECTORY_TYPES


def is_old_directory(info: ObjectInfo) -> bool:
    """True for a directory object that is no marker; listings show it as an empty object."""
    return is_directory_object(info) and not info.key.endswith("/")


def stored_type(info: ObjectInfo) -> int:
    """The type bits of the file that an object is, whatever the mount's defaults."""
    if info.key.endswith("/"):
        return stat.S_IFDIR
    kind = stat.S_IFMT(_first_number(info.headers.metadata, 0, "mode", "permissions"))
    return kind or (stat.S_IFDIR if is_directory_object(info) else stat.S_IFREG)


def _decode_mode(info: ObjectInfo, defaults: Defaults) -> int:
    mode = _first_number(info.headers.metadata, -1, "mode", "permissions")
    if mode < 0:
        mode = defaults.mode
    if info.key.endswith("/"):  # whatever a tool that copies attributes has put there
        return stat.S_IFDIR | stat.S_IMODE(mode)
    if stat.S_IFMT(mode):
        return mode
    return mode | (stat.S_IFDIR if is_directory_object(info) else stat.S_IFREG)


def _first_number(metadata: Mapping[str, str], default: int, *names: str) -> int:
    for name in names:
        text = metadata.get(name)
        if text is not None and text.isascii() and text.isdigit():
            return int(text)
    return default


def _parse_time(text: Optional[str]) -> Optional[int]:
    """Nanoseconds of ``<seconds>[.<fraction>]``; the fraction counts upward, also for negative seconds."""
    if text is None:
        return None
    seconds, _, fraction = text.strip().partition(".")
    try:
        return int(seconds) * NS + int((fraction + "0" * 9)[:9])
    except ValueError:
        return None


def _format_time(time_ns: int) -> str:
    return f"{time_ns // NS}.{time_ns % NS:09d}"


def encode_xattrs(xattrs: Mapping[str, bytes]) -> str:
    """The C++ tool's form. Its reader splits at commas and colons, so names carry those escaped."""
    fields = (f"{_json_name(name)}:\"{base64.b64encode(value).decode('ascii')}\"" for name, value in xattrs.items())
    return quote("{" + ",".join(fields) + "}", safe="/")


def _json_name(name: str) -> str:
    return json.dumps(name).replace(",", "\\u002c").replace(":", "\\u003a")


def decode_xattrs(header: str) -> Dict[str, bytes]:
    """Read both our JSON and the C++ tool's near-JSON; fields that make no sense are left out."""
    text = unquote(header).strip() if header else ""
    if not text.startswith("{"):
        return {}
    xattrs: Dict[str, bytes] = {}
    for item in text[1:].rstrip("}").split(","):
        name, _, value = item.partition(":")
        try:
            decoded_name = json.loads(name.strip())
            xattrs[str(decoded_name)] = base64.b64decode(value.strip().strip('"'), validate=True)
        except (ValueError, binascii.Error):
            continue
    return xattrs
