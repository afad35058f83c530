"""``cosfs bench`` from outside: real servers, real mounts, tiny sizes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from cosfs.cli.bench_workloads import WORKLOADS
from tests.conftest import require_fuse
from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

pytestmark = pytest.mark.mount

LIMIT_S = 110.0
TINY = ("--size", "2M", "--scale", "0.01", "--latency-ms", "0", "--mbps", "0")


def start(*words: object, folder: Path, path: Optional[str] = None) -> subprocess.Popen[str]:
    require_fuse()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **({"PATH": path} if path else {})}
    return subprocess.Popen([sys.executable, "-m", "cosfs", "bench", *map(str, words)], cwd=folder, env=environment,
                            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def bench(*words: object, folder: Path, status: int = 0, path: Optional[str] = None,
          ) -> subprocess.CompletedProcess[str]:
    process = start(*words, folder=folder, path=path)
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == status, out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def remains(folder: Path) -> List[str]:
    """Mounts, processes and files that have to do with the folder."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    processes = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        if os.fsencode(folder) in command and int(entry.name) != os.getpid():
            processes.append(command.decode())
    return [*mounts, *processes, *(entry.name for entry in folder.iterdir())]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    """Every workload once; its JSON, with the table as ``text``."""
    folder = tmp_path_factory.mktemp("bench")
    place = folder / "place"
    place.mkdir()
    done = bench(*TINY, "--dir", place, "--json", folder / "out.json", folder=folder)
    assert remains(place) == []
    return {**json.loads((folder / "out.json").read_text()), "text": done.stdout, "progress": done.stderr}


def row_of(report: Dict[str, Any], name: str) -> Dict[str, Any]:
    [row] = [row for row in report["rows"] if row["name"] == name]
    return dict(row)


def test_every_row_is_measured_without_error(whole: Dict[str, Any]) -> None:
    assert [row["name"] for row in whole["rows"]] == [name for w in WORKLOADS.values() for name in w.rows]
    assert [(row["name"], row["error"], row["note"]) for row in whole["rows"] if row["error"] or row["note"]] == []
    assert all(row["durable_seconds"] >= row["seconds"] > 0 and row["peak_bytes"] > 1 << 20 for row in whole["rows"])


def test_the_file_has_the_documented_fields(whole: Dict[str, Any]) -> None:
    assert (whole["version"], whole["program"].split()[0], whole["date"][:2]) == (1, "cosfs", "20")
    assert set(whole["machine"]) == {"processor", "cores", "memory_bytes", "kernel", "python", "folder"}
    assert whole["options"] == {"store": "embedded", "latency_ms": 0, "mbps": 0, "size_bytes": 2 << 20, "scale": 0.01,
                                "repeat": 1, "mount_options": []}
    assert set(row_of(whole, "ls_cold")) == {
        "name", "seconds", "durable_seconds", "cpu_seconds", "peak_bytes", "requests", "up_bytes", "down_bytes",
        "server_cpu_seconds", "calls", "bytes", "error", "note", "runs"}


def test_requests_of_the_mount_alone_are_counted(whole: Dict[str, Any]) -> None:
    assert row_of(whole, "small_write_8")["requests"] == {"put_object": 5}
    assert row_of(whole, "small_write_8")["up_bytes"] == 5 * 4096
    assert row_of(whole, "seq_read")["requests"]["get_object"] >= 1
    assert 2 << 20 <= row_of(whole, "seq_read")["down_bytes"] < 3 << 20
    assert row_of(whole, "seq_reread")["requests"] == {}
    assert row_of(whole, "ls_cold")["requests"]["list_objects"] >= 1


def test_the_table_fits_on_a_terminal(whole: Dict[str, Any]) -> None:
    lines = whole["text"].splitlines()
    assert lines[0].split()[:3] == ["workload", "seconds", "durable"]
    assert max(map(len, lines)) <= 80
    assert f"[1/{len(WORKLOADS)}] seq_read" in whole["progress"]


