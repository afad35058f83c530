"""The workloads of ``cosfs bench``. Each is a function of a ``Stage``: it fills the bucket, mounts, and measures.

What is measured runs in a process of its own and checks the bytes that it reads; what it wrote is compared with the
bucket afterwards. Numbers of files and calls are those of scale 1.
"""

from __future__ import annotations

import base64
import io
import os
import random
import shutil
import sqlite3
import subprocess
import tarfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from cosfs.cli.bench_bucket import Contents, Piece
from cosfs.cli.bench_stage import Stage
from cosfs.units import KIB, MIB

Files = Mapping[str, Piece]

_SMALL_BYTES = 4 * KIB
_KERNEL_S = 1.1
"""Longer than the kernel believes attributes by itself (cosfs/mount.py)."""

_PATCH = memoryview(b"edited.." * (_SMALL_BYTES // 8))


@dataclass(frozen=True)
class Workload:
    """``requests``, ``up`` and ``down``: roughly what it costs at a real bucket, filling it and clearing it away
    included; the last two in sizes of the big object, beside which a request of 8 MiB each is counted."""

    name: str
    rows: Tuple[str, ...]
    about: str
    run: Callable[[Stage], None]
    requests: int
    up: float
    down: float
    programs: Tuple[str, ...]


WORKLOADS: Dict[str, Workload] = {}


def _workload(*rows: str, about: str, requests: int = 10, up: float = 0, down: float = 0,
              programs: Tuple[str, ...] = ()) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    def note(run: Callable[[Stage], None]) -> Callable[[Stage], None]:
        WORKLOADS[run.__name__] = Workload(run.__name__, rows, about, run, requests, up, down, programs)
        return run
    return note


def _run(*command: object, **options: Any) -> bytes:
    """Standard output of a program. Raises: CalledProcessError."""
    done = subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL,
                          capture_output=True, **options)
    return bytes(done.stdout)


def _in_threads(count: int, items: Sequence[Any], work: Callable[[Any], None]) -> None:
    """Each thread takes its share of the items, in their order."""
    errors: List[Exception] = []

    def work_on(share: Sequence[Any]) -> None:
        try:
            for item in share:
                work(item)
        except Exception as exc:  # noqa: BLE001  carried over to the caller
            errors.append(exc)
    threads = [threading.Thread(target=work_on, args=(items[number::count],)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _names(folder: str, count: int) -> List[str]:
    return [f"{folder}/f{number:05d}" for number in range(count)]


def _same(files: Files, _result: object = None) -> Contents:
    return {name: (piece.data,) for name, piece in files.items()}


def _read_at(descriptor: int, buffer: bytearray, offset: int, expected: memoryview) -> None:
    """Raises: ValueError when what is read is not as expected."""
    count = os.preadv(descriptor, [buffer], offset)
    # a bytearray on the left compares memory with memory, a memoryview would compare value by value
    if count != len(buffer) or not buffer == expected:
        raise ValueError(f"wrong bytes at {offset}" if count == len(buffer) else f"{count} bytes at {offset}")


def _read_all(path: Path, expected: memoryview) -> None:
    """As ``dd bs=1M`` does, and compare. Raises: ValueError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if os.fstat(descriptor).st_size != len(expected):
            raise ValueError(f"{os.fstat(descriptor).st_size} bytes instead of {len(expected)}")
        buffer = bytearray(min(MIB, len(expected)))
        for offset in range(0, len(expected), MIB):
            if len(expected) - offset < len(buffer):
                buffer = bytearray(len(expected) - offset)
            _read_at(descriptor, buffer, offset, expected[offset:offset + len(buffer)])
    finally:
        os.close(descriptor)


@_workload("seq_read", "seq_reread", about="read a big file; read it again", up=1, down=1)
def seq_read(stage: Stage) -> None:
    piece = stage.source.piece(0, stage.size_bytes)
    stage.seed({"big": piece})
    stage.mount()
    for row in ("seq_read", "seq_reread"):
        stage.measure(row, lambda: _read_all(stage.mnt / "big", piece.data))


@_workload("parallel_read", about="read four files at once, together as long as the big one", up=1, down=1)
def parallel_read(stage: Stage) -> None:
    files = {f"part{number}": stage.source.piece(number, stage.size_bytes // 4) for number in range(4)}
    stage.seed(files)
    stage.mount()
    stage.measure("parallel_read", partial(_read_files, stage.mnt, files, len(files)))


def _read_files(root: Path, files: Files, threads: int) -> None:
    _in_threads(threads, list(files), lambda name: _read_all(root / name, files[name].data))


@_workload("rand_read_4k", "rand_read_64k", about="500 reads of 4 KiB, then of 64 KiB, anywhere in a big file",
           requests=1000, up=1, down=0.5)
def rand_read(stage: Stage) -> None:
    piece = stage.source.piece(0, stage.size_bytes)
    stage.seed({"big": piece})
    for label, size in (("4k", 4 * KIB), ("64k", 64 * KIB)):
        numbers, reads = random.Random(size), stage.count(500)
        offsets = [numbers.randrange((stage.size_bytes - size) // KIB + 1) * KIB for _ in range(reads)]
        stage.mount()
        stage.measure(f"rand_read_{label}", partial(_read_anywhere, stage.mnt / "big", piece.data, size, offsets))


def _read_anywhere(path: Path, expected: memoryview, size: int, offsets: Sequence[int]) -> None:
    descriptor, buffer = os.open(path, os.O_RDONLY), bytearray(size)
    for offset in offsets:
        _read_at(descriptor, buffer, offset, expected[offset:offset + size])
    os.close(descriptor)


@_workload("seq_write", about="copy a big file into the mount", up=1)
def seq_write(stage: Stage) -> None:
    stage.mount()
    stage.measure("seq_write", lambda: _run("cp", stage.source.path, stage.mnt / "out"),
                  lambda _: {"out": (stage.source.data,)})


@_workload("small_write_1", "small_write_8", about="make 500 files of 4 KiB, from 1 thread, from 8", requests=1100)
def small_write(stage: Stage) -> None:
    stage.mount()
    for count in (1, 8):
        files = {name: stage.source.piece(number, _SMALL_BYTES)
                 for number, name in enumerate(_names(f"d{count}", stage.count(500)))}
        stage.prepare((stage.mnt / f"d{count}").mkdir)
        stage.measure(f"small_write_{count}", partial(_write_files, stage.mnt, files, count),
                      partial(_same, files), below=f"d{count}/")


def _write_files(root: Path, files: Files, threads: int) -> None:
    _in_threads(threads, list(files), lambda name: (root / name).write_bytes(files[name].data))


@_workload("small_read_1", "small_read_8", about="read 500 files of 4 KiB, from 1 thread, from 8", requests=2100)
def small_read(stage: Stage) -> None:
    groups = {count: {name: stage.source.piece(number, _SMALL_BYTES)
                      for number, name in enumerate(_names(f"d{count}", stage.count(500)))} for count in (1, 8)}
    stage.seed({**groups[1], **groups[8]})
    stage.mount()
    for count, files in groups.items():
        stage.measure(f"small_read_{count}", partial(_read_files, stage.mnt, files, count))


@_workload("ls_cold", "ls_warm", about="ls -l of a folder of 10,000 files; again", requests=21_000)
def ls(stage: Stage) -> None:
    count = stage.count(10_000)
    stage.seed({name: stage.source.piece(0, 64) for name in _names("flat", count)})
    stage.mount()

    def work() -> None:
        found = _run("ls", "-l", stage.mnt / "flat").count(b"\n") - 1
        if found != count:
            raise ValueError(f"{found} names instead of {count}")
    stage.measure("ls_cold", work)
    stage.measure("ls_warm", work)


@_workload("find", "du", about="find -type f, and du -s, of 4,000 files in 420 folders, cold each", requests=13_000)
def walk(stage: Stage) -> None:
    side = stage.count(20)
    names = [name for a in range(side) for b in range(side) for name in _names(f"t/a{a:02d}/b{b:02d}", 10)]
    stage.seed({name: stage.source.piece(0, 64) for name in names})

    def find() -> None:
        found = _run("find", stage.mnt / "t", "-type", "f").count(b"\n")
        if found != len(names):
            raise ValueError(f"{found} files instead of {len(names)}")
    for row, work in (("find", find), ("du", lambda: _run("du", "-s", stage.mnt / "t"))):
        stage.mount()
        stage.measure(row, work)


@_workload("untar", "tar_back", about="unpack a tar of 1,000 files of up to 64 KiB; pack them again", requests=3100,
           programs=("tar",))
def untar(stage: Stage) -> None:
    numbers, local = random.Random(1), stage.folder / "tree.tar"
    files = {f"tree/d{number % 40:02d}/f{number:04d}.c": stage.source.piece(number, numbers.randint(KIB, 64 * KIB))
             for number in range(stage.count(1000))}
    with tarfile.open(local, "w") as archive:
        for name, piece in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(piece.data), 1_700_000_000
            archive.addfile(member, io.BytesIO(piece.data))
    stage.mount()
    if stage.measure("untar", lambda: _run("tar", "-xf", local, "-C", stage.mnt),
                     partial(_same, files), below="tree/"):
        stage.measure("tar_back", lambda: _pack(stage, files))


def _pack(stage: Stage, files: Files) -> None:
    back = stage.folder / "back.tar"
    _run("tar", "-cf", back, "-C", stage.mnt, "tree")
    with tarfile.open(back) as archive:
        for name, piece in files.items():
            member = archive.extractfile(name)
            if member is None or member.read() != bytes(piece.data):
                raise ValueError(f"wrong bytes in {name}")


@_workload("rename_file", "rename_dir", about="rename a file of a quarter of --size, and a folder of 500 files",
           requests=1600, up=0.25)
def rename(stage: Stage) -> None:
    one = stage.source.piece(0, stage.size_bytes // 4)
    names = _names("", stage.count(500))
    files = {name: stage.source.piece(number, _SMALL_BYTES) for number, name in enumerate(names)}
    stage.seed({"a/one": one, **{f"dir{name}": piece for name, piece in files.items()}})
    stage.mount()
    stage.measure("rename_file", lambda: os.rename(stage.mnt / "a/one", stage.mnt / "a/two"),
                  lambda _: {"a/two": (one.data,)}, below="a/")
    stage.measure("rename_dir", lambda: os.rename(stage.mnt / "dir", stage.mnt / "moved"),
                  lambda _: _same({"a/two": one, **{f"moved{name}": piece for name, piece in files.items()}}))


@_workload("rm_r", about="rm -r of 1,000 files in 10 folders", requests=1100)
def remove(stage: Stage) -> None:
    names = [name for number in range(10) for name in _names(f"gone/d{number}", stage.count(100))]
    stage.seed({name: stage.source.piece(number, _SMALL_BYTES) for number, name in enumerate(names)})
    stage.mount()
    stage.measure("rm_r", lambda: _run("rm", "-r", stage.mnt / "gone"), lambda _: {}, below="gone/")


@_workload("edit_middle", "append", about="write 4 KiB into the middle of a file of half of --size, and to its end",
           requests=40, up=1)
def edit(stage: Stage) -> None:
    size = stage.size_bytes // 2
    data = stage.source.piece(0, size).data
    stage.seed({"edit_middle/file": stage.source.piece(0, size), "append/file": stage.source.piece(0, size)})
    for row, offset in (("edit_middle", size // 2), ("append", size)):
        stage.mount()
        edited = {f"{row}/file": (data[:offset], _PATCH, data[offset + len(_PATCH):])}
        stage.measure(row, partial(_write_at, stage.mnt / row / "file", offset), partial(_given, edited),
                      below=f"{row}/")


def _given(contents: Contents, _result: object) -> Contents:
    return contents


def _write_at(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(_PATCH)


@_workload("git_clone", "git_status", about="clone a repository of 300 files; git status there", requests=1400,
           programs=("git",))
def git(stage: Stage) -> None:
    origin = stage.folder / "origin"
    shutil.rmtree(origin, ignore_errors=True)
    files = _make_repository(stage, origin)
    stage.mount()
    clone = stage.mnt / "clone"
    if stage.measure("git_clone", lambda: _git(origin, "clone", "-q", f"file://{origin}", clone),
                     lambda _: {f"clone/src/{name}": (data,) for name, data in files.items()}, below="clone/src/"):
        stage.measure("git_status", lambda: _check_status(clone))


def _make_repository(stage: Stage, folder: Path) -> Dict[str, memoryview]:
    """Twenty commits of fifteen new files each; returns the files below ``src``."""
    files: Dict[str, memoryview] = {}
    folder.mkdir()
    _git(folder, "init", "-q")
    for commit in range(stage.count(20)):
        for number in range(15):
            name = f"m{number % 5}/f{commit:02d}_{number:02d}.c"
            files[name] = memoryview(base64.encodebytes(stage.source.piece(commit * 15 + number, 3 * KIB).data))
            path = folder / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        _git(folder, "add", ".")
        _git(folder, "commit", "-qm", f"commit {commit}")
    return files


def _git(folder: Path, *words: object) -> bytes:
    """With no settings of the user's, whose hooks or signatures would be measured, too."""
    return _run("git", *words, cwd=folder, env={
        **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "bench",
        "GIT_AUTHOR_EMAIL": "bench@localhost", "GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench@localhost"})


def _check_status(clone: Path) -> None:
    changed = _git(clone, "status", "--porcelain")
    if changed:
        raise ValueError(f"git sees changes: {changed[:60].decode(errors='replace')}")


@_workload("stat", about="stat of 1,000 files, five times over, warm", requests=2100)
def stat(stage: Stage) -> None:
    names = _names("many", stage.count(1000))
    stage.seed({name: stage.source.piece(0, 64) for name in names})
    stage.mount()
    paths = [stage.mnt / name for name in names]

    def look(times: int) -> None:
        for path in paths * times:
            os.stat(path)

    def warm() -> None:
        os.listdir(stage.mnt / "many")
        look(1)
        time.sleep(_KERNEL_S)
    stage.prepare(warm)
    stage.measure("stat", partial(look, 5))


@_workload("sqlite", about="a database of 21 transactions, each synced", requests=120)
def sqlite(stage: Stage) -> None:
    stage.mount()
    stage.measure("sqlite", lambda: _use_database(stage.mnt / "bench.db"),
                  lambda stored: {"bench.db": (memoryview(stored),)})


def _use_database(path: Path) -> bytes:
    """Raises: ValueError when what comes back is not what was put in. Returns the file's bytes."""
    database = sqlite3.connect(str(path))
    database.execute("CREATE TABLE line (number INTEGER PRIMARY KEY, text TEXT)")
    with database:
        database.executemany("INSERT INTO line (text) VALUES (?)", [(f"line {number}",) for number in range(200)])
    for number in range(20):
        with database:
            database.execute("INSERT INTO line (text) VALUES (?)", (f"later line {number}",))
    database.close()
    database = sqlite3.connect(str(path))
    [verdict], [count] = (database.execute(query).fetchone()
                          for query in ("PRAGMA integrity_check", "SELECT count(*) FROM line"))
    database.close()
    if (verdict, count) != ("ok", 220):
        raise ValueError(f"the database is damaged: {verdict}, {count} lines")
    return path.read_bytes()
