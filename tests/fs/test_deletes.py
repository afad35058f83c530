"""Removals of open files: collected, dropped when the name is taken again, back when they fail."""

import threading

import pytest

from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem.deletes import DeleteQueue
from tests.support.memory_client import MemoryClient, error

NEVER_S = 3600.0


@pytest.fixture
def client():
    client = MemoryClient()
    for key in ("a", "b", "c"):
        client.add(key, b"x")
    return client


def make(client, failed=None, delay_s=NEVER_S):
    queue = DeleteQueue(client, delay_s=delay_s)
    queue.listen((failed if failed is not None else []).append, lambda _: None)
    return queue


def test_a_burst_is_one_request(client):
    queue = make(client)
    for key in ("a", "b", "c"):
        queue.schedule(key, "/" + key)
    assert client.count("delete_objects") == 0
    queue.settle()
    assert (client.count("delete_objects"), client.count("delete_object"), dict(client.objects)) == (1, 0, {})


def test_a_delete_leaves_by_itself_after_the_delay(client):
    gate = client.block("delete_object")
    queue = make(client, delay_s=0.01)
    queue.schedule("a", "/a")
    gate.wait_entered()
    gate.open()
    queue.settle()
    assert "a" not in client.objects


def test_a_key_that_is_stored_again_is_not_deleted(client):
    queue = make(client)
    queue.schedule("a", "/a")
    with queue.overwriting("a"):
        client.put_object("a", b"new", headers=ObjectHeaders())
    queue.settle()
    assert client.body("a") == b"new"


def test_a_key_that_could_not_be_stored_is_deleted_after_all(client):
    queue = make(client)
    queue.schedule("a", "/a")
    with pytest.raises(ValueError, match="no"), queue.overwriting("a"):
        raise ValueError("no")
    queue.settle()
    assert "a" not in client.objects


@pytest.mark.parametrize("one_by_one", [False, True])
def test_storing_waits_for_a_delete_that_is_on_its_way(client, one_by_one):
    gate = client.block("delete_object")
    queue = make(client)
    queue.schedule("a", "/a")
    if one_by_one:
        queue.schedule("b", "/b")
        client.fail("delete_objects", error(403, "AccessDenied"))
    settler = threading.Thread(target=queue.settle)
    settler.start()
    gate.wait_entered()
    stored = threading.Event()

    def store():
        with queue.overwriting("a"):
            stored.set()
    writer = threading.Thread(target=store)
    writer.start()
    assert not stored.is_set()
    gate.open()
    assert stored.wait(10)
    settler.join(10)
    writer.join(10)


@pytest.mark.parametrize("keys", [["a"], ["a", "b"]])
def test_names_come_back_when_their_delete_fails(client, keys, caplog, expected_logs):
    expected_logs("could not be deleted")
    client.fail("delete_object" if len(keys) == 1 else "delete_objects", error(500, "InternalError"))
    failed = []
    queue = make(client, failed)
    for key in keys:
        queue.schedule(key, "/" + key)
    queue.settle()
    assert failed == ["/" + key for key in keys]
    assert "could not be deleted" in caplog.text


def test_settling_does_not_wait_for_what_comes_later(client):
    queue = make(client)
    gates = [client.block("delete_object", nth=nth) for nth in (1, 2)]
    queue.schedule("a", "/a")
    settler = threading.Thread(target=queue.settle)
    settler.start()
    gates[0].wait_entered()
    queue.schedule("b", "/b")
    later = threading.Thread(target=queue.settle)
    later.start()
    gates[1].wait_entered()
    gates[0].open()
    settler.join(10)
    assert not settler.is_alive()
    gates[1].open()
    later.join(10)


def test_a_slow_service_ends_the_burst(client):
    queue = DeleteQueue(client, delay_s=NEVER_S)
    gates = [client.block("delete_object", nth=nth) for nth in range(1, 5)]
    queue.succeeded()
    senders = []
    for gate in gates:
        assert queue.bursting()
        queue.schedule("a", "/a")
        senders.append(threading.Thread(target=queue.settle))
        senders[-1].start()
        gate.wait_entered()
    assert not queue.bursting()
    for gate in gates:
        gate.open()
    for sender in senders:
        sender.join(10)
    assert queue.bursting()
