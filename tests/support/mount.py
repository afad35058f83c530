"""A real kernel mount by the ``cosfs`` command, in a process of its own, and the check of how it ended.

``Mount`` starts ``python -m cosfs`` in the foreground, waits until the kernel shows another device at the mount
point, unmounts at the end, and holds the process to a clean end: exit status 0, no traceback, and no WARNING
or worse in its log but those that the test said it expects.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, List, Optional, Sequence, Type, TypeVar

from tests.support.worlds import OsWorld

REPOSITORY = Path(__file__).resolve().parents[2]
MOUNT_LIMIT_S = 30.0
END_LIMIT_S = 30.0
FUSE_DEVICE = Path("/dev/fuse")
LIBFUSE = [f"libfuse={os.environ.get('COSFS_TEST_LIBFUSE', '2')}"]
"""``COSFS_TEST_LIBFUSE=3 bin/test tests/mount`` runs all mount tests with libfuse 3."""

_ALARMING = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback \(most recent call last\)|Exception ignored|\bwarning:")

T = TypeVar("T")


def write_command(path: Path, module: str) -> None:
    """What installing the package makes of a console script: a command that runs ``main`` of a module."""
    path.write_text(f"#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -c "
                    f"'import sys; from {module} import main; sys.exit(main())' \"$@\"\n")
    path.chmod(0o755)


class Mount:
    """One mount. Context manager; leaving it unmounts and checks the daemon's end.

    ``bucket``: the first word of the command, with prefix. ``options``: items for ``-o``. ``switches``: further
    words such as ``-s``. ``folder``: an own folder, for mount point, key file and log.
    """

    def __init__(self, url: str, bucket: str, folder: Path, *, key: Optional[Sequence[str]] = None,
                 options: Sequence[str] = (), switches: Sequence[str] = (),
                 environment: Optional[Dict[str, str]] = None) -> None:
        self.url = url
        self.bucket = bucket
        self.folder = folder
        self.point = folder / "mnt"
        self.log = folder / "cosfs.log"
        self._key = key
        self._options = list(options)
        self._switches = list(switches)
        self._environment = dict(environment or {})
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._expected: List[re.Pattern[str]] = []
        self._device = 0
        self.status: Optional[int] = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def root(self) -> str:
        return str(self.point)

    def world(self, below: str = "") -> OsWorld:
        return OsWorld(self.root + below)

    def command(self) -> List[str]:
        options = [f"url={self.url}", f"state_dir={self.folder / 'state'}", *LIBFUSE, *self._options]
        if self._key is not None:
            passwd = self.folder / "passwd"
            passwd.write_text(":".join(self._key) + "\n")
            passwd.chmod(0o600)
            options.append(f"passwd_file={passwd}")
        return [sys.executable, "-X", "faulthandler", "-m", "cosfs", self.bucket, self.root, "-o", ",".join(options),
                *self._switches]

    def start(self, *, foreground: bool = True) -> None:
        """Mount and wait until the kernel answers there."""
        self.point.mkdir(parents=True, exist_ok=True)
        self._device = os.stat(self.point).st_dev
        command = self.command() + (["-f"] if foreground else [])
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1",
                       **self._environment}
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             cwd=self.folder, env=environment, start_new_session=True)
        self.wait_for(self.is_mounted, "a mount", MOUNT_LIMIT_S)

    def is_mounted(self) -> bool:
        return os.stat(self.point).st_dev != self._device

    def wait_for(self, probe: Callable[[], T], what: str, limit_s: float) -> T:
        """Poll until ``probe`` gives something true; fails when the process ends or the limit is reached."""
        assert self._process is not None
        limit = time.monotonic() + limit_s
        while True:
            found = probe()
            if found:
                return found
            if self._process.poll() not in (None, 0) or time.monotonic() > limit:
                raise AssertionError(f"no {what}; status {self._process.poll()}, log:\n{self.text()[-4000:]}")
            time.sleep(0.02)

    def expect_log(self, pattern: str) -> None:
        """Lines of the log that match are no failure."""
        self._expected.append(re.compile(pattern))

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def alarms(self, since: int = 0) -> List[str]:
        """Lines of WARNING and worse after byte ``since`` of the log that nobody expected."""
        with open(self.log, "rb") as log:
            log.seek(since)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return [line for line in lines
                if _ALARMING.search(line) and not any(pattern.search(line) for pattern in self._expected)]

    def log_size(self) -> int:
        return self.log.stat().st_size

    def resident_bytes(self, field: str = "VmRSS") -> int:
        """Resident memory of the daemon; ``VmHWM`` for its peak."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        assert match, status
        return int(match.group(1)) * 1024

    def unmount(self) -> None:
        """``fusermount -u`` and wait for the daemon's end; nothing may be in use."""
        subprocess.run(["fusermount", "-u", self.root], check=True, timeout=END_LIMIT_S)
        self.wait_end()

    def wait_end(self) -> None:
        assert self._process is not None
        self.status = self._process.wait(timeout=END_LIMIT_S)

    def kill(self, before_clearing: Callable[[], object] = lambda: None) -> None:
        """SIGKILL, and clear what is left of the mount; a program that goes on after that writes below it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.status = -signal.SIGKILL
        before_clearing()
        self._clear()

    def remount(self) -> None:
        """End and start again: nothing that only the process knew remains."""
        self.unmount()
        assert self.status == 0, f"status {self.status}\n{self.text()[-4000:]}"
        self.start()

    def __enter__(self) -> Mount:
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.finish()
        finally:
            self.discard()

    def finish(self) -> None:
        """The clean end that every test demands."""
        if self.status is None:
            self.unmount()
        assert self.status in (0, -signal.SIGKILL), f"status {self.status}\n{self.text()[-4000:]}"
        alarms = self.alarms()
        assert not alarms, "unexpected in the log of the mount:\n" + "\n".join(alarms[:20]) + \
            f"\n--- end of the log ---\n{self.text()[-3000:]}"

    def discard(self) -> None:
        """Leave nothing behind, whatever the state."""
        self._clear()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _clear(self) -> None:
        def mounted() -> bool:
            try:
                return os.path.ismount(self.point)
            except OSError:  # ENOTCONN of a dead daemon
                return True
        if mounted() or self._listed():
            subprocess.run(["fusermount", "-uz", self.root], check=False, timeout=END_LIMIT_S,
                           stderr=subprocess.DEVNULL)

    def _listed(self) -> bool:
        return any(line.split()[1] == self.root for line in Path("/proc/self/mounts").read_text().splitlines())