def test_medians_of_repeated_runs_are_shown(tmp_path: Path) -> None:
    bench(*TINY, "--workloads", "seq_write", "--repeat", "3", "--quiet", "--json", "out.json", folder=tmp_path)
    row = row_of(json.loads((tmp_path / "out.json").read_text()), "seq_write")
    assert len(row["runs"]) == 3
    assert row["durable_seconds"] == sorted(row["runs"])[1]


def test_wrong_bytes_are_an_error(tmp_path: Path) -> None:
    done = bench(*TINY, "--size", "32M", "--workloads", "rand_read", "--fault", "kind=corrupt,op=get_object", "--quiet",
                 folder=tmp_path, status=1)
    assert "wrong bytes at " in done.stdout
    assert done.stderr == ""


def test_an_object_that_is_not_what_was_written_is_an_error(tmp_path: Path) -> None:
    done = bench(*TINY, "--size", "32M", "--workloads", "seq_write", "--fault", "kind=wrong-crc,op=head_object",
                 "--quiet", folder=tmp_path, status=1)
    assert "wrong bytes in out in the bucket" in done.stdout


def test_a_slow_row_is_given_up(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    done = bench(*TINY, "--workloads", "seq_read,stat", "--timeout", "3", "--fault",
                 "kind=stall,op=get_object,after=1,seconds=60", "--dir", place, folder=tmp_path, status=1)
    assert "seq_read        not done after 3 s" in done.stdout
    assert "seq_reread      seq_read was not done in time" in done.stdout
    assert "stat    " in done.stdout
    assert remains(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = start(*TINY[:2], "--workloads", "small_write", "--dir", tmp_path, folder=tmp_path)
    try:
        limit = time.monotonic() + 60
        while not list(tmp_path.glob("*/mnt/d1/f*")):
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, "Traceback" in err) == (128 + number, False), err
    assert remains(tmp_path) == []


def test_a_missing_program_is_said_in_the_row(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "fusermount").symlink_to("/usr/bin/fusermount")
    done = bench(*TINY, "--workloads", "git", "--quiet", folder=tmp_path, path=str(tools))
    assert "git_status      not measured: git is not installed" in done.stdout


def test_a_real_bucket_is_measured_below_a_prefix_that_goes(tmp_path: Path, server: CosServer) -> None:
    (tmp_path / "passwd").write_text(f"{server.secret_id}:{server.secret_key}\n")
    (tmp_path / "passwd").chmod(0o600)
    server.request("PUT", "bench-kept/file", body=b"mine")
    words = ("--size", "2M", "--scale", "0.01", "--workloads", "seq_read,small_write,remove", "--bucket",
             f"{server.bucket}:/bench-kept", "-o", f"url={server.url},passwd_file={tmp_path / 'passwd'}")
    refused = bench(*words, folder=tmp_path, status=1)
    assert "requests at examplebucket" in refused.stderr and "add --yes" in refused.stderr
    done = bench(*words, "--yes", "--json", "out.json", folder=tmp_path)
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["requests"] for row in report["rows"]] == [None] * 5
    assert done.stdout.count("–") == 15
    assert "passwd" not in (tmp_path / "out.json").read_text()
    _, _, listing = server.request("GET", params=[("prefix", "bench-kept/")])
    assert listing.count(b"<Key>") == 1


def test_the_null_filesystem_shows_the_cost_of_a_call(tmp_path: Path) -> None:
    done = bench("--null", "--scale", "0.01", "--dir", tmp_path, "--json", tmp_path.parent / "null.json",
                 folder=tmp_path)
    report = json.loads((tmp_path.parent / "null.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["stat", "read_128k", "write_128k", "read_stream",
                                                       "write_stream"]
    assert [row["calls"] for row in report["rows"]] == [100, 80, 80, None, None]
    assert "calls/s" in done.stdout and "GB/s" in done.stdout
    assert remains(tmp_path) == []
