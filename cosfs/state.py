"""Where a mount keeps what must outlive it on this machine: one folder per bucket, shared by all mounts of it.

Defined here and only here: the default place, how the folder of a bucket is named and made. In it lie the
journals of directory renames (filesystem/rename_journal.py), those of writeback mode with the files that they promise
(filesystem/writeback_journal.py), and the headers of objects
(namespace/headers_db.py). Whatever prefix a mount has, and whoever makes
it, the folder of a bucket at an endpoint is the same, so the next mount finds what the last one left.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Mapping, Optional
from urllib.parse import quote, urlsplit

log = logging.getLogger(__name__)

SYSTEM_FOLDER = "/var/lib/cosfs"
"""Of root, whose mounts are the machine's ("/var/lib", Filesystem Hierarchy Standard 3.0, section 5.8)."""

_PORTS = {"http": 80, "https": 443}


def default_state_folder(environment: Optional[Mapping[str, str]] = None) -> str:
    """``$XDG_STATE_HOME/cosfs``; without that variable root's is ``SYSTEM_FOLDER``, others' in their home.

    XDG Base Directory Specification 0.8: a relative path in the variable is to be ignored.
    """
    values = os.environ if environment is None else environment
    base = values.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return os.path.join(base, "cosfs")
    if os.geteuid() == 0:
        return SYSTEM_FOLDER
    folder = os.path.expanduser("~/.local/state/cosfs")
    # of a user whom neither the environment nor passwd(5) gives a home (containers), as if that were the root folder
    return folder if os.path.isabs(folder) else folder.replace("~", "", 1)


def bucket_folder(state_folder: str, endpoint_url: str, bucket: str) -> str:
    """The folder of a bucket: ``STATE/BUCKET@HOST:PORT``, with anything unusual percent-encoded."""
    parts = urlsplit(endpoint_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    name = f"{quote(bucket, safe='')}@{quote(f'{host}:{parts.port or _PORTS.get(parts.scheme, 0)}', safe=':[]')}"
    return os.path.join(state_folder, name)


def cache_folder(folder: str, endpoint_url: str, bucket: str) -> str:
    """Where the data cache of a bucket lies below the folder that the user names for all (``use_cache=``).

    The number is that of the format: a mount of another version has its own. The C++ tool's names are others.
    """
    return os.path.join(bucket_folder(folder, endpoint_url, bucket), "blocks-1")


def make_folder(folder: str) -> Optional[str]:
    """Make a bucket's folder, for its user alone, if it is not there.

    Returns it; None, with a warning in the log, when that cannot be done: the mount then goes without.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as exc:
        log.warning("nothing can be kept in %s (%s), so the next mount cannot finish the rename of a folder that a "
                    "crash cuts off, and asks for all headers of objects again; give another state_dir=",
                    folder, exc.strerror)
        return None
    return folder
