"""Changes of names and attributes on a server that fails on demand: all or nothing, and unnoticed with retries."""

from __future__ import annotations

import errno
from typing import Callable, NamedTuple

import pytest

from tests.conftest import FilesystemFactory
from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import refused
from tests.support.scenarios.files import pattern
from tests.support.server import CosServer
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(60)

OLD = b"old content"
NEW = pattern(200_000, 31)
LARGE = pattern(23 << 20, 32)

RETRIES = r"cosfs\.cos\.(retry|requester|multipart|client|transport|download)"
"""Loggers that may tell of a retry."""


class Change(NamedTuple):
    fault: str
    action: Callable[[FilesystemWorld], None]
    errno: int

    @property
    def name(self) -> str:
        return self.fault.replace("kind=", "").replace("op=", "")


CHANGES = [
    Change("kind=status,op=copy_object", lambda w: w.rename("/a", "/b"), errno.EIO),
    Change("kind=error-in-200,op=copy_object", lambda w: w.rename("/a", "/b"), errno.EIO),
    Change("kind=status,status=403,code=AccessDenied,op=put_object", lambda w: w.chmod("/d", 0o700), errno.EACCES),
    Change("kind=status,op=delete_object", lambda w: w.unlink("/a"), errno.EIO),
    Change("kind=status,status=403,code=AccessDenied,op=delete_object", lambda w: w.unlink("/a"), errno.EACCES),
    Change("kind=status,status=403,code=AccessDenied,op=delete_object", lambda w: w.rmdir("/d"), errno.EACCES),
    Change("kind=status,status=403,code=AccessDenied,op=put_object", lambda w: w.mkdir("/new"), errno.EACCES),
    Change("kind=status,op=put_object", lambda w: w.mkdir("/new"), errno.EIO),
    Change("kind=status,op=put_object", lambda w: w.symlink("/new", "a"), errno.EIO),
    Change("kind=error-in-200,op=copy_object", lambda w: w.rename("/full", "/moved"), errno.EIO),
    Change("kind=status,op=copy_object,after=1", lambda w: w.rename("/full", "/moved"), errno.EIO),
    Change("kind=status,op=list_objects", lambda w: w.rename("/full", "/moved"), errno.EIO),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_failed_change_changes_nothing(change: Change, make_filesystem: FilesystemFactory, server: CosServer,
                                       store: CosStore, expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    w = FilesystemWorld(make_filesystem(retries=1))
    w.write_file("/a", OLD)
    w.mkdir("/d")
    w.mkdir("/full")
    for number in range(3):
        w.write_file(f"/full/{number}", b"%d" % number)
    tree, keys = w.tree(), store.keys()
    server.set_faults(change.fault)
    with refused(change.errno):
        change.action(w)
    server.clear_faults()
    assert store.keys() == keys
    assert w.tree() == tree
    fresh = FilesystemWorld(make_filesystem())
    assert fresh.tree() == tree
    change.action(w)
    assert FilesystemWorld(make_filesystem()).tree() == w.tree()


@pytest.mark.parametrize("change", [change for change in CHANGES if change.errno != errno.EACCES],
                         ids=lambda change: change.name)
def test_change_with_retries_does_not_notice(change: Change, make_filesystem: FilesystemFactory, server: CosServer,
                                             expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    w = FilesystemWorld(make_filesystem())
    w.write_file("/a", OLD)
    w.mkdir("/d")
    w.mkdir("/full")
    for number in range(3):
        w.write_file(f"/full/{number}", b"%d" % number)
    server.set_faults(change.fault + ",times=2")
    change.action(w)
    assert FilesystemWorld(make_filesystem()).tree() == w.tree()


def test_lost_answer_of_a_copy_without_retries_loses_nothing(
        make_filesystem: FilesystemFactory, server: CosServer, store: CosStore) -> None:
    w = FilesystemWorld(make_filesystem(retries=1))
    w.write_file("/a", OLD)
    server.set_faults("kind=lost-answer,op=copy_object,times=1")
    with refused(errno.EHOSTUNREACH):
        w.rename("/a", "/b")
    assert w.read_file("/a") == OLD
    w.rename("/a", "/b")
    assert store.keys() == ["b"]
    assert w.tree() == {"/b": ("file", OLD)}


@pytest.mark.parametrize("op", ["copy_object", "delete_object", "put_object", "delete_objects"])
def test_lost_answers_of_changes_with_retries_are_not_noticed(
        op: str, make_filesystem: FilesystemFactory, server: CosServer,
        expected_logs: Callable[[str], None]) -> None:
    expected_logs(RETRIES)
    w = FilesystemWorld(make_filesystem())
    server.set_faults(f"kind=lost-answer,op={op},times=2")
    w.mkdir("/d")
    w.write_file("/d/a", OLD)
    w.chmod("/d/a", 0o600)
    w.rename("/d/a", "/d/b")
    w.rename("/d", "/e")
    w.symlink("/e/link", "b")
    w.unlink("/e/link")
    assert FilesystemWorld(make_filesystem()).tree() == {"/e": ("directory", None), "/e/b": ("file", OLD)}
