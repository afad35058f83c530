"""Failures that were measured in other filesystems over object stores; each must not happen here."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import time
from pathlib import Path

import pytest

from cosfs.cos.interface import ObjectHeaders
from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.scenarios import refused
from tests.support.server import CosServer
from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

SECOND = 1_000_000_000


def test_ftruncate_of_a_new_open_file_then_writes_is_not_empty_after_close(mounted: OsWorld, store: CosStore) -> None:
    handle = mounted.open("/f", os.O_RDWR | os.O_CREAT)
    mounted.ftruncate(handle, 0)
    mounted.ftruncate(handle, 8192)
    mounted.pwrite(handle, b"data", 100)
    mounted.close(handle)
    assert store.body("f") == bytes(100) + b"data" + bytes(8192 - 104)


def test_random_io_with_close_and_reopen_keeps_every_byte(mounted: OsWorld, store: CosStore) -> None:
    numbers = random.Random(61)
    model = bytearray()
    for _ in range(15):
        with mounted.opened("/f", os.O_RDWR | os.O_CREAT) as handle:
            for _ in range(10):
                offset, size = numbers.randrange(250_000), numbers.randrange(1, 30_000)
                if numbers.random() < 0.25:
                    model[offset:] = bytes(max(0, offset - len(model)))
                    os.ftruncate(handle, offset)
                else:
                    data = numbers.randbytes(size)
                    model.extend(bytes(max(0, offset + size - len(model))))
                    model[offset:offset + size] = data
                    os.pwrite(handle, data, offset)
                start = numbers.randrange(250_000)
                assert os.pread(handle, 40_000, start) == bytes(model[start:start + 40_000])
        assert store.body("f") == bytes(model)


@pytest.mark.parametrize("command", [["cp", "-p"], ["cp", "-a"]], ids=" ".join)
def test_cp_keeps_modes_and_times(command: list, mounted: OsWorld, store: CosStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    source.chmod(0o4751)
    os.utime(source, ns=(1_500_000_000_111_222_333, 1_600_000_000_444_555_666))
    subprocess.run([*command, source, mounted.real("/copy")], check=True)
    for moment in range(2):
        found = mounted.stat("/copy")
        assert found.permissions == 0o4751, moment
        assert found.mtime_ns == 1_600_000_000_444_555_666
    assert store.metadata("copy")["mode"] == str(stat.S_IFREG | 0o4751)
    assert store.metadata("copy")["mtime"] == "1600000000"


def test_tar_x_keeps_modes_and_times(mounted: OsWorld, tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    for number, mode in enumerate((0o600, 0o755, 0o444)):
        path = tmp_path / f"tree/sub/{number}"
        path.write_bytes(b"x" * number)
        path.chmod(mode)
        os.utime(path, (1_000_000_000 + number, 1_100_000_000 + number))
    os.utime(tmp_path / "tree/sub", (5, 6))
    subprocess.run(["tar", "-cf", tmp_path / "t.tar", "-C", tmp_path, "tree"], check=True)
    subprocess.run(["tar", "-xpf", tmp_path / "t.tar", "-C", mounted.root], check=True)
    for number, mode in enumerate((0o600, 0o755, 0o444)):
        found = mounted.stat(f"/tree/sub/{number}")
        assert (found.permissions, found.mtime_ns) == (mode, (1_100_000_000 + number) * SECOND)
    assert mounted.stat("/tree/sub").mtime_ns == 6 * SECOND


def test_posix_acl_is_refused_so_that_chmod_is_not_skipped(mounted: OsWorld, tmp_path: Path) -> None:
    source = tmp_path / "folder"
    source.mkdir()
    source.chmod(0o2755)
    subprocess.run(["cp", "-a", source, mounted.real("/folder")], check=True)
    assert mounted.stat("/folder").permissions == 0o2755
    with refused(errno.EOPNOTSUPP):
        mounted.getxattr("/folder", "system.posix_acl_access")
    assert mounted.listxattr("/folder") == []


def test_fstat_after_ftruncate_shows_the_new_size(mounted: OsWorld) -> None:
    mounted.write_file("/f", b"0123456789")
    with mounted.opened("/f", os.O_RDWR) as handle:
        for size in (3, 70_000, 0, 5):
            mounted.ftruncate(handle, size)
            assert mounted.fstat(handle).size == size
            assert mounted.stat("/f").size == size
    for size in (9, 1):
        mounted.truncate("/f", size)
        assert mounted.stat("/f").size == size


def test_open_creat_rdonly_reaches_the_bucket_and_outlives_a_remount(make_mount: MountFactory,
                                                                     store: CosStore) -> None:
    mount = make_mount()
    os.close(os.open(mount.point / "f", os.O_CREAT | os.O_RDONLY, 0o640))
    assert store.body("f") == b""
    mount.remount()
    assert stat.S_IMODE(os.stat(mount.point / "f").st_mode) == 0o640


def test_chmod_of_an_old_style_directory_object_works(mounted: OsWorld, store: CosStore) -> None:
    store.put("dir", b"", content_type="application/x-directory")
    store.put("dir/file", b"inside")
    assert mounted.stat("/dir").type == stat.S_IFDIR
    mounted.chmod("/dir", 0o711)
    assert mounted.stat("/dir").mode == stat.S_IFDIR | 0o711
    assert mounted.read_file("/dir/file") == b"inside"
    assert set(mounted.readdir("/")) == {"dir"}


def test_rename_of_a_folder_over_a_full_folder_is_enotempty(mounted: OsWorld, store: CosStore) -> None:
    for folder in ("a", "b"):
        mounted.mkdir(f"/{folder}")
        mounted.write_file(f"/{folder}/{folder}", folder.encode())
    with refused(errno.ENOTEMPTY):
        mounted.rename("/a", "/b")
    assert {key for key in store.keys() if not key.endswith("/")} == {"a/a", "b/b"}


@pytest.mark.parametrize("character", ["\x01", "\x08", "\x0b", "\x1f", "\x7f", "\u0085", "\ufffe"], ids=ascii)
def test_control_character_in_one_key_leaves_the_folder_listable(mounted: OsWorld, store: CosStore,
                                                                 character: str) -> None:
    store.put(f"odd{character}name", b"odd")
    store.put("plain", b"plain")
    assert set(mounted.readdir("/")) == {"plain", f"odd{character}name"}
    assert mounted.read_file(f"/odd{character}name") == b"odd"


def test_compiled_program_runs(mounted: OsWorld, tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("runs"); return 0; }\n')
    subprocess.run(["cc", "-o", mounted.real("/p"), source], check=True)
    done = subprocess.run([mounted.real("/p")], check=True, capture_output=True)
    assert done.stdout == b"runs\n"


def test_vim_keeps_the_mode(mounted: OsWorld) -> None:
    mounted.write_file("/f", b"one\ntwo\n")
    mounted.chmod("/f", 0o640)
    subprocess.run(["vim", "-es", "-u", "NONE", "-c", "%s/one/ONE/", "-c", "wq", mounted.real("/f")], check=True)
    assert mounted.read_file("/f") == b"ONE\ntwo\n"
    assert mounted.stat("/f").permissions == 0o640


def test_replaced_open_file_still_reads_the_old_content(mounted: OsWorld) -> None:
    old = random.Random(9).randbytes(3 << 20)
    mounted.write_file("/f", old)
    mounted.write_file("/new", b"new")
    with mounted.opened("/f", os.O_RDONLY) as handle:
        mounted.rename("/new", "/f")
        assert mounted.read_all(handle) == old


def test_unlinked_open_file_still_reads_after_the_page_cache_is_dropped(mounted: OsWorld) -> None:
    data = random.Random(10).randbytes(3 << 20)
    mounted.write_file("/f", data)
    with mounted.opened("/f", os.O_RDONLY) as handle:
        mounted.unlink("/f")
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        assert mounted.read_all(handle) == data
    assert mounted.readdir("/") == {}


def test_names_with_newline_tab_and_invalid_utf8_outlive_a_remount(make_mount: MountFactory) -> None:
    names = [b"new\nline", b"ta\tb", b"inval\xffid", "ü".encode(), b"cr\rcr"]
    mount = make_mount()
    for name in names:
        with open(os.fsencode(mount.root) + b"/" + name, "wb") as file:
            file.write(name)
    mount.remount()
    assert sorted(os.listdir(os.fsencode(mount.root))) == sorted(names)
    for name in names:
        with open(os.fsencode(mount.root) + b"/" + name, "rb") as file:
            assert file.read() == name


def test_mtime_does_not_move_after_close_and_remount(make_mount: MountFactory) -> None:
    mount = make_mount()
    path = mount.point / "f"
    path.write_bytes(b"content")
    shown = path.stat().st_mtime_ns
    assert path.stat().st_mtime_ns == shown
    os.utime(path, ns=(5, 1_234_567_890_123_456_789))
    mount.remount()
    assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert path.stat().st_atime_ns == 5


def test_atime_and_ctime_are_not_zero(mounted: OsWorld, store: CosStore) -> None:
    store.put("foreign", b"x")
    mounted.write_file("/own", b"x")
    for name in ("/foreign", "/own", "/"):
        found = mounted.stat(name)
        assert min(found.atime_ns, found.ctime_ns, found.mtime_ns) > (time.time() - 3600) * SECOND


def test_touch_of_the_mount_point_works(make_mount: MountFactory) -> None:
    mount = make_mount()
    os.utime(mount.point, ns=(SECOND, 2 * SECOND))
    os.chmod(mount.point, 0o755)
    assert os.stat(mount.point).st_mtime_ns == 2 * SECOND
    mount.remount()
    assert os.stat(mount.point).st_mtime_ns == 2 * SECOND
    assert stat.S_IMODE(os.stat(mount.point).st_mode) == 0o755


def test_touch_of_the_mount_point_of_a_whole_bucket_is_no_eio(make_mount: MountFactory) -> None:
    mount = make_mount(prefix="")
    subprocess.run(["touch", mount.root], check=True)


def test_empty_extended_attribute_outlives_a_remount(make_mount: MountFactory) -> None:
    mount = make_mount()
    path = mount.point / "f"
    path.write_bytes(b"")
    os.setxattr(path, "user.empty", b"")
    mount.remount()
    assert os.listxattr(path) == ["user.empty"]
    assert os.getxattr(path, "user.empty") == b""


def test_chmod_keeps_foreign_headers_of_files_and_directories(mounted: OsWorld, store: CosStore) -> None:
    headers = ObjectHeaders(metadata={"owner-department": "7", "mode": "420"}, storage_class="STANDARD_IA",
                            standard={"Cache-Control": "max-age=5", "Content-Type": "text/x-own",
                                      "Content-Disposition": "attachment"})
    for key in ("file", "folder/"):
        store.put_with(key, b"", headers)
        mounted.chmod("/" + key.rstrip("/"), 0o600)
        after = store.head(key)
        assert after.headers.metadata["owner-department"] == "7"
        assert after.storage_class == "STANDARD_IA"
        for name, value in headers.standard.items():
            assert after.headers.standard[name] == value


def test_write_to_a_setuid_file_by_another_user_clears_the_bit(public_mount: Mount) -> None:
    path = public_mount.point / "f"
    path.write_bytes(b"old")
    path.chmod(0o4777)
    os.chmod(public_mount.point, 0o777)
    _as_user(65534, f"open({str(path)!r}, 'r+b').write(b'new')")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o777


def test_other_users_are_held_to_the_modes(public_mount: Mount) -> None:
    mount = public_mount
    os.chmod(mount.point, 0o1777)
    (mount.point / "secret").write_bytes(b"x")
    (mount.point / "secret").chmod(0o600)
    (mount.point / "public").write_bytes(b"x")
    (mount.point / "public").chmod(0o644)
    for attempt in ("open('secret').read()", "open('public', 'w')", "os.unlink('public')", "os.rename('public', 'p')",
                    "os.chmod('public', 0o777)", "os.chown('public', 65534, 65534)"):
        _as_user(65534, f"import os; os.chdir({mount.root!r})\ntry: {attempt}\n"
                        "except PermissionError: pass\nelse: raise SystemExit('allowed')")
    _as_user(65534, f"assert open({str(mount.point / 'public')!r}).read() == 'x'")
    _as_user(65534, f"open({str(mount.point / 'own')!r}, 'w').write('mine')")
    assert (mount.point / "own").stat().st_uid == 65534
    assert (mount.point / "own").read_bytes() == b"mine"


def _as_user(uid: int, program: str) -> None:
    done = subprocess.run(["python3", "-c", program], check=False, user=uid,
                          group=uid, extra_groups=[], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_names_over_255_bytes_are_enametoolong(mounted: OsWorld) -> None:
    with refused(errno.ENAMETOOLONG):
        mounted.write_file("/" + "n" * 256, b"")
    mounted.write_file("/" + "n" * 255, b"fits")
    assert mounted.read_file("/" + "n" * 255) == b"fits"


def test_create_unlink_and_mkdir_move_the_times_of_the_parent(mounted: OsWorld) -> None:
    def moved(action: str, run: object) -> None:
        mounted.utimens("/d", SECOND, SECOND)
        run()  # type: ignore[operator]
        found = mounted.stat("/d")
        assert found.mtime_ns > 2 * SECOND, action
        assert found.ctime_ns > 2 * SECOND, action

    mounted.mkdir("/d")
    moved("create", lambda: mounted.write_file("/d/f", b"x"))
    moved("rename", lambda: mounted.rename("/d/f", "/d/g"))
    moved("unlink", lambda: mounted.unlink("/d/g"))
    moved("mkdir", lambda: mounted.mkdir("/d/e"))
    moved("rmdir", lambda: mounted.rmdir("/d/e"))
    moved("symlink", lambda: mounted.symlink("/d/l", "x"))


def test_ctime_moves_on_truncating_open_and_chmod(mounted: OsWorld) -> None:
    mounted.write_file("/f", b"content")
    before = mounted.stat("/f").ctime_ns
    mounted.chmod("/f", 0o600)
    after_chmod = mounted.stat("/f").ctime_ns
    assert after_chmod > before
    mounted.close(mounted.open("/f", os.O_WRONLY | os.O_TRUNC))
    assert mounted.stat("/f").ctime_ns > after_chmod


def test_device_numbers_and_times_outlive_a_remount(make_mount: MountFactory) -> None:
    mount = make_mount()
    device = mount.point / "device"
    os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(8, 300))
    far = 2**33 * SECOND + 123_456_789
    os.utime(device, ns=(far, -far))
    mount.remount()
    found = os.stat(device)
    assert found.st_rdev == os.makedev(8, 300)
    assert (found.st_atime_ns, found.st_mtime_ns) == (far, -far)


def test_hard_links_are_refused_with_a_clear_errno(mounted: OsWorld) -> None:
    mounted.write_file("/f", b"x")
    with pytest.raises(OSError) as caught:
        os.link(mounted.real("/f"), mounted.real("/g"))
    assert caught.value.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
    assert set(mounted.readdir("/")) == {"f"}


def test_unlink_of_an_open_file_costs_no_server_side_copy(mounted: OsWorld, shared_mount: Mount, store: CosStore,
                                                          server: object) -> None:
    mounted.write_file("/f", b"content")
    with mounted.opened("/f", os.O_RDONLY) as handle:
        server.clear_requests()  # type: ignore[attr-defined]
        mounted.unlink("/f")
        assert mounted.read_all(handle) == b"content"
        assert not [name for name in mounted.readdir("/") if name.startswith(".fuse_hidden")]
    mounted.fsyncdir("/")
    puts = [request for request in server.requests() if request["method"] == "PUT"]  # type: ignore[attr-defined]
    assert puts == []
    assert store.keys() == []


def test_server_that_takes_no_directory_markers_does_not_make_mkdir_fail(
        make_mount: MountFactory, server: CosServer, store: CosStore) -> None:
    mount = make_mount("")
    mount.expect_log(r"takes no directory markers .*/d exists in this mount only")
    server.set_faults("kind=status,status=501,code=NotImplemented,op=put_object,key=*/")
    folder = Path(mount.point) / "d"
    folder.mkdir(mode=0o750)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert os.listdir(mount.point) == ["d"]
    assert os.listdir(folder) == []
    (folder / "f").write_bytes(b"x")
    assert store.keys() == ["d/f"]
    (folder / "f").unlink()
    assert os.listdir(mount.point) == ["d"]
    folder.rmdir()
    assert os.listdir(mount.point) == []
