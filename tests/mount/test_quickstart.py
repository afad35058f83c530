"""``bin/quickstart`` as a new user runs it: again and again, after a crash, and to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.conftest import require_fuse
from tests.support.mount import REPOSITORY

pytestmark = pytest.mark.mount

LIMIT_S = 100.0


class Quickstart:
    """The script with a state folder of its own, in the environment that runs the tests."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.mount = state / "mnt"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COSFS_QUICKSTART": str(self.state), "COSFS_VENV": sys.prefix}
        return subprocess.run([REPOSITORY / "bin" / "quickstart", *words], env=environment, text=True, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S)

    def succeed(self, *words: str) -> str:
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def processes(self) -> List[int]:
        """Server and mount."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if os.fsencode(self.state) in words and b"cosfs" in words:
                found.append(int(entry.name))
        return found


@pytest.fixture
def quickstart(tmp_path: Path) -> Iterator[Quickstart]:
    require_fuse()
    if not (Path(sys.prefix) / "bin" / "cosfs").exists():
        pytest.skip("cosfs is not installed in this environment; bin/test installs it")
    made = Quickstart(tmp_path / "quick start")
    yield made
    made.run("stop")


def test_start_again_and_stop(quickstart: Quickstart) -> None:
    assert "mounted; a file was written and read back" in quickstart.succeed()
    first = (quickstart.mount / "hello-from-quickstart.txt").read_text()
    (quickstart.mount / "kept").write_text("kept")
    processes = quickstart.processes()

    assert "mounted; a file was written and read back" in quickstart.succeed()
    assert quickstart.processes() == processes
    assert quickstart.succeed("status").startswith("server: running on http://127.0.0.1:")

    assert quickstart.succeed("stop").startswith("stopped;")
    assert quickstart.processes() == []
    assert quickstart.succeed("status") == "server: not running\nmount:  none\n"
    assert "stopped" in quickstart.succeed("stop")

    quickstart.succeed()
    assert (quickstart.mount / "kept").read_text() == "kept"
    assert (quickstart.mount / "hello-from-quickstart.txt").read_text() >= first


def test_start_after_both_processes_died(quickstart: Quickstart) -> None:
    quickstart.succeed()
    (quickstart.mount / "kept").write_text("kept")
    for pid in quickstart.processes():
        os.kill(pid, signal.SIGKILL)
    (quickstart.state / "server.pid").write_text(str(os.getpid()))

    quickstart.succeed()
    assert (quickstart.mount / "kept").read_text() == "kept"


def test_stop_refuses_while_the_mount_is_in_use(quickstart: Quickstart) -> None:
    quickstart.succeed()
    with open(quickstart.mount / "hello-from-quickstart.txt", encoding="utf-8"):
        refused = quickstart.run("stop")
    assert refused.returncode == 1
    assert refused.stderr == (f"quickstart: {quickstart.mount} is in use; leave that folder, close its files, and try "
                              "again\n")
    quickstart.succeed("stop")


def test_help_lists_the_words(quickstart: Quickstart) -> None:
    lines = quickstart.succeed("--help").splitlines()
    assert [line.split("  ")[0] for line in lines] == ["bin/quickstart", "bin/quickstart stop", "bin/quickstart status"]


def test_unknown_word(quickstart: Quickstart) -> None:
    done = quickstart.run("begin")
    assert done.returncode == 1
    assert done.stderr == "quickstart: unknown word begin; use: quickstart [start|stop|status]\n"
