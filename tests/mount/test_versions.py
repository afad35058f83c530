"""Old versions and snapshots in real mounts, by the programs that people use."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import pytest

from tests.conftest import MountFactory, new_folder
from tests.support.mount import Mount
from tests.support.past import grow_older, versioned_server
from tests.support.scenarios import refused
from tests.support.server import CosServer

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

HOUR_S = 3600


@pytest.fixture(scope="module")
def versioned() -> Iterator[CosServer]:
    with versioned_server() as server:
        yield server


@pytest.fixture
def server(versioned: CosServer) -> Iterator[CosServer]:
    yield versioned
    versioned.clear_faults()


def sh(mount: Mount, script: str) -> str:
    done = subprocess.run(["sh", "-ec", script], cwd=mount.point, capture_output=True, text=True, timeout=30,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("libfuse", [2, 3])
def test_old_versions_are_listed_read_compared_and_copied_back(make_mount: MountFactory, server: CosServer,
                                                               libfuse: int) -> None:
    mount = make_mount(f"libfuse={libfuse}")
    big = os.urandom(9 << 20)
    folder = mount.point / "d"
    (folder / "sub").mkdir(parents=True)
    (folder / "f.txt").write_bytes(b"one")
    sh(mount, "chmod 640 d/f.txt; touch -d 2020-05-06T07:08:09.123456789Z d/f.txt")
    mount.world().fsyncdir("/")
    for name, body in (("big", big), ("f.txt", b"three"), ("sub/inner", b"inner"), ("big", b"small")):
        (folder / name).write_bytes(body)
    sh(mount, "rm -r d/sub")
    mount.world().fsyncdir("/")
    assert sh(mount, "ls -A d; ls d/.versions") == "big\nf.txt\nbig\nf.txt\nsub\n"
    assert ".versions" not in sh(mount, "find . ; ls -lA . d")
    shown = [line for line in sh(mount, "for v in d/.versions/f.txt/*; do cat $v; echo; done").splitlines() if line]
    assert "one" in shown
    [name] = [name for name in os.listdir(mount.point / "d/.versions/f.txt")
              if (mount.point / "d/.versions/f.txt" / name).stat().st_mtime_ns == 1588748889123456789]
    old = mount.point / "d" / ".versions" / "f.txt" / name
    assert old.read_bytes() == b"one"
    assert f"{old.stat().st_size} " in sh(mount, f"ls -l d/.versions/f.txt/{name}")
    assert "differ" in sh(mount, f"diff -q d/.versions/f.txt/{name} d/f.txt || true")
    sh(mount, f"cp -p d/.versions/f.txt/{name} d/f.txt; diff d/.versions/f.txt/{name} d/f.txt")
    restored = (mount.point / "d" / "f.txt").stat()
    assert (restored.st_mtime_ns, stat.S_IMODE(restored.st_mode)) == (1588748889123456789, 0o640)
    sh(mount, "mkdir d/sub; cp -p d/.versions/sub/inner/* d/sub/inner")
    [version] = os.listdir(folder / ".versions" / "big")
    server.clear_requests()
    sh(mount, f"cp --reflink=auto -p d/.versions/big/{version} d/big")
    moved = sum(row["bytes_out"] for row in server.requests(op="get_object"))
    copies = len(server.requests(op="copy_object"))
    assert (moved, copies) == (0, 1) if libfuse == 3 else (moved >= len(big), copies) == (True, 0)
    assert (mount.point / "d/sub/inner").read_bytes() == b"inner"
    assert (mount.point / "d/big").read_bytes() == big
    assert len(os.listdir(folder / ".versions" / "big")) == 2


def test_nothing_in_old_versions_can_be_changed(make_mount: MountFactory) -> None:
    mount = make_mount()
    for body in (b"old", b"now"):
        (mount.point / "f").write_bytes(body)
    folder = mount.point / ".versions" / "f"
    [old] = folder.iterdir()
    changes: List[Callable[[], object]] = [
        lambda: os.open(old, os.O_WRONLY), lambda: os.truncate(old, 0), lambda: os.unlink(old),
        lambda: os.rename(old, folder / "new"), lambda: os.rename(old, mount.point / "g"),
        lambda: os.rename(mount.point / "f", folder / "new"), lambda: os.chmod(old, 0o600), lambda: os.chown(old, 1, 1),
        lambda: os.utime(old), lambda: os.open(folder / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.mkdir(folder / "new"), lambda: os.rmdir(folder), lambda: os.rmdir(mount.point / ".versions"),
        lambda: os.symlink("x", folder / "new"), lambda: os.mkfifo(folder / "new"),
        lambda: os.setxattr(old, "user.x", b"x"), lambda: os.link(old, folder / "new")]
    for change in changes:
        with refused(errno.EROFS):
            change()
    with refused(errno.EEXIST):
        os.mkdir(mount.point / ".versions")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"old"]


def test_a_bucket_without_versioning_or_with_noversions_has_no_such_folder(
        make_mount: MountFactory, session_server: CosServer, tmp_path: Path) -> None:
    never = MountFactory(session_server, new_folder(), tmp_path / "never")
    for mount in (make_mount("noversions"), never()):
        with refused(errno.ENOENT):
            os.stat(mount.point / ".versions")
        sh(mount, "mkdir .versions; echo mine > .versions/f; ls -A")
        assert os.listdir(mount.point) == [".versions"]
    never.close()


Tree = Dict[str, Tuple[int, int, bytes]]


def tree_of(top: Path) -> Tree:
    """Mode, time and content of everything below a folder."""
    found: Tree = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            link, regular = stat.S_ISLNK(status.st_mode), stat.S_ISREG(status.st_mode)
            content = os.readlink(path).encode() if link else path.read_bytes() if regular else b""
            modified_ns = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            found[str(path.relative_to(top))] = (status.st_mode, modified_ns, content)
    return found


STATES = (
    "mkdir -p src/lib doc empty; for i in 1 2 3 4 5; do echo $i > src/$i.c; echo $i > src/lib/$i.h; done;"
    " echo text > doc/readme.txt; ln -s readme.txt doc/link; echo x > 'ü 键'",
    "echo changed > src/1.c; rm src/2.c; rm -r src/lib/; mv doc docs; chmod 600 src/3.c; echo new > docs/new;"
    " touch -d 2001-02-03T04:05:06Z src/4.c; rmdir empty; mv src/5.c five.c",
    "rm -r docs; mkdir src/lib; echo again > src/lib/1.h; echo back > src/2.c; echo more >> src/1.c;"
    " mv src/3.c src/33.c; mkdir empty; rm 'ü 键'")


def test_a_snapshot_is_the_tree_as_it_was(make_mount: MountFactory, server: CosServer, tmp_path: Path) -> None:
    copies: List[Path] = []
    trees: List[Tree] = []
    live = make_mount()
    for number, script in enumerate(STATES):
        sh(live, script)
        live.world().fsyncdir("/")
        copies.append(tmp_path / f"copy{number}")
        subprocess.run(["cp", "-a", live.point, copies[-1]], check=True, timeout=30)
        trees.append(tree_of(live.point))
        grow_older(server, HOUR_S)
        (live.point / ".cosfs" / "refresh").write_text("/\n")
    now_s = int(time.time())
    server.clear_requests()
    for number, copy in enumerate(copies):
        since_s = (len(STATES) - number) * HOUR_S - HOUR_S // 2
        snapshot = make_mount(f"snapshot=@{now_s - since_s}" if number else f"snapshot=-{since_s}s")
        assert tree_of(snapshot.point) == trees[number]
        done = subprocess.run(["diff", "-r", "--no-dereference", copy, snapshot.point], stdout=subprocess.PIPE,
                              text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
        assert sorted(os.listdir(snapshot.point)) == sorted(os.listdir(copy))
        for change in (lambda at=snapshot: (at.point / "new").write_bytes(b""),
                       lambda at=snapshot: os.unlink(at.point / "src/1.c"),
                       lambda at=snapshot: os.rename(at.point / "src", at.point / "new")):
            with refused(errno.EROFS):
                change()
    assert {row["method"] for row in server.requests()} == {"GET", "HEAD"}


def test_a_snapshot_finishes_nothing_and_removes_nothing(make_mount: MountFactory, server: CosServer) -> None:
    dead = make_mount("writeback=600")
    (dead.point / "waits").write_bytes(b"waits")
    dead.kill()
    grow_older(server, HOUR_S)
    server.clear_requests()
    snapshot = make_mount("snapshot=-1m", f"state_dir={dead.folder / 'state'}")
    assert not (snapshot.point / "waits").exists()
    assert {row["method"] for row in server.requests()} == {"GET", "HEAD"}
    after = make_mount(f"state_dir={dead.folder / 'state'}")
    after.expect_log("1 are stored")
    assert (after.point / "waits").read_bytes() == b"waits"


def test_a_snapshot_of_a_bucket_without_versions_is_refused_with_the_reason(
        make_mount: MountFactory, session_server: CosServer, server: CosServer, tmp_path: Path) -> None:
    never = MountFactory(session_server, "", tmp_path / "never").unstarted("snapshot=-1h")
    server.set_faults("kind=status,op=get_bucket_versioning,status=403,code=AccessDenied")
    denied = make_mount.unstarted("snapshot=-1h")
    for mount, reason in ((never, "never had versioning"), (denied, r"does not tell (AccessDenied)")):
        mount.point.mkdir()
        done = subprocess.run([*mount.command(), "-f"], stderr=subprocess.PIPE, text=True, timeout=30, check=False,
                              cwd=mount.folder)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("cosfs: ")
        assert reason in line
        assert "leave out snapshot=" in line
        assert not os.path.ismount(mount.point)


def test_the_doctor_tells_why_there_are_no_old_versions(make_mount: MountFactory, session_server: CosServer,
                                                        server: CosServer, tmp_path: Path) -> None:
    def told(mount: Mount) -> str:
        mount.point.mkdir(exist_ok=True)
        words = mount.command()
        command = [*words[:words.index("cosfs") + 1], "doctor", *words[words.index("cosfs") + 1:], "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=False, cwd=mount.folder)
        [found] = [found for found in json.loads(done.stdout) if found["check"] == "versioning"]
        return f"{found['state']}: {found['text']}"

    assert told(MountFactory(session_server, "", tmp_path / "never").unstarted()).startswith("ok: never enabled")
    server.set_faults("kind=status,op=get_bucket_versioning,status=403,code=AccessDenied")
    assert told(make_mount.unstarted()).startswith("skipped: not known (AccessDenied)")
