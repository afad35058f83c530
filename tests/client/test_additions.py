"""Encryption, ACL, further headers, and what else options have the client send: asserted at the server."""

from __future__ import annotations

import http.client
import logging
from typing import Callable, Dict, Iterator, List, Optional

import pytest

from cosfs.cos.additions import SSE, Additions, CustomerKey, HeaderRule
from cosfs.cos.client import BucketClient
from cosfs.cos.interface import CopySource, ObjectHeaders
from cosfs.errors import CosServiceError
from tests.conftest import make_client
from tests.support import clients
from tests.support.raw_server import RawServer, answer
from tests.support.server import CosServer

ONE, OTHER = CustomerKey(bytes(range(32))), CustomerKey(b"0123456789ABCDEF0123456789ABCDEF")
NEW = Additions({}, (ONE, OTHER), encrypts=True)
OLD = Additions({}, (OTHER,), encrypts=True)
READING = Additions({}, (ONE, OTHER))
PART = bytes(1024 * 1024)
MakeClient = Callable[[Additions], BucketClient]


@pytest.fixture
def with_additions(server: CosServer) -> Iterator[MakeClient]:
    made: List[BucketClient] = []

    def make(additions: Additions) -> BucketClient:
        client = make_client(server, additions=additions)
        assert isinstance(client, BucketClient)
        made.append(client)
        return client
    yield make
    for client in made:
        client.close()


def headers_of(server: CosServer, key: str, customer: Optional[CustomerKey] = None) -> Dict[str, str]:
    status, headers, _ = server.request("HEAD", key, headers=dict(customer.headers()) if customer else {})
    assert status == 200, (key, status)
    return {name.lower(): value for name, value in headers.items()}


def status_for_anybody(server: CosServer, key: str) -> int:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.request("HEAD", f"/{server.bucket}/{key}")
    status = connection.getresponse().status
    connection.close()
    return status


def content(client: BucketClient, key: str, size: int) -> bytes:
    buffer = bytearray(size)
    client.get_object(key, memoryview(buffer))
    return bytes(buffer)


def store_each_way(client: BucketClient, folder: str) -> List[str]:
    """Keys of a PUT, both kinds of copy, and an upload in parts, one of them copied."""
    put, renamed, changed, parts = (f"{folder}{name}.gz" for name in ("put", "renamed", "changed", "parts"))
    client.put_object(put, PART, headers=ObjectHeaders())
    client.copy_object(put, renamed)
    client.copy_object(put, changed, headers=ObjectHeaders({"mode": "1"}))
    upload = client.create_multipart_upload(parts, headers=ObjectHeaders())
    made = [client.upload_part(parts, upload, 1, PART),
            client.upload_part_copy(parts, upload, 2, CopySource(put, 0, len(PART)))]
    client.complete_multipart_upload(parts, upload, made)
    return [put, renamed, changed, parts]


@pytest.mark.parametrize("encryption", [
    {SSE: "AES256"}, {SSE: "cos/kms"}, {SSE: "cos/kms", f"{SSE}-cos-kms-key-id": "key-1"}])
def test_each_way_of_storing_encrypts(server: CosServer, with_additions: MakeClient, folder: str,
                                      encryption: Dict[str, str]) -> None:
    for key in store_each_way(with_additions(Additions(encryption)), folder):
        found = headers_of(server, key)
        assert {name: value for name, value in found.items() if name.startswith(SSE)} == encryption, key


def test_each_way_of_storing_encrypts_with_the_customers_key(server: CosServer, with_additions: MakeClient,
                                                             folder: str) -> None:
    client = with_additions(NEW)
    for key in store_each_way(client, folder):
        assert headers_of(server, key, ONE)[f"{SSE}-customer-key-md5"] == ONE.md5, key
        assert server.request("GET", key)[0] == 400
        assert content(client, key, len(PART)) == PART
        assert client.head_object(key).headers.extra == {f"{SSE}-customer-key-md5": ONE.md5}


