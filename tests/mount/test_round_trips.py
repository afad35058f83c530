"""How many requests the ordinary things cost, counted in the access log of the embedded server, through the kernel.

The kernel believes no attribute and no name here (timeouts of 0 s), so each look comes to the mount: what costs no
request then costs none after the kernel's own times either.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Callable, Dict

import pytest

from tests.conftest import MountFactory
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

Spent = Callable[[], Dict[str, int]]


@pytest.fixture
def point(make_mount: MountFactory) -> Path:
    """A mount that has not looked at anything yet."""
    return make_mount("attr_timeout=0", "entry_timeout=0", "negative_timeout=0").point


@pytest.fixture
def spent(point: Path, server: CosServer) -> Spent:
    """Requests since the last call, by operation."""
    def count() -> Dict[str, int]:
        counts = Counter(row["op"] for row in server.requests())
        server.clear_requests()
        return dict(counts)

    count()
    return count


def test_lookup_of_an_unknown_name_is_a_head_and_a_list_and_absence_is_remembered(point: Path, spent: Spent) -> None:
    for _ in range(3):
        assert not (point / "nothing").exists()
    assert spent() == {"head_object": 1, "list_objects": 1}


def test_with_a_fresh_listing_a_lookup_costs_nothing(point: Path, spent: Spent, store: CosStore) -> None:
    store.put("d/a", b"x")
    os.listdir(point / "d")
    spent()
    for name in ("nothing", "nothing else"):
        assert not (point / "d" / name).exists()
    assert spent() == {}


@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize("command", ["echo x > f", "cat /etc/hostname > f", "(echo a; echo b) > f 2>&1"])
def test_a_shell_s_output_is_one_put(command: str, shell: str, point: Path, spent: Spent, store: CosStore) -> None:
    for _ in range(2):  # a new file, and one that is cut off
        subprocess.run([shell, "-c", command], cwd=point, check=True)
        assert spent().get("put_object") == 1
    assert store.body("f") == (point / "f").read_bytes() != b""


def test_an_empty_file_is_in_the_bucket_when_its_last_descriptor_is_closed(point: Path, store: CosStore) -> None:
    first = os.open(point / "f", os.O_WRONLY | os.O_CREAT)
    second, reader = os.dup(first), os.open(point / "f", os.O_RDONLY)
    os.close(reader)
    os.close(first)
    os.close(second)
    assert store.body("f") == b""
    subprocess.run(["bash", "-c", "exec 3>g 4>&3 3>&-; : >h"], cwd=point, check=True)
    assert (store.body("g"), store.body("h")) == (b"", b"")
    # each of two openings stores what it has made, whatever else the process has open
    with open(point / "k", "w"), open(point / "k", "w"):
        pass
    assert store.body("k") == b""


def test_creating_a_small_file_is_one_put(point: Path, spent: Spent) -> None:
    (point / "d").mkdir()
    spent()
    for number in range(5):
        (point / "d" / f"f{number}").write_bytes(b"hello")
    assert spent() == {"put_object": 5}


def test_reading_a_small_listed_file_is_one_get(point: Path, spent: Spent, store: CosStore) -> None:
    store.put("d/f", b"hello")
    os.listdir(point / "d")
    spent()
    assert (point / "d" / "f").read_bytes() == b"hello"
    assert spent() == {"get_object": 1}


@pytest.mark.parametrize("size", [5, 100_000, 3_000_000])
def test_reading_an_unchanged_file_again_costs_nothing(point: Path, spent: Spent, store: CosStore, size: int) -> None:
    body = os.urandom(size)
    store.put("d/f", body)
    assert (point / "d" / "f").read_bytes() == body
    spent()
    assert (point / "d" / "f").read_bytes() == body
    assert spent() == {}


@pytest.mark.parametrize("length", [3, 10])
def test_truncating_a_listed_file_is_a_get_and_a_put(point: Path, spent: Spent, store: CosStore, length: int) -> None:
    store.put("d/f", b"hello")
    os.listdir(point / "d")
    spent()
    os.truncate(point / "d" / "f", length)
    assert spent() == {"get_object": 1, "put_object": 1}
    assert store.body("d/f") == b"hello\0\0\0\0\0"[:length]


def test_emptying_a_listed_file_by_opening_it_fetches_no_content(point: Path, spent: Spent, store: CosStore) -> None:
    store.put("d/f", bytes(100_000))
    os.listdir(point / "d")
    spent()
    (point / "d" / "f").write_bytes(b"")
    assert spent() == {"head_object": 1, "put_object": 1}
    assert store.body("d/f") == b""


def test_renaming_a_file_whose_attributes_are_known_is_a_copy_and_a_delete(
        point: Path, spent: Spent, store: CosStore) -> None:
    (point / "d").mkdir()
    (point / "d" / "f").write_bytes(b"hello")
    spent()
    (point / "d" / "f").rename(point / "d" / "g")
    assert spent() == {"copy_object": 1, "delete_object": 1}
    assert store.body("d/g") == b"hello"


def test_renaming_a_listed_file_asks_for_its_headers_first(point: Path, spent: Spent, store: CosStore) -> None:
    store.put("d/f", bytes(100_000))
    os.listdir(point / "d")
    spent()
    (point / "d" / "f").rename(point / "d" / "g")
    assert spent() == {"head_object": 1, "copy_object": 1, "delete_object": 1}


def test_attributes_changed_before_close_ride_in_the_put(point: Path, spent: Spent, store: CosStore) -> None:
    (point / "d").mkdir()
    spent()
    with open(point / "d" / "f", "wb") as file:
        file.write(b"hello")
        file.flush()
        os.fchmod(file.fileno(), 0o600)
        os.utime(file.fileno(), (1, 2))
        os.setxattr(file.fileno(), "user.a", b"1")
        if os.getuid() == 0:
            os.fchown(file.fileno(), 5, 6)
    assert spent() == {"put_object": 1}
    found = os.stat(point / "d" / "f")
    assert (found.st_mode & 0o777, found.st_mtime) == (0o600, 2)
    assert store.metadata("d/f")["mtime"] == "2"


def test_attributes_changed_after_close_are_one_copy_together(point: Path, spent: Spent) -> None:
    (point / "d").mkdir()
    path = point / "d" / "f"
    path.write_bytes(b"content")
    spent()
    os.chmod(path, 0o600)
    os.chown(path, 5, 6)
    os.utime(path, ns=(1, 2))
    os.setxattr(path, "user.a", b"1")
    folder = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    assert spent() == {"copy_object": 1}
    found = path.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid, found.st_mtime_ns) == (0o600, 5, 6, 2)
