"""Mount a Tencent COS bucket as a directory, and talk to it from Python.

The names below are the public Python API; they are imported when first used, so that ``import cosfs`` loads
neither the HTTP nor the FUSE library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from cosfs.version import __version__

if TYPE_CHECKING:
    from cosfs.cos.sdk import CosS3Client
    from cosfs.cos.sdk_config import CosConfig
    from cosfs.errors import CosClientError, CosServiceError

__all__ = ["CosClientError", "CosConfig", "CosS3Client", "CosServiceError", "__version__"]

_HOMES = {
    "CosClientError": "cosfs.errors",
    "CosConfig": "cosfs.cos.sdk_config",
    "CosS3Client": "cosfs.cos.sdk",
    "CosServiceError": "cosfs.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> List[str]:
    return __all__
