"""Whose folders do not open: how programs that index are recognised, and what that costs."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import pytest

from cosfs import scanner_guard
from cosfs.config import SCANNERS
from cosfs.errors import KeptOut, to_errno
from cosfs.metrics import Refusals
from cosfs.scanner_guard import ScannerGuard, _Process
from cosfs.updatedb_conf import passed_over

LIMIT_S = 10.0
_PR_SET_NAME = 15


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture
def guard(refusals: Refusals, expected_logs: Callable[[str], None]) -> ScannerGuard:
    expected_logs("is kept out of /mnt")
    return ScannerGuard(SCANNERS, refusals, "/mnt")


def kept_out(guard: ScannerGuard, tid: int) -> bool:
    try:
        guard.admit(tid, "/folder")
    except KeptOut as exc:
        assert os.strerror(to_errno(exc)) == "Permission denied"
        return True
    return False


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def await_name(pid: int, name: str) -> None:
    """Until the process is that program: between fork and exec it has its parent's name."""
    limit = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}/comm").read_text().strip() != name[:15]:
        assert time.monotonic() < limit, name
        time.sleep(0.005)


@pytest.mark.parametrize(("name", "out"), [
    ("updatedb", True), ("updatedb.findutils", True), ("tracker-miner-fs", True), ("tracker-miner-fs-3", True),
    ("baloo_file_extractor", True), ("find", False), ("updatedb2", False), ("rsync", False)])
def test_programs_are_known_by_their_names_as_the_kernel_cuts_them(guard: ScannerGuard, name: str, out: bool,
                                                                  tmp_path: Path) -> None:
    program = shutil.copy("/bin/sleep", tmp_path / name)
    with running(str(program), "60") as process:
        await_name(process.pid, name)
        assert kept_out(guard, process.pid) == out


def test_what_a_script_of_that_name_starts_is_kept_out(guard: ScannerGuard, tmp_path: Path) -> None:
    script = tmp_path / "updatedb"
    script.write_text("#!/bin/sh\nsh -c 'sleep 60 & echo $!; wait' | cat\n")
    script.chmod(0o755)
    with running(str(script)) as process:
        assert process.stdout is not None
        walker = int(process.stdout.readline())
        await_name(walker, "sleep")
        try:
            assert kept_out(guard, walker)
        finally:
            os.kill(walker, 9)


def test_of_threads_the_name_of_the_program_counts(refusals: Refusals, expected_logs: Callable[[str], None]) -> None:
    expected_logs("is kept out")
    ready, over = threading.Event(), threading.Event()

    def work() -> None:
        assert ctypes.CDLL(None).prctl(_PR_SET_NAME, b"a-thread") == 0
        ready.set()
        over.wait(LIMIT_S)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(LIMIT_S)
        assert thread.native_id is not None
        program = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
        assert Path(f"/proc/{thread.native_id}/comm").read_text() == "a-thread\n"
        assert kept_out(ScannerGuard([program], refusals, "/mnt"), thread.native_id)
        assert not kept_out(ScannerGuard(["a-thread"], refusals, "/mnt"), thread.native_id)
    finally:
        over.set()
        thread.join()


def test_a_process_that_becomes_another_program_is_looked_at_anew(guard: ScannerGuard, tmp_path: Path) -> None:
    program = shutil.copy("/bin/sleep", tmp_path / "updatedb")
    with running("sh", "-c", f"read line; exec {program} 60") as process:
        await_name(process.pid, "sh")
        assert not kept_out(guard, process.pid)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        await_name(process.pid, "updatedb")
        assert kept_out(guard, process.pid)


