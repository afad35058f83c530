"""A Hypothesis state machine of two mounts of one bucket and a foreign writer: files, and what is looked at.

Handles stay open over the other mount's changes. What a handle reads in all its reads must be of one content.
"""

from __future__ import annotations

import os
import stat
from typing import Any, FrozenSet, List, Optional

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.model.beliefs import ABSENT, FOLDER, Held, State, Version, parent_of
from tests.model.machine import Outcome, outcome, shown
from tests.model.two_mounts_machine import (
    EEXIST,
    ENOENT,
    ESTALE,
    FILES,
    FOLDERS,
    MAX_HELD,
    OFFSETS,
    SIZES,
    NamesMachine,
    files,
    mounts,
    slots,
)

FLAGS = (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_CREAT,
         os.O_RDWR | os.O_CREAT | os.O_EXCL)


AS_GOOD_AS_ASKED_S = 0.1
"""What came with the lookup this short a time ago serves an open for writing."""


class TwoMountsMachine(NamesMachine):
    """``attributes_are_exact``: false where versions of one ETag may be of one second, so that nothing tells them
    apart until the time of attributes is over."""

    attributes_are_exact = True
    watched: FrozenSet[str] = frozenset()

    @initialize(watched=st.frozensets(st.sampled_from((*FOLDERS, *FILES, "/"))))
    def watch(self, watched: FrozenSet[str]) -> None:
        """What is looked at after each step; the rest keeps what the caches have of it."""
        self.watched = watched

    # Content by path

    @rule(mount=mounts, path=files, size=st.sampled_from(SIZES))
    def write_file(self, mount: int, path: str, size: int) -> None:
        if self.writer_at(mount, path):
            return
        data = self.content(size)
        permitted = [ENOENT] if self._may_lack(mount, parent_of(path)) else []
        got = self.act(mount, lambda w: w.write_file(path, data), permitted, path)
        if got.errno is None:
            assert self.stored(path).body == data
            self.followed(mount, path, [data])

    @rule(mount=mounts, path=files, length=st.sampled_from(SIZES))
    def truncate(self, mount: int, path: str, length: int) -> None:
        if self.writer_at(mount, path):
            return
        # Bytes are taken over from the version that is there, or was a second ago; of an empty one none are needed.
        empty = [state for state in self.beliefs[mount].shown(path, self.now())
                 if isinstance(state, Version) and not state.body]
        before = [*self.history.states(path, self.now() - 1), *empty]
        got = self.act(mount, lambda w: w.truncate(path, length), self.may_fail(mount, path), path)
        if got.errno is None:
            bodies = [state.body[:length].ljust(length, b"\0") for state in before if isinstance(state, Version)]
            assert self.stored(path).body in bodies or length == 0, "another content"
            self.followed(mount, path, [self.stored(path).body])

    @rule(mount=mounts, path=files)
    def read_file(self, mount: int, path: str) -> None:
        permitted, contents = self.may_fail(mount, path), self.contents(mount, path)
        got = self.act(mount, lambda w: w.read_file(path), permitted)
        if got.errno is None:
            assert got.value in contents, f"read {shown(got)}, which {path} has never been of late"

    # Handles

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(mount=mounts, path=files, flags=st.sampled_from(FLAGS))
    def open(self, mount: int, path: str, flags: int) -> None:
        writes = flags != os.O_RDONLY
        if writes and self.writer_at(mount, path):
            return
        states, creates = self.beliefs[mount].shown(path, self.now()), flags & os.O_CREAT
        contents, permitted = self.contents(mount, path), self.may_fail(mount, path)
        if flags & os.O_EXCL and (contents or states != [ABSENT]):
            permitted = [EEXIST, *permitted]
        elif creates and not self._may_lack(mount, parent_of(path)):
            permitted = [error for error in permitted if error != ENOENT]
        present = [*self.history.states(path, self.now() - AS_GOOD_AS_ASKED_S)]
        got = self.act(mount, lambda w: w.open(path, flags), permitted)
        if got.errno is not None:
            return
        if writes and not self.open_at(mount, path):
            contents = [state.body for state in present if isinstance(state, Version)]
        if flags & os.O_TRUNC:
            contents = [b""]
        elif creates and ABSENT in states:
            contents = [b""] if flags & os.O_EXCL else [*contents, b""]
        held = Held(mount, got.value, path, writes, contents, appends=bool(flags & os.O_APPEND),
                    outdated=len(states) > 1)
        held.dirty = bool(flags & os.O_TRUNC or (creates and (states == [ABSENT] or flags & os.O_EXCL)))
        held.fixed = held.dirty
        held.exclusive = bool(flags & os.O_EXCL)
        held.perhaps_new = bool(creates and ABSENT in states)
        self.held.append(held)
        if held.dirty:
            self.followed(mount, path, contents)

    @precondition(lambda self: self.held)
    @rule(slot=slots, offset=st.sampled_from(OFFSETS), size=st.sampled_from((1, 5000, 131072)))
    def pread(self, slot: int, offset: int, size: int) -> None:
        held = self.held[slot % len(self.held)]
        got = self.act(held.mount, lambda w: w.pread(held.handle, size, offset), self.may_be_stale(held))
        if got.errno is None:
            assert held.take(offset, size, got.value), f"{held} read {shown(got)} at {offset}"

    @precondition(lambda self: self.held)
    @rule(slot=slots, offset=st.sampled_from(OFFSETS), size=st.sampled_from(SIZES[1:]))
    def pwrite(self, slot: int, offset: int, size: int) -> None:
        held = self.held[slot % len(self.held)]
        if not held.writes:
            return
        data = self.content(size)
        got = self.act(held.mount, lambda w: w.write_all(held.handle, data, offset), self.may_be_stale(held))
        if got.errno is None:
            held.write(data, offset)
            self.followed(held.mount, held.path, held.contents)

    @precondition(lambda self: self.held)
    @rule(slot=slots, length=st.sampled_from(SIZES))
    def ftruncate(self, slot: int, length: int) -> None:
        held = self.held[slot % len(self.held)]
        if not held.writes:
            return
        got = self.act(held.mount, lambda w: w.ftruncate(held.handle, length), self.may_be_stale(held))
        if got.errno is None:
            held.truncate(length)
            self.followed(held.mount, held.path, held.contents)

    @precondition(lambda self: self.held)
    @rule(slot=slots)
    def fsync(self, slot: int) -> None:
        held = self.held[slot % len(self.held)]
        self.committed(held, lambda w: w.fsync(held.handle))

    @precondition(lambda self: self.held)
    @rule(slot=slots)
    def close(self, slot: int) -> None:
        held = self.held.pop(slot % len(self.held))
        self.committed(held, lambda w: w.close(held.handle))

    def committed(self, held: Held, action: Any) -> None:
        """After close or fsync the bucket has what was written, by any of the handles, or the caller has the error."""
        path = held.path
        sharing = {id(one): one for one in (held, *self.open_at(held.mount, path))}.values()
        before = None if path is None else self.history.current(path)
        taken = held.exclusive and path is not None and before != ABSENT
        permitted = [EEXIST] if taken else [*self.may_be_stale(held), *held.inherited]
        permitted += [EEXIST for one in sharing if one.exclusive and before != ABSENT]
        stores = any(one.writes or one.inherited for one in sharing)
        got = self.act(held.mount, action, permitted, *([path] if stores and path else []), decides=held.dirty)
        if path is None:
            return
        if got.errno is not None:
            for one in sharing:
                one.inherited = (ESTALE, EEXIST)
            return
        assert not taken, f"{path} was there before O_EXCL made it"
        held.exclusive = False
        if held.dirty or self.history.current(path) != before:
            stored = self.stored(path).body
            assert any(stored in one.contents for one in sharing), "what was written is not in the bucket"
            for one in sharing:
                one.dirty = one.exclusive = one.perhaps_new = False
                one.contents = list({*one.contents, stored}) if one is not held else [stored]
            held.outdated = False

    def may_be_stale(self, held: Held) -> List[int]:
        return [ESTALE] if held.outdated or held.inherited else []

    def writer_at(self, mount: int, path: Optional[str]) -> bool:
        return any(held.writes for held in self.open_at(mount, path))

    def _keeps(self, mount: int, path: str) -> bool:
        """Whether a name is there because a file of it, or below it, is not stored yet."""
        return any(held.dirty and not held.outdated for name in (path, *self._below(path))
                   for held in self.open_at(mount, name))

    def followed(self, mount: int, path: Optional[str], contents: List[bytes]) -> None:
        """This mount changed what a path has: its other handles may see that."""
        for held in self.open_at(mount, path):
            held.contents = list({*held.contents, *contents})

    def contents(self, mount: int, path: str) -> List[bytes]:
        """What reading a path may give."""
        states = self.beliefs[mount].shown(path, self.now())
        bodies = [state.body for state in states if isinstance(state, Version)]
        return list({*bodies, *(content for held in self.open_at(mount, path) for content in held.contents)})

    # What is shown

    @rule(mount=mounts, path=st.sampled_from((*FOLDERS, *FILES)))
    def look(self, mount: int, path: str) -> None:
        """stat and getxattr"""
        now_s = self.now()
        states = self.beliefs[mount].shown(path, now_s)
        held = self.open_at(mount, path)
        found = outcome(lambda: self.worlds[mount].stat(path))
        if found.errno is not None:
            gone = ABSENT in states and not self._keeps(mount, path)
            assert found.errno == "ENOENT" and gone, f"{path}: {shown(found)}, not {states}"
            return
        if found.value.type == stat.S_IFDIR:
            assert FOLDER in states or self._open_below(mount, path), f"{path} is a folder"
            return
        shows = [state for state in states if isinstance(state, Version) and self._is_shown(state, found)]
        sizes = {len(content) for one in held for content in one.contents}
        assert shows or found.value.size in sizes, f"{path}: {found.value}, not one of {states}"

    def _is_shown(self, state: Version, found: Outcome) -> bool:
        shows = found.value
        same = (state.mode, state.mtime_s) == (shows.permissions, shows.mtime_ns // 10**9)
        return len(state.body) == shows.size and (same or not self.attributes_are_exact)

    @rule(mount=mounts, path=st.sampled_from(("/", *FOLDERS)))
    def list(self, mount: int, path: str) -> None:
        now_s = self.now()
        beliefs = self.beliefs[mount]
        children = {child: beliefs.listed(child, now_s) for child in (*FOLDERS, *FILES) if parent_of(child) == path}
        found = outcome(lambda: self.worlds[mount].readdir(path))
        if found.errno is not None:
            assert found.errno == "ENOENT" and path != "/" and ABSENT in beliefs.shown(path, now_s), shown(found)
            return
        prefix = path.rstrip("/") + "/"
        names = {prefix + name: kind for name, kind in found.value.items()}
        assert names.keys() <= children.keys(), f"{names} appeared in {path}"
        for child, states in children.items():
            opened = self.open_at(mount, child) or self._open_below(mount, child)
            if child not in names:
                gone = ABSENT in states and not self._keeps(mount, child)
                assert gone, f"{child} is not listed, but was there: {states}"
            else:
                assert opened or any(_is_listed(state, names[child]) for state in states), f"{child}: {states}"

    @invariant()
    def what_is_watched_is_as_it_may_be(self) -> None:
        for mount in range(len(self.worlds)):
            for path in sorted(self.watched):
                if path in FILES:
                    self.look(mount, path)
                else:
                    self.list(mount, path)

    def teardown(self) -> None:
        try:
            while self.held:
                self.close(0)
            self.everybody_sees_the_same()
        finally:
            self.end()

    def everybody_sees_the_same(self) -> None:
        """After all times have passed each mount shows what is in the bucket."""

    def end(self) -> None:
        """End what ``begin`` began."""


def _is_listed(state: State, kind: int) -> bool:
    if isinstance(state, Version):
        return kind in (0, stat.S_IFREG)
    return state == FOLDER and kind == stat.S_IFDIR
