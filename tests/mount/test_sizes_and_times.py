"""What df, du and stat show of a mount."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List

import pytest

from tests.conftest import MountFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


def df(path: str, *columns: str) -> List[str]:
    command = ["df", "-B1", f"--output={','.join(columns)}", path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[1].split()


def test_df_shows_a_large_empty_disk(mounted: OsWorld) -> None:
    assert df(mounted.root, "size", "used", "avail", "pcent", "iused") == [str(1 << 53), "0", str(1 << 53), "0%", "0"]


def test_df_shows_the_size_that_is_set(make_mount: MountFactory) -> None:
    mount = make_mount("bucket_size=10G")
    assert df(mount.root, "size", "used", "avail") == [str(10 << 30), "0", str(10 << 30)]


def test_reading_moves_no_time_and_costs_nothing_for_it(mounted: OsWorld, store: CosStore, server: CosServer) -> None:
    mounted.write_file("/f", b"x" * 100_000)
    before = mounted.stat("/f")
    server.clear_requests()
    assert mounted.read_file("/f") == mounted.read_file("/f") == b"x" * 100_000
    assert {line["method"] for line in server.requests()} == {"GET"}
    after = mounted.stat("/f")
    assert (after.atime_ns, after.mtime_ns, after.ctime_ns) == (before.atime_ns, before.mtime_ns, before.ctime_ns)


def test_du_counts_the_bytes_of_the_objects(mounted: OsWorld) -> None:
    mounted.mkdir("/d")
    mounted.write_file("/d/f", b"x" * 5000)
    path = Path(mounted.root) / "d"
    done = subprocess.run(["du", "-s", "-B512", str(path)], check=True, capture_output=True, text=True)
    assert int(done.stdout.split()[0]) == 10
    assert os.stat(path / "f").st_blocks == 10
