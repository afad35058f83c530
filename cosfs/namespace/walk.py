"""Walks over a tree (``find``, ``du``, ``rm -r``), recognised and answered from flat listings.

A program that lists a directory, then a child of it, then a grandchild or the next child, goes on like that.
From then on one page of a listing without delimiter, 1,000 keys in the order of the walk, tells the
children of every directory that lies in it completely, instead of one request per directory.

Pure: no I/O, no clock, no lock (``WalkDetector`` is guarded by its user).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from cosfs.cos.interface import ListedObject
from cosfs.namespace.attributes import OLD_FOLDER_SUFFIX
from cosfs.namespace.caches import Entry, entry_of_row
from cosfs.namespace.paths import component_to_name, is_inside, join, split

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

    ``listings``: by path, their children by name. ``hidden``: keys that no path can name.
    """

    listings: Dict[str, Dict[str, Entry]] = field(default_factory=dict)
    hidden: List[str] = field(default_factory=list)


def marker_before(prefix: str) -> str:
    """A listing marker that all keys below ``prefix`` come after, and as few others as possible."""
    return prefix[:-1] + chr(ord("/") - 1)


def read_flat_page(rows: Sequence[ListedObject], top_path: str, top_prefix: str, marker: str, *,
                   truncated: bool) -> FlatPage:
    """Sort the rows of ``LIST prefix=top_prefix marker=marker`` into the directories below ``top_path``.

    A directory is complete when its keys begin after the marker, and end before the last row or the listing
    does. What is known only in part is left out.
    """
    page = FlatPage()
    known: Dict[str, Tuple[str, Dict[str, Entry]]] = {}
    for row in rows:
        _add_row(row, top_path, top_prefix, known, page.hidden)
    last = rows[-1].key if rows else ""
    for path, (prefix, names) in known.items():
        ends = not truncated or (last > prefix and not last.startswith(prefix))
        if prefix > marker and ends:
            page.listings[path] = names
    return page


def _add_row(row: ListedObject, top_path: str, top_prefix: str, known: Dict[str, Tuple[str, Dict[str, Entry]]],
             hidden: List[str]) -> None:
    """Note an object, and the directories on the way to it, as children of their parents."""
    path, prefix = top_path, top_prefix
    *folders, leaf = row.key[len(top_prefix):].split("/")
    for folder in folders:
        name = component_to_name(folder)
        if name is None:
            hidden.append(row.key)
            return
        child_prefix = f"{prefix}{folder}/"
        names = known.setdefault(path, (prefix, {}))[1]
        if name not in names:
            marker = row.key == child_prefix
            names[name] = entry_of_row(row, is_directory=True) if marker else Entry(
                child_prefix, is_directory=True, marker=False)
        path, prefix = join(path, name), child_prefix
    names = known.setdefault(path, (prefix, {}))[1]
    if leaf and not add_object(names, row, leaf):
        hidden.append(row.key)


def add_object(names: Dict[str, Entry], row: ListedObject, component: str) -> bool:
    """Note an object as the child that the last component of its key names; False when no path can."""
    old_folder = component.endswith(OLD_FOLDER_SUFFIX) and row.size_bytes == 0
    name = component_to_name(component[:-len(OLD_FOLDER_SUFFIX)] if old_folder else component)
    if name is None:
        return False
    # An old folder's object wins over a bare prefix: whoever removes the directory must remove that object.
    if not old_folder or name not in names or names[name].is_directory:
        names[name] = entry_of_row(row, is_directory=old_folder)
    return True
