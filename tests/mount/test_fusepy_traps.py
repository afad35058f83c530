"""The traps of fusepy 3.0.1 that lose data, each held shut by a test (docs/ARCHITECTURE.md, "Why the boundary").

With mfusepy on libfuse 3 the same must hold.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator, List, Sequence

import pytest

from tests.conftest import MountFactory, require_fuse
from tests.support.mount import REPOSITORY
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore
from tests.support.trap_mount import CROWD, EXPECTED, RAISED

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

START_LIMIT_S = 20.0


@pytest.fixture(scope="module", params=["2", "3"], ids=["libfuse2", "libfuse3"])
def libfuse(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory, libfuse: str) -> Iterator[Path]:
    """The mount point of a ``TrapFilesystem`` in a process of its own."""
    require_fuse()
    folder = tmp_path_factory.mktemp("traps")
    point = folder / "mnt"
    point.mkdir()
    device = point.stat().st_dev
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "tests.support.trap_mount", str(point), libfuse],
                                   cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + START_LIMIT_S
        while point.stat().st_dev == device:
            assert process.poll() is None and time.monotonic() < limit, (folder / "log").read_text()
            time.sleep(0.02)
        yield point
        subprocess.run(["fusermount", "-u", point], check=True)
        assert process.wait(timeout=START_LIMIT_S) == 0
    finally:
        subprocess.run(["fusermount", "-uz", point], check=False, stderr=subprocess.DEVNULL)
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", RAISED)
def test_f1_exception_in_read_is_an_error_and_no_end_of_file(traps: Path, kind: str) -> None:
    handle = os.open(traps / f"read-{kind}", os.O_RDONLY)
    with refused(EXPECTED.get(kind, errno.EIO)):
        os.read(handle, 10)
    os.close(handle)


@pytest.mark.parametrize("kind", RAISED)
def test_f1_exception_in_write_is_an_error_and_no_success(traps: Path, kind: str) -> None:
    handle = os.open(traps / f"write-{kind}", os.O_WRONLY)
    with refused(EXPECTED.get(kind, errno.EIO)):
        os.write(handle, b"abc")
    os.close(handle)


@pytest.mark.parametrize("kind", RAISED)
def test_f1_exception_in_getattr_is_an_error(traps: Path, kind: str) -> None:
    with refused(EXPECTED.get(kind, errno.EIO)):
        os.stat(traps / f"stat-{kind}")


def test_f2_mount_still_serves_after_every_exception(traps: Path) -> None:
    for kind in RAISED:
        for operation in ("read", "write", "flush"):
            handle = os.open(traps / f"{operation}-{kind}", os.O_RDWR)
            for call in (lambda fd=handle: os.read(fd, 1), lambda fd=handle: os.write(fd, b"x"),
                         lambda fd=handle: os.close(fd)):
                try:
                    call()
                except OSError as exc:
                    assert exc.errno == EXPECTED.get(kind, errno.EIO)
    assert (traps / "plain").read_bytes() == b"0123456789"


def test_f3_reads_run_at_the_same_time(traps: Path) -> None:
    def read() -> bytes:
        handle = os.open(traps / "crowd", os.O_RDONLY | os.O_DIRECT)
        try:
            return os.read(handle, 10)
        finally:
            os.close(handle)

    with ThreadPoolExecutor(CROWD) as readers:
        results = [future.result() for future in [readers.submit(read) for _ in range(CROWD)]]
    assert results == [b"0123456789"] * CROWD


def test_f3_readers_and_writers_of_one_file_at_once_lose_nothing(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    path = mount.point / "f"
    data = random.Random(33).randbytes(6 << 20)
    store.put("f", data)

    def read(seed: int) -> None:
        numbers = random.Random(seed)
        handle = os.open(path, os.O_RDONLY)
        for _ in range(40):
            offset, size = numbers.randrange(len(data)), numbers.randrange(1, 300_000)
            assert os.pread(handle, size, offset) == data[offset:offset + size]
        os.close(handle)

    def write(number: int) -> bytes:
        mine = bytes([number]) * 200_000
        handle = os.open(mount.point / "together", os.O_WRONLY | os.O_CREAT)
        os.pwrite(handle, mine, number * len(mine))
        os.close(handle)
        return mine

    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(read, seed) for seed in range(8)]
        writes = [pool.submit(write, number) for number in range(6)]
        for future in reads:
            future.result()
        expected = b"".join(future.result() for future in writes)
    assert store.body("together") == expected


@pytest.mark.parametrize("kind", RAISED)
def test_f4_error_in_flush_reaches_close(traps: Path, kind: str) -> None:
    handle = os.open(traps / f"flush-{kind}", os.O_WRONLY)
    with refused(EXPECTED.get(kind, errno.EIO)):
        os.close(handle)


def test_f4_error_in_release_reaches_nobody_so_nothing_may_be_left_for_it(traps: Path) -> None:
    os.close(os.open(traps / "release-ConnectionError", os.O_WRONLY))


def test_f4_refused_upload_reaches_close_and_keeps_the_old_object(make_mount: MountFactory, server: CosServer,
                                                                  store: CosStore) -> None:
    mount = make_mount("retries=2")
    mount.expect_log("AccessDenied|is not stored, as its close or fsync was told")
    (mount.point / "f").write_bytes(b"old")
    server.set_faults("kind=status,status=403,code=AccessDenied,op=put_object")
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_TRUNC)
    os.write(handle, b"new")
    with refused(errno.EACCES):
        os.close(handle)
    mount.wait_for(lambda: "is not stored" in mount.text(), "last attempt, which release makes after close", 20)
    server.clear_faults()
    assert store.body("f") == b"old"
    assert (mount.point / "f").read_bytes() == b"old"


@pytest.mark.parametrize("options", [(), ("writeback=0",)], ids=["close", "writeback"])
def test_f4_of_two_descriptors_the_first_stores_nothing_and_nothing_is_lost(
        options: Sequence[str], make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount(*options)
    (mount.point / "f").write_bytes(b"old")
    mount.wait_for(lambda: store.has("f"), "the first content", 20)
    first = os.open(mount.point / "f", os.O_WRONLY | os.O_TRUNC)
    second = os.dup(first)
    os.close(first)
    assert store.body("f") == b"old"
    # who is killed has stored what it has written, and the truncation if that is all
    for content in (b"", b"new"):
        script = f"import os, signal; os.close(os.dup(1)); os.write(1, {content!r}); os.kill(0, signal.SIGKILL)"
        with open(mount.point / "g", "wb") as output:
            subprocess.run([sys.executable, "-c", script], stdout=output, start_new_session=True, check=False)
            output.close()
        mount.wait_for(lambda content=content: store.has("g") and store.body("g") == content, "what was written", 20)
    os.write(second, b"new")
    os.close(second)
    mount.wait_for(lambda: store.body("f") == b"new", "the new content", 20)


def test_f4_of_two_descriptors_the_last_one_gets_the_error(make_mount: MountFactory, server: CosServer,
                                                           store: CosStore) -> None:
    mount = make_mount("retries=2")
    mount.expect_log("AccessDenied|is not stored, as its close or fsync was told")
    (mount.point / "f").write_bytes(b"old")
    server.set_faults("kind=status,status=403,code=AccessDenied,op=put_object")
    for content in (b"", b"new"):
        first = os.open(mount.point / "f", os.O_WRONLY | os.O_TRUNC)
        second = os.dup(first)
        os.close(first)
        os.write(second, content)
        with refused(errno.EACCES):
            os.fsync(second)
        with refused(errno.EACCES):
            os.close(second)
    mount.wait_for(lambda: mount.text().count("is not stored") == 2, "the last attempts", 20)
    server.clear_faults()
    assert store.body("f") == b"old" == (mount.point / "f").read_bytes()


def test_f4_burst_of_503_is_an_error_of_close_only_when_it_lasts(make_mount: MountFactory, server: CosServer,
                                                                store: CosStore) -> None:
    mount = make_mount("retries=2")
    mount.expect_log("SlowDown|again in|is not stored, as its close or fsync was told")
    server.set_faults("kind=status,op=put_object,times=1")
    (mount.point / "f").write_bytes(b"old")
    assert store.body("f") == b"old"
    server.set_faults("kind=status,op=put_object")
    handle = os.open(mount.point / "f", os.O_WRONLY | os.O_TRUNC)
    os.write(handle, b"new")
    with refused(errno.EIO):
        os.close(handle)
    mount.wait_for(lambda: "is not stored" in mount.text(), "last attempt, which release makes after close", 20)
    server.clear_faults()
    assert store.body("f") == b"old"
    assert store.pending_uploads() == []


def test_f5_writes_arrive_in_128_kib_and_with_libfuse_3_in_1_mib(traps: Path, libfuse: str) -> None:
    handle = os.open(traps / "sizes", os.O_RDWR)
    # touched memory: the kernel cuts a write at pages that it would have to fault in
    os.write(handle, b"x" * (1 << 20))
    os.close(handle)
    sizes = [int(size) for size in (traps / "sizes").read_text().split()]
    assert sizes[-8:] == [131072] * 8 if libfuse == "2" else sizes[-1:] == [1 << 20]


def test_f5_threads_work_after_daemonising(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount.unstarted()
    try:
        mount.start(foreground=False)
        mount.wait_end()
        assert mount.status == 0
        daemon = _processes_with(mount.root)
        assert len(daemon) == 1
        data = random.Random(34).randbytes(24 << 20)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda name: (mount.point / name).write_bytes(data), ("a", "b", "c")))
            digests = list(pool.map(lambda name: hashlib.sha256(store.body(name)).digest(), ("a", "b", "c")))
        assert digests == [hashlib.sha256(data).digest()] * 3
        assert store.pending_uploads() == []
        subprocess.run(["fusermount", "-u", mount.root], check=True)
        mount.wait_for(lambda: not _processes_with(mount.root), "end of the daemon", 20)
        assert mount.text() == ""
    finally:
        mount.discard()
        for pid in _processes_with(mount.root):
            os.kill(pid, signal.SIGKILL)


def _processes_with(word: str) -> List[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if word.encode() in words and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def test_a_thread_that_cannot_be_started_is_nobodys_answer(monkeypatch: pytest.MonkeyPatch,
                                                           expected_logs: Callable[[str], None]) -> None:
    """An exception that leaves a callback of ctypes is a zero for libfuse: a clean end of file, a write that worked."""
    from cosfs.fuse_binding import _Loops

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expected_logs("no more than 0 threads serve the mount")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    loops = _Loops(0, 8)
    loops.begin_call()
    loops.begin_call()
    assert loops._threads == []
    with pytest.raises(RuntimeError, match="no thread can be started"):
        loops.run()



_LOOPS_IN_A_PROCESS = """
import linecache, os, signal, sys, threading, time
from cosfs import fuse_binding

serving, ended = threading.Event(), threading.Event()

def serve(_):
    serving.set()
    ended.wait()

def main_waits():
    frame = sys._current_frames()[threading.main_thread().ident]
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return "select.select(" in line or "waiter.acquire()" in line

def receive():
    serving.wait()
    limit_s = time.monotonic() + 10
    while not main_waits() and time.monotonic() < limit_s:
        os.sched_yield()
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))

fuse_binding._loop, fuse_binding._exit = serve, lambda _: ended.set()
threading.Thread(target=receive, daemon=True).start()
fuse_binding._Loops(0, 2).run()
print("ended")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_another_thread_got_ends_the_loops(number: int) -> None:
    """The main thread, in which Python handles it, is not interrupted by that."""
    result = subprocess.run([sys.executable, "-c", _LOOPS_IN_A_PROCESS, str(int(number))], cwd=REPOSITORY, timeout=30,
                            capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "ended\n"), result.stderr
