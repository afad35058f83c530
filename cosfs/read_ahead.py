"""How far the kernel reads ahead of a program in the files of a mount (``/sys/class/bdi/*/read_ahead_kb``).

A FUSE library can only lower what the kernel offers, 128 KiB; root can raise it in sysfs. That has to happen between
mount(2) and the answer to the kernel's first request, in which the kernel takes the lesser of both.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Optional

log = logging.getLogger(__name__)

MOUNTS = Path("/proc/self/mountinfo")
DEVICES = Path("/sys/class/bdi")

_OCTAL = re.compile(r"\\([0-7]{3})")


def raise_read_ahead(mount_point: str, wanted_bytes: int) -> bool:
    """Let the kernel read that far ahead; False, with a line in the log, where it cannot be had.

    ``mount_point``: without symbolic links. It is not touched: it may not answer yet.
    """
    device = _device(mount_point)
    if device is None:
        log.info("%s is not in %s; the kernel reads ahead as it does by default", mount_point, MOUNTS)
        return False
    try:
        (DEVICES / device / "read_ahead_kb").write_text(f"{wanted_bytes // 1024}\n")
    except OSError as exc:
        log.info("the kernel reads ahead as it does by default (%s); only root can change that", exc.strerror)
        return False
    return True


def _device(mount_point: str) -> Optional[str]:
    """MAJOR:MINOR of the mount that is on top there (proc(5))."""
    found = None
    for line in MOUNTS.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(" ")
        if len(fields) > 4 and _OCTAL.sub(lambda code: chr(int(code.group(1), 8)), fields[4]) == mount_point:
            found = fields[2]
    return found
