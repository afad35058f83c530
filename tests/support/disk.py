"""A small disk of its own for a test; needs root."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def small_disk(point: Path, size_bytes: int) -> Iterator[Path]:
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "cosfs-test", str(point)], check=True,
                   timeout=10)
    yield point
    subprocess.run(["umount", str(point)], check=True, timeout=10)
