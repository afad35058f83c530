"""The names' half of the state machine of two mounts of one bucket and a foreign writer (``two_mounts_files.py``).

After each step, what each mount shows must be allowed by ``docs/SEMANTICS.md``, as ``beliefs.py`` has it, and what a
mount said it stored must be in the bucket. No two contents have a block in common, so mixed bytes are never allowed.
Subclasses bring the mounts, the bucket and the clock.
"""

from __future__ import annotations

import errno
import stat
from typing import Any, Callable, Collection, Dict, List, Optional

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from cosfs.cos.interface import ObjectClient, ObjectHeaders
from cosfs.errors import ObjectNotFound
from cosfs.namespace.attributes import decode_xattrs
from tests.model.beliefs import ABSENT, FOLDER, Beliefs, Held, History, Staleness, State, Version, parent_of
from tests.model.machine import Outcome, outcome, shown
from tests.support.worlds import World

FOLDERS = ("/d", "/e")
FILES = ("/a", "/b", "/d/a", "/d/b", "/e/a", "/e/b")
SIZES = (0, 1, 700, 5000, 40_000, 70_001)
OFFSETS = (0, 1, 600, 4096, 50_000)
MODES = (0o600, 0o640, 0o755)
MAX_HELD = 4

ENOENT, EEXIST, ESTALE, ENOTEMPTY = errno.ENOENT, errno.EEXIST, errno.ESTALE, errno.ENOTEMPTY

mounts = st.integers(0, 1)
files = st.sampled_from(FILES)
folders = st.sampled_from(FOLDERS)
slots = st.integers(0, MAX_HELD - 1)


