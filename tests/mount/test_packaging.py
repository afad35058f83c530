"""What the project is shipped as: wheel, source archive, and the image of docs/Dockerfile, as far as that can be held
without Docker: its instructions of our own are carried out here."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import pytest

from cosfs.cli import systemd_unit
from cosfs.cos.interface import ObjectClient
from cosfs.version import __version__
from tests.conftest import require_fuse
from tests.mount.test_command import wait_until
from tests.mount.test_readme import block
from tests.support import dockerfile
from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

LIMIT_S = 60.0
PIP = str(Path(sysconfig.get_path("purelib")) / "pip")
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
           "PIP_NO_CACHE_DIR": "1", "PIP_IGNORE_INSTALLED": "1"}
"""pip takes what is there: the packages of this environment are found by those that it installs. The 0 means "yes"."""


def run(words: Sequence[str], folder: Path, **environment: str) -> str:
    """What a command prints; the package of this checkout is not found by it."""
    done = subprocess.run(words, cwd=folder, text=True, check=False, timeout=LIMIT_S, capture_output=True,
                          stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": "", **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources that the image is built from, which are those of the package."""
    made = tmp_path_factory.mktemp("context")
    dockerfile.make_context(made)
    return made


@pytest.fixture(scope="module")
def built(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with source archive and wheel; the wheel is built from the archive."""
    target = tmp_path_factory.mktemp("dist")
    build = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
    run([sys.executable, "-c", build, "sdist", str(target)], context)
    [archive] = target.glob("*.tar.gz")
    run(["tar", "-xzf", str(archive)], target)
    [source] = [path for path in target.iterdir() if path.is_dir()]
    run([sys.executable, "-c", build, "wheel", str(target)], source)
    return target


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands, in a new environment with the wheel; its dependencies are this environment's."""
    place = tmp_path_factory.mktemp("venv")
    run([sys.executable, "-m", "venv", "--without-pip", str(place)], place)
    [wheel] = built.glob("*.whl")
    run([str(place / "bin" / "python"), PIP, "install", "-q", str(wheel)], place, **OFFLINE)
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def package_files() -> List[str]:
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "cosfs").rglob("*.py")}
    return sorted(modules | {"cosfs/py.typed", "cosfs/cli/cosfs@.service"})


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    assert "bin/pip install .\n" in block("python3 -m venv")
    [wheel] = built.glob("*.whl")
    assert wheel.name == f"cosfs_fuse-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        [entries] = [name for name in names if name.endswith("entry_points.txt")]
        scripts = packed.read(entries).decode().split()
        [metadata] = [packed.read(name).decode() for name in names if name.endswith("/METADATA")]
    assert sorted(name for name in names if ".dist-info/" not in name) == package_files()
    assert [name for name in names if name.endswith("/LICENSE")]
    assert scripts == "[console_scripts] cosfs = cosfs.cli:main mount.cosfs = cosfs.cli.mount_helper:main".split()
    assert (REPOSITORY / "README.md").read_text("utf-8").strip() in metadata


def test_the_source_archive_holds_what_the_wheel_is_built_from(built: Path) -> None:
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {*package_files(), "README.md", "LICENSE", "setup.py", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith(("tests", "."))]


def test_the_installed_commands(installed: Path, tmp_path: Path) -> None:
    assert run([str(installed / "cosfs"), "--version"], tmp_path) == f"cosfs {__version__}\n"
    assert run([str(installed / "mount.cosfs"), "--version"], tmp_path) == f"mount.cosfs {__version__}\n"
    assert run([str(installed / "cosfs"), "systemd-unit"], tmp_path) == systemd_unit.unit(str(installed / "cosfs"))
    where = "import cosfs; print(cosfs.__file__)"
    assert str(installed.parent) in run([str(installed / "python"), "-c", where], tmp_path)


@pytest.mark.mount
def test_the_installed_helper_mounts(installed: Path, server: CosServer, client: ObjectClient, folder: str,
                                     tmp_path: Path) -> None:
    require_fuse()
    point, passwd = tmp_path / "mnt", tmp_path / "passwd"
    point.mkdir()
    passwd.write_text(f"{server.secret_id}:{server.secret_key}\n")
    passwd.chmod(0o600)
    options = f"_netdev,url={server.url},passwd_file={passwd},state_dir={tmp_path}/state,logfile={tmp_path}/log"
    run([str(installed / "mount.cosfs"), f"{server.bucket}:/{folder}", str(point), "-o", options], tmp_path)
    try:
        (point / "file").write_bytes(b"content")
        assert client.head_object(folder + "file").size_bytes == 7
    finally:
        run([str(installed / "cosfs"), "umount", str(point)], tmp_path)


def test_the_image_gets_what_it_copies_and_no_more(context: Path) -> None:
    copied = [text.split() for text in dockerfile.texts("COPY") if not text.startswith("--from=")]
    sources = {word for words in copied for word in words[:-1]}
    assert sources == {entry.name for entry in context.iterdir() if entry.name not in ("build", "cosfs_fuse.egg-info")}
    assert {"cosfs", "setup.py", "README.md", "LICENSE"} <= sources
    assert not list(context.rglob("__pycache__")) and not (context / "tests").exists()
    assert dockerfile.ignored(".git") and dockerfile.ignored("cosfs/__pycache__") and dockerfile.ignored("docs/x")


