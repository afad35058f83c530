"""The page for Prometheus, as text."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any, Dict, List

import pytest

from cosfs.exposition import exposition, served
from cosfs.metrics import bucket_begin_us, bucket_of


def stats(**changes: Any) -> Dict[str, Any]:
    counts = {"count": 3, "errors": 1, "retries": 0, "unsent": 1, "bytes_in": 10**13, "bytes_out": 0, "seconds": 2.5,
              "latencies_us": [[bucket_begin_us(bucket_of(1990)), 1], [bucket_begin_us(bucket_of(2_490_000)), 1]]}
    return {"requests": {"Get Object": counts}, "caches": {"metadata": {"hits": 1, "misses": 2}, "disk": None},
            "memory": {"used_bytes": 1, "limit_bytes": 2}, "staging": {"used_bytes": 1, "limit_bytes": None},
            "open_files": 0, "uptime_s": 12_345_678.125, "pending": {"uploads": [], "waiting": []},
            "cost": {"estimate": 0.0, "currency": "CNY"}, "kept_out": {"updatedb": 2}, **changes}


def lines(begin: str, **changes: Any) -> List[str]:
    return [line for line in exposition(stats(**changes)).splitlines() if line.startswith(begin)]


def test_numbers_keep_their_digits_and_what_has_no_limit_no_line() -> None:
    assert lines("cosfs_uptime_seconds") == ["cosfs_uptime_seconds 12345678.125"]
    assert lines("cosfs_received_bytes_total") == ['cosfs_received_bytes_total{kind="Get Object"} 10000000000000']
    assert lines("cosfs_staging_limit_bytes") == lines('cosfs_cache_hits_total{cache="disk"}') == []


def test_a_histogram_grows_from_bound_to_bound_up_to_the_number_of_answers() -> None:
    buckets = lines("cosfs_request_seconds_bucket")
    assert buckets[0] == 'cosfs_request_seconds_bucket{kind="Get Object",le="0.001"} 0'
    assert [int(line.rpartition(" ")[2]) for line in buckets] == [0] + 10 * [1] + 4 * [2]
    assert lines("cosfs_request_seconds_count") == ['cosfs_request_seconds_count{kind="Get Object"} 2']
    assert lines("cosfs_request_seconds_sum") == ['cosfs_request_seconds_sum{kind="Get Object"} 2.500000']


def test_values_of_labels_are_escaped() -> None:
    assert lines("cosfs_estimated_cost", cost={"estimate": 1.5, "currency": 'a"b\\c\nd'}) == [
        r'cosfs_estimated_cost{currency="a\"b\\c\nd"} 1.5']


def test_what_did_not_open_is_counted_by_program() -> None:
    assert lines("cosfs_kept_out_total") == ['cosfs_kept_out_total{program="updatedb"} 2']


def test_each_family_is_described_once_before_its_samples() -> None:
    seen: List[str] = []
    for line in exposition(stats()).splitlines():
        words = line.split()
        if words[0] == "#":
            assert words[1] == ("TYPE" if seen and seen[-1] == words[2] else "HELP"), line
            seen.append(words[2])
        else:
            assert line.startswith(seen[-1]), line
    assert len(seen) == 2 * len(set(seen))


def test_no_name_server_is_asked_when_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("a name was asked for")

    monkeypatch.setattr(socket, "getfqdn", asked)
    monkeypatch.setattr(socket, "gethostbyaddr", asked)
    with served(("0.0.0.0", 0), stats) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.read().decode() == exposition(stats())
