"""Options of the C++ tool on real mounts: many on each, and their effects asserted at the server."""

from __future__ import annotations

import base64
import grp
import itertools
import os
import random
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from cosfs.cos.additions import SSE, CustomerKey
from cosfs.cos.interface import ObjectHeaders
from cosfs.units import MIB
from cosfs.version import __version__
from tests.conftest import MountFactory, require_fuse
from tests.support.mount import Mount
from tests.support.server import CosServer, bucket_client
from tests.support.stores import CosStore
from tests.support.tls_front import CERTIFICATE, TlsFront
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

OPTIONS = (Path(__file__).parents[1] / "data" / "options-of-the-cpp-tool.txt").read_text().splitlines()
ELSEWHERE = ("#", "url=", "host=", "passwd_file=", "public_bucket=1", "cam_role", "use_sse", "load_sse_c", "ahbe_conf",
             "use_cache", "ro", "f2", "servicepath=/x", "dbglevel=silent", "use_rrs", "storage_class", "sync")
"""Those that the mounts below have, that would leave nothing to look at, or that name another server or files."""

KEY, OLD = CustomerKey(bytes(range(32))), CustomerKey(b"0123456789ABCDEF0123456789ABCDEF")
LARGE = random.Random(9).randbytes(5 * MIB + 1)


def work(world: OsWorld) -> None:
    """Each kind of request that stores, reads and deletes."""
    world.write_file("/small.gz", b"small")
    world.write_file("/large", LARGE)
    with world.opened("/large", os.O_RDWR) as handle:
        world.pwrite(handle, b"edit", 0)
    world.mkdir("/dir")
    world.write_file("/dir/inside", b"inside")
    world.rename("/dir", "/moved")
    world.rename("/small.gz", "/renamed.gz")
    world.chmod("/renamed.gz", 0o600)
    world.write_file("/gone", b"gone")
    world.unlink("/gone")
    world.fsyncdir("/")


def check(world: OsWorld) -> None:
    check_with(world)


def check_with(world: OsWorld, *others: str) -> None:
    assert world.read_file("/large") == b"edit" + LARGE[4:]
    assert world.read_file("/renamed.gz") == b"small"
    assert world.read_file("/moved/inside") == b"inside"
    assert sorted(world.readdir("/")) == sorted(["large", "moved", "renamed.gz", *others])


def storing(server: CosServer) -> List[Dict[str, Any]]:
    kinds = ("put_object", "copy_object", "create_multipart_upload")
    return [line for line in server.requests() if line["op"] in kinds]


def test_every_option_of_the_cpp_tool_mounts(make_mount: MountFactory) -> None:
    items = [item for item in OPTIONS if not item.startswith(ELSEWHERE)]
    assert len(items) > 70
    mount = make_mount(*items)
    work(mount.world())
    check(mount.world())
    mount.remount()
    check(mount.world())


