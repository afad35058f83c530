"""The data cache on disk (``use_cache=``), through kernel mounts: what it saves, and that it never costs a right byte.

Files are read by mounts of their own, so that neither the kernel's pages nor the mount's memory answer. A mount that
ends has stored what it read: the files here fit into the queue of blocks on their way to the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from cosfs.units import KIB, MIB
from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

SIZE = 5 * MIB + 12_345
"""Bytes of most files here: six blocks, the last one short."""

Reader = Callable[..., bytes]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cached_mount(make_mount: MountFactory, cache: Path) -> Callable[..., Mount]:
    """A mount with the cache, for a ``with`` block; ``ensure_diskfree=0``: the machine's disk is not the test's."""
    def make(*options: str) -> Mount:
        return make_mount.unstarted(f"use_cache={cache}", "ensure_diskfree=0", *options)
    return make


@pytest.fixture
def read_by_new_mount(cached_mount: Callable[..., Mount]) -> Reader:
    def read(name: str, *options: str, expected_log: str = "") -> bytes:
        with cached_mount(*options) as mount:
            if expected_log:
                mount.expect_log(expected_log)
            return (mount.point / name).read_bytes()
    return read


@pytest.fixture
def gets(server: CosServer) -> Callable[[], int]:
    """GETs of objects since the last call, but for the byte that each mount asks for when it starts."""
    def count() -> int:
        found = len([row for row in server.requests(op="get_object") if row["range"] != "bytes=0-0"])
        server.clear_requests()
        return found
    count()
    return count


def body(seed: int, size: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size)


def block_files(cache: Path) -> List[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and len(path.parent.name) == 3]


def block_bytes(cache: Path) -> int:
    """What the blocks take, also while mounts write and remove: the counter is locked, so none begins to write."""
    total = 0
    for counter in cache.glob("*/blocks-1/usage"):
        with open(counter, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for path in counter.parent.glob("???/*"):
                with suppress(FileNotFoundError):
                    total += path.stat().st_size
    return total


def test_a_second_mount_reads_without_a_get(store: CosStore, read_by_new_mount: Reader, gets: Callable[[], int],
                                            cache: Path) -> None:
    store.put("f", body(1))
    assert read_by_new_mount("f") == body(1)
    assert gets() > 0

    assert read_by_new_mount("f") == body(1)

    assert gets() == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in block_files(cache)} == {0o600}


def test_random_reads_of_a_cached_file_need_no_get(store: CosStore, read_by_new_mount: Reader, gets: Callable[[], int],
                                                   cached_mount: Callable[..., Mount]) -> None:
    store.put("f", body(2))
    assert read_by_new_mount("f") == body(2)
    gets()

    numbers = random.Random(2)
    with cached_mount() as mount, open(mount.point / "f", "rb", buffering=0) as file:
        for _ in range(50):
            offset = numbers.randrange(SIZE)
            assert os.pread(file.fileno(), 4 * KIB, offset) == body(2)[offset:offset + 4 * KIB]

    assert gets() == 0


def test_a_changed_object_is_fetched_and_its_old_version_still_known(
        store: CosStore, read_by_new_mount: Reader, gets: Callable[[], int]) -> None:
    for seed in (3, 4):
        store.put("f", body(seed))
        assert read_by_new_mount("f") == body(seed)
        assert gets() > 0
    store.put("f", body(3))

    assert read_by_new_mount("f") == body(3)

    assert gets() == 0


def test_an_object_changed_while_mounted_is_never_mixed_with_its_cached_blocks(
        store: CosStore, read_by_new_mount: Reader, cached_mount: Callable[..., Mount]) -> None:
    store.put("f", body(5))
    read_by_new_mount("f")
    with cached_mount("stat_cache_expire=0", "attr_timeout=0") as mount:
        assert (mount.point / "f").stat().st_size == SIZE
        store.put("f", body(6))
        assert (mount.point / "f").read_bytes() == body(6)


def _flip(position: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[position] ^= 0x10
        path.write_bytes(data)
    return damage


def _folder_in_place(path: Path) -> None:
    path.unlink()
    (path / "sub").mkdir(parents=True)


@pytest.mark.parametrize("damage", [
    pytest.param(_flip(3), id="bit in the header"),
    pytest.param(_flip(-4000), id="bit in the body"),
    pytest.param(lambda path: os.truncate(path, path.stat().st_size // 2), id="truncated"),
    pytest.param(lambda path: os.truncate(path, 0), id="empty"),
    pytest.param(lambda path: path.write_bytes(bytes(path.stat().st_size)), id="zeros"),
    pytest.param(lambda path: path.write_text("a file of somebody else\n"), id="foreign file"),
    pytest.param(_folder_in_place, id="folder"),
])
def test_damaged_blocks_are_noticed_fetched_again_and_stored_again(
        store: CosStore, read_by_new_mount: Reader, gets: Callable[[], int], cache: Path,
        damage: Callable[[Path], None]) -> None:
    store.put("f", body(7))
    read_by_new_mount("f")
    blocks = block_files(cache)
    assert len(blocks) == 6
    for path in random.Random(7).sample(blocks, 3):
        damage(path)
    gets()

    assert read_by_new_mount("f", expected_log="is damaged") == body(7)
    assert gets() > 0
    assert read_by_new_mount("f") == body(7)
    assert gets() == 0


def test_blocks_under_each_others_names_are_noticed(store: CosStore, read_by_new_mount: Reader, cache: Path) -> None:
    store.put("f", body(8, 4 * MIB))
    read_by_new_mount("f")
    first, second, *_ = block_files(cache)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)

    assert read_by_new_mount("f", expected_log="is damaged") == body(8, 4 * MIB)


def test_a_mount_killed_while_it_fills_the_cache_leaves_nothing_wrong(
        store: CosStore, read_by_new_mount: Reader, cached_mount: Callable[..., Mount], cache: Path) -> None:
    data = body(9, 32 * MIB)
    store.put("f", data)
    with cached_mount() as mount:
        reader = subprocess.Popen(["cat", str(mount.point / "f")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        mount.wait_for(lambda: len(block_files(cache)) >= 3, "blocks in the cache", 30)
        mount.kill()
        reader.wait(timeout=30)

    for _ in range(2):
        assert hashlib.sha256(read_by_new_mount("f")).digest() == hashlib.sha256(data).digest()


def test_two_mounts_share_a_cache_that_is_too_small_for_both(
        store: CosStore, cached_mount: Callable[..., Mount], cache: Path) -> None:
    limit = 16 * MIB
    files = {f"f{number}": body(20 + number, 3 * MIB + number) for number in range(10)}
    for name, data in files.items():
        store.put(name, data)

    def read_all(mount: Mount) -> None:
        order = random.Random(mount.root)
        for _ in range(3):
            for name in order.sample(sorted(files), len(files)):
                with open(mount.point / name, "rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    data = b"".join(iter(lambda: file.read(MIB), b""))
                assert data == files[name]

    done = threading.Event()
    sizes = [0]

    def watch() -> None:
        while not done.wait(0.01):
            sizes.append(block_bytes(cache))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ExitStack() as stack:
            mounts = [stack.enter_context(cached_mount("cache_size=16M", "memory_limit=16M")) for _ in range(2)]
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(read_all, mounts))
    finally:
        done.set()
        watcher.join()

    assert limit // 2 < max(sizes) <= limit
    assert block_bytes(cache) <= limit


def test_an_own_limit_holds_and_what_was_read_last_is_kept(
        store: CosStore, read_by_new_mount: Reader, gets: Callable[[], int], cache: Path) -> None:
    for number in range(5):
        store.put(f"f{number}", body(40 + number, 4 * MIB))
        read_by_new_mount(f"f{number}", "cache_size=16M")
        assert block_bytes(cache) <= 16 * MIB
    gets()

    assert read_by_new_mount("f4", "cache_size=16M") == body(44, 4 * MIB)

    assert gets() == 0


@pytest.fixture
def small_disk(cache: Path) -> Iterator[Path]:
    """A disk of 8 MiB under the cache's folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "cosfs-test", str(cache)], check=True, timeout=10)
    yield cache
    subprocess.run(["umount", str(cache)], check=True, timeout=10)


