"""Keys that are no ordinary paths, through a kernel mount: listed, read, moved and removed, also by the next mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.stores import CosStore

pytestmark = pytest.mark.timeout(120)

SHOWN: Dict[str, str] = {
    "a//b": "a/\u241b-/b",
    "/leading": "\u241b-/leading",
    "./x": "\u241b-./x",
    "a/./b": "a/\u241b-./b",
    "a/../b": "a/\u241b-../b",
    "a/..x": "a/..x",
    "b/.": "b/\u241b-.",
    "b/..": "b/\u241b-..",
    "body/": "body/\u241b+",
    "body//": "body/\u241b-/\u241b+",
    "twin": "twin",
    "twin/inside": "\u241b+twin/inside",
    "a/./twin": "a/\u241b-./twin",
    "a/./twin/inside": "a/\u241b-./\u241b+twin/inside",
    "bell\x07": "bell\x07",
    "\x01\x02\x1f\x7f": "\x01\x02\x1f\x7f",
    "non\ufffecharacter": "non\ufffecharacter",
    "non\uffffcharacter": "non\uffffcharacter",
    "new\u241b0Aline": "new\nline",
    "lone\u241bZZ": "\u241b-lone\u241bZZ",
    "\u241b-reserved": "\u241b-\u241b-reserved",
    "\u241b+reserved": "\u241b-\u241b+reserved",
    "back\\slash": "back\\slash",
    "percent%2F": "percent%2F",
    "w" * 255: "w" * 255,
}
"""Paths by keys. The service stores no CR, LF or 0x18-0x1B in a key."""

LONG = ("l" * 256, "é" * 300, "long/" + "m" * 500 + "/inside", "n" * 250 + "\u241bZZ")
"""Keys whose paths have a hash in them."""


@pytest.fixture
def keys(store: CosStore) -> List[str]:
    everything = [*SHOWN, *LONG]
    for key in everything:
        store.put(key, key.encode())
    return everything


def files_below(top: Path) -> Dict[str, bytes]:
    """What ``find -type f`` shows and ``cat`` reads."""
    listed = subprocess.run(["find", str(top), "-type", "f", "-print0"], check=True, capture_output=True, timeout=60)
    paths = [os.fsdecode(raw) for raw in listed.stdout.split(b"\0") if raw]
    return {os.path.relpath(path, top): subprocess.run(["cat", path], check=True, capture_output=True,
                                                       timeout=60).stdout for path in paths}


def test_every_key_is_found_and_read_by_each_mount(make_mount: MountFactory, keys: List[str]) -> None:
    first = make_mount()
    found = files_below(first.point)
    assert sorted(found.values()) == sorted(key.encode() for key in keys)
    assert {path: body for path, body in found.items() if body.decode() in SHOWN} == \
        {path: key.encode() for key, path in SHOWN.items()}
    second = make_mount()
    for path, body in found.items():  # by name: no listing has been asked for
        assert (second.point / path).read_bytes() == body


@pytest.mark.parametrize("again", [False, True])
def test_every_path_can_be_renamed_and_back(make_mount: MountFactory, store: CosStore, keys: List[str],
                                            again: bool) -> None:
    mount = make_mount()
    if again:
        files_below(mount.point)
    names = sorted(files_below(make_mount().point).items())
    for number, (path, body) in enumerate(names):
        target = mount.point / f"moved{number}"
        subprocess.run(["mv", "-nT", str(mount.point / path), str(target)], check=True, timeout=60)
        assert target.read_bytes() == body
        assert store.body(f"moved{number}") == body
        _settle(mount)
        assert body.decode() not in store.keys() or not store.body(body.decode())


def test_every_path_can_be_written_and_removed(make_mount: MountFactory, store: CosStore, keys: List[str]) -> None:
    mount = make_mount()
    for path, body in files_below(mount.point).items():
        with open(mount.point / path, "ab") as file:
            file.write(b" more")
        assert store.body(body.decode()) == body + b" more"
        os.unlink(mount.point / path)
        assert not os.path.lexists(mount.point / path)
        _settle(mount)
        assert body.decode() not in store.keys() or store.body(body.decode()) == b""


def test_rm_r_removes_every_key(make_mount: MountFactory, store: CosStore, keys: List[str]) -> None:
    mount = make_mount()
    subprocess.run(["rm", "-rf", *(str(path) for path in mount.point.iterdir())], check=True, timeout=60)
    assert list(mount.point.iterdir()) == []
    _settle(mount)
    assert store.keys() == []


def test_a_copy_of_the_tree_that_is_copied_back_has_the_same_keys(make_mount: MountFactory, store: CosStore,
                                                                  keys: List[str], tmp_path: Path) -> None:
    """But for the content of directory markers and the objects that a path cannot make."""
    mount = make_mount()
    shutil.copytree(mount.point, tmp_path / "copy")
    made = {key for key in keys if not key.endswith("/")}
    subprocess.run(["rm", "-rf", *(str(path) for path in mount.point.iterdir())], check=True, timeout=60)
    for body in (tmp_path / "copy").rglob("\u241b+"):
        body.unlink()
    subprocess.run(["cp", "-rT", str(tmp_path / "copy"), str(mount.point)], check=True, timeout=60)
    assert {key for key in store.keys() if not key.endswith("/")} == made
    for key in made:
        assert store.body(key) == key.encode()


def test_an_object_and_a_directory_of_one_name(make_mount: MountFactory, store: CosStore) -> None:
    store.put("d/both", b"file")
    store.put("d/both/inside", b"inside")
    mount = make_mount()
    folder = mount.point / "d"
    assert (folder / "both").read_bytes() == b"file"
    assert (folder / "\u241b+both" / "inside").read_bytes() == b"inside"
    assert sorted(os.listdir(folder)) == ["both", "\u241b+both"]
    os.rename(folder / "\u241b+both", folder / "directory")
    assert store.body("d/directory/inside") == b"inside"
    assert sorted(os.listdir(folder)) == ["both", "directory"]


def test_names_that_stand_for_nothing_are_invalid(make_mount: MountFactory, store: CosStore) -> None:
    mount = make_mount()
    for make in (lambda path: path.write_bytes(b"x"), lambda path: path.mkdir(), lambda path: path.symlink_to("x")):
        with pytest.raises(OSError, match="Invalid argument"):
            make(mount.point / "\u241b-ordinary")
    with pytest.raises(OSError, match="Invalid argument"):
        (mount.point / "\u241b+").write_bytes(b"x")
    assert not (mount.point / "\u241b-ordinary").exists()
    assert store.keys() == []


def _settle(mount: Mount) -> None:
    """Removals of a burst have reached the bucket when this returns."""
    folder = os.open(mount.point, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
