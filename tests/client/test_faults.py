"""Each fault of the wire: the exact error without retry, and success with it."""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path

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
    InvalidAnswer,
    InvalidParameter,
    NetworkError,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    RequestTimeout,
    ServiceUnavailable,
    TlsError,
    UploadNotFound,
)
from tests.support.clients import CREDENTIALS, NO_RETRY, Pauses, make_client, make_config
from tests.support.raw_server import RawServer, Reply, answer, error

NO_HEADERS = ObjectHeaders()
MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
BODY = bytes(range(256)) * 4
HTML = b"<html><body>Bad Gateway</body></html>"


def head_answer(size=1024, etag="abc", **headers):
    return answer(200, b"", ETag=f'"{etag}"', **{"Last_Modified": MODIFIED, "Content_Length": str(size), **headers})


def range_answer(start=0, stop=1024, etag="abc", body=None, **headers):
    return answer(206, BODY[start:stop] if body is None else body, ETag=f'"{etag}"', Last_Modified=MODIFIED,
                  **{"Content_Range": f"bytes {start}-{stop - 1}/{len(BODY)}", "Content_Length": str(stop - start),
                     **headers})


def gateway(status=502):
    return answer(status, HTML, Content_Type="text/html", x_cos_request_id=None)


def patience(fault):
    """A time-out that is short where it is what the test waits for."""
    return 0.3 if fault.then == "stall" else 20


FAULTS = [
    pytest.param(Reply(b"", "close"), NetworkError, id="closed-before-answer"),
    pytest.param(Reply(b"", "reset"), NetworkError, id="reset-before-answer"),
    pytest.param(Reply(b"HTTP/1.1 200 OK\r\nContent-Le", "close"), InvalidAnswer, id="cut-in-headers"),
    pytest.param(Reply(b"garbage\r\n\r\n", "close"), InvalidAnswer, id="not-http"),
    pytest.param(Reply(error(503, "SlowDown", "Reduce your request rate")), ServiceUnavailable, id="slow-down"),
    pytest.param(Reply(error(500, "InternalError")), ServiceUnavailable, id="internal-error"),
    pytest.param(Reply(gateway(502)), InvalidAnswer, id="gateway-502"),
    pytest.param(Reply(gateway(403)), InvalidAnswer, id="gateway-403"),
    pytest.param(Reply(answer(504, x_cos_request_id=None)), InvalidAnswer, id="gateway-504-without-body"),
    pytest.param(Reply(error(409, "PathConflict")), CosServiceError, id="path-conflict"),
    pytest.param(Reply(error(400, "RequestTimeout")), CosServiceError, id="upload-too-slow"),
    pytest.param(Reply(answer(429)), ServiceUnavailable, id="too-many-requests"),
    pytest.param(Reply(b"", "stall"), RequestTimeout, id="stalled"),
]


@pytest.mark.parametrize("fault, expected", FAULTS)
def test_put_without_retry_fails_exactly(fault, expected):
    with RawServer(fault) as server:
        client = make_client(server.url, retry=NO_RETRY, read_timeout_s=patience(fault))
        with pytest.raises(expected) as raised:
            client.put_object("key", b"body", headers=NO_HEADERS)
        assert type(raised.value) is expected
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault, expected", FAULTS)
def test_put_with_retry_succeeds(fault, expected):
    with RawServer(fault, answer(200, ETag='"abc"', x_cos_hash_crc64ecma=str(crc64(b"body")))) as server:
        client = make_client(server.url, read_timeout_s=patience(fault))
        assert client.put_object("key", memoryview(b"body"), headers=NO_HEADERS).etag == "abc"
        first, second = server.requests
        assert first.body == second.body == b"body"
        assert "x-cos-sdk-retry" not in first.headers
        assert second.headers["x-cos-sdk-retry"] == "true"
        assert "x-cos-sdk-retry" in second.headers["authorization"]


READ_FAULTS = [
    pytest.param(Reply(range_answer(body=BODY[:100]), "close"), NetworkError, "bytes=100-1023", id="cut-in-body"),
    pytest.param(Reply(range_answer(body=b""), "reset"), NetworkError, "bytes=0-1023", id="reset-before-body"),
    pytest.param(Reply(range_answer(body=b""), "stall"), RequestTimeout, "bytes=0-1023", id="stall-in-body"),
    pytest.param(Reply(range_answer(0, 512)), IntegrityError, "bytes=0-1023", id="shorter-range"),
    pytest.param(Reply(range_answer(1, 1024)), IntegrityError, "bytes=0-1023", id="other-range"),
    pytest.param(Reply(answer(200, BODY + b"x", ETag='"abc"', Last_Modified=MODIFIED)), IntegrityError, "bytes=0-1023",
                 id="range-ignored"),
    pytest.param(Reply(range_answer(Content_Range=None)), IntegrityError, "bytes=0-1023", id="no-content-range"),
    pytest.param(Reply(gateway(200)), IntegrityError, "bytes=0-1023", id="html-with-status-200"),
]


