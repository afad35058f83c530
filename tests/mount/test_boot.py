"""Mounts that the machine makes: by mount(8) and fstab, before the network is there, after a crash, for systemd."""

from __future__ import annotations

import configparser
import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest

from cosfs.cli import mount_helper, systemd_unit
from cosfs.cos.interface import ObjectClient
from cosfs.dead_mounts import is_dead
from cosfs.mount_table import mount_at
from tests.conftest import require_fuse
from tests.mount.test_command import LIMIT_S, Command, wait_until
from tests.support.mount import REPOSITORY, write_command
from tests.support.server import CosServer
from tests.support.token_services import TokenServices

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]  # each test starts several processes, one after the other

MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def command(server: CosServer, folder: str, tmp_path: Path) -> Iterator[Command]:
    require_fuse()
    made = Command(server, folder, tmp_path)
    yield made
    made.close()


def waiting_lines(command: Command) -> List[str]:
    return [line for line in command.log.read_text().splitlines() if "the network is not there yet" in line]


class Machine:
    """A mount namespace in which /sbin and /usr/local/bin hold the commands of this checkout."""

    ENTER = """
    mkdir -p "$HOME/bin" "$HOME/sbin"
    sbin=$(readlink -f /sbin)
    cp -a "$sbin/." "$HOME/sbin"
    cp "$HOME/bin/mount.cosfs" "$HOME/sbin/"
    mount --bind "$HOME/sbin" "$sbin"
    mount --bind "$HOME/bin" /usr/local/bin
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._home = command.folder
        (self._home / "bin").mkdir()
        write_command(self._home / "bin" / "cosfs", "cosfs.cli")
        write_command(self._home / "bin" / "mount.cosfs", "cosfs.cli.mount_helper")

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        process = self.start(script)
        out, err = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def start(self, script: str) -> subprocess.Popen[str]:
        environment = {"HOME": str(self._home), "PATH": f"/usr/local/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8",
                       "XDG_STATE_HOME": str(self._home / "state"), "POINT": str(self._command.point)}
        return subprocess.Popen(["unshare", "--mount", "--propagation", "private", "bash", "-e", "-u", "-c",
                                 self.ENTER + script], env=environment, cwd=self._home, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def machine(command: Command) -> Machine:
    if os.geteuid() != 0:
        pytest.skip("only root mounts by fstab")
    return Machine(command)


WORDS_OF_FSTAB = ("defaults,noatime,_netdev,nofail,user,x-systemd.automount,x-systemd.device-timeout=10,x-gvfs-show,"
                  "comment=mine,exec")


@pytest.mark.parametrize(("source", "kind"), [("{}", "fuse.cosfs"), ("cosfs#{}", "fuse")])
def test_a_line_of_fstab_mounts_once_and_a_second_time_changes_nothing(
        source: str, kind: str, command: Command, machine: Machine, client: ObjectClient, folder: str) -> None:
    options = command.words(WORDS_OF_FSTAB)[-1]
    (command.folder / "fstab").write_text(f"{source.format(command.bucket)} {command.point} {kind} {options} 0 0\n")
    done = machine.run(f"""
    mount -T "$HOME/fstab" -a
    echo "by fstab" >"$POINT/file"
    grep -cF " $POINT " /proc/self/mounts
    grep -F " $POINT " /proc/self/mounts
    if [ "{kind}" != fuse ]; then mount -T "$HOME/fstab" -a; grep -cF " $POINT " /proc/self/mounts; fi
    umount "$POINT"
    """)
    assert (done.returncode, done.stderr) == (0, "")
    count, line, *again = done.stdout.splitlines()
    assert count == "1" and again in ([], ["1"])
    assert line.startswith(f"{command.bucket.rstrip('/')} {command.point} fuse.cosfs rw,nosuid,nodev,noatime,")
    assert client.head_object(folder + "file").size_bytes == len("by fstab\n")


def test_mount_with_a_type_and_read_only_and_remount_is_refused(command: Command, machine: Machine) -> None:
    done = machine.run(f"""
    mount -t cosfs -o ro,{command.words()[-1]} {command.bucket} "$POINT"
    grep -F " $POINT " /proc/self/mounts
    ! touch "$POINT/file"
    ! mount -o remount,rw "$POINT"
    grep -F " $POINT " /proc/self/mounts
    umount "$POINT"
    """)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.splitlines()
    assert before == after and " fuse.cosfs ro," in before
    assert "Read-only file system" in done.stderr
    assert "cosfs: option remount is not supported; unmount and mount again: a running mount keeps its options" in (
        done.stderr.splitlines())


def test_the_helper_s_switches_are_those_of_mount(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    words = command.words("no_such_option=1")
    assert mount_helper.main([*words, "-f", "-v", "-n", "-s", "-t", "fuse.cosfs"]) == 0
    assert capfd.readouterr() == (f"{command.bucket.rstrip('/')} would be mounted on {command.point}\n", "")
    assert not command.mounted()

    path = command.folder / "mount.cosfs"
    write_command(path, "cosfs.cli.mount_helper")
    sloppy = subprocess.run([str(path), *words, "-s", "-v"], text=True, check=False, capture_output=True,
                            timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    assert (sloppy.returncode, sloppy.stdout, sloppy.stderr) == (
        0, f"{command.bucket.rstrip('/')} is mounted on {command.point}\n",
        "cosfs: warning: option no_such_option is not known, and ignored\n")
    assert command.mounted()


@pytest.mark.parametrize(("words", "line"), [
    (["-N", "/proc/1/ns/mnt"], "another mount namespace is not supported; enter it first: nsenter -m -t PID mount ..."),
    (["-z"], "option -z not recognized; see mount.cosfs --help"),
    (["-o", "remount"], "option remount is not supported; unmount and mount again: a running mount keeps its options"),
    (["-o", "no_such_option"], "unknown option no_such_option; see cosfs --help"),
])
def test_what_the_helper_cannot_do_is_one_line(words: List[str], line: str, command: Command,
                                               capfd: pytest.CaptureFixture[str]) -> None:
    assert mount_helper.main([*command.words(), *words]) == 1
    assert capfd.readouterr() == ("", f"cosfs: {line}\n")
    assert not command.mounted()


def killed(command: Command) -> None:
    """A mount whose process is gone by SIGKILL."""
    assert command.run(command.words()).returncode == 0
    [daemon] = command.daemons()
    os.kill(daemon, signal.SIGKILL)
    entry = mount_at(str(command.point))
    assert entry is not None
    wait_until(lambda: is_dead(entry), "dead mount")


@contextmanager
def dead_mount(point: Path, kind: str) -> Iterator[None]:
    """A mount of that type that nobody serves; at the end all that is mounted there goes."""
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
    assert LIBC.mount(b"nobody", os.fsencode(point), kind.encode(), 0, options) == 0, os.strerror(ctypes.get_errno())
    os.close(descriptor)
    try:
        yield
    finally:
        while LIBC.umount2(os.fsencode(point), MNT_DETACH) == 0:
            pass


def table(command: Command) -> List[str]:
    """Sources of what is mounted at the mount point, lowest first."""
    return [line.split()[0] for line in Path("/proc/self/mounts").read_text().splitlines()
            if line.split()[1] == str(command.point)]


def test_a_killed_mount_is_cleared_by_the_next_with_one_line(command: Command) -> None:
    killed(command)
    result = command.run(command.words())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(table(command)) == 1
    (command.point / "file").write_bytes(b"alive")
    [line] = command.log.read_text().splitlines()
    assert line.endswith(f"{command.point} was a dead mount, whose process had ended without unmounting; it is cleared")


def test_dead_mounts_over_one_another_are_all_cleared(command: Command) -> None:
    with dead_mount(command.point, "fuse.cosfs"), dead_mount(command.point, "fuse.cosfs"):
        assert command.run(command.words()).returncode == 0
        assert table(command) == [command.bucket.rstrip("/")]
        subprocess.run(["umount", str(command.point)], check=True)


def test_a_dead_mount_of_another_program_is_left(command: Command) -> None:
    with dead_mount(command.point, "fuse.other"):
        result = command.run(command.words())
        assert (result.returncode, result.stderr) == (
            1, f"cosfs: mount point {command.point} is a dead mount (transport endpoint is not connected); "
               f"clear it with: umount -l {command.point}\n")
        assert table(command) == ["nobody"]


def test_a_living_mount_is_left_whatever_lies_under_it(command: Command) -> None:
    with dead_mount(command.point, "fuse.other"):
        LIBC.mount(b"tmpfs", os.fsencode(command.point), b"tmpfs", 0, b"")
        assert command.run(command.words()).returncode == 0
        result = command.run(command.words())
        assert (result.returncode, result.stderr) == (
            1, f"cosfs: {command.point} is mounted already; unmount it first with: fusermount -u {command.point}\n")
        (command.point / "file").write_bytes(b"alive")
        assert table(command) == ["nobody", "tmpfs", command.bucket.rstrip("/")]
        subprocess.run(["umount", str(command.point)], check=True)
        subprocess.run(["umount", str(command.point)], check=True)


class LateServer(CosServer):
    """Until it is started, its port is taken by a socket that does not listen: connections are refused."""

    def __init__(self) -> None:
        super().__init__()
        self._placeholder = socket.socket()
        self._placeholder.bind((self.host, 0))
        self.port = self._placeholder.getsockname()[1]

    def start(self) -> CosServer:
        self._placeholder.close()
        return super().start()


@pytest.fixture
def late_server() -> Iterator[LateServer]:
    server = LateServer()
    yield server
    server._placeholder.close()
    server.stop()


@pytest.mark.parametrize(("source", "kind"), [("{}", "cosfs"), ("cosfs#{}", "fuse")])
def test_a_line_of_fstab_waits_for_the_network_with_one_line(source: str, kind: str, late_server: LateServer,
                                                             tmp_path: Path) -> None:
    require_fuse()
    command = Command(late_server, "", tmp_path)
    options = command.words("_netdev")[-1]
    (tmp_path / "fstab").write_text(f"{source.format(late_server.bucket)} {command.point} {kind} {options} 0 0\n")
    process = Machine(command).start("""
    mount --bind "$HOME/fstab" /etc/fstab
    mount "$POINT"
    echo late >"$POINT/file"
    umount "$POINT"
    """)
    try:
        wait_until(lambda: command.log.exists() and waiting_lines(command), "line of the log")
        assert process.poll() is None
        late_server.start()
        out, err = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, out) == (0, ""), err
        [line] = command.log.read_text().splitlines()
        assert line.endswith(f"the network is not there yet ({late_server.url}: Connection refused); waiting for up to "
                             "30 s")
        assert {request["key"] for request in late_server.requests(method="PUT")} == {"file"}
    finally:
        process.kill()
        process.communicate()
        command.close()


def test_keys_that_a_service_issues_are_asked_for_when_there_is_a_network(
        late_server: LateServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_fuse()
    command = Command(late_server, "", tmp_path)
    with TokenServices(late_server) as services:
        file = tmp_path / ".tencentcloud" / "credentials"
        file.parent.mkdir()
        file.write_text(f"[default]\nsecret_id = {services.caller.secret_id}\n"
                        f"secret_key = {services.caller.secret_key}\nrole_arn = {services.role_arn}\n")
        file.chmod(0o600)
        monkeypatch.setenv("COSFS_STS_ENDPOINT", services.url)
        process = command.start([late_server.bucket, str(command.point), "-f", "-o",
                                 f"url={late_server.url},logfile={command.log},wait_for_network=50"])
        try:
            wait_until(lambda: command.log.exists() and waiting_lines(command), "line of the log")
            assert services.requests == []
            late_server.start()
            wait_until(command.mounted, "mount")
            assert len(services.requests) == 1
            (command.point / "file").write_bytes(b"with the keys of the role")
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=LIMIT_S)
            assert (process.returncode, err.count("Traceback")) == (0, 0)
        finally:
            process.kill()
            process.communicate()
            command.close()


def test_the_wait_has_a_limit(late_server: LateServer, tmp_path: Path) -> None:
    require_fuse()
    command = Command(late_server, "", tmp_path)
    began_s = time.monotonic()
    line = command.refused("wait_for_network=1", bucket=late_server.bucket)
    assert line == f"no connection to {late_server.url}: Connection refused; check url= and the network"
    assert time.monotonic() - began_s >= 1
    assert len(waiting_lines(command)) == 1


@pytest.mark.parametrize("mistake", ["keys", "silence"])
def test_what_the_network_cannot_cure_fails_at_once(mistake: str, command: Command) -> None:
    options, changes = ["_netdev", "wait_for_network=50"], {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if mistake == "keys":
            command.write_passwd(command.server.secret_id, "wrong" * 6)
        else:
            changes = {"url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
            options.append("readwrite_timeout=0.2")
        began_s = time.monotonic()
        command.refused(*options, **changes)
    assert time.monotonic() - began_s < 20
    assert waiting_lines(command) == []


class Manager:
    """A service manager's end of sd_notify(3)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(LIMIT_S)

    def receive(self) -> List[str]:
        return self._socket.recv(4096).decode().splitlines()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@cosfs-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", made.address)
    yield made
    made.close()


