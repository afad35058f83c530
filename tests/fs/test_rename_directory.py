"""Renames of directories: what they cost, what they carry along, and what failures leave."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import DeleteFailure, ObjectHeaders
from cosfs.errors import AccessDenied, CosServiceError, DirectoryNotEmpty, NameTooLong, NoEntry, ServiceUnavailable
from cosfs.filesystem import CosFilesystem
from tests.support.memory_client import MemoryClient, Stored, error

REQUESTS = ("head_object", "list_objects", "get_object", "put_object", "copy_object", "delete_object", "delete_objects")
KMS = {"x-cos-server-side-encryption": "cos/kms", "x-cos-server-side-encryption-cos-kms-key-id": "k"}


class Service(MemoryClient):
    """With the ETags that the service gives to objects encrypted by KMS, and deletes that are refused."""

    def __init__(self) -> None:
        super().__init__()
        self.undeletable: Tuple[str, ...] = ()

    def _store(self, key: str, body: bytes, headers: ObjectHeaders, etag: str, **more: Any) -> Any:
        if "cos/kms" in headers.extra.values():
            etag = hashlib.md5(f"{key}{len(self.calls)}".encode()).hexdigest()
        return super()._store(key, body, headers, etag, **more)

    def delete_objects(self, keys: Any) -> Tuple[DeleteFailure, ...]:
        refused = [key for key in keys if key in self.undeletable]
        super().delete_objects([key for key in keys if key not in refused] or ["none"])
        return tuple(DeleteFailure(key, "AccessDenied", "refused") for key in refused)

    def contents(self) -> Dict[str, Tuple[bytes, ObjectHeaders]]:
        return {key: (stored.body, stored.info.headers) for key, stored in self.objects.items()}

    def spent(self) -> Dict[str, int]:
        return {name: self.count(name) for name in REQUESTS if self.count(name)}


@pytest.fixture
def client() -> Service:
    return Service()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket@host:1"
    folder.mkdir()
    return folder


@pytest.fixture
def start(client: Service, state: Path, tmp_path: Path) -> Iterator[Callable[..., CosFilesystem]]:
    """Start a filesystem on the bucket; each has the state folder that the last one had."""
    started: List[CosFilesystem] = []

    def start(**settings: Any) -> CosFilesystem:
        values = {"state_folder": str(state), "staging_folder": str(tmp_path), **settings}
        filesystem = CosFilesystem(client, FilesystemConfig(**values))
        filesystem.start()
        started.append(filesystem)
        return filesystem
    yield start
    for filesystem in started:
        filesystem.stop()


def add_tree(client: MemoryClient, count: int = 5, prefix: str = "d/") -> None:
    client.add(prefix, b"", ObjectHeaders({"mode": "16872"}))
    for number in range(count):
        client.add(f"{prefix}{number:03}", b"%d" % number, ObjectHeaders({"own": str(number)}))


def renamed(contents: Dict[str, Any], old: str = "d/", new: str = "e/") -> Dict[str, Any]:
    return {new + key[len(old):] if key.startswith(old) else key: value for key, value in contents.items()}


def test_rename_of_500_files_costs_at_most_510_requests_with_the_lookups(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client, 500)
    before = client.contents()
    filesystem = start()
    filesystem.getattr("/d")
    with pytest.raises(NoEntry):
        filesystem.getattr("/e")
    filesystem.rename("/d", "/e")
    assert client.contents() == renamed(before)
    spent = client.spent()
    assert (spent["copy_object"], spent["delete_objects"]) == (501, 1)
    assert sum(spent.values()) <= 510, spent


def test_rename_with_keys_that_may_not_delete_several_objects_at_once(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    before = client.contents()
    client.fail("delete_objects", error(403, "AccessDenied"))
    start().rename("/d", "/e")
    assert client.contents() == renamed(before)
    assert (client.count("delete_objects"), client.count("delete_object")) == (1, 6)


@pytest.mark.parametrize("status", [403, 500])
def test_deletes_one_by_one_that_end_halfway_lose_nothing(status: int, client: Service, expected_logs: Any,
                                                          start: Callable[..., CosFilesystem]) -> None:
    expected_logs("are left under the old name")
    add_tree(client)
    before = client.contents()
    client.fail("delete_objects", error(403, "AccessDenied"))
    client.fail("delete_object", error(status, "AccessDenied" if status == 403 else "InternalError"), nth=3)
    with pytest.raises(CosServiceError):
        start().rename("/d", "/e")
    after = client.contents()
    assert {key: after.get(key) for key in renamed(before)} == renamed(before)
    [left] = [key for key in after if key.startswith("d/")]
    assert after[left] == before[left]


def test_rename_of_a_file_in_a_fresh_mount_takes_four_requests_with_the_lookups(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    client.add("one", b"1" * 100_000)
    filesystem = start()
    filesystem.getattr("/one")
    with pytest.raises(NoEntry):
        filesystem.getattr("/two")
    filesystem.rename("/one", "/two")
    assert client.spent() == {"head_object": 1, "list_objects": 1, "copy_object": 1, "delete_object": 1}


def test_rename_keeps_storage_classes_metadata_and_headers(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    for name, kept_class in (("a", None), ("b", "STANDARD_IA"), ("c", "MAZ_STANDARD"), ("d", None),
                             ("e", "INTELLIGENT_TIERING")):
        client.add(f"d/{name}", b"1", ObjectHeaders({"m": name}, {"Cache-Control": "no-store"}, kept_class))
    before = client.contents()
    start().rename("/d", "/e")
    assert client.contents() == renamed(before)


@pytest.mark.parametrize("encrypted", [(0,), (2,), (4,), (0, 1, 2, 3, 4), (1,)], ids=str)
def test_rename_keeps_encryption(encrypted: Tuple[int, ...], client: Service,
                                 start: Callable[..., CosFilesystem]) -> None:
    """The last case is not in the sample; its ETag, which is no MD5, gives it away."""
    for number in range(5):
        extra = KMS if number in encrypted else {}
        client.add(f"d/{number}", b"secret", ObjectHeaders({"n": str(number)}, {}, "STANDARD_IA", extra))
    before = client.contents()
    start().rename("/d", "/e")
    assert client.contents() == renamed(before)


def test_renamed_files_are_known_at_once(client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    client.add("d/sub/x", b"x")
    filesystem = start()
    filesystem.rename("/d", "/e")
    lists = client.count("list_objects")
    assert filesystem.getattr("/e/003").size_bytes == 1
    assert filesystem.getattr("/e/sub/x").size_bytes == 1
    with pytest.raises(NoEntry):
        filesystem.getattr("/d/003")
    assert filesystem.getattr("/e").mode & 0o777 == 0o750
    assert client.count("list_objects") <= lists + 1


def test_an_object_that_changed_since_it_was_listed_is_moved_as_it_is_now(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    filesystem = start()
    copy = client.copy_object

    def late(source: str, key: str, **more: Any) -> Any:
        if source == "d/002" and client.body(source) != b"changed":
            client.add(source, b"changed")
        return copy(source, key, **more)
    client.copy_object = late  # type: ignore[method-assign]
    filesystem.rename("/d", "/e")
    assert client.body("e/002") == b"changed"
    assert not [key for key in client.objects if key.startswith("d/")]


@pytest.mark.parametrize("marked", [True, False])
def test_failed_rename_leaves_the_empty_directory_that_it_was_to_replace(
        marked: bool, client: Service, start: Callable[..., CosFilesystem], state: Path) -> None:
    add_tree(client)
    if marked:
        client.add("e/", b"", ObjectHeaders({"mode": "16832", "own": "mine"}))
    before = client.contents()
    client.fail("copy_object", error(403, "AccessDenied"), nth=3)
    with pytest.raises(AccessDenied):
        start().rename("/d", "/e")
    assert client.contents() == before
    assert list(state.glob("rename*")) == []


def test_rename_over_an_empty_directory_brings_its_own_attributes(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    before = client.contents()
    client.add("e/", b"", ObjectHeaders({"mode": "16832"}))
    filesystem = start()
    filesystem.rename("/d", "/e")
    assert client.contents() == renamed(before)
    assert filesystem.getattr("/e").mode & 0o777 == 0o750


def test_a_copy_of_unknown_outcome_is_undone_too(client: Service, start: Callable[..., CosFilesystem]) -> None:
    """The service made it, but the answer was an error."""
    add_tree(client)
    before = client.contents()
    made = client.copy_object

    def copy(source: str, key: str, **more: Any) -> Any:
        stored = made(source, key, **more)
        if key == "e/002":
            raise error(500, "InternalError", key)
        return stored
    client.copy_object = copy  # type: ignore[method-assign]
    with pytest.raises(ServiceUnavailable):
        start().rename("/d", "/e")
    assert client.contents() == before


def test_a_key_that_would_be_too_long_is_refused_before_anything_is_copied(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    client.add("d/" + "/".join(["x" * 200] * 4), b"1")
    with pytest.raises(NameTooLong):
        start().rename("/d", "/" + "y" * 60)
    assert client.count("copy_object") == 0


def test_a_directory_that_appeared_elsewhere_a_moment_ago_is_not_mixed_with_the_renamed_one(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    filesystem = start()
    assert [entry.name for entry in filesystem.readdir("/")] == ["d"]
    client.add("e/foreign", b"foreign")
    before = client.contents()
    with pytest.raises(DirectoryNotEmpty):
        filesystem.rename("/d", "/e")
    assert client.contents() == before
    assert filesystem.getattr("/e/foreign").size_bytes == 7


def test_a_server_that_cannot_copy_markers_gets_them_stored(
        client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    before = client.contents()
    copy = client.copy_object

    def refusing(source: str, key: str, **more: Any) -> Any:
        if source.endswith("/"):
            raise error(404, "NoSuchKey", source)
        return copy(source, key, **more)
    client.copy_object = refusing  # type: ignore[method-assign]
    start().rename("/d", "/e")
    assert client.contents() == renamed(before)


def test_refused_delete_is_an_error_and_the_next_mount_finishes(
        client: Service, start: Callable[..., CosFilesystem], state: Path,
        expected_logs: Callable[[str], None]) -> None:
    add_tree(client)
    before = client.contents()
    client.undeletable = ("d/001", "d/003")
    expected_logs("objects of /d are left under the old name")
    with pytest.raises(CosServiceError):
        start().rename("/d", "/e")
    assert {"d/001", "d/003", *renamed(before)} <= set(client.objects)
    client.undeletable = ()
    expected_logs("of d/ to e/ is finished, 2 old objects are deleted")
    start()
    assert client.contents() == renamed(before)
    assert list(state.glob("rename*")) == []


def test_without_a_place_for_the_journal_renames_work_with_a_warning(
        client: Service, start: Callable[..., CosFilesystem], tmp_path: Path,
        expected_logs: Callable[[str], None]) -> None:
    add_tree(client)
    before = client.contents()
    expected_logs("has no journal, because .* cannot be written to")
    expected_logs("headers are not kept")
    start(state_folder=str(tmp_path / "gone")).rename("/d", "/e")
    assert client.contents() == renamed(before)


def test_progress_of_a_large_rename_is_logged(
        client: Service, start: Callable[..., CosFilesystem], monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("cosfs.filesystem.progress.EVERY_COUNT", 1000)
    add_tree(client, 2500)
    with caplog.at_level(logging.INFO, "cosfs"):
        start().rename("/d", "/e")
    assert "renaming /d to /e: 2000 of 2501 objects are copied" in caplog.text


def test_multipart_etags_do_not_matter(client: Service, start: Callable[..., CosFilesystem]) -> None:
    add_tree(client)
    stored = client.objects["d/002"]
    client.objects["d/002"] = Stored(stored.body, replace(stored.info, etag="a" * 32 + "-7"))
    before = client.contents()
    start().rename("/d", "/e")
    assert client.contents() == renamed(before)
