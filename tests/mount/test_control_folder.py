"""The control folder ``.cosfs`` in the root of a mount, with either FUSE library."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

FILES = ["config", "loglevel", "pending", "refresh", "stats"]
OPERATIONS = {
    "Head Bucket": "head_bucket", "Head Object": "head_object", "Get Object": "get_object",
    "List Objects": "list_objects", "Put Object": "put_object", "Put Object - Copy": "copy_object",
    "Delete Object": "delete_object", "Delete Multiple Objects": "delete_objects",
    "Initiate Multipart Upload": "create_multipart_upload", "Upload Part": "upload_part",
    "Upload Part - Copy": "upload_part_copy", "Complete Multipart Upload": "complete_multipart_upload",
}
"""Kinds in the statistics, and in the server's log."""


@pytest.fixture(params=[2, 3])
def mount(make_mount: MountFactory, request: pytest.FixtureRequest) -> Mount:
    """A mount with libfuse 2, and one with libfuse 3."""
    return make_mount(f"libfuse={request.param}")


def told(mount: Mount) -> Dict[str, Any]:
    stats = json.loads((mount.point / ".cosfs" / "stats").read_text())
    assert isinstance(stats, dict)
    return stats


def output(*command: str) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout


def test_its_files_are_read_by_any_program_and_show_in_no_listing(mount: Mount, tmp_path: Path) -> None:
    folder = mount.point / ".cosfs"
    assert os.listdir(mount.point) == []
    assert output("find", mount.root) == mount.root.encode() + b"\n"
    assert sorted(os.listdir(folder)) == FILES
    assert oct(folder.stat().st_mode) == "0o40500"
    assert {name: oct((folder / name).stat().st_mode) for name in FILES} == {
        "config": "0o100400", "loglevel": "0o100600", "pending": "0o100400", "refresh": "0o100200",
        "stats": "0o100400"}
    assert json.loads(output("cat", str(folder / "stats")))["program"] == "cosfs"
    assert output("head", "-c", "3", str(folder / "stats")) == b"{\n "
    output("cp", str(folder / "stats"), str(tmp_path / "copy"))
    assert json.loads((tmp_path / "copy").read_text())["mount_point"] == mount.root
    with open(folder / "stats", "rb", buffering=0) as file:
        begin = file.read(10)
        (mount.point / "new").write_bytes(b"x")
        assert json.loads(begin + file.read(1 << 20))["requests"].get("Put Object") is None  # as it was when opened


def test_nothing_in_it_is_made_removed_or_renamed(mount: Mount) -> None:
    folder = mount.point / ".cosfs"
    stats, other = folder / "stats", mount.point / "other"
    (mount.point / "folder").mkdir()
    other.write_bytes(b"x")
    attempts: List[Callable[[], object]] = [
        lambda: os.open(folder / "new", os.O_CREAT | os.O_WRONLY), lambda: os.mkdir(folder / "new"),
        lambda: os.symlink("x", folder / "new"), lambda: os.mkfifo(folder / "new"), lambda: os.unlink(stats),
        lambda: os.rmdir(folder), lambda: os.rename(stats, mount.point / "s"), lambda: os.rename(folder, folder),
        lambda: os.rename(folder, mount.point / "f"), lambda: os.rename(other, folder / "new"),
        lambda: os.rename(mount.point / "folder", folder), lambda: os.chmod(stats, 0o666),
        lambda: os.chown(stats, 1, 1), lambda: os.utime(stats), lambda: os.setxattr(stats, "user.x", b"x"),
        lambda: os.open(stats, os.O_WRONLY), lambda: os.open(folder / "refresh", os.O_RDONLY),
        lambda: os.truncate(stats, 0)]
    for number, attempt in enumerate(attempts):
        if number == 7:  # the same name: nothing to do
            attempt()
            continue
        with refused(errno.EPERM):
            attempt()
    with refused(errno.EEXIST):
        os.mkdir(folder)
    with refused(errno.ENOENT):
        os.stat(folder / "nothing")
    with refused(errno.ENODATA):
        os.getxattr(stats, "user.x")
    assert os.listxattr(stats) == []
    assert sorted(os.listdir(folder)) == FILES
    assert sorted(os.listdir(mount.point)) == ["folder", "other"]


def test_what_the_bucket_has_under_its_name_cannot_be_seen_and_the_log_says_so(make_mount: MountFactory,
                                                                               store: CosStore) -> None:
    mount = make_mount()
    store.put(".cosfs/stats", b"theirs")
    store.put(".cosfs2", b"another")
    mount.expect_log(r"\.cosfs in the bucket cannot be seen")
    assert os.listdir(mount.point) == [".cosfs2"]
    assert told(mount)["program"] == "cosfs"
    assert "cannot be seen" in mount.text()
    assert store.body(".cosfs/stats") == b"theirs"


