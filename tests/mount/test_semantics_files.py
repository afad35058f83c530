"""Statements of ``docs/SEMANTICS.md`` that need a kernel, and that no other test is named after."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path

import pytest

from tests.conftest import MountFactory
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


def test_pages_of_a_mapping_written_after_the_last_close_are_stored_when_the_mapping_goes(
        make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    path = mount.point / "f"
    path.write_bytes(bytes(8192))
    handle = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(handle, 8192)
    os.close(handle)
    mapping[5000:5005] = b"hello"
    assert store.body("f") == bytes(8192)
    mapping.close()
    mount.unmount()  # which waits until the kernel has given the file back
    assert store.body("f") == bytes(5000) + b"hello" + bytes(3187)


def test_a_killed_mount_loses_what_was_not_closed_or_synced_and_nothing_else(
        make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    (mount.point / "closed").write_bytes(b"closed")
    handles = [os.open(mount.point / name, os.O_WRONLY | os.O_CREAT) for name in ("synced", "open")]
    for handle in handles:
        os.write(handle, b"first")
    os.fsync(handles[0])
    for handle in handles:
        os.write(handle, b", second")
    mount.kill()
    for handle in handles:
        with refused(errno.ENOTCONN):
            os.close(handle)
    assert {key: store.body(key) for key in store.keys()} == {"closed": b"closed", "synced": b"first"}
    mount.start()
    assert (mount.point / "synced").read_bytes() == b"first"


def test_locks_hold_between_the_processes_of_one_mount(mounted: OsWorld) -> None:
    mounted.write_file("/f", b"x")
    with open(mounted.real("/f"), "r+b") as ours:
        for lock in (fcntl.flock, fcntl.lockf):
            lock(ours, fcntl.LOCK_EX)
            assert _in_another_process(Path(mounted.real("/f")), lock.__name__) == errno.EAGAIN
            lock(ours, fcntl.LOCK_UN)
            assert _in_another_process(Path(mounted.real("/f")), lock.__name__) == 0


def _in_another_process(path: Path, lock: str) -> int:
    """The errno with which a process fails to lock a file, 0 if it does not."""
    pid = os.fork()
    if pid == 0:
        try:
            with open(path, "r+b") as theirs:
                getattr(fcntl, lock)(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os._exit(exc.errno or 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("size", [5, 25_000_000])
def test_bodies_go_out_with_content_md5(mounted: OsWorld, server: CosServer, store: CosStore, size: int) -> None:
    mounted.write_file("/f", bytes(size))
    sent = [row for row in server.requests(key=store.prefix + "f") if row["op"] in ("put_object", "upload_part")]
    assert len(sent) == (1 if size == 5 else 3)
    assert all(row["content_md5"] for row in sent)


def test_selinux_labels_are_not_supported(mounted: OsWorld) -> None:
    mounted.write_file("/f", b"x")
    with refused(errno.EOPNOTSUPP):
        mounted.setxattr("/f", "security.selinux", b"system_u:object_r:tmp_t:s0")
