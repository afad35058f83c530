"""Counters of what a mount does: requests by kind with their latencies, hits and misses of caches, programs that were
kept out, and prices.

Defined here and only here: what is counted, and how percentiles are made of it. ``cos/requester.py`` and
``cos/transport.py`` count requests, the caches their hits; the control folder (filesystem/control_files.py) and
``cosfs top`` show what was counted.

A request is counted once for each time it is sent. Its latency is the time until the head of the answer is there, the
sending of its body included, the receiving of the answer's body not. Bytes are those of bodies, counted as they arrive,
or when the answer to what was sent does.

Threading: any thread may count, and takes no lock for it: each has its own counters (requests), or a count is a single
step of the interpreter (``Ticks``). Reading adds them up, and may be some counts behind. What a thread counted outlives
it. Memory: some KiB for each thread that sends requests.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, List, Mapping, Optional

_SUB_BUCKETS = 8
"""Buckets for each doubling of the latency: a bucket is 6 to 12 % wide, and a percentile as exact as that."""
_SUB_BITS = _SUB_BUCKETS.bit_length()

_NO_ERRORS = frozenset((404, 412))
"""Answers of the service to a question that it was asked: whether there is such an object, or such a version."""

_READS = frozenset(("GET", "HEAD"))


class Ticks:
    """A count that any thread may raise by one, exactly and without a lock (25 ns): ``ticks.add()``."""

    def __init__(self) -> None:
        numbers = itertools.count()
        self.add = numbers.__next__
        self._lock = threading.Lock()
        self._looked = 0

    @property
    def count(self) -> int:
        """How often ``add`` was called; looking moves the counter on, too."""
        with self._lock:
            count = self.add() - self._looked
            self._looked += 1
        return count


class HitRate:
    """Hits and misses of one cache."""

    def __init__(self) -> None:
        self.hits = Ticks()
        self.misses = Ticks()

    def told(self) -> Dict[str, int]:
        return {"hits": self.hits.count, "misses": self.misses.count}


class Refusals:
    """How often programs were kept out of the mount, by their names; there are as many as the mount has a list of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Dict[str, int] = {}

    def add(self, program: str) -> int:
        """Count one more; returns how many there are of that program now."""
        with self._lock:
            count = self._counts[program] = self._counts.get(program, 0) + 1
            return count

    def told(self) -> Dict[str, int]:
        with self._lock:
            return dict(self._counts)


def bucket_of(latency_us: int) -> int:
    """The number of the bucket that a latency falls into."""
    shift = max(0, latency_us.bit_length() - _SUB_BITS)
    return shift * _SUB_BUCKETS + (latency_us >> shift)


