"""What ``cosfs doctor`` says of updatedb's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosfs.doctor.findings import Outcome, State
from cosfs.doctor.updatedb import look_at_updatedb
from cosfs.mount_table import KIND
from cosfs.updatedb_conf import MOUNT_TYPE

DEBIAN = """\
PRUNE_BIND_MOUNTS="yes"
# PRUNENAMES=".git .bzr .hg .svn"
PRUNEPATHS="/tmp /var/spool /media"
PRUNEFS="NFS afs fuse.sshfs fusectl"
"""


def look(folder: Path, text: str, mount_point: str = "/mnt/bucket", *, let_in: bool = True,
         guarded: bool = True) -> Outcome:
    (folder / "updatedb.conf").write_text(text)
    return look_at_updatedb(mount_point, let_in=let_in, guarded=guarded, configuration=folder / "updatedb.conf")


def test_the_type_is_that_of_the_mounts() -> None:
    assert MOUNT_TYPE == KIND


def test_without_updatedb_all_is_well(tmp_path: Path) -> None:
    found = look_at_updatedb("/mnt/bucket", let_in=True, guarded=True, configuration=tmp_path / "none")
    assert (found.state, found.text) == (State.OK, f"there is no {tmp_path}/none")


@pytest.mark.parametrize("guarded", [True, False])
def test_a_configuration_that_says_nothing_of_mounts_is_a_warning(guarded: bool, tmp_path: Path) -> None:
    found = look(tmp_path, DEBIAN, guarded=guarded)
    assert found.state is State.WARNING
    assert ("keeps it out by itself" in found.text) == guarded
    assert found.advice == f"add fuse.cosfs to PRUNEFS in {tmp_path}/updatedb.conf"


@pytest.mark.parametrize(("text", "point", "said"), [
    ('PRUNEFS="NFS fuse.cosfs"', "/mnt/bucket", "fuse.cosfs is in PRUNEFS of"),
    ('PRUNEFS = "FUSE.COSFS"', "/mnt/bucket", "fuse.cosfs is in PRUNEFS of"),
    (DEBIAN, "/media/bucket", "/media is in PRUNEPATHS of"),
    ('PRUNEPATHS="/mnt/bucket"', "/mnt/bucket", "/mnt/bucket is in PRUNEPATHS of"),
    ('  PRUNENAMES = ".git Cloud"', "/home/me/Cloud/b", "Cloud is in PRUNENAMES of")])
def test_what_covers_the_mount_is_named(text: str, point: str, said: str, tmp_path: Path) -> None:
    found = look(tmp_path, text, point)
    assert found.state is State.OK
    assert found.text.startswith(said)


@pytest.mark.parametrize("text", [
    '#PRUNEFS="fuse.cosfs"', 'PRUNEFS="fuse.cosfs2"', 'PRUNEPATHS="/mnt/buck /mnt/bucket2"', 'PRUNENAMES="mnt/bucket"',
    ""])
def test_what_only_looks_like_it_does_not_count(text: str, tmp_path: Path) -> None:
    assert look(tmp_path, text).state is State.WARNING


def test_a_mount_that_root_cannot_enter_needs_nothing(tmp_path: Path) -> None:
    assert look(tmp_path, DEBIAN, let_in=False).state is State.OK


def test_without_a_mount_point_the_types_count_alone(tmp_path: Path) -> None:
    (tmp_path / "c").write_text('PRUNEPATHS="/"')
    found = look_at_updatedb(None, let_in=True, guarded=True, configuration=tmp_path / "c")
    assert found.state is State.WARNING


def test_a_configuration_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    found = look_at_updatedb("/mnt/bucket", let_in=True, guarded=True, configuration=tmp_path)
    assert (found.state, found.text) == (State.SKIPPED, f"{tmp_path} cannot be read (Is a directory)")
