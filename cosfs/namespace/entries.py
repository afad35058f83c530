"""What a name of the bucket stands for, as far as that is known: the values of caches and listings. Pure."""

from __future__ import annotations

import enum
from typing import Mapping, NamedTuple, Optional, Union

from cosfs.cos.interface import ListedObject, ObjectInfo


class Entry(NamedTuple):
    """A file or directory of the bucket.

    ``key``: of the object; for a directory, of its marker. ``marker``: whether a directory's marker is
    stored, None while that is unknown. ``info``: what HEAD told, None while only a listing was seen.
    ``etag``: empty where the version is not known.
    """

    key: str
    is_directory: bool
    size_bytes: int = 0
    etag: str = ""
    last_modified_s: float = 0.0
    info: Optional[ObjectInfo] = None
    marker: Optional[bool] = None
    storage_class: str = "STANDARD"

    @property
    def headers_known(self) -> bool:
        """Whether nothing is left to ask: the headers are here, or the directory has no object."""
        return self.info is not None or self.marker is False

    def is_version_of(self, info: ObjectInfo) -> bool:
        """Whether the object is still the one that ``info`` describes, if that was settled.

        A lifecycle rule moves an object to another class and leaves ETag and Last-Modified ("Lifecycle Overview").
        """
        return (self.etag == info.etag and int(self.last_modified_s) == int(info.last_modified_s)
                and self.storage_class == info.storage_class)


def entry_of_info(info: ObjectInfo, *, is_directory: bool) -> Entry:
    return Entry(info.key, is_directory, 0 if is_directory else info.size_bytes, info.etag,
                 info.last_modified_s, info, is_directory or None, info.storage_class)


def entry_of_row(row: ListedObject, *, is_directory: bool = False) -> Entry:
    return Entry(row.key, is_directory, 0 if is_directory else row.size_bytes, row.etag, row.last_modified_s,
                 None, is_directory or None, row.storage_class)


class Absence(enum.Enum):
    ABSENT = "absent"


ABSENT = Absence.ABSENT
Known = Union[Entry, Absence]
Listing = Mapping[str, Entry]
