"""The staging area: bytes come back, limits hold, errors of the disk get their names, nothing is left behind."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest

from cosfs.errors import StagingFailed, StagingFull
from cosfs.units import GIB, KIB, MIB
from cosfs.writing.staging import StagingArea, StagingFile


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    return StagingArea(str(tmp_path / "staging"), 1000)


def on_disk(area: StagingArea) -> StagingFile:
    staged = area.open()
    staged.sync()
    return staged


def test_bytes_come_back_and_holes_take_no_space(area: StagingArea) -> None:
    staged = area.open()
    staged.write(GIB, b"far away")
    staged.write(0, b"near")
    assert staged.read(GIB, 8) == b"far away"
    assert staged.read(2, 4) == b"ar\0\0"
    assert os.fstat(staged._descriptor).st_blocks * 512 < 1 << 20
    staged.close()


def test_nothing_has_a_name(area: StagingArea) -> None:
    staged = on_disk(area)
    staged.write(0, b"secret")
    assert os.listdir(area.folder) == []
    assert os.stat(area.folder).st_mode & 0o777 == 0o700
    staged.close()


def test_syncing_a_file_with_a_name_syncs_the_name_once(area: StagingArea, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    synced: List[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    unnamed = area.open()
    unnamed.sync()
    assert synced == []
    area.use_names_in(str(tmp_path))
    named = area.open()
    named.sync()
    named.sync()
    assert synced == [str(tmp_path)]
    named.close()
    unnamed.close()


def test_limit_is_shared_and_refused_bytes_change_nothing(area: StagingArea) -> None:
    one, other = area.open(), area.open()
    one.reserve(600)
    one.settle(600)
    with pytest.raises(StagingFull):
        other.reserve(401)
    assert (other.held_bytes, area.used_bytes) == (0, 600)
    other.reserve(400)
    one.settle(100)
    assert area.used_bytes == 500
    one.clear()
    other.close()
    other.close()
    assert area.used_bytes == 0
    one.write(0, b"used on")
    assert one.read(0, 7) == b"used on"
    one.close()


def test_free_space_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area = StagingArea(str(tmp_path), None, min_free_bytes=1000)
    staged = area.open()
    real = os.statvfs(tmp_path)

    class Disk:
        f_frsize = real.f_frsize
        f_bavail = -(-5000 // real.f_frsize)

    free = Disk.f_bavail * Disk.f_frsize
    monkeypatch.setattr(os, "statvfs", lambda _: Disk)
    staged.reserve(free - 1000)
    with pytest.raises(StagingFull):
        staged.reserve(2 * free)
    staged.close()


def test_truncate_gives_space_back_but_never_lengthens(area: StagingArea) -> None:
    staged = on_disk(area)
    staged.write(0, bytes(100))
    staged.truncate(10)
    staged.truncate(1 << 60)
    assert os.fstat(staged._descriptor).st_size == 10
    staged.close()


def test_short_writes_and_reads_are_continued(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:2]], offset))
    staged = on_disk(area)
    staged.write(5, b"0123456789")
    assert staged.read(5, 10) == b"0123456789"
    staged.close()


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StagingFull), (errno.EDQUOT, StagingFull),
                                              (errno.EFBIG, StagingFull), (errno.EIO, StagingFailed)])
def test_errors_of_the_disk_get_their_names(area: StagingArea, monkeypatch: pytest.MonkeyPatch, number: int,
                                            kind: type) -> None:
    staged = on_disk(area)

    def fail(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    calls: List[Tuple[str, Callable[[], object]]] = [
        ("pwrite", lambda: staged.write(0, b"x")), ("preadv", lambda: staged.read(0, 1)),
        ("fstat", lambda: staged.truncate(0))]
    for function, call in calls:
        monkeypatch.setattr(os, function, fail)
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value.__cause__, OSError)
        monkeypatch.undo()
    staged.close()


def test_a_missing_or_unusable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StagingFailed):
        on_disk(StagingArea(str(tmp_path / "file" / "below"), 10))
    missing = tmp_path / "missing"
    staged = StagingArea(str(missing), None, min_free_bytes=1).open()
    staged.reserve(1)
    assert missing.is_dir()
    staged.close()


def test_reading_behind_the_end_and_after_close_fails(area: StagingArea) -> None:
    staged = area.open()
    staged.write(0, b"abc")
    with pytest.raises(StagingFailed):
        staged.read(0, 4)
    staged.close()
    with pytest.raises(StagingFailed):
        staged.read(0, 1)


def test_small_files_never_reach_the_disk(area: StagingArea) -> None:
    staged = area.open()
    staged.write(10, b"abc")
    staged.write(64 * KIB - 1, b"z")
    assert staged.read(9, 5) == b"\0abc\0"
    assert not staged.punch(0, 10)
    staged.close()
    assert not os.path.exists(area.folder)


def test_a_file_that_grows_goes_to_the_disk_with_all_it_has(area: StagingArea) -> None:
    staged = area.open()
    staged.write(10, b"abc")
    staged.write(64 * KIB, b"more")
    assert (staged.read(9, 5), staged.read(64 * KIB, 4)) == (b"\0abc\0", b"more")
    assert os.fstat(staged._descriptor).st_size == 64 * KIB + 4
    staged.close()


def test_memory_is_bounded_over_all_files_and_given_back(area: StagingArea) -> None:
    def fill(count: int) -> List[StagingFile]:
        files = [area.open() for _ in range(count)]
        for file in files:
            file.write(0, bytes(64 * KIB))
        return files

    files = fill(130)
    assert sum(file._descriptor < 0 for file in files) == 8 * MIB // (64 * KIB)
    for file in files[:10]:
        file.truncate(0)
    for file in files[10:20]:
        file.sync()
    for file in files[20:]:
        file.close()
    assert area._in_memory == 0
    assert all(file._descriptor < 0 for file in fill(128))
    for file in files:
        file.close()


def test_a_file_that_finds_no_place_on_the_disk_stays_as_it_is(area: StagingArea,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    staged = area.open()
    staged.write(0, b"abc")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StagingFull):
        staged.write(64 * KIB, b"more")
    assert (staged.read(0, 3), staged._descriptor) == (b"abc", -1)
    monkeypatch.undo()
    staged.write(64 * KIB, b"more")
    assert staged.read(0, 3) == b"abc"
    staged.close()


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_changes_gives_what_a_file_would(area: StagingArea, seed: int) -> None:
    rng = random.Random(seed)
    staged, expected = area.open(), bytearray()
    for _ in range(60):
        offset, data = rng.randrange(rng.choice([100, 70 * KIB])), rng.randbytes(rng.randrange(2000))
        if rng.random() < 0.2:
            staged.truncate(offset)
            del expected[offset:]
        elif rng.random() < 0.03:
            staged.sync()
        elif data:
            staged.write(offset, data)
            expected = expected.ljust(offset, b"\0")
            expected[offset:offset + len(data)] = data
        assert staged.read(0, len(expected)) == expected
    staged.close()
    assert area._in_memory == 0
