"""Walks over a tree (``find``, ``du``, ``rm -r``), recognised and answered from flat listings.

A program that lists a directory, then a child of it, then a grandchild or the next child, goes on like that.
From then on one page of a listing without delimiter, 1,000 keys in the order of the walk, tells the
children of every directory that lies in it completely, instead of one request per directory.

Pure: no I/O, no clock, no lock (``WalkDetector`` is guarded by its user).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence

from cosfs.cos.interface import ListedObject
from cosfs.namespace.children import add_directory, add_object
from cosfs.namespace.entries import Entry
from cosfs.namespace.paths import is_inside, join, split

_CHAIN = 3
"""Directories listed one below or beside the other that make a walk; with two, each ``ls`` after a ``cd`` would."""


class WalkDetector:
    """Follows which directories had to be listed, in order."""

    def __init__(self) -> None:
        self._top: Optional[str] = None
        self._last = ""
        self._length = 0
        self._too_large = ""

    def listed(self, path: str) -> Optional[str]:
        """Note that a directory is about to be listed; returns the top of the walk that this belongs to, if any."""
        if self._top is not None and is_inside(path, self._top) and self._continues(path):
            self._length += 1
        else:
            self._top, self._length = path, 1
        self._last = path
        walking = self._length >= _CHAIN and self._top != self._too_large
        return self._top if walking else None

    def _continues(self, path: str) -> bool:
        """A child of the last directory, or a later sibling of it or of a directory above it."""
        parent = split(path)[0]
        return parent == self._last or is_inside(self._last, parent)

    def was_too_large(self) -> None:
        """A directory of this walk does not fit one page: listings with a delimiter serve it better."""
        self._too_large = self._top or ""


@dataclass
class FlatPage:
    """The directories that a page of a flat listing tells completely.

    ``listings``: by path, their children by name. ``hidden``: keys that have no path.
    """

    listings: Dict[str, Dict[str, Entry]] = field(default_factory=dict)
    hidden: List[str] = field(default_factory=list)


def marker_before(prefix: str) -> str:
    """A listing marker that all keys below ``prefix`` come after, and as few others as possible."""
    return prefix[:-1] + chr(ord("/") - 1)


def read_flat_page(rows: Sequence[ListedObject], top_prefix: str, paths: Mapping[str, str], marker: str, *,
                   truncated: bool) -> FlatPage:
    """Sort the rows of ``LIST prefix=top_prefix marker=marker`` into the directories below.

    ``paths``: of the directories that are known, the top's among them, by prefix; a directory whose name depends
    on an object that comes before the marker must be one of those. A directory is complete when its keys begin
    after the marker, and end before the last row or the listing does. What is known only in part is left out.
    """
    page = FlatPage()
    found = dict(paths)
    known: Dict[str, Dict[str, Entry]] = {}
    for row in rows:
        _add_row(row, top_prefix, found, known, page.hidden)
    last = rows[-1].key if rows else ""
    for prefix, names in known.items():
        begins = prefix > marker and (prefix in paths or prefix[:-1] > marker)
        if begins and (not truncated or (last > prefix and not last.startswith(prefix))):
            page.listings[found[prefix]] = names
    return page


def _add_row(row: ListedObject, top_prefix: str, paths: Dict[str, str], known: Dict[str, Dict[str, Entry]],
             hidden: List[str]) -> None:
    """Note an object, and the directories on the way to it, as children of their parents."""
    prefix = top_prefix
    *folders, leaf = row.key[len(top_prefix):].split("/")
    for folder in folders:
        names = known.setdefault(prefix, {})
        path, prefix = paths[prefix], f"{prefix}{folder}/"
        if prefix not in paths:
            name = add_directory(names, prefix, folder, marker=row if row.key == prefix else False)
            if name is None:
                hidden.append(row.key)
                return
            paths[prefix] = join(path, name)
    add_object(known.setdefault(prefix, {}), row, leaf, hidden)
