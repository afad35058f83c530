"""Writes over a server that fails on demand.

Each fault is met twice: without retries it must come out as its exact errno and leave the old object, no pending
upload and a filesystem that works; with retries it must not be noticed.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Callable, List, NamedTuple

import pytest

from tests.conftest import FilesystemFactory
from tests.support.faults import RETRIES
from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import refused
from tests.support.scenarios.files import pattern
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(60)

OLD = b"old content"
NEW = pattern(200_000, 31)
LARGE = pattern(23 << 20, 32)


def write_small(w: FilesystemWorld) -> None:
    w.write_file("/f", NEW)


def write_large(w: FilesystemWorld) -> None:
    w.write_file("/f", LARGE)


def fsync_small(w: FilesystemWorld) -> None:
    handle = w.open("/f", os.O_RDWR | os.O_TRUNC)
    w.write_all(handle, NEW, 0)
    try:
        w.fsync(handle)
    finally:
        w.unlink("/f")
        w.close(handle)


def append_to_large(w: FilesystemWorld) -> None:
    with w.opened("/large", os.O_WRONLY | os.O_APPEND) as handle:
        w.append(handle, b"!")


class Case(NamedTuple):
    """``fault``: what the server does; ``action``: what runs into it; ``errno``: without retries; ``key``: the object
    that must keep its content ``before`` then, and have ``after`` with retries."""

    fault: str
    action: Callable[[FilesystemWorld], None]
    errno: int
    key: str = "f"
    after: bytes = NEW

    @property
    def name(self) -> str:
        return f"{self.action.__name__}-{self.fault.replace('kind=', '').replace('op=', '')}"


WRITES: List[Case] = [
    *(Case(f"{fault},op=put_object", write_small, number) for fault, number in (
        ("kind=status", errno.EIO), ("kind=status,status=500,code=InternalError", errno.EIO),
        ("kind=html-502", errno.EIO), ("kind=reset", errno.EHOSTUNREACH), ("kind=reset,at=1000", errno.EHOSTUNREACH),
        ("kind=status,status=409,code=PathConflict", errno.EBUSY))),
    Case("kind=status,op=create_multipart_upload", write_large, errno.EIO, after=LARGE),
    *(Case(f"{fault},op=upload_part", write_large, number, after=LARGE) for fault, number in (
        ("kind=status", errno.EIO), ("kind=reset", errno.EHOSTUNREACH), ("kind=reset,at=500000", errno.EHOSTUNREACH),
        ("kind=wrong-crc", errno.EIO), ("kind=lost-answer", errno.EHOSTUNREACH), ("kind=html-502", errno.EIO))),
    *(Case(f"{fault},op=complete_multipart_upload", write_large, number, after=LARGE) for fault, number in (
        ("kind=status", errno.EIO), ("kind=error-in-200", errno.EIO))),
    *(Case(f"{fault},op=upload_part_copy", append_to_large, number, key="large", after=LARGE + b"!")
      for fault, number in (("kind=status", errno.EIO), ("kind=error-in-200", errno.EIO),
                            ("kind=reset", errno.EHOSTUNREACH))),
]


@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.name)
def test_failed_write_is_told_at_close_and_leaves_the_old_object(
        case: Case, make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    expected_logs(r"is not stored, as its close or fsync was told")
    before = LARGE if case.key == "large" else OLD
    store.put(case.key, before)
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults(f"{case.fault},key={store.prefix}*")
    with refused(case.errno):
        case.action(w)
    server.clear_faults()
    assert store.body(case.key) == before
    assert store.pending_uploads() == []
    assert w.read_file("/" + case.key) == before
    case.action(w)
    assert store.body(case.key) == case.after


@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.name)
def test_write_with_retries_does_not_notice(case: Case, make_filesystem: FilesystemFactory, server: CosServer,
                                            store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    if case.key == "large":
        store.put("large", LARGE)
    w = FilesystemWorld(make_filesystem())
    server.set_faults(f"{case.fault},key={store.prefix}*,times=2")
    case.action(w)
    assert store.body(case.key) == case.after
    assert w.read_file("/" + case.key) == case.after
    assert store.pending_uploads() == []


def test_wrong_checksum_of_a_stored_object_is_told_at_close(
        make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    expected_logs(r"is not stored, as its close or fsync was told")
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults("kind=wrong-crc,op=put_object")
    with refused(errno.EIO):
        w.write_file("/f", NEW)
    server.clear_faults()
    w.write_file("/f", NEW)
    server.set_faults("kind=wrong-crc,op=put_object,times=2")
    FilesystemWorld(make_filesystem()).write_file("/f", NEW)
    assert store.body("f") == NEW


def test_lost_answer_of_an_initiate_is_told_and_the_next_fsync_stores_the_data(
        make_filesystem: FilesystemFactory, server: CosServer, store: CosStore) -> None:
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults("kind=lost-answer,op=create_multipart_upload,times=1")
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT)
    w.write_all(handle, LARGE, 0)
    with refused(errno.EHOSTUNREACH):
        w.fsync(handle)
    w.close(handle)
    assert store.body("f") == LARGE


@pytest.mark.parametrize("op", ["put_object", "complete_multipart_upload"])
def test_lost_answer_after_the_commit_is_resolved(op: str, make_filesystem: FilesystemFactory, server: CosServer,
                                                  store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    data = NEW if op == "put_object" else LARGE
    w = FilesystemWorld(make_filesystem())
    server.set_faults(f"kind=lost-answer,op={op},times=1")
    w.write_file("/f", data)
    assert store.body("f") == data
    assert store.pending_uploads() == []
    assert w.read_file("/f") == data


def test_lost_answer_of_an_exclusive_create_is_no_eexist(make_filesystem: FilesystemFactory, server: CosServer,
                                                         store: CosStore,
                                                         expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    w = FilesystemWorld(make_filesystem())
    server.set_faults("kind=lost-answer,op=put_object,times=1")
    with w.opened("/f", os.O_WRONLY | os.O_CREAT | os.O_EXCL) as handle:
        w.write_all(handle, NEW, 0)
    assert store.body("f") == NEW


@pytest.mark.parametrize(("status", "code", "number"), [
    (403, "AccessDenied", errno.EACCES), (403, "SignatureDoesNotMatch", errno.EACCES),
    (402, "PaymentRequired", errno.EDQUOT), (451, "UnavailableForLegalReasons", errno.EACCES),
    (405, "MethodNotAllowed", errno.EPERM), (501, "NotImplemented", errno.EOPNOTSUPP),
    (404, "NoSuchBucket", errno.EIO)])
def test_refusals_are_not_retried_and_keep_their_errno(
        status: int, code: str, number: int, make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs("is not stored, as its close or fsync was told")
    store.put("f", OLD)
    w = FilesystemWorld(make_filesystem())
    server.set_faults(f"kind=status,status={status},code={code},op=put_object")
    server.clear_requests()
    handle = w.open("/f", os.O_WRONLY | os.O_TRUNC)
    w.write_all(handle, NEW, 0)
    with refused(number):
        w.fsync(handle)
    assert len(server.requests(op="put_object")) == 1
    with refused(number):
        w.close(handle)
    assert store.body("f") == OLD


def test_failed_fsync_keeps_the_data_for_the_next(make_filesystem: FilesystemFactory, server: CosServer,
                                                  store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    store.put("f", OLD)
    w = FilesystemWorld(make_filesystem(retries=1))
    handle = w.open("/f", os.O_RDWR)
    w.write_all(handle, b"NEW", 0)
    server.set_faults("kind=status,op=put_object,times=2")
    for _ in range(2):
        with refused(errno.EIO):
            w.fsync(handle)
        assert w.read_all(handle) == b"NEW content"
    w.close(handle)
    assert store.body("f") == b"NEW content"


def test_upload_that_cannot_be_aborted_is_told_and_not_hidden(
        make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    expected_logs("stays pending, it could not be aborted")
    expected_logs("is not stored, as its close or fsync was told")
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults("kind=status,op=upload_part,times=1", "kind=status,op=abort_multipart_upload,times=1")
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT)
    w.write_all(handle, LARGE, 0)
    with refused(errno.EIO):
        w.fsync(handle)
    w.close(handle)
    assert store.body("f") == LARGE


def test_dead_server_is_told_and_the_data_survives_its_return(make_filesystem: FilesystemFactory,
                                                              expected_logs: Callable[[str], None]) -> None:
    from tests.conftest import make_client

    expected_logs(RETRIES)
    with CosServer() as own:
        client = make_client(own, retries=2)
        w = FilesystemWorld(make_filesystem(client=client))
        w.write_file("/f", OLD)
        handle = w.open("/f", os.O_RDWR)
        w.write_all(handle, b"NEW", 0)
        own.kill()
        with refused(errno.EHOSTUNREACH):
            w.fsync(handle)
        with refused(errno.EHOSTUNREACH):
            w.mkdir("/other")
        own.start()
        w.close(handle)
        assert w.read_file("/f") == b"NEW content"
        make_filesystem.close()
        client.close()


def test_edit_of_an_object_that_changed_elsewhere_is_told(make_filesystem: FilesystemFactory, server: CosServer,
                                                          store: CosStore,
                                                          expected_logs: Callable[[str], None]) -> None:
    expected_logs("is not stored, as its close or fsync was told")
    store.put("f", LARGE)
    w = FilesystemWorld(make_filesystem())
    handle = w.open("/f", os.O_RDWR)
    w.write_all(handle, b"edit", 5)
    store.put("f", b"somebody else's")
    with refused(errno.ESTALE):
        w.close(handle)
    assert store.body("f") == b"somebody else's"
    assert store.pending_uploads() == []


def test_no_thread_is_left_after_stop(make_filesystem: FilesystemFactory) -> None:
    before = set(threading.enumerate())
    w = FilesystemWorld(make_filesystem())
    w.write_file("/f", LARGE)
    w.read_file("/f")
    w.unlink("/f")
    make_filesystem.close()
    assert set(threading.enumerate()) <= before