def bucket_begin_us(bucket: int) -> int:
    """The least latency of a bucket, which ends where the next one begins."""
    shift = max(0, bucket // _SUB_BUCKETS - 1)
    return (bucket - shift * _SUB_BUCKETS) << shift


def percentile_us(buckets: Mapping[int, int], share: float) -> Optional[float]:
    """The latency below which that share of all lies; None when there are none. ``buckets``: counts by number."""
    total = sum(buckets.values())
    if not total:
        return None
    left = share * total
    for bucket in sorted(buckets):
        count = buckets[bucket]
        if left <= count:
            break
        left -= count
    begin, end = bucket_begin_us(bucket), bucket_begin_us(bucket + 1)
    return begin + (end - begin) * min(1.0, left / count)


class RequestCounts:
    """What was counted of one kind of request. ``unsent``: those of ``count`` for which there was no connection.

    ``errors``: without a usable answer, or refused. ``retries``: not the first sending of its call. ``latencies``: how
    many answers took how long, by ``bucket_of``.
    """

    __slots__ = ("bytes_in", "bytes_out", "count", "errors", "latencies", "latency_us", "reads", "retries", "unsent")

    def __init__(self) -> None:
        self.count = self.errors = self.retries = self.unsent = self.bytes_in = self.bytes_out = 0
        self.reads = 0
        """Those that were sent by a method that changes nothing."""
        self.latency_us = 0
        """Of all answers together."""
        self.latencies: Dict[int, int] = {}

    def add(self, other: RequestCounts) -> None:
        for name in ("count", "errors", "retries", "unsent", "bytes_in", "bytes_out", "reads", "latency_us"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for bucket, count in list(other.latencies.items()):
            self.latencies[bucket] = self.latencies.get(bucket, 0) + count


_Shard = Dict[str, RequestCounts]


class _Owner:
    """Belongs to one thread, and goes with it."""

    def __init__(self, shard: _Shard, ended: Deque[_Shard]) -> None:
        self.shard = shard
        self._ended = ended

    def __del__(self) -> None:
        self._ended.append(self.shard)


class RequestMeter:
    """Counts the requests of the clients that it was given to."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._shards: List[_Shard] = []
        self._ended: Deque[_Shard] = deque()
        """Of threads that are gone."""
        self._past: _Shard = {}

    def answered(self, kind: str, method: str, status: int, latency_ns: int, bytes_out: int, *, repeated: bool,
                 accepted: bool) -> None:
        """A request got an answer. ``accepted``: its status is no error for who asked."""
        counts = self._counts(kind)
        counts.count += 1
        counts.reads += method in _READS
        counts.bytes_out += bytes_out
        counts.retries += repeated
        if not accepted and status not in _NO_ERRORS:
            counts.errors += 1
        latency_us = latency_ns // 1000
        counts.latency_us += latency_us
        bucket = bucket_of(latency_us)
        counts.latencies[bucket] = counts.latencies.get(bucket, 0) + 1

    def failed(self, kind: str, method: str, *, sent: bool, repeated: bool) -> None:
        """A request got no answer. ``sent``: the service may have got it."""
        counts = self._counts(kind)
        counts.count += 1
        counts.reads += sent and method in _READS
        counts.unsent += not sent
        counts.errors += 1
        counts.retries += repeated

    def spoiled(self, kind: str) -> None:
        """An answer that counted as a good one turned out to be none."""
        self._counts(kind).errors += 1

    def received(self, kind: str, count: int) -> None:
        """So many bytes more of an answer's body have arrived."""
        self._counts(kind).bytes_in += count

    def told(self) -> Dict[str, RequestCounts]:
        """All that was counted until now, by kind."""
        with self._lock:
            self._fold_ended_locked()
            shards = [self._past, *self._shards]
            totals: Dict[str, RequestCounts] = {}
            for shard in shards:
                _merge(totals, shard)
        return totals

    def _counts(self, kind: str) -> RequestCounts:
        try:
            shard: _Shard = self._own.owner.shard
            return shard[kind]
        except (AttributeError, KeyError):
            return self._new_counts(kind)

    def _new_counts(self, kind: str) -> RequestCounts:
        owner: Optional[_Owner] = getattr(self._own, "owner", None)
        if owner is None:
            owner = self._own.owner = _Owner({}, self._ended)
            with self._lock:
                self._fold_ended_locked()
                self._shards.append(owner.shard)
        counts = owner.shard[kind] = RequestCounts()
        return counts

    def _fold_ended_locked(self) -> None:
        while self._ended:
            shard = self._ended.popleft()
            self._shards = [other for other in self._shards if other is not shard]
            _merge(self._past, shard)


def _merge(totals: _Shard, shard: _Shard) -> None:
    for kind, counts in list(shard.items()):
        total = totals.get(kind)
        if total is None:
            total = totals[kind] = RequestCounts()
        total.add(counts)


@dataclass(frozen=True)
class Prices:
    """What 10,000 requests cost: those that only read (GET, HEAD), and all others.

    The default is an assumption, of the order of what STANDARD storage costs: prices differ by region, storage class
    and contract, so those of one's own list are to be given (``request_price=``). Traffic, storage and retrievals come
    on top: it is an estimate.
    """

    read: float = 0.01
    write: float = 0.01
    currency: str = "CNY"

    def estimate(self, requests: Mapping[str, RequestCounts]) -> float:
        """For all that may have reached the service."""
        reads = sum(counts.reads for counts in requests.values())
        sent = sum(counts.count - counts.unsent for counts in requests.values())
        return (reads * self.read + (sent - reads) * self.write) / 10_000


DEFAULT_PRICES = Prices()


@dataclass(frozen=True)
class About:
    """Which mount it is that is counted: what the control folder tells besides counts."""

    bucket: str = ""
    mount_point: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    prices: Prices = DEFAULT_PRICES
