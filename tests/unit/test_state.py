"""Where a mount keeps what outlives it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Callable

import pytest

from cosfs.state import SYSTEM_FOLDER, bucket_folder, cache_folder, default_state_folder, make_folder


def test_default_folder() -> None:
    assert default_state_folder({"XDG_STATE_HOME": "/s"}) == "/s/cosfs"
    own = SYSTEM_FOLDER if os.geteuid() == 0 else os.path.expanduser("~/.local/state/cosfs")
    assert default_state_folder({}) == own
    assert default_state_folder({"XDG_STATE_HOME": "relative"}) == own


def test_users_without_a_home_have_no_folder_named_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 5)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # of whom passwd(5) knows nothing
    assert default_state_folder({}) == "/.local/state/cosfs"


@pytest.mark.parametrize(("url", "bucket", "name"), [
    ("https://cos.ap-guangzhou.myqcloud.com", "b-125", "b-125@cos.ap-guangzhou.myqcloud.com:443"),
    ("http://127.0.0.1:9000", "b-125", "b-125@127.0.0.1:9000"),
    ("http://[::1]:9000", "b-125", "b-125@[::1]:9000"),
    ("https://COS.example", "b-125", "b-125@cos.example:443"),
    ("http://h", "../b/@x", "..%2Fb%2F%40x@h:80"),
])
def test_each_bucket_of_each_endpoint_has_its_own_folder(url: str, bucket: str, name: str) -> None:
    assert bucket_folder("/s", url, bucket) == f"/s/{name}"


def test_the_data_cache_has_a_folder_of_its_own_that_the_cpp_tool_does_not_use() -> None:
    assert cache_folder("/c", "http://h", "b-125") == "/c/b-125@h:80/blocks-1"


def test_a_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    folder = str(tmp_path / "state" / "bucket")
    assert make_folder(folder) == make_folder(folder) == folder
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, expected_logs: Callable[[str], None]) -> None:
    (tmp_path / "file").touch()
    expected_logs("nothing can be kept in .*file/bucket.*headers")
    assert make_folder(str(tmp_path / "file" / "bucket")) is None
