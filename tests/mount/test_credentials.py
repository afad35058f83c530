"""Keys that change under a mount: renewed, revoked, rotated in their file; and that no secret shows anywhere."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Optional

import pytest

from cosfs.cos.signing import Credentials
from tests.conftest import require_fuse
from tests.support.mount import END_LIMIT_S, Mount
from tests.support.server import CosServer
from tests.support.token_services import TokenServices

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

DATA = random.Random(5).randbytes(16 << 20)
SLOW = ("dbglevel=debug", "multipart_size=1", "parallel_count=2")
"""With the server's 4 MB/s of each connection: 2 s for DATA."""


@pytest.fixture(scope="module")
def slow_server() -> Iterator[CosServer]:
    with CosServer(mbps=4) as made:
        yield made


@pytest.fixture
def server(slow_server: CosServer) -> CosServer:
    """One of these tests' own, which accepts what a test says and nothing else."""
    slow_server.set_keys()
    slow_server.clear_requests()
    return slow_server


@pytest.fixture
def services(server: CosServer) -> Iterator[TokenServices]:
    with TokenServices(server) as made:
        yield made


@contextmanager
def mounted(server: CosServer, folder: Path, *options: str, environment: Any = None,
            home: Mapping[Path, str] = {}) -> Iterator[Mount]:
    """A mount with no other keys than those of ``options``, ``environment`` and the files of ``home``."""
    require_fuse()
    (folder / "home").mkdir()
    for path, text in home.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    mount = Mount(server.url, f"{server.bucket}:/{folder.name}", folder, options=options,
                  environment={"HOME": str(folder / "home"), **(environment or {})})
    with mount:
        yield mount


def write_passwd(path: Path, key: Credentials, ends_in_s: Optional[float] = None) -> None:
    """As a careful tool does it: a new file takes the old one's name."""
    new = path.with_suffix(".new")
    end = "" if ends_in_s is None else time.strftime("COSAccessTokenExpire=%Y-%m-%dT%H:%M:%S\n",
                                                     time.gmtime(time.time() + ends_in_s))
    new.write_text(f"COSAccessKeyId={key.secret_id}\nCOSSecretKey={key.secret_key}\nCOSAccessToken={key.token}\n{end}")
    new.chmod(0o600)
    new.replace(path)


def command_line(process: Path) -> List[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile
        return []


def refusals(server: CosServer) -> int:
    return len(server.requests(status=403))


def copy_in_and_out(mount: Mount, source: Path) -> None:
    inside, back = mount.root + "/f", str(source) + ".back"
    for command in (["cp", str(source), inside], ["dd", f"if={inside}", f"of={back}", "bs=1M", "iflag=direct",
                                                  "status=none"], ["cmp", str(source), back]):
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=END_LIMIT_S)
        assert (done.returncode, done.stderr) == (0, "")


def assert_nothing_shows(services: TokenServices, *mounts: Mount) -> None:
    """No secret in log, command line or mount table."""
    for mount in mounts:
        line = Path(f"/proc/{mount.pid}/cmdline").read_bytes().decode()
        shown = mount.text() + line + Path("/proc/self/mountinfo").read_text()
        assert not [secret for secret in [*services.secrets(), services.identity_token] if secret in shown]


def test_keys_that_end_during_a_copy_are_renewed_without_a_refusal(server: CosServer, services: TokenServices,
                                                                   tmp_path: Path) -> None:
    services.lifetime_s = 6.0  # half of which a machine under load may be late
    (tmp_path / "source").write_bytes(DATA)
    with mounted(server, tmp_path, *SLOW, "cam_role=worker", f"cam_role_endpoint={services.roles_url}") as mount:
        for _ in range(20):
            copy_in_and_out(mount, tmp_path / "source")
            if len(services.issued) >= 3:  # the first keys have ended on the way
                break
        assert "the keys are from the CVM role worker" in mount.text()
        assert_nothing_shows(services, mount)
    assert len(services.issued) >= 3
    assert refusals(server) == 0


