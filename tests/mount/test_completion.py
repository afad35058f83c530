"""Completion in bash, zsh and fish themselves: what they offer for a line, and what they make of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Iterator, List, Set, Union

import pytest

from cosfs.cli import COMMANDS, completion
from cosfs.cli.completion_table import offers
from tests.conftest import MountFactory, new_folder, require_fuse
from tests.support.server import CosServer
from tests.support.shells import Fish, Interactive, bash, last_parts, zsh

pytestmark = pytest.mark.mount

SHELLS = {"bash": bash, "zsh": zsh, "fish": Fish}
Shell = Union[Interactive, Fish]


@pytest.fixture(scope="module")
def mount_point(session_server: CosServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The one mount of these tests, in a folder with a blank in its name."""
    require_fuse()
    factory = MountFactory(session_server, new_folder(), tmp_path_factory.mktemp("a mount"))
    yield factory().point
    factory.close()


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell at home, where there are two folders and a file, and three mounts are described."""
    home = tmp_path_factory.mktemp(request.param)
    for name in ("data", "desk"):
        (home / name).mkdir()
    (home / "deed").touch()
    (home / ".config" / "cosfs").mkdir(parents=True)
    (home / ".config" / "cosfs" / "mounts.conf").write_text(
        "[DEFAULT]\nallow_other\n[photos]\n  [work.2]\nbucket = x\n")
    (home / "other.conf").write_text("[elsewhere]\n")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    made = SHELLS[request.param](completion.SHELLS[request.param](), home, environment)
    yield made
    made.close()


ALL_OPTIONS = {offer.name for offer in offers()}


@pytest.mark.parametrize(("line", "expected"), [
    ("cosfs ", set(COMMANDS)),
    ("cosfs um", {"umount"}),
    ("cosfs stats --", {"--json", "--help"}),
    ("cosfs uploads ", {"list", "abort"}),
    ("cosfs uploads abort bucket-1 --older-than 7d --y", {"--yes"}),
    ("cosfs completion z", {"zsh"}),
    ("cosfs mount ", {"photos", "work.2"}),
    ("cosfs mount --config other.conf ", {"elsewhere"}),
    ("cosfs mount --config de", {"desk", "deed"}),
    ("cosfs serve d", {"data", "desk"}),
    ("cosfs serve data --access-log=d", {"data", "desk", "deed"}),
    ("cosfs recover bucket-1 --export de", {"desk"}),
    ("cosfs doctor bucket-1 de", {"desk"}),
    ("cosfs bucket-1 de", {"desk"}),
    ("cosfs -f bucket-1 de", {"desk"}),
    ("cosfs restore --tier ", {"Expedited", "Standard", "Bulk"}),
    ("cosfs bucket-1 data -o ", ALL_OPTIONS),
    ("cosfs bucket-1 data -o url=https://cos.example.com:8080,use_c", {"use_cache"}),
    ("cosfs bucket-1 data -ocache", {"-ocache_size"}),
    ("cosfs mount photos -o ro,listing", {"listing_cache_expire"}),
    ("cosfs bucket-1 -o meta=", {"full", "list"}),
    ("cosfs bucket-1 -o url=https://cos.example.com,conflict=", {"overwrite", "fail", "keep-both"}),
    ("cosfs bucket-1 -o url=http://h,use_sse=k", {"kmsid"}),
    ("cosfs bucket-1 -o ro,passwd_file=de", {"desk", "deed"}),
    ("cosfs bucket-1 -o ro,tmpdir=de", {"desk"}),
    ("cosfs bucket-1 -o tmpdir=d", {"data", "desk"}),
    ("cosfs bucket-1 -o ro,logfile=~/de", {"~/desk", "~/deed"}),
    ("cosfs bucket-1 -o 'ro,use_c", {"use_cache"}),
    ("cosfs bucket-1 -o uid=roo", {"root"}),
    ("cosfs bucket-1 -o gid=roo", {"root"}),
])
def test_what_is_offered(shell: Shell, line: str, expected: Set[str]) -> None:
    assert {word.rstrip("/") for word in last_parts(shell.offered(line))} == expected


@pytest.mark.parametrize("command", ["stats", "top", "umount"])
def test_mounts_that_there_are(shell: Shell, mount_point: Path, command: str) -> None:
    assert str(mount_point) in {word.replace("\\", "").rstrip("/") for word in shell.offered(f"cosfs {command} /")}


@pytest.mark.parametrize(("typed", "line"), [
    ("cosfs umo", "cosfs umount "),
    ("cosfs umount --time", "cosfs umount --timeout "),
    ("cosfs bucket-1 data -o url=http://127.0.0.1:9000,use_c",
     "cosfs bucket-1 data -o url=http://127.0.0.1:9000,use_cache="),
    ("cosfs bucket-1 -o url=http://127.0.0.1:9000,conflict=k",
     "cosfs bucket-1 -o url=http://127.0.0.1:9000,conflict=keep-both"),
    ("cosfs bucket-1 -o ro,allow_ot", "cosfs bucket-1 -o ro,allow_other"),
    ("cosfs bucket-1 -o ro,tmpdir=des", "cosfs bucket-1 -o ro,tmpdir=desk/"),
    ("cosfs serve des", "cosfs serve desk/"),
])
def test_what_tab_makes_of_a_line(shell: Shell, typed: str, line: str) -> None:
    if isinstance(shell, Interactive):
        completed = shell.completed(typed)
        assert completed.rstrip(", =") == line.rstrip(" =")
        assert not (line.endswith(("=", "other", "both")) and completed.endswith(" "))  # more options may follow
    else:
        assert [f"{typed[:typed.rfind(' ') + 1]}{word}" for word in shell.offered(typed)] == [line.rstrip()]


@pytest.mark.parametrize(("typed", "shown"), [
    ("cosfs bucket-1 -o url=https://cos.example.com:80,ro,use_s", ["use_session_token", "use_sse", "use_sse="]),
    ("cosfs bucket-1 -o ro,url=https://cos.example.com,conflict=", ["fail", "keep-both", "overwrite"]),
])
@pytest.mark.parametrize("shell", ["bash"], indirect=True)
def test_bash_shows_options_without_those_before(shell: Interactive, typed: str, shown: List[str]) -> None:
    assert shell.listed(typed) == shown


def test_the_shells_are_there() -> None:
    missing: List[str] = [name for name in SHELLS if shutil.which(name) is None]
    assert not missing, "bin/test installs them"
