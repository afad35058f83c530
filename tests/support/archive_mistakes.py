"""The mistakes of docs/TROUBLESHOOTING.md with archived files; imported for what it registers in mistakes.py."""

from __future__ import annotations

import re
import time

import pytest

from cosfs.cos.interface import ObjectHeaders
from tests.support.desk import LIMIT_S, Desk
from tests.support.mistakes import Provoked, mistake
from tests.support.server import bucket_client


@mistake("archived file opened")
def _(desk: Desk) -> Provoked:
    """Its line is in the log."""
    client = bucket_client(desk.server)
    client.put_object("archived/f", b"cold", headers=ObjectHeaders(storage_class="ARCHIVE"))
    client.close()
    log = desk.folder / "log"
    desk.mount(f"logfile={log}", bucket=f"{desk.server.bucket}:/archived")
    path = desk.point / "f"
    with pytest.raises(PermissionError):
        path.read_bytes()
    limit = time.monotonic() + LIMIT_S
    while not (lines := re.findall(r"WARNING \S+?:? (/f .*)", log.read_text() if log.exists() else "")):
        assert time.monotonic() < limit, "nothing is logged"
        time.sleep(0.02)
    [line] = lines
    return line, {"path": "/f (key archived/f)", "class": "ARCHIVE", "file": str(path)}


@mistake("folder to be restored")
def _(desk: Desk) -> Provoked:
    desk.mount()
    return desk.complaint("restore", str(desk.point)), {"folder": str(desk.point)}


@mistake("restore without a mount")
def _(desk: Desk) -> Provoked:
    return desk.complaint("restore", str(desk.passwd)), {"file": str(desk.passwd)}
