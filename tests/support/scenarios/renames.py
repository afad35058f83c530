"""rename(2) as POSIX has it, over everything that may already be there."""

from __future__ import annotations

import errno
import os
import stat

from tests.support.scenarios import refused, scenario
from tests.support.stores import Store
from tests.support.worlds import World


@scenario("copy")
def test_rename_of_a_file_moves_content_and_attributes(w: World, store: Store) -> None:
    w.write_file("/a", b"content")
    w.chmod("/a", 0o600)
    w.utimens("/a", 5_000_000_001, 6_000_000_002)
    w.rename("/a", "/b")
    assert not w.exists("/a")
    assert w.read_file("/b") == b"content"
    after = w.stat("/b")
    assert (after.permissions, after.mtime_ns) == (0o600, 6_000_000_002)
    assert store.keys() == ["b"]


@scenario("copy")
def test_rename_over_a_file_replaces_it(w: World, store: Store) -> None:
    w.write_file("/a", b"new")
    w.write_file("/b", b"old, and longer")
    w.rename("/a", "/b")
    assert w.tree() == {"/b": ("file", b"new")}
    assert store.body("b") == b"new"


@scenario()
def test_rename_to_itself_changes_nothing(w: World, store: Store) -> None:
    w.write_file("/a", b"content")
    w.rename("/a", "/a")
    assert w.tree() == {"/a": ("file", b"content")}
    assert store.body("a") == b"content"


