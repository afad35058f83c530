"""Renames of folders that are cut off by a crash, and what the next mount and ``cosfs recover`` make of them."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

import pytest

from cosfs.cos.interface import ObjectHeaders
from tests.conftest import MountFactory, make_client, new_folder
from tests.support.mount import Mount
from tests.support.scenarios import refused
from tests.support.server import ENVIRONMENT, CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

FILES = 500
LIMIT_S = 20.0
CLASSES = ("STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING")
RETRIES = r"WARNING cosfs\.cos\."
RECOVERED = r"the unfinished rename of .* is (undone|finished)"

Kept = Tuple[str, int, Dict[str, str], Dict[str, str], str]
"""ETag (the MD5 of the body, here), size, user metadata, standard headers, storage class."""


class Moving:
    """A folder of 500 files of many kinds, which each test renames from where the last one left it."""

    def __init__(self, store: CosStore) -> None:
        self.store = store
        self.name = "tree0"
        self._number = 0
        rng = random.Random(3)
        put = [(f"{self.name}/{folder}", b"", {"mode": str(stat.S_IFDIR | 0o750)}, {"Content-Type": "x/y"}, CLASSES[0])
               for folder in ("", "nested/")]
        for number in range(FILES):
            folder = "nested/" if number % 5 == 0 else "implicit/" if number % 5 == 1 else ""
            metadata = {"mode": str(stat.S_IFREG | 0o600 + number % 64), "mtime": str(10**9 + number),
                        "own": f"{number}"}
            standard = {"Content-Type": "text/x-own", **({"Cache-Control": "no-store"} if number % 4 else {})}
            put.append((f"{self.name}/{folder}f{number:03}", rng.randbytes(rng.choice((0, 1, 100, 3000))), metadata,
                        standard, CLASSES[number % 3]))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: store.put_with(one[0], one[1], ObjectHeaders(
                one[2], one[3], None if one[4] == CLASSES[0] else one[4])), put))
        self._expected = self._look()

    def next_name(self) -> str:
        self._number += 1
        return f"tree{self._number}"

    def _look(self) -> Dict[str, Kept]:
        """All objects below the one folder that there is, by the rest of their keys."""
        keys = self.store.keys()
        names = {key.partition("/")[0] for key in keys}
        assert len(names) == 1, f"objects under both names: {sorted(names)}"
        self.name = names.pop()
        with ThreadPoolExecutor(8) as pool:
            infos = list(pool.map(self.store.head, keys))
        return {key[len(self.name):]: (info.etag, info.size_bytes, dict(info.headers.metadata),
                                       dict(info.headers.standard), info.storage_class)
                for key, info in zip(keys, infos)}

    def check(self) -> None:
        """Every object exists exactly once, all under one name, as it was."""
        assert self._look() == self._expected


@pytest.fixture(scope="module")
def moving(session_server: CosServer) -> Iterator[Moving]:
    client = make_client(session_server)
    yield Moving(CosStore(client, new_folder()))
    client.close()


class Crash(NamedTuple):
    """When a mount is killed: the server has let ``count`` requests of a kind pass, and

    ``running``: is answering those that follow; ``held``: refuses those that follow, so that just these are done;
    ``lost``: has carried out one more, without an answer.
    """

    op: str
    count: int
    how: str

    @property
    def name(self) -> str:
        return f"{self.op}-{self.count}-{self.how}"


CRASHES = [
    Crash("list_objects", 0, "held"), Crash("head_object", 0, "held"),
    *(Crash("copy_object", count, "held") for count in (0, 1, 2, 20, 100, 250, 499, 501)),
    *(Crash("copy_object", count, "running") for count in (1, 50, 200, 350, 480, 502)),
    Crash("copy_object", 300, "lost"),
    Crash("delete_objects", 0, "held"), Crash("delete_objects", 0, "running"), Crash("delete_objects", 0, "lost"),
]
FAULTS = {"held": "kind=status", "lost": "kind=lost-answer"}


def rename_and_kill(server: CosServer, mount: Mount, crash: Crash, old: str, new: str) -> None:
    os.stat(f"{mount.root}/{old}")
    with refused(errno.ENOENT):
        os.stat(f"{mount.root}/{new}")
    server.clear_requests()
    if crash.how != "running":
        server.set_faults(f"{FAULTS[crash.how]},op={crash.op},after={crash.count}")
    ended: List[BaseException] = []

    def rename() -> None:
        try:
            os.rename(f"{mount.root}/{old}", f"{mount.root}/{new}")
        except OSError as exc:
            ended.append(exc)
    thread = threading.Thread(target=rename)
    thread.start()
    limit = time.monotonic() + LIMIT_S
    while thread.is_alive() and len(server.requests(op=crash.op)) <= crash.count:
        assert time.monotonic() < limit, "the rename did not come that far"
    mount.kill()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    server.clear_faults()


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash.name)
def test_killed_rename_leaves_every_object_once_after_the_next_mount(
        crash: Crash, moving: Moving, server: CosServer, tmp_path: Path) -> None:
    factory = MountFactory(server, moving.store.prefix, tmp_path)
    state = f"state_dir={tmp_path}/state"
    with factory.unstarted(state) as mount:
        mount.expect_log(RETRIES)
        rename_and_kill(server, mount, crash, moving.name, moving.next_name())
    with factory.unstarted(state) as again:
        again.expect_log(RECOVERED)
        moving.check()
        assert sorted(os.listdir(again.root)) == [moving.name]
        assert list(tmp_path.glob("state/*/*.journal")) == []


def run_recover(server: CosServer, bucket: str, state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    passwd = state.parent / "passwd"
    passwd.write_text(f"{server.secret_id}:{server.secret_key}\n")
    passwd.chmod(0o600)
    return subprocess.run(
        [sys.executable, "-m", "cosfs", "recover", bucket, "-o", ",".join(
            [f"url={server.url}", f"passwd_file={passwd}", f"state_dir={state}", *options])],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def put_tree(store: CosStore) -> List[str]:
    for number in range(20):
        store.put(f"d/{number:02}", b"%d" % number, {"mode": "33188"})
    return store.keys()


def test_recover_command_finds_nothing(server: CosServer, folder: str, tmp_path: Path) -> None:
    done = run_recover(server, f"{server.bucket}:/{folder}", tmp_path / "state")
    assert (done.returncode, done.stdout) == (0, "nothing to recover\n"), done.stderr


def test_recover_command_undoes_and_says_so(make_mount: MountFactory, server: CosServer, store: CosStore,
                                            folder: str, tmp_path: Path) -> None:
    keys = put_tree(store)
    state = tmp_path / "state"
    mount = make_mount(f"state_dir={state}")
    mount.expect_log(RETRIES)
    rename_and_kill(server, mount, Crash("copy_object", 10, "held"), "d", "e")
    assert len(store.keys()) == len(keys) + 10
    bucket = f"{server.bucket}:/{folder}"
    elsewhere = run_recover(server, f"{server.bucket}:/elsewhere", state)
    assert elsewhere.returncode == 1
    assert "is in another part of the bucket" in elsewhere.stdout
    done = run_recover(server, bucket, state)
    assert done.returncode == 0, done.stderr
    assert "is undone, 10 copies are deleted" in done.stdout
    assert store.keys() == keys
    assert run_recover(server, bucket, state).stdout == "nothing to recover\n"


def test_recover_command_tells_what_remains(make_mount: MountFactory, server: CosServer, store: CosStore,
                                            folder: str, tmp_path: Path) -> None:
    put_tree(store)
    state = tmp_path / "state"
    mount = make_mount(f"state_dir={state}")
    mount.expect_log(RETRIES)
    rename_and_kill(server, mount, Crash("delete_objects", 0, "held"), "d", "e")
    store.put("d/03", b"written after the crash")
    done = run_recover(server, f"{server.bucket}:/{folder}", state)
    assert done.returncode == 1
    assert f"{folder}d/03' has changed since it was copied" in done.stdout
    assert [key for key in store.keys() if key.startswith("d/")] == ["d/03"]
    assert store.body("d/03") == b"written after the crash"
    assert store.body("e/03") == b"3"


def test_recover_command_keeps_a_damaged_journal(server: CosServer, folder: str, tmp_path: Path) -> None:
    place = tmp_path / "state" / f"{server.bucket}@{server.host}:{server.port}"
    place.mkdir(parents=True)
    journal = place / "rename-x.journal"
    journal.write_text("no journal\n")
    done = run_recover(server, server.bucket, tmp_path / "state")
    assert done.returncode == 1
    assert "cannot be used: it is not a whole journal" in done.stdout
    assert journal.read_text() == "no journal\n"


def test_recover_command_has_help_and_checks_its_words(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "cosfs", "recover", *words], env=ENVIRONMENT, check=False,
                              capture_output=True, text=True, timeout=LIMIT_S)
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 80
    wrong = run()
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("cosfs: one word is needed")


def test_second_mount_of_the_host_leaves_a_rename_that_is_under_way_alone(
        make_mount: MountFactory, server: CosServer, store: CosStore, tmp_path: Path) -> None:
    keys = put_tree(store)
    state = f"state_dir={tmp_path}/state"
    mount = make_mount(state)
    server.clear_requests()
    server.set_faults("kind=stall,op=copy_object,after=10,seconds=3,times=1")
    thread = threading.Thread(target=os.rename, args=(f"{mount.root}/d", f"{mount.root}/e"))
    thread.start()
    mount.wait_for(lambda: len(server.requests(op="copy_object")) >= len(keys) - 1, "copies", LIMIT_S)
    second = make_mount(state)
    assert len([key for key in store.keys() if key.startswith("e/")]) >= len(keys) - 1
    assert thread.is_alive()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert store.keys() == [key.replace("d/", "e/") for key in keys]
    assert sorted(os.listdir(f"{second.root}/e")) == sorted(os.listdir(f"{mount.root}/e"))


def test_refused_copy_midway_changes_nothing(make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    keys = put_tree(store)
    mount = make_mount()
    mount.expect_log("AccessDenied")
    server.set_faults("kind=status,status=403,code=AccessDenied,op=copy_object,after=10")
    with refused(errno.EACCES):
        os.rename(f"{mount.root}/d", f"{mount.root}/e")
    assert store.keys() == keys
    assert sorted(os.listdir(f"{mount.root}/d")) == [key[2:] for key in keys]
    assert not os.path.exists(f"{mount.root}/e")