def test_objects_of_other_keys_and_of_none_are_read(with_additions: MakeClient, folder: str) -> None:
    with_additions(OLD).put_object(folder + "old", b"old", headers=ObjectHeaders())
    with_additions(Additions()).put_object(folder + "plain", b"plain", headers=ObjectHeaders())
    client = with_additions(NEW)
    client.put_object(folder + "new", b"new", headers=ObjectHeaders())
    for name in ("plain", "old", "new", "old", "plain"):
        assert content(client, folder + name, len(name)) == name.encode()


def test_what_was_right_is_tried_first(server: CosServer, with_additions: MakeClient, folder: str) -> None:
    names = [f"{folder}{number}" for number in range(3)]
    plain, client = with_additions(Additions()), with_additions(NEW)
    for name in names:
        plain.put_object(name, b"x", headers=ObjectHeaders())
    server.clear_requests()
    for name in [*names, *names]:
        client.head_object(name)
    assert [line["status"] for line in server.requests(op="head_object")] == [400] + 6 * [200]


def test_a_key_that_is_not_there_is_the_services_error(with_additions: MakeClient, folder: str) -> None:
    with_additions(NEW).put_object(folder + "a", b"x", headers=ObjectHeaders())
    with pytest.raises(CosServiceError) as caught:
        content(with_additions(OLD), folder + "a", 1)
    assert (caught.value.status, caught.value.code) == (400, "SsecDecryptHeaderInvalid")


def test_what_is_stored_again_keeps_its_key_where_none_is_given_for_new_objects(
        server: CosServer, with_additions: MakeClient, folder: str) -> None:
    with_additions(OLD).put_object(folder + "a", b"x", headers=ObjectHeaders())
    client = with_additions(READING)
    kept = client.head_object(folder + "a").headers
    client.put_object(folder + "a", b"y", headers=kept)
    client.copy_object(folder + "a", folder + "b")
    client.put_object(folder + "c", b"z", headers=ObjectHeaders())
    assert [headers_of(server, folder + name, OTHER)[f"{SSE}-customer-key-md5"] for name in "ab"] == 2 * [OTHER.md5]
    assert f"{SSE}-customer-key-md5" not in headers_of(server, folder + "c")


def test_what_is_stored_again_gets_the_new_key(server: CosServer, with_additions: MakeClient, folder: str) -> None:
    with_additions(OLD).put_object(folder + "a", b"x", headers=ObjectHeaders())
    client = with_additions(NEW)
    client.copy_object(folder + "a", folder + "a", headers=client.head_object(folder + "a").headers)
    assert headers_of(server, folder + "a", ONE)
    assert content(client, folder + "a", 1) == b"x"


def test_an_object_encrypted_otherwise_stays_so(server: CosServer, with_additions: MakeClient, folder: str) -> None:
    with_additions(Additions({SSE: "cos/kms"})).put_object(folder + "a", b"x", headers=ObjectHeaders())
    client = with_additions(NEW)
    client.put_object(folder + "a", b"y", headers=client.head_object(folder + "a").headers)
    assert headers_of(server, folder + "a")[SSE] == "cos/kms"


def test_each_way_of_storing_sets_the_acl(server: CosServer, with_additions: MakeClient, folder: str) -> None:
    with_additions(Additions()).put_object(folder + "none", b"", headers=ObjectHeaders())
    server.clear_requests()
    for key in store_each_way(with_additions(Additions(acl="public-read")), folder):
        assert status_for_anybody(server, key) == 200, key
    assert status_for_anybody(server, folder + "none") == 403
    assert [line["acl"] for line in server.requests() if "acl" in line] == 4 * ["public-read"]


def test_headers_by_suffix(server: CosServer, with_additions: MakeClient, folder: str) -> None:
    client = with_additions(Additions(rules=(HeaderRule("Cache-Control", "max-age=1"),
                                             HeaderRule("Content-Encoding", "gzip", ".gz"))))
    client.put_object(folder + "a.txt", b"x", headers=ObjectHeaders(standard={"Content-Encoding": "br"}))
    for key in store_each_way(client, folder):
        found = headers_of(server, key)
        assert (found["cache-control"], found["content-encoding"]) == ("max-age=1", "gzip"), key
    found = headers_of(server, folder + "a.txt")
    assert (found["cache-control"], found["content-encoding"]) == ("max-age=1", "br")


