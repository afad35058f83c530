"""Clients that nobody here wrote, pointed at the embedded server."""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, Iterator, Tuple

import boto3
import pytest
from botocore.config import Config
from qcloud_cos import CosConfig, CosS3Client, CosServiceError

from tests.support.server import CosServer

MakeServer = Callable[..., CosServer]


def official_client(server: CosServer, **config: Any) -> CosS3Client:
    """The official Python SDK in its IP mode: the bucket's host goes into the Host header."""
    settings = {"Region": "ap-local", "SecretId": server.secret_id, "SecretKey": server.secret_key,
                "Token": server.token, "Scheme": "http",
                "IP": server.host, "Port": server.port,
                "ServiceDomain": f"{server.host}:{server.port}", **config}
    return CosS3Client(CosConfig(**settings), retry=0)


def boto_client(server: CosServer, **config: Any) -> Any:
    """boto3 with its defaults, but without retries."""
    settings = {"aws_access_key_id": server.secret_id, "aws_secret_access_key": server.secret_key,
                "aws_session_token": server.token, **config}
    return boto3.client("s3", endpoint_url=server.url, region_name="ap-local",
                        config=Config(retries={"total_max_attempts": 1}, signature_version="s3v4"), **settings)


def body_of(answer: Dict[str, Any]) -> bytes:
    """The body of an answer of the official SDK."""
    data: bytes = answer["Body"].get_raw_stream().read()
    return data


def sdk_refusal(call: Callable[..., Any], **arguments: Any) -> Tuple[int, str]:
    """Status and code of the error that a call of the official SDK ends in."""
    with pytest.raises(CosServiceError) as caught:
        call(**arguments)
    digest = caught.value.get_digest_msg()
    assert digest["requestid"] and digest["traceid"] and digest["resource"] and digest["message"]
    return caught.value.get_status_code(), caught.value.get_error_code()


def source(key: str, bucket: str = CosServer.bucket) -> Dict[str, str]:
    """A CopySource of the official SDK."""
    return {"Bucket": bucket, "Key": key, "Region": "ap-local"}


def random_bytes(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def sdk(server: CosServer) -> CosS3Client:
    return official_client(server)


@pytest.fixture
def s3(server: CosServer) -> Iterator[Any]:
    client = boto_client(server)
    yield client
    client.close()


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """``make_server(**options of CosServer)``: a started server of the test's own."""
    servers = []

    def make(*args: Any, **options: Any) -> CosServer:
        servers.append(CosServer(*args, **options).start())
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
