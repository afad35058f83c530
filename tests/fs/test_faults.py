"""The filesystem over a server that fails on demand.

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
from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import refused
from tests.support.scenarios.files import pattern
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(60)

OLD = b"old content"
NEW = pattern(200_000, 31)
LARGE = pattern(23 << 20, 32)

RETRIES = r"cosfs\.cos\.(retry|requester|multipart|client|transport|download)"
"""Loggers that may tell of a retry."""


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


READS = [("kind=status", errno.EIO), ("kind=reset", errno.EHOSTUNREACH), ("kind=reset,at=70000", errno.EHOSTUNREACH),
         ("kind=truncate", errno.EIO), ("kind=truncate,at=70000", errno.EIO), ("kind=wrong-range", errno.EIO),
         ("kind=html-502", errno.EIO), ("kind=expired-token", errno.EACCES),
         ("kind=status,status=403,code=AccessDenied", errno.EACCES)]


@pytest.mark.parametrize(("fault", "number"), READS, ids=lambda value: str(value).replace("kind=", ""))
def test_failed_read_is_an_error_and_never_an_end_of_file(
        fault: str, number: int, make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    store.put("f", NEW)
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults(f"{fault},op=get_object")
    handle = w.open("/f", os.O_RDWR)  # a reader's open fetches the first bytes
    with refused_any(number, errno.EHOSTUNREACH if "truncate" in fault else number):
        w.read_all(handle)
    server.clear_faults()
    assert w.read_all(handle) == NEW
    w.close(handle)


@pytest.mark.parametrize(("fault", "number"), READS, ids=lambda value: str(value).replace("kind=", ""))
def test_a_reader_is_told_by_open_that_nothing_can_be_read(
        fault: str, number: int, make_filesystem: FilesystemFactory, server: CosServer, store: CosStore,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    store.put("f", NEW)
    w = FilesystemWorld(make_filesystem(retries=1))
    server.set_faults(f"{fault},op=get_object")
    with refused_any(number, errno.EHOSTUNREACH if "truncate" in fault else number):
        w.open("/f", os.O_RDONLY)
    server.clear_faults()
    assert w.read_file("/f") == NEW


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


class refused_any:  # noqa: N801  used like ``refused``
    """The block must raise ``OSError`` with one of these."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        assert isinstance(error, OSError), f"{error!r} instead of {self.numbers}"
        assert error.errno in self.numbers, f"{errno.errorcode[error.errno]}: {error}"
        return True