def test_its_requests_and_bytes_are_those_of_the_servers_log(make_mount: MountFactory, server: CosServer,
                                                             store: CosStore) -> None:
    store.put("theirs", bytes(range(256)) * 8192)
    server.clear_requests()
    mount = make_mount("user_agent_suffix=counted", "multipart_size=1", "parallel_count=4")
    (mount.point / "d").mkdir()
    (mount.point / "large").write_bytes(os.urandom(5 << 20))
    for number in range(5):
        (mount.point / "d" / str(number)).write_bytes(bytes(1000))
    assert len((mount.point / "theirs").read_bytes()) == 2 << 20
    os.rename(mount.point / "d" / "1", mount.point / "d" / "one")
    os.unlink(mount.point / "d" / "2")
    assert not (mount.point / "none").exists()
    mount.world().fsyncdir("/d")
    stats = told(mount)
    log = [row for row in server.requests() if row.get("user_agent", "").endswith("counted")]
    requests = stats["requests"]
    assert {OPERATIONS[kind]: counts["count"] for kind, counts in requests.items()} == Counter(
        row["op"] for row in log)
    for kind, counts in requests.items():
        rows = [row for row in log if row["op"] == OPERATIONS[kind]]
        assert counts["bytes_out"] == sum(row["bytes_in"] for row in rows), kind
        assert counts["bytes_in"] == sum(row["bytes_out"] for row in rows), kind
        assert sum(count for _, count in counts["latencies_us"]) == len(rows), kind
        assert counts["errors"] == counts["retries"] == counts["unsent"] == 0, kind
    assert stats["cost"]["estimate"] == pytest.approx(0.01 * len(log) / 10_000, abs=1e-6)


def test_a_request_that_is_sent_again_is_an_error_and_a_retry(make_mount: MountFactory, server: CosServer) -> None:
    mount = make_mount()
    server.set_faults("kind=status,op=put_object,times=1")
    server.clear_requests()
    (mount.point / "a").write_bytes(bytes(1000))
    puts = told(mount)["requests"]["Put Object"]
    assert (puts["count"], puts["errors"], puts["retries"]) == (2, 1, 1)
    assert [row["status"] for row in server.requests(op="put_object")] == [503, 200]


def test_asking_costs_no_request(make_mount: MountFactory, server: CosServer) -> None:
    mount = make_mount()
    os.listdir(mount.point)
    server.clear_requests()
    for name in FILES:
        if name != "refresh":
            (mount.point / ".cosfs" / name).read_text()
    os.listdir(mount.point / ".cosfs")
    assert server.requests() == []


def test_hits_of_the_caches_and_open_files_are_told(make_mount: MountFactory, store: CosStore) -> None:
    store.put("a", bytes(200_000))
    mount = make_mount("attr_timeout=0", "entry_timeout=0")
    for _ in range(3):
        (mount.point / "a").stat()
    caches = told(mount)["caches"]
    assert caches["metadata"]["hits"] >= 2
    assert caches["metadata"]["misses"] >= 1
    with open(mount.point / "a", "rb") as file:
        file.read()
        stats = told(mount)
        assert stats["open_files"] == 1
        assert stats["caches"]["data"]["hits"] + stats["caches"]["data"]["misses"] >= 1
        assert stats["memory"]["used_bytes"] >= 200_000
    assert told(mount)["open_files"] == 0


def test_the_configuration_is_shown_without_secrets(make_mount: MountFactory, server: CosServer) -> None:
    mount = make_mount("multipart_size=7", "umask=27", "request_price=1:2:EUR")
    text = (mount.point / ".cosfs" / "config").read_text()
    config = json.loads(text)
    assert config["connection"]["url"] == server.url
    assert config["filesystem"]["part_size_bytes"] == 7 << 20
    assert config["filesystem"]["umask"] == "0027"
    assert config["filesystem"]["conflict"] == "overwrite"
    assert config["prices"] == {"read": 1.0, "write": 2.0, "currency": "EUR"}
    assert config["log_level"] == "warn"
    assert server.secret_key not in text
    assert server.secret_id not in text
    assert told(mount)["cost"]["currency"] == "EUR"


def test_refresh_has_a_path_asked_for_again_and_no_other(make_mount: MountFactory, store: CosStore) -> None:
    for name in ("one/a", "two/a"):
        store.put(name, b"old")
    mount = make_mount("attr_timeout=0", "entry_timeout=0", "negative_timeout=0", "stat_cache_expire=1000")
    sizes = lambda: [(mount.point / name / "a").stat().st_size for name in ("one", "two")]  # noqa: E731
    names = lambda: [sorted(os.listdir(mount.point / name)) for name in ("one", "two")]  # noqa: E731
    assert (sizes(), names()) == ([3, 3], [["a"], ["a"]])
    for name in ("one", "two"):
        store.put(name + "/a", b"newer")
        store.put(name + "/b", b"")
    assert (sizes(), names()) == ([3, 3], [["a"], ["a"]])
    refresh = mount.point / ".cosfs" / "refresh"
    refresh.write_text("/one\n")
    assert (sizes(), names()) == ([5, 3], [["a", "b"], ["a"]])
    output("sh", "-c", f"echo / > '{refresh}'")
    assert (sizes(), names()) == ([5, 5], [["a", "b"], ["a", "b"]])
    descriptor = os.open(refresh, os.O_WRONLY)
    with refused(errno.EINVAL):
        os.write(descriptor, b"\n")
    os.close(descriptor)


