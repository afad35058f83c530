"""What a mount asks of the FUSE library."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from cosfs import fuse_library
from cosfs.config import ConnectionConfig, FilesystemConfig, MountConfig
from cosfs.fuse_library import find_binding
from cosfs.mount import fuse_options
from cosfs.preflight import MountError


def options(fuse: Dict[str, Any], **filesystem: Any) -> Dict[str, Any]:
    return fuse_options(MountConfig(ConnectionConfig("examplebucket-1250000000", "http://127.0.0.1:1"),
                                    FilesystemConfig(**filesystem), "/mnt", fuse_options=fuse))


@pytest.mark.parametrize(("settings", "attr", "entry", "negative"), [
    ({}, 1, 1, 1),
    ({"stat_ttl_s": 0.5, "negative_ttl_s": 0.25}, 0.5, 0.5, 0.25),
    ({"stat_ttl_s": 0, "negative_ttl_s": 5}, 0, 0, 1),
    ({"stat_ttl_s": 3600, "negative_ttl_s": 0}, 1, 1, 0),
])
def test_the_kernel_believes_for_a_second_and_no_longer_than_the_caches(
        settings: Dict[str, Any], attr: float, entry: float, negative: float) -> None:
    made = options({}, **settings)
    assert (made["attr_timeout"], made["entry_timeout"], made["negative_timeout"]) == (attr, entry, negative)


def test_what_the_user_says_counts() -> None:
    assert options({"attr_timeout": 7.0}, stat_ttl_s=0)["attr_timeout"] == 7.0


def test_without_both_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise ImportError("No module named 'fuse'")

    monkeypatch.setattr(fuse_library, "_fusepy", missing)
    monkeypatch.setattr(fuse_library, "_mfusepy", missing)
    with pytest.raises(MountError, match=r"pip install fusepy.*apt-get install libfuse2.*or else.*\[fuse3\]"):
        find_binding()
