"""``cosfs umount``: what it waits for, what it says, and what it leaves alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

import pytest

from cosfs.cli import main, mount_helper
from cosfs.cos.interface import ObjectClient
from cosfs.dead_mounts import is_dead
from cosfs.mount_process import mounted_elsewhere
from cosfs.mount_table import MountEntry, mount_at
from tests.conftest import require_fuse
from tests.mount.test_command import LIMIT_S, Command, wait_until
from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]  # each test starts several processes, one after the other

LATER = "writeback=3600"
Umount = Callable[..., Tuple[int, List[str]]]


@pytest.fixture
def command(server: CosServer, folder: str, tmp_path: Path) -> Iterator[Command]:
    require_fuse()
    made = Command(server, folder, tmp_path)
    yield made
    made.close()


def mounted(command: Command, *options: str) -> int:
    """A mount, and its process's number."""
    result = command.run(command.words(f"state_dir={command.folder / 'state'}", *options))
    assert result.returncode == 0, result
    [daemon] = command.daemons()
    return daemon


@pytest.fixture
def umount(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Umount:
    """``cosfs umount`` in this process: its exit status and what it wrote, line by line.

    It says nothing because of the time that passes: that is the machine's.
    """
    monkeypatch.setattr("cosfs.cli.umount._SILENT_S", 3600.0)
    monkeypatch.setattr("cosfs.cli.umount._LINES_S", 3600.0)
    monkeypatch.chdir(Path.cwd())  # the command leaves it

    def run(*words: object) -> Tuple[int, List[str]]:
        capfd.readouterr()
        status = main(["umount", *map(str, words)])
        out, err = capfd.readouterr()
        assert out == ""
        return status, err.splitlines()
    return run


def test_when_it_returns_the_process_has_ended(command: Command, umount: Umount, tmp_path: Path) -> None:
    daemon = mounted(command)
    (command.point / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(command.point)
    assert umount(tmp_path / "link") == (0, [])
    assert not command.mounted()
    assert not Path(f"/proc/{daemon}").exists() or "Z" in Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2]


def test_of_two_mounts_the_other_stays(command: Command, umount: Umount, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Command(command.server, "", tmp_path / "other")
    mounted(command)
    daemon = mounted(other)
    try:
        assert umount(command.point) == (0, [])
        assert command.daemons() == []
        assert other.daemons() == [daemon]
        assert other.mounted()
    finally:
        other.close()


def test_files_of_writeback_are_shown_going(command: Command, umount: Umount, client: ObjectClient,
                                            folder: str) -> None:
    mounted(command, LATER)
    for name in ("a", "b", "c"):
        (command.point / name).write_bytes(b"x" * 1024)
    assert umount(f"{command.point}/") == (0, ["3 files (3.0 KiB) still to be uploaded", "all files are uploaded"])
    assert [client.head_object(folder + name).size_bytes for name in ("a", "b", "c")] == [1024] * 3
    assert command.daemons() == []


def test_files_that_cannot_be_uploaded_are_told(umount: Umount, tmp_path: Path) -> None:
    require_fuse()
    with CosServer() as own:
        command = Command(own, "", tmp_path)
        try:
            mounted(command, LATER, "retries=1")
            (command.point / "file").write_bytes(b"promised")
            own.kill()
            status, (first, second) = umount(command.point)
            assert (status, first) == (1, "1 file (8 bytes) still to be uploaded")
            assert re.fullmatch(rf"cosfs: {command.point} is unmounted, but 1 file \(8 bytes\) could not be uploaded "
                                r"\(.*refused.*\); the next mount here, or cosfs recover, goes on with that", second)
            assert not command.mounted()

            own.start()
            mounted(command)
            assert (command.point / "file").read_bytes() == b"promised"
        finally:
            command.close()


def test_the_wait_can_be_limited_and_the_process_goes_on(umount: Umount, tmp_path: Path) -> None:
    require_fuse()
    with CosServer() as own:
        command = Command(own, "", tmp_path)
        try:
            daemon = mounted(command, LATER)
            (command.point / "file").write_bytes(b"slow")
            os.kill(own.pid, signal.SIGSTOP)
            assert umount("--timeout", "0.3", command.point) == (1, [
                "1 file (4 bytes) still to be uploaded",
                f"cosfs: {command.point} is unmounted, but after 0.3 s its process {daemon} has not ended; it goes on: "
                "1 file (4 bytes) still to be uploaded"])
            os.kill(own.pid, signal.SIGCONT)
            wait_until(lambda: not command.daemons(), "end of the process")
            assert own.requests(op="put_object", status=200)[-1]["bytes_in"] == 4
        finally:
            os.kill(own.pid, signal.SIGCONT)
            command.close()


def test_who_keeps_it_mounted_in_another_mount_namespace_is_told(command: Command, umount: Umount,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(command)
    monkeypatch.setattr("cosfs.cli.umount._SILENT_S", 0.0)
    monkeypatch.setattr("cosfs.cli.umount._LINES_S", 0.001)
    with subprocess.Popen(["unshare", "--mount", "--propagation", "private", "cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        print("ready", file=other.stdin, flush=True)
        assert other.stdout.readline() == "ready\n"

        def found_once(entry: MountEntry) -> Optional[str]:
            found = mounted_elsewhere(entry)
            other.kill()
            return found

        monkeypatch.setattr("cosfs.cli.umount.mounted_elsewhere", found_once)
        status, lines = umount(command.point)
    assert status == 0
    assert re.fullmatch("waiting for the mount's process to end: it is still mounted in the mount namespace of "
                        r"\S+ \(process \d+\)", lines[0])  # maybe of another test's, running beside this one
    assert all(line.startswith("waiting for the mount's process to end") for line in lines)
    assert command.daemons() == []


def test_a_process_of_somebody_else_with_the_name_of_the_mount_s_is_not_waited_for(command: Command, umount: Umount,
                                                                                  ) -> None:
    name = Path(f"/proc/{mounted(command)}/comm").read_text().strip()
    program = ("import os, sys\nwith open('/proc/self/comm', 'w') as file:\n    file.write(sys.argv[1])\n"
               "os.setuid(65534)\nprint('ready', flush=True)\nsys.stdin.read()")
    with subprocess.Popen([sys.executable, "-S", "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, cwd="/") as other:
        assert other.stdout and other.stdout.readline() == "ready\n"
        assert Path(f"/proc/{other.pid}/comm").read_text().strip() == name
        assert umount(command.point) == (0, [])
        assert command.daemons() == []
        other.communicate("")


PROGRAMS = {
    "file": ("held = open(sys.argv[1] + '/used')", "{}/used"),
    "folder": ("os.chdir(sys.argv[1])", "its current folder"),
    "mapping": ("file = os.open(sys.argv[1] + '/used', os.O_RDONLY); held = mmap.mmap(file, 0, prot=mmap.PROT_READ); "
                "os.closerange(3, 99)", "{}/used"),
}


def test_a_mount_in_use_stays_and_its_users_are_named(command: Command, umount: Umount) -> None:
    mounted(command)
    (command.point / "used").write_bytes(b"content")
    for line, what in PROGRAMS.values():
        program = f"import mmap, os, sys\n{line}\nprint('ready', flush=True)\nsys.stdin.read()"
        with subprocess.Popen([sys.executable, "-S", "-c", program, str(command.point)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as user:
            assert user.stdout and user.stdout.readline() == "ready\n"
            name = Path(f"/proc/{user.pid}/comm").read_text().strip()
            assert umount(command.point) == (1, [
                f"cosfs: {command.point} is in use by {name} (process {user.pid}: {what.format(command.point)}); "
                "end that and try again"])
            assert (command.point / "used").read_bytes() == b"content"
            user.communicate("")

    inner = command.point / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inner)], check=True)
    assert umount(command.point) == (1, [
        f"cosfs: {command.point} is in use by the mount on {inner}; end that and try again"])
    subprocess.run(["umount", str(inner)], check=True)
    assert umount(command.point) == (0, [])


def test_a_command_started_in_the_mount_does_not_keep_it_in_use(command: Command, umount: Umount,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(command)
    monkeypatch.chdir(command.point)
    assert umount(".") == (0, [])
    assert not command.mounted()


def test_what_is_no_mount_of_cosfs_is_left(command: Command, umount: Umount) -> None:
    mounted(command)
    (command.point / "below").mkdir()
    for path, what in (("/proc", "a mount of type proc"), (command.folder, "no mount point"),
                       (command.folder / "missing", "not there"), (command.point / "below", "no mount point")):
        status, [line] = umount(path)
        assert status == 1
        assert line.startswith(f"cosfs: {path} is {what}, so it is not unmounted; mounts of cosfs are: ")
        assert str(command.point) in line
    assert command.mounted()


def test_an_unmount_that_does_not_end_is_given_up_with_one_line(command: Command, umount: Umount,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(command)
    (command.folder / "umount").write_text("#!/bin/sh\nexec sleep 60\n")
    (command.folder / "umount").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{command.folder}:{os.environ['PATH']}")
        patch.setattr("cosfs.cli.umount._COMMAND_LIMIT_S", 0.2)
        assert umount(command.point) == (1, [
            f"cosfs: {command.point} is not unmounted: umount has not ended within 0.2 s, perhaps because the service "
            "does not answer; see the mount's log"])
    assert command.mounted()


@pytest.mark.parametrize(("words", "line"), [
    ([], "the following arguments are required: MOUNTPOINT; see cosfs umount --help"),
    (["-t", "soon", "/mnt"], "argument -t/--timeout: soon is wrong, give seconds, 0 or more; see cosfs umount --help"),
    (["--lazy", "/mnt"], "unrecognized arguments: --lazy; see cosfs umount --help"),
])
def test_wrong_words_are_one_line(words: List[str], line: str, umount: Umount) -> None:
    assert umount(*words) == (1, [f"cosfs: {line}"])


@pytest.mark.parametrize("run", [lambda: main(["umount", "--help"]), lambda: mount_helper.main(["--help"])],
                         ids=["umount", "mount.cosfs"])
def test_help_fits_80_columns(run: Callable[[], int], capsys: pytest.CaptureFixture[str],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    try:
        status = run()
    except SystemExit as exc:
        status = exc.code
    assert status == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: ") and max(map(len, text.splitlines())) <= 80


def test_a_dead_mount_is_unmounted_also_while_a_program_has_something_open_there(command: Command, umount: Umount,
                                                                                  ) -> None:
    daemon = mounted(command)
    (command.point / "used").write_bytes(b"content")
    held = os.open(command.point / "used", os.O_RDONLY)
    os.kill(daemon, signal.SIGKILL)
    entry = mount_at(str(command.point))
    assert entry is not None
    wait_until(lambda: is_dead(entry), "dead mount")
    status, [line] = umount(command.point)
    with pytest.raises(OSError, match="not connected"):
        os.close(held)
    assert status == 0
    assert line.startswith(f"cosfs: {command.point} was a dead mount: its process had ended before")
    assert not command.mounted()


def test_a_mount_that_does_not_answer_is_unmounted(command: Command, umount: Umount) -> None:
    daemon = mounted(command, "stat_cache_expire=0")  # nor does the kernel answer for it
    file = command.folder / "mounts.conf"
    file.write_text(f"[one]\nbucket = {command.server.bucket}\nmountpoint = {command.point}\n")
    os.kill(daemon, signal.SIGSTOP)
    try:
        listed = subprocess.run([sys.executable, "-m", "cosfs", "mount", "--list", "--config", str(file)],
                                cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=LIMIT_S)
        again = command.run(command.words())
        status, [line] = umount("-t", "0.2", command.point)
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert listed.stdout == f"one: {command.server.bucket} on {command.point}, mounted ({file})\n"
    assert (again.returncode, again.stderr.splitlines()[-1]) == (
        1, f"cosfs: {command.point} is mounted already; unmount it first with: fusermount -u {command.point}")
    assert (status, line) == (1, f"cosfs: {command.point} is unmounted, but after 0.2 s its process {daemon} has not "
                                 "ended; it goes on")
    wait_until(lambda: not command.daemons(), "end of the process")
    assert not command.mounted()


def test_a_filesystem_that_is_mounted_elsewhere_too_is_not_waited_for(command: Command, umount: Umount, tmp_path: Path,
                                                                     ) -> None:
    daemon = mounted(command)
    second = tmp_path / "second"
    second.mkdir()
    subprocess.run(["mount", "--bind", str(command.point), str(second)], check=True)
    assert umount(command.point) == (0, [])
    assert command.daemons() == [daemon]
    assert umount(second) == (0, [])
    assert command.daemons() == []


AS_NOBODY = """
import ctypes, os, sys
import encodings.idna, encodings.utf_8_sig, cosfs.cli.mount, cosfs.cli.umount, cosfs.fuse_binding
from cosfs.cli import main, mount_helper
cosfs.cli.umount._SILENT_S = cosfs.cli.umount._LINES_S = 3600.0  # as in this process
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc is this user's again
if sys.argv[1] == "wait":
    while not cosfs.dead_mounts.is_dead(cosfs.mount_table.mount_at(sys.argv[2])):
        pass
elif sys.argv[1] == "write":
    with open(sys.argv[2], "w") as file:
        file.write("own")
else:
    sys.exit(main(sys.argv[2:]))
"""
"""A user without rights; what the command needs is loaded before, because that may be out of reach."""

USER_S_MACHINE = """
mkdir "$BASE/dev"
mount -t tmpfs tmpfs "$BASE/dev"
mknod -m 666 "$BASE/dev/fuse" c 10 229
mount --bind "$BASE/dev/fuse" /dev/fuse
nobody() { "$PYTHON" -c "$AS_NOBODY" "$@"; }
minor() { sed -n "s|^[0-9]* [0-9]* 0:\\([0-9]*\\) / $POINT .*|\\1|p" /proc/self/mountinfo; }
nobody cosfs "$@"
for file in $(grep -slx "cosfs $(minor)" /proc/[0-9]*/comm || true); do  # one that ends may have had that number
    ! grep -qsF "$POINT" "${file%comm}cmdline" || kill -KILL "$(echo "$file" | cut -d/ -f3)"
done
nobody wait "$POINT"
nobody cosfs "$@"
nobody write "$POINT/file"
nobody cosfs umount "$POINT"
[ -z "$(minor)" ]
"""
"""In a mount namespace of its own, in which anybody may open /dev/fuse."""


def test_a_user_without_rights_mounts_clears_and_unmounts(server: CosServer, client: ObjectClient, folder: str) -> None:
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="cosfs-nobody-") as base:
        command = Command(server, folder, Path(base))
        for path in (base, command.point, command.passwd):
            os.chown(path, 65534, 65534)
        words = command.words(LATER, f"state_dir={base}/state")
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-e", "-u", "-c", USER_S_MACHINE, "-", *words],
            text=True, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S, cwd="/",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HOME": "/nonexistent", "BASE": base,
                 "POINT": str(command.point), "PYTHON": sys.executable, "AS_NOBODY": AS_NOBODY})
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.splitlines() == ["1 file (3 bytes) still to be uploaded", "all files are uploaded"]
        assert "was a dead mount" in command.log.read_text()
        assert command.daemons() == []
        assert client.head_object(folder + "file").size_bytes == 3


def test_another_user_s_mount_is_not_unmounted(server: CosServer) -> None:
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="cosfs-public-") as base:
        os.chmod(base, 0o755)
        public = Command(server, "", Path(base))
        try:
            mounted(public, "allow_other")
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, "cosfs", "umount", str(public.point)], text=True, check=False,
                capture_output=True, cwd="/", timeout=LIMIT_S, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
            assert done.returncode == 1
            assert done.stderr == (f"cosfs: {public.point} is not unmounted: it was mounted by root; unmount it as "
                                   "that user, or as root\n")
            assert public.mounted()
        finally:
            public.close()
