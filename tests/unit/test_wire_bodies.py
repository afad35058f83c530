"""Large bodies come in few system calls, whatever the pieces in which they arrive, and end where they end; what lies in
files is sent from there."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading

import pytest

from cosfs.cos import wire
from cosfs.cos.interface import FileBytes
from cosfs.errors import StagingFailed
from cosfs.units import KIB, MIB

TIMEOUT_S = 0.2
DATA = random.Random(5).randbytes(3 * MIB)


class Service:
    """The other end of a connection on loopback."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.socket = socket.create_connection(listener.getsockname(), timeout=20)
            self._other, _ = listener.accept()
        self._other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._threads = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        self._other.close()
        self.socket.close()

    def receive(self, *, reply, at_most=None):
        """Take a request while the caller sends it, until nothing comes for a moment, and answer."""
        def run():
            self._other.settimeout(TIMEOUT_S)
            received = bytearray()
            while at_most is None or len(received) < at_most:
                try:
                    data = self._other.recv(at_most or MIB)
                except socket.timeout:
                    break
                if not data:
                    break
                received += data
            self.received = bytes(received)
            self._other.sendall(reply)
            self._other.shutdown(socket.SHUT_RDWR)
        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def send(self, data, *, sent_bytes=MIB, after=lambda: None, close=False):
        """Send it in pieces, while the caller goes on. ``after`` is waited for after each."""
        def run():
            for start in range(0, len(data), sent_bytes):
                self._other.sendall(data[start:start + sent_bytes])
                after()
            if close:
                self._other.shutdown(socket.SHUT_WR)
        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()


def head(length):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def begun(service):
    response = wire.Response(service.socket, "GET")
    response.begin()
    return response


def received(response, length, piece_bytes=256 * KIB):
    """The body, received into a buffer in pieces, and how many there were."""
    buffer, count, calls = bytearray(length), 0, 0
    view = memoryview(buffer)
    while count < length:
        got = response.readinto(view[count:count + piece_bytes])
        if not got:
            break
        count, calls = count + got, calls + 1
    return bytes(buffer[:count]), calls


@pytest.mark.parametrize("length", [
    64 * KIB - 1, 64 * KIB, 256 * KIB, 512 * KIB, 512 * KIB + 1, MIB + 7, 3 * MIB])
@pytest.mark.parametrize("sent_bytes", [1000, 64 * KIB, 4 * MIB])
def test_bodies_are_received_whole_and_the_connection_goes_on(length, sent_bytes):
    with Service() as service:
        for expected in (DATA[:length], b"after"):
            service.send(head(len(expected)) + expected, sent_bytes=sent_bytes)
            response = begun(service)
            body, calls = received(response, len(expected))
            assert body == expected
            assert calls <= length // (256 * KIB) + 5
            assert response.isclosed() and response.keeps
            assert service.socket.gettimeout() == 20
        assert service.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


class Old(socket.socket):
    """On a kernel that does not know SO_RCVLOWAT."""

    def setsockopt(self, level, option, value):
        if option == socket.SO_RCVLOWAT:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        super().setsockopt(level, option, value)


def test_bodies_are_received_where_the_kernel_cannot_wait_for_many_bytes(monkeypatch):
    monkeypatch.setattr(wire.socket, "socket", Old)
    with Service() as service:
        service.send(head(3 * MIB) + DATA)
        response = begun(service)
        assert received(response, 3 * MIB)[0] == DATA
        assert not response._may_wake_late


def test_a_body_that_is_given_up_near_its_end_is_drained():
    with Service() as service:
        service.send(head(MIB) + DATA[:MIB])
        response = begun(service)
        assert received(response, MIB - 1000)[0] == DATA[:MIB - 1000]
        response.drain()
        response.close()
        service.send(head(0))
        assert begun(service).status == 200


def test_a_body_that_breaks_off_ends_early():
    with Service() as service:
        service.send(head(2 * MIB) + DATA[:700_000], close=True)
        response = begun(service)
        assert received(response, 2 * MIB)[0] == DATA[:700_000]
        assert response.isclosed()


def test_a_service_that_falls_silent_is_a_time_out_after_what_it_has_sent():
    with Service() as service:
        service.send(head(2 * MIB) + DATA[:700_000])
        service.socket.settimeout(TIMEOUT_S)
        response = begun(service)
        assert received(response, 700_000)[0] == DATA[:700_000]
        with pytest.raises(socket.timeout):
            response.readinto(memoryview(bytearray(256 * KIB)))


def test_a_service_that_is_slow_but_sends_is_no_time_out():
    """In a time-out come fewer bytes than are waited for at once."""
    pause = threading.Event()
    with Service() as service:
        service.send(head(MIB) + DATA[:MIB], sent_bytes=100_000, after=lambda: pause.wait(TIMEOUT_S * 0.6))
        service.socket.settimeout(TIMEOUT_S)
        assert received(begun(service), MIB, MIB)[0] == DATA[:MIB]


@pytest.fixture
def staged(tmp_path):
    path = tmp_path / "staged"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        yield file


def exchanged(sock, pieces, timeout_s=20.0):
    return wire.exchange(sock, "PUT", b"PUT / HTTP/1.1\r\n\r\n", iter(pieces), chunked=False, timeout_s=timeout_s)


class Wrapped(socket.socket):
    """Not a plain socket, as those of TLS."""


@pytest.mark.parametrize("kind", [socket.socket, Wrapped])
def test_bytes_of_files_are_sent_among_others(staged, kind):
    pieces = [b"begin", FileBytes(staged.fileno(), 10, 2 * MIB + 3), b"", FileBytes(staged.fileno(), 0, 1), b"end"]
    with Service() as service:
        sock = kind(fileno=service.socket.detach())
        sock.settimeout(20)
        service.receive(reply=head(0))
        assert exchanged(sock, pieces).status == 200
        assert sock.gettimeout() == 20
        sock.close()
    assert service.received == b"PUT / HTTP/1.1\r\n\r\nbegin" + DATA[10:2 * MIB + 3] + DATA[:1] + b"end"


@pytest.mark.parametrize("kind", [socket.socket, Wrapped])
def test_a_file_that_ends_early_is_told_apart_from_a_broken_connection(staged, kind):
    with Service() as service:
        sock = kind(fileno=service.socket.detach())
        sock.settimeout(20)
        with pytest.raises(StagingFailed):
            exchanged(sock, [FileBytes(staged.fileno(), len(DATA) - 10, len(DATA) + 10)])
        sock.close()


def test_a_file_that_cannot_be_read_is_told_apart_from_a_broken_connection(staged, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(os, "sendfile", fail)
    with Service() as service, pytest.raises(StagingFailed):
        exchanged(service.socket, [FileBytes(staged.fileno(), 0, 10)])


def test_a_service_that_takes_no_more_is_a_time_out(staged):
    with Service() as service, pytest.raises(socket.timeout):
        exchanged(service.socket, [FileBytes(staged.fileno(), 0, 3 * MIB)] * 10, TIMEOUT_S)


def test_a_service_that_is_gone_has_not_got_all(staged):
    with Service() as service:
        service.receive(at_most=1000, reply=head(0))
        response = exchanged(service.socket, [FileBytes(staged.fileno(), 0, 3 * MIB)] * 10)
        assert response.status == 200 and not response.keeps
