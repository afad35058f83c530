"""Reads and lookups over a server that fails on demand.

Each fault is met twice: without retries it must come out as its exact errno, never as an end of file or an absence, and
leave a filesystem that works; with retries it must not be noticed.
"""

from __future__ import annotations

import errno
import os
from typing import Callable, Tuple

import pytest

from tests.conftest import FilesystemFactory
from tests.support.faults import RETRIES, refused_any
from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import refused
from tests.support.scenarios.files import pattern
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(60)

OLD = b"old content"
NEW = pattern(200_000, 31)

READS = [("kind=status", errno.EIO), ("kind=reset", errno.EHOSTUNREACH), ("kind=reset,at=70000", errno.EHOSTUNREACH),
         ("kind=truncate", errno.EIO), ("kind=truncate,at=70000", errno.EIO), ("kind=wrong-range", errno.EIO),
         ("kind=html-502", errno.EIO), ("kind=expired-token", errno.EACCES),
         ("kind=status,status=403,code=AccessDenied", errno.EACCES)]


@pytest.fixture(params=READS, ids=lambda fault: fault[0].replace("kind=", ""))
def read_fault(request: pytest.FixtureRequest) -> Tuple[str, int]:
    """What goes wrong with every GET, and the errno that comes of it without retries."""
    fault: Tuple[str, int] = request.param
    return fault


@pytest.fixture
def failing(read_fault: Tuple[str, int], make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
            expected_logs: Callable[[str], None]) -> FilesystemWorld:
    """A file ``/f`` of ``NEW`` that cannot be read."""
    expected_logs(RETRIES)
    store.put("f", NEW)
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults(f"{read_fault[0]},op=get_object")
    return w


def refused_read(read_fault: Tuple[str, int]) -> refused_any:
    fault, number = read_fault
    return refused_any(number, errno.EHOSTUNREACH if "truncate" in fault else number)


def test_failed_read_is_an_error_and_never_an_end_of_file(failing: FilesystemWorld, read_fault: Tuple[str, int],
                                                          server: CosServer) -> None:
    handle = failing.open("/f", os.O_RDWR)  # a reader's open fetches the first bytes
    with refused_read(read_fault):
        failing.read_all(handle)
    server.clear_faults()
    assert failing.read_all(handle) == NEW
    failing.close(handle)


def test_a_reader_is_told_by_open_that_nothing_can_be_read(failing: FilesystemWorld, read_fault: Tuple[str, int],
                                                           server: CosServer) -> None:
    with refused_read(read_fault):
        failing.open("/f", os.O_RDONLY)
    server.clear_faults()
    assert failing.read_file("/f") == NEW


@pytest.mark.parametrize("fault", [fault for fault, number in READS if number != errno.EACCES],
                         ids=lambda fault: fault.replace("kind=", ""))
def test_read_with_retries_does_not_notice(fault: str, make_filesystem: FilesystemFactory, server: CosServer,
                                           store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    store.put("f", NEW)
    w = FilesystemWorld(make_filesystem())
    server.set_faults(f"{fault},op=get_object,times=2")
    assert w.read_file("/f") == NEW


def test_corrupted_body_of_a_whole_read_is_found(make_filesystem: FilesystemFactory, server: CosServer,
                                                 store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    store.put("f", NEW)
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults("kind=corrupt,op=get_object,at=1234")
    with refused(errno.EIO):
        w.read_file("/f")


def test_stalled_read_times_out(make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
                                expected_logs: Callable[[str], None]) -> None:
    from tests.conftest import make_client

    expected_logs(RETRIES)
    store.put("f", NEW)
    impatient = make_client(server, retries=1, read_timeout_s=0.3)
    w = FilesystemWorld(make_filesystem(client=impatient))
    server.set_faults("kind=stall,op=get_object,seconds=3,at=5000,times=1")
    with w.opened("/f", os.O_RDWR) as handle:
        with refused(errno.ETIMEDOUT):
            w.read_all(handle)
        assert w.read_all(handle) == NEW
    impatient.close()


def test_failed_lookup_is_an_error_and_not_an_absence(make_filesystem: FilesystemFactory, server: CosServer,
                                                      store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    store.put("d/f", OLD)
    for op, look in (("head_object", lambda w: w.stat("/d/f")), ("list_objects", lambda w: w.readdir("/d"))):
        w = FilesystemWorld(make_filesystem(retries=1))
        server.set_faults(f"kind=status,op={op}")
        with refused(errno.EIO):
            look(w)
        server.clear_faults()
        assert w.stat("/d/f").size == len(OLD)
        assert set(w.readdir("/d")) == {"f"}


def test_changed_object_under_an_open_reader_is_estale_and_never_mixed(
        make_filesystem: FilesystemFactory, server: CosServer, store: CosStore) -> None:
    old, new = pattern(12 << 20, 41), pattern(12 << 20, 42)
    store.put("f", old)
    w = FilesystemWorld(make_filesystem())
    with w.opened("/f", os.O_RDONLY) as handle:
        assert w.pread(handle, 131072, 0) == old[:131072]
        store.put("f", new)
        offset = 0
        try:
            while offset < len(old):
                piece = w.pread(handle, 131072, offset)
                assert piece == old[offset:offset + len(piece)]
                offset += len(piece)
        except OSError as exc:
            assert exc.errno == errno.ESTALE


def test_file_deleted_elsewhere_under_an_open_reader_is_estale(make_filesystem: FilesystemFactory, store: CosStore,
                                                               expected_logs: Callable[[str], None]) -> None:
    data = pattern(12 << 20, 43)
    store.put("f", data)
    w = FilesystemWorld(make_filesystem())
    handle = w.open("/f", os.O_RDONLY)
    assert w.pread(handle, 10, 0) == data[:10]
    store.delete("f")
    with refused(errno.ESTALE):
        w.pread(handle, 4096, 11 << 20)
    w.close(handle)
