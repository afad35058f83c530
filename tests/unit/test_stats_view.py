"""The picture that ``cosfs stats`` and ``cosfs top`` show."""

from __future__ import annotations

import copy
import unicodedata
from typing import Any, Dict, List

import pytest

from cosfs.cli.stats_view import count, fit, picture, size
from cosfs.metrics import bucket_begin_us, bucket_of

LONG = "/" + "a long path " * 20


def kind(number: int, latency_us: int, **more: int) -> Dict[str, Any]:
    return {"count": number, "errors": 0, "retries": 0, "unsent": 0, "bytes_in": 0, "bytes_out": 0,
            "latencies_us": [[bucket_begin_us(bucket_of(latency_us)), number]], **more}


@pytest.fixture
def stats() -> Dict[str, Any]:
    return {
        "bucket": "examplebucket-1250000000:/some/prefix", "mount_point": "/mnt/bucket", "uptime_s": 3725.0,
        "requests": {"Get Object": kind(10, 20_000, bytes_in=10 << 20), "Put Object": kind(2, 50_000, errors=1)},
        "cost": {"estimate": 0.000012, "currency": "CNY"},
        "caches": {"metadata": {"hits": 3, "misses": 1}, "data": {"hits": 0, "misses": 0}, "disk": None},
        "memory": {"used_bytes": 64 << 20, "limit_bytes": 256 << 20},
        "staging": {"used_bytes": 3 << 20, "limit_bytes": None},
        "open_files": 4,
        "pending": {
            "uploads": [{"key": "big", "path": "/big", "size_bytes": 100 << 20, "sent_bytes": 25 << 20, "age_s": 2.0}],
            "waiting": [{"path": "/small", "size_bytes": 10, "age_s": 3.0, "failures": 0, "cause": ""}]}}


def row(lines: List[str], begin: str) -> List[str]:
    [found] = [line for line in lines if line.startswith(begin)]
    return found.split()


def test_without_an_earlier_look_all_is_since_the_beginning(stats: Dict[str, Any]) -> None:
    lines = picture(stats)
    text = "\n".join(lines)
    assert "examplebucket-1250000000:/some/prefix on /mnt/bucket, for 1:02:05" in text
    assert row(lines, "Get Object") == ["Get", "Object", "0.0", "10", "0", "0", "19ms", "20ms", "20ms"]
    assert "10.0 MiB in all" in text
    assert "cost     0.000012 CNY (an estimate, of requests alone)" in text
    assert "[#####---------------] 64.0 MiB of 256.0 MiB   open files 4" in text
    assert "3.0 MiB (no limit)" in text
    assert "metadata 75.0 %   data in memory -   disk cache off" in text
    assert "UPLOADS UNDER WAY 1   FILES WAITING 1" in text
    assert "[#####---------------] 25.0 MiB of 100.0 MiB    /big" in text
    assert row(lines, "waiting") == ["waiting", "10", "B", "for", "3", "s", "/small"]


def test_programs_that_were_kept_out_are_told_if_there_are_any(stats: Dict[str, Any]) -> None:
    assert not any("kept out" in line for line in picture(stats))
    stats["kept_out"] = {"baloo_file": 2, "updatedb": 30}
    assert "kept out updatedb 30   baloo_file 2" in picture(stats)


def test_with_an_earlier_look_rates_latencies_and_hits_are_those_since_then(stats: Dict[str, Any]) -> None:
    now = copy.deepcopy(stats)
    now["uptime_s"] += 2
    now["requests"]["Get Object"]["count"] += 4
    now["requests"]["Get Object"]["bytes_in"] += 4 << 20
    now["requests"]["Get Object"]["latencies_us"].append([bucket_begin_us(bucket_of(800_000)), 4])
    now["caches"]["metadata"]["hits"] += 5
    lines = picture(now, stats)
    assert row(lines, "Get Object") == ["Get", "Object", "2.0", "14", "0", "0", "819ms", "849ms", "851ms"]
    assert row(lines, "Put Object")[2:] == ["0.0", "2", "1", "0", "51ms", "53ms", "53ms"]  # as before
    assert "in  2.0 MiB/s (14.0 MiB in all)" in lines[1]
    assert "requests 2.0/s (16 in all)   errors 1   retries 0" in lines[2]
    assert "metadata 100.0 %" in lines[6]


def test_a_kind_that_was_not_there_before_is_shown(stats: Dict[str, Any]) -> None:
    before = copy.deepcopy(stats)
    del before["requests"]["Put Object"]
    assert row(picture(stats, before), "Put Object")[3] == "2"


@pytest.mark.parametrize("path", [LONG, "/" + "文件" * 60, "/line\nfeed\x1b[2J"])
def test_no_line_is_wider_than_80_columns_or_does_anything_to_the_terminal(stats: Dict[str, Any], path: str) -> None:
    stats["mount_point"] = stats["pending"]["uploads"][0]["path"] = stats["pending"]["waiting"][0]["path"] = path
    for counts in stats["requests"].values():
        counts.update(count=10**11, errors=10**9, retries=10**8, bytes_in=10**15, bytes_out=10**15)
    for line in picture(stats):
        assert line.isprintable()
        assert sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line) <= 80, line


def test_where_lines_are_few_uploads_keep_some_and_what_is_left_out_is_counted(stats: Dict[str, Any]) -> None:
    stats["requests"] = {f"Kind {number:02}": kind(100 - number, 1000) for number in range(14)}
    stats["pending"]["uploads"] *= 6
    assert len(picture(stats, most_lines=32)) == 32 == len(picture(stats))  # there is room for all
    lines = picture(stats, most_lines=22)
    assert len(lines) == 22
    assert lines[8:18] == [*picture(stats)[8:16], "... and 7 more", ""]
    assert lines[18:] == [*picture(stats)[24:27], "... and 5 more"]
    for most in range(32):
        assert len(picture(stats, most_lines=most)) == most


@pytest.mark.parametrize("width", [1, 3, 10, 79])
def test_a_line_is_cut_by_columns_not_by_characters(width: int) -> None:
    for text in ("a" * 100, "文件" * 30):
        shown = fit(text, width)
        assert sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in shown) in (width, width - 1)
        assert shown.endswith("...") or width < 3
    assert fit("文件", 4) == "文件"


def test_numbers_keep_short() -> None:
    assert [size(number) for number in (0, 1023, 1536, 5 << 40)] == ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
    assert [count(number) for number in (0, 999_999, 9_999_999, 10**8, 10**12)] == \
        ["0", "999,999", "9999999", "100.0M", "1000G"]
