"""How a mount ends, and what is in the bucket then."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.conftest import MountFactory
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

DATA = random.Random(71).randbytes(24 << 20)


def test_unmount_is_refused_while_a_file_is_open(make_mount: MountFactory) -> None:
    mount = make_mount()
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_CREAT)
    done = subprocess.run(["fusermount", "-u", mount.root], check=False, capture_output=True)
    assert done.returncode != 0
    os.write(handle, b"still here")
    os.close(handle)
    assert (mount.point / "f").read_bytes() == b"still here"


@pytest.mark.parametrize("command", [["fusermount", "-u"], ["umount"]], ids=" ".join)
def test_unmount_right_after_close_loses_nothing(command: list, make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    for number in range(20):
        (mount.point / str(number)).write_bytes(b"%d" % number)
    (mount.point / "large").write_bytes(DATA)
    os.unlink(mount.point / "19")
    subprocess.run([*command, mount.root], check=True)
    mount.wait_end()
    assert mount.status == 0
    assert store.body("large") == DATA
    assert sorted(store.keys()) == sorted([*map(str, range(19)), "large"])
    assert store.pending_uploads() == []


def test_lazy_unmount_stores_what_is_closed_later(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_CREAT)
    os.write(handle, b"written before, ")
    subprocess.run(["fusermount", "-uz", mount.root], check=True)
    os.write(handle, b"written after")
    os.close(handle)
    mount.wait_end()
    assert mount.status == 0
    assert store.body("f") == b"written before, written after"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_ends_the_mount_and_stores_open_files(number: signal.Signals, make_mount: MountFactory,
                                                     store: CosStore) -> None:
    mount = make_mount()
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_CREAT)
    os.write(handle, DATA)
    os.kill(mount.pid, number)
    mount.wait_end()
    try:
        os.close(handle)
    except OSError:
        pass  # the connection is gone; what counts is the bucket
    assert mount.status == 0
    assert store.body("f") == DATA
    assert store.pending_uploads() == []


@pytest.mark.parametrize("libfuse", [2, 3])
def test_further_signals_do_not_end_it_while_it_stores(libfuse: int, make_mount: MountFactory, store: CosStore,
                                                       server: CosServer) -> None:
    mount = make_mount(f"libfuse={libfuse}", "dbglevel=debug")
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_CREAT)
    os.write(handle, DATA)
    server.set_faults("kind=stall,seconds=2,op=put_object", "kind=stall,seconds=2,op=upload_part")
    os.kill(mount.pid, signal.SIGTERM)
    mount.wait_for(lambda: "stops, and stores what is left" in mount.text(), "line of the log", 30)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(mount.pid, number)
        mount.wait_for(lambda number=number: f"cosfs: {number.name}: still storing what was written to {mount.root}; "  # type: ignore[misc]
                       "only SIGKILL ends that\n" in mount.text(), "answer", 30)
    mount.wait_end()
    with suppress(OSError):  # the connection is gone
        os.close(handle)
    assert mount.status == 0
    assert store.body("f") == DATA
    assert store.pending_uploads() == []


def test_killed_daemon_leaves_the_old_object_and_the_mount_can_be_made_again(make_mount: MountFactory,
                                                                            store: CosStore) -> None:
    mount = make_mount()
    (mount.point / "f").write_bytes(b"old")
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_TRUNC)
    os.write(handle, b"new")
    mount.kill()
    with refused(errno.ENOTCONN):
        os.close(handle)
    assert store.body("f") == b"old"
    mount.start()
    assert (mount.point / "f").read_bytes() == b"old"
    mount.unmount()
    assert mount.status == 0


def test_server_killed_and_started_again_costs_no_acknowledged_byte(make_mount: MountFactory, store: CosStore,
                                                                    tmp_path: object) -> None:
    with CosServer() as own:
        mount = make_mount(url=own.url)
        mount.expect_log("again in|connection|refused|No route to host")
        (mount.point / "f").write_bytes(DATA)
        own.kill()
        own.start()
        assert (mount.point / "f").read_bytes() == DATA
        mount.remount()
        assert (mount.point / "f").read_bytes() == DATA
        mount.unmount()


def test_read_only_mount_refuses_every_change(make_mount: MountFactory, store: CosStore) -> None:
    store.put("f", b"content")
    mount = make_mount("ro")
    assert (mount.point / "f").read_bytes() == b"content"
    for change in (lambda: (mount.point / "g").write_bytes(b"x"), lambda: os.unlink(mount.point / "f"),
                   lambda: os.mkdir(mount.point / "d"), lambda: os.rename(mount.point / "f", mount.point / "g"),
                   lambda: os.chmod(mount.point / "f", 0o600), lambda: os.truncate(mount.point / "f", 1),
                   lambda: os.open(mount.point / "f", os.O_RDWR)):
        with refused(errno.EROFS):
            change()
    assert store.keys() == ["f"]


def test_two_mounts_see_each_other_after_the_caches_time(make_mount: MountFactory) -> None:
    options = ("stat_cache_expire=0", "attr_timeout=0", "entry_timeout=0", "negative_timeout=0")
    first, second = make_mount(*options), make_mount(*options)
    (first.point / "f").write_bytes(b"one")
    assert (second.point / "f").read_bytes() == b"one"
    (second.point / "f").write_bytes(b"two, longer")
    assert (first.point / "f").read_bytes() == b"two, longer"
    (first.point / "f").write_bytes(b"3")
    assert (second.point / "f").read_bytes() == b"3"