def test_a_disk_smaller_than_what_is_read_is_used_in_turns(store: CosStore, cached_mount: Callable[..., Mount],
                                                           small_disk: Path) -> None:
    for number in range(6):
        store.put(f"f{number}", body(50 + number))
    with cached_mount() as mount:
        for number in range(6):
            assert (mount.point / f"f{number}").read_bytes() == body(50 + number)

    assert block_bytes(small_disk) > 4 * MIB


def test_reads_go_on_while_the_disk_of_the_cache_is_full(store: CosStore, cached_mount: Callable[..., Mount],
                                                         small_disk: Path) -> None:
    store.put("f", body(60))
    with cached_mount() as mount:
        mount.expect_log("stores nothing for the time being")
        with open(small_disk / "filler", "wb", buffering=0) as filler:
            filler.write(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))
        assert (mount.point / "f").read_bytes() == body(60)
    assert mount.text().count("stores nothing for the time being") == 1


def test_a_cache_that_keeps_the_floor_free_gives_way_to_others(store: CosStore, make_mount: MountFactory,
                                                               small_disk: Path, tmp_path: Path) -> None:
    """The floor holds for both folders, so the staging folder is on the small disk, too."""
    store.put("f", body(63))
    with make_mount.unstarted(f"use_cache={small_disk}", "ensure_diskfree=4") as mount:
        assert (mount.point / "f").read_bytes() == body(63)

    disk = os.statvfs(small_disk)
    assert disk.f_bavail * disk.f_frsize >= 4 * MIB
    assert block_bytes(small_disk) > 2 * MIB


