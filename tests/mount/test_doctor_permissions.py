"""``cosfs doctor --write-test``: each permission that a mount needs, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List

import pytest

from cosfs.cos.interface import ObjectClient, ObjectHeaders
from tests.support.desk import LIMIT_S
from tests.support.doctor import PERMISSIONS, READING, Doctor, states
from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

pytestmark = pytest.mark.mount


def wait_for(probe: Callable[[], Any], what: str) -> None:
    limit = time.monotonic() + LIMIT_S
    while not probe():
        assert time.monotonic() < limit, f"no {what}"
        time.sleep(0.02)


def test_writing_is_tried_below_the_prefix_and_undone(doctor: Doctor, client: ObjectClient) -> None:
    found = doctor.findings(switches=["--write-test"])

    assert states(found, PERMISSIONS) == ["ok"] * 7
    changes = [request for request in doctor.server.requests() if request["method"] not in READING]
    assert [request["op"] for request in changes] == [
        "put_object", "copy_object", "create_multipart_upload", "upload_part", "complete_multipart_upload",
        "create_multipart_upload", "upload_part_copy", "abort_multipart_upload", "delete_object", "delete_objects"]
    [key] = {request["key"] for request in changes if request["op"] != "delete_objects"}
    assert key.startswith(f"{doctor.prefix}.cosfs-doctor-")
    assert client.list_objects(doctor.prefix).objects == ()
    assert [key for key, _ in doctor.server.pending_uploads() if key.startswith(doctor.prefix)] == []


def test_a_read_only_mount_needs_no_writing(doctor: Doctor) -> None:
    found = doctor.findings("ro", switches=["--write-test"])

    assert found["put"]["text"] == found["delete"]["text"] == "not needed by a mount with ro"
    assert {request["method"] for request in doctor.server.requests()} == READING


ACTIONS = {"list": "GetBucket", "put": "PutObject", "get": "GetObject", "multipart": "InitiateMultipartUpload",
           "delete": "DeleteObject", "copy": "PutObjectCopy"}


@pytest.mark.parametrize(("denied", "skipped"), [
    ({"list": "list_objects", "get": "get_object", "multipart": "create_multipart_upload"}, []),
    ({"put": "put_object"}, ["copy"]),
    ({"put": "put_object", "multipart": "create_multipart_upload"}, ["copy", "delete"]),
    ({"delete": "delete_object"}, []),
    ({"copy": "copy_object"}, []),
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
        more = {"delete": rf", and delete {doctor.prefix}\.cosfs-doctor-\w{{32}}", "copy": ", or mount with nocopyapi"}
        assert re.fullmatch(re.escape(grant) + more.get(name, ""), found[name]["next"])


@pytest.mark.parametrize(("op", "action"), [
    ("upload_part", "UploadPart"), ("complete_multipart_upload", "CompleteMultipartUpload"),
    ("upload_part_copy", "UploadPartCopy")])
def test_each_step_of_an_upload_is_tried_and_what_it_leaves_is_removed(doctor: Doctor, client: ObjectClient, op: str,
                                                                       action: str) -> None:
    doctor.server.set_faults(f"kind=status,status=403,code=AccessDenied,op={op}")

    found = doctor.findings(switches=["--write-test"], status=1)

    assert found["multipart"]["state"] == "failure"
    assert found["multipart"]["next"].startswith(f"grant name/cos:{action} on ")
    assert client.list_objects(doctor.prefix).objects == ()
    assert [key for key, _ in doctor.server.pending_uploads() if key.startswith(doctor.prefix)] == []


def test_keys_that_may_not_delete_several_objects_at_once_are_warned(doctor: Doctor, client: ObjectClient) -> None:
    doctor.server.set_faults("kind=status,status=403,code=AccessDenied,op=delete_objects")

    found = doctor.findings(switches=["--write-test"])

    assert found["delete"]["state"] == "warning"
    assert "deleting several objects at once is denied (AccessDenied)" in found["delete"]["text"]
    assert found["delete"]["next"].startswith("grant name/cos:DeleteMultipleObjects on ")
    assert client.list_objects(doctor.prefix).objects == ()


def test_what_a_mount_does_without_is_not_tried(doctor: Doctor) -> None:
    found = doctor.findings("nocopyapi,nomultipart", switches=["--write-test"])

    assert (found["copy"]["text"], found["multipart"]["text"]) == (
        "not needed by a mount with nocopyapi", "not needed by a mount with nomultipart")
    changes = {request["op"] for request in doctor.server.requests() if request["method"] not in READING}
    assert changes == {"put_object", "delete_object", "delete_objects"}


def test_what_cannot_be_removed_is_told(doctor: Doctor, client: ObjectClient) -> None:
    """An upload whose part is refused, and whose abort is, too."""
    doctor.server.set_faults(*(f"kind=status,status=403,code=AccessDenied,op={op}"
                               for op in ("upload_part", "abort_multipart_upload")))

    result = doctor.command(["doctor", *doctor.words(bucket=doctor.bucket), "--write-test"])
    doctor.server.clear_faults()

    assert result.returncode == 1
    [(key, upload_id)] = [pair for pair in doctor.server.pending_uploads() if pair[0].startswith(doctor.prefix)]
    assert re.fullmatch(rf"[^\n]* ERROR [^\n]*upload {upload_id} of {key} could not be removed [^\n]*\n", result.stderr)
    client.abort_multipart_upload(key, upload_id)


def test_versions_that_stay_are_told(doctor: Doctor) -> None:
    with CosServer() as server:
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert server.request("PUT", "", [("versioning", "")], body)[0] == 200
        found = doctor.findings(url=server.url, switches=["--write-test"])

    assert found["delete"]["state"] == "warning"
    assert "the bucket keeps versions, and so those of " in found["delete"]["text"]


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
