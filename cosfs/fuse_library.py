"""Which FUSE library serves a mount: the one place that chooses between the bindings.

fusepy on libfuse 2 comes with the package; mfusepy on libfuse 3 is an extra, and used where it is installed. Importing
a binding loads its library, so neither is imported before it is wanted.
"""

from __future__ import annotations

import os
import shutil
from typing import List, Optional, Tuple

from cosfs.fuse_callbacks import Binding
from cosfs.preflight import MountError

_MISSING_2 = "install them with: pip install fusepy, apt-get install libfuse2"
_MISSING_3 = "install them with: pip install 'cosfs-fuse[fuse3]', apt-get install fuse3"


def find_binding(libfuse: Optional[int] = None) -> Binding:
    """The binding for that major version of libfuse; None: the first preferred one that is there.

    Raises: MountError.
    """
    missing: List[str] = []
    for version in _preferred() if libfuse is None else (libfuse,):
        try:
            return _mfusepy() if version == 3 else _fusepy()
        except (ImportError, OSError) as exc:
            remedy = _MISSING_3 if version == 3 else _MISSING_2
            missing.append(f"libfuse {version} or its Python package is missing ({exc}); {remedy}")
    raise MountError("; or else: ".join(sorted(missing)))


def _preferred() -> Tuple[int, ...]:
    """Versions in the order in which a mount wants them. Who is not root mounts with libfuse 3 by its own helper."""
    return (3, 2) if os.geteuid() == 0 or shutil.which("fusermount3") else (2, 3)


def _fusepy() -> Binding:
    from cosfs import fuse_binding  # noqa: PLC0415
    return fuse_binding


def _mfusepy() -> Binding:
    from cosfs import fuse3_binding  # noqa: PLC0415
    return fuse3_binding