class Procfs:
    """In place of /proc: ``processes`` by number, and which of them were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes: Dict[int, Optional[_Process]] = {}
        self.read: List[int] = []
        monkeypatch.setattr(scanner_guard, "_process", self._process)
        monkeypatch.setattr(scanner_guard, "_leader", lambda tid: tid)

    def _process(self, number: int) -> _Process:
        self.read.append(number)
        found = self.processes.get(number)
        if found is None:
            raise FileNotFoundError(number)
        return found


@pytest.fixture
def procfs(monkeypatch: pytest.MonkeyPatch) -> Procfs:
    return Procfs(monkeypatch)


def test_a_number_that_is_given_to_another_process_is_looked_at_anew(guard: ScannerGuard, procfs: Procfs) -> None:
    procfs.processes = {7: _Process(b"updatedb", 1, b"70"), 9: _Process(b"find", 1, b"100")}
    assert not kept_out(guard, 9)
    procfs.processes[9] = _Process(b"find", 7, b"200")
    assert kept_out(guard, 9)
    procfs.processes[9] = _Process(b"find", 1, b"300")
    assert not kept_out(guard, 9)


def test_a_caller_that_is_known_costs_one_look(guard: ScannerGuard, procfs: Procfs) -> None:
    procfs.processes = {5: _Process(b"init", 0, b"1"), 7: _Process(b"sh", 5, b"7"), 9: _Process(b"find", 7, b"10")}
    assert not kept_out(guard, 9)
    assert procfs.read == [9, 7, 5]
    for _ in range(100):
        assert not kept_out(guard, 9)
    assert procfs.read == [9, 7, 5, *[9] * 100]


def test_the_parents_that_are_looked_at_are_four(guard: ScannerGuard, procfs: Procfs) -> None:
    procfs.processes = {number: _Process(b"sh", number - 1, b"1") for number in range(10, 20)}
    procfs.processes[10] = _Process(b"updatedb", 1, b"1")
    assert kept_out(guard, 14)
    assert not kept_out(guard, 15)


def test_callers_and_parents_out_of_sight_are_let_in(guard: ScannerGuard, procfs: Procfs) -> None:
    procfs.processes = {9: _Process(b"find", 7, b"10")}
    assert not any(kept_out(guard, tid) for tid in (0, -1, 3, 9))
    assert not kept_out(guard, 9)
    assert procfs.read[-1] == 9, "that nothing is known of its parent is known"


def test_the_callers_that_are_remembered_are_bounded(guard: ScannerGuard, procfs: Procfs) -> None:
    for number in range(2, 1000):
        procfs.processes[number] = _Process(b"find", 1, b"1")
        assert not kept_out(guard, number)
    assert len(guard._known) <= 256


def test_what_is_not_procfs_lets_all_in(guard: ScannerGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "1 (updatedb", "1 (updatedb) S"):
        monkeypatch.setattr(scanner_guard, "_read", lambda *_, text=text: text.encode())
        assert not kept_out(guard, 9)


def test_a_name_may_have_any_character(refusals: Refusals, expected_logs: Callable[[str], None],
                                       tmp_path: Path) -> None:
    expected_logs("is kept out")
    program = shutil.copy("/bin/sleep", tmp_path / "a) S (b")
    with running(str(program), "60") as process:
        await_name(process.pid, "a) S (b")
        assert kept_out(ScannerGuard(["a) S (b"], refusals, "/mnt"), process.pid)


def test_each_refusal_is_counted_and_the_first_of_a_program_is_logged(
        guard: ScannerGuard, refusals: Refusals, procfs: Procfs, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_guard, "passed_over", lambda _: None)  # whatever this machine's says
    caplog.set_level(logging.DEBUG)
    procfs.processes = {7: _Process(b"updatedb.plocat", 1, b"1"), 8: _Process(b"baloo_file", 1, b"1")}
    assert [kept_out(guard, tid) for tid in (7, 8, 7, 7)] == [True] * 4
    assert refusals.told() == {"updatedb.plocate": 3, "baloo_file": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "updatedb.plocate is kept out of /mnt, where it would cost requests for each folder; have it pass such mounts "
        "over: add fuse.cosfs to PRUNEFS in /etc/updatedb.conf (said once)",
        "baloo_file is kept out of /mnt, where it would cost requests for each folder; take that folder out of its "
        "settings, or let it in by scanner_guard=-baloo_file (said once)"]


def test_updatedb_that_is_told_to_pass_the_mount_over_is_no_warning(
        guard: ScannerGuard, procfs: Procfs, caplog: pytest.LogCaptureFixture, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").write_text('PRUNEFS="NFS fuse.cosfs"\n')
    monkeypatch.setattr(scanner_guard, "passed_over", lambda point: passed_over(point, tmp_path / "conf"))
    caplog.set_level(logging.INFO)
    procfs.processes = {7: _Process(b"updatedb", 1, b"1"), 8: _Process(b"baloo_file", 1, b"1")}
    assert [kept_out(guard, tid) for tid in (7, 8)] == [True] * 2
    assert [(record.levelname, record.getMessage()[:50]) for record in caplog.records] == [
        ("INFO", "updatedb has opened /mnt, and will not list it: fu"),
        ("WARNING", "baloo_file is kept out of /mnt, where it would cos")]
