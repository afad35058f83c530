"""A user at a machine, for tests of the command: a ``Desk``, and words before a command that change what it meets."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

LIMIT_S = 60.0
NOBODY = 65534


class Desk:
    """A user's place: a mount point, a passwd file, a home, and the command in a process of its own.

    It lies where other users than root can reach it; pytest's own folders are private.
    """

    def __init__(self, server: CosServer) -> None:
        self.server = server
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="cosfs-desk-")))
        self.folder.chmod(0o755)
        self.point = self.folder / "mnt"
        self.point.mkdir()
        self.passwd = self.folder / "passwd"
        self.write_passwd(f"{server.secret_id}:{server.secret_key}\n")
        self.environment: Dict[str, str] = {}

    def write_passwd(self, text: str, mode: int = 0o600) -> None:
        self.passwd.write_text(text)
        self.passwd.chmod(mode)

    def command(self, words: Sequence[str], wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run ``cosfs WORDS``; ``wrapper``: words before it."""
        # those of the keys' places would be found by the mount
        plain = {name: value for name, value in os.environ.items()
                 if not name.startswith(("COS", "TENCENTCLOUD", "AWS"))}
        environment = {**plain, "PYTHONPATH": str(REPOSITORY), "HOME": str(self.folder), **self.environment}
        return subprocess.run([*wrapper, sys.executable, "-m", "cosfs", *words], cwd=self.folder, env=environment,
                              text=True, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S)

    def words(self, *options: str, url: Optional[str] = None, bucket: Optional[str] = None,
              point: Optional[Path] = None, keys: bool = True) -> List[str]:
        items = [f"url={url or self.server.url}", *([f"passwd_file={self.passwd}"] if keys else []),
                 f"state_dir={self.folder / 'state'}", *options]
        return [bucket or self.server.bucket, str(point or self.point), "-o", ",".join(items)]

    def line(self, *options: str, wrapper: Sequence[str] = (), words: Optional[Sequence[str]] = None,
             url: Optional[str] = None, bucket: Optional[str] = None, point: Optional[Path] = None,
             keys: bool = True) -> str:
        """Mount, and see that it ends as it should; returns the line without the program's name."""
        before = self.mounts()
        result = self.command(words or self.words(*options, url=url, bucket=bucket, point=point, keys=keys), wrapper)
        assert (result.returncode, result.stdout) == (1, ""), result
        assert re.fullmatch(r"cosfs: [^\n]+\n", result.stderr), result.stderr
        assert "Traceback" not in result.stderr
        assert self.server.secret_key not in result.stderr
        assert self.mounts() == before
        return result.stderr[len("cosfs: "):-1]

    def complaint(self, *words: str) -> str:
        """The one line of another command than the mount's, without the program's name."""
        result = self.command(words)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(r"cosfs: [^\n]+\n", result.stderr), result.stderr
        return result.stderr[len("cosfs: "):-1]

    def mount(self, *options: str, bucket: Optional[str] = None) -> None:
        result = self.command(self.words(*options, bucket=bucket))
        assert (result.returncode, result.stderr) == (0, "")

    def mounts(self) -> List[str]:
        """What is mounted in the desk's folder."""
        return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {self.folder}/" in line]

    def kill_mount(self) -> None:
        """End the process of ``mount`` as a crash does, and wait until the kernel has noticed."""
        for daemon in self.daemons():
            os.kill(daemon, signal.SIGKILL)
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                os.listdir(self.point)
            except OSError as exc:
                if exc.errno == errno.ENOTCONN:
                    return
            assert time.monotonic() < limit, "the mount lives"
            time.sleep(0.02)

    def daemons(self) -> List[int]:
        """Processes that serve or start the mount point."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:  # it has ended
                continue
            if os.fsencode(self.point) in words:
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Unmount what a mistake needed, and see that no process is left."""
        if self.mounts():
            subprocess.run(["umount", "-l", str(self.point)], check=True)
        limit = time.monotonic() + LIMIT_S
        while self.daemons():
            assert time.monotonic() < limit, "a process is left"
            time.sleep(0.02)
        self.stack.close()


def in_own_namespace(*commands: str) -> List[str]:
    """Words before a command that has mounts of its own: the shell ``commands`` make them."""
    users = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = " && ".join([*commands, 'exec "$@"'])
    return ["unshare", *users, "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def as_nobody() -> List[str]:
    """Words before a command, to have it run by another user than root, who may read everything."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search"]


def own_device(mode: int) -> List[str]:
    """Commands for ``in_own_namespace``, of root: a /dev with nothing but /dev/fuse, of that mode."""
    return ["mount -t tmpfs none /dev", f"mknod -m {mode:o} /dev/fuse c 10 229"]


def give_away(*paths: Path) -> None:
    """To the user of ``as_nobody``."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)
