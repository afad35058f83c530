"""Names of old versions: times, ids and extensions."""

from __future__ import annotations

import pytest

from cosfs.versions.names import VersionName, parse_name, version_names

TIME_S = 1_700_000_000.0
STAMP = "2023-11-14T221320Z"


@pytest.mark.parametrize(("key", "extension"), [
    ("report.txt", ".txt"), ("dir/report.txt", ".txt"), ("a.tar.gz", ".tar.gz"), ("a.b.c", ".c"), ("Makefile", ""),
    (".bashrc", ""), (".config.json", ".json"), ("dir.d/file", ""), ("odd.ext with blanks", ""), ("ü.键", ""),
    ("dot.", ""), ("folder/", ""), ("v1.2.3", ".3"), ("x.averylongextension", "")])
@pytest.mark.parametrize("version_id", ["MTg0NDUxODMxODkxNTYzNTM2NDU", "null", "a.b_c-d~e", "a/b%c .txt", "键"])
def test_a_name_has_time_id_and_extension_and_leads_back(key: str, extension: str, version_id: str) -> None:
    [name] = version_names(key, [(TIME_S + 0.9, version_id)])
    assert name.startswith(STAMP + "-")
    assert name.endswith(extension)
    assert "/" not in name
    assert parse_name(key, name) == VersionName(STAMP, version_id)


def test_an_ordinary_id_stands_as_it_is() -> None:
    assert version_names("a/report.txt", [(TIME_S, "MTg0NDUxODM")]) == [f"{STAMP}-MTg0NDUxODM.txt"]
    assert version_names("a/report", [(TIME_S, "null")]) == [f"{STAMP}-null"]


def test_names_sort_by_age() -> None:
    times = [TIME_S + 400 * 86400, TIME_S + 86400, TIME_S + 1, *(TIME_S,) * 12, TIME_S - 1]
    names = version_names("f.txt", [(time_s, f"id{number:02}") for number, time_s in enumerate(times)])
    assert names == sorted(names, reverse=True)
    assert names[3:5] == [f"{STAMP}.12-id03.txt", f"{STAMP}.11-id04.txt"]
    assert names[14] == f"{STAMP}.01-id14.txt"
    assert parse_name("f.txt", names[3]) == VersionName(STAMP, "id03")


@pytest.mark.parametrize("name", [
    "", "x", f"{STAMP}-.txt", f"{STAMP}.txt", f"{STAMP}-id", f"{STAMP}-id.gz", "2023-11-14T22:13:20Z-id.txt",
    f"{STAMP}-a b.txt", f"{STAMP}-%61.txt", f"{STAMP}.-id.txt", f"{STAMP}.x-id.txt", "report.txt"])
def test_a_name_that_no_version_has_means_nothing(name: str) -> None:
    assert parse_name("report.txt", name) is None
