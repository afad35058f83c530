"""Connections: which are used again, and the ways through a proxy."""

from __future__ import annotations

import base64
import io
import socket
import ssl
import threading
from pathlib import Path

import pytest

from cosfs import CosConfig, CosS3Client
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import AccessDenied, InvalidParameter, NetworkError
from tests.support.clients import NO_RETRY, make_client
from tests.support.raw_server import RawServer, Reply, answer, error

CERTIFICATE = str(Path(__file__).parent.parent / "data" / "self-signed-other.example.pem")
PAGE = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def head_answer(**headers):
    return answer(200, ETag='"abc"', Last_Modified="Tue, 14 Nov 2023 22:13:20 GMT", **headers)


def chunked(body):
    head = answer(200, Transfer_Encoding="chunked", Content_Length=None)
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_connection_of_a_chunked_answer_is_used_again():
    with RawServer(chunked(PAGE), chunked(PAGE)) as server:
        client = make_client(server.url)
        client.list_objects("")
        client.list_objects("")
        assert server.connections == 1


@pytest.mark.parametrize("first", [
    head_answer(Connection="close"), answer(200, bytes(100_000), ETag='"abc"', Content_Length="200000")],
    ids=["announced", "body-too-long-to-wait-for"])
def test_connection_is_given_up(first):
    with RawServer(first, head_answer()) as server:
        client = make_client(server.url)
        client.put_object("key", b"", headers=ObjectHeaders())
        client.head_object("key")
        assert server.connections == 2


def test_answer_that_comes_before_all_was_sent_counts():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def refuse():
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(error(403, "AccessDenied"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass
            connection.close()
        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        client = make_client(f"http://127.0.0.1:{listener.getsockname()[1]}", retry=NO_RETRY)
        with pytest.raises(AccessDenied):
            client.put_object("key", bytes(1 << 20), headers=ObjectHeaders())
        client.close()
        thread.join(timeout=20)
        assert not thread.is_alive()


class Tunnel:
    """A proxy that takes one CONNECT; ``reply`` is what it answers."""

    def __init__(self, reply=b"HTTP/1.1 200 Established\r\n\r\n"):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._reply = reply
        self.request = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._thread.join(timeout=20)
        self._listener.close()

    def _serve(self):
        client, _ = self._listener.accept()
        client.settimeout(20)
        with client:
            while not self.request.endswith(b"\r\n\r\n"):
                self.request += client.recv(4096)
            client.sendall(self._reply)
            if b" 200 " not in self._reply:
                return
            host, port = self.request.split()[1].decode().split(":")
            with socket.create_connection((host, int(port)), timeout=20) as server:
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join(timeout=20)


def _pump(source, target):
    while True:
        data = source.recv(65536)
        if not data:
            break
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def test_https_goes_through_a_tunnel_of_the_proxy():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with RawServer(head_answer(), Reply(head_answer(), "close"), tls=context) as server, Tunnel() as proxy:
        client = make_client(server.url, proxies={"https": f"http://user:word@127.0.0.1:{proxy.port}"},
                             verify=CERTIFICATE, verify_hostname=False)
        client.head_object("key")
        client.head_object("key")
        client.close()
        assert server.connections == 1
        assert server.requests[0].target == "/examplebucket-1250000000/key"
        assert "proxy-authorization" not in server.requests[0].headers
    assert proxy.request.startswith(b"CONNECT 127.0.0.1:%d " % server.port)
    assert base64.b64encode(b"user:word") in proxy.request


def test_tunnel_that_the_proxy_refuses_is_a_network_error():
    with Tunnel(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        client = make_client("https://cos.ap-x.myqcloud.com", proxies={"https": f"http://127.0.0.1:{proxy.port}"},
                             retry=NO_RETRY)
        with pytest.raises(NetworkError):
            client.head_object("key")


def test_proxy_of_http_gets_its_own_authorization():
    with RawServer(head_answer()) as server:
        make_client("http://cos.ap-x.myqcloud.com",
                    proxies={"http": server.url.replace("//", "//user:word@")}).head_object("key")
        assert server.requests[0].headers["proxy-authorization"].endswith(base64.b64encode(b"user:word").decode())


@pytest.mark.parametrize("body", [
    iter([b"0123456789", b"GET /"]), iter(["ab", "ü" * 9]), io.StringIO("ü" * 10), iter([b"short"])],
    ids=["bytes", "text", "text-file", "short"])
def test_a_body_of_another_length_than_announced_is_refused_and_its_connection_given_up(body):
    with RawServer(head_answer(), head_answer()) as server:
        client = CosS3Client(CosConfig(Region="x", SecretId="id", SecretKey="key", Scheme="http",
                                       Endpoint=server.url.partition("//")[2]))
        with pytest.raises(InvalidParameter):
            client.put_object(Bucket="examplebucket-1250000000", Key="k", Body=body, ContentLength="10")
        client.head_object(Bucket="examplebucket-1250000000", Key="k")
        assert server.connections == 2