def test_reads_go_on_when_the_cache_is_deleted_under_the_mount(
        store: CosStore, cached_mount: Callable[..., Mount], read_by_new_mount: Reader, gets: Callable[[], int],
        cache: Path) -> None:
    for number in range(2):
        store.put(f"f{number}", body(70 + number))
    with cached_mount() as mount:
        assert (mount.point / "f0").read_bytes() == body(70)
        mount.wait_for(lambda: len(block_files(cache)) == 6, "blocks in the cache", 30)
        shutil.rmtree(cache)
        assert (mount.point / "f1").read_bytes() == body(71)
    gets()

    assert read_by_new_mount("f1") == body(71)

    assert gets() == 0


def test_del_cache_leaves_nothing_behind(store: CosStore, read_by_new_mount: Reader, gets: Callable[[], int],
                                         cached_mount: Callable[..., Mount], cache: Path) -> None:
    store.put("f", body(80))
    read_by_new_mount("f")
    old = block_files(cache)
    with cached_mount("del_cache") as mount:
        mount.wait_for(lambda: not any(path.exists() for path in old), "empty cache", 30)
        assert (mount.point / "f").read_bytes() == body(80)
    assert block_files(cache) == []
    assert gets() > 0


def test_objects_of_one_name_in_two_buckets_are_not_mixed(tmp_path: Path, cache: Path) -> None:
    other = "otherbucket-1250000000"
    with CosServer(buckets=[other]) as server:
        mounts = {}
        for bucket, seed in ((server.bucket, 90), (other, 91)):
            place = tmp_path / bucket
            place.mkdir()
            (server.directory / bucket).mkdir(exist_ok=True)
            mounts[seed] = Mount(server.url, bucket, place, key=(server.secret_id, server.secret_key),
                                 options=[f"use_cache={cache}", "ensure_diskfree=0"])
        for seed, mount in mounts.items():
            with mount:
                (mount.point / "f").write_bytes(body(seed))
        for _ in range(2):
            for seed, mount in mounts.items():
                mount.status = None
                with mount:
                    assert (mount.point / "f").read_bytes() == body(seed)
    assert len(list(cache.glob("*/blocks-1"))) == 2