@pytest.mark.parametrize("fault, expected, _", READ_FAULTS)
def test_get_without_retry_fails_exactly(fault, expected, _):
    with RawServer(fault) as server:
        client = make_client(server.url, retry=NO_RETRY, read_timeout_s=patience(fault))
        with pytest.raises(expected) as raised:
            client.get_object("key", memoryview(bytearray(len(BODY))))
        assert type(raised.value) is expected


@pytest.mark.parametrize("fault, _, second_range", READ_FAULTS)
def test_get_with_retry_delivers_every_byte_once(fault, _, second_range):
    start = int(second_range[6:].split("-")[0])
    with RawServer(fault, range_answer(start)) as server:
        client = make_client(server.url, read_timeout_s=patience(fault))
        buffer, seen = bytearray(len(BODY)), []
        info = client.get_object("key", memoryview(buffer), on_progress=seen.append)
        assert bytes(buffer) == BODY
        assert seen == sorted(seen) and seen[-1] == len(BODY)
        assert info.etag == "abc" and info.size_bytes == len(BODY)
        assert server.requests[1].headers["range"] == second_range


def test_resumed_get_is_held_to_the_version_it_began_with():
    with RawServer(Reply(range_answer(body=BODY[:100]), "close"), error(412, "PreconditionFailed")) as server:
        with pytest.raises(PreconditionFailed):
            make_client(server.url).get_object("key", memoryview(bytearray(len(BODY))))
        assert "if-match" not in server.requests[0].headers
        assert server.requests[1].headers["if-match"] == '"abc"'


def test_server_that_ignores_if_match_cannot_mix_versions():
    with RawServer(Reply(range_answer(body=BODY[:100]), "close"), range_answer(100, etag="other")) as server, \
            pytest.raises(PreconditionFailed):
        make_client(server.url).get_object("key", memoryview(bytearray(len(BODY))))


def test_progress_of_a_get_starts_the_attempts_anew():
    replies = [Reply(range_answer(at, body=BODY[at:at + 100]), "close") for at in range(0, 1000, 100)]
    with RawServer(*replies, range_answer(1000)) as server:
        client = make_client(server.url, retry=Pauses().policy(attempts=2))
        buffer = bytearray(len(BODY))
        client.get_object("key", memoryview(buffer))
        assert bytes(buffer) == BODY


def test_attempts_end_when_nothing_arrives(expected_logs):
    expected_logs("attempt 3 of 4")
    pauses = Pauses()
    with RawServer(*[error(503, "ServiceUnavailable")] * 9) as server:
        with pytest.raises(ServiceUnavailable):
            make_client(server.url, retry=pauses.policy(attempts=4)).head_object("key")
        assert len(server.requests) == 4 and len(pauses.slept) == 3


@pytest.mark.parametrize("status, code, expected", [
    (403, "AccessDenied", AccessDenied), (404, "NoSuchKey", ObjectNotFound), (400, "InvalidArgument", CosServiceError)])
def test_answers_that_stay_the_same_are_not_asked_for_again(status, code, expected):
    with RawServer(error(status, code)) as server:
        with pytest.raises(expected):
            make_client(server.url).list_objects("")
        assert len(server.requests) == 1


def test_wrong_crc_of_a_put_is_an_integrity_error():
    wrong = answer(200, ETag='"abc"', x_cos_hash_crc64ecma="1")
    with RawServer(wrong) as server, pytest.raises(IntegrityError):
        make_client(server.url, retry=NO_RETRY).put_object("key", b"body", headers=NO_HEADERS)
    with RawServer(wrong, answer(200, ETag='"abc"', x_cos_hash_crc64ecma=str(crc64(b"body")))) as server:
        make_client(server.url).put_object("key", b"body", headers=NO_HEADERS)


def test_redirect_is_an_error_that_names_the_place_and_no_query():
    with RawServer(answer(301, Location="http://elsewhere.example/key?token=secret")) as server:
        with pytest.raises(CosServiceError, match=r"elsewhere\.example") as raised:
            make_client(server.url).list_objects("")
        assert "secret" not in repr(raised.value) + str(raised.value)
        assert len(server.requests) == 1


def test_refused_connection_is_a_network_error_and_sent_again():
    with RawServer() as server:
        url = server.url
    pauses = Pauses()
    with pytest.raises(NetworkError, match="refused"):
        make_client(url, retry=pauses.policy(attempts=3)).head_bucket()
    assert len(pauses.slept) == 2