def test_the_base_is_given_with_its_version_and_the_packages_are_those_of_the_readme() -> None:
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS build)?", text) for text in dockerfile.texts("FROM"))
    [install] = [text for text in dockerfile.texts("RUN") if "apt-get" in text]
    assert {"fuse3", "libfuse2"} <= set(install.split()) and "rm -rf /var/lib/apt/lists/*" in install
    assert "`sudo apt-get install python3-venv fuse3 libfuse2`" in (REPOSITORY / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def image(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, str]:
    """The environment in which the image's ``cosfs`` is found: the Dockerfile's own command has installed it."""
    prefix = tmp_path_factory.mktemp("install")
    [install] = [text for text in dockerfile.texts("RUN") if text.startswith("pip ")]
    assert "COPY --from=build /install /usr/local" in dockerfile.FILE.read_text("utf-8")
    pip = shlex.join([sys.executable, PIP])
    script = re.sub(r"^pip\b", lambda _: pip, install).replace("/install", str(prefix)).replace("/source", str(context))
    run(["bash", "-e", "-c", script], context, **OFFLINE)
    [packages] = list(prefix.glob("**/site-packages"))
    return {"PATH": f"{next(prefix.glob('**/cosfs')).parent}:{os.environ['PATH']}", "PYTHONPATH": str(packages)}


def exec_form(name: str) -> List[str]:
    [text] = dockerfile.texts(name)
    return list(json.loads(text[text.index("["):]))


def test_the_image_shows_its_help_when_it_is_given_nothing(image: Dict[str, str], tmp_path: Path) -> None:
    assert run([*exec_form("ENTRYPOINT"), *exec_form("CMD")], tmp_path, **image).startswith("usage: cosfs BUCKET")


ENTER = """
mount --make-private /
mount -t tmpfs none /mnt
mkdir /mnt/bucket
mount --bind "$0" /mnt/bucket
exec "$@"
"""


def docker_run() -> List[str]:
    """The words of the README's command."""
    [line] = [line for line in block("docker run").replace("\\\n", "").splitlines() if line.startswith("docker run ")]
    return shlex.split(line)


class Container:
    """What ``docker run`` does, by the tools of the system: the image's program is process 1 of its own, and the host's
    folder is at ``/mnt/bucket`` in such a way that what is mounted there is seen outside. Needs root."""

    def __init__(self, image: Dict[str, str], host_folder: Path, words: Sequence[str], **environment: str) -> None:
        self.host_folder = host_folder
        self._environment = {**os.environ, **image, **environment}
        self._enter = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--propagation", "unchanged",
                       "bash", "-e", "-c", ENTER, str(host_folder), *exec_form("ENTRYPOINT"), *words]

    def __enter__(self) -> Container:
        for words in (["--bind", str(self.host_folder)], ["--make-shared"]):
            subprocess.run(["mount", *words, str(self.host_folder)], check=True)
        self._process = subprocess.Popen(self._enter, env=self._environment, text=True, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self

    @property
    def first_process(self) -> int:
        """Its number outside."""
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())

    def mounted(self) -> bool:
        assert self._process.poll() is None, self._process.communicate()[0]
        return f" {self.host_folder} fuse.cosfs " in Path("/proc/self/mounts").read_text()

    def execute(self, words: Sequence[str]) -> int:
        """As ``docker exec`` does; returns the status."""
        inside = ["nsenter", "-t", str(self.first_process), "--mount", "--pid", *words]
        return subprocess.run(inside, env=self._environment, check=False, timeout=LIMIT_S, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode

    def stop(self) -> Tuple[int, str]:
        """As ``docker stop`` does; returns the status and what was printed."""
        os.kill(self.first_process, signal.SIGTERM)
        shown, _ = self._process.communicate(timeout=LIMIT_S)
        return self._process.returncode, shown

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()
        while f" {self.host_folder} " in Path("/proc/self/mounts").read_text():  # one layer after the other
            subprocess.run(["umount", "--lazy", str(self.host_folder)], check=True)


@pytest.mark.mount
def test_a_container_mounts_for_the_host_and_stores_what_waits_when_it_is_stopped(
        image: Dict[str, str], server: CosServer, client: ObjectClient, folder: str, tmp_path: Path) -> None:
    require_fuse()
    if os.geteuid() != 0:
        pytest.skip("only root has namespaces of processes without a namespace of users")
    words = docker_run()
    words = words[words.index("cosfs") + 1:]
    assert words[:3] == ["examplebucket-1250000000", "/mnt/bucket", "-o"]
    words[0] = f"{server.bucket}:/{folder}"
    words[3] = words[3].replace("https://cos.ap-guangzhou.myqcloud.com", server.url) + ",writeback=300"
    (tmp_path / "bucket").mkdir()
    keys = {"COSACCESSKEYID": server.secret_id, "COSSECRETACCESSKEY": server.secret_key}

    with Container(image, tmp_path / "bucket", words, XDG_STATE_HOME=str(tmp_path / "state"), **keys) as container:
        wait_until(container.mounted, "mount")
        assert container.execute(exec_form("HEALTHCHECK")) == 0
        (tmp_path / "bucket" / "file").write_bytes(b"x" * 100_000)
        assert server.request("HEAD", folder + "file")[0] == 404
        assert container.stop() == (0, "")

    assert client.head_object(folder + "file").size_bytes == 100_000
    assert list((tmp_path / "bucket").iterdir()) == []


def test_a_container_without_a_mount_is_not_healthy(image: Dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(exec_form("HEALTHCHECK"), env={**os.environ, **image}, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_the_readme_s_container_has_what_it_needs() -> None:
    words = docker_run()
    switches = words[:words.index("cosfs")]
    pairs = set(zip(switches, switches[1:]))
    assert {("--device", "/dev/fuse"), ("--cap-add", "SYS_ADMIN"), ("--security-opt", "apparmor:unconfined"),
            ("-v", "/srv/bucket:/mnt/bucket:rshared")} <= pairs
    assert "--init" in switches and "--stop-timeout" in switches
    build = block("docker run").splitlines()[0]
    assert build == f"docker build -t cosfs -f {dockerfile.FILE.relative_to(REPOSITORY)} ."
