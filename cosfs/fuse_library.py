"""Which FUSE library serves a mount: the one place that chooses between the bindings.

fusepy on libfuse 2 comes with the package and is the default; mfusepy on libfuse 3 is an extra. Importing a binding
loads its library, so neither is imported before it is wanted.
"""

from __future__ import annotations

from typing import List, Optional

from cosfs.fuse_callbacks import Binding
from cosfs.preflight import MountError

_MISSING_2 = "install them with: pip install fusepy, apt-get install libfuse2"
_MISSING_3 = "install them with: pip install 'cosfs-fuse[fuse3]', apt-get install fuse3"


def find_binding(libfuse: Optional[int] = None) -> Binding:
    """The binding for that major version of libfuse; None: 2 if it is there, else 3. Raises: MountError."""
    missing: List[str] = []
    for version, load, remedy in ((2, _fusepy, _MISSING_2), (3, _mfusepy, _MISSING_3)):
        if libfuse in (None, version):
            try:
                return load()
            except (ImportError, OSError) as exc:
                missing.append(f"libfuse {version} or its Python package is missing ({exc}); {remedy}")
    raise MountError("; or else: ".join(missing))


def _fusepy() -> Binding:
    from cosfs import fuse_binding  # noqa: PLC0415
    return fuse_binding


def _mfusepy() -> Binding:
    from cosfs import fuse3_binding  # noqa: PLC0415
    return fuse3_binding
