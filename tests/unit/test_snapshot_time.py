"""The syntax of ``snapshot=``."""

from __future__ import annotations

import time
from typing import Iterator

import pytest

from cosfs.cli.mount import UsageError, build, scan
from cosfs.cli.snapshot_time import parse
from cosfs.config import MountConfig

NOW = 1_900_000_000.0
TEN = 1_700_000_000.0 - 800  # 2023-11-14T22:00:00Z


@pytest.fixture
def in_shanghai(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_shanghai")
@pytest.mark.parametrize(("text", "expected"), [
    ("2023-11-14T22:00:00Z", TEN), ("2023-11-14t22:00:00z", TEN), ("2023-11-14 22:00Z", TEN),
    ("2023-11-15T06:00:00+08:00", TEN), ("2023-11-14T17:00:00-0500", TEN), ("2023-11-14T22:00:00.25Z", TEN + 0.25),
    ("2023-11-15T06:00:00", TEN), ("2023-11-15 06:00", TEN), ("2023-11-15", TEN - 6 * 3600),
    ("2023-11-15Z", TEN + 2 * 3600), ("@1700000000", 1_700_000_000.0), ("@1700000000.5", 1_700_000_000.5),
    ("-90s", NOW - 90), ("-30m", NOW - 1800), ("-2h", NOW - 7200), ("-3d", NOW - 3 * 86400), ("-1W", NOW - 7 * 86400),
    ("-0s", NOW)])
def test_every_form_of_a_time(text: str, expected: float) -> None:
    assert parse(text, NOW) == expected


@pytest.mark.parametrize("text", [
    "", "yesterday", "2023", "2023-13-01", "2023-11-31", "2023-11-14T25:00", "2023-11-14T22", "22:00", "1700000000",
    "2h", "-2", "-2y", "-h", "@", "@-5", "@1e9", "+2h", "2023-11-14T22:00:00+99:00", "2023-11-14T22:00:00 UTC",
    "2031-01-01", "@1900000001", "-99999d", "1969-12-31", "0001-01-01", "2023-11-14Z\n", "２023-11-14"])
def test_what_is_no_time_or_has_not_come_yet_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, NOW)


def configured(*items: str) -> MountConfig:
    return build(scan(["examplebucket-1250000000", "/mnt", "-ourl=http://cos.ap-guangzhou.myqcloud.com", *items]))


def test_a_snapshot_is_read_only_whatever_else_is_said() -> None:
    for items in (["-osnapshot=@1700000000"], ["-orw,snapshot=@1700000000"], ["-osnapshot=@1700000000,rw"]):
        config = configured(*items)
        assert config.snapshot_s == 1_700_000_000.0
        assert config.filesystem.read_only
        assert config.fuse_options["ro"] is True


def test_a_wrong_time_is_told_with_what_is_right() -> None:
    for text in ("tomorrow", "2999-01-01"):
        with pytest.raises(UsageError, match=rf"snapshot={text} is wrong; give a time that has passed, such as 2026-"):
            configured(f"-osnapshot={text}")


def test_old_versions_can_be_left_out() -> None:
    assert configured().versions
    assert not configured("-onoversions").versions
    assert configured("-onoversions,versions").versions