class Bucket:
    """The bucket as a foreign writer sees it, key by key: listings may lag, the rest does not."""

    def __init__(self, client: ObjectClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._versions: Dict[str, Version] = {}

    def states(self) -> Dict[str, State]:
        found: Dict[str, State] = {}
        for folder in FOLDERS:
            if self._head(folder + "/") is not None:
                found[folder] = FOLDER
        for path in FILES:
            version = self._version(path)
            if version is not None:
                found[path] = version
                if parent_of(path) != "/":
                    found[parent_of(path)] = FOLDER
        return found

    def put(self, path: str, body: bytes, mode: int, mtime_s: int) -> None:
        self._client.put_object(self._key(path), body, headers=_headers(mode, mtime_s))

    def delete(self, path: str) -> None:
        self._client.delete_object(self._key(path))

    def change_attributes(self, path: str, mode: int, mtime_s: int) -> None:
        """A copy onto itself: the same ETag, another Last-Modified."""
        if self._head(path) is not None:
            self._client.copy_object(self._key(path), self._key(path), headers=_headers(mode, mtime_s))

    def _key(self, path: str) -> str:
        return self._prefix + path[1:]

    def _head(self, path: str) -> Any:
        try:
            return self._client.head_object(self._key(path))
        except ObjectNotFound:
            return None

    def _version(self, path: str) -> Optional[Version]:
        info = self._head(path)
        if info is None:
            return None
        known = self._versions.get(path)
        body = bytearray(info.size_bytes)
        if known is not None and known.etag == info.etag:
            body[:] = known.body
        elif body:
            self._client.get_object(self._key(path), memoryview(body), if_match=info.etag)
        metadata = info.headers.metadata
        self._versions[path] = Version(info.etag, bytes(body), int(metadata["mode"]) & 0o7777, int(metadata["mtime"]),
                                       decode_xattrs(metadata.get("xattr", "")).get("user.a"))
        return self._versions[path]


def _headers(mode: int, mtime_s: int) -> ObjectHeaders:
    return ObjectHeaders(metadata={"mode": str(stat.S_IFREG | mode), "mtime": str(mtime_s)})


class NamesMachine(RuleBasedStateMachine):
    """Subclasses make ``bucket``, ``worlds`` and ``staleness``, and tell the time."""

    bucket: Bucket
    worlds: List[World]
    staleness: Staleness

    def __init__(self) -> None:
        super().__init__()
        self.begin()
        self.history = History((*FOLDERS, *FILES))
        self.history.record(self.bucket.states(), self.now())
        self.beliefs = [Beliefs(self.history, self.staleness) for _ in self.worlds]
        self.held: List[Held] = []
        self.serial = 0

    def begin(self) -> None:
        raise NotImplementedError

    def now(self) -> float:
        raise NotImplementedError

    def settle(self, mount: int) -> None:
        self.worlds[mount].fsyncdir("/")

    def next_second(self) -> None:
        """Before a change that leaves the ETag as it is: within one second nothing tells such versions apart."""

    # One step

    def act(self, mount: int, action: Callable[[World], Any], permitted: Collection[int], *touched: str,
            decides: bool = True) -> Outcome:
        """Do it in one mount. It succeeds or fails with a permitted errno, and changes in the bucket what it may.

        ``decides``: success makes ``touched`` what they are then, also if the bucket was like that before.
        """
        now_s = self.now()
        got = outcome(lambda: action(self.worlds[mount]))
        self.settle(mount)
        changed = self.record(mount)
        may_change = {path for name in touched for path in (name, parent_of(name), *self._below(name))}
        assert changed <= may_change, f"{changed} changed in the bucket"
        if got.errno is None:
            self.beliefs[mount].did(touched if decides else (), now_s)
        else:
            assert got.errno in {errno.errorcode[number] for number in permitted}, f"got {shown(got)}"
            assert not changed, f"{shown(got)}, but {changed} changed in the bucket"
        # A folder whose marker somebody else has deleted goes with its last file, unnoticed by who removed that.
        # Attributes that met a foreign version were changed behind the kernel, which shows the old ones for its time.
        if decides or ESTALE not in permitted:
            self.beliefs[mount].did((path for path in changed if path in touched
                                     or self.history.current(path) != ABSENT), now_s)
        return got

    def record(self, mount: Optional[int]) -> Collection[str]:
        """Take in what the bucket is now; ``mount``: whose doing it was."""
        changed = self.history.record(self.bucket.states(), self.now())
        for held in self.held:
            if held.path in changed:
                state = self.history.current(held.path)
                held.outdated = held.outdated or held.mount != mount
                if not held.fixed and isinstance(state, Version):
                    held.contents.append(state.body)
        return changed

    def may_fail(self, mount: int, path: str) -> List[int]:
        """Errors of what needs an existing file."""
        states = self.beliefs[mount].shown(path, self.now())
        permitted = [ENOENT] if ABSENT in states else []
        if len(states) > 1 or any(held.outdated for held in self.open_at(mount, path)):
            permitted += [ESTALE, ENOENT]
        return permitted

    def open_at(self, mount: int, path: Optional[str]) -> List[Held]:
        return [held for held in self.held if held.mount == mount and held.path == path and path is not None]

    def content(self, size: int) -> bytes:
        self.serial += 1
        if not size:
            self.next_second()
        stamp = f"{self.serial:07d}|"[::-1].encode()
        return (stamp * (size // len(stamp) + 1))[:size]

    def stamp_s(self) -> int:
        self.serial += 1
        self.next_second()
        return 10**9 + self.serial

    def _below(self, path: str) -> List[str]:
        return [name for name in (*FOLDERS, *FILES) if name.startswith(path + "/")]

    # The foreign writer

    @rule(path=files, size=st.sampled_from(SIZES), mode=st.sampled_from(MODES))
    def foreign_put(self, path: str, size: int, mode: int) -> None:
        self.bucket.put(path, self.content(size), mode, 10**9 + self.serial)
        self.record(None)

    @rule(path=files)
    def foreign_delete(self, path: str) -> None:
        self.bucket.delete(path)
        self.record(None)

    @rule(path=files, mode=st.sampled_from(MODES))
    def foreign_attributes(self, path: str, mode: int) -> None:
        self.bucket.change_attributes(path, mode, self.stamp_s())
        self.record(None)

    # Names

    @rule(mount=mounts, path=files)
    def unlink(self, mount: int, path: str) -> None:
        """Of what this mount has not stored yet, nothing is deleted in the bucket."""
        unstored = self._unstored(mount, path)
        got = self.act(mount, lambda w: w.unlink(path), self.may_fail(mount, path), path)
        if got.errno is None:
            assert unstored or self.history.current(path) == ABSENT
            self.beliefs[mount].takes_as_absent(path, self.now())
            for held in self.open_at(mount, path):
                held.path = None

    @rule(mount=mounts, folder=folders)
    def unlink_all(self, mount: int, folder: str) -> None:
        """In a burst, in which the later ones are not waited for; each name goes at once."""
        names = [path for path in self._below(folder) if path in FILES]
        gone: List[str] = []
        unstored = [path for path in names if self._unstored(mount, path)]

        def unlink(w: World) -> None:
            for path in names:
                if outcome(lambda path=path: w.unlink(path)).errno is None:  # type: ignore[misc]
                    gone.append(path)
                assert not w.exists(path)

        self.act(mount, unlink, (), *names, decides=False)
        for path in gone:
            assert path in unstored or self.history.current(path) == ABSENT
            self.beliefs[mount].did([path], self.now())
            self.beliefs[mount].takes_as_absent(path, self.now())
            for held in self.open_at(mount, path):
                held.path = None

    @rule(mount=mounts, path=folders)
    def mkdir(self, mount: int, path: str) -> None:
        states = self.beliefs[mount].shown(path, self.now())
        permitted = [EEXIST] if FOLDER in states or self._open_below(mount, path) else []
        if self.act(mount, lambda w: w.mkdir(path), permitted, path).errno is None:
            assert self.history.current(path) == FOLDER
            for child in self._below(path):
                self.beliefs[mount].takes_as_absent(child, self.now())

    @rule(mount=mounts, path=folders)
    def rmdir(self, mount: int, path: str) -> None:
        permitted = [ENOENT] if ABSENT in self.beliefs[mount].shown(path, self.now()) else []
        if self._may_have_children(mount, path):
            permitted.append(ENOTEMPTY)
        got = self.act(mount, lambda w: w.rmdir(path), permitted, path)
        if got.errno is None:
            # What this mount did not know of is still there. Whose listings lag sees neither that nor the marker.
            for beliefs in self.beliefs if self.staleness.lag_s else [self.beliefs[mount]]:
                beliefs.takes_as_absent(path, self.now())

    @rule(mount=mounts, old=files, new=files)
    def rename(self, mount: int, old: str, new: str) -> None:
        """The target becomes what the source is in the bucket, or what this mount has not stored yet."""
        if old == new:
            return
        before, moved = self.history.current(old), self.open_at(mount, old)
        permitted = self.may_fail(mount, old) + [error for held in self.open_at(mount, new) if held.outdated
                                                 for error in (ESTALE,)]
        if self._may_lack(mount, parent_of(new)):
            permitted.append(ENOENT)
        got = self.act(mount, lambda w: w.rename(old, new), permitted, old, new)
        if got.errno is not None:
            return
        bodies = [content for held in moved for content in held.contents]
        bodies += [before.body] if isinstance(before, Version) else []
        now = self.history.current(new)
        unstored = any(held.dirty or held.perhaps_new for held in moved)
        assert (isinstance(now, Version) and now.body in bodies) or (unstored and now == ABSENT), "another content"
        assert self.history.current(old) == ABSENT
        for held in self.open_at(mount, new):
            held.path = None
        for held in moved:
            held.path, held.exclusive = new, False
            if isinstance(now, Version):
                held.dirty = False

    @rule(mount=mounts, old=folders, new=folders)
    def rename_folder(self, mount: int, old: str, new: str) -> None:
        if old == new:
            return
        permitted = [ENOENT] if ABSENT in self.beliefs[mount].shown(old, self.now()) else []
        if self._may_have_children(mount, new):
            permitted.append(ENOTEMPTY)
        if any(held.outdated for held in self.held if held.mount == mount and held.path in self._below(old)):
            permitted.append(ESTALE)
        before = {path: self.history.current(path) for path in FILES}
        got = self.act(mount, lambda w: w.rename(old, new), permitted, old, new, *self._below(old), *self._below(new),
                       decides=False)
        if got.errno is not None:
            return
        self.beliefs[mount].did((old, new), self.now())
        for path in (old, *self._below(old), *self._below(new)):
            self.beliefs[mount].takes_as_absent(path, self.now())
        for path in self._below(old):
            state, after = before[path], [self.history.current(path), self.history.current(new + path[len(old):])]
            if isinstance(state, Version) and not self.open_at(mount, path):
                assert state.body in [found.body for found in after if isinstance(found, Version)], f"{path} is lost"
        for held in self.held:
            if held.mount == mount and held.path in self._below(old):
                held.path = new + str(held.path)[len(old):]
                held.dirty, held.exclusive = held.dirty and self.history.current(held.path) == ABSENT, False

    # Attributes

    @rule(mount=mounts, path=files, mode=st.sampled_from(MODES))
    def chmod(self, mount: int, path: str, mode: int) -> None:
        self.change_attributes(mount, path, lambda w: w.chmod(path, mode), lambda version: version.mode == mode)

    @rule(mount=mounts, path=files)
    def utimens(self, mount: int, path: str) -> None:
        time_s = self.stamp_s()
        self.change_attributes(mount, path, lambda w: w.utimens(path, time_s * 10**9, time_s * 10**9),
                               lambda version: version.mtime_s == time_s)

    @rule(mount=mounts, path=files)
    def setxattr(self, mount: int, path: str) -> None:
        value = b"%d" % self.stamp_s()
        self.change_attributes(mount, path, lambda w: w.setxattr(path, "user.a", value),
                               lambda version: version.tag == value)

    @rule(mount=mounts, path=files, mode=st.sampled_from(MODES))
    def change_all_attributes(self, mount: int, path: str, mode: int) -> None:
        """One after the other, as they are joined; each shows at once."""
        time_s = self.stamp_s()
        value = b"%d" % time_s

        def change(w: World) -> None:
            w.chmod(path, mode)
            w.utimens(path, time_s * 10**9, time_s * 10**9)
            w.setxattr(path, "user.a", value)
            shows = w.stat(path)
            assert (shows.permissions, shows.mtime_ns // 10**9, w.getxattr(path, "user.a")) == (mode, time_s, value)

        self.change_attributes(mount, path, change, lambda version: (version.mode, version.mtime_s, version.tag) == (
            mode, time_s, value))

    @rule(mount=mounts, path=files, mode=st.sampled_from(MODES), size=st.sampled_from(SIZES))
    def foreign_put_meets_a_change(self, mount: int, path: str, mode: int, size: int) -> None:
        """The foreign version comes before the change is stored; its content stays."""
        permitted, body = self.may_fail(mount, path), self.content(size)
        got = outcome(lambda: self.worlds[mount].chmod(path, mode))
        assert got.errno is None or got.errno in {errno.errorcode[number] for number in permitted}, f"got {shown(got)}"
        self.beliefs[mount].did(self.record(mount), self.now())  # after a failure changes are waited for
        self.bucket.put(path, body, MODES[0], self.stamp_s())
        self.record(None)
        self.settle(mount)
        self.record(mount)
        assert self.stored(path).body == body

    def change_attributes(self, mount: int, path: str, change: Callable[[World], Any],
                          made: Callable[[Version], bool]) -> None:
        """It is stored, unless it goes out with data later, or somebody else changed the object meanwhile."""
        permitted = self.may_fail(mount, path)
        got = self.act(mount, change, permitted, path, decides=False)
        if got.errno is None and ESTALE not in permitted and not self._unstored(mount, path):
            assert made(self.stored(path)), self.stored(path)

    def stored(self, path: str) -> Version:
        state = self.history.current(path)
        assert isinstance(state, Version), f"{path} is {state}"
        return state

    def _unstored(self, mount: int, path: str) -> bool:
        return any(held.dirty or held.perhaps_new for held in self.open_at(mount, path))

    def _may_lack(self, mount: int, folder: str) -> bool:
        return folder != "/" and ABSENT in self.beliefs[mount].shown(folder, self.now())

    def _open_below(self, mount: int, folder: str) -> bool:
        return any(self.open_at(mount, path) for path in self._below(folder))

    def _may_have_children(self, mount: int, folder: str) -> bool:
        return self._open_below(mount, folder) or any(
            set(self.beliefs[mount].listed(path, self.now())) != {ABSENT} for path in self._below(folder))

