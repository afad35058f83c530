"""No secret, signature, token or signed URL in a log record, an exception or a repr, whatever goes wrong."""

from __future__ import annotations

import logging
import re
import traceback

import pytest

from cosfs import CosConfig, CosS3Client
from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.interface import ObjectHeaders
from cosfs.cos.signing import Credentials
from cosfs.errors import CosException
from tests.support.clients import Pauses, make_client
from tests.support.raw_server import RawServer, Reply, answer, error

SECRETS = Credentials("AKIDvisible", "SECRET-key-of-the-test", "SECRET-token-of-the-test")
SIGNED = re.compile(r"SECRET-|[sS]ignature=[0-9a-f]{20}|q-signature=[0-9a-f]")


FAULTS = {
    "closed": Reply(b"", "close"), "reset": Reply(b"", "reset"), "garbage": Reply(b"x\r\n\r\n", "close"),
    "stall": Reply(b"", "stall"), "denied": error(403, "AccessDenied"),
    "gateway": answer(502, b"<html>", x_cos_request_id=None),
    "redirect": answer(302, Location="https://x.example/?q-signature=0123456789012345678901234567890123456789"),
    "no-xml": answer(200, b"nonsense"), "slow-down": error(503, "SlowDown"),
    "skewed": error(403, "RequestTimeTooSkewed"),
    "expired": error(400, "ExpiredToken"), "half": Reply(answer(200, b"<L", Content_Length="100"), "close"),
}
CALLS = {
    "list": lambda client: client.list_objects("prefix"),
    "put": lambda client: client.put_object("key", b"body", headers=ObjectHeaders()),
    "get": lambda client: client.get_object("key", memoryview(bytearray(10))),
    "initiate": lambda client: client.create_multipart_upload("key", headers=ObjectHeaders()),
}


def everything_about(exc):
    """Text, repr, arguments and attributes of an exception and of all those behind it."""
    seen = []
    while exc is not None and exc not in seen:
        seen.append(exc)
        yield from (str(exc), repr(exc), repr(exc.args), repr(vars(exc)))
        yield "".join(traceback.format_exception(type(exc), exc, None))
        exc = exc.__cause__ or exc.__context__


@pytest.fixture
def all_logs(caplog, expected_logs):
    expected_logs(".*")
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests", "cosfs"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def check(exc, logs):
    texts = [*everything_about(exc), *(record.getMessage() for record in logs.records),
             *(repr(record.args) for record in logs.records)]
    leaks = [text for text in texts if SIGNED.search(text)]
    assert not leaks


@pytest.mark.parametrize("signature", ["cos", "v4"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_failing_request_tells_no_secret(fault, call, signature, all_logs):
    with RawServer(*[FAULTS[fault]] * 4) as server:
        client = make_client(server.url, credentials=StaticCredentials(SECRETS),
                             read_timeout_s=0.2 if fault == "stall" else 20,
                             retry=Pauses().policy(attempts=2), signature=signature)
        with pytest.raises(CosException) as raised:
            CALLS[call](client)
        assert "SECRET" in str(server.requests[0].headers)  # the token did go out
    check(raised.value, all_logs)
    assert not SIGNED.search(repr(client) + repr(vars(client)) + repr(client._config))


def test_refused_connection_tells_no_secret(all_logs):
    with RawServer() as server:
        url = server.url
    with pytest.raises(CosException) as raised:
        make_client(url, credentials=StaticCredentials(SECRETS)).list_objects("")
    check(raised.value, all_logs)


@pytest.mark.parametrize("signature", ["cos", "v4"])
def test_error_document_that_repeats_the_request_is_cleaned(signature, all_logs):
    def echo(request):
        token = request.headers.get("x-cos-security-token") or request.headers.get("x-amz-security-token")
        text = f"{request.headers['authorization']} {token} SECRET-key-of-the-test"
        return error(403, "SignatureDoesNotMatch", text.replace("&", "&amp;"))

    with RawServer(echo) as server:
        client = make_client(server.url, credentials=StaticCredentials(SECRETS), signature=signature)
        with pytest.raises(CosException) as raised:
            client.list_objects("")
    assert raised.value.code == "SignatureDoesNotMatch"
    check(raised.value, all_logs)


def test_facade_tells_no_secret(all_logs):
    with RawServer(error(403, "AccessDenied"), Reply(b"", "close")) as server:
        config = CosConfig(Endpoint=server.url, SecretId=SECRETS.secret_id, SecretKey=SECRETS.secret_key,
                           Token=SECRETS.token)
        client = CosS3Client(config, retry=0)
        url = client.get_presigned_url("b-1", "k", "GET")
        assert SIGNED.search(url)  # this one is made to be given away
        for _ in range(2):
            with pytest.raises(CosException) as raised:
                client.get_object("b-1", "k")
            check(raised.value, all_logs)
    assert not SIGNED.search(repr(config) + repr(client))
