"""What a mount may show of a bucket that others change too, by ``docs/SEMANTICS.md``: the oracle of the model.

``History`` keeps, per path, every state that was current and when. ``Beliefs`` is one mount's share: which states its
caches may still show now. ``Held`` is one open file, with the contents that it may have. All pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Mapping, Optional, Set, Tuple, Union

ABSENT = "absent"
FOLDER = "folder"


@dataclass(frozen=True)
class Version:
    """A stored file, as stat, getxattr and read show it. ``tag``: the xattr that the model sets, None for none."""

    etag: str
    body: bytes = field(repr=False)
    mode: int
    mtime_s: int
    tag: Optional[bytes]


State = Union[str, Version]


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class History:
    """Per path the states that it had, each with the time from which on, oldest first."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        self._states: Dict[str, List[Tuple[float, State]]] = {path: [(float("-inf"), ABSENT)] for path in self.paths}

    def record(self, states: Mapping[str, State], now_s: float) -> Set[str]:
        """Note what is current from ``now_s`` on; returns the paths that changed."""
        changed = {path for path in self.paths if self.current(path) != states.get(path, ABSENT)}
        for path in changed:
            self._states[path].append((now_s, states.get(path, ABSENT)))
        return changed

    def current(self, path: str) -> State:
        return self._states[path][-1][1]

    def position(self, path: str) -> int:
        """How many states came before the current one."""
        return len(self._states[path]) - 1

    def states(self, path: str, oldest_s: float, first: int = 0) -> List[State]:
        """All that were current at some time from ``oldest_s`` on, from the ``first`` one on."""
        rows = self._states[path]
        replaced = [since for since, _ in rows[1:]] + [float("inf")]
        return [state for index, ((_, state), until) in enumerate(zip(rows, replaced))
                if index >= first and until >= oldest_s]


@dataclass
class Staleness:
    """The documented times in seconds. ``lag_s``: by how much listings lag behind, or lagged lately."""

    attributes_s: float
    names_s: float
    own_s: float
    """How long a mount's own changes of names are laid over listings, which may lag behind them."""
    lag_s: float = 0.0


@dataclass
class Held:
    """One open file of one mount.

    ``contents``: what it may have, one of these. ``fixed``: bytes of it were delivered or changed, so no other version
    can take its place unnoticed. ``path``: None when its name is gone. ``inherited``: errors of another handle's
    close, whose data this one may still store.
    """

    mount: int
    handle: object
    path: Optional[str]
    writes: bool
    contents: List[bytes]
    appends: bool = False
    fixed: bool = False
    dirty: bool = False
    perhaps_new: bool = False
    """Made with O_CREAT where the mount may have believed that there was nothing."""
    exclusive: bool = False
    """Made with O_EXCL and not stored yet."""
    inherited: Tuple[int, ...] = ()
    outdated: bool = False
    """Somebody else changed the object since."""

    def write(self, data: bytes, offset: int) -> None:
        self.contents = [_written(old, data, len(old) if self.appends else offset) for old in self.contents]
        self.fixed = self.dirty = True

    def truncate(self, length: int) -> None:
        self.contents = [old[:length].ljust(length, b"\0") for old in self.contents]
        self.fixed = self.dirty = True

    def take(self, offset: int, size: int, data: bytes) -> bool:
        """Note that it read ``data``; False when no content that it may have reads so."""
        possible = [content for content in self.contents if content[offset:offset + size] == data]
        if possible and data:
            self.contents, self.fixed = possible, True
        return bool(possible)


def _written(old: bytes, data: bytes, offset: int) -> bytes:
    return old[:offset].ljust(offset, b"\0") + data + old[offset + len(data):]


class Beliefs:
    """What one mount may believe of each path."""

    def __init__(self, history: History, staleness: Staleness) -> None:
        self._history = history
        self._staleness = staleness
        self._first: Dict[str, int] = {}
        self._own_at: Dict[str, float] = {}
        self._said_absent: Dict[str, float] = {}

    def did(self, paths: Iterable[str], now_s: float) -> None:
        """This mount itself changed paths: never again does it show what was there before."""
        for path in paths:
            self._first[path] = self._history.position(path)
            self._own_at[path] = now_s
            parent = parent_of(path)
            if parent != "/" and self._history.current(path) != ABSENT:
                self._first[parent] = self._history.position(parent)
                self._own_at[parent] = now_s

    def takes_as_absent(self, path: str, now_s: float) -> None:
        """This mount removed a folder with all that it knew of, or made one: what it did not know of may be there."""
        if self._history.current(path) != ABSENT:
            self._said_absent[path] = now_s

    def listed(self, path: str, now_s: float) -> List[State]:
        """The states with which a folder's listing may show a path."""
        limit_s = self._staleness.names_s + self._staleness.lag_s
        if now_s - self._own_at.get(path, float("-inf")) <= self._staleness.own_s + limit_s:
            limit_s += self._staleness.own_s
        first = self._first.get(path, 0)
        states = self._history.states(path, now_s - limit_s, first)
        said = self._said_absent.get(path, float("-inf"))
        parent = parent_of(path)
        if now_s - said <= limit_s or (parent != "/" and ABSENT in self.listed(parent, now_s)):
            states.append(ABSENT)
        return states

    def shown(self, path: str, now_s: float) -> List[State]:
        """The states with which stat may show a path."""
        known = self._history.states(path, now_s - self._staleness.attributes_s, self._first.get(path, 0))
        return [state for state in known if state != ABSENT] + \
            [state for state in self.listed(path, now_s) if state == ABSENT]
