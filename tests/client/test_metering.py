"""What the client counts is what the server got: each sending once, its bytes, its latency."""

from __future__ import annotations

from collections import Counter
from typing import Iterator

import pytest

from cosfs.cos.client import BucketClient
from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.endpoint import ClientConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.cos.retry import RetryPolicy
from cosfs.errors import CosException, ObjectNotFound
from cosfs.metrics import RequestMeter, percentile_us
from tests.support.server import CosServer

HEADERS = ObjectHeaders()


@pytest.fixture
def meter() -> RequestMeter:
    return RequestMeter()


@pytest.fixture
def metered(server: CosServer, meter: RequestMeter) -> Iterator[BucketClient]:
    server.clear_requests()
    policy = RetryPolicy(attempts=4, base_delay_s=0.01, slow_down_floor_s=0.01)
    client = BucketClient(ClientConfig(bucket=server.bucket, endpoint=server.url, retry=policy,
                                       credentials=StaticCredentials(server.credentials)), meter=meter)
    yield client
    client.close()


def test_counts_bytes_and_errors_are_those_of_the_servers_log(metered: BucketClient, meter: RequestMeter,
                                                              server: CosServer, folder: str) -> None:
    metered.put_object(folder + "a", bytes(100_000), headers=HEADERS)
    metered.get_object(folder + "a", memoryview(bytearray(50_000)), start=10)
    metered.get_object(folder + "a", memoryview(bytearray(1000)))
    metered.list_objects(folder)
    with pytest.raises(ObjectNotFound):
        metered.head_object(folder + "none")
    metered.copy_object(folder + "a", folder + "b", if_match=None)
    assert metered.delete_objects([folder + "a", folder + "b"]) == ()
    told, log = meter.told(), server.requests()
    names = {"Put Object": "put_object", "Get Object": "get_object", "List Objects": "list_objects",
             "Head Object": "head_object", "Put Object - Copy": "copy_object",
             "Delete Multiple Objects": "delete_objects"}
    assert {names[kind]: counts.count for kind, counts in told.items()} == Counter(row["op"] for row in log)
    for kind, counts in told.items():
        rows = [row for row in log if row["op"] == names[kind]]
        assert counts.bytes_out == sum(row["bytes_in"] for row in rows), kind
        assert counts.bytes_in == sum(row["bytes_out"] for row in rows), kind
        assert counts.errors == counts.retries == counts.unsent == 0, kind


@pytest.mark.parametrize(("fault", "unanswered"), [("kind=status,times=2", 0), ("kind=lost-answer,times=2", 2),
                                                   ("kind=truncate,at=5,times=2", 0)])
def test_each_sending_of_a_repeated_request_counts_once(metered: BucketClient, meter: RequestMeter, server: CosServer,
                                                        folder: str, fault: str, unanswered: int) -> None:
    metered.put_object(folder + "a", b"0123456789", headers=HEADERS)
    server.set_faults(fault + ",op=get_object")
    metered.get_object(folder + "a", memoryview(bytearray(10)))
    counts = meter.told()["Get Object"]
    assert counts.count == len(server.requests(op="get_object")) == 3
    assert (counts.errors, counts.retries, counts.unsent) == (2, 2, 0)
    assert sum(counts.latencies.values()) == 3 - unanswered


def test_what_finds_no_server_is_counted_as_unsent(meter: RequestMeter) -> None:
    client = BucketClient(ClientConfig(bucket="b-1250000000", endpoint="http://127.0.0.1:1",
                                       retry=RetryPolicy(attempts=2, base_delay_s=0.01)), meter=meter)
    with pytest.raises(CosException):
        client.head_object("a")
    client.close()
    counts = meter.told()["Head Object"]
    assert (counts.count, counts.errors, counts.retries, counts.unsent) == (2, 2, 1, 2)


def test_the_latency_is_the_time_to_the_head_of_the_answer(metered: BucketClient, meter: RequestMeter,
                                                           server: CosServer, folder: str) -> None:
    metered.put_object(folder + "a", b"0123456789", headers=HEADERS)
    server.set_faults("kind=stall,seconds=0.3,op=head_object", "kind=stall,seconds=0.3,at=5,op=get_object")
    metered.head_object(folder + "a")
    metered.get_object(folder + "a", memoryview(bytearray(10)))
    told = meter.told()
    assert 0.25e6 < (percentile_us(told["Head Object"].latencies, 0.5) or 0) < 0.6e6
    assert (percentile_us(told["Get Object"].latencies, 0.5) or 0) < 0.2e6
