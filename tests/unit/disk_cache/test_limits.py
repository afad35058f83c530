"""The limit, the floor of free space, the counter that mounts share, and what is evicted."""

import os
import shutil
import threading

import pytest

from cosfs.reading import disk_cache, disk_usage
from cosfs.reading.disk_blocks import (
    TOUCH_S,
    Block,
    BlockFiles,
    stored_bytes,
)
from cosfs.reading.disk_usage import Evictor
from tests.unit.disk_cache.folder import (
    ETAG,
    KEY,
    SMALL,
    TAKEN,
    _append,
    _flip,
    block_path,
    content,
    counted,
    got,
    numbers_in,
    taken,
    taken_now,
    wait_until,
)


def block_path_exists(folder, number):
    return os.path.exists(block_path(folder, number))


def test_the_limit_holds_and_the_longest_unused_blocks_go(fill, open_cache, folder, clock):
    for number in range(10):
        fill([number], limit_bytes=10 * TAKEN)
        clock.now_s += 2 * TOUCH_S
    reader = open_cache()
    assert got(reader, 0)
    clock.now_s += 2 * TOUCH_S
    assert taken(folder) == 10 * TAKEN

    fill([10], limit_bytes=10 * TAKEN)

    assert numbers_in(open_cache(), range(11)) == [0, *range(2, 11)]
    assert taken(folder) == 10 * TAKEN


def test_a_smaller_limit_is_reached_with_the_next_block(fill, open_cache, folder):
    fill(range(20))
    fill([20], limit_bytes=3 * TAKEN)

    assert taken(folder) == 3 * TAKEN
    assert open_cache().contains(KEY, ETAG, 20)


def test_a_block_above_the_limit_evicts_nothing(fill, open_cache):
    fill([0], limit_bytes=2 * TAKEN)
    fill([1], limit_bytes=2 * TAKEN, size=5 * TAKEN)

    assert numbers_in(open_cache(), range(2)) == [0]


def test_a_cache_larger_than_one_sample_loses_old_blocks_and_no_recent_ones(fill, open_cache, folder, clock,
                                                                           monkeypatch):
    monkeypatch.setattr(disk_usage, "SAMPLE_FILES", 50)
    fill(range(200), limit_bytes=400 * TAKEN)
    clock.now_s += 1000
    fill(range(200, 400), limit_bytes=400 * TAKEN)
    clock.now_s += 1000

    fill(range(400, 450), limit_bytes=400 * TAKEN)

    assert taken(folder) <= 400 * TAKEN
    left = numbers_in(open_cache(), range(450))
    assert len([number for number in left if number >= 200]) >= 245
    assert len(left) >= 380


def test_blocks_of_two_mounts_together_keep_the_limit(open_cache, folder):
    caches = [open_cache(limit_bytes=30 * TAKEN) for _ in range(2)]
    most = 0
    done = threading.Event()

    def watch():
        nonlocal most
        while not done.is_set():
            most = max(most, taken_now(folder))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(300):
        caches[number % 2].write(KEY, ETAG, number, content(number))
    for cache in caches:
        cache.close()
    done.set()
    watcher.join()

    assert most <= 30 * TAKEN
    assert len(numbers_in(open_cache(), range(300))) >= 25


def test_the_floor_of_free_space_is_kept_and_old_blocks_go_for_it(fill, open_cache, folder, clock, monkeypatch):
    disk_bytes = 10 * TAKEN
    monkeypatch.setattr(disk_cache.os, "statvfs", lambda _: os.statvfs_result(
        (1, 1, 0, 0, disk_bytes - taken(folder), 0, 0, 0, 0, 255)))
    for number in range(8):
        fill([number], min_free_bytes=4 * TAKEN)
        clock.now_s += 2 * TOUCH_S

    assert [number for number in range(8) if block_path_exists(folder, number)] == list(range(2, 8))
    disk_bytes -= 2 * TAKEN
    cache = open_cache(min_free_bytes=4 * TAKEN)
    assert cache.make_room(TAKEN) == 3 * TAKEN
    assert cache.make_room(TAKEN) == 0
    assert numbers_in(cache, range(8)) == [5, 6, 7]


