"""What many small files cost on a real mount: requests of the ordinary tools, and how many are under way at once."""

from __future__ import annotations

import io
import os
import random
import sqlite3
import subprocess
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from cosfs.cos.interface import ObjectHeaders
from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.server import CosServer, bucket_client

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

FILES = 200
LATENCY_MS = 20
HEADERS = ObjectHeaders(metadata={"mode": "33188", "uid": "0", "gid": "0", "mtime": "1700000000"})


@pytest.fixture(scope="module")
def slow_server() -> Iterator[CosServer]:
    """A server of the module's own, as far away as a real one, with a tree of small files."""
    with CosServer(latency_ms=LATENCY_MS) as server:
        client = bucket_client(server)
        chance = random.Random(1)
        bodies = {f"tree/d{number % 4}/f{number:04d}": chance.randbytes(chance.randint(100, 60_000))
                  for number in range(FILES)}
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda item: client.put_object(item[0], item[1], headers=HEADERS), bodies.items()))
        client.close()
        yield server


@pytest.fixture
def mount(slow_server: CosServer, tmp_path: Path) -> Iterator[Mount]:
    factory = MountFactory(slow_server, "", tmp_path)
    yield factory("stat_cache_expire=600")  # however slow the machine is that tests
    factory.close()


@pytest.fixture
def rows(mount: Mount, slow_server: CosServer) -> Callable[[], List[Dict[str, Any]]]:
    """The requests since the last call."""
    def read() -> List[Dict[str, Any]]:
        found = slow_server.requests()
        slow_server.clear_requests()
        return found

    read()
    return read


def spent(rows: List[Dict[str, Any]]) -> Dict[str, int]:
    return dict(Counter(row["op"] for row in rows))


def at_once(rows: List[Dict[str, Any]]) -> int:
    """The most requests that were under way at a time."""
    steps: List[Tuple[float, int]] = []
    for row in rows:
        steps += [(row["time"] - row["ms"] / 1000, 1), (row["time"], -1)]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def run(*command: object) -> bytes:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=50).stdout


def shell(text: str) -> bytes:
    return run("sh", "-c", text)


@pytest.mark.parametrize("command", [
    "cat {tree}/d0/* {tree}/d1/* {tree}/d2/* {tree}/d3/*",
    "grep -r -a nothing-has-this {tree} || true",
    "tar -c -f - -C {tree} . | cat > {other}/archive",
    "cp -r {tree} {other}/copy",
])
def test_tools_fetch_each_file_of_a_tree_once_and_many_at_a_time(
        mount: Mount, rows: Callable[[], List[Dict[str, Any]]], tmp_path: Path, command: str) -> None:
    shell(command.format(tree=mount.point / "tree", other=tmp_path))
    requests = rows()
    fetched = Counter(row["key"] for row in requests if row["op"] == "get_object")
    assert len(fetched) == FILES
    # Each once, where the machine is not so busy that a window takes 2 s.
    assert sum(fetched.values()) <= FILES + FILES // 4
    assert len(requests) - sum(fetched.values()) <= 20, spent(requests)
    assert at_once(requests) >= 8


def test_eight_readers_have_eight_requests_under_way(mount: Mount, rows: Callable[[], List[Dict[str, Any]]]) -> None:
    paths = sorted((mount.point / "tree").glob("d*/*"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Path.read_bytes, paths))
    requests = rows()
    assert spent(requests)["get_object"] == FILES
    assert at_once([row for row in requests if row["op"] == "get_object"]) >= 8


def test_eight_writers_have_eight_requests_under_way_and_need_no_others(
        mount: Mount, rows: Callable[[], List[Dict[str, Any]]]) -> None:
    (mount.point / "new8").mkdir()
    rows()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (mount.point / f"new8/f{number}").write_bytes(bytes(4096)), range(FILES)))
    requests = rows()
    assert spent(requests) == {"put_object": FILES}
    assert at_once(requests) >= 8


def test_untar_costs_one_put_for_each_member_and_tar_back_nothing(
        mount: Mount, rows: Callable[[], List[Dict[str, Any]]], tmp_path: Path) -> None:
    chance = random.Random(2)
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        for number in range(FILES):
            member = tarfile.TarInfo(f"untar/d{number % 10}/f{number:04d}")
            member.size, member.mtime, member.mode = chance.randint(1, 60_000), 1_700_000_000 + number, 0o640
            archive.addfile(member, io.BytesIO(chance.randbytes(member.size)))
    run("tar", "-x", "-f", tmp_path / "in.tar", "-C", mount.point)
    requests = rows()
    assert spent(requests).pop("put_object") == FILES + 11
    assert len(requests) <= FILES + 11 + 4
    run("tar", "-c", "-f", tmp_path / "out.tar", "-C", mount.point, "untar")
    assert set(spent(rows())) <= {"list_objects"}
    with tarfile.open(tmp_path / "in.tar") as before, tarfile.open(tmp_path / "out.tar") as after:
        for member in before:
            back = after.getmember(member.name)
            assert (back.mtime, back.mode & 0o777) == (member.mtime, 0o640)
            assert after.extractfile(back).read() == before.extractfile(member).read()  # type: ignore[union-attr]


def test_files_that_are_replaced_by_renaming_cost_three_requests_at_most(
        mount: Mount, rows: Callable[[], List[Dict[str, Any]]]) -> None:
    for number in range(10):
        (mount.point / "config.lock").write_bytes(b"%d" % number)
        os.rename(mount.point / "config.lock", mount.point / "config")
        assert (mount.point / "config").read_bytes() == b"%d" % number
    mount.world().fsyncdir("/")
    requests = spent(rows())
    assert (requests["put_object"], requests["copy_object"], requests.get("get_object", 0)) == (10, 10, 0)
    assert requests["delete_object"] + requests.get("delete_objects", 0) <= 10  # fewer where a cycle takes under 100 ms


def test_database_transactions_cost_three_puts_each(mount: Mount, rows: Callable[[], List[Dict[str, Any]]]) -> None:
    database = sqlite3.connect(mount.point / "lab.db")
    database.execute("create table t (body text)")
    rows()
    for number in range(10):
        with database:
            database.execute("insert into t values (?)", (str(number),))
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()
    requests = spent(rows())
    assert requests.pop("put_object") == 30
    assert sum(requests.values()) <= 35, requests  # 15 where a transaction takes under 100 ms
