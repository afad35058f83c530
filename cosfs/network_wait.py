"""Waiting at boot for a network that is not there yet (option ``wait_for_network``).

Only what a network that comes later can cure is waited for: a host name that cannot be resolved, no route, a refused
connection. Nothing is asked of the service; whatever else is wrong shows in the checks that follow, at once.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from pathlib import Path
from typing import Callable, Mapping, Optional
from urllib.parse import urlsplit

from cosfs.cos.endpoint import with_scheme, without_login
from cosfs.mount_table import unescaped

log = logging.getLogger(__name__)

BOOT_WAIT_S = 30.0
"""The limit for mounts that fstab declares to need the network (``_netdev``): addresses by DHCP and a resolver take
some seconds, and systemd gives a mount 90 (DefaultTimeoutStartSec, systemd-system.conf(5))."""

_PAUSE_S = 1.0
_CONNECT_LIMIT_S = 5.0
_PORTS = {"http": 80, "https": 443}
_NOT_YET = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL,
                      errno.ECONNREFUSED))


def declared_in_fstab(mount_point: str, fstab: str = "/etc/fstab") -> bool:
    """Whether fstab(5) says ``_netdev`` of that mount point; mount.fuse(8) keeps that word to itself."""
    try:
        lines = [line.split() for line in Path(fstab).read_bytes().split(b"\n")]
    except OSError:
        return False
    return any(len(fields) > 3 and not fields[0].startswith(b"#") and b"_netdev" in fields[3].split(b",")
               and os.path.normpath(unescaped(fields[1])) == mount_point for fields in lines)


def wait_for_network(url: str, proxies: Mapping[str, str], limit_s: float, *,
                     waits: Callable[[str], object] = str,
                     clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
    """Block until the endpoint, or the proxy to it, can be connected to, or ``limit_s`` is over; logs one line.

    ``waits``: told once what is waited for. A name server that does not answer may prolong the last try.
    """
    address = proxies.get(urlsplit(url).scheme, url)
    end_s = clock() + limit_s
    told = False
    while limit_s > 0:
        reason = _missing(address)
        remaining_s = end_s - clock()
        if reason is None or remaining_s <= 0:
            return
        if not told:
            told = True
            log.warning("the network is not there yet (%s: %s); waiting for up to %g s", without_login(address),
                        reason, limit_s)
            waits(f"waiting for the network ({reason})")
        sleep(min(_PAUSE_S, remaining_s))


def _missing(address: str) -> Optional[str]:
    """Why there is no network to reach the address by; None when there is, or the reason is another."""
    parts = urlsplit(with_scheme(address))
    try:
        socket.create_connection((parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)),
                                 timeout=_CONNECT_LIMIT_S).close()
    except socket.gaierror as exc:
        return str(exc.strerror)
    except OSError as exc:
        return exc.strerror if exc.errno in _NOT_YET else None
    except ValueError:  # no name of a host, or no number of a port: of the address, or of a proxy in the environment
        return None
    return None
