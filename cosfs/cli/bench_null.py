"""``cosfs bench --null``: what FUSE itself costs, on a filesystem that does nothing (null_filesystem.py).

Kernel, FUSE library, binding and the error boundary are those of a real mount; so this is the ceiling of it.
Calls are counted by construction: a name that the kernel does not know takes one call, and a read or write with
O_DIRECT of as much as the kernel moves at once takes one.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Callable, List

from cosfs.cli.bench_processes import BenchError, MountProcess, cpu_seconds, peak_bytes, run_in_child
from cosfs.cli.bench_report import Row
from cosfs.units import KIB, MIB

_NAMES = 10_000
_CALLS = 8000
_STREAM_BYTES = 1024 * MIB
_KERNEL_S = 1.1
"""Longer than the kernel believes names by itself (cosfs/mount.py)."""

_CALL_BYTES = {"2": 128 * KIB, "3": MIB}
"""Most that one write carries, by version of libfuse (FUSE_MAX_PAGES_PER_REQ of the kernel; big_writes, max_pages)."""


def measure(folder: Path, libfuse: str, scale: float, limit_s: float, tell: Callable[[str], None]) -> List[Row]:
    """Mount, measure, unmount. Raises: BenchError."""
    mnt = folder / "mnt"
    mount = MountProcess([sys.executable, "-m", "cosfs.cli.null_filesystem", str(mnt), libfuse], mnt,
                         folder / "null.log")
    rows: List[Row] = []

    def row(name: str, calls: int, moved: int, work: Callable[[], None]) -> None:
        tell(f"running {name}")
        cpu_s = cpu_seconds(mount.pid)
        outcome = run_in_child(work, limit_s)
        rows.append(Row(name, seconds=outcome.seconds, durable_seconds=outcome.seconds, calls=calls or None,
                        bytes=moved or None, cpu_seconds=cpu_seconds(mount.pid) - cpu_s,
                        peak_bytes=peak_bytes(mount.pid), error=outcome.error))

    def count(whole: int) -> int:
        return max(2, round(whole * scale))

    size = _CALL_BYTES[libfuse]
    try:
        mount.start()
        names = [mnt / f"d{number}" for number in range(count(_NAMES))]
        failure = run_in_child(partial(_make, mnt / "file", size * count(_CALLS), names), limit_s).error
        if failure:
            raise BenchError(failure)
        row("stat", len(names), 0, partial(_stat, names))
        for name, unit in {"read_128k": 128 * KIB, f"write_{size // KIB}k": size}.items():
            calls = count(_CALLS * 128 * KIB // unit)
            row(name, calls, calls * unit, partial(_direct, mnt / "file", name.startswith("write"), unit, calls))
        stream = count(_STREAM_BYTES // MIB) * MIB
        row("read_stream", 0, stream, partial(_stream, mnt / "file", False, stream))
        row("write_stream", 0, stream, partial(_stream, mnt / "new", True, stream))
    finally:
        mount.stop()
    return rows


def _make(file: Path, size_bytes: int, names: List[Path]) -> None:
    """Names to stat, forgotten by the kernel, and a file to read."""
    for name in names:
        name.mkdir()
    file.touch()
    os.truncate(file, max(size_bytes, _STREAM_BYTES))
    time.sleep(_KERNEL_S)


def _stat(names: List[Path]) -> None:
    for name in names:
        os.stat(name)


def _direct(path: Path, write: bool, unit: int, calls: int) -> None:
    """Past the page cache, one call of FUSE for each of ours."""
    buffer = mmap.mmap(-1, unit)
    descriptor = os.open(path, (os.O_WRONLY if write else os.O_RDONLY) | os.O_DIRECT)
    for number in range(calls):
        moved = (os.pwritev if write else os.preadv)(descriptor, [buffer], number * unit)
        if moved != unit:
            raise ValueError(f"{moved} bytes instead of {unit}")
    os.close(descriptor)


def _stream(path: Path, write: bool, size_bytes: int) -> None:
    """As programs do, in order and through the page cache."""
    buffer = bytearray(MIB)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT if write else os.O_RDONLY)
    for _ in range(0, size_bytes, MIB):
        moved = os.write(descriptor, buffer) if write else os.readv(descriptor, [buffer])
        if moved != MIB:
            raise ValueError(f"{moved} bytes instead of {MIB}")
    os.close(descriptor)
