"""Fixtures of all tests, and the rules that every test is held to.

* An unexpected log record of WARNING or worse from cosfs fails the test; ``expected_logs(pattern)`` permits one.
* Every test has a hard time limit (pytest-timeout; ``pyproject.toml`` for the default), mounts a stricter one.
* Garbage is collected after each test, so that a leaked file, socket or thread shows in the test that leaked it.
* A mount test fails where ``/dev/fuse`` is there but does not work; it is skipped only where there is none.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import logging
import os
import re
import signal
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest

pytest.register_assert_rewrite("tests.support")

from cosfs.config import FilesystemConfig  # noqa: E402
from cosfs.cos.client import BucketClient  # noqa: E402
from cosfs.cos.credentials import StaticCredentials  # noqa: E402
from cosfs.cos.endpoint import ClientConfig  # noqa: E402
from cosfs.cos.interface import ObjectClient, ObjectHeaders  # noqa: E402
from cosfs.cos.retry import RetryPolicy  # noqa: E402
from cosfs.filesystem import CosFilesystem  # noqa: E402
from tests.support.filesystem_world import FilesystemWorld  # noqa: E402
from tests.support.mount import FUSE_DEVICE, Mount  # noqa: E402
from tests.support.server import CosServer  # noqa: E402
from tests.support.stores import CosStore  # noqa: E402
from tests.support.worlds import OsWorld  # noqa: E402

_folder_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    # A shell that runs the tests in the background has them ignore this, and what they start would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    state = tempfile.TemporaryDirectory(prefix="cosfs-state-")
    config.add_cleanup(state.cleanup)
    os.environ["XDG_STATE_HOME"] = state.name  # for mounts that are given no state_dir


def pytest_collection_finish() -> None:
    """What is there before the first test is no garbage, and is not looked through after each test: of the modules and
    thousands of tests that took 0.14 s of CPU each time."""
    gc.collect()
    gc.freeze()


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: List[logging.LogRecord] = []
        self.expected: List[re.Pattern[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def unexpected(self) -> List[str]:
        lines = [f"{record.levelname} {record.name}: {record.getMessage()}" for record in self.records]
        return [line for line in lines if not any(pattern.search(line) for pattern in self.expected)]


@pytest.fixture(autouse=True)
def _watched_logs() -> Iterator[_Records]:
    handler = _Records()
    logger = logging.getLogger("cosfs")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    gc.collect()
    lines = handler.unexpected()
    assert not lines, "unexpected log records:\n" + "\n".join(lines)


@pytest.fixture
def expected_logs(_watched_logs: _Records) -> Callable[[str], None]:
    """``expected_logs(pattern)``: records that match are no failure of this test."""
    def expect(pattern: str) -> None:
        _watched_logs.expected.append(re.compile(pattern))
    return expect


@pytest.fixture(scope="session")
def session_server() -> Iterator[CosServer]:
    """One embedded server for all tests; each test works in a folder of its own (``folder``)."""
    with CosServer() as server:
        yield server


@pytest.fixture
def server(session_server: CosServer) -> Iterator[CosServer]:
    """The embedded server, without faults before and after."""
    yield session_server
    session_server.clear_faults()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A key prefix that no other test uses: ``t00001/``."""
    if "mounted" in request.fixturenames:
        return str(next(request.getfixturevalue("shared_folders")))
    return new_folder()


def new_folder() -> str:
    return f"t{next(_folder_numbers):05}/"


@pytest.fixture(scope="module")
def shared_folders(request: pytest.FixtureRequest, session_server: CosServer) -> Iterator[str]:
    """The folders of a module's tests, made before its mount: it need not see at once what is made elsewhere."""
    tests = [item for item in request.session.items
             if item.path == request.path and "mounted" in getattr(item, "fixturenames", ())]
    names = [new_folder() for _ in tests]
    client = make_client(session_server)
    for name in names:
        client.put_object(name, b"", headers=ObjectHeaders(metadata={"mode": str(stat.S_IFDIR | 0o755)}))
    client.close()
    return iter(names)


@pytest.fixture
def client(server: CosServer) -> Iterator[ObjectClient]:
    """The embedded client on the whole bucket, with the default retries."""
    made = make_client(server)
    yield made
    made.close()


def make_client(server: CosServer, *, retries: int = 6, **settings: Any) -> BucketClient:
    """A client of the server's bucket. ``retries``: sendings in all; the pauses between them are short."""
    policy = RetryPolicy(attempts=retries, base_delay_s=0.01, slow_down_floor_s=0.01)
    return BucketClient(ClientConfig(bucket=server.bucket, endpoint=server.url, retry=policy,
                                     credentials=StaticCredentials(server.credentials), **settings))


