"""What a start makes of the journals of directory renames that were cut off.

A crash is played by a service that stops answering for good: the rename can then do nothing any more, as if it had
been killed, and leaves its journal.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.errors import CosfsError
from cosfs.filesystem import CosFilesystem
from tests.support.memory_client import Gate, MemoryClient, Stored, error

FILES = 7
CUT_OFF = r"(failed, and copies are left below the new name|left under the old name)"
FINISHED = r"the unfinished rename of d/ to e/ is finished"
UNDONE = r"the unfinished rename of d/ to e/ is undone"


class Service(MemoryClient):
    """``dies(operation, nth)``: that call, and all after it, are not answered, until ``live()``."""

    def __init__(self) -> None:
        super().__init__()
        self._last: Optional[Tuple[str, int]] = None
        self._dead = False

    def dies(self, operation: str, nth: int) -> None:
        self._last = operation, self.count(operation) + nth

    def live(self) -> None:
        self._dead, self._last = False, None

    def _enter(self, operation: str, key: str, **detail: Any) -> Optional[Gate]:
        gate = super()._enter(operation, key, **detail)
        with self._lock:
            self._dead = self._dead or self._last == (operation, self.count(operation))
            if self._dead:
                raise error(503, "ServiceUnavailable", key)
        return gate

    def contents(self) -> Dict[str, Any]:
        return {key: (stored.body, stored.info.headers) for key, stored in self.objects.items()}


class Host:
    """Filesystems one after the other, with one state folder."""

    def __init__(self, client: Service, base: Path, expected_logs: Callable[[str], None]) -> None:
        self.client = client
        self.expect = expected_logs
        self.state = base / "bucket@host:1"
        self.state.mkdir()
        self._base = base
        self._started: List[CosFilesystem] = []

    def start(self, **settings: Any) -> CosFilesystem:
        values = {"state_folder": str(self.state), "staging_folder": str(self._base), "parallel_heads": 1, **settings}
        filesystem = CosFilesystem(self.client, FilesystemConfig(**values))
        filesystem.start()
        self._started.append(filesystem)
        return filesystem

    def cut_off(self, operation: str, nth: int) -> None:
        """Rename d to e until the n-th call of an operation, and crash."""
        self.expect(CUT_OFF)
        filesystem = self.start()
        filesystem.getattr("/d")
        self.client.dies(operation, nth)
        with pytest.raises(CosfsError):
            filesystem.rename("/d", "/e")
        self.client.live()

    def journals(self) -> List[Path]:
        return list(self.state.glob("*.journal"))

    def stop(self) -> None:
        for filesystem in self._started:
            filesystem.stop()


@pytest.fixture
def client() -> Service:
    client = Service()
    client.add("d/", b"", ObjectHeaders({"mode": "16872"}))
    for number in range(FILES):
        client.add(f"d/{number}", b"%d" % number, ObjectHeaders({"own": str(number)}, {}, "STANDARD_IA"))
    client.add("other", b"other")
    return client


@pytest.fixture
def host(client: Service, tmp_path: Path, expected_logs: Callable[[str], None]) -> Iterator[Host]:
    host = Host(client, tmp_path, expected_logs)
    yield host
    host.stop()


def moved(contents: Dict[str, Any]) -> Dict[str, Any]:
    return {f"e/{key[2:]}" if key.startswith("d/") else key: value for key, value in contents.items()}


@pytest.mark.parametrize("nth", range(1, FILES + 2))
def test_rename_cut_off_while_copying_is_undone(nth: int, host: Host, client: Service) -> None:
    before = client.contents()
    host.cut_off("copy_object", nth)
    assert len(client.objects) == len(before) + nth - 1
    host.expect(UNDONE)
    host.start()
    assert client.contents() == before
    assert host.journals() == []


@pytest.mark.parametrize("gone", [0, 1, 4, FILES + 1])
def test_rename_cut_off_while_deleting_is_finished(gone: int, host: Host, client: Service) -> None:
    before = client.contents()
    host.cut_off("delete_objects", 1)
    for key in sorted(before)[:gone]:
        client.objects.pop(key)
    host.expect(FINISHED)
    host.start()
    assert client.contents() == moved(before)
    assert host.journals() == []


def list_as(client: Service, lagging: Dict[str, Stored]) -> None:
    """From now on, listings show these objects."""
    listed = client.list_objects

    def list_objects(prefix: str, **more: Any) -> Any:
        whole, client.objects = client.objects, lagging
        try:
            return listed(prefix, **more)
        finally:
            client.objects = whole
    client.list_objects = list_objects  # type: ignore[method-assign]


def test_a_listing_that_lags_hides_no_copy_from_the_undoing(host: Host, client: Service) -> None:
    before = client.contents()
    host.cut_off("copy_object", 6)
    list_as(client, {key: stored for key, stored in client.objects.items() if not key.startswith("e/")})
    host.expect(UNDONE)
    host.start()
    assert client.contents() == before


@pytest.mark.parametrize(("operation", "nth"), [("copy_object", 6), ("delete_objects", 1)])
def test_no_object_is_lost_whose_other_one_a_lagging_listing_still_shows(operation: str, nth: int, host: Host,
                                                                        client: Service) -> None:
    host.cut_off(operation, nth)
    list_as(client, dict(client.objects))
    del client.objects["d/1"], client.objects["e/2"]
    client.add("d/3", b"new at the old place")
    client.add("e/0", b"new at the new place")
    host.expect("the unfinished rename of d/ to e/ is (undone|finished)")
    host.expect("'[de]/[0-9]' (has changed since it was copied|is no copy of)")
    host.start()
    bodies = {key: stored.body for key, stored in client.objects.items()}
    assert {"e/1": b"1", "d/2": b"2", "d/3": b"new at the old place", "e/0": b"new at the new place"}.items() \
        <= bodies.items()


def test_an_object_that_changed_after_the_crash_and_its_copy_are_left(host: Host, client: Service) -> None:
    host.cut_off("copy_object", 6)
    client.add("d/1", b"changed at the old place")
    client.add("e/2", b"changed at the new place")
    client.objects.pop("d/3")
    host.expect(UNDONE)
    host.expect(r"'e/[123]' is no copy of 'd/[123]' any more")
    host.start()
    assert {key: stored.body for key, stored in client.objects.items() if key[0] == "e"} == {
        "e/1": b"1", "e/2": b"changed at the new place", "e/3": b"3"}
    assert client.body("d/1") == b"changed at the old place"
    assert host.journals() == []


def test_nothing_is_deleted_whose_copy_is_gone_or_changed(host: Host, client: Service) -> None:
    host.cut_off("delete_objects", 1)
    client.add("d/1", b"changed at the old place")
    client.add("e/2", b"changed at the new place")
    client.objects.pop("e/3")
    host.expect(FINISHED)
    host.expect(r"'d/[123]' has changed since it was copied, or its copy 'e/[123]' has")
    host.start()
    assert sorted(key for key in client.objects if key[0] == "d") == ["d/1", "d/2", "d/3"]
    assert client.body("d/1") == b"changed at the old place"


def test_copies_with_other_etags_are_known_by_the_journal_or_by_their_checksums(host: Host, client: Service) -> None:
    for number in (1, 2):
        stored = client.objects[f"d/{number}"]
        client.objects[f"d/{number}"] = Stored(stored.body, replace(stored.info, etag=f"{number}" * 32 + "-3"))
    before = client.contents()
    host.cut_off("copy_object", 6)
    journal = host.journals()[0]
    lines = journal.read_text().splitlines(keepends=True)
    noted = [line for line in lines if line.startswith('{"copied"')]
    assert len(noted) == 2
    lines.remove(noted[0])  # as if a power failure had lost it
    journal.write_text("".join(lines))
    host.expect(UNDONE)
    host.start()
    assert client.contents() == before


def test_an_open_file_and_the_marker_of_a_replaced_directory_are_moved_by_the_finishing(
        host: Host, client: Service) -> None:
    client.add("e/", b"", ObjectHeaders({"mode": "16832"}))
    before = client.contents()
    host.expect(CUT_OFF)
    host.expect("left the open file|could not be stored|is lost")
    filesystem = host.start()
    handle = filesystem.open("/d/3", os.O_RDONLY).fh
    client.dies("delete_object", 1)  # the open file is copied, and then not deleted
    with pytest.raises(CosfsError):
        filesystem.rename("/d", "/e")
    client.live()
    journal = host.journals()[0]
    # As if the process had been killed there: its last words were those before it noticed the failure.
    text = journal.read_text()
    journal.write_text(text[:text.index('{"state":"deleting"}') + len('{"state":"deleting"}') + 1])
    host.expect(FINISHED)
    host.start()
    del before["e/"]
    after = client.contents()
    assert after.keys() == moved(before).keys()
    assert after["e/"] == before["d/"]
    assert after["e/3"][0] == b"3"
    filesystem.release(handle)


@pytest.mark.parametrize("damage", ["cut", "flipped", "version", "empty", "foreign"])
def test_a_damaged_journal_is_kept_and_not_acted_on(damage: str, host: Host, client: Service) -> None:
    host.cut_off("copy_object", 4)
    before = client.contents()
    journal = host.journals()[0]
    text = journal.read_bytes()
    journal.write_bytes({
        "cut": text[:text.index(b"\n", 200)], "flipped": text.replace(b'["3"', b'["4"'), "empty": b"",
        "version": text.replace(b'journal":1', b'journal":2', 1),
        "foreign": text.replace(b"bucket@host", b"other@host")}[damage])
    damaged = journal.read_bytes()
    host.expect("cannot be used, and its rename is neither finished nor undone|is of another bucket")
    assert host.start().recover()[0].remains
    assert client.contents() == before
    assert journal.read_bytes() == damaged


def test_a_last_line_cut_off_by_the_crash_does_not_matter(host: Host, client: Service) -> None:
    before = client.contents()
    host.cut_off("copy_object", 4)
    journal = host.journals()[0]
    with open(journal, "ab") as file:
        file.write(b'{"sta')
    host.expect(UNDONE)
    host.start()
    assert client.contents() == before


def test_a_read_only_mount_only_warns(host: Host, client: Service) -> None:
    host.cut_off("copy_object", 4)
    before = client.contents()
    host.expect("waits for a mount that may write")
    host.start(read_only=True)
    assert client.contents() == before
    assert len(host.journals()) == 1


def test_a_mount_of_another_part_of_the_bucket_leaves_a_journal_alone(host: Host, client: Service) -> None:
    host.cut_off("copy_object", 4)
    before = client.contents()
    host.start(prefix="d/")
    assert client.contents() == before
    assert len(host.journals()) == 1


def test_when_the_service_is_down_the_journal_is_kept_and_the_mount_is_made(host: Host, client: Service) -> None:
    before = client.contents()
    host.cut_off("copy_object", 4)
    client.dies("list_objects", 1)
    host.expect("could be neither finished nor undone now")
    filesystem = host.start()
    client.live()
    assert filesystem.getattr("/other").size_bytes == 5
    host.expect(UNDONE)
    host.start()
    assert client.contents() == before


def test_a_rename_that_is_under_way_is_left_to_its_mount(host: Host, client: Service) -> None:
    before = client.contents()
    filesystem = host.start()
    gate = client.block("copy_object", nth=3)
    thread = threading.Thread(target=filesystem.rename, args=("/d", "/e"))
    thread.start()
    gate.wait_entered()
    assert len(host.journals()) == 1
    host.start()
    assert len([key for key in client.objects if key.startswith("e/")]) == 2
    gate.open()
    thread.join(10)
    assert client.contents() == moved(before)
    assert host.journals() == []


def test_a_plan_that_was_never_completed_is_removed(host: Host) -> None:
    old, young = host.state / "rename-1.plan", host.state / "rename-2.plan"
    for path in (old, young):
        path.write_text('{"cosfs rename journal":1,"place":"bucket@host:1","old":"d/","new":"e/"}\n')
    os.utime(old, (1, 1))
    host.start()
    assert not old.exists()
    assert young.exists()


def test_an_attribute_of_the_replaced_directory_is_not_lost_by_the_undoing(host: Host, client: Service) -> None:
    client.add("e/", b"", ObjectHeaders({"mode": "16832", "own": "mine"}))
    before = client.contents()
    host.cut_off("copy_object", 4)
    host.expect(UNDONE)
    host.start()
    assert client.contents() == before
