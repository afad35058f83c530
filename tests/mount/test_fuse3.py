"""Mounts with libfuse 3: all that holds with libfuse 2, and what only this one can do."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import random
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from cosfs import fuse3_binding, fuse_binding, fuse_library
from cosfs.fuse_library import find_binding
from cosfs.preflight import MountError
from tests.conftest import MountFactory, require_fuse
from tests.support.mount import Mount
from tests.support.scenarios import Scenario, all_scenarios, refused
from tests.support.server import CosServer
from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


@pytest.fixture(scope="module")
def shared_mount(session_server: CosServer, shared_folders: Iterator[str],
                 tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    require_fuse()
    factory = MountFactory(session_server, "", tmp_path_factory.mktemp("shared"))
    yield factory("libfuse=3")
    factory.close()


@pytest.mark.parametrize("scenario", all_scenarios(), ids=lambda scenario: scenario.name[5:])
def test_scenario(scenario: Scenario, mounted: OsWorld, store: CosStore) -> None:
    scenario.function(mounted, store)


def renameat2(old: Path, new: Path, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, bytes(old), AT_FDCWD, bytes(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


@pytest.fixture
def mount(make_mount: MountFactory) -> Mount:
    return make_mount("libfuse=3")


def test_rename_without_replacing_moves_to_a_free_name(mount: Mount, store: CosStore) -> None:
    (mount.point / "a").write_bytes(b"a")

    renameat2(mount.point / "a", mount.point / "b", NOREPLACE)

    assert os.listdir(mount.point) == ["b"]
    assert store.body("b") == b"a"


def test_rename_without_replacing_leaves_a_taken_name(mount: Mount) -> None:
    for name in "ab":
        (mount.point / name).write_bytes(name.encode())

    with refused(errno.EEXIST):
        renameat2(mount.point / "a", mount.point / "b", NOREPLACE)

    assert [(mount.point / name).read_bytes() for name in "ab"] == [b"a", b"b"]


def test_rename_without_replacing_leaves_what_another_host_made_meanwhile(mount: Mount, store: CosStore) -> None:
    (mount.point / "a").write_bytes(b"a")
    assert not (mount.point / "b").exists()
    store.put("b", b"foreign")

    with refused(errno.EEXIST):
        renameat2(mount.point / "a", mount.point / "b", NOREPLACE)

    assert (store.body("a"), store.body("b")) == (b"a", b"foreign")


@pytest.mark.parametrize("flags", [EXCHANGE, WHITEOUT, NOREPLACE | WHITEOUT])
def test_other_flags_of_rename_are_refused(mount: Mount, flags: int) -> None:
    for name in "ab":
        (mount.point / name).write_bytes(name.encode())

    with refused(errno.EINVAL):
        renameat2(mount.point / "a", mount.point / ("b" if flags == EXCHANGE else "c"), flags)

    assert [(mount.point / name).read_bytes() for name in "ab"] == [b"a", b"b"]


def test_set_user_id_bits_go_when_somebody_else_writes(mount: Mount) -> None:
    path = mount.point / "f"
    path.write_bytes(b"1")
    path.chmod(0o6755)
    os.chown(path, 1, 1)

    assert path.stat().st_mode & 0o7777 == 0o755


def test_options_of_libfuse_2_are_taken(make_mount: MountFactory) -> None:
    mount = make_mount("libfuse=3", "nonempty", "max_background=5", "max_write=65536", "max_read=65536", "noauto_cache",
                       "async_read", "sync_read", "auto_cache", "kernel_cache", "allow_root", "large_read")
    data = random.Random(8).randbytes(200_000)
    (mount.point / "f").write_bytes(data)
    mount.remount()
    assert (mount.point / "f").read_bytes() == data
    assert ",max_read=65536" in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("library", [2, 3])
def test_direct_io_keeps_the_kernel_from_caching(make_mount: MountFactory, library: int) -> None:
    def shared_mapping(mount: Mount) -> int:
        with (mount.point / "f").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            return len(mapping)

    mount = make_mount(f"libfuse={library}")
    (mount.point / "f").write_bytes(bytes(100_000))
    assert shared_mapping(mount) == 100_000
    with pytest.raises(OSError, match="No such device"):
        shared_mapping(make_mount(f"libfuse={library}", "direct_io"))


def test_both_libraries_are_found_and_the_third_is_the_default() -> None:
    assert find_binding() is find_binding(3) is fuse3_binding
    assert find_binding(2) is fuse_binding


def test_who_needs_the_helper_of_libfuse_3_and_has_none_gets_the_second(monkeypatch: pytest.MonkeyPatch,
                                                                        tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binding() is fuse_binding
    (tmp_path / "fusermount3").write_text("")
    (tmp_path / "fusermount3").chmod(0o755)
    assert find_binding() is fuse3_binding


def test_without_libfuse_3_or_its_package_the_second_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise OSError("Unable to find libfuse")

    monkeypatch.setattr(fuse_library, "_mfusepy", missing)
    assert find_binding() is fuse_binding
    with pytest.raises(MountError, match="fuse3"):
        find_binding(3)


@pytest.fixture
def large(store: CosStore) -> bytes:
    data = random.Random(81).randbytes(1 << 20) * 256
    store.put("large", data)
    return data


def carried(server: CosServer) -> int:
    """Bytes of content in requests and answers since they were last cleared."""
    return sum(line["bytes_in"] + line["bytes_out"] for line in server.requests()
               if line["op"] in ("get_object", "put_object", "upload_part"))


def test_cp_copies_on_the_server(mount: Mount, server: CosServer, store: CosStore, large: bytes) -> None:
    server.clear_requests()

    subprocess.run(["cp", "--reflink=auto", mount.point / "large", mount.point / "copy"], check=True, timeout=50)

    requests = [line["op"] for line in server.requests()]
    assert "get_object" not in requests
    assert carried(server) == 0
    assert len(requests) <= 8, requests
    assert hashlib.sha256(store.body("copy")).digest() == hashlib.sha256(large).digest()


def test_cp_p_keeps_times_and_mode(mount: Mount, server: CosServer, large: bytes) -> None:
    source, copy = mount.point / "large", mount.point / "copy"
    source.chmod(0o640)
    os.utime(source, ns=(5, 1_600_000_000_123_456_789))
    mount.world().fsyncdir("/")
    server.clear_requests()

    subprocess.run(["cp", "-p", source, copy], check=True, timeout=50)

    assert carried(server) == 0
    assert (copy.stat().st_mode, copy.stat().st_mtime_ns) == (source.stat().st_mode, source.stat().st_mtime_ns)
    assert copy.stat().st_size == len(large)


def test_a_copy_is_read_rightly_by_who_holds_it_open(mount: Mount, large: bytes) -> None:
    source = os.open(mount.point / "large", os.O_RDONLY)
    target = os.open(mount.point / "copy", os.O_RDWR | os.O_CREAT)
    os.write(target, b"x" * 100)
    assert os.copy_file_range(source, target, 1 << 20, 12_345, 50) == 1 << 20
    assert os.pread(target, 100, 0) == b"x" * 50 + large[12_345:12_395]
    os.unlink(mount.point / "large")
    os.close(source)
    os.close(target)
    assert (mount.point / "copy").read_bytes() == b"x" * 50 + large[12_345:12_345 + (1 << 20)]
