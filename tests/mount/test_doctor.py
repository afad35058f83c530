"""``cosfs doctor`` from outside: what it finds, what it leaves alone, and how that looks."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from typing import List, Optional

import pytest

from cosfs.cli import main
from cosfs.cos.interface import ObjectClient, ObjectHeaders
from tests.support.desk import LIMIT_S, in_own_namespace
from tests.support.doctor import NETWORK, PERMISSIONS, READING, Doctor, states
from tests.support.mistakes import CERTIFICATE
from tests.support.mount import REPOSITORY
from tests.support.raw_server import RawServer, answer
from tests.support.server import CosServer

pytestmark = pytest.mark.mount


def test_all_is_well_and_nothing_is_changed(doctor: Doctor, client: ObjectClient) -> None:
    client.put_object(doctor.prefix + "file", b"content", headers=ObjectHeaders())
    doctor.server.clear_requests()

    found = doctor.findings(f"use_cache={doctor.folder / 'cache'}")

    assert states(found, NETWORK) == ["ok"] * 6
    assert states(found, PERMISSIONS) == ["ok", "skipped", "ok", "ok", "skipped", "skipped", "skipped"]
    assert found["get"]["text"] == f"tried on {doctor.prefix}file"
    assert found["put"] == {"section": "Permissions", "check": "put", "state": "skipped", "text": "not tried",
                            "next": "add --write-test, which writes and removes one object"}
    assert found["keys"]["text"] == f"from the file {doctor.passwd}"
    assert states(found, ["device", "mount point", "tmpdir", "use_cache", "state_dir"]) == ["ok"] * 5
    assert {request["method"] for request in doctor.server.requests()} == READING
    assert sorted(os.listdir(doctor.folder)) == ["mnt", "passwd"]


def test_files_that_options_name_are_looked_at_and_none_is_made(doctor: Doctor) -> None:
    missing, log = doctor.folder / "missing", doctor.folder / "log"

    found = doctor.findings(f"ahbe_conf={missing}", f"mime={missing}", f"logfile={log}", "dbglevel=critical", status=1)
    assert found["keys"]["text"] == f"{missing} cannot be read (No such file or directory)"
    assert found["mime"]["text"] == f"mime file {missing} cannot be read (No such file or directory)"
    assert found["answer"]["state"] == "ok"

    result = doctor.command(["doctor", *doctor.words(f"logfile={log}", "dbglevel=debug"), "--json"])
    assert (result.returncode, log.exists()) == (0, False)


def test_every_failure_has_its_next_step(doctor: Doctor) -> None:
    def next_step(*options: str) -> str:
        return doctor.findings(*options, status=1)["keys"]["next"]
    doctor.passwd.chmod(0o644)
    assert next_step() == f"set it with: chmod 600 {doctor.passwd}"
    doctor.write_passwd("nonsense\n")
    assert next_step() == "correct it, or put # in front"
    doctor.write_passwd("COSSecretKey=x\n")
    assert next_step() == "write both into it"
    doctor.passwd.unlink()
    assert next_step() == "write SecretId:SecretKey into it and set its mode to 600"


def test_what_depends_on_a_failure_is_skipped_and_the_rest_is_looked_at(doctor: Doctor) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can open the port
        bound.bind(("127.0.0.1", 0))
        found = doctor.findings(url=f"http://127.0.0.1:{bound.getsockname()[1]}", status=1)

    assert states(found, NETWORK) == ["ok", "ok", "failure", "skipped", "skipped", "skipped"]
    assert found["tls"]["text"] == "not checked: it needs tcp"
    assert "Connection refused" in found["tcp"]["text"]
    assert states(found, ["bucket", *PERMISSIONS]) == ["skipped"] * 8
    assert states(found, ["keys", "device", "mount point"]) == ["ok"] * 3


def test_a_server_that_says_nothing_is_no_failure_of_tls(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = doctor.findings("readwrite_timeout=0.2", url=url, status=1)

    assert states(found, NETWORK) == ["ok", "ok", "ok", "ok", "failure", "skipped"]
    assert found["answer"]["text"] == f"no answer from {url} in time"


def test_unknown_host(doctor: Doctor) -> None:
    found = doctor.findings(url="https://cos.ap-nowhere.invalid", status=1)

    assert found["dns"]["state"] == "failure"
    assert found["dns"]["text"] == f"host name {doctor.server.bucket}.cos.ap-nowhere.invalid cannot be resolved"
    assert found["tcp"]["state"] == "skipped"


def test_wrong_keys_and_their_mode(doctor: Doctor) -> None:
    doctor.write_passwd(f"{doctor.server.secret_id}:wrong\n")
    found = doctor.findings(status=1)
    assert found["keys"]["state"] == "ok"
    assert found["bucket"]["state"] == "failure"
    assert found["bucket"]["text"] == "the SecretKey does not belong to the SecretId"

    doctor.passwd.chmod(0o644)
    found = doctor.findings(status=1)
    assert found["keys"]["state"] == "failure"
    assert f"chmod 600 {doctor.passwd}" in found["keys"]["text"] + found["keys"]["next"]
    assert found["bucket"]["text"] == "not checked: it needs keys"


@pytest.mark.parametrize(("seconds", "state", "status"), [(120, "warning", 0), (-3600, "failure", 1)])
def test_clock(doctor: Doctor, seconds: int, state: str, status: int) -> None:
    doctor.server.set_faults(f"kind=clock-skew,seconds={seconds}")

    found = doctor.findings(status=status)

    assert found["clock"]["state"] == state
    match = re.search(r"wrong by (\d+) seconds \((\w+)\)", found["clock"]["text"])
    assert match
    assert abs(int(match[1]) - abs(seconds)) <= 5
    assert match[2] == ("behind" if seconds > 0 else "ahead")
    assert found["clock"]["next"] == "set it, for example with: timedatectl set-ntp true"


def test_region_by_a_proxy(doctor: Doctor) -> None:
    """The proxy is the service, which is the only way to have its host names here."""
    with CosServer(args=["--region", "ap-beijing"]) as server:
        doctor.environment["http_proxy"] = server.url
        right = doctor.findings(url="http://cos.ap-beijing.myqcloud.com")
        wrong = doctor.findings(url="http://cos.ap-guangzhou.myqcloud.com")

    assert right["endpoint"]["state"] == "warning"
    assert "unencrypted" in right["endpoint"]["text"]
    assert states(right, ["bucket", "region"]) == ["ok", "ok"]
    assert right["region"]["text"] == "ap-beijing, as in url="
    assert states(wrong, ["bucket", "region"]) == ["ok", "warning"]
    assert wrong["region"]["next"] == "write url=http://cos.ap-beijing.myqcloud.com"


def test_certificate_and_its_end(doctor: Doctor) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    forbidden = [answer(403, Content_Length="0")] * 20
    with RawServer(*forbidden, tls=context) as server:
        doctor.environment["CURL_CA_BUNDLE"] = str(CERTIFICATE)
        found = doctor.findings("ssl_verify_hostname=0", url=server.url, status=1)
        assert found["tls"]["state"] == "warning"
        assert re.match(r"certificate of other\.example by other\.example, valid until 2126-10-29 \(\d+ days\); "
                        "whether it is for this host is not checked", found["tls"]["text"])

        found = doctor.findings(url=server.url, status=1)
        assert found["tls"]["state"] == "failure"
        assert found["answer"]["text"] == "not checked: it needs tls"


def test_no_fuse_device(doctor: Doctor) -> None:
    found = doctor.findings(wrapper=in_own_namespace("mount -t tmpfs none /dev"), status=1)

    assert found["device"]["state"] == "failure"
    assert found["device"]["text"] == "/dev/fuse does not exist"


def test_missing_libraries(doctor: Doctor) -> None:
    doctor.environment["FUSE_LIBRARY_PATH"] = "/no/such/libfuse.so"

    assert states(doctor.findings(status=1), ["libfuse 2", "libfuse 3"]) == ["failure", "skipped"]
    assert states(doctor.findings("libfuse=3", status=1), ["libfuse 2", "libfuse 3"]) == ["skipped", "failure"]


def test_mount_point_and_dead_mount(doctor: Doctor) -> None:
    missing = doctor.folder / "missing"
    assert doctor.findings(point=missing, status=1)["mount point"]["next"] == f"create it with: mkdir -p {missing}"

    doctor.mount()
    assert doctor.findings()["mount point"]["state"] == "warning"
    doctor.kill_mount()
    found = doctor.findings(status=1)
    assert found["mount point"]["next"] == f"clear it with: umount -l {doctor.point}"


def test_folders_and_free_space(doctor: Doctor) -> None:
    found = doctor.findings("ensure_diskfree=1000000000", "use_cache=/proc/cache", "tmpdir=/tmp",
                            "state_dir=/dev/null/x", status=1)

    assert found["tmpdir"]["state"] == "warning"
    assert found["tmpdir"]["next"] == "remove something, or give another tmpdir="
    assert found["use_cache"]["state"] == "failure"
    assert found["state_dir"]["state"] == "warning"
    assert doctor.findings("state_dir=/dev/null/x", "writeback", status=1)["state_dir"]["state"] == "failure"


def test_updatedb_that_goes_into_mounts_is_a_warning(doctor: Doctor) -> None:
    files = doctor.folder / "etc"
    files.mkdir()
    for name in ("ld.so.cache", "nsswitch.conf", "hosts", "passwd", "group"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", files)
    own = in_own_namespace(f"mount --bind {files} /etc")
    (files / "updatedb.conf").write_text('PRUNEFS="NFS fuse.sshfs"\n')
    found = json.loads(doctor.call(switches=["--json"], wrapper=own).stdout)[-1]
    assert found == {"section": "This machine", "check": "updatedb", "state": "warning",
                     "text": "it goes into mounts of cosfs; this one keeps it out by itself (scanner_guard)",
                     "next": "add fuse.cosfs to PRUNEFS in /etc/updatedb.conf"}


def test_lines_fit_the_terminal_and_have_no_colours_elsewhere(doctor: Doctor) -> None:
    doctor.passwd.chmod(0o644)
    result = doctor.call("allow_other")

    assert result.returncode == 1
    assert "\033" not in result.stdout
    too_long = [line for line in result.stdout.splitlines() if len(line) > 80 and len(line.split()) > 2]
    assert all(max(map(len, line.split())) > 54 for line in too_long), too_long
    found = json.loads(doctor.call("allow_other", switches=["--json"]).stdout)
    assert list(found[0]) == ["section", "check", "state", "text", "next"]
    free = re.compile(r"[\d.]+ \w+ free")  # other programs use the disk meanwhile
    shown = free.sub("free", " ".join(result.stdout.split()))
    for finding in found:
        if finding["check"] not in ("tcp", "answer"):  # milliseconds and a request id
            assert free.sub("free", f"{finding['state']} {finding['check']} {finding['text']}") in shown
    count = {state: sum(finding["state"] == state for finding in found) for state in ("ok", "warning", "skipped")}
    assert count["warning"] == (found[-1]["state"] == "warning"), "updatedb, where there is one"
    warnings = f"{count['warning']} warning{'s' if count['warning'] != 1 else ''}"
    assert result.stdout.splitlines()[-1] == f"{count['ok']} ok, {warnings}, 1 failure, {count['skipped']} skipped"


def test_colours_on_a_terminal(doctor: Doctor) -> None:
    assert re.search("\033\\[32mok +\033\\[0m", in_terminal(doctor))
    assert "\033" not in in_terminal(doctor, NO_COLOR="1")


def in_terminal(doctor: Doctor, **environment: Optional[str]) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "cosfs", "doctor", *doctor.words(bucket=doctor.bucket)],
                               env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", **environment},
                               stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown: List[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end
                return
            if not data:
                return
            shown.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(LIMIT_S) == 0
    reader.join(LIMIT_S)
    os.close(ours)
    return b"".join(shown).decode()


@pytest.mark.parametrize(("words", "line"), [
    ([], "one or two words are needed, BUCKET-APPID and MOUNTPOINT; see cosfs doctor --help"),
    (["bucket-1"], "no endpoint is given; add -o url=https://cos.REGION.myqcloud.com"),
])
def test_mistakes_in_the_command_line(capsys: pytest.CaptureFixture[str], words: List[str], line: str) -> None:
    assert main(["doctor", *words]) == 1
    assert capsys.readouterr() == ("", f"cosfs: {line}\n")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    out, err = capsys.readouterr()
    assert (out.startswith("usage: cosfs doctor BUCKET-APPID"), err) == (True, "")
    assert max(map(len, out.splitlines())) <= 80
