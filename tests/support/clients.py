"""Clients of the tests, and the things that make them exact: a retry policy without waiting, a fixed clock."""

from __future__ import annotations

from typing import Any, List

from cosfs.cos.client import BucketClient
from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.endpoint import ClientConfig
from cosfs.cos.retry import RetryPolicy
from cosfs.cos.signing import Credentials

BUCKET = "examplebucket-1250000000"
SECRET_KEY = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz"  # printed in the service's documentation
CREDENTIALS = Credentials("AKIDQjz3ltompVjBni5LitkWHFlFpwkn9U5q", SECRET_KEY)


class Pauses:
    """A clock that moves only by sleeping, and the sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: List[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def policy(self, **fields: Any) -> RetryPolicy:
        return RetryPolicy(**{"clock": lambda: self.now_s, "sleep": self.sleep, "random": lambda: 0.5, **fields})


NO_RETRY = RetryPolicy(attempts=1)


def make_config(url: str, **fields: Any) -> ClientConfig:
    """A configuration for a local server; repeats without waiting unless told otherwise."""
    return ClientConfig(**{"bucket": BUCKET, "endpoint": url, "credentials": StaticCredentials(CREDENTIALS),
                           "retry": Pauses().policy(), "connect_timeout_s": 5, "read_timeout_s": 5, **fields})


def make_client(url: str, **fields: Any) -> BucketClient:
    return BucketClient(make_config(url, **fields))
