"""Writeback mode: close returns before the upload, and nothing that was promised is lost, nor comes back."""

from __future__ import annotations

import errno
import os
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest

from cosfs.config import Conflict, FilesystemConfig
from cosfs.errors import NetworkError, StagingFailed
from cosfs.filesystem import CosFilesystem
from cosfs.filesystem.writeback_recovery import waiting_files
from cosfs.units import KIB, MIB
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import WAIT_S, MemoryClient, error
from tests.support.scenarios import refused

pytestmark = pytest.mark.timeout(60)

LATER = 3600.0
"""A delay after which no test waits for the upload: only unmounting, or need, brings it."""

DATA = random.Random(7).randbytes(3 * MIB)


class Hosts:
    """Filesystems of one machine on one bucket, one after the other."""

    def __init__(self, client: MemoryClient, folder: Path) -> None:
        self.client = client
        self.state = folder / "state"
        self.state.mkdir()
        self._staging = folder
        self._alive: List[CosFilesystem] = []

    def start(self, delay: Optional[float] = LATER, **settings: Any) -> FilesystemWorld:
        values = {"staging_folder": str(self._staging), "state_folder": str(self.state), "part_size_bytes": MIB,
                  "staging_reserve_bytes": 0, "writeback_delay_s": delay, **settings}
        filesystem = CosFilesystem(self.client, FilesystemConfig(**values))
        filesystem.start()
        self._alive.append(filesystem)
        return FilesystemWorld(filesystem)

    def stop(self, world: FilesystemWorld) -> None:
        self._alive.remove(world.filesystem)
        world.filesystem.stop()

    def crash(self, world: FilesystemWorld) -> None:
        """Nothing of the process is left but what is on the disk, and no lock is held any more."""
        filesystem = world.filesystem
        self._alive.remove(filesystem)
        writeback, journal = filesystem._writeback, filesystem._context.journal
        assert writeback is not None and journal is not None
        with writeback._changed:
            writeback._stopping = True
            writeback._changed.notify_all()
        if writeback._thread is not None:
            writeback._thread.join(WAIT_S)
        writeback._pool.close()
        if filesystem._changes._timer is not None:
            filesystem._changes._timer.cancel()
        journal._connection.close()
        os.close(journal._lock_descriptor)

    def close(self) -> None:
        for filesystem in self._alive:
            filesystem.stop()

    def waiting(self) -> List[str]:
        return [listed.path for listed in waiting_files(str(self.state))]

    def folders(self) -> List[str]:
        return sorted(path.name for path in self.state.glob("writeback-*"))


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def hosts(client: MemoryClient, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(client, tmp_path)
    yield made
    made.close()


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def write(w: FilesystemWorld, path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC) -> None:
    handle = w.open(path, os.O_WRONLY | flags, 0o644)
    w.pwrite(handle, data, 0)
    w.close(handle)


def read(w: FilesystemWorld, path: str) -> bytes:
    handle = w.open(path, os.O_RDONLY)
    try:
        return w.pread(handle, 1 << 20, 0)
    finally:
        w.close(handle)


def writes(client: MemoryClient) -> int:
    return sum(client.count(name) for name in ("put_object", "copy_object", "create_multipart_upload"))


def test_close_and_fsync_return_before_the_upload(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=0)
    gate = client.block("put_object")
    write(w, "/f", b"one")
    gate.wait_entered()
    assert client.objects == {}
    handle = w.open("/g", os.O_RDWR | os.O_CREAT, 0o600)
    w.pwrite(handle, b"two", 0)
    second = client.block("put_object")
    w.fsync(handle)
    second.wait_entered()
    gate.open()
    second.open()
    w.close(handle)
    hosts.stop(w)
    assert (client.body("f"), client.body("g")) == (b"one", b"two")
    assert hosts.folders() == []


def test_what_waits_is_shown_read_and_changed_as_if_it_were_stored(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    write(w, "/f", b"content")
    w.chmod("/f", 0o640)
    assert sorted(w.readdir("/")) == ["f"]
    assert (w.stat("/f").size, w.stat("/f").mode & 0o777) == (7, 0o640)
    assert read(w, "/f") == b"content"
    w.truncate("/f", 3)
    assert read(w, "/f") == b"con"
    handle = w.open("/f", os.O_WRONLY | os.O_APPEND)
    w.pwrite(handle, b"tent!", 3)
    w.close(handle)
    assert read(w, "/f") == b"content!"
    assert writes(client) == 0
    hosts.stop(w)
    assert client.body("f") == b"content!"
    assert client.objects["f"].info.headers.metadata["mode"] == str(0o100640)
    assert writes(client) == 1


def test_a_file_that_is_rewritten_within_the_delay_is_one_put(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    for number in range(10):
        write(w, "/f", f"version {number}".encode())
    assert writes(client) == 0
    hosts.stop(w)
    assert client.body("f") == b"version 9"
    assert writes(client) == 1


def test_a_temporary_file_that_is_renamed_is_one_put_and_no_copy(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    write(w, "/f.tmp", b"content")
    w.rename("/f.tmp", "/f")
    assert sorted(w.readdir("/")) == ["f"]
    hosts.stop(w)
    assert list(client.objects) == ["f"]
    assert (writes(client), client.count("delete_object") + client.count("delete_objects")) == (1, 0)


def test_a_temporary_file_that_is_removed_costs_nothing(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    write(w, "/f", b"content")
    w.unlink("/f")
    assert sorted(w.readdir("/")) == []
    hosts.stop(w)
    assert (client.objects, writes(client)) == ({}, 0)
    assert hosts.folders() == []


def test_a_file_is_stored_after_its_delay(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=0.01)
    gate = client.block("put_object")
    write(w, "/f", b"content")
    gate.wait_entered()
    gate.open()
    w.filesystem._writeback.settle()
    assert client.body("f") == b"content"
    assert w.filesystem._table.get("/f") is None
    assert hosts.waiting() == []


# Crashes


def test_a_crash_loses_nothing_that_was_closed_or_synced(hosts: Hosts, client: MemoryClient,
                                                         expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    client.add("old", b"before")
    w = hosts.start()
    write(w, "/small", b"content")
    write(w, "/empty", b"")
    write(w, "/large", DATA)
    write(w, "/old", b"after")
    synced = w.open("/synced", os.O_WRONLY | os.O_CREAT, 0o600)
    w.pwrite(synced, b"synced", 0)
    w.fsync(synced)
    w.pwrite(synced, b"not closed", 6)
    w.setxattr("/small", "user.x", b"y")
    w.utimens("/small", 10**18, 10**18 + 5)
    hosts.crash(w)
    assert list(client.objects) == ["old"]
    again = hosts.start()
    assert {key: client.body(key) for key in client.objects} == {
        "small": b"content", "empty": b"", "large": DATA, "old": b"after", "synced": b"synced"}
    assert again.stat("/small").mtime_ns == 10**18 + 5
    assert again.getxattr("/small", "user.x") == b"y"
    assert len(hosts.folders()) == 1
    assert client.pending_uploads() == []


@pytest.mark.parametrize("repeats", [1, 20_000])
def test_what_was_promised_is_not_touched_by_what_is_written_after(
        repeats: int, hosts: Hosts, client: MemoryClient, expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    w = hosts.start()
    for name in ("over", "cut", "emptied", "longer", "replaced"):
        write(w, f"/{name}", b"promised" * repeats)
    handles = {name: w.open(f"/{name}", os.O_RDWR) for name in ("over", "cut", "emptied", "longer")}
    w.pwrite(handles["over"], b"XX", 2)
    assert w.pread(handles["over"], 8, 0) == b"prXXised"
    w.ftruncate(handles["cut"], 3)
    w.pwrite(handles["cut"], b"YYYY", 3)
    w.ftruncate(handles["emptied"], 0)
    w.pwrite(handles["emptied"], b"Z", 0)
    w.pwrite(handles["longer"], b" and more", 8 * repeats)
    w.open("/replaced", os.O_WRONLY | os.O_TRUNC)
    hosts.crash(w)
    hosts.start()
    assert {client.body(key) for key in client.objects} == {b"promised" * repeats}
    assert len(client.objects) == 5


def test_a_second_promise_takes_the_place_of_the_first(hosts: Hosts, client: MemoryClient,
                                                        expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    w = hosts.start()
    handle = w.open("/f", os.O_RDWR | os.O_CREAT, 0o600)
    for number in range(20):
        w.pwrite(handle, b"%02d" % number * 40_000, number % 3)
        w.fsync(handle)
    expected = w.pread(handle, 1 << 20, 0)
    folder = hosts.state / hosts.folders()[0]
    assert len(list(folder.glob("staged-*"))) == 1
    hosts.crash(w)
    hosts.start()
    assert client.body("f") == expected


def test_removed_stays_removed_and_renamed_stays_renamed(hosts: Hosts, client: MemoryClient,
                                                         expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    client.add("stored", b"old")
    w = hosts.start()
    for name in ("gone", "from", "source", "target", "d1", "stored"):
        write(w, f"/{name}", name.encode())
    w.mkdir("/dir")
    write(w, "/dir/f", b"in a folder")
    w.unlink("/gone")
    w.unlink("/stored")
    w.rename("/from", "/to")
    w.rename("/source", "/target")
    w.rename("/dir", "/moved")
    w.filesystem.fsyncdir()
    hosts.crash(w)
    hosts.start()
    assert {key: client.body(key) for key in client.objects if not key.endswith("/")} == {
        "to": b"from", "target": b"source", "d1": b"d1", "moved/f": b"in a folder"}


def test_an_edit_of_a_large_object_is_finished_by_the_next_mount(hosts: Hosts, client: MemoryClient,
                                                                 expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    client.add("f", DATA)
    w = hosts.start()
    handle = w.open("/f", os.O_RDWR)
    w.pwrite(handle, b"edited", MIB + 5)
    w.close(handle)
    hosts.crash(w)
    hosts.start()
    assert client.body("f") == DATA[:MIB + 5] + b"edited" + DATA[MIB + 11:]
    assert client.count("upload_part_copy") > 0


def test_an_upload_that_a_crash_kept_from_being_noted_is_not_repeated(
        hosts: Hosts, client: MemoryClient, expected_logs: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch) -> None:
    expected_logs("files that an ended mount had left .* stored")
    expected_logs("is stored, and will be once more by the next mount")
    client.add("f", DATA)
    w = hosts.start(conflict=Conflict.FAIL)
    handle = w.open("/f", os.O_RDWR)
    w.pwrite(handle, b"edited", MIB + 5)
    w.close(handle)
    write(w, "/new", b"new", os.O_CREAT | os.O_EXCL)
    journal = w.filesystem._context.journal
    monkeypatch.setattr(journal, "remove", _fail)
    for name in ("/f", "/new"):
        w.filesystem._table.get(name).commit()
    monkeypatch.undo()
    hosts.crash(w)
    before = writes(client)
    hosts.start(conflict=Conflict.FAIL)
    assert client.body("f") == DATA[:MIB + 5] + b"edited" + DATA[MIB + 11:]
    assert client.body("new") == b"new"
    assert hosts.waiting() == []
    assert writes(client) - before <= 2  # the small one is sent again


def _fail(*_: Any, **__: Any) -> None:
    raise StagingFailed("the disk is gone")


def test_staged_files_that_were_promised_to_nobody_go(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start()
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    w.pwrite(handle, b"never closed", 0)
    assert list((hosts.state / hosts.folders()[0]).glob("staged-*"))
    hosts.crash(w)
    hosts.start(delay=None)
    assert (hosts.folders(), client.objects) == ([], {})


def test_the_journal_of_a_mount_that_lives_is_left_alone(hosts: Hosts, client: MemoryClient) -> None:
    first = hosts.start()
    write(first, "/f", b"waits")
    second = hosts.start()
    write(second, "/g", b"waits too")
    hosts.stop(second)
    assert list(client.objects) == ["g"]
    assert hosts.waiting() == ["/f"]
    assert [listed.in_use for listed in waiting_files(str(hosts.state))] == [True]


def test_files_of_another_part_of_the_bucket_wait_for_its_mount(hosts: Hosts, client: MemoryClient,
                                                                expected_logs: Callable[[str], None]) -> None:
    expected_logs("files that an ended mount had left .* stored")
    w = hosts.start(prefix="a/b/")
    write(w, "/f", b"waits")
    hosts.crash(w)
    hosts.stop(hosts.start(prefix="c/"))
    assert hosts.waiting() == ["/a/b/f"]
    hosts.start(prefix="a/")
    assert client.body("a/b/f") == b"waits"


# Failures


def test_a_failing_upload_is_tried_again_and_the_data_stay(hosts: Hosts, client: MemoryClient,
                                                           expected_logs: Callable[[str], None],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    expected_logs("/f waits in the journal and is tried again: .*NoWay")
    monkeypatch.setattr("cosfs.filesystem.writeback.FIRST_PAUSE_S", 0.001)
    for nth in (1, 2, 3):
        client.fail("put_object", error(503, "NoWay"), nth=nth)
    gate = client.block("put_object", nth=4)
    w = hosts.start(delay=0)
    write(w, "/f", b"content")
    gate.wait_entered()
    assert [listed.failure for listed in waiting_files(str(hosts.state))] == ["503 NoWay"] or \
        "NoWay" in waiting_files(str(hosts.state))[0].failure
    gate.open()
    w.filesystem._writeback.settle()
    hosts.stop(w)
    assert client.body("f") == b"content"
    assert client.count("put_object") == 4


def test_what_cannot_be_stored_at_unmounting_is_stored_by_the_next_mount(
        hosts: Hosts, client: MemoryClient, expected_logs: Callable[[str], None]) -> None:
    expected_logs("waits in the journal and is tried again")
    expected_logs(r"3 files wait in .*writeback-\w+; the next mount")
    expected_logs("of 3 files that an ended mount had left 3 are stored")
    for nth in range(1, 10):
        client.fail("put_object", NetworkError("no route"), nth=nth)
    w = hosts.start()
    for name in "abc":
        write(w, f"/{name}", name.encode())
    hosts.stop(w)
    assert client.objects == {}
    assert sorted(hosts.waiting()) == ["/a", "/b", "/c"]
    client.forget_faults()
    hosts.start()
    assert sorted(client.objects) == ["a", "b", "c"]
    assert hosts.waiting() == []


def test_a_recovery_that_fails_keeps_the_file_for_the_one_after(hosts: Hosts, client: MemoryClient,
                                                                expected_logs: Callable[[str], None]) -> None:
    expected_logs("had left . are stored|waits in .*no route")
    w = hosts.start()
    write(w, "/f", b"content")
    hosts.crash(w)
    client.fail("put_object", NetworkError("no route"))
    second = hosts.start()
    assert hosts.waiting() == ["/f"]
    assert "no route" in waiting_files(str(hosts.state))[0].failure
    hosts.stop(second)
    hosts.start()
    assert client.body("f") == b"content"


def test_a_conflict_is_kept_in_the_journal_with_fail(hosts: Hosts, client: MemoryClient,
                                                     expected_logs: Callable[[str], None], tmp_path: Path) -> None:
    expected_logs("/f waits in the journal, because another host has changed it as well")
    expected_logs("1 file waits in")
    expected_logs("had left 0 are stored, 1 stay|/f .* waits in .*cosfs recover --list")
    client.add("f", b"opened")
    w = hosts.start(conflict=Conflict.FAIL)
    write(w, "/f", b"ours")
    client.add("f", b"theirs")
    hosts.stop(w)
    assert client.body("f") == b"theirs"
    again = hosts.start(conflict=Conflict.FAIL, delay=None)
    assert client.body("f") == b"theirs"
    assert read(again, "/f") == b"theirs"
    hosts.stop(again)
    third = CosFilesystem(client, FilesystemConfig(state_folder=str(hosts.state), staging_folder=str(tmp_path)))
    assert third.export_waiting(str(tmp_path / "out"), discard=False) == [(str(tmp_path / "out/f"), "")]
    assert (tmp_path / "out/f").read_bytes() == b"ours"
    [(_, reason)] = third.export_waiting(str(tmp_path / "out"), discard=True)
    assert "exists" in reason
    assert third.export_waiting(str(tmp_path / "out2"), discard=True) == [(str(tmp_path / "out2/f"), "")]
    assert (hosts.waiting(), hosts.folders()) == ([], [])
    third.stop()


def test_a_conflict_makes_a_second_name_with_keep_both(hosts: Hosts, client: MemoryClient,
                                                       expected_logs: Callable[[str], None]) -> None:
    expected_logs("was changed by another host, whose version stays")
    expected_logs("had left . are stored")
    client.add("f", b"opened")
    w = hosts.start(conflict=Conflict.KEEP_BOTH)
    write(w, "/f", b"ours")
    client.add("f", b"theirs")
    hosts.crash(w)
    hosts.start(conflict=Conflict.KEEP_BOTH)
    assert client.body("f") == b"theirs"
    [second] = [key for key in client.objects if key != "f"]
    assert client.body(second) == b"ours"


def test_an_edit_whose_object_has_changed_since_is_kept(hosts: Hosts, client: MemoryClient, tmp_path: Path,
                                                        expected_logs: Callable[[str], None]) -> None:
    expected_logs("had left 0 are stored, 1 stay|/f .* waits in .*cosfs recover --list|cannot be had")
    client.add("f", DATA)
    w = hosts.start()
    handle = w.open("/f", os.O_RDWR)
    w.pwrite(handle, b"edited", MIB + 5)
    w.close(handle)
    hosts.crash(w)
    client.add("f", b"theirs")
    again = hosts.start(delay=None)
    assert client.body("f") == b"theirs"
    assert hosts.waiting() == ["/f"]
    [(path, reason)] = again.filesystem.export_waiting(str(tmp_path / "out"), discard=True)
    assert "cannot be had" in reason
    assert Path(path).stat().st_size == len(DATA)
    assert hosts.waiting() == ["/f"]


def test_a_journal_that_cannot_be_written_makes_close_wait_for_the_upload(
        hosts: Hosts, client: MemoryClient, expected_logs: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch) -> None:
    expected_logs("/f, and others maybe, are stored before their close returns: the disk is gone")
    w = hosts.start()
    journal = w.filesystem._context.journal
    monkeypatch.setattr(journal, "put", _fail)
    write(w, "/f", b"content")
    write(w, "/g", b"content")
    assert sorted(client.objects) == ["f", "g"]


def test_a_damaged_journal_is_reported_and_kept(hosts: Hosts, client: MemoryClient,
                                                expected_logs: Callable[[str], None]) -> None:
    expected_logs("writeback-broken.* cannot be used, and what waits there is not stored")
    folder = hosts.state / "writeback-broken"
    folder.mkdir()
    (folder / "journal-1.sqlite3").write_bytes(b"this is no database, whatever it is called" * 100)
    hosts.stop(hosts.start())
    assert hosts.folders() == ["writeback-broken"]


# Room


def test_a_writer_waits_for_the_room_that_uploads_make(hosts: Hosts, client: MemoryClient,
                                                       background: Callable[..., Future[Any]]) -> None:
    w = hosts.start(staging_limit_bytes=2 * MIB)
    write(w, "/a", DATA[:MIB])
    write(w, "/b", DATA[:MIB])
    gates = [client.block("put_object", nth=nth) for nth in (1, 2)]
    writing = background(write, w, "/c", DATA[:MIB])
    for gate in gates:
        gate.wait_entered()
    assert not writing.done()
    for gate in gates:
        gate.open()
    writing.result(WAIT_S)
    assert client.body("a") == client.body("b") == DATA[:MIB]


def test_a_full_disk_is_told_when_no_upload_succeeds(hosts: Hosts, client: MemoryClient,
                                                     expected_logs: Callable[[str], None]) -> None:
    expected_logs("waits in the journal and is tried again")
    expected_logs("1 file waits in")
    expected_logs("/c is not stored|had left . are stored|what was written after the last close is lost")
    for nth in range(1, 50):
        client.fail("put_object", error(503, "NoWay"), nth=nth)
    w = hosts.start(staging_limit_bytes=MIB)
    write(w, "/a", DATA[:MIB])
    handle = w.open("/c", os.O_WRONLY | os.O_CREAT, 0o600)
    with refused(errno.ENOSPC):
        w.pwrite(handle, b"x", 0)
    with refused(errno.ENOSPC):
        w.close(handle)
    hosts.stop(w)
    client.forget_faults()
    hosts.start()
    assert client.body("a") == DATA[:MIB]


def test_a_file_that_fills_the_disk_alone_is_stored_while_it_grows(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(staging_limit_bytes=2 * MIB)
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    for offset in range(0, len(DATA), 128 * KIB):
        w.pwrite(handle, DATA[offset:offset + 128 * KIB], offset)
        w.fsync(handle)
    w.close(handle)
    hosts.stop(w)
    assert client.body("f") == DATA


def test_a_file_that_left_while_it_was_written_is_stored_when_close_returns(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(staging_limit_bytes=2 * MIB)
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    for repeat in range(4):
        for offset in range(0, len(DATA), 128 * KIB):
            w.pwrite(handle, DATA[offset:offset + 128 * KIB], repeat * len(DATA) + offset)
    w.close(handle)
    assert client.body("f") == DATA * 4


# Others


def test_a_file_that_is_being_changed_is_not_stored_half_done(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=0.01)
    writeback = w.filesystem._writeback
    looked = threading.Event()
    look_again = writeback._look_again
    writeback._look_again = lambda waiting: (looked.set(), look_again(waiting))
    gate = client.block("put_object")
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    w.pwrite(handle, b"first", 0)
    with w.filesystem._table.get("/f").settled():
        w.fsync(handle)
        w.pwrite(handle, b"SECON", 0)
    assert looked.wait(WAIT_S)
    assert client.count("put_object") == 0
    w.pwrite(handle, b"second", 0)
    w.close(handle)
    gate.wait_entered()
    gate.open()
    writeback.settle()
    assert client.body("f") == b"second"


def test_eager_creation_has_an_empty_object_at_open(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=None, eager_create=True)
    handle = w.open("/f", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    assert client.body("f") == b""
    assert client.objects["f"].info.headers.metadata["mode"] == str(0o100600)
    w.pwrite(handle, b"content", 0)
    w.close(handle)
    assert client.body("f") == b"content"
    assert client.count("put_object") == 2


def test_eager_creation_tells_what_goes_wrong_at_open(hosts: Hosts, client: MemoryClient) -> None:
    w = hosts.start(delay=None, eager_create=True)
    client.fail("put_object", error(403, "AccessDenied"))
    with refused(errno.EACCES):
        w.open("/f", os.O_WRONLY | os.O_CREAT, 0o600)
    with refused(errno.ENOENT):
        w.stat("/f")
