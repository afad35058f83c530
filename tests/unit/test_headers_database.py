"""The database of headers: what is kept, what is not, and that trouble with it is nobody else's."""

import logging
import os
import sqlite3
from dataclasses import replace

import pytest

from cosfs.cos.interface import TAGS_UNKNOWN, ObjectHeaders, ObjectInfo
from cosfs.namespace import headers_db
from cosfs.namespace.headers_db import FILE_NAME, HeadersDatabase

MODIFIED_S = 1_700_000_000.0


def info(key, *, served_s=MODIFIED_S + 2, **changes):
    headers = ObjectHeaders({"mode": "33188", "name": "Grüße, 世界"}, {"Content-Type": "text/plain"}, None,
                            {"x-cos-server-side-encryption": "AES256"})
    plain = ObjectInfo(key, 7, "e" * 32, MODIFIED_S, headers, crc64=2**64 - 1, version_id="v1",
                       tag_count=TAGS_UNKNOWN, served_s=served_s)
    return replace(plain, **changes)


@pytest.fixture
def database_in(tmp_path):
    opened = []

    def make(folder=tmp_path):
        opened.append(HeadersDatabase(str(folder)))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def stored(database_in, *infos, special=False):
    """A database that a mount left behind, opened by the next one."""
    database = database_in()
    for each in infos:
        database.put(each, special=special)
    database.close()
    return database_in()


def test_everything_that_head_told_comes_back(database_in):
    kept = info("d/grüße")
    found = stored(database_in, kept).get(["d/grüße", "d/other"])
    assert found == {"d/grüße": kept}
    assert found["d/grüße"].settled


def test_an_incomplete_description_stays_incomplete(database_in):
    assert not stored(database_in, info("a", complete=False)).get(["a"])["a"].complete


@pytest.mark.parametrize("changes", [{"served_s": MODIFIED_S + 1}, {"served_s": None}, {"restore": "ongoing"}])
def test_what_may_change_unseen_is_not_kept(database_in, changes):
    assert stored(database_in, info("a", **changes)).get(["a"]) == {}


def test_the_number_of_tags_is_not_believed(database_in):
    assert stored(database_in, info("a", tag_count=0)).get(["a"])["a"].tag_count == TAGS_UNKNOWN


def test_the_last_version_replaces_the_one_before(database_in):
    newer = info("a", etag="f" * 32)
    assert stored(database_in, info("a"), newer).get(["a"]) == {"a": newer}


def test_what_was_noted_is_found_before_it_is_written(database_in):
    database = database_in()
    database.put(info("d/a"), special=True)
    assert set(database.get(["d/a"])) == set(database.specials("d/")) == {"d/a"}


def test_special_files_are_found_by_folder_alone(database_in):
    database = stored(database_in, info("d/link"), info("d/e/link"), special=True)
    assert set(database.specials("d/")) == {"d/link"}
    assert database.specials("d") == {}


def test_many_keys_are_looked_up_at_once(database_in):
    infos = [info(f"k{number}") for number in range(1500)]
    assert len(stored(database_in, *infos).get([each.key for each in infos])) == 1500


def test_two_mounts_share_the_database(database_in):
    first, second = database_in(), database_in()
    for number in range(1000):
        (first if number % 2 else second).put(info(f"k{number}"), special=False)
    first.close()
    second.close()
    assert len(database_in().get([f"k{number}" for number in range(1000)])) == 1000


def test_the_oldest_rows_go_when_there_are_too_many(database_in, monkeypatch):
    monkeypatch.setattr(headers_db, "MAX_ROWS", 100)
    database = stored(database_in, *(info(f"k{number:03d}") for number in range(300)))
    assert set(database.get([f"k{number:03d}" for number in range(300)])) == {f"k{n:03d}" for n in range(200, 300)}


def test_a_row_takes_the_space_that_is_stated(database_in, tmp_path):
    attributes = {"mode": "33188", "uid": "1000", "gid": "1000", "mtime": "1700000000",
                  "mtime-ns": "1700000000.123456789", "atime": "1700000000.123456789",
                  "ctime": "1700000000.123456789"}
    headers = ObjectHeaders(attributes, {"Content-Type": "application/octet-stream"})
    stored(database_in, *(info(f"folder/of/files/name-{number:06d}", headers=headers, etag=f"{number:032x}")
                          for number in range(10_000)))
    size = os.path.getsize(tmp_path / FILE_NAME)
    assert size / 10_000 < 550, size


@pytest.mark.parametrize("damage", [b"this is no database, by far not" * 1000, "page"])
def test_a_damaged_database_is_made_anew(database_in, tmp_path, caplog, damage, expected_logs):
    expected_logs(r"was damaged")
    stored(database_in, *(info(f"k{number}") for number in range(1000))).close()
    path = tmp_path / FILE_NAME
    if damage == "page":
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        damage = bytes(content)
    path.write_bytes(damage)
    database = database_in()
    assert database.get(["k1"]) == {}
    database.put(info("a"), special=False)
    database.close()
    assert set(database_in().get(["a"])) == {"a"}
    assert [record.levelno for record in caplog.records if record.levelno >= logging.WARNING] == [logging.WARNING]


def test_a_database_that_is_locked_is_done_without(database_in, tmp_path, caplog, monkeypatch, expected_logs):
    expected_logs(r"headers are not kept")
    monkeypatch.setattr(headers_db, "_LOCK_WAIT_S", 0.01)
    stored(database_in, info("a")).close()
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM headers")
    database = database_in()
    for _ in range(3):
        assert database.get(["a"]) == {}
        database.put(info("b"), special=False)
    database.close()
    other.close()
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_a_folder_that_is_not_there_is_done_without(database_in, tmp_path, caplog, expected_logs):
    expected_logs(r"headers are not kept")
    database = database_in(tmp_path / "missing")
    assert database.get(["a"]) == {}
    database.put(info("a"), special=False)
    database.close()
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_rows_that_make_no_sense_are_left_out(database_in, tmp_path):
    stored(database_in, info("a"), info("b")).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE headers SET rest = '[1]' WHERE key = 'a'")
    connection.close()
    assert set(database_in().get(["a", "b"])) == {"b"}


def test_keys_that_are_no_utf_8_are_left_out(database_in):
    odd = "d\udcff/a"
    database = stored(database_in, info(odd), info("b"))
    assert list(database.get([odd, "b"])) == ["b"]
    assert database.specials("d\udcff/") == {}
