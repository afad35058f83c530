"""How far the kernel reads ahead in a mount."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import MountFactory

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

DEFAULT_KB = 128


def read_ahead_kb(point: Path) -> int:
    device = os.stat(point).st_dev
    return int(Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").read_text())


@pytest.mark.parametrize("libfuse", [2, 3])
def test_root_reads_ahead_further(make_mount: MountFactory, libfuse: int) -> None:
    mount = make_mount(f"libfuse={libfuse}", "dbglevel=info")
    if os.geteuid() == 0:
        assert read_ahead_kb(mount.point) == 512
    else:
        assert read_ahead_kb(mount.point) == DEFAULT_KB
        assert re.search("only root can change that", mount.text())


@pytest.mark.parametrize("libfuse", [2, 3])
def test_less_is_for_everybody(make_mount: MountFactory, libfuse: int) -> None:
    assert read_ahead_kb(make_mount(f"libfuse={libfuse}", "max_readahead=65536").point) == 64
