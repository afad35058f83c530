"""A Hypothesis state machine that does the same to two worlds and compares after every step.

One world is a folder of the machine's own filesystem, the other is cosfs. Each operation must give the same
value or the same errno; after each step the trees, sizes, bytes, modes, explicit times, link targets and extended
attributes must be equal, and so must what every open handle sees. Few names, so that collisions are the rule.
Handles stay open over other operations.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import tempfile
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.worlds import OsWorld, World

NAMES = ("a", "b", "c")
PATHS = tuple("/" + "/".join(parts) for depth in (1, 2, 3) for parts in
              {1: [(x,) for x in NAMES], 2: [(x, y) for x in NAMES[:2] for y in NAMES[:2]],
               3: [("a", "a", x) for x in NAMES[:2]]}[depth])
SIZES = (0, 1, 5, 4096, 70_001, (1 << 20) + 3, (5 << 19) + 1)
OFFSETS = (0, 1, 4095, 50_000, 1 << 20, (1 << 21) + 7)
LENGTHS = (0, 1, 4096, 60_000, (1 << 20) + 1, 3 << 20)
FLAGS = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_RDONLY | os.O_CREAT,
         os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_RDWR | os.O_TRUNC,
         os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_APPEND | os.O_CREAT)
XATTRS = ("user.a", "user.b")
MAX_HANDLES = 4
EXPLICIT_TIME_LIMIT_NS = 10**18
"""Times set on purpose are before 2001; later ones are "now", which no two worlds share."""

_PATTERN = random.Random(4711).randbytes((5 << 19) + 4096)

paths = st.sampled_from(PATHS)
known = st.one_of(st.integers(0, 9), st.integers(0, 9), paths)
"""An existing path by its number (``resolve``), so that most operations find something, or any path."""
START = ("/a", "/b", "/a/a")
"""Folders that may be there at the beginning, each with a file ``b`` in it."""
slots = st.integers(0, MAX_HANDLES - 1)


Target = Union[int, str]


class Outcome(NamedTuple):
    value: Any
    errno: Optional[str]


def outcome(action: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(action(), None)
    except OSError as exc:
        return Outcome(None, errno.errorcode.get(exc.errno or 0, str(exc.errno)))


def content(seed: int, size: int) -> bytes:
    return _PATTERN[seed:seed + size]


class Twins(NamedTuple):
    """One open file in both worlds; ``path`` is the name it was opened by."""

    ours: Any
    reference: int
    flags: int
    path: str


class FilesystemMachine(RuleBasedStateMachine):
    """Subclasses make ``self.ours`` in ``make_world`` and check what is left in ``check_store``."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="cosfs-model-")
        self.reference = OsWorld(self.folder)
        self.handles: List[Twins] = []
        self.ours: World = self.make_world()

    def make_world(self) -> World:
        raise NotImplementedError

    def both(self, action: Callable[[World], Any], *touched: str) -> Outcome:
        """Do it to both; the outcomes must be equal. Nothing is done when a path leads through a link."""
        if any(self._leads_through_link(path) for path in touched):
            return Outcome(None, None)
        expected = outcome(lambda: action(self.reference))
        got = outcome(lambda: action(self.ours))
        assert got == expected, f"got {shown(got)}, a local folder {shown(expected)}"
        return expected

    def on_handle(self, slot: int, action: Callable[[World, Any], Any]) -> None:
        twins = self.handles[slot % len(self.handles)]
        expected = outcome(lambda: action(self.reference, twins.reference))
        got = outcome(lambda: action(self.ours, twins.ours))
        assert got == expected, f"got {shown(got)}, a local folder {shown(expected)}"

    def resolve(self, target: Target) -> str:
        if isinstance(target, str):
            return target
        existing = sorted(self._existing())
        return existing[target % len(existing)] if existing else PATHS[0]

    @initialize(folders=st.integers(0, len(START)), size=st.sampled_from(SIZES))
    def begin(self, folders: int, size: int) -> None:
        for path in START[:folders]:
            self.both(lambda w, path=path: w.mkdir(path, 0o750))
            self.both(lambda w, path=path: w.write_file(path + "/b", content(len(path), size)))

    # Names

    @rule(path=paths)
    def mkdir(self, path: str) -> None:
        self.both(lambda w: w.mkdir(path, 0o755), path)

    @rule(target_path=known)
    def rmdir(self, target_path: Target) -> None:
        path = self.resolve(target_path)
        self.both(lambda w: w.rmdir(path), path)

    @rule(target_path=known)
    def unlink(self, target_path: Target) -> None:
        path = self.resolve(target_path)
        self.both(lambda w: w.unlink(path), path)

    @rule(source=known, to=known)
    def rename(self, source: Target, to: Target) -> None:
        old, new = self.resolve(source), self.resolve(to)
        self.both(lambda w: w.rename(old, new), old, new)

    @rule(path=paths, leads_to=st.sampled_from(("a", "../b", "/nowhere")))
    def symlink(self, path: str, leads_to: str) -> None:
        self.both(lambda w: w.symlink(path, leads_to), path)

    @rule(path=paths)
    def mknod_fifo(self, path: str) -> None:
        self.both(lambda w: w.mknod(path, stat.S_IFIFO | 0o600), path)

    @rule(path=paths)
    def mknod_file(self, path: str) -> None:
        self.both(lambda w: w.mknod(path, stat.S_IFREG | 0o640), path)

    @rule(target_path=known)
    def readdir(self, target_path: Target) -> None:
        path = self.resolve(target_path)
        if not self._kind_is(path, stat.S_IFLNK):
            self.both(lambda w: sorted(w.readdir(path)), path)

    @rule(target_path=known)
    def readlink(self, target_path: Target) -> None:
        path = self.resolve(target_path)
        self.both(lambda w: w.readlink(path), path)

    # Attributes

    @rule(target_path=known, mode=st.sampled_from((0o600, 0o755, 0o444, 0o1777)))
    def chmod(self, target_path: Target, mode: int) -> None:
        path = self.resolve(target_path)
        if not self._kind_is(path, stat.S_IFLNK):
            self.both(lambda w: w.chmod(path, mode), path)

    @rule(target_path=known, uid=st.sampled_from((-1, 0, 7)), gid=st.sampled_from((-1, 0, 8)))
    def chown(self, target_path: Target, uid: int, gid: int) -> None:
        path = self.resolve(target_path)
        self.both(lambda w: w.chown(path, uid, gid), path)

    @rule(target_path=known, atime=st.integers(0, 10**9), mtime=st.integers(-10**10, 10**17))
    def utimens(self, target_path: Target, atime: int, mtime: int) -> None:
        path = self.resolve(target_path)
        self.both(lambda w: w.utimens(path, atime, mtime), path)

    @rule(target_path=known, name=st.sampled_from(XATTRS), value=st.binary(max_size=20), flags=st.integers(0, 2))
    def setxattr(self, target_path: Target, name: str, value: bytes, flags: int) -> None:
        path = self.resolve(target_path)
        if self._may_have_xattrs(path):
            self.both(lambda w: w.setxattr(path, name, value, flags), path)

    @rule(target_path=known, name=st.sampled_from(XATTRS))
    def removexattr(self, target_path: Target, name: str) -> None:
        path = self.resolve(target_path)
        if self._may_have_xattrs(path):
            self.both(lambda w: w.removexattr(path, name), path)

    # Content by path

    @rule(target_path=known, seed=st.integers(0, 4095), size=st.sampled_from(SIZES))
    def write_file(self, target_path: Target, seed: int, size: int) -> None:
        path = self.resolve(target_path)
        if self._may_be_opened(path):
            self.both(lambda w: w.write_file(path, content(seed, size)), path)

    @rule(target_path=known, length=st.sampled_from(LENGTHS))
    def truncate(self, target_path: Target, length: int) -> None:
        path = self.resolve(target_path)
        if self._may_be_opened(path):
            self.both(lambda w: w.truncate(path, length), path)

    # Handles

    @precondition(lambda self: len(self.handles) < MAX_HANDLES)
    @rule(target_path=known, flags=st.sampled_from(FLAGS))
    def open(self, target_path: Target, flags: int) -> None:
        path = self.resolve(target_path)
        if not self._may_be_opened(path) or self._leads_through_link(path):
            return
        if flags == os.O_RDONLY and self._kind_is(path, stat.S_IFDIR):
            return  # that is opendir
        expected = outcome(lambda: self.reference.open(path, flags))
        got = outcome(lambda: self.ours.open(path, flags))
        assert got.errno == expected.errno, f"got {shown(got)}, a local folder {shown(expected)}"
        if expected.errno is None:
            self.handles.append(Twins(got.value, expected.value, flags, path))

    @precondition(lambda self: self.handles)
    @rule(slot=slots)
    def close(self, slot: int) -> None:
        twins = self.handles.pop(slot % len(self.handles))
        self.reference.close(twins.reference)
        self.ours.close(twins.ours)

    @precondition(lambda self: self.handles)
    @rule(slot=slots, offset=st.sampled_from(OFFSETS), seed=st.integers(0, 4095), size=st.sampled_from(SIZES[1:]))
    def pwrite(self, slot: int, offset: int, seed: int, size: int) -> None:
        self.on_handle(slot, lambda w, handle: w.pwrite(handle, content(seed, size)[:131072], offset))

    @precondition(lambda self: self.handles)
    @rule(slot=slots, offset=st.sampled_from(OFFSETS), seed=st.integers(0, 4095))
    def pwrite_large(self, slot: int, offset: int, seed: int) -> None:
        twins = self.handles[slot % len(self.handles)]
        if twins.flags & os.O_ACCMODE != os.O_RDONLY and not twins.flags & os.O_APPEND:
            self.on_handle(slot, lambda w, handle: w.write_all(handle, content(seed, SIZES[-1]), offset))

    @precondition(lambda self: self.handles)
    @rule(slot=slots, offset=st.sampled_from(OFFSETS), size=st.sampled_from((1, 4096, 131072)))
    def pread(self, slot: int, offset: int, size: int) -> None:
        self.on_handle(slot, lambda w, handle: w.pread(handle, size, offset))

    @precondition(lambda self: self.handles)
    @rule(slot=slots, length=st.sampled_from(LENGTHS))
    def ftruncate(self, slot: int, length: int) -> None:
        self.on_handle(slot, lambda w, handle: w.ftruncate(handle, length))

    @precondition(lambda self: self.handles)
    @rule(slot=slots)
    def fsync(self, slot: int) -> None:
        self.on_handle(slot, lambda w, handle: w.fsync(handle))

    @precondition(lambda self: not self.handles)
    @rule()
    def remount(self) -> None:
        self.ours = self.remade_world()

    def remade_world(self) -> World:
        """The same bucket, seen by a filesystem that remembers nothing."""
        return self.ours

    # What must hold

    @invariant()
    def trees_are_equal(self) -> None:
        assert described(self.ours) == described(self.reference)

    @invariant()
    def handles_see_the_same(self) -> None:
        for twins in self.handles:
            assert self.ours.fstat(twins.ours).size == self.reference.fstat(twins.reference).size, twins.path
            if twins.flags & os.O_ACCMODE != os.O_WRONLY:
                same = self.ours.read_all(twins.ours) == self.reference.read_all(twins.reference)
                assert same, f"an open handle of {twins.path} reads other bytes"

    def teardown(self) -> None:
        try:
            while self.handles:
                self.close(0)
            self.trees_are_equal()
            self.ours = self.remade_world()
            self.trees_are_equal()
            self.check_store()
        finally:
            self.release_world()
            for twins in self.handles:
                os.close(twins.reference)
            shutil.rmtree(self.folder)

    def check_store(self) -> None:
        """Nothing is left pending in the bucket."""

    def release_world(self) -> None:
        """End what ``make_world`` began."""

    def _existing(self) -> List[str]:
        found = []
        for folder, folders, files in os.walk(self.folder):
            found += [os.path.join(folder, name)[len(self.folder):] for name in folders + files]
        return found

    def _kind_is(self, path: str, kind: int) -> bool:
        try:
            return self.reference.stat(path).type == kind
        except OSError:
            return False

    def _leads_through_link(self, path: str) -> bool:
        return any(self._kind_is(parent, stat.S_IFLNK) for parent in parents(path))

    def _may_be_opened(self, path: str) -> bool:
        """Opening a FIFO blocks, and a link leads out of the world."""
        return not self._kind_is(path, stat.S_IFIFO) and not self._kind_is(path, stat.S_IFLNK)

    def _may_have_xattrs(self, path: str) -> bool:
        """Linux allows user attributes for files and folders only."""
        return self._kind_is(path, stat.S_IFREG) or self._kind_is(path, stat.S_IFDIR)


def parents(path: str) -> List[str]:
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def shown(found: Outcome) -> str:
    if found.errno is not None:
        return found.errno
    text = repr(found.value)
    return text if len(text) < 200 else f"{text[:100]}... ({len(found.value)} items)"


def described(world: World) -> Dict[str, Tuple[Any, ...]]:
    """Every path with all that is comparable."""
    rows: Dict[str, Tuple[Any, ...]] = {}
    for path, (kind, data) in world.tree().items():
        found = world.stat(path)
        times = tuple(time if time < EXPLICIT_TIME_LIMIT_NS else "now" for time in (found.atime_ns, found.mtime_ns))
        if kind in ("file", "directory"):
            xattrs = tuple(sorted((name, world.getxattr(path, name)) for name in world.listxattr(path)))
        else:
            xattrs = ()
        if kind == "directory":
            times = ()  # reading a folder moves its atime, changing it moves its mtime; tested by name elsewhere
        elif kind in ("file", "symlink"):
            times = times[1:]  # reading moves atime
        rows[path] = (kind, data, oct(found.mode), found.uid, found.gid, times, xattrs)
    return rows
