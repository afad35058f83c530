"""Disks that fail or are slow, processes that are killed, and several at once."""

import errno
import logging
import multiprocessing
import os
import random
import shutil
import threading

import pytest

from cosfs.reading import disk_cache
from cosfs.reading.disk_blocks import (
    BlockFiles,
    prepare_folder,
)
from cosfs.reading.disk_cache import PAUSE_S, DiskCache
from tests.unit.disk_cache.folder import (
    ETAG,
    KEY,
    SMALL,
    TAKEN,
    block_path,
    content,
    counted,
    counted_file,
    got,
    numbers_in,
    taken,
    taken_now,
    wait_until,
)


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


def test_what_a_killed_mount_was_writing_is_cleared_away(open_cache, folder, clock):
    for name, age_s in (("old", 7200), ("young", 60)):
        path = folder / "writing" / name
        path.write_bytes(b"half a block")
        os.utime(path, (clock.now_s - age_s, clock.now_s - age_s))

    open_cache().close()

    assert os.listdir(folder / "writing") == ["young"]


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
