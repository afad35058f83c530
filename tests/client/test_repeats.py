"""Calls that must not be sent twice blindly, and the repairs after which a call is sent again."""

from __future__ import annotations

import logging
import re

import pytest

from cosfs.cos.crc64 import crc64
from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.interface import CopySource, ObjectHeaders, UploadedPart
from cosfs.cos.requester import Requester
from cosfs.cos.signing import Credentials
from cosfs.errors import (
    AccessDenied,
    CosServiceError,
    IntegrityError,
    ObjectExists,
    UploadNotFound,
)
from tests.client.answers import BODY, NO_HEADERS, gateway, head_answer
from tests.support.clients import CREDENTIALS, NO_RETRY, make_client, make_config
from tests.support.raw_server import RawServer, Reply, answer, error


@pytest.mark.parametrize("fault", [Reply(b"", "close"), Reply(b"", "reset"), Reply(gateway())])
def test_initiate_is_repeated_after_a_lost_answer(fault):
    body = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
    with RawServer(fault, answer(200, body)) as server:
        assert make_client(server.url).create_multipart_upload("key", headers=NO_HEADERS) == "u1"
        assert len(server.requests) == 2


def test_initiate_is_repeated_when_the_service_was_too_busy():
    body = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
    with RawServer(error(503, "SlowDown"), answer(200, body)) as server:
        assert make_client(server.url).create_multipart_upload("key", headers=NO_HEADERS) == "u1"


PARTS = [UploadedPart(1, "e1", 1024, crc64(BODY)), UploadedPart(2, "e2", 3, crc64(b"end"))]
WHOLE_CRC = str(crc64(BODY + b"end"))
COMPLETED = answer(200, b"<CompleteMultipartUploadResult><ETag>\"new-2\"</ETag></CompleteMultipartUploadResult>",
                   x_cos_hash_crc64ecma=WHOLE_CRC)


def complete(server, parts=PARTS, **fields):
    return make_client(server.url, **fields).complete_multipart_upload("key", "u1", parts)


@pytest.mark.parametrize("lost", [Reply(b"", "close"), Reply(gateway()), Reply(error(500, "InternalError")),
                                  Reply(answer(200, b"   ", Content_Length="999"), "close")])
def test_lost_completion_is_found_by_size_and_crc(lost):
    with RawServer(lost, head_answer(1027, "new-2", x_cos_hash_crc64ecma=WHOLE_CRC)) as server:
        stored = complete(server)
        assert (stored.etag, stored.crc64) == ("new-2", int(WHOLE_CRC))
        assert [request.method for request in server.requests] == ["POST", "HEAD"]


def test_completion_that_did_not_happen_is_sent_again():
    old = head_answer(1027, "old", x_cos_hash_crc64ecma="5")
    with RawServer(Reply(b"", "close"), old, COMPLETED) as server:
        assert complete(server).etag == "new-2"
        assert [request.method for request in server.requests] == ["POST", "HEAD", "POST"]


def test_completion_without_crcs_is_believed_when_the_upload_is_gone():
    parts = [UploadedPart(1, "e1", 1027)]
    head = head_answer(1027, "new-1", Last_Modified="Tue, 14 Nov 2999 22:13:20 GMT")
    with RawServer(Reply(b"", "close"), head, error(404, "NoSuchUpload"), head) as server:
        assert complete(server, parts).etag == "new-1"


def test_upload_that_is_gone_without_a_trace_is_an_error():
    with RawServer(error(404, "NoSuchUpload")) as server:
        with pytest.raises(UploadNotFound):
            complete(server)
        assert len(server.requests) == 1
    old = head_answer(5, "old")
    with RawServer(Reply(b"", "close"), old, error(404, "NoSuchUpload"), old) as server, \
            pytest.raises(UploadNotFound):
        complete(server)


def test_error_inside_a_200_of_complete_is_an_error_and_is_repeated():
    inside = answer(200, b"  \n <?xml version='1.0'?><Error><Code>InternalError</Code><Message>m</Message></Error>")
    old = answer(404)
    with RawServer(inside, old) as server, pytest.raises(CosServiceError) as raised:
        complete(server, retry=NO_RETRY)
    assert raised.value.code == "InternalError"
    with RawServer(inside, old, COMPLETED) as server:
        assert complete(server).etag == "new-2"


def test_spaces_before_the_result_of_complete_are_skipped():
    spaced = answer(200, b" " * 500 + b"<?xml version='1.0' encoding='utf-8'?>"
                    b"<CompleteMultipartUploadResult><ETag>\"new-2\"</ETag></CompleteMultipartUploadResult>")
    with RawServer(spaced) as server:
        assert complete(server).etag == "new-2"


def test_completed_object_with_another_crc_is_an_integrity_error():
    wrong = COMPLETED.replace(WHOLE_CRC.encode(), b"5")
    with RawServer(wrong) as server, pytest.raises(IntegrityError):
        complete(server)


