"""TLS in front of a server that has none: each connection is taken off its encryption and carried on.

It runs in threads of the test's process. Its certificate is for another host, and signed by nobody.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Optional, Tuple, Type

CERTIFICATE = Path(__file__).parent.parent / "data" / "self-signed-other.example.pem"


class TlsFront:
    """Use it in a ``with`` block. ``address``: host and port of the server."""

    def __init__(self, address: Tuple[str, int]) -> None:
        self._address = address
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATE)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> TlsFront:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, self._context.wrap_socket(connection, server_side=True) as client, \
                socket.create_connection(self._address) as server:
            answers = threading.Thread(target=_carry, args=(server, client), daemon=True)
            answers.start()
            _carry(client, server)
            answers.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Until the source, or the target, is closed; the target is told then."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
