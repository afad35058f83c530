"""The ``cosfs`` command from outside: good starts, the end of a mount, and bad starts beside those of
test_troubleshooting.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, TypeVar

import pytest

from cosfs.cos.interface import ObjectClient
from cosfs.version import __version__
from tests.conftest import require_fuse
from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

pytestmark = pytest.mark.mount

LIMIT_S = 60.0
T = TypeVar("T")


class Command:
    """Runs ``python -m cosfs`` against the server; ends what is left of mounts after the test."""

    def __init__(self, server: CosServer, prefix: str, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.bucket = f"{server.bucket}:/{prefix}"
        self.point = folder / "mnt"
        self.point.mkdir()
        self.passwd = self.write_passwd(server.secret_id, server.secret_key)
        self.log = folder / "cosfs.log"

    def write_passwd(self, secret_id: str, secret_key: str, mode: int = 0o600) -> Path:
        path = self.folder / "passwd"
        path.write_text(f"{secret_id}:{secret_key}\n")
        path.chmod(mode)
        return path

    def words(self, *options: str, url: Optional[str] = None, bucket: Optional[str] = None,
              point: Optional[Path] = None) -> List[str]:
        items = [f"url={url or self.server.url}", f"passwd_file={self.passwd}", f"logfile={self.log}", *options]
        return [bucket or self.bucket, str(point or self.point), "-o", ",".join(items)]

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HOME": str(self.folder)}
        return subprocess.Popen([sys.executable, "-m", "cosfs", *words], cwd=self.folder, env=environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        process = self.start(words)
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def refused(self, *options: str, **changes: object) -> str:
        """Start, expect status 1 with one line and no mount; returns the line without the program's name."""
        result = self.run(self.words(*options, **changes))  # type: ignore[arg-type]
        assert (result.returncode, result.stdout) == (1, ""), result
        assert result.stderr.startswith("cosfs: "), result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert not self.mounted()
        assert self.server.secret_key not in result.stderr
        return result.stderr[len("cosfs: "):-1]

    def mounted(self) -> bool:
        return any(line.split()[1] == str(self.point) for line in Path("/proc/self/mounts").read_text().splitlines())

    def daemons(self) -> List[int]:
        """Processes that serve or start the mount point of this test."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"cosfs" in words and os.fsencode(self.point) in words:
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        if self.mounted():
            subprocess.run(["umount", "-l", str(self.point)], check=True)
        for pid in self.daemons():
            os.kill(pid, signal.SIGKILL)


def wait_until(probe: Callable[[], T], what: str) -> T:
    limit = time.monotonic() + LIMIT_S
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < limit, f"no {what} within {LIMIT_S:.0f} s"
        time.sleep(0.02)


@pytest.fixture
def command(server: CosServer, folder: str, tmp_path: Path) -> Iterator[Command]:
    require_fuse()
    made = Command(server, folder, tmp_path)
    yield made
    made.close()


def test_version_and_help_need_nothing(command: Command) -> None:
    version = command.run(["--version"])
    assert (version.returncode, version.stdout, version.stderr) == (0, f"cosfs {__version__}\n", "")
    help_ = command.run(["--help"])
    assert (help_.returncode, help_.stderr) == (0, "")
    assert "passwd_file=PATH" in help_.stdout


def test_skewed_clock(command: Command) -> None:
    command.server.set_faults("kind=clock-skew,seconds=3600")
    line = command.refused()
    assert line.startswith("the clock of this machine is wrong by 3")
    assert line.endswith(" seconds (behind); set it, for example with: timedatectl set-ntp true")


def test_nonempty_allows_it(command: Command) -> None:
    (command.point / "something").touch()
    assert command.run(command.words("nonempty")).returncode == 0
    assert os.listdir(command.point) == []


@pytest.mark.parametrize(("option", "line"), [
    (f"tmpdir=/{'n' * 300}", f"/{'n' * 300} is not a folder that can be written to; create it or give another tmpdir="),
    ("use_cache=/proc/cache", "the data cache cannot be kept in /proc/cache (No such file or directory); give another "
                              "use_cache=, or none"),
])
def test_wrong_options(command: Command, option: str, line: str) -> None:
    assert command.refused(option) == line


def test_refusal_of_fuse_is_one_line(command: Command) -> None:
    line = command.refused("allow_other", "allow_root", "libfuse=2")
    assert line.startswith(f"FUSE refused to mount on {command.point} (fuse: 'allow_other' and 'allow_root' options")


def test_returns_when_the_mount_answers_and_ends_with_umount(command: Command, client: ObjectClient,
                                                             folder: str) -> None:
    result = command.run(command.words())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (command.point / "file").write_bytes(b"content")
    assert os.listdir(command.point) == ["file"]
    [daemon] = command.daemons()
    assert [os.readlink(f"/proc/{daemon}/fd/{stream}") for stream in (0, 1, 2)] == [os.devnull] * 3
    subprocess.run(["umount", str(command.point)], check=True)
    wait_until(lambda: not command.daemons(), "end of the daemon")
    assert client.head_object(folder + "file").size_bytes == 7
    assert command.log.read_text() == ""


@pytest.mark.parametrize("end", ["umount", "fusermount", "SIGTERM", "SIGINT"])
def test_foreground_ends_with_status_0_and_nothing_lost(command: Command, client: ObjectClient, folder: str,
                                                        end: str) -> None:
    process = command.start([*command.words(), "-f"])
    wait_until(command.mounted, "mount")
    (command.point / "file").write_bytes(b"x" * 100_000)
    if end == "umount":
        subprocess.run(["umount", str(command.point)], check=True)
    elif end == "fusermount":
        subprocess.run(["fusermount", "-u", str(command.point)], check=True)
    else:
        process.send_signal(getattr(signal, end))
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (0, "", "")
    assert not command.mounted()
    assert client.head_object(folder + "file").size_bytes == 100_000


def test_signal_stores_what_open_files_hold(command: Command, client: ObjectClient, folder: str) -> None:
    process = command.start([*command.words(), "-f"])
    wait_until(command.mounted, "mount")
    file = os.open(command.point / "open", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(file, b"unsaved")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)
    finally:
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(file)
    assert process.returncode == 0
    assert client.head_object(folder + "open").size_bytes == 7


def test_mount_table_names_bucket_and_type_and_no_secret(command: Command) -> None:
    assert command.run(command.words("ro", "dbglevel=debug")).returncode == 0
    [line] = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(command.point) in line]
    source, _, kind, options = line.split()[:4]
    assert (source, kind) == (command.bucket.rstrip("/"), "fuse.cosfs")
    assert "ro" in options.split(",")
    [daemon] = command.daemons()
    os.listdir(command.point)
    shown = line + Path(f"/proc/{daemon}/cmdline").read_text() + command.log.read_text()
    assert "is mounted on" in shown
    assert command.server.secret_key not in shown


def test_read_only_mount_refuses_writing(command: Command) -> None:
    assert command.run(command.words("ro")).returncode == 0
    with pytest.raises(OSError, match="Read-only"):
        (command.point / "file").write_bytes(b"")


def test_single_threaded_mount_answers(command: Command) -> None:
    assert command.run([*command.words(), "-s"]).returncode == 0
    (command.point / "file").write_bytes(b"content")
    assert (command.point / "file").read_bytes() == b"content"


def test_second_d_shows_the_calls_of_the_kernel(command: Command) -> None:
    process = command.start([*command.words(), "-d", "-d"])
    wait_until(command.mounted, "mount")
    subprocess.run(["umount", str(command.point)], check=True)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "opcode: INIT" in err
    assert command.server.secret_key not in err + command.log.read_text()


def test_fstab_words_and_old_bucket_form(command: Command) -> None:
    name, _, appid = command.server.bucket.rpartition("-")
    words = command.words("rw,dev,suid,_netdev,nofail,x-systemd.requires=network.target", bucket=f"{appid}:{name}")
    assert command.run(words).returncode == 0
    assert command.mounted()


def test_keys_from_the_environment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSACCESSKEYID", command.server.secret_id)
    monkeypatch.setenv("COSSECRETACCESSKEY", command.server.secret_key)
    result = command.run([command.bucket, str(command.point), f"-ourl={command.server.url}"])
    assert (result.returncode, result.stderr) == (0, "")
