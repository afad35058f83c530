"""Messages to the service manager (sd_notify(3)): ready, stopping, and a line of status.

Only a process that was started with NOTIFY_SOCKET in its environment has somebody to tell; for all others every call
here does nothing. A message that cannot be sent is logged and no failure. Never blocks.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)

VARIABLE = "NOTIFY_SOCKET"


def ready(status: str) -> None:
    """The service has started."""
    _notify("READY=1", f"STATUS={status}")


def stopping(status: str) -> None:
    """The service is about to end."""
    _notify("STOPPING=1", f"STATUS={status}")


def status(text: str, *, extend_s: float = 0) -> None:
    """``extend_s``: how much longer the present step may take, for which the manager then waits."""
    _notify(f"STATUS={text}", *([f"EXTEND_TIMEOUT_USEC={int(extend_s * 1_000_000)}"] if extend_s else []))


def _notify(*fields: str) -> None:
    address = os.environ.get(VARIABLE, "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            # a leading @ stands for the zero byte of abstract names, unix(7)
            channel.sendto("\n".join(" ".join(field.split("\n")) for field in fields).encode(errors="replace"),
                           "\0" + address[1:] if address.startswith("@") else address)
    except OSError as exc:
        log.warning("the service manager cannot be told anything at %s: %s", address, exc.strerror or exc)
