"""Ordinary programs on a mount; none of them knows what an object is."""

from __future__ import annotations

import mmap
import os
import random
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any, List

import pytest

from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]


def run(*command: Any, **more: Any) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=80, check=False, **more)
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode("utf-8", "replace")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A local tree with modes, times, links and names of all kinds."""
    numbers = random.Random(21)
    root = tmp_path / "tree"
    for folder in ("", "sub", "sub/deeper", "empty", "with space", "ünïcode"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(("a", "sub/b", "sub/deeper/c", "with space/plus+plus", "ünïcode/hash#%25?",
                                   "empty file", "sub/new\nline", "sub/quo'te\"s&", ".hidden", "sub/" + "n" * 255)):
        path = root / name
        path.write_bytes(numbers.randbytes(number * 9_999))
        path.chmod(numbers.choice((0o600, 0o644, 0o755, 0o400)))
        os.utime(path, ns=(numbers.randrange(10**18, 2 * 10**18), numbers.randrange(10**18, 2 * 10**18)))
    (root / "link").symlink_to("sub/b")
    (root / "dangling").symlink_to("/no/such/place")
    (root / "empty").chmod(0o711)
    for folder in ("sub/deeper", "sub", "empty", "with space"):
        os.utime(root / folder, ns=(10**18, numbers.randrange(10**18, 2 * 10**18)))
    return root


def described(root: Path) -> List[Any]:
    """Kind, mode, mtime and link target of everything below a folder."""
    rows: List[Any] = []
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(folder) / name
            found = path.lstat()
            target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
            rows.append((str(path.relative_to(root)), oct(found.st_mode), found.st_mtime_ns, target))
    return sorted(rows)


def test_cp_a_and_diff_r(mounted: OsWorld, tree: Path) -> None:
    run("cp", "-a", tree, mounted.real("/copy"))
    assert run("diff", "-r", "--no-dereference", tree, mounted.real("/copy")) == ""
    assert described(Path(mounted.real("/copy"))) == described(tree)
    run("cp", "-a", mounted.real("/copy"), mounted.real("/second"))
    assert run("diff", "-r", "--no-dereference", tree, mounted.real("/second")) == ""
    run("rm", "-r", mounted.real("/copy"), mounted.real("/second"))
    assert mounted.readdir("/") == {}


def test_git_clone_commit_and_fsck(mounted: OsWorld, tmp_path: Path) -> None:
    def git(place: Any, *words: str) -> str:
        return run("git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", place, *words)

    origin = tmp_path / "origin"
    run("git", "init", "-q", origin)
    for number in range(10):
        (origin / f"file{number}").write_text(f"line {number}\n" * number)
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "first")
    clone = mounted.real("/clone")
    run("git", "clone", "-q", origin, clone)
    assert git(clone, "status", "--porcelain") == ""
    Path(clone, "file3").write_text("changed\n")
    Path(clone, "new").write_text("new\n")
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "second")
    git(clone, "gc", "-q")
    git(clone, "fsck", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    run("git", "clone", "-q", clone, tmp_path / "back")
    assert (tmp_path / "back/file3").read_text() == "changed\n"


def test_rsync_transfers_nothing_the_second_time(mounted: OsWorld, tree: Path) -> None:
    (tree / ("sub/" + "n" * 255)).unlink()  # rsync's temporary name would be longer than a name may be
    os.utime(tree / "sub", ns=(10**18, 10**18 + 5))
    place = mounted.real("/copy")
    run("rsync", "-a", f"{tree}/", place)
    assert run("rsync", "-a", "--itemize-changes", f"{tree}/", place) == ""
    assert run("rsync", "-a", "--checksum", "--itemize-changes", f"{tree}/", place) == ""
    (tree / "a").write_bytes(b"changed")
    changes = run("rsync", "-a", "--inplace", "--itemize-changes", f"{tree}/", place).split("\n")
    assert [line for line in changes if line.startswith(">f")] == [changes[-2]]
    assert run("diff", "-r", "--no-dereference", tree, place) == ""


def test_tar_out_and_back(mounted: OsWorld, tree: Path, tmp_path: Path) -> None:
    run("tar", "-cf", mounted.real("/archive.tar"), "-C", tree.parent, "tree")
    run("tar", "-xpf", mounted.real("/archive.tar"), "-C", mounted.root)
    assert run("tar", "--compare", "-f", mounted.real("/archive.tar"), "-C", mounted.root) == ""
    run("tar", "-czf", tmp_path / "back.tar.gz", "-C", mounted.root, "tree")
    assert run("tar", "--compare", "-f", tmp_path / "back.tar.gz", "-C", tree.parent) == ""


def test_vim_edits(mounted: OsWorld, store: CosStore) -> None:
    mounted.write_file("/f.txt", b"first\nsecond\n")
    run("vim", "-es", "-u", "NONE", "-c", "set backup writebackup", "-c", "%s/second/2nd/", "-c", "wq",
        mounted.real("/f.txt"))
    assert mounted.read_file("/f.txt") == b"first\n2nd\n"
    assert store.body("f.txt") == b"first\n2nd\n"
    assert set(mounted.readdir("/")) <= {"f.txt", "f.txt~"}


def test_sed_i(mounted: OsWorld, store: CosStore) -> None:
    mounted.write_file("/f", b"one two\n" * 1000)
    mounted.chmod("/f", 0o640)
    run("sed", "-i", "s/two/2/", mounted.real("/f"))
    assert mounted.read_file("/f") == b"one 2\n" * 1000
    assert mounted.stat("/f").permissions == 0o640
    assert store.keys() == ["f"]


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "off"])
def test_sqlite_transactions(mounted: OsWorld, store: CosStore, tmp_path: Path, journal: str) -> None:
    path = mounted.real("/base.sqlite")
    for start in range(3):
        base = sqlite3.connect(path, isolation_level=None)
        assert base.execute(f"PRAGMA journal_mode={journal}").fetchone() == (journal,)
        base.execute("CREATE TABLE IF NOT EXISTS t (number INTEGER PRIMARY KEY, text TEXT)")
        base.execute("BEGIN")
        base.executemany("INSERT INTO t VALUES (?, ?)",
                         ((start * 500 + number, "x" * number) for number in range(500)))
        base.execute("COMMIT")
        if journal != "off":
            base.execute("BEGIN")
            base.execute("DELETE FROM t")
            base.execute("ROLLBACK")
        base.execute("UPDATE t SET text = 'short' WHERE number % 7 = 0")
        base.close()
        base = sqlite3.connect(path)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("SELECT count(*) FROM t").fetchone() == ((start + 1) * 500,)
        base.close()
    (tmp_path / "copy.sqlite").write_bytes(store.body("base.sqlite"))
    base = sqlite3.connect(tmp_path / "copy.sqlite")
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()


def test_sqlite_command_on_the_mount(mounted: OsWorld) -> None:
    script = ("CREATE TABLE t(x); BEGIN; INSERT INTO t VALUES(1),(2),(3); COMMIT; VACUUM; "
              "PRAGMA integrity_check; SELECT sum(x) FROM t;")
    assert run("sqlite3", mounted.real("/base"), script).split() == ["ok", "6"]


def test_dd_conv_notrunc_into_the_middle(mounted: OsWorld, store: CosStore, tmp_path: Path) -> None:
    data = bytearray(random.Random(22).randbytes(1 << 20))
    mounted.write_file("/f", bytes(data))
    (tmp_path / "piece").write_bytes(b"P" * 1000)
    run("dd", f"if={tmp_path / 'piece'}", f"of={mounted.real('/f')}", "bs=1000", "seek=300", "conv=notrunc",
        "status=none")
    data[300_000:301_000] = b"P" * 1000
    assert store.body("f") == bytes(data)
    run("dd", f"if={tmp_path / 'piece'}", f"of={mounted.real('/f')}", "bs=1000", "oflag=append", "conv=notrunc,fsync",
        "status=none")
    assert store.body("f") == bytes(data) + b"P" * 1000


def test_dd_seek_makes_a_hole(mounted: OsWorld, store: CosStore) -> None:
    run("dd", "if=/dev/zero", f"of={mounted.real('/f')}", "bs=1", "count=1", "seek=99999", "status=none")
    assert store.body("f") == bytes(100_000)


def test_compiler_output_runs_from_the_mount(mounted: OsWorld) -> None:
    mounted.write_file("/p.c", b'#include <stdio.h>\n'
                       b'int main(int n, char **v) { printf("%d\\n", n * 21); return 0; }\n')
    run("cc", "-O1", "-c", "-o", mounted.real("/p.o"), mounted.real("/p.c"))
    run("cc", "-o", mounted.real("/p"), mounted.real("/p.o"))
    assert run(mounted.real("/p"), "x") == "42\n"
    run("strip", mounted.real("/p"))
    assert run(mounted.real("/p"), "x") == "42\n"
    run("ar", "rcs", mounted.real("/lib.a"), mounted.real("/p.o"))
    assert "p.o" in run("ar", "t", mounted.real("/lib.a"))


def test_shell_redirections_and_appends(mounted: OsWorld, store: CosStore) -> None:
    script = ('cd "$1" && for n in 1 2 3; do echo $n >> log; done && sort -r -o log log && cat log > copy '
              '&& mv copy moved && ln -s moved link && cat link && install -m 751 log installed')
    run("sh", "-c", script, "-", mounted.root)
    assert store.body("log") == b"3\n2\n1\n"
    assert store.body("moved") == b"3\n2\n1\n"
    assert mounted.stat("/installed").permissions == 0o751
    assert sorted(mounted.readdir("/")) == ["installed", "link", "log", "moved"]


def test_mmap_reads_and_shared_writes(mounted: OsWorld, store: CosStore) -> None:
    data = bytearray(random.Random(23).randbytes(300_000))
    mounted.write_file("/f", bytes(data))
    with open(mounted.real("/f"), "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        assert view[:] == bytes(data)
        view[1000:1010] = b"0123456789"
        view[299_990:] = b"abcdefghij"
        view.flush()
    data[1000:1010] = b"0123456789"
    data[299_990:] = b"abcdefghij"
    assert mounted.read_file("/f") == bytes(data)
    assert store.body("f") == bytes(data)


def test_find_du_and_ls_agree(mounted: OsWorld, tree: Path) -> None:
    run("cp", "-a", tree, mounted.real("/copy"))
    def listed(place: Any, *words: str) -> List[str]:
        return sorted(run("find", ".", *words, cwd=place).splitlines())

    for words in (("!", "-type", "d", "-printf", "%p %y %m %s\\n"), ("-type", "d"), ("-name", "*+*")):
        assert listed(mounted.real("/copy"), *words) == listed(tree, *words)


def test_zip_like_random_access_by_python(mounted: OsWorld, tree: Path) -> None:
    import shutil
    import zipfile

    with zipfile.ZipFile(mounted.real("/z.zip"), "w") as archive:
        for number in range(5):
            archive.writestr(f"member{number}", bytes([number]) * 10_000)
    with zipfile.ZipFile(mounted.real("/z.zip"), "a") as archive:
        archive.writestr("late", b"late")
    with zipfile.ZipFile(mounted.real("/z.zip")) as archive:
        assert archive.testzip() is None
        assert archive.read("late") == b"late"
    shutil.copytree(tree, mounted.real("/t"), symlinks=True)
    shutil.move(mounted.real("/t"), mounted.real("/moved"))
    assert run("diff", "-r", "--no-dereference", tree, mounted.real("/moved")) == ""
