"""What writeback has promised outlives crashes and failing services, and what was removed does not come back."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from cosfs.config import Conflict, FilesystemConfig
from cosfs.errors import NetworkError, StagingFailed
from cosfs.filesystem import CosFilesystem
from cosfs.filesystem.writeback_recovery import waiting_files
from cosfs.units import MIB
from tests.support.memory_client import MemoryClient, error
from tests.support.writeback_hosts import DATA, Hosts, read, write, writes

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def hosts(client: MemoryClient, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(client, tmp_path)
    yield made
    made.close()




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


def test_a_renamed_file_that_borrows_what_is_in_the_bucket_stays_renamed(hosts: Hosts, client: MemoryClient) -> None:
    client.add("source", DATA[:100_000])
    w = hosts.start()
    write(w, "/from", b"promised")
    source, target = w.open("/source", os.O_RDONLY), w.open("/from", os.O_WRONLY)
    w.filesystem.copy_range(source, 0, target, 8, 100_000)
    w.rename("/from", "/to")
    hosts.crash(w)
    hosts.start()
    assert sorted(client.objects) == ["source", "to"]
    assert client.body("to") == b"promised" + DATA[:100_000]


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
    w.pwrite(handle, b"never closed, and too large for memory", 1 << 20)
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


def test_what_was_stored_after_a_promise_is_not_replaced_by_it(hosts: Hosts, client: MemoryClient,
                                                               expected_logs: Callable[[str], None]) -> None:
    expected_logs("had left 0 are stored, 1 stay|was stored in the bucket after this was")
    w = hosts.start()
    write(w, "/f", b"promised long ago")
    hosts.crash(w)
    info = client.add("f", b"newer")
    client.objects["f"] = replace(client.objects["f"], info=replace(info, last_modified_s=time.time() + 5))
    hosts.stop(hosts.start())
    assert client.body("f") == b"newer"
    assert hosts.waiting() == ["/f"]


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
