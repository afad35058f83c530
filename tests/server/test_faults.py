"""Each fault of ``--fault``, as a client meets it."""

from __future__ import annotations

import hashlib
import http.client
import time
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

import pytest

from cosfs.cos.crc64 import crc64
from cosfs.server.faults import KINDS, FaultPlan, parse_fault
from tests.server.conftest import MakeServer
from tests.support.server import CosServer

BODY = bytes(range(256)) * 1024


@pytest.fixture
def stored(server: CosServer, folder: str) -> str:
    """The key of an object that holds BODY."""
    server.request("PUT", folder + "a", body=BODY)
    server.clear_requests()
    return folder + "a"


def test_status(server: CosServer, stored: str) -> None:
    server.set_faults("kind=status,status=409,code=PathConflict,op=put_object,times=1")
    assert server.request("GET", stored)[0] == 200
    status, headers, body = server.request("PUT", stored, body=b"x")
    assert (status, ElementTree.fromstring(body).findtext("Code")) == (409, "PathConflict")
    assert headers["x-cos-request-id"]
    assert server.request("GET", stored)[2] == BODY, "nothing was done"
    assert server.request("PUT", stored, body=b"x")[0] == 200


def test_html_502(server: CosServer, stored: str) -> None:
    server.set_faults("kind=html-502")
    status, headers, body = server.request("GET", stored)
    assert (status, headers["Content-Type"]) == (502, "text/html") and b"<html>" in body
    assert not any("request-id" in name.lower() for name in headers)


def test_expired_token(server: CosServer, stored: str) -> None:
    server.set_faults("kind=expired-token,times=1")
    status, _, body = server.request("GET", stored)
    assert (status, ElementTree.fromstring(body).findtext("Code")) == (403, "ExpiredToken")


def test_reset_in_the_answer(server: CosServer, stored: str) -> None:
    server.set_faults("kind=reset,op=get_object,at=100000")
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.request("GET", "/" + stored, headers=server.signed_headers("GET", stored))
    answer = connection.getresponse()
    received = bytearray()
    with pytest.raises(ConnectionResetError):
        received.extend(piece for block in iter(lambda: answer.read1(65536), b"") for piece in block)
    assert received == BODY[:len(received)] and len(received) <= 100000
    connection.close()


def test_reset_in_the_request_stores_nothing(server: CosServer, stored: str) -> None:
    server.set_faults("kind=reset,op=put_object,at=1000")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        server.request("PUT", stored, body=b"x" * 4_000_000)
    assert server.request("GET", stored)[2] == BODY


def test_truncate(server: CosServer, stored: str) -> None:
    server.set_faults("kind=truncate,at=1000")
    with pytest.raises(http.client.IncompleteRead) as caught:
        server.request("GET", stored)
    assert caught.value.partial == BODY[:1000]


def test_corrupt(server: CosServer, stored: str) -> None:
    server.set_faults("kind=corrupt,at=5")
    status, headers, body = server.request("GET", stored)
    assert status == 200 and body == BODY[:5] + bytes([BODY[5] ^ 1]) + BODY[6:]
    assert headers["x-cos-hash-crc64ecma"] == str(crc64(BODY))


def test_wrong_crc(server: CosServer, stored: str) -> None:
    server.set_faults("kind=wrong-crc")
    assert server.request("HEAD", stored)[1]["x-cos-hash-crc64ecma"] == str(crc64(BODY) ^ 1)
    source = {"x-cos-copy-source": f"{server.bucket}.cos.x.com/{stored}"}
    copied = ElementTree.fromstring(server.request("PUT", stored + "2", headers=source)[2])
    assert copied.findtext("CRC64") == str(crc64(BODY) ^ 1)


def test_wrong_etag(server: CosServer, stored: str) -> None:
    server.set_faults("kind=wrong-etag")
    assert server.request("PUT", stored, body=b"x")[1]["ETag"] != f'"{hashlib.md5(b"x").hexdigest()}"'


def test_wrong_range(server: CosServer, stored: str) -> None:
    server.set_faults("kind=wrong-range")
    _, headers, body = server.request("GET", stored, headers={"Range": "bytes=10-19"})
    assert headers["Content-Range"] == f"bytes 11-19/{len(BODY)}" and body == BODY[11:20]


