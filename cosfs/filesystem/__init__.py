"""The filesystem, without FUSE."""

from cosfs.filesystem.control import ControlledFilesystem
from cosfs.filesystem.control_files import shown_settings
from cosfs.filesystem.core import CosFilesystem
from cosfs.filesystem.rename_recovery import Recovered
from cosfs.filesystem.types import NOW, OMIT, Attr, Caller, Dirent, OpenResult, Purpose, Statfs, Time
from cosfs.filesystem.versions_folder import VersionedFilesystem
from cosfs.filesystem.writeback_recovery import Listed, files_in_journal, waiting_files

__all__ = ["NOW", "OMIT", "Attr", "Caller", "ControlledFilesystem", "CosFilesystem", "Dirent", "Listed", "OpenResult",
           "Purpose", "Recovered", "Statfs", "Time", "VersionedFilesystem", "files_in_journal", "shown_settings",
           "waiting_files"]
