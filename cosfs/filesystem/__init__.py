"""The filesystem, without FUSE."""

from cosfs.filesystem.core import CosFilesystem
from cosfs.filesystem.types import NOW, OMIT, Attr, Caller, Dirent, OpenResult, Statfs, Time

__all__ = ["NOW", "OMIT", "Attr", "Caller", "CosFilesystem", "Dirent", "OpenResult", "Statfs", "Time"]
