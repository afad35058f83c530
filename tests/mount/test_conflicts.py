"""Two mounts, and a foreign writer, over one bucket: who wins, and what the one that does not win is told."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
from pathlib import Path
from typing import Callable, List

import pytest

from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

UNCACHED = "stat_cache_expire=0"


@pytest.fixture
def pair(make_mount: MountFactory) -> Callable[..., List[Mount]]:
    """``pair(*options)``: two mounts of one folder of the bucket."""
    return lambda *options: [make_mount(*options), make_mount(*options)]


def failure(call: Callable[[], object]) -> int:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno is not None
    return caught.value.errno


def test_of_two_mounts_that_create_a_file_exclusively_one_wins(pair: Callable[..., List[Mount]], store: CosStore,
                                                              server: CosServer) -> None:
    first, second = pair()
    second.expect_log("flush|fsync|is not stored, as its close or fsync was told")
    handles = [os.open(f"{mount.root}/lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL) for mount in (first, second)]
    for handle, data in zip(handles, (b"first", b"second")):
        os.write(handle, data)
    server.clear_requests()
    os.close(handles[0])
    assert failure(lambda: os.fsync(handles[1])) == errno.EEXIST
    assert failure(lambda: os.close(handles[1])) == errno.EEXIST
    assert store.body("lock") == b"first"
    assert [line["status"] for line in server.requests(method="PUT")][:3] == [200, 409, 409]


def test_two_mounts_make_one_directory(pair: Callable[..., List[Mount]]) -> None:
    first, second = pair()
    assert not os.path.exists(f"{second.root}/d")
    os.mkdir(f"{first.root}/d")
    assert failure(lambda: os.mkdir(f"{second.root}/d")) == errno.EEXIST
    assert os.path.isdir(f"{second.root}/d")


@pytest.mark.parametrize("size", [10, 100_000])
def test_append_after_a_foreign_write_goes_to_the_end(make_mount: MountFactory, store: CosStore, size: int) -> None:
    store.put("log", b"a" * size)
    mount = make_mount()
    path = f"{mount.root}/log"
    assert os.stat(path).st_size == size
    store.put("log", b"a" * size + b"foreign")
    with open(path, "ab") as log:
        log.write(b"ours")
    assert store.body("log") == b"a" * size + b"foreignours"


def test_two_mounts_append_in_turn(pair: Callable[..., List[Mount]], store: CosStore) -> None:
    mounts = pair()
    for number in range(10):
        with open(f"{mounts[number % 2].root}/log", "ab") as log:
            log.write(b"%d\n" % number)
    assert store.body("log") == b"".join(b"%d\n" % number for number in range(10))


def test_an_append_by_descriptor_after_fcntl(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    path = f"{mount.root}/f"
    store.put("f", b"0123456789")
    handle = os.open(path, os.O_WRONLY)
    fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_APPEND)
    os.write(handle, b"+")
    os.close(handle)
    assert store.body("f") == b"0123456789+"


def test_a_mapping_of_an_appending_handle_writes_where_it_is(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    store.put("f", b"a" * 10_000)
    handle = os.open(f"{mount.root}/f", os.O_RDWR | os.O_APPEND)
    with mmap.mmap(handle, 10_000) as mapping:
        mapping[100:104] = b"here"
        mapping.flush()
    os.write(handle, b"end")
    os.close(handle)
    assert store.body("f") == b"a" * 100 + b"here" + b"a" * 9896 + b"end"


def test_fail_tells_close_and_leaves_the_foreign_version(make_mount: MountFactory, store: CosStore) -> None:
    store.put("f", b"base")
    mount = make_mount("conflict=fail")
    mount.expect_log("flush|is not stored, as its close or fsync was told")
    handle = os.open(f"{mount.root}/f", os.O_WRONLY | os.O_TRUNC)
    os.write(handle, b"ours")
    store.put("f", b"theirs")
    assert failure(lambda: os.close(handle)) == errno.ESTALE
    assert store.body("f") == b"theirs"


def test_keep_both_shows_both(make_mount: MountFactory, store: CosStore) -> None:
    store.put("d/notes.txt", b"base")
    mount = make_mount("conflict=keep-both", UNCACHED)
    mount.expect_log("/d/notes.txt was changed by another host")
    path = f"{mount.root}/d/notes.txt"
    handle = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(handle, b"ours")
    store.put("d/notes.txt", b"theirs")
    os.fsync(handle)
    os.write(handle, b", and more")
    os.close(handle)
    names = sorted(os.listdir(f"{mount.root}/d"))
    assert len(names) == 2
    assert re.fullmatch(r"notes\.conflict-[A-Za-z0-9-]+-\d{8}T\d{6}Z\.txt", names[0])
    contents = [Path(f"{mount.root}/d/{name}").read_bytes() for name in names]
    assert contents == [b"ours, and more", b"theirs"]


def test_an_edit_in_the_middle_of_a_large_object_that_changed_meanwhile_is_estale(make_mount: MountFactory,
                                                                                 store: CosStore) -> None:
    store.put("f", b"a" * 12_000_000)
    mount = make_mount("multipart_size=1")
    mount.expect_log("is not stored, as its close or fsync was told")
    handle = os.open(f"{mount.root}/f", os.O_RDWR)
    os.pwrite(handle, b"edit", 6_000_000)
    store.put("f", b"b" * 12_000_000)
    assert failure(lambda: os.close(handle)) == errno.ESTALE
    assert store.body("f") == b"b" * 12_000_000
    mount.unmount()  # after the last try, which the kernel asks for when close has returned
    assert store.pending_uploads() == []


def test_a_new_reader_sees_what_came_though_another_holds_the_old_version(make_mount: MountFactory,
                                                                         store: CosStore) -> None:
    mount = make_mount(UNCACHED)
    store.put("f", b"old")
    with open(f"{mount.root}/f", "rb") as held:
        assert held.read() == b"old"
        store.put("f", b"a newer one")
        assert os.stat(f"{mount.root}/f").st_size == 11
        assert Path(f"{mount.root}/f").read_bytes() == b"a newer one"


def test_without_caching_every_foreign_change_shows_at_once(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount(UNCACHED)
    path = f"{mount.root}/f"
    for number in range(5):
        assert not os.path.exists(path)
        store.put("f", b"x" * number)
        assert os.stat(path).st_size == number
        assert Path(path).read_bytes() == b"x" * number
        assert os.listdir(mount.root) == ["f"]
        store.delete("f")
        assert os.listdir(mount.root) == []
