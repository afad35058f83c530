"""Fixtures of the client's tests: one embedded server, and clients of both signatures for it."""

from __future__ import annotations

from typing import Iterator

import pytest

from cosfs.cos.client import BucketClient
from cosfs.cos.credentials import StaticCredentials
from tests.support.clients import make_client
from tests.support.server import CosServer


@pytest.fixture(scope="module")
def module_server() -> Iterator[CosServer]:
    with CosServer() as server:
        yield server


@pytest.fixture
def server(module_server: CosServer) -> Iterator[CosServer]:
    module_server.clear_requests()
    yield module_server
    module_server.clear_faults()


@pytest.fixture(params=["cos", "v4"])
def client(server: CosServer, request: pytest.FixtureRequest) -> Iterator[BucketClient]:
    found = client_of(server, signature=request.param)
    yield found
    found.close()


def client_of(server: CosServer, **fields) -> BucketClient:
    return make_client(server.url, **{"bucket": server.bucket, "credentials": StaticCredentials(server.credentials),
                                      **fields})