def test_unknown_host_is_a_network_error():
    with pytest.raises(NetworkError, match="host name"):
        make_client("http://no-such-host.invalid", retry=NO_RETRY).head_bucket()


def test_server_without_tls_is_a_tls_error_under_https():
    with RawServer(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server, pytest.raises(TlsError):
        make_client(server.url.replace("http:", "https:"), retry=NO_RETRY).head_bucket()


CERTIFICATE = str(Path(__file__).parent.parent / "data" / "self-signed-other.example.pem")


def tls_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return RawServer(head_answer(), tls=context)


@pytest.mark.parametrize("fields", [{}, {"verify": CERTIFICATE}, {"verify_hostname": False}],
                         ids=["unknown-authority", "other-host", "unknown-authority-any-host"])
def test_certificate_that_is_not_right_is_refused_without_sending(fields):
    with tls_server() as server:
        with pytest.raises(TlsError, match="certificate"):
            make_client(server.url, **fields).head_object("key")
        assert server.requests == []


@pytest.mark.parametrize("fields", [{"verify": CERTIFICATE, "verify_hostname": False}, {"verify": False}])
def test_certificate_checks_can_be_narrowed(fields, recwarn):
    with tls_server() as server:
        assert make_client(server.url, **fields).head_object("key").etag == "abc"


# Calls that must not be sent twice blindly

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


# Repairs

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

    def refresh(self, rejected):
        self.refreshed += 1
        assert rejected.secret_id == "AKIDold" or self.refreshed > 1
        self.current = Credentials("AKIDnew", "new-secret", "new-token")
        return self.current


@pytest.mark.parametrize("refusal", [
    error(403, "ExpiredToken"), error(400, "ExpiredToken"), error(403, "InvalidAccessKeyId"),
    error(403, "SignatureDoesNotMatch"), answer(403, Date=None)])
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


# Answers that are not of this protocol

@pytest.mark.parametrize("body", [
    b"", b"not xml", b"<html></html>", b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
    b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>"])
def test_listing_that_cannot_be_understood_is_an_invalid_answer(body):
    with RawServer(answer(200, body)) as server, pytest.raises(InvalidAnswer):
        make_client(server.url, retry=NO_RETRY).list_objects("")


def test_head_that_describes_nothing_is_an_invalid_answer():
    with RawServer(answer(200, b"")) as server, pytest.raises(InvalidAnswer):
        make_client(server.url, retry=NO_RETRY).head_object("key")


def test_head_404_of_a_gateway_does_not_prove_absence():
    with RawServer(answer(404, x_cos_request_id=None)) as server, pytest.raises(InvalidAnswer):
        make_client(server.url, retry=NO_RETRY).head_object("key")


def test_line_break_in_metadata_is_refused_before_sending():
    with RawServer() as server:
        with pytest.raises(InvalidParameter):
            make_client(server.url).put_object("key", b"", headers=ObjectHeaders(metadata={"a": "x\r\ny: z"}))
        assert server.requests == []


def test_keep_alive_connection_is_used_again_and_survives_errors():
    with RawServer(head_answer(), error(404, "NoSuchKey"), range_answer(), answer(204), head_answer()) as server:
        client = make_client(server.url)
        client.head_object("key")
        with pytest.raises(ObjectNotFound):
            client.list_objects("")
        client.get_object("key", memoryview(bytearray(len(BODY))))
        client.delete_object("key")
        client.head_object("key")
        assert server.connections == 1


def test_idle_connection_that_the_server_closed_is_replaced_without_a_retry():
    with RawServer(Reply(head_answer(), "close"), head_answer()) as server:
        client = make_client(server.url, retry=Pauses().policy(attempts=2))
        client.head_object("key")
        client.head_object("key")
        assert server.connections == 2


# What S3-compatible services do otherwise

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
    with RawServer(Reply(gateway(412)), head_answer(etag="v1"), range_answer(0, 4, "v1"),
                   range_answer(4, 8, "v2")) as server:
        client = make_client(server.url)
        buffer = memoryview(bytearray(4))
        client.get_object("key", buffer, if_match="v1")
        assert bytes(buffer) == BODY[:4]
        with pytest.raises(PreconditionFailed):
            client.get_object("key", buffer, start=4, if_match="v1")
        assert [("if-match" in request.headers) for request in server.requests] == [True, False, False, False]


def test_412_of_another_version_is_passed_on():
    with RawServer(error(412, "PreconditionFailed"), head_answer(etag="v2")) as server:
        with pytest.raises(PreconditionFailed):
            make_client(server.url).get_object("key", memoryview(bytearray(4)), if_match="v1")
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
