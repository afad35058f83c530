"""The data cache on disk: right bytes or none, limits that hold, and disks that fail without harm to anybody."""

import errno
import fcntl
import logging
import multiprocessing
import os
import random
import shutil
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.reading import disk_cache, disk_usage
from cosfs.reading.disk_blocks import (
    BLOCK_BYTES,
    TOUCH_S,
    Block,
    BlockFiles,
    Damaged,
    prepare_folder,
    stored_bytes,
)
from cosfs.reading.disk_cache import PAUSE_S, DiskCache
from cosfs.reading.disk_usage import Evictor, SharedCounter

KEY, ETAG = "folder/grüße-\udcff.bin", "9a4802d5c99dafe1c04da0a8e7e166bf-3"
SMALL = 1000
"""Bytes of the blocks in most tests: two pages on the disk, with the header."""
TAKEN = 4096


def content(number, size=SMALL):
    return bytes([number % 251]) * (size - 1) + b"\n"


class Clock:
    def __init__(self):
        self.now_s = 1_700_000_000.0

    def ns(self):
        return int(self.now_s * 1e9)

    def monotonic(self):
        return self.now_s


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "cache" / "blocks"
    prepare_folder(str(path))
    return path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_cache(folder, clock):
    """Makes started caches; all are closed at the end."""
    opened = []

    def make(**settings):
        cache = DiskCache(str(folder), clock_ns=clock.ns, monotonic=clock.monotonic, **settings)
        cache.start()
        opened.append(cache)
        return cache

    yield make
    for cache in opened:
        cache.close()


@pytest.fixture
def fill(open_cache):
    """``fill(numbers, **settings)``: blocks of those numbers, stored by a mount that has ended."""
    def run(numbers, *, size=SMALL, **settings):
        cache = open_cache(**settings)
        for number in numbers:
            cache.write(KEY, ETAG, number, content(number, size))
        cache.close()
    return run


def got(cache, number, *, key=KEY, etag=ETAG, size=SMALL):
    buffer = bytearray(size)
    return bytes(buffer) if cache.read(key, etag, number, memoryview(buffer)) else None


def numbers_in(cache, numbers, size=SMALL):
    found = [number for number in numbers if cache.contains(KEY, ETAG, number)]
    for number in found:
        assert got(cache, number, size=size) == content(number, size)
    return found


def block_path(folder, number=0, key=KEY, etag=ETAG):
    return BlockFiles(str(folder)).path(Block(key, etag, number))


def block_path_exists(folder, number):
    return os.path.exists(block_path(folder, number))


