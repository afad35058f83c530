"""README.md does what it says: its commands, its fstab lines and its sample are run, against the embedded server.

Of ``bin/quickstart`` and ``bin/test`` tests/mount/test_quickstart.py and CI take care, of installing and of the image
for containers test_packaging.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from cosfs.cos.interface import ObjectClient
from cosfs.mount_process import serving_process
from cosfs.mount_table import mount_at
from tests.conftest import require_fuse
from tests.support.mount import REPOSITORY, write_command
from tests.support.server import CosServer

LIMIT_S = 60.0
README = (REPOSITORY / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
ELSEWHERE = {"bin/quickstart\n", "bin/test\n"}


def block(word: str) -> str:
    """The one block of the README that has this word."""
    [found] = [text for text in BLOCKS if word in text]
    return found


class Shell:
    """A user's shell with a home of its own and ``cosfs`` on its path."""

    def __init__(self, server: CosServer, home: Path) -> None:
        self.server = server
        self.home = home
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        for name, module in (("cosfs", "cosfs.cli"), ("mount.cosfs", "cosfs.cli.mount_helper")):
            write_command(self.bin / name, module)

    @property
    def environment(self) -> Dict[str, str]:
        return {"HOME": str(self.home), "PATH": f"{self.bin}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8",
                "XDG_STATE_HOME": str(self.home / "state")}

    def local(self, text: str) -> str:
        """The text for the embedded server in place of the examples' services, keys and buckets."""
        server = self.server
        for example, real in (
                ("https://cos.ap-guangzhou.myqcloud.com", server.url), ("https://s3.example.com", server.url),
                ("--port 9000", "--port 0"), ("mybucket", server.bucket), ("/mnt/bucket", f"{self.home}/bucket"),
                ("/etc/passwd-cosfs", f"{self.home}/.passwd-cosfs"),
                ("SecretId:SecretKey", f"{server.secret_id}:{server.secret_key}"),
                ("'SecretId'", f"'{server.secret_id}'"), ("'SecretKey'", f"'{server.secret_key}'")):
            text = text.replace(example, real)
        return text

    def run(self, script: str, *wrapper: str, **environment: str) -> str:
        done = subprocess.run([*wrapper, "bash", "-e", "-u", "-c", script], cwd=self.home, text=True, check=False,
                              env={**self.environment, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT_S)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def daemons(self) -> List[Path]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if os.fsencode(self.home / "bucket") in words and any(b"cosfs.cli" in word for word in words):
                found.append(entry)
        return found

    def wait_for_end(self) -> None:
        limit = time.monotonic() + LIMIT_S
        while self.daemons():
            assert time.monotonic() < limit, "the mount's process does not end"
            time.sleep(0.02)


@pytest.fixture
def shell(server: CosServer, tmp_path: Path) -> Iterator[Shell]:
    made = Shell(server, tmp_path / "home")
    yield made
    if (made.home / "bucket").is_mount():
        subprocess.run(["fusermount", "-uz", str(made.home / "bucket")], check=True)


@pytest.mark.mount
def test_mount_with_keys_from_the_usual_file_and_unmount(shell: Shell, client: ObjectClient) -> None:
    require_fuse()
    assert shell.run(shell.local(block("chmod 600"))) == ""
    (shell.home / "bucket" / "readme").write_text("first")
    assert client.head_object("readme").size_bytes == 5
    assert shell.run(block("fusermount -u")) == ""
    shell.wait_for_end()

    assert shell.run(shell.local(block("sigv4"))) == ""
    assert (shell.home / "bucket" / "readme").read_text() == "first"
    assert shell.run(block("fusermount -u")) == ""
    shell.wait_for_end()


@pytest.mark.mount
def test_mount_with_libfuse_3(shell: Shell, client: ObjectClient) -> None:
    require_fuse()
    packages, install, mount = block("[fuse3]").splitlines()
    assert (packages, install) == ("sudo apt-get install fuse3", "~/.local/cosfs/bin/pip install '.[fuse3]'")
    shell.run(shell.local(block("chmod 600").partition("cosfs ")[0]))

    assert shell.run(shell.local(mount)) == ""
    (shell.home / "bucket" / "by-libfuse-3").write_text("first")
    entry = mount_at(str(shell.home / "bucket"))
    process = None if entry is None else serving_process(entry)
    assert process is not None and "libfuse3.so" in Path(f"/proc/{process.pid}/maps").read_text()

    assert client.head_object("by-libfuse-3").size_bytes == 5
    assert shell.run(block("fusermount -u")) == ""
    shell.wait_for_end()


FSTAB = """
mount --bind "$HOME/bin" /usr/local/bin
mkdir "$HOME/sbin" "$HOME/bucket"
sbin=$(readlink -f /sbin)
cp -a "$sbin/." "$HOME/sbin"
ln -sf "$HOME/bin/mount.cosfs" "$HOME/sbin/"
mount --bind "$HOME/sbin" "$sbin"
mount -T "$HOME/fstab" -a
echo "by fstab" >"$HOME/bucket/fstab"
grep -F "$HOME/bucket " /proc/self/mounts
umount "$HOME/bucket"
"""


@pytest.mark.mount
@pytest.mark.parametrize("kind", ["fuse", "cosfs"])
def test_fstab_line(shell: Shell, client: ObjectClient, kind: str) -> None:
    require_fuse()
    if os.geteuid() != 0:
        pytest.skip("only root mounts by fstab")
    line = shell.local(block("_netdev"))
    if kind == "cosfs":
        assert "`examplebucket-1250000000 /mnt/bucket cosfs …`" in README
        line = line.replace("cosfs#", "").replace(" fuse ", " cosfs ")
        assert block("mount.cosfs") == "sudo ln -sf ~/.local/cosfs/bin/mount.cosfs /sbin/\n"
    (shell.home / "fstab").write_text(line)
    shell.run(f"echo {shell.server.secret_id}:{shell.server.secret_key} >~/.passwd-cosfs; chmod 600 ~/.passwd-cosfs")
    # in a mount namespace, so that the system's folders are as they were
    table = shell.run(FSTAB, "unshare", "--mount", "--propagation", "private")
    assert table.startswith(f"{shell.server.bucket} {shell.home}/bucket fuse.cosfs rw,")
    assert "allow_other" in table
    shell.wait_for_end()
    assert client.head_object("fstab").size_bytes == len("by fstab\n")


@pytest.mark.mount
def test_mount_by_name(shell: Shell, client: ObjectClient) -> None:
    require_fuse()
    assert "`~/.config/cosfs/mounts.conf`" in README
    folder = shell.home / ".config" / "cosfs"
    folder.mkdir(parents=True)
    (folder / "mounts.conf").write_text(shell.local(block("[photos]")))
    shell.run(f"echo {shell.server.secret_id}:{shell.server.secret_key} >~/.passwd-cosfs; chmod 600 ~/.passwd-cosfs")
    (shell.home / "bucket").mkdir()
    mount, show, unmount = shell.local(block("cosfs umount")).splitlines()

    assert shell.run(mount) == ""
    (shell.home / "bucket" / "by-name").write_text("first")
    assert client.head_object("photos/by-name").size_bytes == 5
    assert shell.run(show).startswith(f"photos: {shell.server.bucket}:/photos on {shell.home}/bucket, mounted (")
    assert shell.run(unmount) == ""
    assert shell.daemons() == []


def test_unit_and_completion_are_put_where_they_belong(shell: Shell) -> None:
    unit, enable = block("cosfs systemd-unit").splitlines()
    assert enable == "sudo systemctl enable --now cosfs@photos"
    for place in ("/etc/systemd/system", "/usr/local"):
        (shell.home / place[1:]).mkdir(parents=True)
        assert place in unit + block("cosfs completion")
    script = "\n".join([unit, block("cosfs completion")]).replace("sudo ", "")
    script = script.replace("/etc/systemd/system", f"{shell.home}/etc/systemd/system")
    assert shell.run(script.replace("/usr/local", f"{shell.home}/usr/local")) == ""
    assert f"ExecStart={shell.bin}/cosfs mount %i" in (
        shell.home / "etc/systemd/system/cosfs@.service").read_text("utf-8")
    for place, beginning in ((".local/share/bash-completion/completions/cosfs", "# Completion for bash"),
                             ("usr/local/share/zsh/site-functions/_cosfs", "#compdef cosfs"),
                             (".config/fish/completions/cosfs.fish", "# Completion for fish")):
        assert (shell.home / place).read_text("utf-8").startswith(beginning)


def test_recover(shell: Shell) -> None:
    shell.run(f"echo {shell.server.secret_id}:{shell.server.secret_key} >~/.passwd-cosfs; chmod 600 ~/.passwd-cosfs")
    assert shell.run(shell.local(block("cosfs recover"))) == "nothing to recover\n"


def test_server(shell: Shell) -> None:
    install, *commands = block("cosfs serve").splitlines()
    assert install == "~/.local/cosfs/bin/pip install '.[server]'"
    script = shell.local("\n".join(commands)) + " >out & server=$!\n" \
        "for _ in $(seq 400); do [ -s out ] && break; sleep 0.05; done; kill $server; wait $server; cat out"
    assert shell.run(script).startswith("listening on http://127.0.0.1:")
    assert (shell.home / "data" / "examplebucket-1250000000").is_dir()


@pytest.mark.mount
def test_bench(shell: Shell) -> None:
    require_fuse()
    install, first, second = block("cosfs bench").splitlines()
    assert install == "~/.local/cosfs/bin/pip install '.[bench]'"
    shell.run(f"{first} --workloads stat --size 1M --scale 0.01")
    assert "ratio" in shell.run(f"{second} --workloads stat --size 1M --scale 0.01")
    assert (shell.home / "change.svg").read_text().startswith("<?xml")


def test_python_sample(shell: Shell) -> None:
    sample = shell.home / "sample.py"
    sample.write_text(shell.local(block("CosS3Client")))
    assert "COSFS_ENDPOINT_URL=http://127.0.0.1:9000" in README
    printed = shell.run(f"{sys.executable} {sample}", COSFS_ENDPOINT_URL=shell.server.url, PYTHONPATH=str(REPOSITORY))
    assert printed == '"7ac66c0f148de9519b8bd264312c4d64"\n'
    assert (shell.home / "output.txt").read_bytes() == b"abcdefg"


def test_every_block_is_covered() -> None:
    words = ("chmod 600", "fusermount -u", "sigv4", "_netdev", "mount.cosfs", "cosfs serve", "CosS3Client",
             "python3 -m venv", "[fuse3]", "cosfs recover", "cosfs bench", "[photos]", "cosfs umount",
             "cosfs systemd-unit", "docker run", "cosfs completion")
    assert {block(word) for word in words} | ELSEWHERE == set(BLOCKS)
