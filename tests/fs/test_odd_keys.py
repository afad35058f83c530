"""Keys that are no ordinary paths: each is reached through exactly one path, or is logged by the listings."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from typing import Dict, Iterator, List, Set

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cosfs.config import FilesystemConfig
from cosfs.errors import InvalidArgument, NameTooLong, NoEntry
from cosfs.filesystem import Caller, CosFilesystem
from cosfs.namespace.paths import component_to_name, has_path
from tests.support.filesystem_world import FilesystemWorld
from tests.support.memory_client import Call, MemoryClient
from tests.support.strict_client import StrictClient

pytestmark = pytest.mark.timeout(60)
ME = Caller(0, 0)

COMPONENTS = st.one_of(
    st.sampled_from(["", ".", "..", "a", "b", "a.", "a-", "\u241b", "\u241b+", "\u241b-", "\u241b+a", "\u241b-.", "a\n",
                     "\u241b0A", "\u241b5Ca", "\\a", "\x01", "\ufffe", "é", "n\0l", "x" * 255, "x" * 256, "x" * 257,
                     "é" * 127, "\x1b" * 253, "a_$folder$", "_$folder$"]),
    st.text(alphabet="a.\u241b-+~0AF\\\n", max_size=3))
KEYS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join).filter(bool)


@pytest.fixture
def client() -> StrictClient:
    return StrictClient()


@pytest.fixture
def w(client: StrictClient) -> Iterator[FilesystemWorld]:
    filesystem = make(client)
    yield FilesystemWorld(filesystem)
    filesystem.stop()


def make(client: MemoryClient, **settings: object) -> CosFilesystem:
    return CosFilesystem(client, FilesystemConfig(**settings))


@contextmanager
def logged() -> Iterator[List[str]]:
    """What is logged of keys without a path and of directories that cannot be kept, which is expected here."""
    lines: List[str] = []

    def keep(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return False

    loggers = [logging.getLogger(f"cosfs.{name}") for name in ("namespace.listing", "filesystem.removals")]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield lines
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def tree_of(filesystem: CosFilesystem) -> Dict[str, str]:
    """The key of each path that listings lead to."""
    keys: Dict[str, str] = {}
    folders = ["/"]
    while folders:
        folder = folders.pop()
        for entry in filesystem.readdir(folder):
            path = f"{folder.rstrip('/')}/{entry.name}"
            assert path not in keys
            keys[path] = filesystem._context.tree.lookup(path).key
            assert stat.S_IFMT(filesystem.getattr(path).mode) == entry.mode
            if entry.mode == stat.S_IFDIR:
                folders.append(path)
            else:
                assert content(filesystem, path) in (b"", keys[path].encode())
    return keys


def content(filesystem: CosFilesystem, path: str) -> bytes:
    fh = filesystem.open(path, os.O_RDONLY).fh
    try:
        return filesystem.read(fh, 0, 1 << 20)
    finally:
        filesystem.release(fh)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, st.booleans(), max_size=12), st.sampled_from(["", "p/", "p/q/"]))
def test_every_key_is_reached_through_exactly_one_path_or_logged(generated: Dict[str, bool], prefix: str) -> None:
    client = StrictClient()
    keys = {prefix + key for key in generated}
    for key, empty in generated.items():
        client.add(prefix + key, b"" if empty and not key.endswith("$") else (prefix + key).encode())
    with logged() as lines:
        filesystem = make(client, prefix=prefix)
        found = tree_of(filesystem)
        filesystem.stop()
        reached = [key for path, key in found.items()
                   if key in keys and not (is_directory_of(path, key) and client.body(key))]
        assert len(reached) == len(set(reached))
        hidden = {key for key in keys if not has_path(key) or "\0" in key}
        assert set(reached) - hidden == keys - hidden
        assert not {key for key in set(reached) & hidden if client.body(key)}
        assert bool(lines) == bool({key for key in hidden if client.body(key) or not key.endswith("/") or "\0" in key})
        assert_lookups_agree(client, prefix, found)


def is_directory_of(path: str, key: str) -> bool:
    """A key that ends with a slash is a directory's marker, and what it holds has a path of its own."""
    return key.endswith("/") and not path.endswith("/\u241b+")


