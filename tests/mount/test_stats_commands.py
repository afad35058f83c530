"""``cosfs stats`` and ``cosfs top`` on real mounts, in pipes and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import List

import pytest

from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.server import ENVIRONMENT

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

COSFS = [sys.executable, "-m", "cosfs"]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def mount(make_mount: MountFactory) -> Mount:
    made = make_mount()
    (made.point / "d").mkdir()
    (made.point / "d" / "a").write_bytes(bytes(3000))
    return made


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COSFS, *words], env=ENVIRONMENT, text=True, stdin=subprocess.DEVNULL, timeout=30,
                          capture_output=True, check=False)


def test_stats_shows_what_the_mount_tells(mount: Mount) -> None:
    done = run("stats", mount.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    [row] = [line.split() for line in done.stdout.splitlines() if line.startswith("Put Object")]
    assert row[3] == "2"
    stats = json.loads(run("stats", mount.root + "/d", "--json").stdout)  # anywhere inside
    assert stats["requests"]["Put Object"]["count"] == 2
    assert stats["requests"]["Put Object"]["bytes_out"] == 3000


def test_top_in_a_pipe_shows_one_interval(mount: Mount) -> None:
    process = subprocess.Popen([*COSFS, "top", mount.root, "--interval", "2"], env=ENVIRONMENT, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    number = 0
    while process.poll() is None:
        number += 1
        (mount.point / "d" / f"f{number}").write_bytes(b"x")
    out = process.communicate()[0]
    assert process.returncode == 0
    assert "\x1b" not in out
    [row] = [line.split() for line in out.splitlines() if line.startswith("Put Object")]
    assert float(row[2].replace(",", "")) > 1


class Terminal:
    """A terminal of 80 by 24 in which a command runs."""

    def __init__(self, *words: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            os.environ.update(ENVIRONMENT, COLUMNS="80", LINES="24", TERM="xterm")
            os.execv(sys.executable, [*COSFS, *words])
        self.output = b""

    def wait_for(self, text: bytes) -> None:
        until_s = time.monotonic() + 20
        while text not in self.output:
            assert select.select([self.descriptor], [], [], until_s - time.monotonic())[0], self.output
            self.output += os.read(self.descriptor, 65536)

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def echoes(self) -> bool:
        flags: List[int] = termios.tcgetattr(self.descriptor)[3:4]
        return bool(flags[0] & termios.ECHO)

    def close(self) -> None:
        os.close(self.descriptor)


def test_top_in_a_terminal_is_live_and_q_puts_the_terminal_back(mount: Mount) -> None:
    terminal = Terminal("top", mount.root, "--interval", "0.2")
    terminal.wait_for(b"q quits")
    assert not terminal.echoes()
    (mount.point / "d" / "b").symlink_to("a")
    (mount.point / "d" / "c").write_bytes(b"c")
    terminal.wait_for(b"       4 ")
    os.write(terminal.descriptor, b"xq")
    terminal.wait_for(LEAVE)
    assert terminal.echoes()
    assert terminal.status() == 0
    terminal.close()


def test_top_gives_the_terminal_back_while_it_is_stopped(mount: Mount) -> None:
    terminal = Terminal("top", mount.root, "--interval", "0.2")
    terminal.wait_for(b"q quits")
    os.write(terminal.descriptor, b"\x1a")  # Ctrl-Z
    terminal.wait_for(LEAVE)
    assert os.WIFSTOPPED(os.waitpid(terminal.pid, os.WUNTRACED)[1])
    assert terminal.echoes()
    terminal.output = b""
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.wait_for(ENTER)
    terminal.wait_for(b"q quits")
    assert not terminal.echoes()
    os.write(terminal.descriptor, b"q")
    assert terminal.status() == 0
    terminal.close()


def test_top_ends_with_a_message_when_the_mount_does(mount: Mount) -> None:
    terminal = Terminal("top", mount.root, "--interval", "0.2")
    terminal.wait_for(b"q quits")
    mount.wait_for(lambda: subprocess.run(["fusermount", "-u", mount.root], check=False,
                                          stderr=subprocess.DEVNULL).returncode == 0, "end of the mount", 10)
    mount.wait_end()
    terminal.wait_for(b"is in no mount of cosfs")
    assert terminal.output.index(LEAVE) < terminal.output.index(b"is in no mount")
    assert terminal.status() == 1
    terminal.close()


@pytest.mark.parametrize("command", ["stats", "top"])
def test_mistakes_get_one_line_with_the_remedy(command: str, tmp_path: Path) -> None:
    for words, message in (
            ([str(tmp_path)], f"{tmp_path} is in no mount of cosfs; give the folder that a bucket is mounted on"),
            ([str(tmp_path / "none")], "does not exist; give the folder that a bucket is mounted on"),
            ([], "one word is needed, the mount point; see cosfs " + command + " --help"),
            (["--jsno", "/"], "see cosfs " + command + " --help")):
        done = run(command, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("cosfs: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_dead_mount_is_named_as_such(mount: Mount) -> None:
    os.kill(mount.pid, 9)
    os.waitid(os.P_PID, mount.pid, os.WEXITED | os.WNOWAIT)
    done = run("stats", mount.root)
    mount.kill()
    assert done.returncode == 1
    assert "is a dead mount" in done.stderr


def test_others_than_the_owner_are_told_whom_to_ask(public_mount: Mount) -> None:
    script = (f"import os, sys; from cosfs.cli import stats; os.setgid(65534); os.setuid(65534); "
              f"sys.exit(stats.run([{public_mount.root!r}]))")
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, text=True, timeout=30, check=False,
                          capture_output=True)
    assert done.returncode == 1
    assert "tells its statistics to its owner only; ask as the user who has mounted it, or as root" in done.stderr


@pytest.mark.parametrize("command", ["stats", "top"])
def test_help_is_at_most_80_columns_wide(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: cosfs {command} MOUNTPOINT")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1e9", "nan"])
def test_an_interval_that_is_none_is_refused(value: str) -> None:
    done = run("top", "/", f"--interval={value}")
    assert done.returncode == 1
    assert f"--interval {value} is wrong" in done.stderr
