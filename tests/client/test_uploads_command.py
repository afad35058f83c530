"""``cosfs uploads`` and ``cosfs -u``, as commands in processes of their own, on the embedded server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from cosfs.cli.mount import UsageError
from cosfs.cli.uploads import parse_age
from cosfs.cos.interface import ObjectHeaders
from tests.conftest import make_client
from tests.support.server import ENVIRONMENT, CosServer

pytestmark = pytest.mark.timeout(60)


class Command:
    """Runs ``cosfs`` with the keys of the server. ``bucket``: with the test's prefix."""

    def __init__(self, server: CosServer, folder: str, place: Path) -> None:
        self.server = server
        self.folder = folder
        self.bucket = f"{server.bucket}:/{folder}"
        self._passwd = place / "passwd"
        self._passwd.write_text(f"{server.secret_id}:{server.secret_key}\n")
        self._passwd.chmod(0o600)
        self._client = make_client(server)

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        options = f"url={self.server.url},passwd_file={self._passwd}"
        return subprocess.run([sys.executable, "-m", "cosfs", *words, "-o", options], input=typed, env=ENVIRONMENT,
                              capture_output=True, text=True, timeout=50, check=False)

    def begin(self, *names: str) -> List[str]:
        return [self._client.create_multipart_upload(self.folder + name, headers=ObjectHeaders()) for name in names]

    def pending(self) -> List[str]:
        return sorted(upload.key[len(self.folder):] for upload in self._client.list_multipart_uploads(self.folder))

    def close(self) -> None:
        for upload in self._client.list_multipart_uploads(self.folder):
            self._client.abort_multipart_upload(upload.key, upload.upload_id)
        self._client.close()


@pytest.fixture
def command(server: CosServer, folder: str, tmp_path: Path):
    made = Command(server, folder, tmp_path)
    yield made
    made.close()


def test_list_shows_begin_id_and_key(command: Command) -> None:
    (upload_id,) = command.begin("a\tb c")
    result = command.run("uploads", "list", command.bucket)
    assert (result.returncode, result.stderr) == (0, "")
    date, time, shown_id, key = result.stdout.rstrip("\n").split(None, 3)
    assert (shown_id, key) == (upload_id, f"{command.folder}a\\tb c")
    assert len(f"{date} {time}") == len("2026-01-01 00:00:00")


def test_list_of_nothing(command: Command) -> None:
    result = command.run("uploads", "list", command.bucket)
    assert (result.returncode, result.stdout, result.stderr) == (0, "no unfinished upload\n", "")


def test_abort_asks_and_aborts_all_pages(command: Command) -> None:
    command.begin(*(f"many/{number}" for number in range(1001)))
    refused = command.run("uploads", "abort", command.bucket, typed="n\n")
    assert refused.returncode == 1
    assert refused.stdout.endswith("Abort 1001 uploads? [y/N] nothing was aborted\n")
    assert command.run("uploads", "abort", command.bucket).returncode == 1  # nobody answers
    assert len(command.pending()) == 1001
    agreed = command.run("uploads", "abort", command.bucket, typed="y\n")
    assert (agreed.returncode, agreed.stdout.splitlines()[-1]) == (0, "Abort 1001 uploads? [y/N] 1001 uploads aborted")
    assert command.pending() == []


def test_filters_by_age_and_prefix(command: Command) -> None:
    command.begin("a/1", "a/2", "b/1")
    young = command.run("uploads", "abort", command.bucket, "--older-than", "1h", "--yes")
    assert (young.returncode, young.stdout) == (0, "no unfinished upload\n")
    some = command.run("uploads", "abort", command.bucket, "--older-than=0s", "--prefix", "a/", "--yes")
    assert (some.returncode, some.stdout.splitlines()[-1]) == (0, "2 uploads aborted")
    assert command.pending() == ["b/1"]


def test_age_is_by_the_services_clock(command: Command, server: CosServer) -> None:
    command.begin("a")
    server.set_faults("kind=clock-skew,seconds=7200")
    old = command.run("uploads", "list", command.bucket, "--older-than", "1h")
    server.clear_faults()
    assert old.stdout.endswith(f"{command.folder}a\n")


def test_utility_mode_asks_as_the_cpp_tool_does(command: Command) -> None:
    command.begin("a")
    kept = command.run("-u", command.bucket, typed="N\n")
    assert (kept.returncode, kept.stdout.splitlines()[-1]) == (
        0, "Would you remove all objects? [Y/N] Nothing was removed.")
    assert command.pending() == ["a"]
    removed = command.run("-u", command.bucket, typed="Y\n")
    assert (removed.returncode, removed.stdout.splitlines()[-1]) == (
        0, "Would you remove all objects? [Y/N] 1 removed.")
    assert command.pending() == []
    assert command.run("-u", command.bucket).stdout == "There is no unfinished multipart upload.\n"


@pytest.mark.parametrize(("words", "message"), [
    (["uploads"], "cosfs uploads alone is no command; write cosfs uploads list BUCKET-APPID, or abort, see cosfs "
                  "uploads --help"),
    (["uploads", "show", "b-1"], "cosfs uploads show is no command; write cosfs uploads list BUCKET-APPID, or abort, "
                                 "see cosfs uploads --help"),
    (["uploads", "list"], "one word is needed after list, BUCKET-APPID or BUCKET-APPID:/PREFIX; see cosfs uploads "
                          "--help"),
    (["uploads", "list", "b-1", "--yes"], "--yes goes with abort; list changes nothing"),
    (["uploads", "abort", "b-1", "--older-than", "soon"],
     "--older-than soon is wrong; give an age such as 90m, 12h, 7d, 2w or 1d12h"),
    (["uploads", "abort", "b-1", "--olderthan", "1h"], "option --olderthan not recognized; see cosfs --help"),
    (["-u", "b-1", "/mnt"], "-u takes one word, BUCKET-APPID, given is: b-1 /mnt"),
    (["-u"], "-u takes one word, BUCKET-APPID, given is: none"),
])
def test_mistakes_are_explained_in_one_line(command: Command, words: List[str], message: str) -> None:
    result = command.run(*words)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"cosfs: {message}\n")


def test_a_bucket_that_is_not_there_is_explained(command: Command) -> None:
    result = command.run("uploads", "list", "other-1250000000")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("cosfs: bucket other-1250000000 at http://")
    assert result.stderr.count("\n") == 1


def test_help_fits_80_columns(command: Command) -> None:
    result = command.run("uploads", "--help")
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1d12h", 129600), ("2W", 1209600), ("0s", 0)])
def test_ages(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "1h 2m", "-1h", "1y"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(UsageError):
        parse_age(text)