def test_deletes_name_their_process(server: CosServer, with_additions: MakeClient, folder: str) -> None:
    server.clear_requests()
    client = with_additions(Additions(client_info=True))
    client.delete_object(folder + "a")
    client.delete_objects([folder + "b"])
    lines = [line for line in server.requests() if line["op"] in ("delete_object", "delete_objects")]
    assert [line["client_pid"].isdigit() for line in lines] == [True, True]
    assert all(line["client_cgroup"].startswith("/") for line in lines)


def test_the_trace_shows_requests_and_no_secrets(server: CosServer, folder: str,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    client = make_client(server, additions=NEW, trace=True)
    with caplog.at_level(logging.WARNING, "cosfs"):
        caplog.handler.setLevel(logging.DEBUG)
        client.put_object(folder + "a", b"x", headers=ObjectHeaders())
        client.copy_object(folder + "a", folder + "b")
    client.close()
    text = "\n".join(record.getMessage() for record in caplog.records if record.name == "cosfs.requests")
    assert f"PUT {server.url}/{server.bucket}/{folder}a [" in text
    assert "]: 200 in " in text
    assert "x-cos-request-id: " in text
    secrets = [dict(ONE.headers())[f"{SSE}-customer-key"], "q-signature", server.secret_key]
    assert [secret for secret in secrets if secret in text] == []


def test_errors_do_not_repeat_a_customers_key(with_additions: MakeClient) -> None:
    echoed = dict(ONE.headers())[f"{SSE}-customer-key"]
    with RawServer(lambda _: answer(400, b"<Error><Code>Bad</Code><Message>" + echoed.encode() + b"</Message></Error>",
                                    Content_Type="application/xml")) as raw:
        client = clients.make_client(raw.url, additions=NEW)
        with pytest.raises(CosServiceError) as caught:
            client.put_object("a", b"x", headers=ObjectHeaders())
        client.close()
    assert echoed not in str(caught.value)


def test_no_content_md5(server: CosServer, folder: str) -> None:
    for wanted in (True, False):
        client = make_client(server, content_md5=wanted)
        server.clear_requests()
        client.put_object(folder + "a", b"x", headers=ObjectHeaders())
        client.close()
        assert ["content_md5" in line for line in server.requests(op="put_object")] == [wanted]


@pytest.mark.parametrize(("path_style", "target"), [
    (True, f"/base/p%20q/{clients.BUCKET}/a"), (False, "/base/p%20q/a")])
def test_the_service_path_stands_before_the_key(path_style: bool, target: str) -> None:
    ok = answer(200, ETag='"0cc175b9c0f1b6a831c399e269772661"')
    with RawServer(ok) as raw:
        url = raw.url if path_style else raw.url.replace("127.0.0.1", "localhost")
        config = clients.make_config(url, service_path="/base/p q", path_style=path_style)
        located = config.address().locate(config.bucket, "a")
        if path_style:
            client = BucketClient(config)
            client.put_object("a", b"a", headers=ObjectHeaders())
            client.close()
            assert [request.target for request in raw.requests] == [target]
            assert "q-signature=" in raw.requests[0].headers["authorization"]
    assert (located.raw_path, located.path) == (target, target.replace("%20", " "))


def test_the_server_wants_the_key_with_each_part_and_headers_that_agree(
        server: CosServer, with_additions: MakeClient, folder: str) -> None:
    client = with_additions(NEW)
    upload = client.create_multipart_upload(folder + "a", headers=ObjectHeaders())
    params = [("partNumber", "1"), ("uploadId", upload)]
    wrong = {**dict(ONE.headers()), f"{SSE}-customer-key-MD5": OTHER.md5}
    assert [server.request("PUT", folder + "a", params, b"x", headers)[0]
            for headers in ({}, dict(OTHER.headers()), wrong, dict(ONE.headers()))] == [400, 400, 400, 200]
    client.abort_multipart_upload(folder + "a", upload)
