"""Programs that index the whole machine, on a mount: what they see, what that costs, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Set

import pytest

from cosfs.mount_table import KIND
from cosfs.updatedb_conf import CONFIGURATION, passed_over
from tests.conftest import MountFactory
from tests.mount.test_metrics_page import free_port, page
from tests.support.mount import Mount
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

FILES = ["one/a", "one/two/b", "three/c"]
NAMES = {"one", "three", "one/two", *FILES}


@pytest.fixture
def updatedb(tmp_path: Path) -> str:
    """``find`` by the name of updatedb: it walks, and says what it sees."""
    return str(shutil.copy(shutil.which("find") or "", tmp_path / "updatedb"))


def walk(program: str, *folders: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *folders], check=False, capture_output=True, text=True, timeout=30)


def names(mount: Mount, found: subprocess.CompletedProcess[str]) -> List[str]:
    return sorted(str(Path(line).relative_to(mount.root)) for line in found.stdout.splitlines())


def kept_out(mount: Mount) -> Dict[str, int]:
    told = json.loads((mount.point / ".cosfs" / "stats").read_text())["kept_out"]
    assert isinstance(told, dict)
    return told


def said_of(mount: Mount) -> str:
    """What the log is to have. This machine's updatedb may be told to pass over the folder of the tests, as Debian's is
    told of /tmp."""
    covered = passed_over(mount.root) if CONFIGURATION.exists() else None
    return f"will not list it: {covered}" if covered else f"add {KIND} to PRUNEFS in {CONFIGURATION} (said once)"


@pytest.mark.parametrize("libfuse", [2, 3])
def test_updatedb_is_kept_out_without_a_request_and_others_walk(libfuse: int, make_mount: MountFactory, updatedb: str,
                                                                server: CosServer, store: CosStore) -> None:
    for name in FILES:
        store.put(name, b"content")
    port = free_port()
    mount = make_mount(f"libfuse={libfuse}", f"metrics={port}", "dbglevel=info")
    mount.expect_log("updatedb is kept out of")
    assert kept_out(mount) == {}
    server.clear_requests()

    found = walk(updatedb, mount.root)
    assert (found.returncode, found.stdout) == (1, f"{mount.root}\n")
    assert found.stderr.endswith("Permission denied\n")
    assert server.requests() == []
    assert kept_out(mount) == {"updatedb": 1}

    found = walk("find", mount.root)
    assert (found.returncode, found.stderr) == (0, "")
    assert names(mount, found) == sorted([".", *NAMES])
    assert len(server.requests(op="list_objects")) == 4  # one for each folder

    server.clear_requests()
    found = walk(updatedb, f"{mount.root}/one", f"{mount.root}/three")
    assert (found.returncode, names(mount, found)) == (1, ["one", "three"])
    assert (mount.point / "three" / "c").read_bytes() == b"content"
    assert server.requests(op="list_objects") == []
    assert kept_out(mount) == {"updatedb": 3}
    assert page(port)['cosfs_kept_out_total{program="updatedb"}'] == 3
    [line] = [line for line in mount.text().splitlines() if "cosfs.scanner_guard" in line]
    assert said_of(mount) in line


def test_the_list_is_the_users(make_mount: MountFactory, updatedb: str, store: CosStore, tmp_path: Path) -> None:
    for name in FILES:
        store.put(name, b"content")
    other = str(shutil.copy(updatedb, tmp_path / "nightly-inventory"))
    mount = make_mount("scanner_guard=-updatedb:+nightly-inventory")
    mount.expect_log("nightly-inventory is kept out of .*scanner_guard=-nightly-inventory")
    found = walk(updatedb, mount.root)
    assert (found.returncode, names(mount, found)) == (0, sorted([".", *NAMES]))
    assert walk(other, mount.root).returncode == 1
    assert kept_out(mount) == {"nightly-inventory": 1}


def test_the_database_of_locate_has_no_name_of_the_bucket(make_mount: MountFactory, server: CosServer, store: CosStore,
                                                          tmp_path: Path) -> None:
    """By the true updatedb, told to pass nothing over."""
    for name in FILES:
        store.put(name, b"content")
    mount = make_mount()
    mount.expect_log(r"updatedb(\.plocate)? is kept out of")
    (mount.folder / "local").write_bytes(b"")
    server.clear_requests()
    assert located(mount, tmp_path / "guarded.db") >= {"local", "mnt"}
    assert located(mount, tmp_path / "guarded.db").isdisjoint({f"mnt/{name}" for name in NAMES})
    assert server.requests(op="list_objects") == []
    assert sum(kept_out(mount).values()) >= 2
    mount.unmount()

    mount = make_mount("noscanner_guard")
    assert located(mount, tmp_path / "open.db") >= {f"mnt/{name}" for name in NAMES}
    assert kept_out(mount) == {}


def located(mount: Mount, database: Path) -> Set[str]:
    """What locate finds below the mount's folder."""
    program = shutil.which("updatedb.plocate", path=f"{os.environ['PATH']}:/usr/sbin") or "updatedb"
    done = walk(program, "-l", "0", "-U", str(mount.folder), "-o", str(database), "--prunefs", "", "--prunepaths", "",
                "--prunenames", "", "--prune-bind-mounts", "no")
    assert (done.returncode, done.stderr) == (0, "")
    found = walk("plocate", "-d", str(database), str(mount.folder))
    return {str(Path(line).relative_to(mount.folder)) for line in found.stdout.splitlines()}