@pytest.mark.parametrize("call", [
    lambda client: client.copy_object("a", "b"),
    lambda client: client.upload_part_copy("b", "u1", 1, CopySource("a", 0, 5))], ids=["object", "part"])
def test_error_inside_a_200_of_a_copy_is_an_error(call):
    inside = answer(200, b"<Error><Code>AccessDenied</Code><Message>m</Message></Error>")
    with RawServer(inside) as server, pytest.raises(CosServiceError) as raised:
        call(make_client(server.url))
    assert raised.value.code == "AccessDenied"


def test_exclusive_put_that_was_done_although_its_answer_was_lost_is_no_error():
    headers = ObjectHeaders(metadata={"mtime-ns": "1700000000.123456789"})
    own = head_answer(4, x_cos_hash_crc64ecma=str(crc64(b"body")), x_cos_meta_mtime_ns="1700000000.123456789")
    with RawServer(Reply(b"", "close"), error(409, "FileAlreadyExists"), own) as server:
        stored = make_client(server.url).put_object("key", b"body", headers=headers, forbid_overwrite=True)
        assert stored.etag == "abc"
    foreign = own.replace(b"123456789", b"000000001")
    with RawServer(Reply(b"", "close"), error(409, "FileAlreadyExists"), foreign) as server, \
            pytest.raises(ObjectExists):
        make_client(server.url).put_object("key", b"body", headers=headers, forbid_overwrite=True)


def test_a_put_that_forbids_overwriting_goes_without_where_the_server_does_not_know_the_header():
    with RawServer(error(501, "NotImplemented"), answer(200, ETag='"abc"'), answer(200, ETag='"def"')) as server:
        client = make_client(server.url)
        assert client.put_object("key", b"body", headers=ObjectHeaders(), forbid_overwrite=True).etag == "abc"
        assert client.put_object("other", b"body", headers=ObjectHeaders(), forbid_overwrite=True).etag == "def"
        sent = ["x-cos-forbid-overwrite" in request.headers for request in server.requests]
    assert sent == [True, False, False]


SKEWED = [error(403, "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large."),
          error(403, "AccessDenied", "Request has expired")]


@pytest.mark.parametrize("refusal", SKEWED)
def test_wrong_clock_is_repaired_once_by_the_service_date(refusal, caplog, expected_logs):
    expected_logs("clock")
    with RawServer(refusal, head_answer(), head_answer(), refusal) as server:
        config = make_config(server.url, retry=NO_RETRY)
        client = make_client(server.url, retry=NO_RETRY)
        client._requester = Requester(config, clock=lambda: 1_600_000_000.0)
        client.head_object("key")
        client.head_object("key")
        starts = [re.search(r"q-sign-time=(\d+);", request.headers["authorization"])[1] for request in server.requests]
        assert starts == ["1599999940", "1699999940", "1699999940"]  # Date: 1700000000
        assert any(record.levelno == logging.WARNING for record in caplog.records)
        with pytest.raises(AccessDenied):
            client.head_object("key")  # the clock is right now, so it is no reason any more


class Rotating:
    """Gives other keys when refresh is called."""

    def __init__(self):
        self.current = Credentials("AKIDold", "old-secret", "old-token")
        self.refreshed = 0

    def get(self):
        return self.current

    def refresh(self, rejected, *, certain=True):  # noqa: ARG002 - of the protocol
        self.refreshed += 1
        assert rejected.secret_id == "AKIDold" or self.refreshed > 1
        self.current = Credentials("AKIDnew", "new-secret", "new-token")
        return self.current


@pytest.mark.parametrize("refusal", [
    error(403, "ExpiredToken"), error(400, "ExpiredToken"), error(403, "InvalidAccessKeyId"),
    error(403, "SignatureDoesNotMatch"), answer(403, Date=None), error(403, "AccessDenied")])
def test_refused_keys_are_replaced_once(refusal):
    provider = Rotating()
    with RawServer(refusal, answer(204)) as server:
        make_client(server.url, retry=NO_RETRY, credentials=provider).delete_object("key")
        first, second = server.requests
        assert "AKIDold" in first.headers["authorization"] and first.headers["x-cos-security-token"] == "old-token"
        assert "AKIDnew" in second.headers["authorization"] and second.headers["x-cos-security-token"] == "new-token"
    with RawServer(refusal, refusal, refusal) as server:
        with pytest.raises(CosServiceError):
            make_client(server.url, credentials=Rotating()).delete_object("key")
        assert len(server.requests) == 2


def test_keys_that_are_the_only_ones_are_not_tried_again():
    with RawServer(error(403, "SignatureDoesNotMatch")) as server:
        with pytest.raises(AccessDenied):
            make_client(server.url, credentials=StaticCredentials(CREDENTIALS)).list_objects("")
        assert len(server.requests) == 1


def test_non_repeatable_call_is_repeated_after_a_repair():
    body = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
    with RawServer(error(403, "ExpiredToken"), answer(200, body)) as server:
        client = make_client(server.url, credentials=Rotating())
        assert client.create_multipart_upload("key", headers=NO_HEADERS) == "u1"