def test_how_objects_look_and_who_asks_for_them(make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    store.put("foreign", b"x")
    server.clear_requests()
    mount = make_mount("uid=1234", "gid=daemon", "default_permission=640", "allow_other", "mp_umask=027", "noxattr",
                       "user_agent_suffix=suffix-1", "max_stat_cache_size=0")
    daemon = grp.getgrnam("daemon").gr_gid
    work(mount.world())
    check_with(mount.world(), "foreign")
    looks = {name: (found.st_mode & 0o7777, found.st_uid, found.st_gid) for name, found in (
        (name, (mount.point / name).stat()) for name in ("foreign", "renamed.gz", ""))}
    assert looks == {"foreign": (0o640, 1234, daemon), "renamed.gz": (0o600, 1234, daemon), "": (0o750, 1234, daemon)}
    os.setxattr(mount.point / "foreign", "user.a", b"1")
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(mount.point / "foreign", "user.a")
    agents = {line["user_agent"] for line in server.requests()}
    assert agents == {f"cosfs/{__version__} suffix-1"}

    masked = make_mount("umask=027")
    assert [(masked.point / name).stat().st_mode & 0o7777 for name in ("foreign", "renamed.gz")] == [0o750, 0o750]


def test_a_public_bucket_needs_no_keys(tmp_path: Path) -> None:
    require_fuse()
    with CosServer(anonymous=True) as server, Mount(server.url, server.bucket, tmp_path, options=["public_bucket"],
                                                    environment={"HOME": str(tmp_path)}) as mount:
        (mount.point / "f").write_bytes(b"x")
        mount.remount()
        assert (mount.point / "f").read_bytes() == b"x"


def test_customer_keys_acl_headers_and_deletes(make_mount: MountFactory, server: CosServer, store: CosStore,
                                               tmp_path: Path, folder: str) -> None:
    keys, rules = tmp_path / "keys", tmp_path / "headers"
    keys.write_text("".join(base64.b64encode(key.key).decode() + "\n" for key in (KEY, OLD)))
    keys.chmod(0o600)
    rules.write_text(".gz Content-Encoding gzip\n Cache-Control max-age=7\n")
    store.put("plain", b"plain")
    status, _, _ = server.request("PUT", folder + "old", body=b"old", headers=dict(OLD.headers()))
    assert status == 200
    mount = make_mount(f"use_sse=custom:{keys}", "default_acl=private", f"ahbe_conf={rules}", "disable_content_md5",
                       "enable_clientinfo", "curldbg", "multipart_size=1", "storage_class=standard_ia")
    world = mount.world()
    server.clear_requests()
    assert (world.read_file("/plain"), world.read_file("/old")) == (b"plain", b"old")
    world.unlink("/plain")
    world.unlink("/old")
    work(world)
    check(world)
    lines = storing(server)
    assert {line["op"] for line in lines} == {"put_object", "copy_object", "create_multipart_upload"}
    told = {(line["acl"], line["customer_key_md5"], line["storage_class"], "content_md5" in line) for line in lines}
    assert told == {("private", KEY.md5, "STANDARD_IA", False)}
    assert {line["customer_key_md5"] for line in server.requests(op="upload_part")} == {KEY.md5}
    deletes = [line for line in server.requests() if line["op"] in ("delete_object", "delete_objects")]
    assert {line["client_pid"] for line in deletes} == {str(mount.pid)}
    status, headers, _ = server.request("HEAD", folder + "renamed.gz", headers=dict(KEY.headers()))
    assert (status, headers["Content-Encoding"], headers["Cache-Control"]) == (200, "gzip", "max-age=7")
    log = mount.text()
    assert "DEBUG cosfs.requests: PUT http://127.0.0.1:" in log
    assert f"{SSE}-customer-key: ***" in log
    assert [secret for secret in (*dict(KEY.headers()).values(), server.secret_key)
            if secret not in ("AES256", KEY.md5) and secret in log] == []


def test_keys_for_reading_alone(make_mount: MountFactory, server: CosServer, tmp_path: Path, folder: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(OLD.key.hex() + "\n")
    keys.chmod(0o600)
    server.request("PUT", folder + "old", body=b"old", headers=dict(OLD.headers()))
    mount = make_mount(f"load_sse_c={keys}", "use_sse=kmsid:key-1")
    world = mount.world()
    world.write_file("/new", b"new")
    world.chmod("/old", 0o600)
    world.rename("/old", "/kept")
    mount.remount()
    with world.opened("/kept", os.O_WRONLY) as handle:
        world.pwrite(handle, b"O", 0)
    assert world.read_file("/kept") == b"Old"
    status, headers, _ = server.request("HEAD", folder + "new")
    assert (status, headers[SSE], headers[f"{SSE}-cos-kms-key-id"]) == (200, "cos/kms", "key-1")
    assert server.request("HEAD", folder + "kept", headers=dict(OLD.headers()))[0] == 200


def test_one_request_a_file_and_no_copies(make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    store.put_with("tree/kept", b"kept", ObjectHeaders({}, {"Cache-Control": "no-store"}))
    mount = make_mount("nomultipart", "nocopyapi", "use_rrs", "use_sse", "multipart_size=1")
    server.clear_requests()
    world = mount.world()
    work(world)
    world.rename("/tree", "/other")
    assert sorted(world.readdir("/")) == ["large", "moved", "other", "renamed.gz"]
    assert world.read_file("/large") == b"edit" + LARGE[4:]
    lines = storing(server)
    assert {(line["op"], line["encryption"]) for line in lines} == {("put_object", "AES256")}
    assert {line.get("storage_class") for line in lines if not line["key"].endswith("kept")} == {"REDUCED_REDUNDANCY"}
    assert store.head("other/kept").headers.standard["Cache-Control"] == "no-store"


def test_copies_but_for_renames_and_types_of_content(make_mount: MountFactory, server: CosServer, store: CosStore,
                                                     tmp_path: Path) -> None:
    types = tmp_path / "mime.types"
    types.write_text("# own\nx/own own\ntext/x-mine txt\n")
    world = make_mount("norenameapi", "multipart_size=1", "multipart_threshold=4", "default_acl=public-read",
                       f"mime={types}").world()
    for name in ("a.own", "a.txt", "a.html"):
        world.write_file(f"/{name}", bytes(3 * MIB))
    assert [store.head(name).headers.standard["Content-Type"] for name in ("a.own", "a.txt", "a.html")] == [
        "x/own", "text/x-mine", "text/html"]
    assert {line["op"] for line in storing(server) if line["key"].rpartition("/")[2].startswith("a.")} == {"put_object"}
    for name in ("a.own", "a.txt", "a.html"):
        world.unlink(f"/{name}")
    world.fsyncdir("/")
    server.clear_requests()
    work(world)
    check(world)
    copied = [line["key"].rpartition("/")[2] for line in server.requests(op="copy_object")]
    assert copied == ["renamed.gz"]  # of chmod
    assert server.requests(op="upload_part_copy")
    assert {line["acl"] for line in storing(server)} == {"public-read"}


@pytest.mark.parametrize(("text", "mode", "option", "message"), [
    ("x\n", 0o600, "use_sse=custom:", ", line 1: no key; write base64 of 32 bytes"),
    ("x\n", 0o644, "load_sse_c=", "lets others at the keys; set it with: chmod 600 "),
    (".gz\n", 0o600, "ahbe_conf=", ", line 1: no rule; write SUFFIX HEADER VALUE"),
])
def test_a_bad_file_is_refused_before_anything_is_mounted(make_mount: MountFactory, tmp_path: Path, text: str,
                                                          mode: int, option: str, message: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    path.chmod(mode)
    mount = make_mount.unstarted(f"{option}{path}")
    with pytest.raises(AssertionError):
        mount.start()
    mount.discard()
    assert message in mount.text()
    assert mount.text().count("\n") == 1


def most_at_once(server: CosServer, operation: str) -> int:
    """How many requests of that kind the server was answering at one time, by its log."""
    rows = [row for row in server.requests() if row["op"] == operation]
    ends = [(float(row["time"]), -1) for row in rows]
    begins = [(float(row["time"]) - float(row["ms"]) / 1000, 1) for row in rows]
    running = itertools.accumulate(step for _, step in sorted(begins + ends))
    return max(running, default=0)


@pytest.mark.parametrize("count", [1, 3])
def test_how_many_requests_are_under_way_at_once(count: int, tmp_path: Path) -> None:
    require_fuse()
    options = [f"parallel_count={count}", f"multireq_max={count}", "multipart_size=1"]
    with CosServer(latency_ms=30) as server, Mount(server.url, server.bucket, tmp_path, options=options,
                                                   key=(server.secret_id, server.secret_key)) as mount:
        client = bucket_client(server)
        for number in range(12):
            client.put_object(f"d/{number}", b"", headers=ObjectHeaders())
        client.close()
        (mount.point / "large").write_bytes(bytes(10 * MIB))
        for _ in os.scandir(mount.point / "d"):
            pass
        assert [entry.stat().st_size for entry in os.scandir(mount.point / "d")] == [0] * 12
        assert most_at_once(server, "upload_part") == count
        # ahead of the program, and its own
        assert count <= most_at_once(server, "head_object") <= count + 1


@pytest.mark.parametrize(("option", "authority", "refusal"), [
    (None, "", "no trusted connection to "), ("no_check_certificate", "", None),
    ("ssl_verify_hostname=0", str(CERTIFICATE), None), (None, str(CERTIFICATE), "no trusted connection to ")])
def test_whose_certificates_are_believed(option: Optional[str], authority: str, refusal: Optional[str],
                                         server: CosServer, folder: str, tmp_path: Path) -> None:
    require_fuse()
    with TlsFront((server.host, server.port)) as front:
        mount = Mount(front.url, f"{server.bucket}:/{folder}", tmp_path, options=[option] if option else [],
                      key=(server.secret_id, server.secret_key), environment={"CURL_CA_BUNDLE": authority})
        server.clear_requests()
        if refusal is None:
            with mount:
                (mount.point / "f").write_bytes(b"by TLS")
                assert (mount.point / "f").read_bytes() == b"by TLS"
            assert [row["bytes_in"] for row in server.requests(method="PUT")] == [6]
        else:
            with pytest.raises(AssertionError):
                mount.start()
            assert f"{refusal}{front.url}" in mount.text()
            assert server.requests() == []
