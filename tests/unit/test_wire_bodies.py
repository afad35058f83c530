"""Large bodies come in few system calls, whatever the pieces in which they arrive, and end where they end."""

from __future__ import annotations

import random
import socket
import threading

import pytest

from cosfs.cos import wire
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