def assert_lookups_agree(client: MemoryClient, prefix: str, found: Dict[str, str]) -> None:
    """Who mounts anew and asks for a path, folder by folder as the kernel does, gets the same key."""
    filesystem = make(client, prefix=prefix)
    try:
        world = FilesystemWorld(filesystem)
        for path, key in sorted(found.items(), reverse=True):
            world.stat(path)
            assert filesystem._context.tree.lookup(path).key == key
    finally:
        filesystem.stop()


@settings(max_examples=100, deadline=None)
@given(st.sets(KEYS, min_size=1, max_size=8), st.sampled_from(["unlink", "write", "rename", "chmod"]), st.data())
def test_changes_of_a_shown_path_are_changes_of_just_that_key(generated: Set[str], change: str,
                                                              data: st.DataObject) -> None:
    client = StrictClient()
    for key in generated:
        client.add("p/" + key, ("p/" + key).encode())
    before = {key: stored.body for key, stored in client.objects.items()}
    with logged():
        filesystem = make(client, prefix="p/")
        files = sorted((path, key) for path, key in tree_of(filesystem).items()
                       if key in before and not is_directory_of(path, key))
        assume(files)
        path, key = data.draw(st.sampled_from(files))
        expected = {other: body for other, body in before.items() if other != key}
        if change == "unlink":
            filesystem.unlink(path)
        elif change == "rename":
            filesystem.rename(path, "/moved")
            expected["p/moved"] = before[key]
        elif change == "chmod":
            filesystem.chmod(path, 0o640)
            expected = before
        else:
            fh = filesystem.open(path, os.O_WRONLY).fh
            filesystem.write(fh, 0, b"new")
            filesystem.flush(fh)
            filesystem.release(fh)
            expected[key] = b"new" + before[key][3:]
        filesystem.stop()
    after = {key: stored.body for key, stored in client.objects.items()}
    kept = {other for other in after if other.endswith("/") and not after[other]}  # markers of emptied directories
    assert {other: body for other, body in after.items() if other not in kept - set(expected)} == expected


def test_empty_components_are_directories(w: FilesystemWorld, client: StrictClient) -> None:
    client.add("a//b", b"x")
    client.add("a///", b"marker with a body")
    assert w.readdir("/a") == {"\u241b-": stat.S_IFDIR}
    assert w.readdir("/a/\u241b-") == {"b": stat.S_IFREG, "\u241b-": stat.S_IFDIR}
    assert w.read_file("/a/\u241b-/\u241b-/\u241b+") == b"marker with a body"
    w.write_file("/a/\u241b-/c", b"y")
    w.mkdir("/a/\u241b-/d")
    assert {"a//c", "a//d/"} <= set(client.objects)
    w.mkdir("/e")
    w.mkdir("/e/\u241b-")
    assert "e//" in client.objects
    w.rename("/a/\u241b-", "/plain")
    assert {"plain/b", "plain/c", "plain/d/"} <= set(client.objects)


@pytest.mark.parametrize("key", ["a/" + "x" * 400, "a/" + "x" * 400 + "/b", "a/" + "é" * 253, "a/\x1a" + "y" * 253])
def test_long_components_are_shown_and_found_again_by_another_mount(client: StrictClient, key: str) -> None:
    client.add(key, key.encode())
    client.add("a/" + "x" * 399, ("a/" + "x" * 399).encode())
    first = make(client)
    path = next(path for path, known in tree_of(first).items() if known == key)
    first.stop()
    forget_shortened()
    second = make(client)
    world = FilesystemWorld(second)
    assert world.read_file(path) == key.encode()
    world.rename(path, "/short")
    assert client.body("short") == key.encode() and key not in client.objects
    assert not world.exists(path)
    second.stop()


def forget_shortened() -> None:
    """What a new process does not know."""
    for number in range(10_000):
        component_to_name(f"{number}" + "x" * 300)


