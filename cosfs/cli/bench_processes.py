"""The processes of ``cosfs bench``: starting, measuring and ending them, whatever happens in between.

A benchmark starts servers, mounts and the programs that use them. Each is a process of a session of its own, so
that Ctrl-C on the terminal reaches the benchmark alone, which then ends them in order.

Threading: one thread; ``run_in_child`` forks, so no other thread may run then.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence

from cosfs.errors import CosfsError

START_LIMIT_S = 30.0
END_LIMIT_S = 20.0
_CHILD_END_S = 1.0
"""A killed process whose call a mount is at work on ends with the mount (fuse_dev.c, request_wait_answer)."""

_KILL_AFTER_S = 3.0
"""Time to end that SIGTERM leaves: a request may be stalled, and nothing of a benchmark is worth keeping."""

_POLL_S = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(CosfsError):
    """The benchmark cannot go on; the message is one line."""


class Outcome(NamedTuple):
    """How work in a child ended. ``error``: in one line, None: all was well. ``done``: False when it was cut off."""

    seconds: float
    error: Optional[str] = None
    value: Any = None
    done: bool = True


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into one KeyboardInterrupt, outside of ``held()`` blocks.

    Only the first signal counts: what follows it is the clean-up, which ends by itself.
    """

    def __init__(self) -> None:
        self.number = 0
        self._holds = 0

    @contextmanager
    def received(self) -> Iterator[None]:
        """While inside; afterwards signals do again what they did before. For the main thread."""
        before = {number: signal.signal(number, self._receive)
                  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: object) -> None:
        first = not self.number
        self.number = self.number or number
        if first and not self._holds:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put the interrupt off until the block has ended: a process may not start without being noted."""
        self._holds += 1
        before = self.number
        try:
            yield
        finally:
            self._holds -= 1
            if self.number and not before and not self._holds:
                raise KeyboardInterrupt


INTERRUPTS = Interrupts()


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all its threads together (proc(5), stat); 0 when it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def peak_bytes(pid: int) -> int:
    """Most memory that a process ever had resident (proc(5), VmHWM); 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def run_in_child(work: Callable[[], Any], limit_s: float) -> Outcome:
    """Run ``work`` in a forked process; its time is taken there. What it returns must be picklable.

    A child that takes longer is killed, with all that it has started.
    """
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(work, send), daemon=True)
    try:
        with INTERRUPTS.held():
            child.start()
        send.close()
        if not receive.poll(limit_s):
            return Outcome(limit_s, f"not done after {limit_s:g} s", done=False)
        return Outcome(*receive.recv())
    except EOFError:
        return Outcome(0.0, "the process that did the work has died")
    finally:
        if child.pid is not None:
            with suppress(ProcessLookupError, PermissionError):  # before it has a session of its own
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.join(_CHILD_END_S)


def _child(work: Callable[[], Any], send: Connection) -> None:
    os.setsid()
    value, error, begin = None, None, time.perf_counter()
    try:
        value = work()
    except subprocess.CalledProcessError as exc:
        lines = (exc.stderr or b"").decode(errors="replace").strip().splitlines()
        error = f"{exc.cmd[0]} ended with status {exc.returncode}: {lines[-1] if lines else 'it says nothing'}"
    except Exception as exc:  # noqa: BLE001  whatever the filesystem makes a program raise is the result
        error = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    send.send((time.perf_counter() - begin, error, value))


class Background:
    """A process in the background with its output in a file. ``name``: what users call it."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self._name = name
        self._command = list(command)
        self.log = log
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, ready: Callable[[], bool]) -> None:
        """Start, and wait until ``ready``. Raises: BenchError when it ends before, or takes too long."""
        with INTERRUPTS.held(), open(self.log, "wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             start_new_session=True)
        limit = time.monotonic() + START_LIMIT_S
        while not ready():
            if self._process.poll() is not None or time.monotonic() > limit:
                raise BenchError(f"{self._name} did not start: {self.last_line()}")
            time.sleep(_POLL_S)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_line(self) -> str:
        return ([line for line in self.text().splitlines() if line.strip()] or ["it says nothing"])[-1]

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, limit_s: float = END_LIMIT_S) -> Optional[int]:
        """Exit status, None when it has not ended in time."""
        with suppress(subprocess.TimeoutExpired):
            return None if self._process is None else self._process.wait(limit_s)
        return None

    def end(self, *, kill: bool = False) -> None:
        """SIGTERM, and SIGKILL if that does not help, or at once."""
        if self._process is None:
            return
        with INTERRUPTS.held():
            if not kill:
                self._process.terminate()
            if kill or self.wait(_KILL_AFTER_S) is None:
                self._process.kill()
                self._process.wait()


class MountProcess:
    """A mount at ``point``, which ``command`` serves in the foreground."""

    def __init__(self, command: Sequence[str], point: Path, log: Path) -> None:
        self.point = point
        self._process = Background("the mount", command, log)
        self._below = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Returns when the kernel shows the mount. Raises: BenchError."""
        self.point.mkdir(exist_ok=True)
        self._below = os.stat(self.point).st_dev
        self._process.start(self._is_mounted)

    def _is_mounted(self) -> bool:
        return os.stat(self.point).st_dev != self._below

    def is_running(self) -> bool:
        return self._process.is_running()

    def stop(self, *, at_once: bool = False) -> Optional[str]:
        """Unmount and wait for the end; returns what was wrong with that, or what the mount has complained of.

        ``at_once``: whatever it is at, and without waiting for its requests.
        """
        with INTERRUPTS.held():
            if at_once:
                self._process.end(kill=True)
            return self._stop()

    def _stop(self) -> Optional[str]:
        if not self._process.is_running():
            self._unmount("-uz")
            return f"the mount has died: {self._process.last_line()}"
        if self._unmount("-u") and self._process.wait() == 0:
            return self._process.last_line() if self._process.text().strip() else None
        self._unmount("-uz")
        self._process.end()
        return f"the mount could not be ended: {self._process.last_line()}"

    def _unmount(self, switch: str) -> bool:
        program = shutil.which("fusermount") or "fusermount3"
        with suppress(subprocess.TimeoutExpired):
            return not subprocess.run([program, switch, str(self.point)], stderr=subprocess.DEVNULL,
                                      check=False, timeout=END_LIMIT_S).returncode
        return False
