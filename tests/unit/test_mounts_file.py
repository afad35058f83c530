"""Files that describe several mounts: what a section becomes, and that each mistake names file and section."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from cosfs.cli import mount_named
from cosfs.cli.mounts_file import read, usual_files
from cosfs.config import MountConfig
from cosfs.errors import CosfsError

PHOTOS = """\
# two buckets
[DEFAULT]
url = https://cos.ap-guangzhou.myqcloud.com
stat_cache_expire = 30
retries = 3

[photos]
bucket = examplebucket-1250000000:/photos/2024
mountpoint = /mnt/photos
  allow_other
cache_size = 20G
retries = 4
listing_cache_expire = 5
user_agent_suffix = a,b=c#d

[backup]
bucket = 1250000000:other
mountpoint = ~/backup
noauto
"""


class Started:
    """What would have been mounted."""

    def __init__(self) -> None:
        self.configs: List[MountConfig] = []

    def __call__(self, config: MountConfig, **_: object) -> int:
        self.configs.append(config)
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    made = Started()
    monkeypatch.setattr("cosfs.cli.mount.mount", made)
    return made


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("cosfs.cli.mounts_file.SYSTEM_FILE", str(tmp_path / "etc-cosfs.conf"))
    (tmp_path / "cosfs").mkdir()
    return tmp_path / "cosfs" / "mounts.conf"


def test_a_section_is_a_command_line(file: Path, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(PHOTOS)
    assert mount_named.run(["photos"]) == 0
    [config] = started.configs
    connection, filesystem = config.connection, config.filesystem
    assert (connection.bucket, connection.url) == ("examplebucket-1250000000", "https://cos.ap-guangzhou.myqcloud.com")
    assert (filesystem.prefix, config.mount_point, filesystem.allow_other) == ("photos/2024/", "/mnt/photos", True)
    assert filesystem.cache_limit_bytes == 20 << 30
    assert connection.user_agent_suffix == "a,b=c#d"
    assert connection.attempts == 4, "the section's value goes before the common one"
    assert (filesystem.stat_ttl_s, filesystem.listing_ttl_s) == (30.0, 5.0), "common options come first"

    monkeypatch.setenv("HOME", "/home/me")
    assert mount_named.run(["backup"]) == 0
    assert (started.configs[1].connection.bucket, started.configs[1].mount_point) == ("other-1250000000",
                                                                                     "/home/me/backup")


def test_switches_and_options_of_the_command_line_win(file: Path, started: Started) -> None:
    file.write_text(PHOTOS)
    assert mount_named.run(["photos", "-f", "-s", "-o", "retries=9,ro"]) == 0
    [config] = started.configs
    assert (config.foreground, config.threads, config.connection.attempts) == (True, False, 9)
    assert config.filesystem.read_only


def test_all_are_mounted_but_for_noauto(file: Path, started: Started) -> None:
    file.write_text(PHOTOS + "\n[third]\nbucket = third-1250000000\nmountpoint = /mnt/third\n")
    assert mount_named.run(["--all"]) == 0
    assert [config.mount_point for config in started.configs] == ["/mnt/photos", "/mnt/third"]


def test_one_that_is_wrong_does_not_keep_the_others(file: Path, started: Started, capsys: pytest.CaptureFixture[str],
                                                    ) -> None:
    file.write_text("[bad]\nbucket = b-1\nmountpoint = /mnt/b\nurl = h\nretries = 0\n\n" + PHOTOS)
    assert mount_named.run(["--all"]) == 1
    assert [config.mount_point for config in started.configs] == ["/mnt/photos"]
    assert capsys.readouterr().err == (
        f"cosfs: bad: {file} [bad]: option retries=0 is wrong; give a whole number, 1 or more\n")


def test_the_user_s_file_goes_before_the_system_s(file: Path, started: Started) -> None:
    system = Path(usual_files()[1])
    system.write_text(PHOTOS.replace("/mnt/photos", "/mnt/system") + "\n[only]\nbucket = o-1\nmountpoint = /mnt/only\n")
    file.write_text(PHOTOS)
    assert mount_named.run(["photos"]) == mount_named.run(["only"]) == 0
    assert [config.mount_point for config in started.configs] == ["/mnt/photos", "/mnt/only"]


def test_another_file_is_read_alone(file: Path, tmp_path: Path, started: Started) -> None:
    file.write_text(PHOTOS)
    other = tmp_path / "other.conf"
    other.write_text(PHOTOS.replace("[photos]", "[pictures]"))
    assert mount_named.run(["--config", str(other), "pictures"]) == 0
    assert mount_named.run([f"--config={other}", "photos"]) == 1


def test_the_list_tells_what_there_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(PHOTOS)
    assert mount_named.run(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"photos: examplebucket-1250000000:/photos/2024 on /mnt/photos, not mounted ({file})")


HEAD = "[m]\nbucket = b-1\nmountpoint = /mnt/b\nurl = h\n"


@pytest.mark.parametrize(("text", "line"), [
    (HEAD + "allow_othr\n", "FILE [m]: unknown option allow_othr; did you mean allow_other?"),
    (HEAD + "qqqqqq = 1\n", "FILE [m]: unknown option qqqqqq; cosfs --help lists all"),
    (HEAD + "retries = many\n", "FILE [m]: option retries=many is wrong; give a whole number, 1 or more"),
    (HEAD + "allow_other = yes\n", "FILE [m]: option allow_other=yes is wrong; allow_other takes no value"),
    (HEAD + "use_cache =\n", "FILE [m]: option use_cache= is wrong; give a path"),
    ("[m]\nmountpoint = /mnt/b\n", "FILE [m]: bucket is missing; add a line such as bucket = examplebucket-1250000000"),
    ("[m]\nbucket = b-1\n", "FILE [m]: mountpoint is missing; add a line such as mountpoint = /mnt/bucket"),
    (HEAD.replace("url = h\n", ""), "FILE [m]: no endpoint is given; add -o url=https://cos.REGION.myqcloud.com"),
    (HEAD.replace("b-1", "b/1"), "FILE [m]: 'b/1' is no bucket; the first word is BUCKET-APPID or "
                                 "BUCKET-APPID:/PREFIX"),
    (HEAD + "retries = 1\nretries = 2\n", "FILE: line 6 gives retries in [m] a second time; remove one"),
    (HEAD + HEAD, "FILE: line 5 begins [m] a second time; join the two"),
    ("bucket = b-1\n", "FILE: line 1 stands before any section; begin with a line [NAME]"),
    (HEAD + "= x\n", "FILE: line 5 is no [NAME] and no NAME = VALUE; correct it"),
    ("[other]\nbucket = b-1\nmountpoint = /mnt\n", "no section [m] in FILE or SYSTEM; there are: other"),
    ("", "no section [m] in FILE or SYSTEM; no mount is described there"),
])
def test_a_mistake_is_one_line_that_names_the_place(text: str, line: str, file: Path, started: Started,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(text)
    assert mount_named.run(["m"]) == 1
    shown = capsys.readouterr().err.replace(usual_files()[1], "SYSTEM").replace(str(file), "FILE")
    assert shown == f"cosfs: {line}\n"
    assert started.configs == []


@pytest.mark.parametrize("line", [
    "secret_key = {}", "SecretKey={}", "accessKeyId = {}", "secretAccessKey = {}", "COSSecretKey = {}", "token = {}",
    "session_token={}", "COSAccessToken = {}", "AKID{}:{}", "{}", "password = {}"])
def test_keys_are_refused_and_not_shown(line: str, file: Path, started: Started, capsys: pytest.CaptureFixture[str],
                                        ) -> None:
    secret = "x" * 32
    file.write_text(HEAD + line.replace("{}", secret) + "\n")
    assert mount_named.run(["m"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"cosfs: {file} [m]: ") and shown.count("\n") == 1
    assert "passwd_file = PATH" in shown or "correct it" in shown
    assert secret not in shown
    assert started.configs == []


@pytest.mark.parametrize(("words", "line"), [
    ([], "cosfs mount takes the name of a section, or --all; see cosfs mount --help"),
    (["b-1", "/mnt"], "cosfs mount takes the name of a section; to mount a bucket, leave the word out: cosfs "
                      "BUCKET-APPID MOUNTPOINT -o url=URL"),
    (["--all", "m"], "--all and --list stand alone; see cosfs mount --help"),
    (["--config"], "--config needs a file; write --config FILE"),
    (["--config", "/no/such/file", "m"], "/no/such/file does not exist; write a section for each mount into it"),
    (["--config", "/", "m"], "/ cannot be read (Is a directory); correct that, or give another --config"),
    (["m", "-u"], "-u is no switch of cosfs mount; unfinished uploads are shown by: cosfs uploads list BUCKET-APPID"),
    (["m", "--frob"], "option --frob not recognized; see cosfs --help"),
])
def test_wrong_words_are_explained(words: List[str], line: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mount_named.run(words) == 1
    assert capsys.readouterr().err == f"cosfs: {line}\n"


def test_help_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert mount_named.run(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_byte_order_mark_of_an_editor_is_no_mistake(file: Path) -> None:
    file.write_text("\ufeff" + PHOTOS.partition("\n")[2], encoding="utf-8")
    assert list(read([str(file)])) == ["photos", "backup"]


def test_text_that_is_no_utf_8(file: Path) -> None:
    file.write_bytes(b"[m]\nbucket = \xff\n")
    with pytest.raises(CosfsError, match=r"is no text in UTF-8"):
        read([str(file)])
