"""One request on its way through the server: what was asked, by whom, and what came of it.

Handlers get a ``Call`` and give back an ``Answer``; both are defined here and only here.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

from aiohttp import web

from cosfs.server.auth import NOBODY, Grant
from cosfs.server.blobs import BlobStore, Segments
from cosfs.server.errors import ApiError
from cosfs.server.faults import Fault
from cosfs.server.store import Bucket, Store
from cosfs.server.wire import NOWHERE, Address, WireRequest

Headers = Dict[str, str]


@dataclass(frozen=True)
class Settings:
    """How the server behaves, as told on the command line.

    ``rate_bytes_s``: limit of each connection in each direction, None for none. ``latency_s`` delays the
    first byte of each answer. ``restore_s``: how long a restore of an archived object takes, ``day_s`` a day of the
    restored copy.
    """

    region: str = "ap-local"
    anonymous: bool = False
    latency_s: float = 0.0
    rate_bytes_s: Optional[float] = None
    restore_s: float = 0.0
    day_s: float = 86400.0
    control: bool = False


@dataclass
class Answer:
    """What to send. Header names are in the COS spelling; Date, Server and ids are added by answer.py.

    ``stored``: a body that is in blobs, instead of ``body``. ``head_length_bytes``: Content-Length of an
    answer without a body. ``chunked``: send the body in chunks, without Content-Length.
    """

    status: int = 200
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    stored: Optional[Tuple[BlobStore, Segments]] = None
    head_length_bytes: int = 0
    chunked: bool = False
    error_code: str = ""


@dataclass
class Call:
    """``headers``: by lower-case name in the COS spelling. ``query``: the first value of each parameter.

    ``awaits_continue``: the client holds its body back until it is told to send it.
    """

    request: web.BaseRequest
    wire: WireRequest
    settings: Settings
    store: Store
    dialect: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    request_id: str
    trace_id: str
    address: Address = NOWHERE
    op: str = "unknown"
    grant: Grant = NOBODY
    faults: Tuple[Fault, ...] = ()
    awaits_continue: bool = False
    bytes_in: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def fault(self, kind: str) -> Optional[Fault]:
        return next((fault for fault in self.faults if fault.kind == kind), None)

    @property
    def now_s(self) -> float:
        """The time by the server's clock, which a fault may have shifted."""
        return time.time() + sum(fault.seconds for fault in self.faults if fault.kind == "clock-skew")

    @property
    def bucket(self) -> Bucket:
        """Raises: ApiError NoSuchBucket."""
        return self.store.bucket(self.address.bucket or "")

    @property
    def key(self) -> str:
        return self.address.key

    @property
    def host(self) -> str:
        return self.wire.header("host") or "localhost"

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def int_query(self, name: str, default: int, largest: int) -> int:
        """A number of the query, at most ``largest``. Raises: ApiError InvalidArgument."""
        text = self.query.get(name) or str(default)
        if not text.isdecimal():
            raise ApiError("InvalidArgument", f"{name} must be a number.")
        return min(int(text), largest)


class Pace:
    """Holds a stream of bytes to a rate; without a rate it never waits."""

    _BURST_S = 0.02

    def __init__(self, rate_bytes_s: Optional[float]) -> None:
        self._rate = rate_bytes_s
        self._due_s = time.monotonic()

    async def spend(self, count: int) -> None:
        if self._rate is None:
            return
        self._due_s += count / self._rate
        delay = self._due_s - time.monotonic()
        if delay > self._BURST_S:
            await asyncio.sleep(delay)

