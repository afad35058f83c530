"""Fixtures of the client's tests: one embedded server, and clients of both signatures for it."""

from __future__ import annotations

from typing import Iterator

import pytest
import qcloud_cos

from cosfs import CosConfig, CosS3Client
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


def keywords(server):
    """Of a ``CosConfig`` for the server."""
    return {"Region": "ap-local", "Scheme": "http", "IP": server.host, "Port": server.port,
            "SecretId": server.secret_id, "SecretKey": server.secret_key}


@pytest.fixture
def ours(server):
    client = CosS3Client(CosConfig(**keywords(server)))
    yield client
    client.close()


@pytest.fixture
def theirs(server):
    return qcloud_cos.CosS3Client(qcloud_cos.CosConfig(**keywords(server)))


@pytest.fixture
def bucket(server):
    return server.bucket


@pytest.fixture
def source(server, theirs, bucket):
    theirs.put_object(Bucket=bucket, Body=b"0123456789" * 200_000, Key="source +ü", StorageClass="STANDARD_IA",
                      Metadata={"x-cos-meta-a": "b"})
    return {"Bucket": bucket, "Key": "source +ü", "Region": "ap-local"}


def upload(client, bucket, key):
    return client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]


def read_back(client, bucket, key):
    return b"".join(client.get_object(Bucket=bucket, Key=key)["Body"])