def test_a_list_for_refresh_may_come_in_pieces_and_its_last_line_without_an_end(make_mount: MountFactory,
                                                                                store: CosStore) -> None:
    folders = ("one", "two", "on")
    for folder in folders:
        store.put(folder + "/a", b"old")
    mount = make_mount("attr_timeout=0", "entry_timeout=0", "negative_timeout=0", "stat_cache_expire=1000")
    sizes = lambda: [(mount.point / folder / "a").stat().st_size for folder in folders]  # noqa: E731
    assert sizes() == [3, 3, 3]
    for folder in folders:
        store.put(folder + "/a", b"newer")
    descriptor = os.open(mount.point / ".cosfs" / "refresh", os.O_WRONLY)
    os.write(descriptor, b"/on")
    os.write(descriptor, b"e\n/tw")
    assert sizes() == [5, 3, 3]
    os.write(descriptor, b"o")
    assert sizes() == [5, 3, 3]
    os.close(descriptor)
    assert sizes() == [5, 5, 3]
    descriptor = os.open(mount.point / ".cosfs" / "refresh", os.O_WRONLY)
    with refused(errno.EINVAL):
        os.write(descriptor, bytes(65 << 10))
    os.close(descriptor)


def test_the_log_level_is_read_and_written_and_sigusr2_cycles_it(mount: Mount) -> None:
    level = mount.point / ".cosfs" / "loglevel"
    assert level.read_text() == "warn\n"
    output("sh", "-c", f"echo DEBUG > '{level}'")
    assert level.read_text() == "debug\n"
    assert "the log level is now debug" in mount.text()
    descriptor = os.open(level, os.O_WRONLY)
    with refused(errno.EINVAL):
        os.write(descriptor, b"loud\n")
    os.close(descriptor)
    for name in ("crit", "err", "warn", "info", "debug"):
        os.kill(mount.pid, signal.SIGUSR2)
        mount.wait_for(lambda name=name: level.read_text() == name + "\n", name, 10)  # type: ignore[misc]


def test_uploads_under_way_and_files_that_wait_are_told(make_mount: MountFactory, server: CosServer) -> None:
    mount = make_mount("multipart_size=1", "writeback=600", "parallel_count=2")
    (mount.point / "small").write_bytes(b"12345")
    server.set_faults("kind=stall,seconds=1.5,op=upload_part,after=2")
    folder = mount.point / ".cosfs"
    writer = subprocess.Popen(["dd", "if=/dev/urandom", f"of={mount.root}/large", "bs=1M", "count=40"],
                              stderr=subprocess.DEVNULL)
    [upload] = mount.wait_for(lambda: [upload for upload in told(mount)["pending"]["uploads"]
                                       if upload["sent_bytes"] >= 2 << 20], "an upload with progress", 20)
    lines = (folder / "pending").read_text().splitlines()
    server.clear_faults()
    assert writer.wait(30) == 0
    assert upload["path"] == "/large"
    assert upload["sent_bytes"] < upload["size_bytes"] <= 40 << 20
    assert any(line.startswith("uploading /large: ") for line in lines)
    assert "waiting /small: 5 bytes, for 0 s" in [line[:-3] + "0 s" for line in lines]
    assert "/small" in [file["path"] for file in told(mount)["pending"]["waiting"]]


def test_a_read_only_mount_tells_and_takes_nothing(make_mount: MountFactory) -> None:
    mount = make_mount("ro")
    assert told(mount)["program"] == "cosfs"
    for name in ("loglevel", "refresh"):
        with refused(errno.EROFS):
            os.open(mount.point / ".cosfs" / name, os.O_WRONLY)
    os.kill(mount.pid, signal.SIGUSR2)
    mount.wait_for(lambda: (mount.point / ".cosfs" / "loglevel").read_text() == "info\n", "next level", 10)


def test_a_log_in_json_is_an_object_a_line(make_mount: MountFactory) -> None:
    mount = make_mount("log_format=json", "dbglevel=info")
    lines = [json.loads(line) for line in mount.text().splitlines()]
    assert {"level": "INFO", "logger": "cosfs.mount"}.items() <= lines[-1].items()
    assert f"is mounted on {mount.root}" in lines[-1]["message"]


def test_a_refused_operation_is_one_line_of_the_log_with_path_errno_and_request_id(make_mount: MountFactory,
                                                                                  store: CosStore,
                                                                                  server: CosServer) -> None:
    store.put("a", bytes(200_000))
    mount = make_mount()
    mount.expect_log("AccessDenied")
    server.clear_requests()
    server.set_faults("kind=status,status=403,code=AccessDenied,op=get_object,times=1")
    with refused(errno.EACCES):
        (mount.point / "a").read_bytes()
    [line] = mount.text().splitlines()
    [row] = server.requests(op="get_object", status=403)
    assert re.search(r" WARNING cosfs\.operations: (open|read) /a: errno 13: .*AccessDenied", line), line
    assert row["request_id"] in line
