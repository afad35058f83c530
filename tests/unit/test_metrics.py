"""Counters, latencies and the estimate of what requests cost."""

from __future__ import annotations

import gc
import random
import threading
from typing import Callable

import pytest

from cosfs.metrics import (
    Prices,
    RequestMeter,
    Ticks,
    bucket_begin_us,
    bucket_of,
    percentile_us,
)

MS = 1_000_000
"""Nanoseconds."""


def in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def answer(meter: RequestMeter, kind: str = "Head Object", *, method: str = "HEAD", status: int = 200, ms: float = 1,
           bytes_out: int = 0, repeated: bool = False) -> None:
    meter.answered(kind, method, status, int(ms * MS), bytes_out, repeated=repeated, accepted=status < 300)


def test_ticks_of_many_threads_are_all_counted_however_often_one_looks() -> None:
    ticks = Ticks()
    seen = []

    def work() -> None:
        for number in range(5000):
            ticks.add()
            if number % 1000 == 0:
                seen.append(ticks.count)

    in_threads(8, work)
    assert ticks.count == ticks.count == 40_000
    assert max(seen) <= 40_000


def test_each_latency_lies_in_its_bucket_and_buckets_are_an_eighth_wide_at_most() -> None:
    for latency in [*range(5000), 10**6, 2**31, 2**40]:
        bucket = bucket_of(latency)
        begin, end = bucket_begin_us(bucket), bucket_begin_us(bucket + 1)
        assert begin <= latency < end
        assert end - begin <= max(1, begin / 8)
        assert bucket_of(begin) == bucket


def test_percentiles_are_exact_to_an_eighth() -> None:
    seed = 7
    latencies = sorted(int(random.Random(seed).lognormvariate(9, 1)) for _ in range(10_000))
    buckets: dict[int, int] = {}
    for latency in latencies:
        buckets[bucket_of(latency)] = buckets.get(bucket_of(latency), 0) + 1
    for share in (0.5, 0.95, 0.99):
        assert percentile_us(buckets, share) == pytest.approx(latencies[int(share * 10_000)], rel=0.125)
    assert percentile_us({}, 0.5) is None


def test_requests_of_many_threads_are_counted_also_when_these_are_gone() -> None:
    meter = RequestMeter()

    def work() -> None:
        for _ in range(500):
            answer(meter)
            meter.received("Get Object", 10)

    in_threads(8, work)
    gc.collect()
    in_threads(8, work)
    told = meter.told()
    assert told["Head Object"].count == sum(told["Head Object"].latencies.values()) == 8000
    assert told["Get Object"].bytes_in == 80_000
    gc.collect()
    meter.told()
    assert len(meter._shards) == 0  # nothing is kept for threads that are gone


def test_errors_are_refusals_and_missing_answers_and_not_what_one_asks_for() -> None:
    meter = RequestMeter()
    for status in (200, 404, 412, 403, 503):
        answer(meter, status=status, repeated=status == 503)
    meter.failed("Head Object", "HEAD", sent=True, repeated=True)
    meter.failed("Head Object", "HEAD", sent=False, repeated=False)
    meter.spoiled("Head Object")
    told = meter.told()["Head Object"]
    assert (told.count, told.errors, told.retries, told.unsent) == (7, 5, 2, 1)


def test_the_estimate_knows_two_classes_and_leaves_out_what_was_never_sent() -> None:
    meter = RequestMeter()
    for _ in range(30):
        answer(meter)
    for _ in range(20):
        answer(meter, "Put Object", method="PUT")
    meter.failed("Put Object", "PUT", sent=False, repeated=False)
    assert Prices(10_000, 20_000).estimate(meter.told()) == pytest.approx(30 * 1 + 20 * 2)
