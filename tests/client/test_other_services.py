"""What S3-compatible services, and servers between, do otherwise than COS."""

from __future__ import annotations

import pytest

from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.interface import CopySource, ObjectHeaders
from cosfs.cos.signing import Credentials
from cosfs.errors import (
    CosServiceError,
    ObjectNotFound,
    PreconditionFailed,
)
from tests.client.answers import BODY, MODIFIED, NO_HEADERS, gateway, head_answer, range_answer
from tests.support.clients import make_client
from tests.support.raw_server import RawServer, Reply, answer, error


def v4_client(server, **fields):
    return make_client(server.url, signature="v4", **fields)


def test_v4_speaks_s3_and_understands_it():
    reply = answer(200, ETag='"abc"', Last_Modified=MODIFIED, x_amz_meta_mode="33188",
                   x_amz_storage_class="STANDARD_IA", x_amz_server_side_encryption="aws:kms",
                   x_amz_server_side_encryption_aws_kms_key_id="id",
                   x_cos_request_id=None)
    headers = ObjectHeaders(metadata={"mode": "33188"}, storage_class="STANDARD_IA", extra={
        "x-cos-server-side-encryption": "cos/kms", "x-cos-server-side-encryption-cos-kms-key-id": "id",
        "x-cos-traffic-limit": "819200"})
    with RawServer(reply, reply) as server:
        keys = StaticCredentials(Credentials("id", "key", "the-token"))
        client = v4_client(server, credentials=keys, v4_region="r-1")
        client.put_object("key", b"body", headers=headers, forbid_overwrite=True)
        info = client.head_object("key")
        sent = server.requests[0].headers
        assert sent["x-amz-meta-mode"] == "33188" and sent["x-amz-storage-class"] == "STANDARD_IA"
        assert sent["x-amz-server-side-encryption"] == "aws:kms"
        assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "id"
        assert sent["x-amz-security-token"] == "the-token" and sent["if-none-match"] == "*"
        assert sent["x-amz-content-sha256"] == "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
        assert "/r-1/s3/aws4_request" in sent["authorization"]
        assert not [name for name in sent if name.startswith("x-cos-")]
        assert info.headers.metadata == {"mode": "33188"}
        assert info.headers.extra == {"x-cos-server-side-encryption": "cos/kms",
                                      "x-cos-server-side-encryption-cos-kms-key-id": "id"}


def test_v4_copy_names_its_source_by_bucket_and_key():
    result = answer(200, b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
    with RawServer(result) as server:
        v4_client(server).copy_object("a b/../c", "d", headers=NO_HEADERS)
        sent = server.requests[0].headers
        assert sent["x-amz-copy-source"] == "/examplebucket-1250000000/a%20b/../c"
        assert sent["x-amz-metadata-directive"] == "REPLACE"


def test_no_empty_marker_asks_for_the_first_page_of_versions():
    with RawServer(answer(200, b"<ListVersionsResult></ListVersionsResult>")) as server:
        v4_client(server).list_object_versions("p/")
        assert "prefix=p%2F" in server.requests[0].target and "marker" not in server.requests[0].target


def test_v4_head_404_without_request_id_is_absence():
    with RawServer(answer(404, x_cos_request_id=None, Content_Type="text/html")) as server, \
            pytest.raises(ObjectNotFound):
        v4_client(server).head_object("key")


def test_head_404_of_a_service_that_gives_no_ids_is_absence():
    with RawServer(answer(200, b"", x_cos_request_id=None), answer(404, x_cos_request_id=None)) as server:
        client = make_client(server.url)
        client.head_bucket()
        with pytest.raises(ObjectNotFound):
            client.head_object("key")


def test_server_that_refuses_every_if_match_is_held_to_its_etags():
    with RawServer(Reply(gateway(412)), range_answer(0, 4, "v1"), range_answer(4, 8, "v2")) as server:
        client = make_client(server.url)
        buffer = memoryview(bytearray(4))
        client.get_object("key", buffer, if_match="v1")
        assert bytes(buffer) == BODY[:4]
        with pytest.raises(PreconditionFailed):
            client.get_object("key", buffer, start=4, if_match="v1")
        assert [("if-match" in request.headers) for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("second", [range_answer(4, 8, "v2"), range_answer(4, 6, "v2"), error(416, "InvalidRange"),
                                    error(404, "NoSuchKey")], ids=["same size", "shorter", "short", "gone"])
def test_412_of_another_version_is_passed_on(second):
    with RawServer(error(412, "PreconditionFailed"), second) as server:
        with pytest.raises(PreconditionFailed):
            make_client(server.url).get_object("key", memoryview(bytearray(4)), start=4, if_match="v1")
        assert len(server.requests) == 2


def test_412_of_a_server_that_has_answered_if_match_is_believed():
    with RawServer(range_answer(0, 4, "v1"), error(412, "PreconditionFailed")) as server:
        client = make_client(server.url)
        client.get_object("key", memoryview(bytearray(4)), if_match="v1")
        with pytest.raises(PreconditionFailed):
            client.get_object("key", memoryview(bytearray(4)), if_match="v1")
        assert len(server.requests) == 2


def test_v4_copy_result_without_etag_is_completed_by_head():
    with RawServer(answer(200, b"<CopyObjectResult/>"), head_answer()) as server:
        assert v4_client(server).copy_object("a", "b").etag == "abc"


def test_service_that_cannot_copy_parts_says_so():
    with RawServer(answer(200, b"", ETag='"empty"')) as server:
        with pytest.raises(CosServiceError) as raised:
            v4_client(server).upload_part_copy("b", "u1", 1, CopySource("a", 0, 5))
        assert raised.value.status == 501 and len(server.requests) == 1


def test_right_range_with_status_200_is_taken():
    with RawServer(range_answer(5, 10).replace(b"206", b"200", 1)) as server:
        buffer = bytearray(5)
        v4_client(server).get_object("key", memoryview(buffer), start=5)
        assert bytes(buffer) == BODY[5:10]


def test_paths_and_metadata_go_out_byte_for_byte():
    with RawServer(answer(200, ETag='"e"')) as server:
        make_client(server.url).put_object("a/../b c+//é\udcff./", b"", headers=ObjectHeaders(metadata={"n": "中"}))
        assert server.requests[0].target == "/examplebucket-1250000000/a/..%2Fb%20c%2B//%C3%A9%FF.%2F"
        assert server.requests[0].headers["x-cos-meta-n"] == "中"


def test_leading_slashes_are_not_stripped():
    with RawServer(head_answer()) as server:
        make_client(server.url).head_object("//a")
        assert server.requests[0].target == "/examplebucket-1250000000///a"


def test_proxy_gets_whole_urls_and_the_environment_is_not_looked_at(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with RawServer(head_answer(), head_answer()) as server:
        make_client(server.url).head_object("key")
        make_client("http://cos.ap-x.myqcloud.com", proxies={"http": server.url}).head_object("a//b")
        assert server.requests[1].target == "http://examplebucket-1250000000.cos.ap-x.myqcloud.com/a//b"