def test_without_room_above_the_floor_nothing_is_stored_and_it_is_said_once(open_cache, folder, expected_logs, caplog):
    expected_logs("stores nothing for the time being: less than 1152921504606846976 bytes would be left free")
    cache = open_cache(min_free_bytes=1 << 60)
    cache.write(KEY, ETAG, 0, content(0))
    cache.write(KEY, ETAG, 1, content(1))
    cache.close()

    assert len(caplog.records) == 1
    assert taken(folder) == 0


def test_the_counter_is_right_after_all_that(fill, folder):
    fill(range(40), limit_bytes=20 * TAKEN)
    assert counted(folder) == taken(folder) <= 20 * TAKEN


@pytest.mark.parametrize("damage", [
    os.unlink, lambda path: os.truncate(path, 0), lambda path: os.truncate(path, 20),
    _flip(1), _flip(-1), lambda path: path.write_bytes(bytes(52)), lambda path: _append(path, b"x")])
def test_a_counter_that_makes_no_sense_is_counted_anew(fill, folder, damage):
    fill(range(10), limit_bytes=15 * TAKEN)
    damage(folder / "usage")

    fill(range(10, 30), limit_bytes=15 * TAKEN)

    assert taken(folder) <= 15 * TAKEN


def test_a_counter_from_before_the_machine_was_started_is_counted_anew(fill, folder, monkeypatch):
    fill(range(10), limit_bytes=15 * TAKEN)
    monkeypatch.setattr(disk_usage, "_boot_id", lambda: b"1" * 36)
    for number in range(6):
        shutil.copy(block_path(folder, number), folder / "000-unknown")
        os.makedirs(folder / "000", exist_ok=True)
        os.replace(folder / "000-unknown", folder / "000" / str(number))

    fill([10], limit_bytes=15 * TAKEN)

    assert taken(folder) <= 15 * TAKEN


def test_blocks_removed_by_somebody_else_make_room(fill, open_cache, folder):
    fill(range(100), limit_bytes=100 * TAKEN)
    for number in range(100):
        os.unlink(block_path(folder, number))

    fill(range(100, 150), limit_bytes=100 * TAKEN)

    assert len(numbers_in(open_cache(), range(150))) == 50


def test_a_clock_that_was_ahead_does_not_keep_blocks_for_ever(fill, open_cache, clock):
    clock.now_s += 10**9
    fill([0], limit_bytes=3 * TAKEN)
    clock.now_s -= 10**9
    fill([1, 2, 3], limit_bytes=3 * TAKEN)

    assert numbers_in(open_cache(), range(4)) == [1, 2, 3]


def test_reading_touches_a_file_no_more_than_once_a_minute(fill, open_cache, folder, clock):
    fill([0])
    path = block_path(folder)
    cache = open_cache()
    written_ns = os.stat(path).st_mtime_ns

    clock.now_s += TOUCH_S - 1
    got(cache, 0)
    assert os.stat(path).st_mtime_ns == written_ns
    clock.now_s += 2
    got(cache, 0)
    assert os.stat(path).st_mtime_ns == clock.ns()


def test_room_is_half_of_what_the_cache_may_take(fill, open_cache, folder, monkeypatch):
    fill(range(10))
    monkeypatch.setattr(disk_cache.os, "statvfs", lambda _: os.statvfs_result(
        (1, 1, 0, 0, 14 * TAKEN, 0, 0, 0, 0, 255)))
    cache = open_cache(min_free_bytes=4 * TAKEN)
    wait_until(lambda: cache.has_room(10 * TAKEN))
    assert not cache.has_room(10 * TAKEN + 1)

    limited = open_cache(min_free_bytes=4 * TAKEN, limit_bytes=12 * TAKEN)
    wait_until(lambda: limited.has_room(6 * TAKEN))
    assert not limited.has_room(6 * TAKEN + 1)


def test_eviction_keeps_order_within_a_sample(folder, clock):
    files = BlockFiles(str(folder), clock.ns)
    for number in range(8):
        block = Block(KEY, ETAG, number)
        files.write(files.path(block), block, content(number))
        clock.now_s += 1

    freed, kept = Evictor(files).evict(3 * TAKEN - 1)

    assert (freed, kept) == (3 * TAKEN, 5 * TAKEN)
    assert stored_bytes(Block(KEY, ETAG, 0), SMALL) == TAKEN
    assert [number for number in range(8) if os.path.exists(files.path(Block(KEY, ETAG, number)))] == [3, 4, 5, 6, 7]
