from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from cosfs.filesystem import VersionedFilesystem
from tests.conftest import make_client
from tests.fs.versions_folder.bucket import Bucket, filesystem_on
from tests.support.past import versioned_server
from tests.support.server import CosServer


@pytest.fixture(scope="module")
def versioned() -> Iterator[CosServer]:
    with versioned_server() as server:
        yield server


@pytest.fixture
def bucket(versioned: CosServer) -> Iterator[Bucket]:
    made = Bucket(versioned)
    yield made
    made.client.close()


@pytest.fixture
def mount(bucket: Bucket, tmp_path: Path) -> Iterator[VersionedFilesystem]:
    client = make_client(bucket.server)
    filesystem = filesystem_on(client, bucket.prefix, tmp_path)
    yield filesystem
    filesystem.stop()
    client.close()