@pytest.mark.parametrize(("path", "expected"), [
    ("/" + "/".join(["y" * 200] * 4) + "/" + "z" * 60, NameTooLong), ("/" + "x" * 256, NameTooLong),
    ("/\u241b-/x", InvalidArgument), ("/\u241b-a\nb", InvalidArgument), ("/d/\u241b+", InvalidArgument),
    ("/\u241b-plain", InvalidArgument), ("/\u241b-.", InvalidArgument)])
def test_a_file_that_the_service_would_refuse_is_refused_before_any_request_to_store_it(
        client: StrictClient, path: str, expected: type) -> None:
    filesystem = make(client)
    for operation in (lambda: filesystem._files.new_file(path, 0o644, ME),
                      lambda: filesystem._context.tree.keys.file_key(path)):
        with pytest.raises(expected):
            operation()
    assert changes(client) == []
    filesystem.stop()


@pytest.mark.parametrize("path", ["/" + "/".join(["y" * 200] * 4) + "/" + "z" * 60, "/" + "x" * 256])
def test_names_that_are_too_long_cost_no_request_at_all(client: StrictClient, path: str) -> None:
    filesystem = make(client)
    client.add("f", b"x")
    filesystem.getattr("/f")
    client.calls.clear()
    operations = (
        lambda: filesystem.getattr(path), lambda: filesystem.open(path, os.O_RDONLY),
        lambda: filesystem.create(path, 0o644, os.O_WRONLY | os.O_CREAT, ME), lambda: filesystem.mkdir(path, 0o755, ME),
        lambda: filesystem.symlink(path, "t", ME), lambda: filesystem.mknod(path, stat.S_IFIFO | 0o644, 0, ME),
        lambda: filesystem.rename("/f", path), lambda: filesystem.unlink(path), lambda: filesystem.rmdir(path))
    for operation in operations:
        with pytest.raises(NameTooLong):
            operation()
    assert client.calls == []
    filesystem.stop()


@pytest.mark.parametrize("path", ["/\u241b-plain", "/d/\u241b+/x", "/\u241b~x", "/\u241b-plain/x"])
def test_reserved_names_that_stand_for_nothing_are_not_there_and_cannot_be_made(client: StrictClient,
                                                                                path: str) -> None:
    filesystem = make(client)
    with pytest.raises(NoEntry):
        filesystem.getattr(path)
    for operation in (lambda: filesystem.create(path, 0o644, os.O_WRONLY | os.O_CREAT, ME),
                      lambda: filesystem.mkdir(path, 0o755, ME), lambda: filesystem.symlink(path, "t", ME)):
        with pytest.raises(InvalidArgument):
            operation()
    assert changes(client) == []
    filesystem.stop()


@pytest.mark.parametrize("path", ["/\u241b-", "/d/\u241b-..", "/\u241b-a\nb"])
def test_a_directory_whose_marker_the_service_would_refuse_is_refused_before_it_is_sent(client: StrictClient,
                                                                                       path: str) -> None:
    client.add("d/f", b"x")
    filesystem = make(client)
    with pytest.raises(InvalidArgument):
        filesystem.mkdir(path, 0o755, ME)
    assert changes(client) == []
    filesystem.stop()


def changes(client: MemoryClient) -> List[Call]:
    return [call for call in client.calls if call.operation not in ("head_object", "list_objects")]


def test_keys_without_a_path_are_logged_once_per_listing(client: StrictClient) -> None:
    for key in ("d/a", "d/b\0", "d/c\0/x", "d/c\0/y", "d/" + "/".join(["z" * 200] * 5), "e_$folder$", "e", ".."):
        client.add("p/q/" + key, b"")
    client.add("p/..", b"")
    with logged() as lines:
        filesystem = make(client, prefix="p/")
        w = FilesystemWorld(filesystem)
        assert set(w.readdir("/q/d")) == {"a", "z" * 200}
        w.readdir("/q/d")
        assert set(w.readdir("/")) == {"q"}
        assert set(w.readdir("/q")) == {"\u241b-..", "d", "e"}
        filesystem.stop()
    assert sorted(lines) == ["1 keys below 'p/' have no path, the first is 'p/..'",
                             "1 keys below 'p/q/' have no path, the first is 'p/q/e_$folder$'",
                             "2 keys below 'p/q/d/' have no path, the first is 'p/q/d/c\\x00/'"]
