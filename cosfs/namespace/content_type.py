"""The Content-Type of new objects, by file name."""

from __future__ import annotations

import mimetypes
import stat

from cosfs.namespace.attributes import DIRECTORY_CONTENT_TYPE

DEFAULT_CONTENT_TYPE = "application/octet-stream"


def guess_content_type(path: str, mode: int) -> str:
    """As the C++ tool does: by the last extension, else by the one before it (``page.html.bak``)."""
    if stat.S_ISDIR(mode):
        return DIRECTORY_CONTENT_TYPE
    if not stat.S_ISREG(mode):
        return DEFAULT_CONTENT_TYPE
    name = path.rpartition("/")[2].lower()
    for extension in reversed(name.split(".")[1:][-2:]):
        kind, encoding = mimetypes.guess_type(f"x.{extension}", strict=False)
        if kind is not None and encoding is None:
            return kind
    return DEFAULT_CONTENT_TYPE