def test_the_service_manager_is_told_of_start_and_end(command: Command, manager: Manager) -> None:
    process = command.start([*command.words(), "-f"])
    assert manager.receive() == ["READY=1", f"STATUS={command.bucket.rstrip('/')} is mounted on {command.point}"]
    (command.point / "file").write_bytes(b"answers")
    process.send_signal(signal.SIGTERM)
    assert manager.receive() == ["STOPPING=1", f"STATUS={command.point} is unmounted; storing what waits"]
    _, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err, command.log.read_text()) == (0, "", "")


def test_the_unit_s_command_mounts_a_section_and_says_so(
        command: Command, manager: Manager, late_server: LateServer) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(systemd_unit.TEMPLATE)
    service = unit["Service"]
    assert (service["Type"], service["Restart"], service["KillMode"]) == ("notify", "on-failure", "mixed")
    reload = shlex.split(service["ExecReload"])
    conf = command.folder / "cosfs.conf"
    conf.write_text(f"[photos]\nbucket = {late_server.bucket}\nmountpoint = {command.point}\nurl = {late_server.url}\n"
                    f"passwd_file = {command.passwd}\nlogfile = {command.log}\nstate_dir = {command.folder}/state\n")
    program, *words = shlex.split(service["ExecStart"].replace("%i", "photos"))
    assert program == "/usr/local/bin/cosfs"
    assert words[words.index("--config") + 1] == "/etc/cosfs.conf"
    words[words.index("--config") + 1] = str(conf)
    process = subprocess.Popen([sys.executable, "-m", "cosfs", *words], stdin=subprocess.DEVNULL, text=True,
                               env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.PIPE)
    try:
        waits, extends = manager.receive()
        assert waits == "STATUS=waiting for the network (Connection refused)"
        assert extends == "EXTEND_TIMEOUT_USEC=90000000"
        late_server.start()
        assert manager.receive()[0] == "READY=1"
        assert os.listdir(command.point) == []
        command.log.rename(command.folder / "moved.log")
        subprocess.run([word.replace("$MAINPID", str(process.pid)) for word in reload], check=True)
        wait_until(command.log.exists, "new log")
        process.terminate()
        assert manager.receive()[0] == "STOPPING=1"
        _, err = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, err) == (0, "")
    finally:
        process.kill()
        process.communicate()
