"""What the files of the control folder say, without a filesystem."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import pytest

from cosfs.config import Conflict
from cosfs.errors import InvalidArgument
from cosfs.filesystem.control_files import ControlFiles, pending_lines, shown_settings
from cosfs.log_levels import NAMES, current_level, cycle_level, set_level
from cosfs.metrics import About, RequestMeter


@dataclass(frozen=True)
class Inner:
    secret_key: str = "hidden-1"
    session_token: Optional[str] = None
    verify: bool = True


@dataclass(frozen=True)
class Settings:
    inner: Inner = field(default_factory=Inner)
    password: str = "hidden-2"
    sse: str = "hidden-3"
    customer_key: bytes = b"hidden-4"
    raw: bytes = b"hidden-5"
    passwd_file: str = "/etc/passwd-cosfs"
    conflict: Conflict = Conflict.FAIL
    umask: int = 0o27
    folder: Path = Path("/tmp")
    parts: Mapping[str, int] = field(default_factory=lambda: {"a": 1})
    nothing: Optional[int] = None


def test_settings_that_may_be_secret_are_not_shown() -> None:
    shown = shown_settings(Settings())
    assert "hidden" not in json.dumps(shown)
    assert shown == {
        "inner": {"secret_key": "***", "session_token": None, "verify": True}, "password": "***", "sse": "***",
        "customer_key": "***", "raw": "***", "passwd_file": "/etc/passwd-cosfs", "conflict": "fail", "umask": "0027",
        "folder": "/tmp", "parts": {"a": 1}, "nothing": None}


@pytest.fixture
def refreshed() -> List[str]:
    return []


@pytest.fixture
def files(refreshed: List[str]) -> ControlFiles:
    def status() -> Dict[str, Any]:
        return {"pending": {"uploads": [], "waiting": []}}
    return ControlFiles(status, refreshed.append, RequestMeter(), About())


@pytest.mark.parametrize(("text", "paths"), [
    ("/\n", ["/"]), ("/a/b", ["/a/b"]), ("a\n/b/\n", ["/a", "/b"]), ("//a/./b/..", ["/a"]), ("/ä \n", ["/ä "]),
    ("../../a", ["/a"])])
def test_refresh_takes_one_path_a_line(files: ControlFiles, refreshed: List[str], text: str, paths: List[str]) -> None:
    files.command("refresh", text)
    assert refreshed == paths


@pytest.mark.parametrize("text", ["", "\n", "/a\n\n/b\n"])
def test_refresh_of_no_path_is_refused(files: ControlFiles, text: str) -> None:
    with pytest.raises(InvalidArgument, match="no path"):
        files.command("refresh", text)


def test_nothing_pending_is_an_empty_file(files: ControlFiles) -> None:
    assert files.content("pending") == b""


def test_pending_is_one_line_each_whatever_the_names_are() -> None:
    lines = pending_lines({
        "uploads": [{"path": None, "key": "a\nb\udcff", "size_bytes": None, "sent_bytes": 5, "age_s": 2.0},
                    {"path": "/c", "key": "c", "size_bytes": 200, "sent_bytes": 50, "age_s": 1.0}],
        "waiting": [{"path": "/d", "size_bytes": 7, "age_s": 3.0, "failures": 2, "cause": "NetworkError "}]})
    assert lines == ["uploading a\\nb\\xff: 5 bytes, for 2 s", "uploading /c: 50 of 200 bytes (25 %), for 1 s",
                     "waiting /d: 7 bytes, for 3 s, failed 2 times: NetworkError"]


def test_the_level_goes_round() -> None:
    logger = logging.getLogger("cosfs")
    before = logger.level
    try:
        set_level("SILENT")
        seen = []
        for _ in range(7):
            seen.append(current_level())
            cycle_level()
        assert seen == [*NAMES, "crit"]
        logger.setLevel(25)  # warnings are the least that it lets through
        assert current_level() == "warn"
    finally:
        logger.setLevel(before)
