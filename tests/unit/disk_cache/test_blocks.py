"""Right bytes or none: blocks that come back, and each kind of damage."""

import logging
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.reading.disk_blocks import (
    BLOCK_BYTES,
    Block,
    BlockFiles,
    Damaged,
    prepare_folder,
)
from cosfs.reading.disk_cache import DiskCache
from tests.unit.disk_cache.folder import (
    ETAG,
    KEY,
    SMALL,
    TAKEN,
    _append,
    _flip,
    block_path,
    content,
    got,
    numbers_in,
    taken,
)


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


def _replace(path, make):
    os.unlink(path)
    make(path)


def _full_folder(path):
    os.makedirs(os.path.join(path, "sub"))
    Path(path, "sub", "file").touch()

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


def test_prepare_folder_shuts_others_out(tmp_path):
    os.mkdir(tmp_path / "open", 0o777)
    os.chmod(tmp_path / "open", 0o777)
    prepare_folder(str(tmp_path / "open"))
    assert stat.S_IMODE(os.stat(tmp_path / "open").st_mode) == 0o700


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
