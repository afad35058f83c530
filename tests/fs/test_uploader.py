"""The uploader on a client in memory: right bytes, few requests, nothing left behind by failures."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import ObjectHeaders, UploadedPart
from cosfs.errors import (
    IntegrityError,
    NetworkError,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    StagingFailed,
    StaleHandle,
)
from cosfs.executor import ByteBudget, WorkerPool
from cosfs.writing.extents import ExtentMap
from cosfs.writing.part import PartContent
from cosfs.writing.plan import Limits
from cosfs.writing.staging import StagingArea, StagingFile
from cosfs.writing.uploader import Uploader
from tests.support.memory_client import WAIT_S, MemoryClient

LIMITS = Limits(part_size_bytes=1000, put_threshold_bytes=1500, min_part_bytes=100, max_part_bytes=10_000,
                max_parts=50, max_object_bytes=500_000, max_copy_bytes=5000, request_cost_bytes=50)
HEADERS = ObjectHeaders(metadata={"mode": "33188"})


@dataclass
class File:
    """An open file as the filesystem keeps it, with what it should contain."""

    extents: ExtentMap
    staging: StagingFile
    expected: bytearray

    def write(self, offset: int, data: bytes) -> None:
        self.staging.reserve(self.extents.unstaged_bytes(offset, offset + len(data)))
        self.staging.write(offset, data)
        self.extents.write(offset, offset + len(data))
        self.staging.settle(self.extents.staged_bytes)
        self.expected.extend(bytes(max(0, offset + len(data) - len(self.expected))))
        self.expected[offset:offset + len(data)] = data


class World:
    def __init__(self, folder: Path) -> None:
        self.client = MemoryClient(min_part_bytes=LIMITS.min_part_bytes, max_parts=LIMITS.max_parts)
        self.area = StagingArea(str(folder), None)
        self.budget = ByteBudget(4000)
        self.pool = WorkerPool("upload", 3)
        self.uploader = Uploader(self.client, self.budget, self.pool, LIMITS)
        self.files: List[StagingFile] = []

    def new(self, key: str = "", body: bytes = b"") -> File:
        """A file that is open: new, or with the object ``key`` as its content."""
        self.files.append(self.area.open())
        if not key:
            return File(ExtentMap(), self.files[-1], bytearray())
        info = self.client.add(key, body)
        return File(ExtentMap.of_object(key, info.etag, len(body)), self.files[-1], bytearray(body))

    def settled(self) -> None:
        assert self.client.pending_uploads() == []
        assert self.budget.used_bytes == 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.pool.close()
    for file in made.files:
        file.close()


def content(world: World, file: File, start: int, stop: int) -> PartContent:
    return PartContent(world.client, file.staging, file.extents.runs(start, stop), LIMITS)


def some_bytes(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


def test_small_file_is_one_put_with_headers_and_crc(world: World) -> None:
    file = world.new()
    file.write(100, b"hello")
    committed = world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == file.expected
    assert world.client.objects["k"].info.headers == HEADERS
    assert [call.operation for call in world.client.calls] == ["put_object"]
    assert (committed.size_bytes, committed.crc64) == (105, crc64(bytes(file.expected)))
    world.settled()


def test_large_file_goes_in_parts_and_its_combined_crc_is_known(world: World) -> None:
    file = world.new()
    file.write(0, some_bytes(9_500))
    committed = world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == file.expected
    assert world.client.count("upload_part") == 10
    assert committed.crc64 == crc64(bytes(file.expected))
    assert committed.stored.etag == world.client.objects["k"].info.etag
    world.settled()


def test_edit_copies_what_is_unchanged_and_fetches_one_gap(world: World) -> None:
    file = world.new("k", some_bytes(20_000))
    file.write(7000, b"edited")
    world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == file.expected
    assert [call.detail["size"] for call in world.client.calls_of("upload_part")] == [100]
    assert world.client.count("get_object") == 1
    assert world.client.count("upload_part_copy") == 5


def test_unchanged_content_is_one_copy_with_the_new_headers(world: World) -> None:
    file = world.new("k", some_bytes(3000))
    world.uploader.commit("new", file.extents, None, HEADERS)
    assert [call.operation for call in world.client.calls] == ["copy_object"]
    assert world.client.body("new") == file.expected
    assert world.client.objects["new"].info.headers == HEADERS


def test_empty_file(world: World) -> None:
    committed = world.uploader.commit("k", ExtentMap(), None, HEADERS)
    assert (world.client.body("k"), committed.size_bytes, committed.crc64) == (b"", 0, 0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 12_000), st.lists(st.tuples(st.integers(0, 14_000), st.integers(1, 900)), max_size=8),
       st.one_of(st.none(), st.integers(0, 12_000)))
def test_any_content_arrives_as_it_is(world: World, size: int, writes: List[Tuple[int, int]], cut: int) -> None:
    file = world.new("base", some_bytes(size))
    for number, (offset, length) in enumerate(writes):
        file.write(offset, some_bytes(length, number))
        if number == 2 and cut is not None:
            file.extents.truncate(cut)
            del file.expected[cut:]
            file.expected.extend(bytes(cut - len(file.expected)))
    world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == file.expected
    world.settled()


FAILURES = [("get_object", 1), ("get_object", 2), ("create_multipart_upload", 1), ("upload_part", 1),
            ("upload_part", 3), ("upload_part_copy", 1), ("upload_part_copy", 4), ("complete_multipart_upload", 1)]


@pytest.mark.parametrize("exc", [NetworkError("gone"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize(("operation", "nth"), FAILURES)
def test_each_failing_operation_leaves_no_upload_and_the_object_as_it_was(
        world: World, operation: str, nth: int, exc: BaseException) -> None:
    before = some_bytes(20_000)
    file = world.new("k", before)
    file.write(3000, b"one")
    file.write(9000, some_bytes(2500))
    file.write(15_000, b"two")
    world.client.fail(operation, exc, nth=nth)
    with pytest.raises(type(exc)):
        world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == before
    world.settled()
    world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == file.expected
    world.settled()


@pytest.mark.parametrize("operation", ["put_object", "copy_object"])
def test_a_failing_put_or_copy_leaves_the_object_as_it_was(world: World, operation: str) -> None:
    file = world.new("k", b"before")
    if operation == "put_object":
        file.write(0, b"after")
    world.client.fail(operation, NetworkError("gone"))
    with pytest.raises(NetworkError):
        world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert world.client.body("k") == b"before"
    world.settled()


def test_a_failing_abort_is_logged_and_does_not_hide_the_error(
        world: World, caplog: pytest.LogCaptureFixture, expected_logs: Callable[[str], None]) -> None:
    file = world.new()
    file.write(0, some_bytes(5000))
    world.client.fail("upload_part", NetworkError("first"))
    world.client.fail("abort_multipart_upload", NetworkError("second"))
    expected_logs("stays pending, it could not be aborted: second")
    with pytest.raises(NetworkError, match="first"):
        world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert "stays pending" in caplog.text


def test_abort_waits_for_the_parts_in_flight(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = world.new()
    file.write(0, some_bytes(5000))
    failed = threading.Event()
    in_flight: List[int] = []
    in_flight_at_abort: List[int] = []
    upload_part, abort = world.client.upload_part, world.client.abort_multipart_upload

    def watched_part(key: str, upload_id: str, number: int, body: bytearray) -> UploadedPart:
        in_flight.append(number)
        try:
            return upload_part(key, upload_id, number, body)
        except NetworkError:
            failed.set()
            raise
        finally:
            in_flight.remove(number)

    def watched_abort(key: str, upload_id: str) -> None:
        in_flight_at_abort.append(len(in_flight))
        abort(key, upload_id)

    monkeypatch.setattr(world.client, "upload_part", watched_part)
    monkeypatch.setattr(world.client, "abort_multipart_upload", watched_abort)
    gate = world.client.block("upload_part", nth=1)
    world.client.fail("upload_part", NetworkError("gone"), nth=2)

    def open_after_failure() -> None:
        failed.wait(WAIT_S)
        gate.open()

    opener = threading.Thread(target=open_after_failure)
    opener.start()
    with pytest.raises(NetworkError):
        world.uploader.commit("k", file.extents, file.staging, HEADERS)
    opener.join(WAIT_S)
    assert in_flight_at_abort == [0]
    world.settled()


@pytest.mark.parametrize("changed", [True, False], ids=["overwritten", "deleted"])
@pytest.mark.parametrize("size", [1000, 20_000], ids=["put", "parts"])
def test_a_source_that_changed_is_a_stale_handle(world: World, size: int, changed: bool) -> None:
    file = world.new("k", some_bytes(size))
    file.write(500, b"edited")
    if changed:
        world.client.add("k", b"foreign")
    else:
        world.client.delete_object("k")
    with pytest.raises(StaleHandle) as caught:
        world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert isinstance(caught.value.__cause__, PreconditionFailed if changed else ObjectNotFound)
    assert ("k" in world.client.objects) == changed
    world.settled()


@pytest.mark.parametrize("size", [10, 5000])
def test_forbid_overwrite(world: World, size: int) -> None:
    file = world.new()
    file.write(0, some_bytes(size))
    world.client.add("k", b"theirs")
    with pytest.raises(ObjectExists):
        world.uploader.commit("k", file.extents, file.staging, HEADERS, forbid_overwrite=True)
    assert world.client.body("k") == b"theirs"
    world.settled()


def test_a_wrong_checksum_of_the_whole_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = world.new()
    file.write(0, some_bytes(5000))
    complete = world.client.complete_multipart_upload
    monkeypatch.setattr(world.client, "complete_multipart_upload",
                        lambda *args, **kwargs: replace(complete(*args, **kwargs), crc64=1))
    with pytest.raises(IntegrityError):
        world.uploader.commit("k", file.extents, file.staging, HEADERS)


def test_staging_that_cannot_be_read_is_an_error_and_leaves_nothing(world: World) -> None:
    file = world.new()
    file.write(0, some_bytes(5000))
    file.staging.truncate(10)
    with pytest.raises(StagingFailed):
        world.uploader.commit("k", file.extents, file.staging, HEADERS)
    assert "k" not in world.client.objects
    world.settled()


def test_part_bodies_stay_within_the_budget(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: List[int] = []
    upload_part = world.client.upload_part

    def watched(key: str, upload_id: str, number: int, body: bytearray) -> UploadedPart:
        seen.append(world.budget.used_bytes)
        return upload_part(key, upload_id, number, body)

    monkeypatch.setattr(world.client, "upload_part", watched)
    files = [world.new() for _ in range(4)]
    for file in files:
        file.write(0, some_bytes(9000))
    threads = [threading.Thread(target=world.uploader.commit, args=(f"k{index}", file.extents, file.staging, HEADERS))
               for index, file in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(world.client.objects) == 4
    assert max(seen) <= 4000
    world.settled()


def test_a_part_that_is_started_again_replaces_the_first(world: World) -> None:
    old, new = world.new(), world.new()
    old.write(0, b"x" * 100)
    new.write(0, b"a" * 100 + b"b" * 10)
    with world.uploader.session("k", HEADERS) as session:
        session.begin()
        session.start_upload(2, content(world, new, 100, 110))
        session.start_upload(1, content(world, old, 0, 100))
        session.start_upload(1, content(world, new, 0, 100))
        session.complete()
    assert world.client.body("k") == new.expected


def test_a_part_that_was_never_sent_makes_no_object(world: World) -> None:
    file = world.new()
    file.write(0, some_bytes(200))
    with world.uploader.session("k", HEADERS) as session:
        session.begin()
        session.start_upload(1, content(world, file, 0, 100))
        session.wait(1)
        session._failed.set()  # as another part that fails would
        session.start_upload(2, content(world, file, 100, 200))
        assert session.forgive() == [2]
        with pytest.raises(IntegrityError, match="1 of 2 parts"):
            session.complete()
    assert "k" not in world.client.objects
    world.settled()


def test_a_session_that_is_left_without_complete_is_aborted(world: World) -> None:
    file = world.new()
    file.write(0, b"never stored")
    with world.uploader.session("k", HEADERS) as session:
        session.begin()
        session.start_upload(1, content(world, file, 0, 10))
    assert world.client.count("create_multipart_upload") == 1
    assert "k" not in world.client.objects
    world.settled()
