"""The journal of unsent files: what was put comes back after the process is gone, and only one process has it."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable, Iterator

import pytest

from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import StagingFailed, StagingFull
from cosfs.filesystem.held import LocalBytes
from cosfs.filesystem.writeback_journal import Journal, JournalDamaged, Record, in_use, peek
from cosfs.namespace.attributes import Attributes
from cosfs.writing.extents import SENT, STAGED, ZERO, Remote, Run

ATTRIBUTES = Attributes(0o100640, 1, 2, 10**18 + 1, -5, 3, 0, {"user.ü": b"\0\xff"})
BASE = ObjectInfo("p/k", 30, "etag", 1.5e9, ObjectHeaders({"mode": "1"}, {"Content-Type": "x/y"}, "STANDARD_IA",
                                                          {"x-cos-acl": "private"}), "STANDARD_IA", 12, "version")
RUNS = (Run(0, 10, Remote("p/k", "etag", 5, 30)), Run(10, 20, STAGED), Run(20, 25, ZERO))


def record(path: str = "/f", staged: str = "") -> Record:
    return Record(path, path[1:], LocalBytes((), staged, b""), ATTRIBUTES)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.create(str(tmp_path), "p/")
    yield made
    made.close()


@pytest.fixture
def die(journal: Journal) -> Callable[[], Journal]:
    """The process ends as a killed one does, and another one takes its journal over."""
    def die() -> Journal:
        journal._connection.close()
        os.close(journal._lock_descriptor)
        taken = Journal.take_over(journal.folder)
        assert taken is not None
        journal.__dict__.update(taken.__dict__)
        return journal
    return die


def stage(journal: Journal, name: str) -> Path:
    path = Path(journal.folder, name)
    path.write_bytes(b"staged")
    return path


def test_what_was_put_comes_back_whole(journal: Journal, die: Callable[[], Journal]) -> None:
    stage(journal, "staged-1")
    full = Record("/a/\udcff", "p/a/x", LocalBytes(RUNS, "staged-1", b"\0\xff"), ATTRIBUTES, BASE, exclusive=True)
    number = journal.put(full, now_s=1.7e9)
    journal.note_failure(number, "no route")
    taken = die()
    assert taken.prefix == "p/"
    [row] = taken.waiting()
    assert (row.number, row.since_s, row.failure) == (number, 1.7e9, "no route")
    assert row.record.size_bytes == 25
    assert row.record == replace(full, base=row.record.base)
    base = row.record.base
    assert base is not None
    assert (base.key, base.etag, base.headers, base.crc64) == (BASE.key, BASE.etag, BASE.headers, BASE.crc64)


def test_rows_are_replaced_and_removed_with_their_staged_files(journal: Journal, die: Callable[[], Journal]) -> None:
    one, two, other = (stage(journal, f"staged-{name}") for name in ("1", "2", "other"))
    number = journal.put(record("/f", "staged-1"), now_s=1)
    second = journal.put(record("/g", "staged-other"), now_s=2)
    assert journal.put(record("/f", "staged-1"), number, now_s=3) == number
    assert one.exists()
    journal.put(record("/renamed", "staged-2"), number, now_s=4)
    assert (one.exists(), two.exists()) == (False, True)
    assert [(row.record.path, row.since_s) for row in journal.waiting()] == [("/renamed", 1), ("/g", 2)]
    journal.remove(number)
    assert (two.exists(), other.exists()) == (False, True)
    assert [row.number for row in die().waiting()] == [second]


def test_rows_come_in_the_order_in_which_they_were_first_put(journal: Journal) -> None:
    numbers = [journal.put(record(f"/{name}"), now_s=0) for name in "cab"]
    journal.put(record("/c"), numbers[0], now_s=9)
    assert [row.record.path for row in journal.waiting()] == ["/c", "/a", "/b"]


def test_a_journal_that_is_in_use_is_seen_and_not_taken(journal: Journal) -> None:
    journal.put(record(), now_s=0)
    assert in_use(journal.folder)
    assert Journal.take_over(journal.folder) is None
    prefix, rows = peek(journal.folder)
    assert (prefix, [row.record.path for row in rows]) == ("p/", ["/f"])


def test_what_a_killed_process_was_promised_is_there(tmp_path: Path) -> None:
    script = ("import os, sys, signal\n"
              "from cosfs.filesystem.writeback_journal import Journal, Record\n"
              "from cosfs.filesystem.held import LocalBytes\n"
              "from cosfs.namespace.attributes import Attributes\n"
              "journal = Journal.create(sys.argv[1], '')\n"
              "for number in range(50):\n"
              "    local = LocalBytes((), '', b'')\n"
              "    journal.put(Record(f'/{number}', f'{number}', local, Attributes(1, 2, 3, 4, 5, 6)), now_s=0)\n"
              "os.kill(os.getpid(), signal.SIGKILL)\n")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=30, check=False)
    assert done.returncode < 0
    [folder] = tmp_path.iterdir()
    assert not in_use(str(folder))
    journal = Journal.take_over(str(folder))
    assert journal is not None
    assert len(journal.waiting()) == 50
    assert journal.close()
    assert folder.exists()


def test_an_empty_journal_goes_with_what_was_promised_to_nobody(journal: Journal, tmp_path: Path) -> None:
    stage(journal, "staged-1")
    assert not journal.close()
    assert list(tmp_path.iterdir()) == []
    assert Journal.take_over(journal.folder) is None


def test_a_folder_that_was_left_empty_goes(tmp_path: Path) -> None:
    folder = tmp_path / "writeback-x"
    folder.mkdir()
    assert Journal.take_over(str(folder)) is None
    assert not folder.exists()


def test_what_is_no_database_is_reported_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "writeback-x"
    folder.mkdir()
    (folder / "journal-1.sqlite3").write_bytes(b"something else" * 1000)
    with pytest.raises(JournalDamaged):
        Journal.take_over(str(folder))
    with pytest.raises(JournalDamaged):
        peek(str(folder))
    assert not in_use(str(folder))
    assert folder.exists()


def test_a_row_that_makes_no_sense_is_reported(journal: Journal) -> None:
    number = journal.put(record(), now_s=0)
    journal._connection.execute("UPDATE files SET record = '{}' WHERE number = ?", (number,))
    with pytest.raises(JournalDamaged):
        journal.waiting()


def test_bytes_that_are_only_in_the_service_cannot_be_put(journal: Journal) -> None:
    with pytest.raises(ValueError, match="not on the local disk"):
        journal.put(Record("/f", "f", LocalBytes((Run(0, 1, SENT),), "", b""), ATTRIBUTES), now_s=0)
    assert journal.waiting() == []


@pytest.mark.parametrize(("failure", "expected"), [
    (sqlite3.OperationalError("database or disk is full"), StagingFull),
    (sqlite3.OperationalError("disk I/O error"), StagingFailed),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StagingFull),
])
def test_failures_of_the_disk_get_their_names(journal: Journal, monkeypatch: pytest.MonkeyPatch, failure: Exception,
                                              expected: type) -> None:
    class Broken:
        def __enter__(self) -> None:
            raise failure

        def __exit__(self, *_: object) -> None:
            pass
    whole = journal._connection
    monkeypatch.setattr(journal, "_connection", Broken())
    with pytest.raises(expected):
        journal.put(record(), now_s=0)
    monkeypatch.setattr(journal, "_connection", whole)
    assert journal.waiting() == []
