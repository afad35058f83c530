"""Fixtures that several files of mount tests share."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.conftest import require_fuse
from tests.support.doctor import Doctor
from tests.support.server import CosServer


@pytest.fixture
def doctor(server: CosServer, folder: str) -> Iterator[Doctor]:
    require_fuse()
    made = Doctor(server, folder)
    server.clear_requests()
    yield made
    made.close()
