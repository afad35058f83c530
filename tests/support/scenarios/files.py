"""Contents of regular files: open flags, reads and writes anywhere, holes, append, truncation."""

from __future__ import annotations

import errno
import os
import random

from tests.support.scenarios import refused, scenario
from tests.support.stores import Store
from tests.support.worlds import World

CREATE = os.O_WRONLY | os.O_CREAT


def pattern(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@scenario()
def test_file_written_and_read_back(w: World, store: Store) -> None:
    w.write_file("/f", b"hello")
    assert w.read_file("/f") == b"hello"
    assert w.stat("/f").size == 5


@scenario()
def test_empty_file_is_an_empty_object(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    assert w.read_file("/f") == b""
    assert store.body("f") == b""


@scenario()
def test_open_of_a_missing_file_is_enoent(w: World, store: Store) -> None:
    with refused(errno.ENOENT):
        w.open("/missing", os.O_RDONLY)
    with refused(errno.ENOENT):
        w.open("/missing", os.O_WRONLY)
    with refused(errno.ENOENT):
        w.open("/missing/below", CREATE)


@scenario()
def test_open_below_a_file_is_enotdir(w: World, store: Store) -> None:
    w.write_file("/f", b"x")
    with refused(errno.ENOTDIR):
        w.stat("/f/below")
    with refused(errno.ENOTDIR):
        w.open("/f/below", CREATE)


@scenario("directories")
def test_open_of_a_directory_for_writing_is_eisdir(w: World, store: Store) -> None:
    w.mkdir("/d")
    for flags in (os.O_WRONLY, os.O_RDWR, CREATE, os.O_RDONLY | os.O_CREAT):
        with refused(errno.EISDIR):
            w.open("/d", flags)


@scenario()
def test_create_then_read_only_reaches_the_bucket(w: World, store: Store) -> None:
    w.close(w.open("/f", os.O_RDONLY | os.O_CREAT, 0o640))
    assert store.body("f") == b""
    assert w.stat("/f").permissions == 0o640


@scenario()
def test_exclusive_create_of_an_existing_file_is_eexist(w: World, store: Store) -> None:
    w.write_file("/f", b"keep")
    with refused(errno.EEXIST):
        w.open("/f", CREATE | os.O_EXCL)
    assert w.read_file("/f") == b"keep"
    w.close(w.open("/g", CREATE | os.O_EXCL))
    assert w.stat("/g").size == 0


@scenario()
def test_open_with_truncation_empties_the_file(w: World, store: Store) -> None:
    w.write_file("/f", b"old content")
    handle = w.open("/f", os.O_RDWR | os.O_TRUNC)
    assert w.fstat(handle).size == 0
    assert w.stat("/f").size == 0
    assert w.pread(handle, 10, 0) == b""
    w.close(handle)
    assert store.body("f") == b""


@scenario()
def test_truncating_open_then_write_replaces_the_content(w: World, store: Store) -> None:
    w.write_file("/f", b"old content")
    w.write_file("/f", b"new")
    assert w.read_file("/f") == b"new"
    assert store.body("f") == b"new"


@scenario()
def test_opening_for_writing_without_a_write_changes_nothing(w: World, store: Store) -> None:
    w.write_file("/f", b"content")
    before = w.stat("/f")
    w.close(w.open("/f", os.O_RDWR))
    assert w.stat("/f") == before
    assert store.body("f") == b"content"


@scenario()
def test_appended_bytes_go_to_the_end(w: World, store: Store) -> None:
    w.write_file("/f", b"one")
    with w.opened("/f", os.O_WRONLY | os.O_APPEND) as handle:
        w.append(handle, b" two")
        w.append(handle, b" three")
        assert w.fstat(handle).size == 13
    assert w.read_file("/f") == b"one two three"
    assert store.body("f") == b"one two three"


@scenario()
def test_append_creates_a_missing_file(w: World, store: Store) -> None:
    with w.opened("/f", CREATE | os.O_APPEND) as handle:
        w.append(handle, b"first")
    assert store.body("f") == b"first"


@scenario()
def test_two_appenders_lose_nothing(w: World, store: Store) -> None:
    first = w.open("/f", CREATE | os.O_APPEND)
    second = w.open("/f", os.O_WRONLY | os.O_APPEND)
    for number in range(6):
        w.append(first if number % 2 else second, b"%d" % number)
    w.close(first)
    w.close(second)
    assert w.read_file("/f") == b"012345"
    assert store.body("f") == b"012345"


@scenario()
def test_write_into_the_middle_keeps_the_rest(w: World, store: Store) -> None:
    data = bytearray(pattern(300_000))
    w.write_file("/f", bytes(data))
    with w.opened("/f", os.O_WRONLY) as handle:
        w.write_all(handle, b"middle", 150_000)
    data[150_000:150_006] = b"middle"
    assert w.read_file("/f") == bytes(data)
    assert store.body("f") == bytes(data)


@scenario()
def test_write_past_the_end_leaves_a_hole_of_zeros(w: World, store: Store) -> None:
    w.write_file("/f", b"ab")
    with w.opened("/f", os.O_RDWR) as handle:
        w.write_all(handle, b"yz", 100_000)
        assert w.fstat(handle).size == 100_002
        assert w.pread(handle, 4, 1) == b"b\0\0\0"
    expected = b"ab" + bytes(99_998) + b"yz"
    assert w.read_file("/f") == expected
    assert store.body("f") == expected


@scenario()
def test_new_file_may_begin_with_a_hole(w: World, store: Store) -> None:
    with w.opened("/f", CREATE) as handle:
        w.write_all(handle, b"end", 4096)
    assert w.read_file("/f") == bytes(4096) + b"end"
    assert store.body("f") == bytes(4096) + b"end"


@scenario()
def test_written_bytes_are_read_back_before_close(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, b"0123456789", 0)
    assert w.pread(handle, 4, 3) == b"3456"
    w.write_all(handle, b"XY", 4)
    assert w.pread(handle, 100, 0) == b"0123XY6789"
    other = w.open("/f", os.O_RDONLY)
    assert w.pread(other, 100, 0) == b"0123XY6789"
    w.close(other)
    w.close(handle)


@scenario()
def test_backward_writes_make_the_same_file(w: World, store: Store) -> None:
    data = pattern(200_000, 2)
    with w.opened("/f", CREATE) as handle:
        for start in range(190_000, -1, -10_000):
            w.write_all(handle, data[start:start + 10_000], start)
    assert w.read_file("/f") == data
    assert store.body("f") == data


@scenario()
def test_scattered_writes_with_reopening_match_a_byte_array(w: World, store: Store) -> None:
    random_numbers = random.Random(7)
    model = bytearray()
    w.write_file("/f", b"")
    for _ in range(12):
        with w.opened("/f", os.O_RDWR) as handle:
            for _ in range(6):
                offset, size = random_numbers.randrange(60_000), random_numbers.randrange(1, 9_000)
                data = random_numbers.randbytes(size)
                if random_numbers.random() < 0.2:
                    model[offset:] = bytes(max(0, offset - len(model)))
                    w.ftruncate(handle, offset)
                    assert w.fstat(handle).size == offset
                else:
                    model.extend(bytes(max(0, offset + size - len(model))))
                    model[offset:offset + size] = data
                    w.write_all(handle, data, offset)
                start = random_numbers.randrange(70_000)
                assert w.pread(handle, 5_000, start) == bytes(model[start:start + 5_000])
        assert w.read_file("/f") == bytes(model)
        assert store.body("f") == bytes(model)


@scenario()
def test_read_at_and_past_the_end_is_empty(w: World, store: Store) -> None:
    w.write_file("/f", b"12345")
    with w.opened("/f", os.O_RDONLY) as handle:
        assert w.pread(handle, 10, 5) == b""
        assert w.pread(handle, 10, 10**12) == b""
        assert w.pread(handle, 10, 3) == b"45"


@scenario()
def test_truncate_by_path_shows_at_once_and_in_the_bucket(w: World, store: Store) -> None:
    w.write_file("/f", b"0123456789")
    w.truncate("/f", 4)
    assert w.stat("/f").size == 4
    assert store.body("f") == b"0123"
    w.truncate("/f", 7)
    assert w.stat("/f").size == 7
    assert w.read_file("/f") == b"0123\0\0\0"
    assert store.body("f") == b"0123\0\0\0"
    w.truncate("/f", 0)
    assert store.body("f") == b""


@scenario()
def test_truncate_of_what_is_no_file(w: World, store: Store) -> None:
    with refused(errno.ENOENT):
        w.truncate("/missing", 1)
    assert not w.exists("/missing")


@scenario()
def test_truncate_by_handle_shows_at_once(w: World, store: Store) -> None:
    w.write_file("/f", b"0123456789")
    with w.opened("/f", os.O_RDWR) as handle:
        w.ftruncate(handle, 3)
        assert w.fstat(handle).size == 3
        assert w.stat("/f").size == 3
        w.ftruncate(handle, 6)
        assert w.fstat(handle).size == 6
        assert w.pread(handle, 10, 0) == b"012\0\0\0"
    assert store.body("f") == b"012\0\0\0"


@scenario()
def test_truncate_by_path_reaches_an_open_handle(w: World, store: Store) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, b"0123456789", 0)
    w.truncate("/f", 2)
    assert w.fstat(handle).size == 2
    assert w.pread(handle, 10, 0) == b"01"
    w.write_all(handle, b"Z", 2)
    w.close(handle)
    assert store.body("f") == b"01Z"


@scenario()
def test_truncated_tail_does_not_come_back(w: World, store: Store) -> None:
    w.write_file("/f", b"secret tail")
    with w.opened("/f", os.O_RDWR) as handle:
        w.ftruncate(handle, 3)
        w.ftruncate(handle, 11)
        assert w.pread(handle, 20, 0) == b"sec" + bytes(8)
    assert store.body("f") == b"sec" + bytes(8)


@scenario()
def test_large_file_by_multipart_keeps_its_bytes(w: World, store: Store) -> None:
    data = pattern(25 << 20, 3)
    w.write_file("/f", data)
    assert store.body("f") == data
    assert w.read_file("/f") == data
    assert store.pending_uploads() == []


@scenario("part_copy")
def test_edit_inside_a_large_file_keeps_the_rest(w: World, store: Store) -> None:
    data = bytearray(pattern(25 << 20, 4))
    store.put("f", bytes(data))
    with w.opened("/f", os.O_RDWR) as handle:
        w.write_all(handle, b"edited", 12_345_678)
        w.write_all(handle, b"and at the end", len(data))
        assert w.pread(handle, 10, 12_345_676) == bytes(data[12_345_676:12_345_678]) + b"edited" + \
            bytes(data[12_345_684:12_345_686])
    data[12_345_678:12_345_684] = b"edited"
    data.extend(b"and at the end")
    assert store.body("f") == bytes(data)
    assert w.read_file("/f") == bytes(data)
    assert store.pending_uploads() == []


@scenario("part_copy")
def test_growing_a_file_by_truncate_to_many_parts(w: World, store: Store) -> None:
    w.write_file("/f", b"head")
    w.truncate("/f", 23 << 20)
    assert w.stat("/f").size == 23 << 20
    assert store.body("f") == b"head" + bytes((23 << 20) - 4)
    assert store.pending_uploads() == []
