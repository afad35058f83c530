"""``Stage``: on which a workload of ``cosfs bench`` plays: a bucket, a mount, and the measuring of what is done there.

Each workload gets an empty bucket and a mount that knows nothing: new process, new page cache, empty local folders.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterable, List, Mapping, Optional, Tuple

from cosfs.cli.bench_bucket import Bucket, Contents, Piece, Source
from cosfs.cli.bench_processes import INTERRUPTS, BenchError, MountProcess, cpu_seconds, peak_bytes, run_in_child
from cosfs.cli.bench_report import Row

SETTLE_LIMIT_S = 5.0
"""How long after the last close the bucket may take to be as it should; the mount promises: no time at all."""

_PROBE_PAUSES = 5
"""Pause between looks at the bucket, in durations of a look: looking must not load the server."""

Expected = Callable[[Any], Contents]
"""Given what the work has returned: the files that the bucket must hold then."""


class Stage:
    """``scale``: factor for numbers of files and calls. ``options``: items for -o; ``{dir}`` in them is ``folder``."""

    def __init__(self, bucket: Bucket, source: Source, folder: Path, *, options: Iterable[str], scale: float,
                 limit_s: float, tell: Callable[[str], None]) -> None:
        self._bucket = bucket
        self._options = list(options)
        self._scale = scale
        self._limit_s = limit_s
        self._tell = tell
        self._mount: Optional[MountProcess] = None
        self.source = source
        self.size_bytes = len(source.data)
        self.folder = folder
        self.mnt = folder / "mnt"
        self.rows: List[Row] = []

    def count(self, whole: int) -> int:
        return max(2, round(whole * self._scale))

    def seed(self, files: Mapping[str, Piece]) -> None:
        """Put files into the bucket; before the first mount."""
        self._tell("filling the bucket")
        self._bucket.seed(files)

    def mount(self) -> None:
        """Mount anew. Raises: BenchError."""
        self.unmount()
        self._bucket.open()
        for name in ("local", "state", "tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        bucket, *words = self._bucket.mount_words()
        options = [f"state_dir={self.folder}/state", f"tmpdir={self.folder}/tmp",
                   *(option.replace("{dir}", f"{self.folder}/local") for option in self._options)]
        self._tell("mounting")
        self._mount = MountProcess(
            [sys.executable, "-m", "cosfs", bucket, str(self.mnt), "-f", *words, "-o", ",".join(options)],
            self.mnt, self.folder / "mount.log")
        self._mount.start()

    def unmount(self) -> None:
        mount, self._mount = self._mount, None
        failed = bool(INTERRUPTS.number or (self.rows and self.rows[-1].error))
        complaint = mount and mount.stop(at_once=failed)
        if complaint and not failed and self.rows:
            self.rows[-1].note = complaint

    def prepare(self, work: Callable[[], Any]) -> Any:
        """Have something done that is not measured. Raises: BenchError."""
        self._tell("preparing")
        outcome = run_in_child(work, self._limit_s)
        if outcome.error:
            raise BenchError(outcome.error)
        return outcome.value

    def measure(self, name: str, work: Callable[[], Any], expected: Optional[Expected] = None, *,
                below: str = "") -> bool:
        """Have ``work`` done, make a row of it, and see that the bucket is as expected in the folder ``below``.

        True when all was well. Raises: BenchError when the work was not done in time, as nothing more will be then.
        """
        assert self._mount is not None
        pid = self._mount.pid
        self._tell(f"running {name}")
        self._bucket.traffic()
        cpu_s = cpu_seconds(pid)
        outcome = run_in_child(work, self._limit_s)
        ended = time.perf_counter()
        error, late_s = outcome.error, 0.0
        if expected is not None and not error:
            self._tell(f"checking {name}")
            error, late_s = self._settle(below, expected(outcome.value), ended)
        traffic = self._bucket.traffic()
        self.rows.append(Row(
            name, seconds=outcome.seconds, durable_seconds=outcome.seconds + late_s,
            cpu_seconds=cpu_seconds(pid) - cpu_s, peak_bytes=peak_bytes(pid), requests=traffic.requests,
            up_bytes=traffic.up_bytes, down_bytes=traffic.down_bytes, server_cpu_seconds=traffic.server_cpu_s,
            error=error or (None if self._mount.is_running() else "the mount has died")))
        if not outcome.done:
            raise BenchError(f"{name} was not done in time")
        return not error

    def _settle(self, below: str, expected: Contents, ended: float) -> Tuple[Optional[str], float]:
        """What is wrong with the bucket, if anything, and the seconds that it took to be right."""
        late_s = 0.0
        while True:
            begin = time.perf_counter()
            problem = self._bucket.difference(below, expected)
            if problem is None or late_s > SETTLE_LIMIT_S:
                return problem, late_s
            time.sleep(_PROBE_PAUSES * (time.perf_counter() - begin))
            late_s = time.perf_counter() - ended
