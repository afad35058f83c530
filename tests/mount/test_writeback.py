"""Writeback mode through the kernel: killed mounts lose nothing that was promised; the command shows and exports it."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest

from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.server import ENVIRONMENT, CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

LIMIT_S = 20.0
KIB = 1024
RETRIES = r"WARNING cosfs\.cos\."
RECOVERED = r"files that an ended mount had left"
LATER = "writeback=3600"
KILLED_AFTER = [*range(11), 13, 17, 22, 28, 35, 43, 52, 60, 75]


class Program:
    """Writes, rewrites, edits, appends, renames and removes files, and knows what it was promised.

    ``promised``: contents by path, None for no file. ``doubtful``: what the call that is under way may have made of it.
    """

    def __init__(self, root: str, seed: int) -> None:
        self._root = root
        self._rng = random.Random(seed)
        self.promised: Dict[str, Optional[bytes]] = {}
        self.doubtful: Dict[str, Tuple[Optional[bytes], ...]] = {}
        self.done = 0
        self.error: Optional[OSError] = None

    def run(self) -> None:
        try:
            while True:
                self._step()
                self.done += 1
        except OSError as exc:
            self.error = exc

    def _step(self) -> None:
        known = [path for path, body in self.promised.items() if body is not None]
        what = self._rng.choice(["write", "write", "write", "edit", "append", "rename", "remove"]) if known else "write"
        path = self._rng.choice(known) if what != "write" else f"f{self._rng.randrange(12)}"
        old = self.promised.get(path)
        size = self._rng.choice((0, 1, 5 * KIB, 300 * KIB))
        new = self._rng.randbytes(size)
        if what == "rename":
            target = f"f{self._rng.randrange(12)}"
            if target != path:
                self._do({path: None, target: old}, lambda: os.rename(self._path(path), self._path(target)))
        elif what == "remove":
            self._do({path: None}, lambda: os.unlink(self._path(path)))
        elif what == "write":
            self._do({path: new}, lambda: self._put(path, new, "wb"))
        elif what == "append" or not old:
            self._do({path: (old or b"") + new}, lambda: self._put(path, new, "ab"))
        else:
            at = self._rng.randrange(len(old))
            self._do({path: old[:at] + new + old[at + len(new):]}, lambda: self._put(path, new, "r+b", at))

    def _do(self, changes, call) -> None:
        self.doubtful = {path: (self.promised.get(path), after) for path, after in changes.items()}
        call()
        if None in changes.values():  # removals have a moment of their own, whatever the mode
            folder = os.open(self._root, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self.promised.update(changes)
        self.doubtful = {}

    def _put(self, path: str, data: bytes, mode: str, at: int = 0) -> None:
        with open(self._path(path), mode) as file:
            if at:
                file.seek(at)
            file.write(data)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def check(self, stored: Dict[str, bytes]) -> None:
        for path in {*self.promised, *self.doubtful, *stored}:
            allowed = self.doubtful.get(path, (self.promised.get(path),))
            assert stored.get(path) in allowed, f"{path}: {len(stored.get(path) or b'')} bytes, " \
                f"promised were {[None if body is None else len(body) for body in allowed]}"


def wait_until(probe) -> None:
    limit = time.monotonic() + LIMIT_S
    while not probe():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.002)


@pytest.mark.parametrize("after", KILLED_AFTER)
def test_a_killed_mount_loses_nothing_that_was_promised(after: int, make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount("writeback=0.05" if after % 2 else LATER)
    mount.expect_log(RECOVERED)
    mount.expect_log(RETRIES)
    program = Program(mount.root, after)
    running = threading.Thread(target=program.run)
    running.start()
    wait_until(lambda: program.done >= after)
    mount.kill(before_clearing=lambda: running.join(LIMIT_S))
    assert program.error is not None
    mount.start()
    program.check({key: store.body(key) for key in store.keys()})
    program.check({name: Path(mount.root, name).read_bytes() for name in os.listdir(mount.root)})
    assert store.pending_uploads() == []
    mount.unmount()


def test_unmounting_uploads_what_waits(make_mount: MountFactory, store: CosStore, server: CosServer) -> None:
    mount = make_mount(LATER)
    server.clear_requests()
    for number in range(20):
        Path(mount.root, f"f{number}").write_bytes(b"%d" % number)
        os.chmod(f"{mount.root}/f{number}", 0o600)
        os.utime(f"{mount.root}/f{number}", ns=(10**18, 10**18 + number))
    assert sorted(os.listdir(mount.root)) == sorted(f"f{number}" for number in range(20))
    assert store.keys() == []
    mount.unmount()
    assert {key: store.body(key) for key in store.keys()} == {f"f{number}": b"%d" % number for number in range(20)}
    assert store.metadata("f7")["mode"] == str(stat.S_IFREG | 0o600)
    assert store.metadata("f7")["mtime-ns"] == "1000000000.000000007"
    assert len(server.requests(method="PUT")) == 20


def test_files_are_uploaded_by_themselves(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount("writeback=0")
    Path(mount.root, "f").write_bytes(b"content")
    wait_until(lambda: store.keys() == ["f"])
    assert store.body("f") == b"content"


def test_programs_go_on_while_the_server_is_away(make_mount: MountFactory, tmp_path: Path) -> None:
    with CosServer(tmp_path / "own") as own, ExitStack() as stack:
        mount = stack.enter_context(closing(MountFactory(own, "", tmp_path / "away")))("writeback=0,retries=2")
        mount.expect_log(RETRIES)
        mount.expect_log("waits in the journal and is tried again")
        assert os.listdir(mount.root) == []
        own.kill()
        Path(mount.root, "f").write_bytes(b"first")
        for number in range(5):
            with open(f"{mount.root}/f", "r+b") as file:
                file.write(b"%06d" % number)
        assert Path(mount.root, "f").read_bytes() == b"000004"
        mount.kill()
        own.restart()
        mount.expect_log(RECOVERED)
        mount.start()
        status, _, body = own.request("GET", "f")
        assert (status, body) == (200, b"000004")
        mount.unmount()


def test_a_mount_that_ends_without_the_server_leaves_the_files_to_the_next(tmp_path: Path) -> None:
    with CosServer(tmp_path / "own") as own, ExitStack() as stack:
        mount = stack.enter_context(closing(MountFactory(own, "", tmp_path / "away")))(LATER, "retries=2")
        for number in range(30):
            Path(mount.root, f"f{number}").write_bytes(b"%d" % number)
        own.kill()
        mount.expect_log(RETRIES)
        mount.expect_log("waits in the journal and is tried again")
        mount.expect_log(r"30 files wait in .*; the next mount")
        mount.unmount()
        assert "30 files wait in" in mount.text()
        own.restart()
        mount.expect_log(RECOVERED)
        mount.start()
        assert own.request("GET", "f29")[2] == b"29"
        mount.unmount()


# The command


def run_recover(server: CosServer, bucket: str, mount: Mount, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cosfs", "recover", bucket, *words, "-o",
         f"url={server.url},passwd_file={mount.folder}/passwd,state_dir={mount.folder}/state"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_recover_lists_exports_and_uploads(make_mount: MountFactory, server: CosServer, store: CosStore, folder: str,
                                           tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 << 20)
    store.put("large", content)
    mount = make_mount(LATER)
    bucket = f"{server.bucket}:/{folder}"
    os.mkdir(f"{mount.root}/d")
    Path(mount.root, "d", "new").write_bytes(b"new")
    with open(f"{mount.root}/large", "r+b") as file:
        file.seek(1 << 20)
        file.write(b"edited")
    edited = content[:1 << 20] + b"edited" + content[(1 << 20) + 6:]

    def lines(*words: str, status: int) -> List[str]:
        done = run_recover(server, bucket, mount, *words)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout.splitlines()

    running = lines("--list", status=1)
    assert [line.partition(", since")[0] for line in running] == [
        f"/{folder}d/new: 3 bytes", f"/{folder}large: {len(content)} bytes"]
    assert all("its mount is running" in line for line in running)
    assert lines(status=0) == ["nothing to recover"]
    assert lines("--export", str(tmp_path / "out"), status=0) == ["no file waits"]
    mount.kill()
    assert len(lines("--list", status=1)) == 2
    assert lines("--export", str(tmp_path / "out"), status=0) == [f"{tmp_path}/out/d/new", f"{tmp_path}/out/large"]
    assert Path(tmp_path, "out/d/new").read_bytes() == b"new"
    assert Path(tmp_path, "out/large").read_bytes() == edited
    assert "File exists" in lines("--export", str(tmp_path / "out"), status=1)[0]
    assert store.body("large") == content
    assert "of 2 files that an ended mount had left 2 are stored" in lines(status=0)[0]
    assert store.body("large") == edited
    assert store.body("d/new") == b"new"
    assert lines("--list", status=0) == ["no file waits"]


def test_recover_discards_what_it_has_exported(make_mount: MountFactory, server: CosServer, store: CosStore,
                                               folder: str, tmp_path: Path) -> None:
    mount = make_mount(LATER)
    Path(mount.root, "f").write_bytes(b"content")
    mount.kill()
    done = run_recover(server, f"{server.bucket}:/{folder}", mount, f"--export={tmp_path}/out", "--discard")
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path, "out/f").read_bytes() == b"content"
    assert run_recover(server, f"{server.bucket}:/{folder}", mount).stdout == "nothing to recover\n"
    assert store.keys() == []


@pytest.mark.parametrize(("words", "complaint"), [
    (["--discard"], "--discard goes with --export DIR"),
    (["--export"], "--export needs a folder"),
    (["--list", "--discard"], "--list stands alone"),
])
def test_recover_refuses_what_would_lose_data(words: List[str], complaint: str) -> None:
    done = subprocess.run([sys.executable, "-m", "cosfs", "recover", "b-1250000000", "-o", "url=http://127.0.0.1:1",
                           *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cosfs: {complaint}")


def test_without_a_place_for_the_journal_the_mount_is_refused(make_mount: MountFactory, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    mount = make_mount.unstarted("writeback", f"state_dir={blocked}")
    mount.point.mkdir(parents=True)
    done = subprocess.run(mount.command(), env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S,
                          check=False)
    assert done.returncode == 1
    assert "writeback needs a folder for data that must outlive the mount" in done.stderr.splitlines()[-1]
    shutil.rmtree(mount.folder)
