"""Many programs on the same few names of one mount: whatever wins, mount and bucket must agree in the end."""

from __future__ import annotations

import errno
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.conftest import MountFactory
from tests.support.stores import CosStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

NAMES = "abcd"
TOLERATED = (errno.ENOENT, errno.ESTALE)
"""The name, or the version behind it, went away between two steps of the kernel."""


def everything(folder: Path) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def hammer(folder: Path, seed: int) -> None:
    numbers = random.Random(seed)
    for _ in range(120):
        name, other = folder / numbers.choice(NAMES), folder / numbers.choice(NAMES)
        mine = bytes([seed]) * numbers.choice((10, 70_000, 3 << 20))
        actions: List[Callable[[], object]] = [
            lambda path=name, data=mine: path.write_bytes(data), lambda path=name, data=mine: append(path, data[:50]),
            lambda path=name, to=other: os.rename(path, to), lambda path=name: os.unlink(path),
            lambda path=name: path.read_bytes(), lambda path=name: os.chmod(path, 0o600 | seed)]
        try:
            numbers.choices(actions, (4, 2, 2, 1, 2, 1))[0]()
        except OSError as exc:
            if exc.errno not in TOLERATED:
                raise


def test_mount_and_bucket_agree_after_a_fight_over_names(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount("multipart_size=1")
    mount.expect_log(r"WARNING cosfs\.operations: .*errno 116")
    mount.expect_log(r"WARNING cosfs\.filesystem\.files: .* as its close or fsync was told: .*has changed or is gone")
    with ThreadPoolExecutor(6) as pool:
        for fought in [pool.submit(hammer, mount.point, seed) for seed in range(1, 7)]:
            fought.result()
    shown = everything(mount.point)
    handle = os.open(mount.point, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    assert {key: store.body(key) for key in store.keys()} == shown
    assert store.pending_uploads() == []
    mount.remount()
    assert everything(mount.point) == shown
