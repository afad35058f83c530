"""Answers are taken apart exactly, those of doubtful framing refused; requests go out in few pieces."""

from __future__ import annotations

import http.client
import io

import pytest

from cosfs.cos import transport, wire
from cosfs.errors import InvalidAnswer, NetworkError


class Connection:
    """Records what is sent, one entry per call; receives ``data``."""

    def __init__(self, data=b""):
        self._data = data
        self.sent = []
        self._timeout_s = None

    def sendall(self, data):
        self.sent.append(bytes(data))

    def makefile(self, mode):
        assert mode == "rb"
        return io.BufferedReader(io.BytesIO(self._data))

    def gettimeout(self):
        return self._timeout_s

    def settimeout(self, timeout_s):
        self._timeout_s = timeout_s


def received(data, method="GET"):
    response = wire.Response(Connection(data), method)
    response.begin()
    return response


def sent(payload, *, chunked=False):
    connection = Connection(b"HTTP/1.1 200 OK\r\n\r\n")
    wire.exchange(connection, "PUT", b"head\r\n\r\n", payload, chunked=chunked, timeout_s=1.0)
    return connection.sent


def test_head_and_body_are_received():
    response = received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag:\t \"e\" \r\nx-cos-meta-A: \r\n\r\nabcX")
    assert (response.status, response.length, response.keeps) == (200, 3, True)
    assert dict(response.fields) == {"Content-Length": "3", "ETag": '"e"', "x-cos-meta-A": ""}
    assert response.read() == b"abc"


def test_chunked_body_is_received_whatever_the_length_says():
    response = received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n"
                        b"5\r\nabcde\r\n0\r\n\r\n")
    assert (response.length, response.keeps, response.read()) == (None, True, b"abcde")


@pytest.mark.parametrize("data", [
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204\r\n\r\n", b"HTTP/1.1 204 \xe4\xb8\xad\r\n\r\n", b"HTTP/1.1 204 No Content\n\n"],
    ids=["after-interim-answers", "no-reason", "reason-in-utf-8", "bare-line-feeds"])
def test_forms_of_a_head(data):
    assert received(data).status == 204


@pytest.mark.parametrize("head, keeps", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True), (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive", True),
    (b"HTTP/1.1 200 OK", False), (b"HTTP/1.1 304 Not Modified", True)])
def test_connection_is_kept_only_where_the_end_of_the_answer_is_known(head, keeps):
    assert received(head + b"\r\n\r\n").keeps is keeps


@pytest.mark.parametrize("data", [
    b"garbage\r\n\r\n", b"\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 200OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n", b"HTTP/1.1 200 OK\r\nName : v\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n", b"HTTP/1.1 20"],
    ids=lambda data: repr(data[:60]))
def test_doubtful_answers_are_refused(data):
    with pytest.raises(http.client.HTTPException) as raised:
        received(data)
    assert type(transport._error_of(raised.value, "https://host")) is InvalidAnswer


def test_connection_closed_instead_of_an_answer_is_a_network_error():
    with pytest.raises(http.client.RemoteDisconnected) as raised:
        received(b"")
    assert type(transport._error_of(raised.value, "https://host")) is NetworkError


def test_small_body_goes_out_with_its_head():
    assert sent(memoryview(b"body")) == [b"head\r\n\r\nbody"]


def test_large_body_goes_out_in_pieces_that_each_have_the_time_out():
    body = bytes(600_000)
    pieces = sent(body)
    assert pieces[0] == b"head\r\n\r\n"
    assert b"".join(pieces[1:]) == body
    assert max(len(piece) for piece in pieces) <= 262_144


def test_streamed_bodies():
    assert b"".join(sent(iter([b"ab", b"", b"c"]))) == b"head\r\n\r\nabc"
    assert b"".join(sent(iter([b"ab", b"", b"c"]), chunked=True)) == b"head\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\xe9"])
def test_target_that_is_not_encoded_is_refused(target):
    with pytest.raises(transport.InvalidParameter):
        wire.request_head("GET", target, [])


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
def test_a_connection_on_which_not_all_was_sent_is_not_used_again(error):
    class Refusing(Connection):
        def sendall(self, data):
            raise error(len(data))

    connection = Refusing(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    response = wire.exchange(connection, "PUT", b"head\r\n\r\n", b"x", chunked=False, timeout_s=1.0)
    assert (response.status, response.keeps) == (403, False)
