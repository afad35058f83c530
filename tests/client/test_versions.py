"""Old versions by the client: listings of them in pages, each of them, and buckets made of them."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

import pytest

from cosfs.cos.client import BucketClient
from cosfs.cos.interface import ListedVersion, ObjectHeaders, VersionMarker
from cosfs.errors import ObjectNotFound, PreconditionFailed, ReadOnlyFilesystem
from cosfs.versions.history import HistoryClient
from cosfs.versions.names import version_names
from cosfs.versions.snapshot import SnapshotClient
from tests.client.conftest import client_of
from tests.support.past import History, SmallPages, date_latest, set_versioning, versioned_server
from tests.support.server import CosServer

KEYS = ("a", "a/", "a/b", "a//b", "a.txt", "a b+c", "ü/键.txt", "dir/", "dir/x", "dir/y/z", "dir.d/q", "z/", "%41&=")
STEPS = 60


@pytest.fixture(scope="module")
def module_server() -> Iterator[CosServer]:
    with versioned_server() as server:
        yield server


@pytest.fixture(scope="module")
def history(module_server: CosServer) -> Iterator[History]:
    client = client_of(module_server)
    yield History(module_server, client, KEYS, STEPS)
    client.close()


@pytest.fixture
def cos(server: CosServer) -> Iterator[BucketClient]:
    """With one signature only: what is above the client does not know of them."""
    found = client_of(server)
    yield found
    found.close()


def all_versions(client: Any, prefix: str = "", **arguments: Any) -> Tuple[List[ListedVersion], List[str]]:
    rows: List[ListedVersion] = []
    prefixes: List[str] = []
    marker: VersionMarker | None = ("", "")
    while marker is not None:
        page = client.list_object_versions(prefix, marker=marker, **arguments)
        rows += page.versions
        prefixes += page.prefixes
        marker = page.next_marker
    return rows, prefixes


def name_of(row: ListedVersion) -> str:
    """Its name among old versions; no two were stored in one second."""
    return version_names(row.key, [(row.last_modified_s, row.version_id)])[0]


def body_of(client: Any, key: str, size: int, **arguments: Any) -> bytes:
    buffer = bytearray(size)
    client.get_object(key, memoryview(buffer), **arguments)
    return bytes(buffer)


def test_a_listing_in_pages_tells_what_one_page_tells(client: BucketClient, history: History) -> None:
    for delimiter in ("", "/"):
        for prefix in ("", "a", "a/", "dir/", "ü/"):
            whole = all_versions(client, prefix, delimiter=delimiter)
            for rows in (1, 2, 7):
                assert all_versions(client, prefix, delimiter=delimiter, max_keys=rows) == whole, (prefix, rows)
    rows, _ = all_versions(client)
    assert len(rows) == STEPS
    assert [row.key for row in rows] == sorted((row.key for row in rows), key=str.encode)
    assert {row.key for row in rows if row.is_latest and not row.is_marker} == set(history.states[-1])
    assert any(row.is_marker and row.is_latest for row in rows)
    assert all(row.last_modified_s > older.last_modified_s
               for row, older in zip(rows, rows[1:]) if row.key == older.key)


def test_each_version_is_read_and_described(client: BucketClient, history: History) -> None:
    rows, _ = all_versions(client)
    found: Dict[str, List[bytes]] = {key: [] for key in KEYS}
    for row in reversed(rows):
        if row.is_marker:
            with pytest.raises(ObjectNotFound):
                client.head_object(row.key, version_id=row.version_id)
            continue
        info = client.head_object(row.key, version_id=row.version_id)
        assert (info.size_bytes, info.etag, info.last_modified_s, info.version_id) == (
            row.size_bytes, row.etag, row.last_modified_s, row.version_id)
        found[row.key].append(body_of(client, row.key, row.size_bytes, version_id=row.version_id, if_match=row.etag))
    assert found == history.versions
    with pytest.raises(PreconditionFailed):
        body_of(client, rows[-1].key, 1, version_id=rows[-1].version_id, if_match="another")


def test_versioning_is_told_and_null_is_a_version() -> None:
    with CosServer() as server:
        client = client_of(server)
        client.put_object("f", b"before", headers=ObjectHeaders())
        assert client.get_bucket_versioning() == ""
        changes = client.changes
        set_versioning(server)
        assert client.get_bucket_versioning() == "Enabled"
        client.put_object("f", b"between", headers=ObjectHeaders())
        set_versioning(server, "Suspended")
        assert client.get_bucket_versioning() == "Suspended"
        assert client.changes == changes + 1
        between, null = all_versions(client)[0]
        assert (null.version_id, null.is_latest) == ("null", False)
        assert body_of(client, "f", 6, version_id="null") == b"before"
        client.put_object("f", b"after", headers=ObjectHeaders())
        [null, between] = all_versions(client)[0]
        assert (null.version_id, null.is_latest, between.is_latest) == ("null", True, False)
        client.close()


def listed(client: Any, prefix: str = "", **arguments: Any) -> Tuple[List[str], List[str]]:
    """Keys and common prefixes, all pages."""
    keys: List[str] = []
    prefixes: Dict[str, None] = {}
    marker: str | None = ""
    while marker is not None:
        page = client.list_objects(prefix, marker=marker, **arguments)
        keys += [row.key for row in page.objects]
        prefixes.update(dict.fromkeys(page.prefixes))
        marker = page.next_marker
    return keys, list(prefixes)


def tree(client: Any, prefix: str = "") -> List[str]:
    """All keys, found folder by folder."""
    keys, prefixes = listed(client, prefix, delimiter="/")
    return [*keys, *(key for inner in prefixes for key in tree(client, inner))]


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_a_snapshot_is_the_bucket_as_it_was(cos: BucketClient, history: History, rows: int) -> None:
    for number in range(5, STEPS, 18):
        state = history.states[number]
        snapshot = SnapshotClient(SmallPages(cos, rows), history.time_of(number) + 5, workers=4)  # type: ignore[arg-type]
        in_order = sorted(state, key=str.encode)
        assert listed(snapshot)[0] == in_order
        assert listed(snapshot, max_keys=2)[0] == in_order
        assert sorted(tree(snapshot), key=str.encode) == in_order
        assert listed(snapshot, "dir/", max_keys=1)[0] == [key for key in in_order if key.startswith("dir/")]
        fresh = SnapshotClient(cos, history.time_of(number), workers=4)
        for key in KEYS:
            asked = fresh if rows == 3 else snapshot
            if key in state:
                assert asked.head_object(key).size_bytes == len(state[key])
                assert body_of(asked, key, len(state[key])) == state[key]
            else:
                with pytest.raises(ObjectNotFound):
                    asked.head_object(key)


def test_before_the_first_and_after_the_last_version(cos: BucketClient, history: History) -> None:
    assert listed(SnapshotClient(cos, history.begin_s - 1, workers=1)) == ([], [])
    assert listed(SnapshotClient(cos, history.time_of(STEPS), workers=1))[0] == listed(cos)[0]


def test_a_snapshot_skips_the_versions_before_the_one_that_counts(server: CosServer) -> None:
    client = client_of(server)
    for number in range(40):
        client.put_object("skipped/f", b"x" * number, headers=ObjectHeaders())
        date_latest(server, 1_600_000_000.0 + number)
    pages = SmallPages(client, 5)
    snapshot = SnapshotClient(pages, 1_600_000_036.0, workers=1)  # type: ignore[arg-type]
    assert listed(snapshot, "skipped/", delimiter="/")[0] == ["skipped/f"]
    assert pages.pages == 2  # the first page with what is younger, and an empty one
    assert snapshot.head_object("skipped/f").size_bytes == 36
    for row in all_versions(client, "skipped/")[0]:
        server.request("DELETE", row.key, [("versionId", row.version_id)])
    client.close()


def test_a_version_that_is_deleted_under_a_snapshot_leaves_the_one_before(server: CosServer) -> None:
    client = client_of(server)
    for number, body in enumerate((b"one", b"other")):
        client.put_object("gone", body, headers=ObjectHeaders())
        date_latest(server, 1_600_000_000.0 + number)
    snapshot = SnapshotClient(client, 1_600_000_001.0, workers=1)
    assert snapshot.head_object("gone").size_bytes == 5
    newest, oldest = all_versions(client, "gone")[0]
    server.request("DELETE", "gone", [("versionId", newest.version_id)])
    assert body_of(snapshot, "gone", 3) == b"one"
    server.request("DELETE", "gone", [("versionId", oldest.version_id)])
    with pytest.raises(ObjectNotFound):
        snapshot.head_object("gone")
    client.close()


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_history_has_each_old_version_as_an_object(cos: BucketClient, history: History, rows: int) -> None:
    past = HistoryClient(SmallPages(cos, rows), "", ttl_s=60)  # type: ignore[arg-type]
    old = {f"{row.key}/{name_of(row)}": row
           for row in all_versions(cos)[0] if not row.is_marker and not row.is_latest}
    found = tree(past)
    assert sorted(key for key in found if not key.endswith("/")) == sorted(old)
    assert {key for key in found if key.endswith("/")} == {key for key in KEYS if key.endswith("/")}  # markers
    for key, row in old.items():
        info = past.head_object(key)
        assert (info.key, info.etag, info.version_id) == (key, row.etag, row.version_id)
        assert body_of(past, key, row.size_bytes) in history.versions[row.key]
        assert past.list_objects(key.rpartition("/")[0] + "/", max_keys=1).objects


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_listing_the_versions_of_listed_objects_costs_nothing_more(cos: BucketClient, history: History,
                                                                   rows: int) -> None:
    pages = SmallPages(cos, rows)
    past = HistoryClient(pages, "", ttl_s=60)  # type: ignore[arg-type]
    _, prefixes = listed(past, delimiter="/")
    asked = pages.pages
    for name in ("a.txt", "a b+c", "%41&="):
        assert name + "/" in prefixes
        keys = listed(past, name + "/", delimiter="/")[0]
        assert keys == [f"{name}/{name_of(row)}" for row in reversed(all_versions(cos, name)[0])
                        if row.key == name and not row.is_marker and not row.is_latest]
    assert pages.pages == asked
    pages = SmallPages(cos, 1000)
    listed(HistoryClient(pages, "", ttl_s=60), "dir/", delimiter="/")  # type: ignore[arg-type]
    assert pages.pages == 2  # of an object "dir", and of what is below


def test_nothing_is_where_no_old_version_is(cos: BucketClient, history: History) -> None:
    past = HistoryClient(cos, "dir/", ttl_s=60)
    row = next(row for row in all_versions(cos)[0] if not row.is_marker and row.key == "a.txt")
    name = name_of(row)
    for key in (f"a.txt/{name}", "dir/x", "dir/x/none", f"dir/x/{name}", "dir", "none/"):
        with pytest.raises(ObjectNotFound):
            past.head_object(key)
    assert past.list_objects("dir/none/", max_keys=1).objects == ()
    other = HistoryClient(cos, "", ttl_s=60)
    assert other.head_object(f"a.txt/{name}").version_id == row.version_id
    with pytest.raises(ObjectNotFound):
        other.head_object(f"a.txt/2000{name[4:]}")


def test_the_past_cannot_be_changed(cos: BucketClient, history: History) -> None:
    for past in (HistoryClient(cos, "", ttl_s=1), SnapshotClient(cos, history.begin_s, workers=1)):
        changes: List[Any] = [
            lambda past=past: past.put_object("f", b"", headers=ObjectHeaders()),
            lambda past=past: past.delete_object("f"), lambda past=past: past.delete_objects(["f"]),
            lambda past=past: past.copy_object("f", "g"),
            lambda past=past: past.create_multipart_upload("f", headers=ObjectHeaders())]
        for change in changes:
            with pytest.raises(ReadOnlyFilesystem):
                change()