def test_identity_of_a_workload(server: CosServer, services: TokenServices, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(services.identity_token)
    identity = {**services.identity, "COSFS_STS_ENDPOINT": services.url,
                "TKE_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    with mounted(server, tmp_path, "dbglevel=debug", environment=identity) as mount:
        (mount.point / "f").write_bytes(b"content")
        assert f"the keys are from the TKE role {services.identity['TKE_ROLE_ARN']}" in mount.text()
        assert_nothing_shows(services, mount)
    assert refusals(server) == 0


def test_a_role_that_keys_of_a_file_assume_is_renewed(server: CosServer, services: TokenServices,
                                                      tmp_path: Path) -> None:
    services.lifetime_s = 2.0
    caller = services.caller
    place = tmp_path / "home" / ".tencentcloud"
    with mounted(server, tmp_path, "dbglevel=debug", environment={"COSFS_STS_ENDPOINT": services.url}, home={
            place / "credentials": f"[default]\nsecret_id={caller.secret_id}\nsecret_key={caller.secret_key}\n"
                                   f"role_arn={services.role_arn}\n"}) as mount:
        mount.wait_for(lambda: (mount.point / "f").write_bytes(b"content") and len(services.issued) >= 2, "keys", 20)
        assert f"keys are from the role {services.role_arn}, assumed with the file {place}/credentials" in mount.text()
        assert_nothing_shows(services, mount)
        assert caller.secret_key not in mount.text()
    assert refusals(server) == 0


def test_a_token_that_is_about_to_end_is_told_and_another_one_taken(server: CosServer, services: TokenServices,
                                                                    tmp_path: Path) -> None:
    passwd = tmp_path / "keys"
    write_passwd(passwd, services._issue()[0], ends_in_s=130)
    with mounted(server, tmp_path, f"passwd_file={passwd}", "attr_timeout=0", "stat_cache_expire=0") as mount:
        mount.expect_log(rf"the session token from the file {passwd} ends in 2 min; write new keys into it")
        (mount.point / "f").write_bytes(b"content")
        assert mount.text().count("ends in 2 min") == 1
        write_passwd(passwd, services._issue()[0], ends_in_s=7200)
        services.revoke()
        server.set_keys(services.issued[1])
        (mount.point / "g").write_bytes(b"content")
        assert mount.text().count("session token") == 1
        assert_nothing_shows(services, mount)
    assert refusals(server) == 0


def test_keys_that_are_revoked_during_a_copy_are_replaced_at_once(server: CosServer, services: TokenServices,
                                                                  tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)
    with mounted(server, tmp_path, *SLOW, "cam_role=worker", f"cam_role_endpoint={services.roles_url}") as mount:
        copy = subprocess.Popen(["cp", str(tmp_path / "source"), mount.root + "/f"], stderr=subprocess.PIPE)
        mount.wait_for(lambda: len(server.requests(op="upload_part", status=200)) >= 12, "parts", END_LIMIT_S)
        services.revoke()
        assert copy.communicate(timeout=END_LIMIT_S)[1] == b""
        assert copy.returncode == 0
        assert subprocess.run(["cmp", str(tmp_path / "source"), mount.root + "/f"], check=False).returncode == 0
        assert_nothing_shows(services, mount)
    assert refusals(server) >= 1
    assert len(services.issued) == 2, "all that were refused use the same new keys"


@pytest.mark.parametrize("libfuse", [2, 3])
def test_sighup_reads_the_keys_and_opens_the_log_again(libfuse: int, server: CosServer, services: TokenServices,
                                                       tmp_path: Path) -> None:
    old, new = services._issue()[0], services._issue()[0]
    passwd, log = tmp_path / "keys", tmp_path / "the.log"
    write_passwd(passwd, old)
    with mounted(server, tmp_path, f"libfuse={libfuse}", f"passwd_file={passwd}", "cam_role=sts", f"logfile={log}",
                 "dbglevel=info") as mount:
        (mount.point / "f").write_bytes(b"with the old keys")
        log.rename(tmp_path / "the.log.1")
        state = passwd.stat()
        passwd.write_text(passwd.read_text().replace(old.secret_id, new.secret_id).replace(
            old.secret_key, new.secret_key).replace(old.token or "", new.token or ""))
        os.utime(passwd, ns=(state.st_atime_ns, state.st_mtime_ns))  # so that only the signal tells of it
        services._ends.pop(old.secret_id)
        server.set_keys(new)
        os.kill(mount.pid, signal.SIGHUP)
        mount.wait_for(lambda: log.exists() and f"new keys from the file {passwd}" in log.read_text(), "keys",
                       END_LIMIT_S)
        assert "SIGHUP" not in (tmp_path / "the.log.1").read_text()
        (mount.point / "g").write_bytes(b"with the new keys")
        assert mount.is_mounted() and sorted(os.listdir(mount.point)) == ["f", "g"]
        assert_nothing_shows(services, mount)
        assert not [secret for secret in services.secrets() for file in (log, tmp_path / "the.log.1")
                    if secret in file.read_text()]
    assert refusals(server) == 0


def test_rotated_passwd_file_is_taken_during_a_copy_without_a_signal(server: CosServer, services: TokenServices,
                                                                    tmp_path: Path) -> None:
    old, new = services._issue()[0], services._issue()[0]
    (tmp_path / "source").write_bytes(DATA)
    write_passwd(tmp_path / "keys", old)
    with mounted(server, tmp_path, *SLOW, f"passwd_file={tmp_path / 'keys'}") as mount:
        copy = subprocess.Popen(["cp", str(tmp_path / "source"), mount.root + "/f"], stderr=subprocess.PIPE)
        mount.wait_for(lambda: len(server.requests(op="upload_part", status=200)) >= 4, "parts", END_LIMIT_S)
        write_passwd(tmp_path / "keys", new)
        server.set_keys(new)
        assert copy.communicate(timeout=END_LIMIT_S)[1] == b""
        assert copy.returncode == 0
        assert_nothing_shows(services, mount)


def test_sighup_without_a_place_for_the_log_and_without_keys_changes_nothing(server: CosServer, services: TokenServices,
                                                                            tmp_path: Path) -> None:
    passwd, folder = tmp_path / "keys", tmp_path / "logs"
    folder.mkdir()
    write_passwd(passwd, services._issue()[0])
    with mounted(server, tmp_path, f"passwd_file={passwd}", f"logfile={folder / 'log'}") as mount:
        moved = folder.rename(tmp_path / "moved") / "log"
        passwd.write_text("nonsense")
        os.kill(mount.pid, signal.SIGHUP)
        mount.wait_for(lambda: "keeping the keys as they were" in moved.read_text(), "warning", END_LIMIT_S)
        assert f"{folder / 'log'} cannot be opened again (No such file or directory)" in moved.read_text()
        (mount.point / "f").write_bytes(b"goes on")


def test_sighup_of_a_mount_in_the_background(server: CosServer, services: TokenServices, tmp_path: Path) -> None:
    require_fuse()
    write_passwd(tmp_path / "keys", services._issue()[0])
    log = tmp_path / "the.log"
    mount = Mount(server.url, f"{server.bucket}:/{tmp_path.name}", tmp_path,
                  options=[f"passwd_file={tmp_path / 'keys'}", f"logfile={log}", "dbglevel=info"])
    try:
        mount.start(foreground=False)
        mount.wait_end()
        [pid] = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()
                 and mount.root.encode() in command_line(entry)]
        log.rename(tmp_path / "the.log.1")
        os.kill(pid, signal.SIGHUP)
        mount.wait_for(lambda: log.exists() and "SIGHUP" in log.read_text(), "new log", END_LIMIT_S)
        (mount.point / "f").write_bytes(b"goes on")
        subprocess.run(["fusermount", "-u", mount.root], check=True)
        mount.wait_for(lambda: "is unmounted" in log.read_text(), "end", END_LIMIT_S)
    finally:
        mount.discard()


def test_role_that_does_not_exist_is_one_line(server: CosServer, services: TokenServices, tmp_path: Path) -> None:
    require_fuse()
    mount = Mount(server.url, server.bucket, tmp_path,
                  options=["cam_role=nobody", f"cam_role_endpoint={services.roles_url}"])
    mount.point.mkdir()
    done = subprocess.run(mount.command(), check=False, capture_output=True, text=True, timeout=END_LIMIT_S)
    assert done.returncode == 1
    assert done.stderr == (f"cosfs: no keys of the CVM role nobody: {services.roles_url}/nobody knows no such role; "
                           "give the one that this machine has with cam_role=\n")