@scenario("directories")
def test_rename_of_a_directory_to_itself_changes_nothing(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.write_file("/d/f", b"x")
    w.rename("/d", "/d")
    assert set(w.tree()) == {"/d", "/d/f"}


@scenario("directories")
def test_rename_of_missing_names_is_enoent(w: World, store: Store) -> None:
    w.write_file("/a", b"")
    with refused(errno.ENOENT):
        w.rename("/missing", "/b")
    with refused(errno.ENOENT):
        w.rename("/missing", "/a")
    with refused(errno.ENOENT):
        w.rename("/a", "/nowhere/b")
    assert set(w.tree()) == {"/a"}


@scenario("directories")
def test_rename_of_a_file_over_a_directory_is_eisdir(w: World, store: Store) -> None:
    w.write_file("/f", b"")
    w.mkdir("/d")
    w.mkdir("/full")
    w.write_file("/full/x", b"")
    with refused(errno.EISDIR):
        w.rename("/f", "/d")
    with refused(errno.EISDIR):
        w.rename("/f", "/full")
    assert set(w.tree()) == {"/f", "/d", "/full", "/full/x"}


@scenario("directories")
def test_rename_of_a_directory_over_a_file_is_enotdir(w: World, store: Store) -> None:
    w.write_file("/f", b"keep")
    w.mkdir("/d")
    with refused(errno.ENOTDIR):
        w.rename("/d", "/f")
    with refused(errno.ENOTDIR):
        w.rename("/d", "/f/below")
    assert w.tree() == {"/f": ("file", b"keep"), "/d": ("directory", None)}


@scenario("directories")
def test_rename_of_a_directory_over_an_empty_one_replaces_it(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.write_file("/a/f", b"x")
    w.mkdir("/b")
    w.rename("/a", "/b")
    assert w.tree() == {"/b": ("directory", None), "/b/f": ("file", b"x")}
    assert sorted(store.keys()) == ["b/", "b/f"]


@scenario("directories")
def test_rename_of_a_directory_over_a_full_one_is_enotempty(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.write_file("/a/f", b"a")
    w.mkdir("/b")
    w.write_file("/b/f", b"b")
    before = w.tree()
    with refused(errno.ENOTEMPTY):
        w.rename("/a", "/b")
    assert w.tree() == before
    assert (store.body("a/f"), store.body("b/f")) == (b"a", b"b")


@scenario("directories")
def test_rename_of_an_empty_directory_over_a_full_one_is_enotempty(w: World, store: Store) -> None:
    store.put("b/f", b"implicit")
    w.mkdir("/a")
    with refused(errno.ENOTEMPTY):
        w.rename("/a", "/b")
    assert set(w.tree()) == {"/a", "/b", "/b/f"}


@scenario("directories")
def test_rename_of_a_directory_into_itself_is_einval(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.mkdir("/a/b")
    with refused(errno.EINVAL):
        w.rename("/a", "/a/c")
    with refused(errno.EINVAL):
        w.rename("/a", "/a/b/c")
    with refused(errno.EINVAL):
        w.rename("/a", "/a/b")
    assert set(w.tree()) == {"/a", "/a/b"}


@scenario("directories")
def test_rename_over_an_ancestor_is_enotempty(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.mkdir("/a/b")
    w.write_file("/a/f", b"")
    with refused(errno.ENOTEMPTY):
        w.rename("/a/b", "/a")
    assert set(w.tree()) == {"/a", "/a/b", "/a/f"}


@scenario("directories")
def test_rename_of_a_tree_moves_everything(w: World, store: Store) -> None:
    w.mkdir("/a", 0o750)
    w.mkdir("/a/empty")
    w.mkdir("/a/sub")
    for number in range(12):
        w.write_file(f"/a/sub/{number}", b"%d" % number)
    w.symlink("/a/link", "sub/1")
    w.mkdir("/to")
    expected = {"/to/b" + path[2:]: kind for path, kind in w.tree("/a").items()}
    w.rename("/a", "/to/b")
    assert not w.exists("/a")
    assert w.tree("/to/b") == expected
    assert w.readdir("/") == {"to": stat.S_IFDIR}
    assert not [key for key in store.keys() if key.startswith("a/")]


@scenario("directories")
def test_rename_of_an_implicit_directory(w: World, store: Store) -> None:
    store.put("a/b/c", b"deep")
    w.rename("/a", "/z")
    assert w.read_file("/z/b/c") == b"deep"
    assert not w.exists("/a")
    assert store.body("z/b/c") == b"deep"


@scenario("directories")
def test_rename_of_a_directory_takes_pending_files_along(w: World, store: Store) -> None:
    w.mkdir("/a")
    handle = w.open("/a/f", os.O_RDWR | os.O_CREAT)
    w.write_all(handle, b"written before", 0)
    w.rename("/a", "/b")
    w.write_all(handle, b"written afterX", 0)
    assert w.pread(handle, 100, 0) == b"written afterX"
    w.close(handle)
    assert w.tree() == {"/b": ("directory", None), "/b/f": ("file", b"written afterX")}
    assert sorted(store.keys()) == ["b/", "b/f"]


@scenario("directories")
def test_name_of_a_moved_directory_is_free_again(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.write_file("/a/f", b"1")
    w.rename("/a", "/b")
    w.mkdir("/a")
    assert w.readdir("/a") == {}
    w.write_file("/a/f", b"2")
    assert (w.read_file("/a/f"), w.read_file("/b/f")) == (b"2", b"1")


@scenario("copy")
def test_rename_of_a_symlink_over_a_file(w: World, store: Store) -> None:
    w.write_file("/target", b"target")
    w.write_file("/f", b"replaced")
    w.symlink("/link", "target")
    w.rename("/link", "/f")
    assert w.tree() == {"/target": ("file", b"target"), "/f": ("symlink", "target")}


@scenario("copy")
def test_rename_of_a_file_over_a_symlink_replaces_the_link(w: World, store: Store) -> None:
    w.write_file("/target", b"target")
    w.symlink("/link", "target")
    w.write_file("/f", b"new")
    w.rename("/f", "/link")
    assert w.tree() == {"/target": ("file", b"target"), "/link": ("file", b"new")}


@scenario("copy")
def test_rename_chain_like_an_editor(w: World, store: Store) -> None:
    w.write_file("/f", b"version 0")
    for number in range(1, 5):
        w.write_file("/f.tmp", b"version %d" % number)
        w.rename("/f", "/f.bak")
        w.rename("/f.tmp", "/f")
    assert w.tree() == {"/f": ("file", b"version 4"), "/f.bak": ("file", b"version 3")}


@scenario("directories")
def test_rename_between_parents(w: World, store: Store) -> None:
    w.mkdir("/d")
    w.mkdir("/e")
    w.write_file("/d/f", b"x")
    w.rename("/d/f", "/e/g")
    assert set(w.tree()) == {"/d", "/e", "/e/g"}
    w.rmdir("/d")
    w.rename("/e/g", "/f")
    w.rmdir("/e")
    assert w.tree() == {"/f": ("file", b"x")}
