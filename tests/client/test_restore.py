"""Post Object Restore, in both protocols."""

from __future__ import annotations

import pytest

from cosfs.archive import RestoreOrder, Tier, parse_restore_header
from cosfs.cos.client import BucketClient
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import ObjectArchived, ObjectNotArchived, ObjectNotFound, RestoreInProgress
from tests.client.conftest import client_of
from tests.conftest import make_client
from tests.support.server import CosServer

COLD = ObjectHeaders(storage_class="DEEP_ARCHIVE")


def read(client: BucketClient) -> bytes:
    buffer = bytearray(4)
    client.get_object("cold", memoryview(buffer))
    return bytes(buffer)


def test_a_restored_object_can_be_read_and_kept_longer(client: BucketClient) -> None:
    client.put_object("cold", b"cold", headers=COLD)
    with pytest.raises(ObjectArchived):
        read(client)
    assert client.restore_object("cold", RestoreOrder(1, Tier.BULK))
    assert read(client) == b"cold"
    first = parse_restore_header(client.head_object("cold").restore)
    assert not client.restore_object("cold", RestoreOrder(3, Tier.BULK))
    second = parse_restore_header(client.head_object("cold").restore)
    assert first and second and first.expiry_s and second.expiry_s
    assert 2 * 86400 - 5 < second.expiry_s - first.expiry_s < 2 * 86400 + 60


def test_what_is_not_archived_or_not_there_is_told(client: BucketClient) -> None:
    client.put_object("plain", b"x", headers=ObjectHeaders())
    with pytest.raises(ObjectNotArchived):
        client.restore_object("plain", RestoreOrder(1))
    with pytest.raises(ObjectNotFound):
        client.restore_object("missing", RestoreOrder(1))


def test_the_server_restores_for_a_time_and_forgets_again() -> None:
    with CosServer(args=["--restore-seconds", "1000"]) as server:
        client = make_client(server)
        client.put_object("cold", b"cold", headers=COLD)
        assert client.restore_object("cold", RestoreOrder(1, Tier.BULK))
        with pytest.raises(RestoreInProgress):
            client.restore_object("cold", RestoreOrder(1))
        headers = server.request("HEAD", "cold")[1]
        assert headers["x-cos-restore"] == 'ongoing-request="true"'
        assert headers["x-cos-restore-status"].startswith('tier="bulk"; request-date="')
        client.close()
    with CosServer(args=["--day-seconds", "0.000001"]) as server:
        client = make_client(server)
        client.put_object("cold", b"cold", headers=COLD)
        client.restore_object("cold", RestoreOrder(1))
        assert client.head_object("cold").restore is None
        with pytest.raises(ObjectArchived):
            read(client)
        client.close()


def test_a_lost_answer_is_no_second_restore(server: CosServer) -> None:
    server.set_faults("kind=lost-answer,op=restore_object,times=1")
    client = client_of(server)
    client.put_object("cold", b"cold", headers=COLD)
    assert client.restore_object("cold", RestoreOrder(1)) is False  # the first sending has done it
    client.close()