@pytest.fixture
def store(client: ObjectClient, folder: str) -> CosStore:
    """The bucket below ``folder``, seen by the client alone."""
    return CosStore(client, folder)


class FilesystemFactory:
    """Starts filesystems on ``folder`` of the server; all are stopped at the end of the test."""

    def __init__(self, server: CosServer, folder: str, staging: Path) -> None:
        self._server = server
        self._folder = folder
        self._staging = staging
        self._stack = ExitStack()

    def __call__(self, *, retries: int = 6, client: Optional[ObjectClient] = None, **settings: Any) -> CosFilesystem:
        if client is None:
            client = make_client(self._server, retries=retries)
            self._stack.callback(client.close)
        values = {"prefix": self._folder, "staging_folder": str(self._staging), **settings}
        filesystem = CosFilesystem(client, FilesystemConfig(**values))
        filesystem.start()
        self._stack.callback(filesystem.stop)
        return filesystem

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def make_filesystem(server: CosServer, folder: str, tmp_path: Path) -> Iterator[FilesystemFactory]:
    """``make_filesystem(retries=1, **settings of FilesystemConfig)``: a started ``CosFilesystem`` on ``folder``."""
    factory = FilesystemFactory(server, folder, tmp_path)
    yield factory
    factory.close()


@pytest.fixture
def filesystem(make_filesystem: FilesystemFactory) -> CosFilesystem:
    return make_filesystem()


@pytest.fixture
def world(filesystem: CosFilesystem, store: CosStore) -> FilesystemWorld:
    """The filesystem with the face of ``os``. Whoever looks into ``store`` sees what it has done."""
    store.settle = filesystem.fsyncdir
    return FilesystemWorld(filesystem)


def require_fuse() -> None:
    if not FUSE_DEVICE.exists():
        pytest.skip("this machine has no /dev/fuse")


class MountFactory:
    """Makes mounts of the embedded server; all are unmounted and checked at the end of the test."""

    def __init__(self, server: CosServer, prefix: str, base: Path) -> None:
        self._server = server
        self._prefix = prefix
        self._base = base
        self._stack = ExitStack()
        self._count = itertools.count(1)

    def unstarted(self, *options: str, switches: List[str] = [], prefix: Optional[str] = None,  # noqa: B006
                  url: Optional[str] = None, **more: Any) -> Mount:
        require_fuse()
        place = self._base / f"mount{next(self._count)}"
        place.mkdir(parents=True)
        prefix = self._prefix if prefix is None else prefix
        bucket = f"{self._server.bucket}:/{prefix}" if prefix else self._server.bucket
        return Mount(url or self._server.url, bucket, place, key=(self._server.secret_id, self._server.secret_key),
                     options=options, switches=switches, **more)

    def __call__(self, *options: str, **more: Any) -> Mount:
        return self._stack.enter_context(self.unstarted(*options, **more))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def make_mount(server: CosServer, folder: str, tmp_path: Path) -> Iterator[MountFactory]:
    """``make_mount("option=value", ...)``: a kernel mount of ``folder``."""
    factory = MountFactory(server, folder, tmp_path)
    yield factory
    factory.close()


@pytest.fixture
def public_mount(server: CosServer, folder: str) -> Iterator[Mount]:
    """A mount with ``allow_other`` in a place that other users can reach; pytest's own folders are private."""
    with tempfile.TemporaryDirectory(prefix="cosfs-public-") as base:
        os.chmod(base, 0o755)
        factory = MountFactory(server, folder, Path(base))
        yield factory("allow_other")
        factory.close()


@pytest.fixture(scope="module")
def shared_mount(session_server: CosServer, shared_folders: Iterator[str],
                 tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """One mount of the whole bucket for all tests of a module."""
    require_fuse()
    factory = MountFactory(session_server, "", tmp_path_factory.mktemp("shared"))
    yield factory()
    factory.close()


@pytest.fixture
def mounted(shared_mount: Mount, store: CosStore, folder: str) -> Iterator[OsWorld]:
    """An empty folder of the module's mount; what the mount logs meanwhile must be no alarm.

    Whoever looks into ``store`` sees what was done in the mount.
    """
    before = shared_mount.log_size()
    store.settle = lambda: shared_mount.world().fsyncdir("/")
    yield shared_mount.world("/" + folder.rstrip("/"))
    alarms = shared_mount.alarms(before)
    assert not alarms, "unexpected in the log of the mount:\n" + "\n".join(alarms[:20])