def taken(folder):
    """Bytes on the disk as ``du`` counts them, whole pages of each file."""
    files = [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names if name != "usage"]
    return sum(-(-os.stat(path).st_size // 4096) * 4096 for path in files)


def test_a_block_is_there_for_the_next_mount(fill, open_cache):
    fill([0, 7])

    cache = open_cache()

    assert numbers_in(cache, range(10)) == [0, 7]


def test_a_block_of_full_size_comes_back(fill, open_cache):
    fill([3], size=BLOCK_BYTES)
    assert got(open_cache(), 3, size=BLOCK_BYTES) == content(3, BLOCK_BYTES)


@pytest.mark.parametrize(("key", "etag", "number"), [
    (KEY + "x", ETAG, 0), (KEY[1:], ETAG, 0), (KEY, ETAG + "x", 0), (KEY + ETAG[0], ETAG[1:], 0), (KEY, ETAG, 1)])
def test_only_this_block_of_this_version_is_found(fill, open_cache, key, etag, number):
    fill([0])
    assert got(open_cache(), number, key=key, etag=etag) is None


def test_objects_without_an_etag_are_not_cached(open_cache, folder):
    cache = open_cache()
    cache.write(KEY, "", 0, content(0))
    cache.close()

    assert taken(folder) == 0
    assert not open_cache().contains(KEY, "", 0)


def test_files_are_for_their_user_alone(fill, folder):
    fill(range(5))

    for base, folders, names in os.walk(folder):
        assert all(stat.S_IMODE(os.stat(os.path.join(base, name)).st_mode) == 0o700 for name in folders)
        assert all(stat.S_IMODE(os.stat(os.path.join(base, name)).st_mode) == 0o600 for name in names)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def _flip(position):
    def damage(path):
        data = bytearray(Path(path).read_bytes())
        data[position] ^= 1
        Path(path).write_bytes(data)
    return damage


def _replace(path, make):
    os.unlink(path)
    make(path)


def _full_folder(path):
    os.makedirs(os.path.join(path, "sub"))
    Path(path, "sub", "file").touch()


def _append(path, data):
    with open(path, "ab") as file:
        file.write(data)


DAMAGES = {
    "magic": _flip(0),
    "index": _flip(9),
    "length": _flip(17),
    "key": _flip(30),
    "checksum": _flip(24 + len(KEY.encode("utf-8", "surrogatepass")) + len(ETAG) + 2),
    "first byte": _flip(-SMALL),
    "last byte": _flip(-1),
    "truncated": lambda path: os.truncate(path, os.stat(path).st_size - 1),
    "header only": lambda path: os.truncate(path, 30),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: _append(path, b"x"),
    "zeros": lambda path: Path(path).write_bytes(bytes(os.stat(path).st_size)),
    "text": lambda path: Path(path).write_text("a file of somebody else\n"),
    "folder": lambda path: _replace(path, os.mkdir),
    "full folder": lambda path: _replace(path, _full_folder),
    "symbolic link": lambda path: _replace(path, lambda place: os.symlink("/etc/passwd", place)),
    "fifo": lambda path: _replace(path, os.mkfifo),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_block_is_reported_removed_and_can_be_stored_again(fill, open_cache, folder, damage, expected_logs,
                                                                     caplog):
    fill([0])
    path = block_path(folder)
    DAMAGES[damage](path)
    expected_logs("damaged")
    cache = open_cache()

    assert got(cache, 0) is None
    assert not os.path.lexists(path)
    assert [record.getMessage() for record in caplog.records if path in record.getMessage()]
    assert got(cache, 0) is None
    assert len(caplog.records) == 1
    cache.close()
    fill([0])
    assert got(open_cache(), 0) == content(0)


def test_the_file_of_another_block_is_noticed(fill, open_cache, folder, expected_logs):
    fill([0, 1])
    os.replace(block_path(folder, 1), block_path(folder, 0))
    expected_logs("is the file of something else")

    assert got(open_cache(), 0) is None


def test_a_file_in_the_place_of_a_subfolder_does_no_harm(open_cache, fill, folder):
    shard = os.path.dirname(block_path(folder))
    Path(shard).touch()

    assert got(open_cache(), 0) is None
    fill([0])
    assert got(open_cache(), 0) == content(0)


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


def taken_now(folder):
    """The bytes of all blocks while mounts write and remove; the counter is locked, so none begins to write."""
    with open(folder / "usage", "ab") as usage:
        fcntl.flock(usage, fcntl.LOCK_EX)
        return counted_file(folder) * TAKEN


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


def _failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))
    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_disk_that_refuses_costs_a_warning_and_a_pause(open_cache, fill, folder, clock, monkeypatch, expected_logs,
                                                         caplog, number):
    fill([0])
    expected_logs("stores nothing for the time being: " + os.strerror(number))
    with monkeypatch.context() as patch:
        patch.setattr(BlockFiles, "write", _failing(number))
        fill([1, 2])
        cache = open_cache()
        cache.write(KEY, ETAG, 3, content(3))
        wait_until(lambda: len(caplog.records) == 2)
    cache.write(KEY, ETAG, 4, content(4))  # during the pause
    clock.now_s += PAUSE_S
    cache.write(KEY, ETAG, 5, content(5))
    assert got(cache, 0) == content(0)
    cache.close()

    assert numbers_in(open_cache(), range(6)) == [0, 5]
    assert len(caplog.records) == 2  # one for each of the two mounts
    assert counted(folder) == 2 * TAKEN


def wait_until(condition):
    """Poll; for what another thread does."""
    limit = threading.Event()
    for _ in range(2000):
        if condition():
            return
        limit.wait(0.005)
    raise AssertionError("it did not happen")


def counted(folder):
    counter = SharedCounter(str(folder), lambda: pytest.fail("the counter is not known"))
    try:
        return counter.add(0)
    finally:
        counter.close()


def test_a_full_disk_leaves_no_half_file(fill, open_cache, folder, monkeypatch, expected_logs):
    expected_logs("No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda descriptor, buffers: os.write(descriptor, buffers[0]))
        fill([0])

    assert taken(folder) == 0
    assert counted(folder) == 0


def test_a_folder_removed_while_in_use_is_made_again(open_cache, fill, folder):
    cache = open_cache(limit_bytes=10 * TAKEN)
    cache.write(KEY, ETAG, 0, content(0))
    wait_until(lambda: counted_file(folder) == 1)
    shutil.rmtree(folder.parent)

    assert got(cache, 0) is None
    for number in range(1, 30):
        cache.write(KEY, ETAG, number, content(number))
    cache.close()
    assert taken(folder) <= 10 * TAKEN
    assert len(numbers_in(open_cache(), range(30))) >= 8


def counted_file(folder):
    return sum(len(names) for base, _, names in os.walk(folder) if len(os.path.basename(base)) == 3)


def test_a_folder_is_not_made_again_on_another_disk(open_cache, folder, monkeypatch, expected_logs):
    expected_logs("the disk of the cache is not mounted")
    cache = open_cache()
    cache.write(KEY, ETAG, 0, content(0))
    wait_until(lambda: counted_file(folder) == 1)
    cache._device = -1
    shutil.rmtree(folder)
    cache.write(KEY, ETAG, 1, content(1))
    cache.close()

    assert not folder.exists()


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


def test_what_a_killed_mount_was_writing_is_cleared_away(open_cache, folder, clock):
    for name, age_s in (("old", 7200), ("young", 60)):
        path = folder / "writing" / name
        path.write_bytes(b"half a block")
        os.utime(path, (clock.now_s - age_s, clock.now_s - age_s))

    open_cache().close()

    assert os.listdir(folder / "writing") == ["young"]


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


def test_wipe_empties_it_at_the_start_and_removes_it_at_the_end(fill, open_cache, folder):
    fill([0, 1])
    cache = open_cache(wipe=True)
    cache.write(KEY, ETAG, 2, content(2))
    wait_until(lambda: cache.contains(KEY, ETAG, 2))

    assert numbers_in(cache, range(3)) == [2]
    cache.close()
    assert not folder.exists()


def test_blocks_beyond_the_queue_are_dropped_and_cost_no_wait(open_cache, folder, monkeypatch):
    gate = threading.Event()
    written = []
    monkeypatch.setattr(BlockFiles, "write", lambda *details: (gate.wait(20), written.append(details[2])))
    cache = open_cache(queue_bytes=3 * SMALL)

    for number in range(10):
        cache.write(KEY, ETAG, number, content(number))

    gate.set()
    cache.close()
    assert [block.number for block in written] == [0, 1, 2]


def _use(folder, seed, limit_bytes, rounds):
    """What a mount does: reads blocks and stores those that are not there. Ends the process if bytes are wrong."""
    numbers = random.Random(seed)
    cache = DiskCache(folder, limit_bytes=limit_bytes, queue_bytes=2 * SMALL)  # so that it is no faster than its disk
    cache.start()
    hits = 0
    for _ in range(rounds):
        number = min(numbers.randrange(100), numbers.randrange(100))
        found = got(cache, number)
        if found is None:
            cache.write(KEY, ETAG, number, content(number), wait=True)
        else:
            hits += 1
            assert found == content(number)
    cache.close()
    assert hits > 0


def test_processes_that_read_and_evict_at_once_do_each_other_no_harm(folder):
    limit = 40 * TAKEN
    spawn = multiprocessing.get_context("spawn")
    users = [spawn.Process(target=_use, args=(str(folder), seed, limit, 1500)) for seed in range(2)]
    for user in users:
        user.start()
    most = 0
    for user in users:
        while user.is_alive():
            most = max(most, taken_now(folder))
            user.join(0.002)  # the lock is not fair: the users must have a chance

    assert [user.exitcode for user in users] == [0, 0]
    assert most <= limit
    assert taken(folder) >= limit // 2
    assert counted(folder) == taken(folder)


def test_killed_processes_leave_whole_blocks_and_a_counter_that_is_not_too_low(folder, open_cache):
    limit = 40 * TAKEN
    spawn = multiprocessing.get_context("spawn")
    for seed in range(3):
        user = spawn.Process(target=_use, args=(str(folder), seed, limit, 10**9))
        user.start()
        wait_until(lambda: taken_now(folder) >= 20 * TAKEN)
        user.kill()
        user.join()

    assert taken(folder) - 3 * TAKEN <= counted(folder)  # each may have left a temporary file
    assert counted_file(folder) * TAKEN <= counted(folder)
    assert len(numbers_in(open_cache(), range(100))) >= 15


def test_who_waits_loses_no_block_to_a_slow_disk(open_cache, folder):
    cache = open_cache(queue_bytes=2 * SMALL)

    for number in range(50):
        cache.write(KEY, ETAG, number, content(number), wait=True)

    cache.close()
    assert numbers_in(open_cache(), range(50)) == list(range(50))


def test_who_waits_does_not_wait_for_ever(open_cache, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(BlockFiles, "write", lambda *_: gate.wait(20))
    monkeypatch.setattr(disk_cache, "_WAIT_S", 0.01)
    cache = open_cache(queue_bytes=SMALL)

    for number in range(3):
        cache.write(KEY, ETAG, number, content(number), wait=True)

    gate.set()


@pytest.mark.parametrize("stored", [True, False])
def test_a_discarded_block_is_gone_also_if_it_is_on_its_way(fill, open_cache, folder, stored):
    if stored:
        fill([0, 1])
    cache = DiskCache(str(folder)) if not stored else open_cache()
    if not stored:
        cache.write(KEY, ETAG, 0, content(0))
        cache.write(KEY, ETAG, 1, content(1))

    cache.discard(KEY, ETAG, 0)
    cache.discard(KEY, ETAG, 5)

    if not stored:
        cache.start()
    cache.close()
    assert numbers_in(open_cache(), range(2)) == [1]
    assert taken(folder) == TAKEN


def test_discarded_and_damaged_blocks_are_no_longer_counted(fill, open_cache, folder, expected_logs):
    fill(range(4))
    expected_logs("damaged")
    os.truncate(block_path(folder, 1), 700)
    cache = open_cache()
    cache.discard(KEY, ETAG, 0)
    assert got(cache, 1) is None
    cache.make_room(0)
    cache.write(KEY, ETAG, 4, content(4))
    cache.close()

    assert counted(folder) == taken(folder) == 3 * TAKEN


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


def test_the_caller_may_change_its_buffer_after_write(open_cache, monkeypatch):
    cache = DiskCache(open_cache()._folder)
    buffer = bytearray(content(1))
    cache.write(KEY, ETAG, 1, memoryview(buffer))
    buffer[:] = bytes(SMALL)
    cache.start()
    cache.close()

    assert got(open_cache(), 1) == content(1)


def test_after_close_nothing_is_found_or_stored(fill, open_cache, folder):
    fill([0])
    cache = open_cache()
    cache.close()
    cache.write(KEY, ETAG, 1, content(1))
    cache.make_room(1)

    assert got(cache, 0) is None
    assert not cache.contains(KEY, ETAG, 0)
    assert numbers_in(open_cache(), range(2)) == [0]


def test_prepare_folder_refuses_what_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        prepare_folder(str(tmp_path / "file" / "below"))
    os.mkdir(tmp_path / "real")
    os.symlink(tmp_path / "real", tmp_path / "link")
    with pytest.raises(NotADirectoryError):
        prepare_folder(str(tmp_path / "link"))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="another user"):
        prepare_folder(str(tmp_path / "real"))


def test_prepare_folder_shuts_others_out(tmp_path):
    os.mkdir(tmp_path / "open", 0o777)
    os.chmod(tmp_path / "open", 0o777)
    prepare_folder(str(tmp_path / "open"))
    assert stat.S_IMODE(os.stat(tmp_path / "open").st_mode) == 0o700


def test_running_out_of_descriptors_is_no_damage(fill, open_cache, folder, monkeypatch):
    fill([0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(errno.EMFILE))
        assert got(DiskCache(str(folder)), 0) is None
    assert got(open_cache(), 0) == content(0)


def test_a_disk_that_rots_is_named_a_bounded_number_of_times(fill, open_cache, folder, monkeypatch, expected_logs,
                                                             caplog):
    monkeypatch.setattr(disk_cache, "_MAX_REPORTED", 3)
    expected_logs("damaged")
    fill(range(6))
    for number in range(6):
        os.truncate(block_path(folder, number), 5)
    cache = open_cache()

    assert [got(cache, number) for number in range(6)] == [None] * 6
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 3


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


def test_damage_is_told_by_the_files_themselves(folder):
    files = BlockFiles(str(folder))
    block = Block(KEY, ETAG, 0)
    path = files.path(block)
    files.write(path, block, content(0))
    with pytest.raises(Damaged, match="bytes instead of"):
        files.read(path, block, memoryview(bytearray(SMALL + 1)))


KEYS = st.sampled_from(["a", "a/b", "b"])
ETAGS = st.sampled_from(["1", "2"])
NUMBERS = st.integers(0, 3)
STEPS = st.lists(st.one_of(
    st.tuples(st.just("write"), KEYS, ETAGS, NUMBERS, st.integers(0, 255)),
    st.tuples(st.just("read"), KEYS, ETAGS, NUMBERS, st.just(0)),
    st.tuples(st.just("damage"), KEYS, ETAGS, NUMBERS, st.integers(0, 2**32)),
    st.tuples(st.just("swap"), KEYS, ETAGS, NUMBERS, st.integers(0, 3)),
    st.tuples(st.just("remount"), KEYS, ETAGS, NUMBERS, st.just(0))), max_size=40)


def _damage(path, seed):
    size = os.stat(path).st_size
    kind, seed = seed % 3, seed // 3
    with open(path, "r+b") as file:
        if kind == 0:
            file.truncate(seed % size)
        elif kind == 1:
            file.seek(seed % size)
            byte = file.read(1)[0]
            file.seek(seed % size)
            file.write(bytes([byte ^ (1 << seed % 8)]))
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\0" * (1 + seed % 5000))


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, limit=st.sampled_from([None, 3 * TAKEN, 8 * TAKEN]))
def test_whatever_happens_to_the_files_a_read_gives_the_right_bytes_or_none(tmp_path_factory, steps, limit):
    """Against a dictionary: the first content given to a block is what a version holds."""
    folder = tmp_path_factory.mktemp("cache")
    prepare_folder(str(folder))
    truth = {}
    logging.getLogger("cosfs.reading.disk_cache").disabled = True
    cache = DiskCache(str(folder), limit_bytes=limit)
    cache.start()
    try:
        for kind, key, etag, number, extra in steps:
            name = (key, etag, number)
            path = block_path(folder, number, key, etag)
            if kind == "write":
                cache.write(key, etag, number, truth.setdefault(name, bytes([extra]) * (extra + 1)))
            elif kind == "read" and name in truth:
                found = got(cache, number, key=key, etag=etag, size=len(truth[name]))
                assert found in (None, truth[name])
            elif kind == "damage" and os.path.exists(path):
                _damage(path, extra)
            elif kind == "swap" and os.path.exists(path):
                other = block_path(folder, extra, key, etag)
                if os.path.isdir(os.path.dirname(other)):
                    os.replace(path, other)
            elif kind == "remount":
                cache.close()
                cache = DiskCache(str(folder), limit_bytes=limit)
                cache.start()
        cache.close()
        cache = DiskCache(str(folder), limit_bytes=limit)
        for (key, etag, number), expected in truth.items():
            assert got(cache, number, key=key, etag=etag, size=len(expected)) in (None, expected)
    finally:
        cache.close()
        logging.getLogger("cosfs.reading.disk_cache").disabled = False
