"""``cosfs doctor`` from outside: what it finds, what it leaves alone, and how that looks."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import pytest

from cosfs.cli import main
from cosfs.cos.interface import ObjectClient, ObjectHeaders
from tests.conftest import require_fuse
from tests.support.mistakes import CERTIFICATE, LIMIT_S, Desk, in_own_namespace
from tests.support.mount import REPOSITORY
from tests.support.raw_server import RawServer, answer
from tests.support.server import CosServer

pytestmark = pytest.mark.mount

READING = {"HEAD", "GET"}
NETWORK = ["endpoint", "dns", "tcp", "tls", "answer", "clock"]
PERMISSIONS = ["list", "put", "head", "get", "multipart", "delete"]
Findings = Dict[str, Dict[str, str]]


class Doctor(Desk):
    """A desk from which ``cosfs doctor`` is called."""

    def __init__(self, server: CosServer, prefix: str) -> None:
        super().__init__(server)
        self.prefix = prefix
        self.bucket = f"{server.bucket}:/{prefix}"

    def call(self, *options: str, switches: Sequence[str] = (), wrapper: Sequence[str] = (),
             **words: Any) -> subprocess.CompletedProcess[str]:
        result = self.command(["doctor", *self.words(*options, **{"bucket": self.bucket, **words}), *switches], wrapper)
        assert self.server.secret_key not in result.stdout + result.stderr
        assert result.stderr == "", result.stderr
        return result

    def findings(self, *options: str, switches: Sequence[str] = (), status: int = 0, **words: Any) -> Findings:
        result = self.call(*options, switches=["--json", *switches], **words)
        found = json.loads(result.stdout)
        assert result.returncode == status, found
        assert status == any(finding["state"] == "failure" for finding in found)
        return {finding["check"]: finding for finding in found}


@pytest.fixture
def doctor(server: CosServer, folder: str) -> Iterator[Doctor]:
    require_fuse()
    made = Doctor(server, folder)
    server.clear_requests()
    yield made
    made.close()


def states(found: Findings, names: Sequence[str]) -> List[str]:
    return [found[name]["state"] for name in names]


def wait_for(probe: Callable[[], Any], what: str) -> None:
    limit = time.monotonic() + LIMIT_S
    while not probe():
        assert time.monotonic() < limit, f"no {what}"
        time.sleep(0.02)


def test_all_is_well_and_nothing_is_changed(doctor: Doctor, client: ObjectClient) -> None:
    client.put_object(doctor.prefix + "file", b"content", headers=ObjectHeaders())
    doctor.server.clear_requests()

    found = doctor.findings(f"use_cache={doctor.folder / 'cache'}")

    assert states(found, NETWORK) == ["ok"] * 6
    assert states(found, PERMISSIONS) == ["ok", "skipped", "ok", "ok", "skipped", "skipped"]
    assert found["get"]["text"] == f"tried on {doctor.prefix}file"
    assert found["put"] == {"section": "Permissions", "check": "put", "state": "skipped", "text": "not tried",
                            "next": "add --write-test, which writes and removes one object"}
    assert found["keys"]["text"] == f"from the file {doctor.passwd}"
    assert states(found, ["device", "mount point", "tmpdir", "use_cache", "state_dir"]) == ["ok"] * 5
    assert {request["method"] for request in doctor.server.requests()} == READING
    assert sorted(os.listdir(doctor.folder)) == ["mnt", "passwd"]


def test_writing_is_tried_below_the_prefix_and_undone(doctor: Doctor, client: ObjectClient) -> None:
    found = doctor.findings(switches=["--write-test"])

    assert states(found, PERMISSIONS) == ["ok"] * 6
    changes = [request for request in doctor.server.requests() if request["method"] not in READING]
    assert [request["op"] for request in changes] == [
        "put_object", "create_multipart_upload", "abort_multipart_upload", "delete_object"]
    [key] = {request["key"] for request in changes}
    assert key.startswith(f"{doctor.prefix}.cosfs-doctor-")
    assert client.list_objects(doctor.prefix).objects == ()
    assert [key for key, _ in doctor.server.pending_uploads() if key.startswith(doctor.prefix)] == []


def test_a_read_only_mount_needs_no_writing(doctor: Doctor) -> None:
    found = doctor.findings("ro", switches=["--write-test"])

    assert found["put"]["text"] == found["delete"]["text"] == "not needed by a mount with ro"
    assert {request["method"] for request in doctor.server.requests()} == READING


ACTIONS = {"list": "GetBucket", "put": "PutObject", "get": "GetObject", "multipart": "InitiateMultipartUpload",
           "delete": "DeleteObject"}


@pytest.mark.parametrize(("denied", "skipped"), [
    ({"list": "list_objects", "get": "get_object", "multipart": "create_multipart_upload"}, []),
    ({"put": "put_object"}, ["delete"]),
    ({"delete": "delete_object"}, []),
])
def test_a_missing_permission_is_named(doctor: Doctor, client: ObjectClient, denied: Dict[str, str],
                                       skipped: List[str]) -> None:
    client.put_object(doctor.prefix + "file", b"content", headers=ObjectHeaders())
    doctor.server.set_faults(*(f"kind=status,status=403,code=AccessDenied,op={op}" for op in denied.values()))

    found = doctor.findings(switches=["--write-test"], status=1)

    assert {name: found[name]["state"] for name in PERMISSIONS} == {
        **dict.fromkeys(PERMISSIONS, "ok"), **dict.fromkeys(denied, "failure"), **dict.fromkeys(skipped, "skipped")}
    for name in denied:
        assert "is denied (AccessDenied)" in found[name]["text"]
        grant = f"grant name/cos:{ACTIONS[name]} on {doctor.server.bucket}/{doctor.prefix}*"
        assert re.fullmatch(re.escape(grant) + (rf", and delete {doctor.prefix}\.cosfs-doctor-\w{{32}}"
                                                if name == "delete" else ""), found[name]["next"])


def test_what_was_written_is_removed_when_a_later_check_fails(doctor: Doctor, client: ObjectClient) -> None:
    doctor.server.set_faults("kind=status,status=500,code=InternalError,op=delete_object,times=2")

    found = doctor.findings(switches=["--write-test"], status=1)

    assert found["delete"]["state"] == "failure"
    assert client.list_objects(doctor.prefix).objects == ()


def test_what_was_written_is_removed_when_the_user_interrupts(doctor: Doctor, client: ObjectClient) -> None:
    doctor.server.set_faults("kind=stall,seconds=30,op=get_object")
    process = subprocess.Popen([sys.executable, "-m", "cosfs", "doctor", *doctor.words(bucket=doctor.bucket),
                                "--write-test"], env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # head has been answered, so get is under way
    wait_for(lambda: doctor.server.requests(op="head_object"), "check on the written object")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)

    assert (process.returncode, err) == (128 + signal.SIGINT, "")
    assert client.list_objects(doctor.prefix).objects == ()


def test_what_depends_on_a_failure_is_skipped_and_the_rest_is_looked_at(doctor: Doctor) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can open the port
        bound.bind(("127.0.0.1", 0))
        found = doctor.findings(url=f"http://127.0.0.1:{bound.getsockname()[1]}", status=1)

    assert states(found, NETWORK) == ["ok", "ok", "failure", "skipped", "skipped", "skipped"]
    assert found["tls"]["text"] == "not checked: it needs tcp"
    assert "Connection refused" in found["tcp"]["text"]
    assert states(found, ["bucket", *PERMISSIONS]) == ["skipped"] * 7
    assert states(found, ["keys", "device", "mount point"]) == ["ok"] * 3


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
        assert found["tls"]["state"] == "ok"
        assert re.match(r"certificate of other\.example by other\.example, valid until 2126-10-29 \(\d+ days\)",
                        found["tls"]["text"])

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


def test_lines_fit_the_terminal_and_have_no_colours_elsewhere(doctor: Doctor) -> None:
    doctor.passwd.chmod(0o644)
    result = doctor.call("allow_other")

    assert result.returncode == 1
    assert "\033" not in result.stdout
    too_long = [line for line in result.stdout.splitlines() if len(line) > 80 and len(line.split()) > 2]
    assert all(max(map(len, line.split())) > 54 for line in too_long), too_long
    found = json.loads(doctor.call("allow_other", switches=["--json"]).stdout)
    assert list(found[0]) == ["section", "check", "state", "text", "next"]
    shown = " ".join(result.stdout.split())
    for finding in found:
        if finding["check"] not in ("tcp", "answer"):  # milliseconds and a request id
            assert f"{finding['state']} {finding['check']} {finding['text']}" in shown
    count = {state: sum(finding["state"] == state for finding in found) for state in ("ok", "skipped")}
    assert result.stdout.splitlines()[-1] == f"{count['ok']} ok, 0 warnings, 1 failure, {count['skipped']} skipped"


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
