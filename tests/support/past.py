"""A bucket that keeps versions, of any age: what tests of the past need, without waiting for it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, contextmanager
from typing import Dict, Iterator, List, Optional, Sequence

from cosfs.cos.interface import ObjectHeaders, VersionedClient, VersionMarker, VersionsPage
from tests.support.server import CosServer


def set_versioning(server: CosServer, status: str = "Enabled", *, bucket: Optional[str] = None) -> None:
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    assert server.request("PUT", "", [("versioning", "")], body, bucket=bucket)[0] == 200


@contextmanager
def versioned_server() -> Iterator[CosServer]:
    """A server whose bucket keeps versions."""
    with CosServer() as server:
        set_versioning(server)
        yield server


def _change(server: CosServer, sql: str, *values: float) -> None:
    [index] = server.directory.rglob("index.db")
    with closing(sqlite3.connect(index)) as database, database:
        database.execute(sql, values)


def grow_older(server: CosServer, seconds: float) -> None:
    """Everything in the bucket was stored so much earlier than it was; for a server of one bucket."""
    _change(server, "UPDATE object SET modified_s = modified_s - ?", seconds)


def date_latest(server: CosServer, time_s: float) -> None:
    """What was stored or deleted last has that time."""
    _change(server, "UPDATE object SET modified_s = ? WHERE seq = (SELECT max(seq) FROM object)", time_s)


class SmallPages:
    """A client whose pages of versions have a few rows."""

    def __init__(self, client: VersionedClient, rows: int) -> None:
        self._client = client
        self._rows = rows
        self.pages = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def list_object_versions(self, prefix: str, *, delimiter: str = "", marker: VersionMarker = ("", ""),
                             max_keys: int = 1000) -> VersionsPage:
        self.pages += 1
        return self._client.list_object_versions(prefix, delimiter=delimiter, marker=marker,
                                                 max_keys=min(max_keys, self._rows))


class History:
    """Puts and deletes of a few keys, ten seconds apart: ``states[n]`` is what the bucket held at ``time_of(n)``."""

    def __init__(self, server: CosServer, client: VersionedClient, keys: Sequence[str], steps: int, seed: int = 1,
                 begin_s: float = 1_700_000_000.0) -> None:
        self.begin_s = begin_s
        self.states: List[Dict[str, bytes]] = []
        self.versions: Dict[str, List[bytes]] = {key: [] for key in keys}
        """All that were put, the oldest first."""
        choose = random.Random(seed)
        now: Dict[str, bytes] = {}
        for number in range(steps):
            key = choose.choice(keys)
            if key in now and choose.random() < 0.4:
                client.delete_object(key)
                del now[key]
            else:
                now[key] = f"{number} of {key}".encode()
                client.put_object(key, now[key], headers=ObjectHeaders(metadata={"number": str(number)}))
                self.versions[key].append(now[key])
            date_latest(server, self.time_of(number))
            self.states.append(dict(now))

    def time_of(self, number: int) -> float:
        return self.begin_s + 10 * number
