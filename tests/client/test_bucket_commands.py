"""What ``cosfs doctor``, ``recover`` and ``uploads`` have in common: mistakes in one line, logs, pipes, encodings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from cosfs.cos.interface import ObjectHeaders
from cosfs.version import __version__
from tests.conftest import make_client
from tests.support.server import ENVIRONMENT, CosServer

pytestmark = pytest.mark.timeout(60)

COMMANDS = [["doctor"], ["recover"], ["uploads", "list"]]


def run(*words: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cosfs", *words], env={**ENVIRONMENT, **environment}, text=True,
                          stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=50, check=False)


@pytest.fixture
def options(server: CosServer, tmp_path: Path) -> str:
    passwd = tmp_path / "passwd"
    passwd.write_text(f"{server.secret_id}:{server.secret_key}\n")
    passwd.chmod(0o600)
    return f"url={server.url},passwd_file={passwd}"


@pytest.mark.parametrize("words", COMMANDS)
def test_version_and_what_is_another_command(words: List[str]) -> None:
    assert run(*words, "--version").stdout == f"cosfs {__version__}\n"
    result = run(*words, "-u", "examplebucket-1250000000", "-ourl=http://127.0.0.1:1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (f"cosfs: -u is no switch of cosfs {words[0]}; unfinished uploads are shown by: cosfs "
                             "uploads list BUCKET-APPID\n")


@pytest.mark.parametrize("words", [*COMMANDS[1:], ["-u"]])
def test_a_log_that_cannot_be_written_is_one_line(words: List[str], server: CosServer, options: str,
                                                  tmp_path: Path) -> None:
    log = tmp_path / "missing" / "log"
    result = run(*words, server.bucket, "-o", f"{options},logfile={log}")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (f"cosfs: log file {log} cannot be written to (No such file or directory); give another "
                             "logfile=\n")


@pytest.fixture
def upload(server: CosServer, folder: str) -> Iterator[str]:
    """The prefix of an upload with a name that not every terminal shows."""
    client = make_client(server)
    upload_id = client.create_multipart_upload(folder + "文", headers=ObjectHeaders())
    yield folder
    client.abort_multipart_upload(folder + "文", upload_id)
    client.close()


def test_names_that_the_terminal_cannot_show_are_escaped(server: CosServer, options: str, upload: str) -> None:
    result = run("uploads", "list", f"{server.bucket}:/{upload}", "-o", options, PYTHONIOENCODING="latin-1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith(f"{upload}\\u6587\n")


def test_a_reader_that_has_seen_enough_is_no_error(server: CosServer, options: str, upload: str) -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
        gone.wait(50)
        assert gone.stdin is not None
        result = run("uploads", "list", f"{server.bucket}:/{upload}", "-o", options, stdout=gone.stdin.fileno())
    assert (result.returncode, result.stderr) == (141, "")
