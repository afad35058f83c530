"""Where the log goes, and that a record is one line there, whatever the names of files in it are."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest

from cosfs import daemon
from cosfs.daemon import configure_logging, reopen_log

LOG = logging.getLogger("cosfs.x")
STRANGE = "/a\nWARNING forged\r\x1b[2J\u2028 文件 b\udcff"
SHOWN = r"/a\nWARNING forged\r\x1b[2J\u2028 文件 b\xff"


@pytest.fixture(autouse=True)
def _log_as_before(expected_logs: Callable[[str], None]) -> Iterator[None]:
    expected_logs("cosfs.x")
    log = logging.getLogger("cosfs")
    handlers, level, propagates = list(log.handlers), log.level, log.propagate
    yield
    for handler in log.handlers:
        if handler not in handlers:
            handler.close()
    log.handlers[:] = handlers
    log.setLevel(level)
    log.propagate = propagates


@pytest.fixture
def syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "log")
    monkeypatch.setattr(daemon, "SYSLOG_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(path)
        made.settimeout(10)
        yield made


def failed() -> None:
    try:
        raise ValueError(STRANGE)
    except ValueError:
        LOG.exception("read %s", "/a")


def test_in_a_file_a_record_is_one_line_whatever_is_in_its_names(tmp_path: Path) -> None:
    configure_logging(logging.INFO, str(tmp_path / "log"), foreground=False)
    LOG.warning("read %s: errno %d", STRANGE, 5)
    failed()
    lines = (tmp_path / "log").read_text(encoding="utf-8").split("\n")
    assert lines[0].endswith(f" WARNING cosfs.x: read {SHOWN}: errno 5")
    assert lines[1].endswith(" ERROR cosfs.x: read /a")
    assert lines[2].startswith("Traceback")
    assert lines[-2].endswith(r"b\udcff")


def test_the_log_goes_on_in_a_new_file_when_the_old_one_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    configure_logging(logging.INFO, str(path), foreground=False)
    LOG.warning("one")
    path.rename(tmp_path / "log.1")
    LOG.warning("two")
    reopen_log()
    LOG.warning("three %s", STRANGE)
    assert [len(file.read_text(encoding="utf-8").splitlines()) for file in (tmp_path / "log.1", path)] == [2, 1]


def test_a_mount_in_the_background_logs_to_syslog_under_its_name_and_number(syslog: socket.socket) -> None:
    configure_logging(logging.INFO, None, foreground=False)
    LOG.warning("read %s: errno %d", STRANGE, 5)
    LOG.info("fine")
    assert syslog.recv(4096).rstrip(b"\0").decode() == (
        f"<12>cosfs[{os.getpid()}]: WARNING cosfs.x: read {SHOWN}: errno 5")
    assert syslog.recv(4096).rstrip(b"\0").decode() == f"<14>cosfs[{os.getpid()}]: INFO cosfs.x: fine"


def test_a_log_in_json_bears_the_name_in_syslog_too(syslog: socket.socket) -> None:
    configure_logging(logging.INFO, None, foreground=False, as_json=True)
    failed()
    begin, _, line = syslog.recv(8192).rstrip(b"\0").decode().partition(": ")
    assert begin == f"<11>cosfs[{os.getpid()}]"
    record = json.loads(line)
    assert (record["level"], record["message"]) == ("ERROR", "read /a")
    assert record["exception"].startswith("Traceback")


def test_syslog_may_be_started_again(syslog: socket.socket, tmp_path: Path) -> None:
    configure_logging(logging.INFO, None, foreground=False)
    LOG.warning("one")
    assert b"one" in syslog.recv(4096)
    syslog.close()
    (tmp_path / "log").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "log"))
        again.settimeout(10)
        LOG.warning("two")
        assert b"two" in again.recv(4096)


def test_in_the_foreground_the_log_goes_to_standard_error(syslog: socket.socket,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as stream:
            patch.setattr(sys, "stderr", stream)
            configure_logging(logging.INFO, None, foreground=True)
            LOG.warning("read %s", STRANGE)
        with os.fdopen(reader) as lines:
            assert lines.read().endswith(f" WARNING cosfs.x: read {SHOWN}\n")