@pytest.mark.parametrize("op, method", [("put_object", "PUT"), ("delete_object", "DELETE")])
def test_lost_answer(server: CosServer, stored: str, op: str, method: str) -> None:
    server.set_faults(f"kind=lost-answer,op={op},times=1")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        server.request(method, stored, body=b"new")
    status, _, body = server.request("GET", stored)
    assert (status, body) == (200, b"new") if method == "PUT" else status == 404, "it was done"


def test_error_in_200(server: CosServer, stored: str) -> None:
    server.set_faults("kind=error-in-200,code=SlowDown")
    source = {"x-cos-copy-source": f"{server.bucket}.cos.x.com/{stored}"}
    status, _, body = server.request("PUT", stored + "2", headers=source)
    assert (status, ElementTree.fromstring(body).findtext("Code")) == (200, "SlowDown")
    assert server.request("HEAD", stored + "2")[0] == 404
    assert server.request("GET", stored)[0] == 200, "no other operation can"


@pytest.mark.parametrize("where", ["", ",at=1000"], ids=["before", "inside"])
def test_stall(server: CosServer, stored: str, where: str) -> None:
    server.set_faults(f"kind=stall,seconds=0.3{where}")
    began = time.monotonic()
    assert server.request("GET", stored)[2] == BODY
    assert 0.3 <= time.monotonic() - began < 5


def test_stale_list(server: CosServer, folder: str) -> None:
    def keys() -> list[str]:
        body = server.request("GET", params=[("prefix", folder)])[2]
        return [(item.text or "")[len(folder):] for item in ElementTree.fromstring(body).iterfind("Contents/Key")]

    for name in "ac":
        server.request("PUT", folder + name, body=b"1")
    server.set_faults("kind=stale-list,seconds=3600")
    server.request("PUT", folder + "b", body=b"new")
    server.request("PUT", folder + "a", body=b"longer")
    server.request("DELETE", folder + "c")
    assert keys() == ["a", "c"]
    assert server.request("GET", folder + "b")[2] == b"new", "objects themselves are never stale"
    server.clear_faults()
    assert keys() == ["a", "b"]


def test_clock_skew(server: CosServer, stored: str) -> None:
    server.set_faults("kind=clock-skew,seconds=7200")
    status, headers, body = server.request("GET", stored)
    assert (status, ElementTree.fromstring(body).findtext("Message")) == (403, "Request has expired")
    ahead = parsedate_to_datetime(headers["Date"]).timestamp() - time.time()
    assert 7100 < ahead < 7300


def test_faults_choose_their_requests() -> None:
    plan = FaultPlan(["kind=status,op=get_*,key=a/*,after=1,times=2"])
    assert not plan.take("put_object", "b", "a/x") and not plan.take("get_object", "b", "c")
    assert [bool(plan.take("get_object", "b", "a/x")) for _ in range(5)] == [False, True, True, False, False]
    chance = FaultPlan(["kind=status,p=0.25,seed=7"])
    hits = sum(bool(chance.take("get_object", "b", "k")) for _ in range(1000))
    assert 200 < hits < 300


def test_values_may_be_percent_encoded() -> None:
    assert parse_fault("kind=status,key=a%2Cb%3D").key == "a,b="


@pytest.mark.parametrize("spec", ["", "status", "kind=none", "kind=status,oops=1", "kind=status,times=x", "times=1"])
def test_bad_specifications_are_refused(server: CosServer, spec: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        server.set_faults("kind=status", spec)
    assert server.request("HEAD")[0] == 200, "and the faults in force stay as they were"


def test_faults_from_the_command_line(make_server: MakeServer) -> None:
    server = make_server(faults=["kind=status,op=head_bucket,times=1", "kind=status,op=list_*,times=1"])
    assert [server.request("HEAD")[0], server.request("GET")[0], server.request("HEAD")[0]] == [503, 503, 200]


def test_every_kind_has_a_test() -> None:
    tests = {name[5:].replace("_", "-") for name in globals() if name.startswith("test_")}
    assert [kind for kind in KINDS if not any(test.startswith(kind) for test in tests)] == []
